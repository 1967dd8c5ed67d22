// Starting, finding and ending the daemons of a development cluster.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tercet {

/// A process that cannot be mistaken for a later one with the same number.
struct ProcessId {
  pid_t pid = 0;
  uint64_t start_time = 0;  // clock ticks since boot, /proc/PID/stat
  std::string boot_id;      // of the boot in which it was started

  std::string Encode() const;
  /// nullopt when the text is no process id.
  static std::optional<ProcessId> Decode(const std::string& text);
};

enum class ProcessState { kRunning, kPaused, kGone };

/// kGone also for a zombie and for another process that has taken the number.
ProcessState StateOf(const ProcessId& id);

/// How long ago it was started, to 10 ms; never more than it really is.
std::chrono::milliseconds AgeOf(const ProcessId& id);

struct SpawnOptions {
  std::vector<std::string> command;  // the program's path first
  std::string pid_file;              // written by the child before it becomes the program
  std::string output_file;           // its stdout and stderr, emptied first
  std::string working_directory;
};

/// Starts a daemon: session of its own, nothing inherited but the environment. It outlives the
/// caller. kNotFound and the like when the program cannot be executed.
Result<ProcessId> SpawnDaemon(const SpawnOptions& options);

/// What the pid file names, whether it still runs or not; nullopt when there is none.
std::optional<ProcessId> ReadPidFile(const std::string& path);

/// kNotFound when the process is gone.
Status SendSignal(const ProcessId& id, int signal);

/// Waits until it is gone; false after `timeout`.
bool WaitUntilGone(const ProcessId& id, std::chrono::milliseconds timeout);

/// Repeats `done` every `interval` until it holds; false after `timeout`.
bool WaitFor(std::chrono::milliseconds timeout, const std::function<bool()>& done,
             std::chrono::milliseconds interval = std::chrono::milliseconds(10));

/// Runs `action` in a child process, as it may block for ever in the kernel. Its errno value, 0 for
/// success; ETIMEDOUT when it was not done in time.
int RunBounded(std::chrono::milliseconds timeout, const std::function<int()>& action);

}  // namespace tercet
