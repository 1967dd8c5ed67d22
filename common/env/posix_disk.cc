#include "common/env/posix_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace tercet {
namespace {

Status ErrnoStatus(const char* call, const std::string& path, int error = errno) {
  return StatusFromErrno(error, std::string(call) + " " + path);
}

/// Repeats a system call that a signal interrupted.
template <typename Call>
auto Uninterrupted(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

class PosixFile final : public File {
 public:
  PosixFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  ~PosixFile() override { ::close(descriptor_); }

  Result<size_t> ReadAt(uint64_t offset, std::span<char> out) const override {
    size_t done = 0;
    while (done < out.size()) {
      ssize_t count = Uninterrupted([&] {
        return ::pread(descriptor_, out.data() + done, out.size() - done,
                       static_cast<off_t>(offset + done));
      });
      if (count < 0) return ErrnoStatus("read", path_);
      if (count == 0) break;
      done += static_cast<size_t>(count);
    }
    return done;
  }

  Status WriteAt(uint64_t offset, std::string_view data) override {
    size_t done = 0;
    while (done < data.size()) {
      ssize_t count = Uninterrupted([&] {
        return ::pwrite(descriptor_, data.data() + done, data.size() - done,
                        static_cast<off_t>(offset + done));
      });
      if (count < 0) return ErrnoStatus("write", path_);
      if (count == 0) return Status(StatusCode::kIo, "write " + path_ + ": nothing was written");
      done += static_cast<size_t>(count);
    }
    return Status::Ok();
  }

  Status WriteVectorAt(uint64_t offset, std::span<const iovec> pieces) override {
    std::vector<iovec> rest(pieces.begin(), pieces.end());
    size_t next = 0;
    while (next < rest.size()) {
      if (rest[next].iov_len == 0) {
        ++next;
        continue;
      }
      int batch = static_cast<int>(std::min<size_t>(rest.size() - next, IOV_MAX));
      ssize_t count = Uninterrupted([&] {
        return ::pwritev(descriptor_, rest.data() + next, batch, static_cast<off_t>(offset));
      });
      if (count < 0) return ErrnoStatus("write", path_);
      if (count == 0) return Status(StatusCode::kIo, "write " + path_ + ": nothing was written");
      offset += static_cast<uint64_t>(count);
      next = Advance(rest, next, static_cast<size_t>(count));
    }
    return Status::Ok();
  }

  Status Sync() override {
    if (Uninterrupted([&] { return ::fdatasync(descriptor_); }) != 0) {
      return ErrnoStatus("fdatasync", path_);
    }
    return Status::Ok();
  }

  Status Truncate(uint64_t size) override {
    if (Uninterrupted([&] { return ::ftruncate(descriptor_, static_cast<off_t>(size)); }) != 0) {
      return ErrnoStatus("truncate", path_);
    }
    return Status::Ok();
  }

  Status Allocate(uint64_t size) override {
    if (size == 0) return Status::Ok();
    int error = 0;
    do {
      error = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(size));
    } while (error == EINTR);
    if (error != 0) return ErrnoStatus("allocate space for", path_, error);
    return Status::Ok();
  }

  Result<uint64_t> Size() const override {
    struct stat info;
    if (::fstat(descriptor_, &info) != 0) return ErrnoStatus("stat", path_);
    return static_cast<uint64_t>(info.st_size);
  }

  void DropCache(uint64_t offset, uint64_t size) const override {
    // Only advice: that it was not followed does no harm.
    (void)::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size),
                          POSIX_FADV_DONTNEED);
  }

  void StartWriteback(uint64_t offset, uint64_t size) override {
    // Sync tells of errors.
    (void)::sync_file_range(descriptor_, static_cast<off64_t>(offset), static_cast<off64_t>(size),
                            SYNC_FILE_RANGE_WRITE);
  }

  int descriptor() const override { return descriptor_; }

 private:
  /// Takes `count` written bytes off the pieces from `next` on; returns the first that is not done.
  static size_t Advance(std::vector<iovec>& pieces, size_t next, size_t count) {
    while (next < pieces.size() && count >= pieces[next].iov_len) {
      count -= pieces[next].iov_len;
      ++next;
    }
    if (count > 0) {
      pieces[next].iov_base = static_cast<char*>(pieces[next].iov_base) + count;
      pieces[next].iov_len -= count;
    }
    return next;
  }

  const int descriptor_;
  const std::string path_;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(int descriptor) : descriptor_(descriptor) {}
  ~PosixLock() override { ::close(descriptor_); }

 private:
  const int descriptor_;
};

