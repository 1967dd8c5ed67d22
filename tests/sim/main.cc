// tercet_sim: runs seeds of the deterministic simulation of a metadata group (tests/sim/README.md).
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

#include "common/log/log.h"
#include "tests/sim/simulation.h"

namespace tercet::sim {
namespace {

using std::chrono::steady_clock;

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
  std::atomic<uint64_t> calls;
  std::atomic<uint64_t> records;
  std::atomic<uint64_t> leaders;
  std::atomic<uint64_t> faults;
  std::atomic<uint64_t> starts;
  std::atomic<uint64_t> power_cuts;
  std::atomic<uint64_t> truncations;
  std::atomic<uint64_t> offers;
  std::atomic<uint64_t> fetches;
  std::atomic<uint64_t> memberships;
  std::atomic<uint64_t> virtual_ms;
  std::atomic<uint64_t> longest_recovery_ms;
  std::atomic<bool> stop;
  std::atomic<uint64_t> current[64];  // seed of each worker
};

void PrintFailure(uint64_t seed) {
  Outcome outcome = Simulation(seed, Trace::Mode::kKeep).Run();
  std::string text = fmt::format("\n{}\n", outcome.scenario);
  for (const std::string& line : outcome.last_lines) text += line + "\n";
  text += fmt::format("SEED {} FAILED: {}\nreplay: tercet_sim --seed {} --trace\n", seed,
                      outcome.failure, seed);
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

void RunSeed(uint64_t seed, const Options& options, Shared& shared) {
  const Outcome outcome = Simulation(seed, Trace::Mode::kOff).Run();
  bool failed = !outcome.failure.empty();
  if (failed) PrintFailure(seed);
  if (!failed && options.recheck > 0 && seed % options.recheck == 0) {
    const Outcome again = Simulation(seed, Trace::Mode::kOff).Run();
    if (again.hash != outcome.hash) {
      failed = true;
      fmt::print("SEED {} FAILED: two runs of it differ\n", seed);
      std::fflush(stdout);
    }
  }
  if (failed) {
    ++shared.failed;
    if (!options.keep_going) shared.stop = true;
  }
  ++shared.done;
  shared.calls += outcome.calls;
  shared.records += outcome.records;
  shared.leaders += outcome.leaders;
  shared.faults += outcome.counts.faults;
  shared.starts += outcome.counts.starts;
  shared.power_cuts += outcome.counts.power_cuts;
  shared.truncations += outcome.counts.truncations;
  shared.offers += outcome.counts.offers;
  shared.fetches += outcome.counts.fetches;
  shared.memberships += outcome.counts.memberships;
  shared.virtual_ms += static_cast<uint64_t>(outcome.time / kMillisecond);
  const auto recovery =
      static_cast<uint64_t>(std::max<SimTime>(outcome.recovery, 0) / kMillisecond);
  if (options.slow_ms > 0 && recovery >= options.slow_ms) {
    fmt::print("seed {} came to rest after {} ms\n", seed, recovery);
    std::fflush(stdout);
  }
  uint64_t longest = shared.longest_recovery_ms;
  while (recovery > longest &&
         !shared.longest_recovery_ms.compare_exchange_weak(longest, recovery)) {
  }
}

void Work(int worker, const Options& options, Shared& shared, steady_clock::time_point deadline) {
  for (;;) {
    if (shared.stop || steady_clock::now() >= deadline) return;
    const uint64_t seed = shared.next_seed++;
    if (!options.forever && options.minutes == 0 && seed >= options.from + options.seeds) return;
    shared.current[worker] = seed;
    RunSeed(seed, options, shared);
    shared.current[worker] = 0;
  }
}

/// A worker that died has found something, too.
void AwaitWorkers(const std::map<pid_t, int>& workers, Shared& shared) {
  for (size_t left = workers.size(); left > 0; --left) {
    int status = 0;
    const pid_t pid = wait(&status);
    auto it = workers.find(pid);
    if (it == workers.end()) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    const uint64_t seed = shared.current[it->second];
    fmt::print(
        "SEED {} FAILED: the simulation crashed ({})\nreplay: tercet_sim --seed {} --trace\n", seed,
        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), seed);
    ++shared.failed;
    shared.stop = true;
  }
}

int RunMany(const Options& options) {
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
      Work(worker, options, shared, deadline);
      std::fflush(stdout);
      _exit(0);
    }
    if (pid > 0) workers[pid] = worker;
  }
  AwaitWorkers(workers, shared);
  const double seconds = std::chrono::duration<double>(steady_clock::now() - start).count();
  fmt::print(
      "{} seeds from {} in {:.1f} s ({:.2f} ms each): {} failed; {} calls, {} records, {} "
      "leaders, {} s of virtual time, longest recovery {} ms\n",
      shared.done.load(), options.from, seconds,
      seconds * 1000 * options.jobs / static_cast<double>(std::max<uint64_t>(shared.done, 1)),
      shared.failed.load(), shared.calls.load(), shared.records.load(), shared.leaders.load(),
      shared.virtual_ms.load() / 1000, shared.longest_recovery_ms.load());
  fmt::print(
      "{} faults, {} starts, {} power cuts, {} truncations, {} state offers, {} fetched "
      "states, {} memberships\n",
      shared.faults.load(), shared.starts.load(), shared.power_cuts.load(),
      shared.truncations.load(), shared.offers.load(), shared.fetches.load(),
      shared.memberships.load());
  return shared.failed == 0 ? 0 : 1;
}

int RunOne(const Options& options) {
  const Outcome outcome =
      Simulation(options.seed, options.trace ? Trace::Mode::kPrint : Trace::Mode::kOff).Run();
  fmt::print("{}\nhash {:016x}, {} calls, {} records, {} leaders, {} ms\n", outcome.scenario,
             outcome.hash, outcome.calls, outcome.records, outcome.leaders,
             outcome.time / kMillisecond);
  if (outcome.failure.empty()) return 0;
  fmt::print("SEED {} FAILED: {}\n", options.seed, outcome.failure);
  return 1;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Simulates metadata groups under faults, one seed after the other");
  app.add_option("--seeds", options.seeds, "how many seeds")->capture_default_str();
  app.add_option("--from", options.from, "the first one")->capture_default_str();
  app.add_option("--jobs", options.jobs, "processes")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  app.add_option("--seed", options.seed, "run this one alone");
  app.add_flag("--trace", options.trace, "with --seed: print what happens");
  app.add_flag("--forever", options.forever, "until a seed fails, or it is stopped");
  app.add_option("--minutes", options.minutes, "until so much time is over");
  app.add_flag("--keep-going", options.keep_going, "also behind a seed that failed");
  app.add_option("--recheck", options.recheck, "run every Nth seed twice and compare; 0: none")
      ->capture_default_str();
  app.add_option(
      "--slow", options.slow_ms,
      "name the seeds that came to rest only so many ms of virtual time after the last fault");
  CLI11_PARSE(app, argc, argv);
  SetLogLevel(LogLevel::kError);
  return options.seed != 0 ? RunOne(options) : RunMany(options);
}

}  // namespace
}  // namespace tercet::sim

int main(int argc, char** argv) { return tercet::sim::Main(argc, argv); }
