#include "tools/drill/guardian.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "tools/drill/link_cutter.h"

namespace tercet {
namespace {

void Obey(const std::string& line, std::set<std::string>* paused, std::set<std::string>* tables) {
  if (line.size() < 2) return;
  const std::string what = line.substr(2);
  switch (line[0]) {
    case 'P':
      paused->insert(what);
      break;
    case 'C':
      paused->erase(what);
      break;
    case 'T':
      tables->insert(what);
      break;
    case 'R':
      tables->erase(what);
      break;
    default:
      break;
  }
}

[[noreturn]] void Guard(int pipe) {
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_IGN);
  ::setsid();
  // The terminal or the test that reads our parent's output must see its end.
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
  std::set<std::string> paused;
  std::set<std::string> tables;
  std::string pending;
  char buffer[4096];
  for (;;) {
    const ssize_t count = ::read(pipe, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    pending.append(buffer, static_cast<size_t>(count));
    for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
      Obey(pending.substr(0, end), &paused, &tables);
    }
  }
  // Nobody is there to hear of a failure; a later drill removes tables that are left.
  for (const std::string& table : tables) (void)RemoveTable(table);
  for (const std::string& text : paused) {
    const std::optional<ProcessId> process = ProcessId::Decode(text);
    if (process) (void)SendSignal(*process, SIGCONT);
  }
  ::_exit(0);
}

}  // namespace

Result<std::unique_ptr<Guardian>> Guardian::Start() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return StatusFromErrno(errno, "pipe");
  const pid_t child = ::fork();
  if (child < 0) {
    const int error = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    return StatusFromErrno(error, "fork");
  }
  if (child == 0) {
    ::close(ends[1]);
    Guard(ends[0]);
  }
  ::close(ends[0]);
  return std::unique_ptr<Guardian>(new Guardian(child, ends[1]));
}

Guardian::~Guardian() {
  ::close(pipe_);
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Status Guardian::Tell(const std::string& line) {
  const std::string text = line + "\n";
  // Shorter than PIPE_BUF: written whole or not at all.
  if (::write(pipe_, text.data(), text.size()) == static_cast<ssize_t>(text.size())) {
    return Status::Ok();
  }
  return StatusFromErrno(errno, "tell the guardian process");
}

Status Guardian::Paused(const ProcessId& process) { return Tell("P " + process.Encode()); }
Status Guardian::Continued(const ProcessId& process) { return Tell("C " + process.Encode()); }
Status Guardian::TableMade(const std::string& table) { return Tell("T " + table); }
Status Guardian::TableRemoved(const std::string& table) { return Tell("R " + table); }

}  // namespace tercet
