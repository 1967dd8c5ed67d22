#include "tools/run_program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tools/process.h"

namespace tercet {
namespace {

constexpr size_t kMaxInputBytes = 64 << 10;
constexpr size_t kMaxOutputBytes = 1 << 20;
/// What the child exits with when there is no such program, as a shell does.
constexpr int kNoSuchProgram = 127;

/// An anonymous file.
class Scratch {
 public:
  Scratch() : fd_(::memfd_create("tercet", MFD_CLOEXEC)) {}
  ~Scratch() {
    if (fd_ >= 0) ::close(fd_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  int fd() const { return fd_; }
  bool Fill(const std::string& text) {
    return ::write(fd_, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
           ::lseek(fd_, 0, SEEK_SET) == 0;
  }
  std::string Text() const {
    std::string text(kMaxOutputBytes, '\0');
    const ssize_t count = ::pread(fd_, text.data(), text.size(), 0);
    text.resize(count > 0 ? static_cast<size_t>(count) : 0);
    return text;
  }

 private:
  const int fd_;
};

std::string OneLine(std::string text) {
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

}  // namespace

Result<std::string> RunProgram(const std::vector<std::string>& command, const std::string& input,
                               std::chrono::milliseconds timeout) {
  Scratch in;
  Scratch out;
  Scratch errors;
  if (in.fd() < 0 || out.fd() < 0 || errors.fd() < 0) return StatusFromErrno(errno, "memfd_create");
  if (input.size() > kMaxInputBytes) {
    return Status(StatusCode::kInternal, "too much input for " + command[0]);
  }
  if (!in.Fill(input)) return StatusFromErrno(errno, "memfd");
  // All is prepared before the fork: other threads may hold locks then.
  std::vector<char*> arguments;
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return StatusFromErrno(errno, "fork");
  if (pid == 0) {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    // ^C is for the caller, who may be in the middle of putting something right with this program.
    ::setpgid(0, 0);
    ::dup2(in.fd(), 0);
    ::dup2(out.fd(), 1);
    ::dup2(errors.fd(), 2);
    ::execvp(arguments[0], arguments.data());
    ::_exit(kNoSuchProgram);
  }
  int status = 0;
  if (!WaitFor(
          timeout, [&] { return ::waitpid(pid, &status, WNOHANG) == pid; },
          std::chrono::milliseconds(2))) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, &status, 0);
    return Status(StatusCode::kDeadlineExceeded, command[0] + " does not end");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return out.Text();
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoSuchProgram) {
    return Status(StatusCode::kNotFound,
                  "there is no program " + command[0] + " here: run tools/install-deps");
  }
  return Status(StatusCode::kFailedPrecondition, command[0] + ": " + OneLine(errors.Text()));
}

}  // namespace tercet