/// Kept open, because errors of writing back are told to the descriptors that were open then.
class PosixFileSystem final : public DiskFileSystem {
 public:
  PosixFileSystem(int descriptor, std::string path)
      : descriptor_(descriptor), path_(std::move(path)) {}
  ~PosixFileSystem() override { ::close(descriptor_); }

  Status Sync() override {
    if (Uninterrupted([&] { return ::syncfs(descriptor_); }) != 0) {
      return ErrnoStatus("syncfs", path_);
    }
    return Status::Ok();
  }

 private:
  const int descriptor_;
  const std::string path_;
};

int OpenFlags(OpenMode mode) {
  switch (mode) {
    case OpenMode::kReadOnly:
      return O_RDONLY;
    case OpenMode::kReadWrite:
      return O_RDWR;
    case OpenMode::kCreate:
      return O_RDWR | O_CREAT;
    case OpenMode::kCreateExclusive:
      return O_RDWR | O_CREAT | O_EXCL;
  }
  return O_RDONLY;
}

class PosixDisk final : public Disk {
 public:
  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    int descriptor =
        Uninterrupted([&] { return ::open(path.c_str(), OpenFlags(mode) | O_CLOEXEC, 0644); });
    if (descriptor < 0) return ErrnoStatus("open", path);
    return std::unique_ptr<File>(std::make_unique<PosixFile>(descriptor, path));
  }

  Status Rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) {
      return ErrnoStatus("rename", from + " to " + to);
    }
    return Status::Ok();
  }

  Status Remove(const std::string& path) override {
    if (::remove(path.c_str()) != 0) return ErrnoStatus("remove", path);
    return Status::Ok();
  }

  Status MakeDirectories(const std::string& path) override {
    if (path.empty()) return Status(StatusCode::kInvalidArgument, "make folder: empty path");
    for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
      std::string folder = path.substr(0, end);
      if (::mkdir(folder.c_str(), 0755) == 0) {
        RETURN_IF_ERROR(SyncDirectory(DirectoryOf(folder)));
      } else if (errno != EEXIST) {
        return ErrnoStatus("make folder", folder);
      }
      if (end == std::string::npos) break;
    }
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) return ErrnoStatus("stat", path);
    if (!S_ISDIR(info.st_mode)) return ErrnoStatus("make folder", path, ENOTDIR);
    return Status::Ok();
  }

  Status SyncDirectory(const std::string& path) override {
    int descriptor =
        Uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (descriptor < 0) return ErrnoStatus("open folder", path);
    int result = Uninterrupted([&] { return ::fsync(descriptor); });
    int error = errno;
    ::close(descriptor);
    if (result != 0) return ErrnoStatus("fsync", path, error);
    return Status::Ok();
  }

  Result<std::vector<std::string>> List(const std::string& path) override {
    DIR* folder = ::opendir(path.c_str());
    if (folder == nullptr) return ErrnoStatus("list", path);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(folder)) {
      std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    int error = errno;
    ::closedir(folder);
    if (error != 0) return ErrnoStatus("list", path, error);
    return names;
  }

  Result<bool> Exists(const std::string& path) override {
    struct stat info;
    if (::lstat(path.c_str(), &info) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return ErrnoStatus("stat", path);
  }

  Result<DiskSpace> Space(const std::string& path) override {
    struct statvfs info;
    if (Uninterrupted([&] { return ::statvfs(path.c_str(), &info); }) != 0) {
      return ErrnoStatus("statvfs", path);
    }
    // Root may use the blocks that ext4 keeps back for it, but should not fill them.
    return DiskSpace{.total_bytes = uint64_t{info.f_blocks} * info.f_frsize,
                     .available_bytes = uint64_t{info.f_bavail} * info.f_frsize};
  }

  Result<std::unique_ptr<DiskFileSystem>> OpenFileSystem(const std::string& path) override {
    int descriptor =
        Uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (descriptor < 0) return ErrnoStatus("open folder", path);
    return std::unique_ptr<DiskFileSystem>(std::make_unique<PosixFileSystem>(descriptor, path));
  }

  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    int descriptor =
        Uninterrupted([&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644); });
    if (descriptor < 0) return ErrnoStatus("open", path);
    if (Uninterrupted([&] { return ::flock(descriptor, LOCK_EX | LOCK_NB); }) != 0) {
      int error = errno;
      ::close(descriptor);
      if (error == EWOULDBLOCK) {
        return Status(StatusCode::kBusy, "lock " + path + ": another process holds it");
      }
      return ErrnoStatus("lock", path, error);
    }
    return std::unique_ptr<FileLock>(std::make_unique<PosixLock>(descriptor));
  }
};

}  // namespace

Disk& RealDisk() {
  static PosixDisk* disk = new PosixDisk;
  return *disk;
}

}  // namespace tercet
