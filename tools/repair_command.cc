// tercet repair status|limit
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/config/config.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/storage_command.h"
#include "tools/storage_reports.h"

namespace tercet {
namespace {

struct Arguments : AdminArguments {
  bool watch = false;
  std::string repair;
  std::string move;
  std::string delay;
  std::string scrub_period;
};

int Show(const Arguments& arguments, const AdminClient& client) {
  for (;;) {
    auto reply =
        client.Call(&wire::AdminServiceClient::GetRepairStatus, wire::GetRepairStatusRequest());
    if (!reply.ok()) return ExitStatus(reply.status());
    Print(arguments.json, RepairJson(*reply), RepairText(*reply));
    if (!arguments.watch) return kExitOk;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

/// Less is most likely a forgotten unit.
constexpr uint64_t kLeastRate = 64 << 10;

/// "80MiB", or "0" or "none" for no limit.
Result<int64_t> ParseRate(const std::string& text) {
  if (text == "none" || text == "0") return 0;
  ASSIGN_OR_RETURN(const uint64_t bytes, ParseSize(text));
  if (bytes < kLeastRate || bytes > (uint64_t{1} << 50)) {
    return Status(StatusCode::kInvalidArgument,
                  text + ": from 64KiB to 1PiB a second, for example 80MiB, or none");
  }
  return static_cast<int64_t>(bytes);
}

Result<wire::SetLimitsRequest> RequestOf(const Arguments& arguments) {
  wire::SetLimitsRequest request;
  if (!arguments.repair.empty()) {
    ASSIGN_OR_RETURN(const int64_t rate, ParseRate(arguments.repair));
    request.__set_repair_bytes_per_second(rate);
  }
  if (!arguments.move.empty()) {
    ASSIGN_OR_RETURN(const int64_t rate, ParseRate(arguments.move));
    request.__set_move_bytes_per_second(rate);
  }
  if (!arguments.scrub_period.empty()) {
    ASSIGN_OR_RETURN(const int64_t seconds, ParseSeconds(arguments.scrub_period));
    request.__set_scrub_period_s(seconds);
  }
  if (!arguments.delay.empty()) {
    if (arguments.delay == "0") {
      request.__set_repair_delay_ms(0);
    } else {
      ASSIGN_OR_RETURN(const std::chrono::milliseconds delay, ParseDuration(arguments.delay));
      request.__set_repair_delay_ms(delay.count());
    }
  }
  if (arguments.repair.empty() && arguments.move.empty() && arguments.scrub_period.empty() &&
      arguments.delay.empty()) {
    return Status(StatusCode::kInvalidArgument,
                  "which limit? --repair, --move, --delay or --scrub-period");
  }
  return request;
}

int Limit(const Arguments& arguments, const AdminClient& client) {
  auto request = RequestOf(arguments);
  if (!request.ok()) return UsageError(request.status());
  auto reply = client.Call(&wire::AdminServiceClient::SetLimits, *request,
                           AdminClient::Repeat::kAlsoWhenBusy);
  if (!reply.ok()) return ExitStatus(reply.status());
  return Show(arguments, client);
}

}  // namespace

void AddRepairCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command repair = app.AddSubcommand("repair", "how replicas are made again, and how fast");
  repair.RequireSubcommand();
  const auto run = [=](int (*action)(const Arguments&, const AdminClient&)) {
    return [=] {
      *exit_status = WithAdmin(
          *arguments, [&](const AdminClient& client) { return action(*arguments, client); });
    };
  };
  Command status = repair.AddSubcommand("status", "what waits, what runs, the limits");
  status.AddFlag("--watch", arguments->watch, "again every second, until ^C");
  status.OnRun(run(Show));
  Command limit = repair.AddSubcommand(
      "limit", "change what background work may use; in force within a second or two");
  limit
      .AddOption("--repair", arguments->repair,
                 "bytes a second and server for making replicas again, e.g. 80MiB; none: as fast "
                 "as it goes. Blocks with few replicas left are never limited")
      .TypeName("SIZE");
  limit
      .AddOption("--move", arguments->move,
                 "the same for draining, balancing and conversions; what clients feel limits "
                 "these further")
      .TypeName("SIZE");
  limit
      .AddOption("--delay", arguments->delay,
                 "how long a server may be away before its replicas are made again, e.g. 30s")
      .TypeName("TIME");
  limit
      .AddOption("--scrub-period", arguments->scrub_period,
                 "within which all replicas are read and verified, e.g. 14d; off: never")
      .TypeName("TIME");
  limit.OnRun(run(Limit));
  for (Command command : {status, limit}) AddAdminOptions(command, arguments.get());
}

}  // namespace tercet
