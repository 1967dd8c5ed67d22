// What the commands about servers, disks, repair, balance, policies and the trash share.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/config/command_line.h"
#include "tercet_thrift/admin_types.h"
#include "tools/admin_client.h"

namespace tercet {

/// What all of them take.
struct AdminArguments {
  std::string meta;
  bool json = false;
};
/// Adds --meta and --json.
void AddAdminOptions(Command command, AdminArguments* arguments);

/// Runs `action` with a client of the metaservers that were named; kExitUsage when none were.
int WithAdmin(const AdminArguments& arguments,
              const std::function<int(const AdminClient&)>& action);

/// Prints the message; kExitUsage.
int UsageError(const Status& status);

/// One of the two to standard output.
void Print(bool json, const nlohmann::json& object, const std::string& text);

/// The server that the user named: by id, HOST:PORT, or its name in the development cluster of
/// DefaultDevDirectory(). kNotFound says which there are.
Result<int32_t> ResolveServer(const wire::GetStatusResponse& status, const std::string& text);
/// "server 3 (127.0.0.1:9500)".
std::string ServerTitle(const wire::ServerStatus& server);
/// Null when there is none.
const wire::ServerStatus* FindServer(const wire::GetStatusResponse& status, int32_t id);

/// The absolute path within the file system of what the user named: a path on a mount, or that
/// path itself. kInvalidArgument for a relative path that is on no mount.
Result<std::string> PathInFileSystem(const std::string& path);

/// "30s", "2h" and so on, or "0" or "off" for none, in seconds.
Result<int64_t> ParseSeconds(const std::string& text);

/// Asks on the terminal. OK with `yes`, when the answer begins with y, or when standard input is no
/// terminal (a script that says --force means it); else kCancelled.
Status Confirm(const std::string& question, bool yes);

/// At most 20 lines that name files, for a warning.
std::string FileLines(const std::vector<wire::FileName>& files);
nlohmann::json FileNamesJson(const std::vector<wire::FileName>& files);

/// Says how far something is, on standard error, once it takes more than two seconds: on a terminal
/// in one line that is written over, else in a line each ten seconds. Not thread-safe.
class ProgressLine {
 public:
  ProgressLine();
  /// Ends the line.
  ~ProgressLine();
  void Show(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;
  const bool terminal_;
  const Clock::time_point begin_;
  Clock::time_point last_;
  bool open_ = false;  // a line without its end is there
};

}  // namespace tercet
