#include "tools/drill/drill.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "common/env/clock.h"
#include "common/env/random.h"
#include "tools/admin_client.h"
#include "tools/drill/fault.h"
#include "tools/drill/stop_flag.h"
#include "tools/group_actions.h"

namespace tercet {
namespace {

using Clock = PauseLog::Clock;
using std::chrono::milliseconds;

constexpr milliseconds kPoll{20};
constexpr std::chrono::seconds kTakeOverWithin{30};
constexpr std::chrono::seconds kGoOnWithin{60};
constexpr std::chrono::seconds kWholeWithin{120};
constexpr milliseconds kStatusTimeout{3'000};
constexpr const char* kDirectoryPrefix = ".tercet-drill-";

/// A drill under way. Not thread-safe.
class Drill {
 public:
  Drill(const DrillOptions& options, const DrillPlace& place,
        const std::function<void(const std::string&)>& progress)
      : place_(place), progress_(progress) {
    report_.options = options;
  }

  Status Prepare();
  void Run();
  DrillReport Finish();

 private:
  Status CheckChunkServers() const;
  /// kCancelled when a stop was requested.
  Status RunRound(int number);
  Status DoFault(int number, const GroupSurvey& before, DrillRound* round);
  Status AwaitWhole(GroupSurvey* survey) const;
  Status AwaitTakeOver(const GroupSurvey& before) const;
  Status AwaitLoad(Clock::time_point since) const;
  std::string NameOf(const GroupSurvey& survey) const;
  void NoteCounts(DrillRound* round);

  const DrillPlace place_;
  const std::function<void(const std::string&)> progress_;
  DrillReport report_;
  std::string load_directory_;
  std::unique_ptr<DrillLoad> load_;
  std::unique_ptr<RegisterCheck> registers_;
  std::unique_ptr<Fault> fault_;
  LoadCounts counted_;
  uint64_t counted_stale_ = 0;
};

template <typename Done>
Status Await(std::chrono::milliseconds timeout, const std::string& what, Done&& done) {
  const auto end = Clock::now() + timeout;
  Status last;
  for (;;) {
    last = done();
    if (last.ok()) return last;
    if (StopRequested()) return Status(StatusCode::kCancelled, "interrupted");
    if (Clock::now() >= end) {
      return Status(StatusCode::kDeadlineExceeded,
                    fmt::format("{} not within {} s: {}", what,
                                std::chrono::duration_cast<std::chrono::seconds>(timeout).count(),
                                last.message()));
    }
    if (!SleepUnlessStopped(kPoll)) return Status(StatusCode::kCancelled, "interrupted");
  }
}

Status Drill::Prepare() {
  const GroupSurvey survey = SurveyGroup(place_.metaservers);
  RETURN_IF_ERROR(CheckAffordable(report_.options, survey));
  RETURN_IF_ERROR(CheckChunkServers());
  // Before the load: it may say that this is not possible here.
  ASSIGN_OR_RETURN(fault_, MakeFault(report_.options, place_,
                                     [this](const HostPort& address, milliseconds hold) {
                                       registers_->ReadWhilePaused(address, hold);
                                     }));
  report_.note = fault_->note();
  report_.cluster_id = survey.cluster_id;
  report_.started_at_ns = RealClock().WallNanos();
  load_directory_ = fmt::format("{}{}-{:08x}", kDirectoryPrefix, ::getpid(),
                                static_cast<uint32_t>(SystemRandom().Next()));
  ASSIGN_OR_RETURN(load_, DrillLoad::Start({.metaservers = place_.metaservers,
                                            .directory = load_directory_,
                                            .threads = report_.options.threads,
                                            .with_data = report_.options.with_data}));
  auto others = load_->OthersLike(kDirectoryPrefix);
  if (others.ok()) {
    for (const std::string& name : *others) {
      progress_("/" + name + " is of another drill: remove it if that one was killed");
    }
  }
  std::vector<HostPort> pinned;
  for (const SurveyedMember& member : survey.members) {
    if (member.id == 0 || member.witness) continue;
    ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(member.address));
    pinned.push_back(address);
  }
  auto registers = RegisterCheck::Start(place_.metaservers,
                                        static_cast<int64_t>(load_->directory().value()), pinned);
  if (!registers.ok()) {
    load_->Stop();
    if (Status status = load_->CleanUp(); !status.ok()) {
      progress_("/" + load_directory_ + " is left: " + status.message());
    }
    return registers.status();
  }
  registers_ = std::move(*registers);
  return Status::Ok();
}

Status Drill::CheckChunkServers() const {
  if (!report_.options.with_data) return Status::Ok();
  ASSIGN_OR_RETURN(const wire::GetStatusResponse status,
                   AdminClient(place_.metaservers, {.timeout = kStatusTimeout}).GetStatus());
  const auto alive = std::count_if(status.servers.begin(), status.servers.end(),
                                   [](const wire::ServerStatus& server) { return server.alive; });
  if (alive == static_cast<ptrdiff_t>(status.servers.size()) && alive > 0) return Status::Ok();
  return Status(
      StatusCode::kFailedPrecondition,
      fmt::format("only {} of {} chunk servers are alive, and the load writes data: start "
                  "them, or use --no-data",
                  alive, status.servers.size()));
}

void Drill::Run() {
  for (int number = 1; number <= report_.options.rounds && !StopRequested(); ++number) {
    const Status status = RunRound(number);
    if (status.ok()) continue;
    report_.interrupted = StopRequested();
    if (!report_.interrupted) {
      report_.reasons.push_back(fmt::format("round {}: {}", number, status.message()));
    }
    break;
  }
  report_.interrupted |= StopRequested();
}

Status Drill::RunRound(int number) {
  GroupSurvey before;
  RETURN_IF_ERROR(AwaitWhole(&before));
  DrillRound round;
  round.number = number;
  const auto calm_since = Clock::now();
  load_->ForgetBefore(calm_since);
  if (!SleepUnlessStopped(report_.options.interval)) {
    return Status(StatusCode::kCancelled, "interrupted");
  }
  round.calm = load_->PauseSince(calm_since).longest;
  round.from = NameOf(before);
  const auto begin = Clock::now();
  Status status = DoFault(number - 1, before, &round);
  // Whatever happened: it is undone.
  const Status restored = fault_->Restore();
  if (status.ok()) status = restored;
  GroupSurvey after;
  if (status.ok()) status = AwaitLoad(begin);
  if (status.ok()) status = AwaitWhole(&after);
  const LoadPause pause = load_->PauseSince(begin);
  round.pause = pause.longest;
  round.median_of_threads = pause.median_of_threads;
  round.slowest_operation = pause.operation;
  round.whole_after = Clock::now() - begin;
  if (status.ok()) round.to = NameOf(after);
  NoteCounts(&round);
  progress_(fmt::format(
      "round {} of {}: {}, {} -> {}, pause {:.0f} ms ({})", number, report_.options.rounds,
      round.fault, round.from, round.to.empty() ? "?" : round.to,
      std::chrono::duration<double, std::milli>(round.pause).count(), round.slowest_operation));
  if (status.code() != StatusCode::kCancelled) report_.rounds.push_back(std::move(round));
  return status;
}

Status Drill::DoFault(int number, const GroupSurvey& before, DrillRound* round) {
  const auto begin = Clock::now();
  ASSIGN_OR_RETURN(round->fault, fault_->Inject(number, before));
  if (!fault_->LeavesService()) return Status::Ok();
  if (fault_->MovesActive()) RETURN_IF_ERROR(AwaitTakeOver(before));
  RETURN_IF_ERROR(AwaitLoad(begin));
  const auto held = std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
  if (held < fault_->hold() && !SleepUnlessStopped(fault_->hold() - held)) {
    return Status(StatusCode::kCancelled, "interrupted");
  }
  return Status::Ok();
}

Status Drill::AwaitWhole(GroupSurvey* survey) const {
  return Await(kWholeWithin, "the group is whole", [&] {
    *survey = SurveyGroup(place_.metaservers);
    return CheckGroupWhole(*survey);
  });
}

Status Drill::AwaitTakeOver(const GroupSurvey& before) const {
  return Await(kTakeOverWithin, "another metaserver took over", [&] {
    // A paused one is not waited for.
    const GroupSurvey now = SurveyGroup(place_.metaservers, milliseconds(300));
    if (now.active_id != 0 && now.active_id != before.active_id) return Status::Ok();
    return Status(StatusCode::kUnavailable,
                  now.active_id == 0 ? now.no_active_reason : "the same one is active still");
  });
}

Status Drill::AwaitLoad(Clock::time_point since) const {
  return Await(kGoOnWithin, "all threads of the load went on", [&] {
    return load_->AllWentOnAfter(since)
               ? Status::Ok()
               : Status(StatusCode::kUnavailable, "some operation is still waiting");
  });
}

std::string Drill::NameOf(const GroupSurvey& survey) const {
  const SurveyedMember* active = survey.active();
  if (active == nullptr) return "none";
  if (place_.dev != nullptr) {
    for (const DevNode& node : place_.dev->nodes()) {
      if (node.IsMember() && node.Where() == active->address) return node.name;
    }
  }
  return active->address;
}

void Drill::NoteCounts(DrillRound* round) {
  const LoadCounts now = load_->counts();
  const RegisterCounts registers = registers_->counts();
  round->operations = now.operations - counted_.operations;
  round->errors = now.errors + now.wrong - counted_.errors - counted_.wrong;
  round->stale_reads = registers.stale_reads - counted_stale_;
  counted_ = now;
  counted_stale_ = registers.stale_reads;
}

DrillReport Drill::Finish() {
  progress_("checking everything that was acknowledged");
  registers_->Stop();
  load_->Stop();
  report_.registers = registers_->counts();
  report_.load = load_->counts();
  report_.findings = registers_->findings();
  for (std::string& finding : load_->findings()) report_.findings.push_back(std::move(finding));
  auto verdict = load_->Verify();
  if (verdict.ok()) {
    report_.verified = true;
    report_.verdict = *verdict;
    report_.findings.insert(report_.findings.end(), verdict->findings.begin(),
                            verdict->findings.end());
  } else {
    report_.reasons.push_back("the check at the end failed: " + verdict.status().ToString());
  }
  JudgeDrill(&report_);
  const bool keep = !report_.verified || report_.verdict.lost > 0 || report_.verdict.extra > 0;
  if (keep) {
    report_.directory = "/" + load_directory_;
  } else if (Status status = load_->CleanUp(); !status.ok()) {
    report_.directory = "/" + load_directory_;
    progress_("the load's files are left: " + status.message());
  }
  return std::move(report_);
}

}  // namespace

std::string_view FaultKindName(FaultKind kind) {
  switch (kind) {
    case FaultKind::kKill:
      return "kill";
    case FaultKind::kStop:
      return "stop";
    case FaultKind::kSwitchover:
      return "switchover";
    case FaultKind::kPartition:
      return "partition";
    case FaultKind::kPower:
      return "power";
  }
  return "";
}

Result<FaultKind> ParseFaultKind(const std::string& name) {
  for (FaultKind kind : {FaultKind::kKill, FaultKind::kStop, FaultKind::kSwitchover,
                         FaultKind::kPartition, FaultKind::kPower}) {
    if (FaultKindName(kind) == name) return kind;
  }
  return Status(StatusCode::kInvalidArgument, "there is no kind of fault '" + name + "'");
}

std::string_view FaultTargetName(FaultTarget target) {
  switch (target) {
    case FaultTarget::kActive:
      return "active";
    case FaultTarget::kStandby:
      return "standby";
    case FaultTarget::kWitness:
      return "witness";
    case FaultTarget::kAny:
      return "any";
  }
  return "";
}

Result<FaultTarget> ParseFaultTarget(const std::string& name) {
  for (FaultTarget target :
       {FaultTarget::kActive, FaultTarget::kStandby, FaultTarget::kWitness, FaultTarget::kAny}) {
    if (FaultTargetName(target) == name) return target;
  }
  return Status(StatusCode::kInvalidArgument, "there is no target '" + name + "'");
}

DrillLimits DefaultLimits(FaultKind kind) {
  switch (kind) {
    case FaultKind::kKill:
      return {.median = milliseconds(800), .longest = milliseconds(1'500)};
    case FaultKind::kSwitchover:
      return {.median = {}, .longest = milliseconds(200)};
    case FaultKind::kStop:
    case FaultKind::kPartition:
      return {.median = {}, .longest = milliseconds(2'000)};
    case FaultKind::kPower:
      return {};
  }
  return {};
}

Status CheckAffordable(const DrillOptions& options, const GroupSurvey& survey) {
  const auto refuse = [](const std::string& why) {
    return Status(StatusCode::kFailedPrecondition, "no drill: " + why);
  };
  if (Status whole = CheckGroupWhole(survey); !whole.ok()) {
    return refuse("the group is not whole: " + whole.message());
  }
  size_t voters = 0;
  size_t standbys = 0;
  size_t witnesses = 0;
  for (const SurveyedMember& member : survey.members) {
    if (member.id == 0) continue;
    ++voters;
    if (member.witness) {
      ++witnesses;
    } else if (member.id != survey.active_id) {
      ++standbys;
    }
  }
  const bool one_is_hit = options.kind == FaultKind::kKill || options.kind == FaultKind::kStop;
  const bool hits_active =
      options.kind == FaultKind::kSwitchover || options.kind == FaultKind::kPartition ||
      (one_is_hit &&
       (options.target == FaultTarget::kActive || options.target == FaultTarget::kAny));
  if (hits_active && standbys == 0) {
    return refuse(
        "there is no standby that could take over: add one (tercet dev up --metaservers 2 "
        "--witnesses 1, or tercet meta add)");
  }
  if (one_is_hit && options.target == FaultTarget::kStandby && standbys == 0) {
    return refuse("there is no standby");
  }
  if (one_is_hit && options.target == FaultTarget::kWitness && witnesses == 0) {
    return refuse("there is no witness");
  }
  const bool one_is_lost = one_is_hit || options.kind == FaultKind::kPartition;
  if (one_is_lost && voters - 1 < voters / 2 + 1) {
    return refuse(
        fmt::format("with {} voters the loss of one leaves no majority: add a witness "
                    "(tercet dev up --witnesses 1, or tercet meta add --witness)",
                    voters));
  }
  return Status::Ok();
}

Result<DrillReport> RunDrill(const DrillOptions& options, const DrillPlace& place,
                             const std::function<void(const std::string&)>& progress) {
  Drill drill(options, place, progress);
  RETURN_IF_ERROR(drill.Prepare());
  drill.Run();
  return drill.Finish();
}

std::chrono::nanoseconds DrillReport::Percentile(double share) const {
  std::vector<std::chrono::nanoseconds> pauses;
  for (const DrillRound& round : rounds) pauses.push_back(round.pause);
  return PercentileOf(std::move(pauses), share);
}

void JudgeDrill(DrillReport* report) {
  std::vector<std::string>& reasons = report->reasons;
  const auto millis = [](std::chrono::nanoseconds time) {
    return std::chrono::duration<double, std::milli>(time).count();
  };
  if (report->interrupted) reasons.push_back("it was interrupted");
  if (report->registers.stale_reads > 0) {
    reasons.push_back(fmt::format("{} stale reads", report->registers.stale_reads));
  }
  if (report->load.wrong > 0) {
    reasons.push_back(fmt::format("{} wrong answers", report->load.wrong));
  }
  if (report->load.errors > 0) {
    reasons.push_back(fmt::format("{} operations failed", report->load.errors));
  }
  if (report->registers.write_errors > 0) {
    reasons.push_back(
        fmt::format("{} calls to the registers failed", report->registers.write_errors));
  }
  if (report->verdict.lost > 0) {
    reasons.push_back(fmt::format("{} acknowledged files are lost or older", report->verdict.lost));
  }
  if (report->verdict.extra > 0) {
    reasons.push_back(fmt::format("{} files are there that must not be", report->verdict.extra));
  }
  const DrillLimits& limits = report->options.limits;
  if (limits.longest && report->Percentile(1.0) > *limits.longest) {
    reasons.push_back(fmt::format("the longest pause, {:.0f} ms, is above {} ms",
                                  millis(report->Percentile(1.0)), limits.longest->count()));
  }
  if (limits.median && report->MedianPause() > *limits.median) {
    reasons.push_back(fmt::format("the median pause, {:.0f} ms, is above {} ms",
                                  millis(report->MedianPause()), limits.median->count()));
  }
}

}  // namespace tercet
