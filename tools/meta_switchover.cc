// tercet meta switchover: hands the active role over as planned and says how long calls had to
// wait.
#include <fmt/format.h>

#include <atomic>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "tools/admin_client.h"
#include "tools/bench_common.h"
#include "tools/commands.h"
#include "tools/group_actions.h"
#include "tools/meta_command.h"
#include "tools/output.h"

namespace tercet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kWithin{20};
constexpr std::chrono::milliseconds kBetweenCalls{1};

struct Arguments : MetaArguments {
  std::string to;
};

/// Reads an attribute again and again, as a client of its own.
class PauseProbe {
 public:
  static Result<std::unique_ptr<PauseProbe>> Start(const std::vector<HostPort>& metaservers) {
    std::unique_ptr<PauseProbe> probe(new PauseProbe());
    ASSIGN_OR_RETURN(probe->sessions_, BenchSessions::Open(metaservers, 1, "switchover"));
    probe->thread_ = std::thread([p = probe.get()] { p->Run(); });
    return probe;
  }
  ~PauseProbe() { Stop(); }

  void Stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  /// After Stop.
  std::chrono::nanoseconds longest() const { return longest_; }
  uint64_t calls() const { return calls_; }
  const Status& failure() const { return failure_; }

 private:
  PauseProbe() = default;

  void Run() {
    MetadataClient& client = sessions_->Of(0);
    wire::GetAttributesRequest request;
    request.inode = static_cast<int64_t>(client.root().value());
    while (!stopping_) {
      const auto begin = Clock::now();
      const Status status =
          client.Read("getattr", &wire::MetadataServiceClient::GetAttributes, request).status();
      longest_ = std::max<std::chrono::nanoseconds>(longest_, Clock::now() - begin);
      ++calls_;
      if (!status.ok()) failure_ = status;
      std::this_thread::sleep_for(kBetweenCalls);
    }
  }

  std::unique_ptr<BenchSessions> sessions_;
  std::atomic<bool> stopping_{false};
  // The thread's until it ended.
  std::chrono::nanoseconds longest_{0};
  uint64_t calls_ = 0;
  Status failure_;
  std::thread thread_;
};

int Run(const Arguments& arguments) {
  Result<std::vector<HostPort>> metaservers = MetaAddressesFrom(arguments.meta);
  if (!metaservers.ok()) {
    ExitStatus(metaservers.status());
    return kExitUsage;
  }
  const GroupSurvey before = SurveyGroup(*metaservers);
  if (before.active_id == 0) {
    return ExitStatus(
        Status(StatusCode::kUnavailable, "no active metaserver: " + before.no_active_reason));
  }
  int32_t target = 0;
  if (!arguments.to.empty()) {
    auto named = NamedMember(before, arguments.to);
    if (!named.ok()) return ExitStatus(named.status());
    target = *named;
  }
  if (target == before.active_id) {
    std::printf("member %d (%s) is active already\n", target, before.active()->address.c_str());
    return kExitOk;
  }
  auto probe = PauseProbe::Start(*metaservers);
  if (!probe.ok()) return ExitStatus(probe.status());
  const auto begin = Clock::now();
  auto after = SwitchOver(*metaservers, target, kWithin);
  const auto took = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  (*probe)->Stop();
  if (!after.ok()) return ExitStatus(after.status());
  const double pause = std::chrono::duration<double, std::milli>((*probe)->longest()).count();
  const SurveyedMember& now = *after->active();
  if (arguments.json) {
    std::printf("%s\n", nlohmann::json({{"from", before.active_id},
                                        {"to", now.id},
                                        {"address", now.address},
                                        {"epoch", now.epoch},
                                        {"took_ms", took},
                                        {"pause_ms", pause},
                                        {"calls", (*probe)->calls()}})
                            .dump(2)
                            .c_str());
  } else {
    fmt::print(
        "member {} ({}) is active in epoch {}; the longest of {} calls meanwhile took {:.0f} "
        "ms\n",
        now.id, now.address, now.epoch, (*probe)->calls(), pause);
  }
  return ExitStatus((*probe)->failure());
}

}  // namespace

void AddMetaSwitchover(Command meta, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command command = meta.AddSubcommand(
      "switchover", "hand the active role over, without loss or errors, and wait until it is done");
  command.AddOption("to", arguments->to,
                    "to whom: its id, HOST:PORT or name in `tercet dev ps`; by default the "
                    "metaserver that is best prepared");
  AddMetaOptions(command, arguments.get(), true);
  command.OnRun([=] { *exit_status = Run(*arguments); });
}

}  // namespace tercet
