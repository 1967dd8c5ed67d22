// Checks before a mount, and what the kernel says about one.
#pragma once

#include <string>

#include "common/base/status.h"

namespace tercet {

/// The mount point as an absolute path, after checking that it can be mounted on and that FUSE is
/// there. kNotFound, kNotDirectory, kNotEmpty (unless `nonempty`), kBusy (a dead mount is in the
/// way), kFailedPrecondition (no /dev/fuse); the message says what to do.
Result<std::string> CheckMountPoint(const std::string& path, bool nonempty,
                                    const std::string& fuse_device = "/dev/fuse");

/// "MAJOR:MINOR" of what is mounted at the absolute path, from /proc/self/mountinfo (which, unlike
/// stat(2), never waits for the file system itself). kNotFound when nothing is mounted there.
Result<std::string> MountedDevice(const std::string& absolute_path);

/// Raises the kernel's read-ahead for the mount, best effort: it needs root and sysfs.
Status SetKernelReadAhead(const std::string& device, uint64_t bytes);

}  // namespace tercet
