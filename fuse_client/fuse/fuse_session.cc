#include "fuse_client/fuse/fuse_session.h"

#include <pthread.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "common/log/log.h"
#include "fuse_client/fuse/mount_context.h"
#include "fuse_client/fuse/mount_point.h"

namespace tercet {

namespace {

constexpr int kMaxThreads = 64;
constexpr int kIdleThreads = 16;
constexpr unsigned kMaxRequestBytes = 1 << 20;
// Requests the kernel may have under way without a waiting program (read-ahead, writeback).
constexpr unsigned kMaxBackground = 64;
constexpr uint64_t kKernelReadAheadBytes = 4 << 20;
constexpr auto kStopGrace = std::chrono::seconds(10);

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  return set;
}

void Init(void*, fuse_conn_info* connection) {
  connection->max_write = kMaxRequestBytes;
  connection->max_readahead = kKernelReadAheadBytes;
  connection->max_background = kMaxBackground;
  connection->congestion_threshold = kMaxBackground * 3 / 4;
  for (unsigned wanted :
       {FUSE_CAP_ASYNC_READ, FUSE_CAP_ASYNC_DIO, FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_AUTO_INVAL_DATA,
        FUSE_CAP_READDIRPLUS, FUSE_CAP_ATOMIC_O_TRUNC, FUSE_CAP_CACHE_SYMLINKS}) {
    if (connection->capable & wanted) connection->want |= wanted;
  }
  // The kernel clears set-uid bits itself by setattr; and plain readdir stays available for large
  // lists.
  connection->want &= ~(FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_WRITEBACK_CACHE |
                        FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_SPLICE_READ);
}

std::vector<std::string> SessionArguments(const MountOptions& options) {
  std::string list = "fsname=tercet:" + options.metaservers.front().ToString() +
                     ",subtype=tercet,default_permissions";
  if (options.allow_other) list += ",allow_other";
  if (options.read_only) list += ",ro";
  // As on a local file system; libfuse would switch them off. Later options win.
  if (geteuid() == 0) list += ",dev,suid";
  for (const std::string& option : options.kernel_options) list += "," + option;
  return {"tercet-mount", "-o", list};
}

}  // namespace

void BlockStopSignals() {
  const sigset_t set = StopSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

struct FuseSession::Impl {
  // Constant after Create.
  std::string mount_point;
  FileSystem* file_system = nullptr;
  MountContext context;
  fuse_session* session = nullptr;
  pthread_t main_thread = {};

  std::mutex mutex;
  std::condition_variable changed;
  bool ended = false;  // guarded by mutex: Serve's loop has returned

  bool WaitEnded(std::chrono::seconds duration) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, duration, [&] { return ended; });
  }

  // Waits for a signal and sees to it that the loop ends.
  void HandleSignals() {
    const sigset_t set = StopSignals();
    for (;;) {
      const timespec second = {1, 0};
      const int signal = sigtimedwait(&set, nullptr, &second);
      if (WaitEnded(std::chrono::seconds(0))) return;
      if (signal < 0) continue;
      LOG_INFO("unmounting on a signal signal={} mount_point={}", signal, mount_point);
      if (umount2(mount_point.c_str(), MNT_DETACH) != 0) {
        LOG_WARN("{}", StatusFromErrno(errno, "unmount " + mount_point));
      }
      if (WaitEnded(kStopGrace)) return;
      LOG_WARN("files are still in use or calls wait for the cluster: ending them mount_point={}",
               mount_point);
      file_system->Interrupt();
      fuse_session_exit(session);
      // Wakes the loop's own thread out of its wait so that it sees the exit flag.
      pthread_kill(main_thread, SIGUSR1);
    }
  }
};

FuseSession::FuseSession() : impl_(std::make_unique<Impl>()) {}

Result<std::unique_ptr<FuseSession>> FuseSession::Create(const MountOptions& options,
                                                         FileSystem* file_system) {
  std::unique_ptr<FuseSession> result(new FuseSession);
  Impl& impl = *result->impl_;
  impl.mount_point = options.mount_point;
  impl.file_system = file_system;
  impl.context.file_system = file_system;
  impl.context.attr_timeout_seconds = options.attr_timeout.count() / 1e3;
  impl.context.entry_timeout_seconds = options.entry_timeout.count() / 1e3;

  fuse_lowlevel_ops ops = {};
  ops.init = Init;
  SetNameCallbacks(&ops);
  SetAttributeCallbacks(&ops);
  SetFileCallbacks(&ops);
  SetDirectoryCallbacks(&ops);

  std::vector<std::string> arguments = SessionArguments(options);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());
  impl.session = fuse_session_new(&args, &ops, sizeof(ops), &impl.context);
  fuse_opt_free_args(&args);
  if (impl.session == nullptr) {
    return Status(StatusCode::kInvalidArgument,
                  "libfuse refuses the mount options " + arguments[2]);
  }
  impl.context.session = impl.session;
  if (fuse_session_mount(impl.session, impl.mount_point.c_str()) != 0) {
    fuse_session_destroy(impl.session);
    impl.session = nullptr;
    return Status(StatusCode::kIo, "cannot mount at " + impl.mount_point +
                                       "; are you root, or is fusermount3 installed?");
  }
  const Result<std::string> device = MountedDevice(impl.mount_point);
  if (device.ok()) {
    const Status status = SetKernelReadAhead(*device, kKernelReadAheadBytes);
    if (!status.ok()) LOG_DEBUG("{}", status);
  }
  return result;
}

FuseSession::~FuseSession() {
  if (impl_->session == nullptr) return;
  fuse_session_unmount(impl_->session);
  fuse_session_destroy(impl_->session);
}

Status FuseSession::Serve() {
  struct sigaction wake = {};
  wake.sa_handler = [](int) {};
  sigaction(SIGUSR1, &wake, nullptr);
  impl_->main_thread = pthread_self();
  std::thread signals([this] { impl_->HandleSignals(); });

  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_clone_fd(config, 1);
  fuse_loop_cfg_set_max_threads(config, kMaxThreads);
  fuse_loop_cfg_set_idle_threads(config, kIdleThreads);
  const int result = fuse_session_loop_mt(impl_->session, config);
  fuse_loop_cfg_destroy(config);

  {
    std::lock_guard lock(impl_->mutex);
    impl_->ended = true;
  }
  impl_->changed.notify_all();
  signals.join();
  if (result < 0) return StatusFromErrno(-result, "serve " + impl_->mount_point);
  return Status::Ok();
}

}  // namespace tercet
