// tercet-metaserver: serves the namespace of a cluster.
//
// Exit status: 0 after a clean stop, 1 when it cannot start or go on, 2 for a usage or
// configuration error. In each case but the first standard error has one line that says why.
#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <exception>
#include <memory>
#include <string>

#include "common/base/version.h"
#include "common/config/daemon_options.h"
#include "common/env/posix_disk.h"
#include "common/log/log.h"
#include "metaserver/service/metaserver.h"
#include "metaserver/service/metaserver_config.h"

namespace tercet {
namespace {

constexpr char kProgram[] = "tercet-metaserver";
constexpr int kFailure = 1;
constexpr int kUsageError = 2;

int Fail(const Status& status) {
  std::fprintf(stderr, "%s: %s\n", kProgram, status.message().c_str());
  return kFailure;
}

/// SIGTERM and SIGINT are taken by the main thread with sigtimedwait; every thread inherits the
/// mask.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

/// Until a stop signal comes (OK) or the metaserver cannot go on.
Status ServeUntilStopped(Metaserver* metaserver, const sigset_t& signals) {
  constexpr timespec kPollInterval{.tv_sec = 0, .tv_nsec = 100'000'000};
  while (true) {
    const int signal = sigtimedwait(&signals, nullptr, &kPollInterval);
    if (signal > 0) {
      LOG_INFO("stopping signal={}", signal);
      return Status::Ok();
    }
    RETURN_IF_ERROR(metaserver->Poll());
  }
}

Status Run(const MetaserverConfig& config, const sigset_t& signals) {
  std::unique_ptr<MetricsEndpoint> metrics;
  if (config.metrics_port != 0) {
    auto started = MetricsEndpoint::Start(config.metrics_host, config.metrics_port);
    if (!started.ok()) return started.status().WithContext("metrics");
    metrics = std::move(started).value();
  }
  ASSIGN_OR_RETURN(auto metaserver,
                   Metaserver::Start(config, RealDisk(), RealClock(), SystemRandom()));
  const Status status = ServeUntilStopped(metaserver.get(), signals);
  if (!status.ok()) LOG_ERROR("giving up: {}", status);
  const int64_t begin_ms = RealClock().MonotonicMillis();
  metaserver.reset();
  LOG_INFO("stopped took_ms={}", RealClock().MonotonicMillis() - begin_ms);
  return status;
}

int Main(int argc, char** argv) {
  const sigset_t signals = BlockStopSignals();
  MetaserverConfig config;
  ConfigSchema schema;
  config.Describe(&schema);
  if (auto exit_status = LoadDaemonConfig(argc, argv, kProgram,
                                          "Serves the namespace of a Tercet cluster.", schema)) {
    return *exit_status;
  }
  LogOptions log;
  log.program = kProgram;
  log.node = "meta:" + std::to_string(config.listen_port);
  log.file = config.log_file;
  auto level = ParseLogLevel(config.log_level);
  if (!level.ok()) return Fail(level.status()), kUsageError;
  log.level = *level;
  if (Status status = InitLogging(log); !status.ok()) return Fail(status);
  LOG_INFO("starting version={} data_dir={}", kVersion, config.data_dir);
  const Status status = Run(config, signals);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace tercet

int main(int argc, char** argv) {
  try {
    return tercet::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tercet-metaserver: unexpected failure: %s\n", error.what());
    return 1;
  }
}
