#include "fuse_client/fuse/mount_point.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace tercet {

namespace {

Status CheckDevice(const std::string& fuse_device) {
  const int descriptor = open(fuse_device.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor >= 0) {
    close(descriptor);
    return Status::Ok();
  }
  std::string advice;
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
    advice =
        "FUSE is not there; load it with 'modprobe fuse' (in a container, pass --device /dev/fuse)";
  } else {
    advice = "mount as root, or let this user read and write the device";
  }
  return Status(StatusCode::kFailedPrecondition,
                "cannot open " + fuse_device + ": " + strerror(errno) + "; " + advice);
}

Status CheckEmpty(const std::string& path) {
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return StatusFromErrno(errno, "mount point " + path);
  bool empty = true;
  while (dirent* entry = readdir(directory)) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) empty = false;
  }
  closedir(directory);
  if (empty) return Status::Ok();
  return Status(StatusCode::kNotEmpty, "mount point " + path +
                                           " is not empty; choose an empty directory, or hide its "
                                           "content with -o nonempty");
}

// mountinfo escapes blanks and backslashes as \ooo.
std::string Unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out.push_back(static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8)));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace

Result<std::string> CheckMountPoint(const std::string& path, bool nonempty,
                                    const std::string& fuse_device) {
  RETURN_IF_ERROR(CheckDevice(fuse_device));
  struct stat attributes;
  if (stat(path.c_str(), &attributes) != 0) {
    if (errno == ENOENT) {
      return Status(
          StatusCode::kNotFound,
          "mount point " + path + " does not exist; make it with 'mkdir -p " + path + "'");
    }
    if (errno == ENOTCONN) {
      return Status(StatusCode::kBusy, "mount point " + path +
                                           " holds the remains of a mount whose process has died; "
                                           "remove them with 'umount -l " +
                                           path + "'");
    }
    return StatusFromErrno(errno, "mount point " + path);
  }
  if (!S_ISDIR(attributes.st_mode)) {
    return Status(StatusCode::kNotDirectory, "mount point " + path + " is not a directory");
  }
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr) {
    return StatusFromErrno(errno, "mount point " + path);
  }
  if (!nonempty) RETURN_IF_ERROR(CheckEmpty(resolved));
  return std::string(resolved);
}

Result<std::string> MountedDevice(const std::string& absolute_path) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line, device;
  while (std::getline(mounts, line)) {
    std::istringstream fields(line);
    std::string id, parent, number, root, path;
    fields >> id >> parent >> number >> root >> path;
    if (Unescape(path) == absolute_path) device = number;  // the last one is on top
  }
  if (device.empty()) {
    return Status(StatusCode::kNotFound, "nothing is mounted at " + absolute_path);
  }
  return device;
}

Status SetKernelReadAhead(const std::string& device, uint64_t bytes) {
  const std::string path = "/sys/class/bdi/" + device + "/read_ahead_kb";
  std::ofstream file(path);
  file << bytes / 1024 << std::flush;
  if (!file) return Status(StatusCode::kIo, "cannot set " + path);
  return Status::Ok();
}

}  // namespace tercet
