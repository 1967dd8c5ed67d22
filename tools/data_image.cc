#include "tools/data_image.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "common/env/posix_disk.h"
#include "tools/dev_cluster.h"
#include "tools/process.h"
#include "tools/run_program.h"

namespace tercet {
namespace {

// ext4 and XFS share the call (fs/ext4/ext4.h, EXT4_IOC_SHUTDOWN); the flag: do not write the
// journal first.
constexpr unsigned long kShutdown = _IOR('X', 125, uint32_t);
constexpr uint32_t kWithoutFlushingTheLog = 2;
constexpr std::chrono::seconds kFreeWithin{20};

}  // namespace

Status MountDataImage(const std::string& image, const std::string& folder, uint64_t size_bytes) {
  if (IsMounted(folder)) return Status::Ok();
  RETURN_IF_ERROR(RealDisk().MakeDirectories(folder));
  std::error_code error;
  if (!std::filesystem::exists(image, error)) {
    // Under its name only when it is complete.
    const std::string fresh = image + ".new";
    const int fd = ::open(fresh.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) return StatusFromErrno(errno, "make " + fresh);
    const int result = ::ftruncate(fd, static_cast<off_t>(size_bytes));
    const int failure = errno;
    ::close(fd);
    if (result != 0) return StatusFromErrno(failure, "make " + fresh);
    RETURN_IF_ERROR(RunProgram({"mkfs.ext4", "-q", "-F", "-m", "0", fresh}).status());
    RETURN_IF_ERROR(RealDisk().Rename(fresh, image));
  }
  Status mounted = RunProgram({"mount", "-o", "loop,noatime", image, folder}).status();
  if (!mounted.ok())
    return mounted.WithContext("mount " + image + " (needs root and loop devices)");
  // ext4's own folder must not be taken for data.
  std::filesystem::remove(folder + "/lost+found", error);
  return Status::Ok();
}

Status UnmountDataImage(const std::string& folder) {
  if (!IsMounted(folder)) return Status::Ok();
  return RunProgram({"umount", folder}).status();
}

Status AwaitImageFree(const std::string& image) {
  Status asked;
  const bool free = WaitFor(kFreeWithin, [&] {
    auto devices = RunProgram({"losetup", "-j", image});
    asked = devices.status();
    return !devices.ok() || devices->empty();
  });
  if (!asked.ok()) return asked;
  return free ? Status::Ok()
              : Status(StatusCode::kDeadlineExceeded, image + " is in use by a loop device");
}

Status CutPower(const std::string& folder) {
  if (!IsMounted(folder)) {
    return Status(StatusCode::kNotSupported, folder + " is no file system of its own");
  }
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return StatusFromErrno(errno, "open " + folder);
  uint32_t flags = kWithoutFlushingTheLog;
  const int result = ::ioctl(fd, kShutdown, &flags);
  const int error = errno;
  ::close(fd);
  if (result == 0) return Status::Ok();
  if (error == ENOTTY || error == EOPNOTSUPP) {
    return Status(StatusCode::kNotSupported, folder + " is on a file system that cannot do this");
  }
  return StatusFromErrno(error, "shut down " + folder);
}

}  // namespace tercet
