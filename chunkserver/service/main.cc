// tercet-chunkserver: keeps replicas of blocks on local disks and serves them.
// Exit status: 0 after SIGTERM or SIGINT, 2 for a wrong command line or configuration, 1 for the
// rest.
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstdio>
#include <optional>
#include <thread>

#include "chunkserver/service/chunkserver.h"
#include "chunkserver/service/chunkserver_config.h"
#include "common/config/daemon_options.h"
#include "common/env/posix_disk.h"
#include "common/log/log.h"

namespace tercet {
namespace {

constexpr const char* kProgram = "tercet-chunkserver";

/// The one line for people, on standard error and, when that is elsewhere, in the log.
int Fail(const ChunkserverConfig& config, const Status& status) {
  std::fprintf(stderr, "%s: %s\n", kProgram, status.message().c_str());
  if (!config.log_file.empty()) LOG_ERROR("ends: {}", status.message());
  return 1;
}

/// Every open replica and connection takes a descriptor.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    LOG_WARN("the limit of open files stays low: raise it with ulimit -n");
  }
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

int Serve(const ChunkserverConfig& config) {
  auto started = Chunkserver::Start(config, RealDisk(), RealClock(), SystemRandom());
  if (!started.ok()) return Fail(config, started.status());
  Chunkserver& server = **started;
  // The signals are blocked in all threads; this one takes them. It also ends when the server has
  // ended by itself, by the signal sent below.
  std::thread waiter([&server] {
    const sigset_t signals = StopSignals();
    int signal = 0;
    sigwait(&signals, &signal);
    server.RequestStop();
  });
  const Status end = server.Wait();
  pthread_kill(waiter.native_handle(), SIGTERM);
  waiter.join();
  const int status = end.ok() ? 0 : Fail(config, end);
  started->reset();
  LOG_INFO("stopped");
  return status;
}

int Main(int argc, char** argv) {
  ChunkserverConfig config;
  ConfigSchema schema;
  config.Describe(schema);
  if (std::optional<int> status =
          LoadDaemonConfig(argc, argv, kProgram, "Tercet chunk server", schema)) {
    return *status;
  }
  LogOptions log;
  log.program = kProgram;
  log.file = config.log_file;
  auto level = ParseLogLevel(config.log_level);
  if (level.ok()) log.level = *level;
  if (Status status = InitLogging(log); !status.ok()) {
    std::fprintf(stderr, "%s: %s\n", kProgram, status.message().c_str());
    return 1;
  }
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  RaiseDescriptorLimit();
  return Serve(config);
}

}  // namespace
}  // namespace tercet

int main(int argc, char** argv) { return tercet::Main(argc, argv); }
