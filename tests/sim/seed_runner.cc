#include "tests/sim/seed_runner.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>

#include "common/config/command_line.h"
#include "common/log/log.h"

namespace tercet::sim {
namespace {

using std::chrono::steady_clock;

constexpr size_t kMaxFigures = 32;

struct Options {
  uint64_t seeds = 1000;
  uint64_t from = 1;
  int jobs = 1;
  uint64_t seed = 0;
  bool trace = false;
  bool forever = false;
  double minutes = 0;
  bool keep_going = false;
  uint64_t recheck = 50;
  uint64_t slow_ms = 0;
};

// What the workers, which are processes, tell each other.
struct Shared {
  std::atomic<uint64_t> next_seed;
  std::atomic<uint64_t> done;
  std::atomic<uint64_t> failed;
  std::atomic<uint64_t> figures[kMaxFigures];
  std::atomic<uint64_t> virtual_ms;
  std::atomic<uint64_t> longest_recovery_ms;
  std::atomic<bool> stop;
  std::atomic<uint64_t> current[64];  // seed of each worker
};

void PrintFailure(const SeedProgram& program, uint64_t seed) {
  const SeedResult result = program.run(seed, Trace::Mode::kKeep);
  std::string text = fmt::format("\n{}\n", result.scenario);
  for (const std::string& line : result.last_lines) text += line + "\n";
  text += fmt::format("SEED {} FAILED: {}\nreplay: {} --seed {} --trace\n", seed, result.failure,
                      program.name, seed);
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

void RunSeed(const SeedProgram& program, uint64_t seed, const Options& options, Shared& shared) {
  const SeedResult result = program.run(seed, Trace::Mode::kOff);
  bool failed = !result.failure.empty();
  if (failed) PrintFailure(program, seed);
  if (!failed && options.recheck > 0 && seed % options.recheck == 0 &&
      program.run(seed, Trace::Mode::kOff).hash != result.hash) {
    failed = true;
    fmt::print("SEED {} FAILED: two runs of it differ\n", seed);
    std::fflush(stdout);
  }
  if (failed) {
    ++shared.failed;
    if (!options.keep_going) shared.stop = true;
  }
  ++shared.done;
  for (size_t i = 0; i < result.figures.size(); ++i) shared.figures[i] += result.figures[i];
  shared.virtual_ms += static_cast<uint64_t>(result.virtual_time / kMillisecond);
  const auto recovery = static_cast<uint64_t>(std::max<SimTime>(result.recovery, 0) / kMillisecond);
  if (options.slow_ms > 0 && recovery >= options.slow_ms) {
    fmt::print("seed {} came to rest after {} ms\n", seed, recovery);
    std::fflush(stdout);
  }
  uint64_t longest = shared.longest_recovery_ms;
  while (recovery > longest &&
         !shared.longest_recovery_ms.compare_exchange_weak(longest, recovery)) {
  }
}

void Work(const SeedProgram& program, int worker, const Options& options, Shared& shared,
          steady_clock::time_point deadline) {
  for (;;) {
    if (shared.stop || steady_clock::now() >= deadline) return;
    const uint64_t seed = shared.next_seed++;
    if (!options.forever && options.minutes == 0 && seed >= options.from + options.seeds) return;
    shared.current[worker] = seed;
    RunSeed(program, seed, options, shared);
    shared.current[worker] = 0;
  }
}

/// A worker that died has found something, too.
void AwaitWorkers(const SeedProgram& program, const std::map<pid_t, int>& workers, Shared& shared) {
  for (size_t left = workers.size(); left > 0; --left) {
    int status = 0;
    const pid_t pid = wait(&status);
    auto it = workers.find(pid);
    if (it == workers.end()) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    const uint64_t seed = shared.current[it->second];
    fmt::print("SEED {} FAILED: the simulation crashed ({})\nreplay: {} --seed {} --trace\n", seed,
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), program.name, seed);
    ++shared.failed;
    shared.stop = true;
  }
}

void PrintSums(const SeedProgram& program, const Options& options, const Shared& shared,
               double seconds) {
  std::string figures;
  for (size_t i = 0; i < program.figures.size(); ++i) {
    figures += fmt::format("{} {}, ", shared.figures[i].load(), program.figures[i]);
  }
  fmt::print(
      "{} seeds from {} in {:.1f} s ({:.2f} ms each): {} failed; {}{} s of virtual time, longest "
      "recovery {} ms\n",
      shared.done.load(), options.from, seconds,
      seconds * 1000 * options.jobs / static_cast<double>(std::max<uint64_t>(shared.done, 1)),
      shared.failed.load(), figures, shared.virtual_ms.load() / 1000,
      shared.longest_recovery_ms.load());
}

int RunMany(const SeedProgram& program, const Options& options) {
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    return 1;
  }
  Shared& shared = *new (memory) Shared();
  shared.next_seed = options.from;
  const auto start = steady_clock::now();
  const auto deadline = options.minutes > 0
                            ? start + std::chrono::duration_cast<steady_clock::duration>(
                                          std::chrono::duration<double>(options.minutes * 60))
                            : steady_clock::time_point::max();
  std::fflush(stdout);
  std::map<pid_t, int> workers;
  for (int worker = 0; worker < options.jobs; ++worker) {
    const pid_t pid = fork();
    if (pid == 0) {
      Work(program, worker, options, shared, deadline);
      std::fflush(stdout);
      _exit(0);
    }
    if (pid > 0) workers[pid] = worker;
  }
  AwaitWorkers(program, workers, shared);
  PrintSums(program, options, shared,
            std::chrono::duration<double>(steady_clock::now() - start).count());
  return shared.failed == 0 ? 0 : 1;
}

int RunOne(const SeedProgram& program, const Options& options) {
  const SeedResult result =
      program.run(options.seed, options.trace ? Trace::Mode::kPrint : Trace::Mode::kOff);
  std::string figures;
  for (size_t i = 0; i < program.figures.size(); ++i) {
    figures += fmt::format(", {} {}", result.figures[i], program.figures[i]);
  }
  fmt::print("{}\nhash {:016x}, {} ms{}\n", result.scenario, result.hash,
             result.virtual_time / kMillisecond, figures);
  if (result.failure.empty()) return 0;
  fmt::print("SEED {} FAILED: {}\n", options.seed, result.failure);
  return 1;
}

}  // namespace

int RunSeedProgram(const SeedProgram& program, int argc, char** argv) {
  Options options;
  CommandLine command_line("", program.description);
  Command root = command_line.root();
  root.AddOption("--seeds", options.seeds, "how many seeds").ShowDefault();
  root.AddOption("--from", options.from, "the first one").ShowDefault();
  root.AddOption("--jobs", options.jobs, "processes").ShowDefault().InRange(1, 64);
  root.AddOption("--seed", options.seed, "run this one alone");
  root.AddFlag("--trace", options.trace, "with --seed: print what happens");
  root.AddFlag("--forever", options.forever, "until a seed fails, or it is stopped");
  root.AddOption("--minutes", options.minutes, "until so much time is over");
  root.AddFlag("--keep-going", options.keep_going, "also behind a seed that failed");
  root.AddOption("--recheck", options.recheck, "run every Nth seed twice and compare; 0: none")
      .ShowDefault();
  root.AddOption(
      "--slow", options.slow_ms,
      "name the seeds that came to rest only so many ms of virtual time after the last fault");
  if (const std::optional<int> ended = command_line.Parse(argc, argv)) return *ended;
  SetLogLevel(LogLevel::kError);
  return options.seed != 0 ? RunOne(program, options) : RunMany(program, options);
}

}  // namespace tercet::sim
