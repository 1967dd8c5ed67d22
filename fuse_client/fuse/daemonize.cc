#include "fuse_client/fuse/daemonize.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace tercet {

namespace {

void PrintError(const std::string& message) {
  fprintf(stderr, "tercet-mount: %s\n", message.c_str());
}

// The child sends one byte and closes when it is mounted; otherwise the text of its error.
[[noreturn]] void WaitForChild(int read_end) {
  std::string message;
  char buffer[1024];
  for (;;) {
    const ssize_t count = read(read_end, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    message.append(buffer, count);
  }
  if (message == std::string(1, '\0')) _exit(0);
  PrintError(message.empty() ? "the background process died before the mount was there; see its log"
                             : message);
  _exit(1);
}

void DetachFromTerminal() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (int target : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, target);
  close(null);
}

}  // namespace

Daemonizer::Daemonizer(bool foreground) : foreground_(foreground) {
  if (foreground_) return;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    PrintError(StatusFromErrno(errno, "pipe").message());
    _exit(1);
  }
  const pid_t child = fork();
  if (child < 0) {
    PrintError(StatusFromErrno(errno, "fork").message());
    _exit(1);
  }
  if (child > 0) {
    close(ends[1]);
    WaitForChild(ends[0]);
  }
  close(ends[0]);
  pipe_ = ends[1];
  setsid();
  if (chdir("/") != 0) PrintError("cannot change to /; the folder it was started in stays in use");
}

Daemonizer::~Daemonizer() {
  if (pipe_ >= 0) close(pipe_);
}

void Daemonizer::Report(const Status& status) {
  if (foreground_) {
    if (!status.ok()) PrintError(status.message());
    return;
  }
  if (pipe_ < 0) return;
  const std::string text = status.ok() ? std::string(1, '\0') : status.message();
  for (size_t done = 0; done < text.size();) {
    const ssize_t count = write(pipe_, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;  // the parent was killed: nobody is left to tell
    done += static_cast<size_t>(count);
  }
  close(pipe_);
  pipe_ = -1;
  if (status.ok()) DetachFromTerminal();
}

}  // namespace tercet
