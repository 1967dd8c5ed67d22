#include "tools/drill/chunk_drill.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>

#include "common/env/clock.h"
#include "common/env/random.h"
#include "tools/drill/stop_flag.h"

namespace tercet {
namespace {

using Clock = PauseLog::Clock;
using std::chrono::milliseconds;

constexpr milliseconds kPoll{250};
/// What is not whole by then is not going to be.
constexpr std::chrono::minutes kWholeWithin{10};
constexpr size_t kMinServers = 3;
constexpr AdminOptions kAdminOptions{.timeout = milliseconds(10'000),
                                     .patience = milliseconds(10'000)};

void Quiet(const std::string&) {}

/// What one chunk server suffers. Not thread-safe.
class ChunkFault {
 public:
  ChunkFault(ChunkFaultKind kind, DevCluster* dev, Guardian* guardian)
      : kind_(kind), dev_(dev), guardian_(guardian) {}

  /// What was done. After a failure Restore is called as well.
  Result<std::string> Inject(const DevNode& node) {
    const std::optional<ProcessId> process = ReadPidFile(dev_->Folder(node) + "/pid");
    if (!process || StateOf(*process) == ProcessState::kGone) {
      return Status(StatusCode::kFailedPrecondition, node.name + " is not running");
    }
    if (kind_ == ChunkFaultKind::kStop) {
      RETURN_IF_ERROR(guardian_->Paused(*process));
      paused_ = process;
      RETURN_IF_ERROR(SendSignal(*process, SIGSTOP));
      return "stop " + node.name;
    }
    killed_ = node.name;
    RETURN_IF_ERROR(dev_->Signal(node.name, SIGKILL));
    if (kind_ == ChunkFaultKind::kKill) return "kill -9 " + node.name;
    if (!node.HasImages()) return "power cut of " + node.name + " (page cache kept)";
    RETURN_IF_ERROR(dev_->CutPowerOf(node.name));
    return "power cut of " + node.name;
  }

  Status Restore() {
    if (paused_) {
      RETURN_IF_ERROR(SendSignal(*paused_, SIGCONT));
      RETURN_IF_ERROR(guardian_->Continued(*paused_));
      paused_.reset();
    }
    if (!killed_.empty()) {
      RETURN_IF_ERROR(dev_->Start(killed_, Quiet));
      killed_.clear();
    }
    return Status::Ok();
  }

 private:
  const ChunkFaultKind kind_;
  DevCluster* const dev_;
  Guardian* const guardian_;
  std::optional<ProcessId> paused_;
  std::string killed_;
};

/// A drill under way. Not thread-safe.
class ChunkDrill {
 public:
  ChunkDrill(const ChunkDrillOptions& options, DevCluster* dev, Guardian* guardian,
             const std::function<void(const std::string&)>& progress)
      : dev_(dev),
        progress_(progress),
        admin_(options.load.metaservers, kAdminOptions),
        fault_(options.kind, dev, guardian) {
    report_.options = options;
  }

  Status Prepare();
  void Run();
  ChunkDrillReport Finish();

 private:
  /// kCancelled when a stop was requested.
  Status RunRound(int number);
  static Status SleepUntil(Clock::time_point time);
  void NoteCounts(ChunkDrillRound* round);
  void CompareAll();

  DevCluster* const dev_;
  const std::function<void(const std::string&)> progress_;
  const AdminClient admin_;
  ChunkFault fault_;
  ChunkDrillReport report_;
  std::vector<const DevNode*> victims_;
  std::unique_ptr<ChunkLoad> load_;
  ChunkLoadCounts counted_;
};

Status ChunkDrill::Prepare() {
  for (const DevNode& node : dev_->nodes()) {
    if (node.role == DevRole::kChunkserver) victims_.push_back(&node);
  }
  ASSIGN_OR_RETURN(const wire::GetStatusResponse status, admin_.GetStatus());
  const auto alive = static_cast<size_t>(
      std::count_if(status.servers.begin(), status.servers.end(),
                    [](const wire::ServerStatus& server) { return server.alive; }));
  if (alive < kMinServers || alive < victims_.size()) {
    return Status(StatusCode::kFailedPrecondition,
                  fmt::format("no drill: {} of {} chunk servers are alive; at least {} and all "
                              "that there are must be (tercet dev up --chunkservers 4)",
                              alive, victims_.size(), kMinServers));
  }
  if (report_.options.kind == ChunkFaultKind::kPower) {
    const bool images = std::all_of(victims_.begin(), victims_.end(),
                                    [](const DevNode* node) { return node->HasImages(); });
    report_.note = images
                       ? "what was not synced was dropped"
                       : "page cache kept: what was not synced survived. Only a cluster that was "
                         "made with `tercet dev up --disk-image-mb` (root, loop devices) can drop "
                         "it";
  }
  report_.cluster_id = status.cluster_id;
  report_.started_at_ns = RealClock().WallNanos();
  ChunkLoadOptions& load = report_.options.load;
  load.directory = fmt::format(".tercet-drill-{}-{:08x}", ::getpid(),
                               static_cast<uint32_t>(SystemRandom().Next()));
  ASSIGN_OR_RETURN(load_, ChunkLoad::Start(load));
  return Status::Ok();
}

Status ChunkDrill::SleepUntil(Clock::time_point time) {
  const auto left = std::chrono::duration_cast<milliseconds>(time - Clock::now());
  if (left.count() > 0 && !SleepUnlessStopped(left)) {
    return Status(StatusCode::kCancelled, "interrupted");
  }
  return Status::Ok();
}

void ChunkDrill::Run() {
  for (int number = 1; number <= report_.options.rounds && !StopRequested(); ++number) {
    const Status status = RunRound(number);
    if (status.ok()) continue;
    if (!StopRequested()) {
      report_.reasons.push_back(fmt::format("round {}: {}", number, status.message()));
    }
    break;
  }
  report_.interrupted = StopRequested();
}

Status ChunkDrill::RunRound(int number) {
  ChunkDrillRound round;
  round.number = number;
  const DevNode& victim = *victims_[static_cast<size_t>(number - 1) % victims_.size()];
  round.node = victim.name;
  const auto begin = Clock::now();
  load_->ForgetBefore(begin);
  auto fault = fault_.Inject(victim);
  Status status = fault.status();
  if (fault.ok()) {
    round.fault = *fault;
    status = SleepUntil(begin + report_.options.down);
  }
  // Whatever happened: it is undone.
  const Status restored = fault_.Restore();
  round.back_after = Clock::now() - begin;
  if (status.ok()) status = restored;
  if (status.ok()) status = SleepUntil(begin + report_.options.interval);
  const LoadPause pause = load_->PauseSince(begin);
  round.pause = pause.longest;
  round.slowest_operation = pause.operation;
  round.median_of_threads = pause.median_of_threads;
  NoteCounts(&round);
  progress_(fmt::format(
      "round {} of {}: {}, pause {:.0f} ms ({}), {} operations, {} errors, {} wrong bytes", number,
      report_.options.rounds, round.fault,
      std::chrono::duration<double, std::milli>(round.pause).count(), round.slowest_operation,
      round.operations, round.errors, round.wrong_bytes));
  if (status.code() != StatusCode::kCancelled) report_.rounds.push_back(std::move(round));
  return status;
}

void ChunkDrill::NoteCounts(ChunkDrillRound* round) {
  const ChunkLoadCounts now = load_->counts();
  round->operations = now.operations - counted_.operations;
  round->errors = now.errors - counted_.errors;
  round->wrong_bytes = now.wrong_bytes - counted_.wrong_bytes;
  counted_ = now;
}

void ChunkDrill::CompareAll() {
  auto fresh = load_->FreshClient();
  if (!fresh.ok()) {
    report_.reasons.push_back("the comparison of replicas failed: " + fresh.status().message());
    return;
  }
  uint64_t files = 0;
  auto blocks = FindReplicas(*dev_, admin_, **fresh, load_->directory(), &files);
  if (!blocks.ok()) {
    report_.reasons.push_back("the comparison of replicas failed: " + blocks.status().message());
    return;
  }
  report_.compared = true;
  report_.replicas = CompareReplicas(*blocks);
  report_.replicas.files = files;
}

ChunkDrillReport ChunkDrill::Finish() {
  progress_("waiting until all blocks have their replicas again");
  load_->Stop();
  report_.load = load_->counts();
  report_.latencies = load_->latencies();
  report_.findings = load_->findings();
  const milliseconds patience = report_.interrupted ? milliseconds(0) : milliseconds(kWholeWithin);
  auto whole = AwaitWhole(admin_, patience);
  report_.whole = whole.ok();
  if (whole.ok()) report_.whole_after = *whole;
  if (!whole.ok()) report_.findings.push_back("not whole: " + whole.status().message());
  progress_("checking everything that was acknowledged, and comparing the replicas");
  auto verdict = load_->Verify();
  if (verdict.ok()) {
    report_.verified = true;
    report_.verdict = *verdict;
    report_.findings.insert(report_.findings.end(), verdict->findings.begin(),
                            verdict->findings.end());
  } else {
    report_.reasons.push_back("the check at the end failed: " + verdict.status().ToString());
  }
  CompareAll();
  report_.findings.insert(report_.findings.end(), report_.replicas.findings.begin(),
                          report_.replicas.findings.end());
  JudgeChunkDrill(&report_);
  const bool keep = !report_.verified || report_.verdict.wrong_bytes > 0 ||
                    report_.verdict.unreadable > 0 || !report_.replicas.identical();
  if (keep) {
    report_.directory = "/" + report_.options.load.directory;
  } else if (Status status = load_->CleanUp(); !status.ok()) {
    report_.directory = "/" + report_.options.load.directory;
    progress_("the load's files are left: " + status.message());
  }
  return std::move(report_);
}

}  // namespace

std::string_view ChunkFaultName(ChunkFaultKind kind) {
  switch (kind) {
    case ChunkFaultKind::kKill:
      return "kill";
    case ChunkFaultKind::kStop:
      return "stop";
    case ChunkFaultKind::kPower:
      return "power";
  }
  return "";
}

Result<ChunkFaultKind> ParseChunkFault(const std::string& name) {
  for (ChunkFaultKind kind :
       {ChunkFaultKind::kKill, ChunkFaultKind::kStop, ChunkFaultKind::kPower}) {
    if (ChunkFaultName(kind) == name) return kind;
  }
  return Status(StatusCode::kInvalidArgument, "there is no kind of fault '" + name + "'");
}

ChunkDrillLimits DefaultChunkLimits(ChunkFaultKind kind) {
  switch (kind) {
    case ChunkFaultKind::kKill:
      return {.longest = milliseconds(1'000)};
    case ChunkFaultKind::kStop:
      return {.longest = milliseconds(5'000)};
    case ChunkFaultKind::kPower:
      return {};
  }
  return {};
}

Status CheckWhole(const AdminClient& admin) {
  ASSIGN_OR_RETURN(
      const wire::GetRepairStatusResponse repair,
      admin.Call(&wire::AdminServiceClient::GetRepairStatus, wire::GetRepairStatusRequest()));
  for (const wire::RepairClassStatus& entry : repair.queue) {
    if (entry.blocks > 0) {
      return Status(StatusCode::kUnavailable,
                    fmt::format("{} blocks wait for repair: {}", entry.blocks, entry.name));
    }
  }
  if (repair.running > 0) {
    return Status(StatusCode::kUnavailable, fmt::format("{} repairs run", repair.running));
  }
  wire::FsckRequest request;
  request.path = "/";
  request.max_problems = 1;
  for (;;) {
    ASSIGN_OR_RETURN(const wire::FsckResponse page,
                     admin.Call(&wire::AdminServiceClient::Fsck, request));
    if (page.under_replicated + page.over_replicated + page.missing + page.corrupt > 0) {
      return Status(
          StatusCode::kUnavailable,
          fmt::format("{} blocks are under-replicated, {} over-replicated, {} missing, {} corrupt",
                      page.under_replicated, page.over_replicated, page.missing, page.corrupt));
    }
    if (page.cursor.empty()) return Status::Ok();
    request.cursor = page.cursor;
  }
}

Result<std::chrono::nanoseconds> AwaitWhole(const AdminClient& admin, milliseconds timeout) {
  const auto begin = PauseLog::Clock::now();
  for (;;) {
    const Status status = CheckWhole(admin);
    const auto took = PauseLog::Clock::now() - begin;
    if (status.ok()) return took;
    // Only a failure of asking is final at once.
    const bool may_come = status.code() == StatusCode::kUnavailable;
    if (!may_come) return status;
    if (took >= timeout || !SleepUnlessStopped(kPoll)) {
      return Status(StatusCode::kDeadlineExceeded, status.message());
    }
  }
}

Result<ChunkDrillReport> RunChunkDrill(const ChunkDrillOptions& options, DevCluster* dev,
                                       Guardian* guardian,
                                       const std::function<void(const std::string&)>& progress) {
  ChunkDrill drill(options, dev, guardian, progress);
  RETURN_IF_ERROR(drill.Prepare());
  drill.Run();
  return drill.Finish();
}

std::chrono::nanoseconds ChunkDrillReport::Percentile(double share) const {
  std::vector<std::chrono::nanoseconds> pauses;
  for (const ChunkDrillRound& round : rounds) pauses.push_back(round.pause);
  return PercentileOf(std::move(pauses), share);
}

void JudgeChunkDrill(ChunkDrillReport* report) {
  std::vector<std::string>& reasons = report->reasons;
  const auto add = [&](uint64_t count, const char* what) {
    if (count > 0) reasons.push_back(fmt::format("{} {}", count, what));
  };
  if (report->interrupted) reasons.push_back("it was interrupted");
  add(report->load.errors, "operations failed");
  add(report->load.wrong_bytes, "wrong bytes were read");
  add(report->verdict.wrong_bytes, "wrong bytes at the end");
  add(report->verdict.unreadable, "files cannot be read");
  add(report->replicas.absent, "replicas are not where the journal says");
  add(report->replicas.damaged, "replicas are damaged");
  add(report->replicas.differing, "replicas differ from others of their block");
  const auto millis = [](std::chrono::nanoseconds time) {
    return std::chrono::duration<double, std::milli>(time).count();
  };
  const ChunkDrillLimits& limits = report->options.limits;
  if (limits.longest && report->Percentile(1.0) > *limits.longest) {
    reasons.push_back(fmt::format("the longest pause, {:.0f} ms, is above {} ms",
                                  millis(report->Percentile(1.0)), limits.longest->count()));
  }
  if (!report->interrupted && (!report->whole || report->whole_after > limits.whole_within)) {
    reasons.push_back(fmt::format("not all blocks had their replicas within {} s",
                                  limits.whole_within.count() / 1000));
  }
}

}  // namespace tercet
