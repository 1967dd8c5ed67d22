// tercet-mount: see mount_options.h for its command line.
#include <unistd.h>

#include <cstdio>

#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "fuse_client/core/file_system.h"
#include "fuse_client/fuse/client_metrics.h"
#include "fuse_client/fuse/daemonize.h"
#include "fuse_client/fuse/fuse_session.h"
#include "fuse_client/fuse/mount_options.h"
#include "fuse_client/fuse/mount_point.h"

namespace tercet {
namespace {

FileSystemOptions FileSystemOptionsFrom(const MountOptions& options) {
  FileSystemOptions out;
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  out.metaservers = options.metaservers;
  out.host_name = host;
  out.mount_point = options.mount_point;
  out.version = TERCET_VERSION;
  out.read_only = options.read_only;
  out.hard = options.hard;
  out.metadata_deadline = options.timeout;
  out.data_deadline = options.timeout;
  out.write_buffer_bytes = options.write_buffer_bytes;
  out.read_ahead_bytes = options.read_ahead_bytes;
  return out;
}

LogOptions LogOptionsFrom(const MountOptions& options) {
  LogOptions out;
  out.program = "tercet-mount";
  const Result<LogLevel> level = ParseLogLevel(options.log_level);
  if (level.ok()) out.level = *level;
  out.file = options.log_file;
  // Standard error is gone in the background.
  if (out.file.empty() && !options.foreground) out.file = "/var/log/tercet-mount.log";
  return out;
}

// Mounts, tells the waiting parent, serves until the mount is gone.
Status MountAndServe(const MountOptions& options, Daemonizer* daemonizer) {
  RETURN_IF_ERROR(InitLogging(LogOptionsFrom(options)));
  ASSIGN_OR_RETURN(auto file_system, FileSystem::Mount(FileSystemOptionsFrom(options)));
  std::unique_ptr<MetricsServer> metrics;
  if (options.metrics_port != 0) {
    ASSIGN_OR_RETURN(metrics, MetricsServer::Start("127.0.0.1", options.metrics_port));
  }
  ClientMetrics publisher(*file_system);
  Status served;
  {
    ASSIGN_OR_RETURN(auto session, FuseSession::Create(options, file_system.get()));
    LOG_INFO("mounted mount_point={} metaserver={} read_only={}", options.mount_point,
             options.metaservers.front().ToString(), options.read_only);
    daemonizer->Report(Status::Ok());
    served = session->Serve();
  }
  const Status flushed = file_system->Unmount();
  if (!flushed.ok()) {
    LOG_ERROR("written data was lost at unmount mount_point={}: {}", options.mount_point, flushed);
  }
  LOG_INFO("unmounted mount_point={}", options.mount_point);
  RETURN_IF_ERROR(served);
  return flushed;
}

int Run(int argc, char** argv) {
  Result<MountCommand> command = ParseMountCommand(argc, argv);
  if (!command.ok()) {
    fprintf(stderr, "tercet-mount: %s\n", command.status().message().c_str());
    return 2;
  }
  if (command->action == MountCommand::Action::kPrint) {
    fputs(command->text.c_str(), stdout);
    return 0;
  }
  MountOptions& options = command->options;
  Result<std::string> mount_point = CheckMountPoint(options.mount_point, options.nonempty);
  if (!mount_point.ok()) {
    fprintf(stderr, "tercet-mount: %s\n", mount_point.status().message().c_str());
    return 1;
  }
  options.mount_point = *mount_point;

  Daemonizer daemonizer(options.foreground);
  BlockStopSignals();
  const Status status = MountAndServe(options, &daemonizer);
  if (!status.ok()) daemonizer.Report(status);
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace tercet

int main(int argc, char** argv) { return tercet::Run(argc, argv); }
