#include "tools/drill/load_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace tercet {
namespace {

/// What direct I/O must be aligned to, and how much of it one call reads.
constexpr size_t kAlignment = 4096;
constexpr size_t kDirectBytes = 1 << 20;

class MountedFile final : public LoadFile {
 public:
  MountedFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~MountedFile() override {
    if (fd_ >= 0) ::close(fd_);
    if (direct_ >= 0) ::close(direct_);
    std::free(buffer_);
  }

  Status Write(uint64_t offset, std::string_view data) override {
    for (size_t done = 0; done < data.size();) {
      const ssize_t count =
          ::pwrite(fd_, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return StatusFromErrno(count < 0 ? errno : EIO, "write " + path_);
      done += static_cast<size_t>(count);
    }
    return Status::Ok();
  }

  Result<size_t> Read(uint64_t offset, std::span<char> out) override {
    if (direct_ < 0) {
      direct_ = ::open(path_.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
      if (direct_ < 0) return StatusFromErrno(errno, "open " + path_);
    }
    if (buffer_ == nullptr && ::posix_memalign(&buffer_, kAlignment, kDirectBytes) != 0) {
      return Status(StatusCode::kInternal, "no memory");
    }
    size_t done = 0;
    while (done < out.size()) {
      const uint64_t at = offset + done;
      const uint64_t begin = at / kAlignment * kAlignment;
      const ssize_t count = ::pread(direct_, buffer_, kDirectBytes, static_cast<off_t>(begin));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return StatusFromErrno(errno, "read " + path_);
      const uint64_t skip = at - begin;
      if (static_cast<uint64_t>(count) <= skip) break;
      const size_t take = std::min<size_t>(static_cast<size_t>(count) - skip, out.size() - done);
      std::memcpy(out.data() + done, static_cast<char*>(buffer_) + skip, take);
      done += take;
    }
    return done;
  }

  Status Sync() override {
    return ::fsync(fd_) == 0 ? Status::Ok() : StatusFromErrno(errno, "fsync " + path_);
  }

  Status Close() override {
    const int fd = std::exchange(fd_, -1);
    return ::close(fd) == 0 ? Status::Ok() : StatusFromErrno(errno, "close " + path_);
  }

 private:
  int fd_;
  const std::string path_;
  int direct_ = -1;  // for reading
  void* buffer_ = nullptr;
};

class MountedFiles final : public LoadFiles {
 public:
  explicit MountedFiles(std::string directory) : directory_(std::move(directory)) {}

  Result<std::unique_ptr<LoadFile>> Create(const std::string& name) override {
    return OpenWith(name, O_CREAT | O_EXCL);
  }
  Result<std::unique_ptr<LoadFile>> Open(const std::string& name) override {
    return OpenWith(name, 0);
  }
  Status Remove(const std::string& name) override {
    const std::string path = directory_ + "/" + name;
    return ::unlink(path.c_str()) == 0 ? Status::Ok() : StatusFromErrno(errno, "unlink " + path);
  }

 private:
  Result<std::unique_ptr<LoadFile>> OpenWith(const std::string& name, int flags) {
    const std::string path = directory_ + "/" + name;
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | flags, 0600);
    if (fd < 0) return StatusFromErrno(errno, "open " + path);
    return std::unique_ptr<LoadFile>(std::make_unique<MountedFile>(fd, path));
  }

  const std::string directory_;
};

class ClientFile final : public LoadFile {
 public:
  ClientFile(FileSystem* file_system, OpenFilePtr file)
      : file_system_(file_system), file_(std::move(file)) {}
  ~ClientFile() override {
    if (file_ != nullptr) file_system_->Release(file_);
  }

  Status Write(uint64_t offset, std::string_view data) override {
    return file_system_->Write(file_, offset, data);
  }
  Result<size_t> Read(uint64_t offset, std::span<char> out) override {
    return file_system_->Read(file_, offset, out);
  }
  Status Sync() override { return file_system_->Sync(file_, false); }
  Status Close() override {
    const Status status = file_system_->Flush(file_);
    file_system_->Release(std::exchange(file_, nullptr));
    return status;
  }

 private:
  FileSystem* const file_system_;
  OpenFilePtr file_;
};

class ClientFiles final : public LoadFiles {
 public:
  ClientFiles(FileSystem* file_system, InodeId directory)
      : file_system_(file_system), directory_(directory) {}

  Result<std::unique_ptr<LoadFile>> Create(const std::string& name) override {
    ASSIGN_OR_RETURN(CreateResult made, file_system_->Create(directory_, name, 0600, ::getuid(),
                                                             ::getgid(), O_RDWR | O_EXCL));
    return std::unique_ptr<LoadFile>(std::make_unique<ClientFile>(file_system_, made.file));
  }
  Result<std::unique_ptr<LoadFile>> Open(const std::string& name) override {
    ASSIGN_OR_RETURN(const wire::Attributes found, file_system_->Lookup(directory_, name));
    ASSIGN_OR_RETURN(OpenResult opened,
                     file_system_->Open(InodeId(static_cast<uint64_t>(found.inode)), O_RDWR));
    return std::unique_ptr<LoadFile>(std::make_unique<ClientFile>(file_system_, opened.file));
  }
  Status Remove(const std::string& name) override { return file_system_->Unlink(directory_, name); }

 private:
  FileSystem* const file_system_;
  const InodeId directory_;
};

}  // namespace

std::unique_ptr<LoadFiles> FilesOnMount(const std::string& directory) {
  return std::make_unique<MountedFiles>(directory);
}

std::unique_ptr<LoadFiles> FilesOfClient(FileSystem* file_system, InodeId directory) {
  return std::make_unique<ClientFiles>(file_system, directory);
}

}  // namespace tercet
