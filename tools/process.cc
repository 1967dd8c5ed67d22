#include "tools/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <fstream>
#include <sstream>
#include <thread>

namespace tercet {
namespace {

std::string BootId() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(in, id);
  return id;
}

struct Stat {
  char state = 0;
  int threads = 0;
  uint64_t start_time = 0;
};

std::optional<Stat> ReadStat(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(in, line)) return std::nullopt;
  // The second field is the program's name in brackets and may itself hold spaces and brackets.
  size_t end = line.rfind(')');
  if (end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(end + 1));
  Stat stat;
  std::string skipped;
  fields >> stat.state;
  for (int field = 4; field <= 19; ++field) fields >> skipped;
  fields >> stat.threads >> skipped >> stat.start_time;
  if (!fields) return std::nullopt;
  return stat;
}

ProcessId Myself() {
  std::optional<Stat> stat = ReadStat(::getpid());
  return {.pid = ::getpid(), .start_time = stat ? stat->start_time : 0, .boot_id = BootId()};
}

bool WriteText(const std::string& path, const std::string& text) {
  int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return false;
  bool written = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  return ::close(file) == 0 && written;
}

/// In the child: becomes the daemon; on failure says why through the pipe.
[[noreturn]] void BecomeDaemon(const SpawnOptions& options, int failure_pipe) {
  auto fail = [&] {
    int error = errno;
    ssize_t ignored = ::write(failure_pipe, &error, sizeof(error));
    (void)ignored;
    ::_exit(127);
  };
  ::setsid();
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) ::signal(signal, SIG_DFL);
  int input = ::open("/dev/null", O_RDONLY);
  int output = ::open(options.output_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
  if (input < 0 || output < 0 || ::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 ||
      ::dup2(output, 2) < 0 || ::chdir(options.working_directory.c_str()) != 0 ||
      !WriteText(options.pid_file, Myself().Encode() + "\n")) {
    fail();
  }
  // What a caller left open (a pipe of a test runner) must not be kept open by a daemon.
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  std::vector<char*> arguments;
  for (const std::string& argument : options.command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  ::execv(arguments[0], arguments.data());
  fail();
  ::_exit(127);
}

}  // namespace

std::string ProcessId::Encode() const {
  return std::to_string(pid) + " " + std::to_string(start_time) + " " + boot_id;
}

std::optional<ProcessId> ProcessId::Decode(const std::string& text) {
  std::istringstream in(text);
  ProcessId id;
  in >> id.pid >> id.start_time >> id.boot_id;
  if (!in || id.pid <= 0) return std::nullopt;
  return id;
}

ProcessState StateOf(const ProcessId& id) {
  if (id.boot_id != BootId()) return ProcessState::kGone;
  std::optional<Stat> stat = ReadStat(id.pid);
  if (!stat || stat->start_time != id.start_time) return ProcessState::kGone;
  if (stat->state == 'X') return ProcessState::kGone;
  // The first thread of a killed process may have ended before the others, with which its ports and
  // locks go.
  if (stat->state == 'Z' && stat->threads <= 1) return ProcessState::kGone;
  return stat->state == 'T' ? ProcessState::kPaused : ProcessState::kRunning;
}

std::chrono::milliseconds AgeOf(const ProcessId& id) {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  int64_t now_ms = int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
  int64_t tick_ms = 1000 / ::sysconf(_SC_CLK_TCK);
  // The start is rounded down to a tick.
  int64_t age_ms = now_ms - (static_cast<int64_t>(id.start_time) + 1) * tick_ms;
  return std::chrono::milliseconds(std::max<int64_t>(0, age_ms));
}

Result<ProcessId> SpawnDaemon(const SpawnOptions& options) {
  int failure[2];
  if (::pipe2(failure, O_CLOEXEC) != 0) return StatusFromErrno(errno, "pipe");
  pid_t pid = ::fork();
  if (pid < 0) {
    int error = errno;
    ::close(failure[0]);
    ::close(failure[1]);
    return StatusFromErrno(error, "fork");
  }
  if (pid == 0) BecomeDaemon(options, failure[1]);
  ::close(failure[1]);
  int error = 0;
  ssize_t count;
  do {
    count = ::read(failure[0], &error, sizeof(error));
  } while (count < 0 && errno == EINTR);
  ::close(failure[0]);
  if (count > 0) {
    ::waitpid(pid, nullptr, 0);
    return StatusFromErrno(error, "start " + options.command[0]);
  }
  std::optional<ProcessId> id = ReadPidFile(options.pid_file);
  if (!id || id->pid != pid) {
    return Status(StatusCode::kInternal, options.pid_file + ": does not name the new process");
  }
  return *id;
}

std::optional<ProcessId> ReadPidFile(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  if (!std::getline(in, line)) return std::nullopt;
  return ProcessId::Decode(line);
}

Status SendSignal(const ProcessId& id, int signal) {
  if (StateOf(id) == ProcessState::kGone) {
    return Status(StatusCode::kNotFound, "process " + std::to_string(id.pid) + " is gone");
  }
  if (::kill(id.pid, signal) != 0) {
    return StatusFromErrno(errno, "signal process " + std::to_string(id.pid));
  }
  return Status::Ok();
}

bool WaitFor(std::chrono::milliseconds timeout, const std::function<bool()>& done,
             std::chrono::milliseconds interval) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(interval);
  }
  return true;
}

bool WaitUntilGone(const ProcessId& id, std::chrono::milliseconds timeout) {
  return WaitFor(timeout, [&] {
    // Reaps it when it is our own child; otherwise init does.
    ::waitpid(id.pid, nullptr, WNOHANG);
    return StateOf(id) == ProcessState::kGone;
  });
}

int RunBounded(std::chrono::milliseconds timeout, const std::function<int()>& action) {
  pid_t pid = ::fork();
  if (pid < 0) return errno;
  if (pid == 0) ::_exit(action());
  int status = 0;
  bool done = WaitFor(timeout, [&] { return ::waitpid(pid, &status, WNOHANG) == pid; });
  if (!done) {
    ::kill(pid, SIGKILL);  // takes effect when the kernel lets go of it
    return ETIMEDOUT;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

}  // namespace tercet
