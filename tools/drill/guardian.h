// Puts right what a drill leaves behind when it is killed.
//
// A child process that holds the reading end of a pipe. What the drill is about to break it writes
// there first; when the pipe ends and something is still broken, the child mends it: paused
// processes go on, firewall tables are removed. ^C and the end of the terminal do not reach it.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "common/base/status.h"
#include "tools/process.h"

namespace tercet {

/// To be started while the process has one thread. Not thread-safe.
class Guardian {
 public:
  static Result<std::unique_ptr<Guardian>> Start();
  /// Waits until all that was left is mended.
  ~Guardian();

  /// Before the process is paused, and after it goes on.
  Status Paused(const ProcessId& process);
  Status Continued(const ProcessId& process);
  /// Before the nftables table is made, and after it is gone.
  Status TableMade(const std::string& table);
  Status TableRemoved(const std::string& table);

 private:
  Guardian(pid_t child, int pipe) : child_(child), pipe_(pipe) {}
  Status Tell(const std::string& line);

  const pid_t child_;
  const int pipe_;
};

}  // namespace tercet
