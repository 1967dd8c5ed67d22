#include "metaserver/namespace/state_env.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/env/disk.h"

namespace tercet {

// Shared by all logs of one database.
struct WalHealth {
  std::mutex mutex;
  int error = 0;  // errno of the first failure, guarded by mutex; 0: none

  int Get() {
    std::lock_guard lock(mutex);
    return error;
  }
  int Fail(int new_error) {
    std::lock_guard lock(mutex);
    if (error == 0) error = new_error;
    return error;
  }
};

namespace {

leveldb::Status ToLevelDb(const std::string& path, int error) {
  if (error == 0) return leveldb::Status::OK();
  if (error == ENOENT) return leveldb::Status::NotFound(path, strerror(error));
  return leveldb::Status::IOError(path, strerror(error));
}

bool IsLog(const std::string& path) {
  return path.size() > 4 && path.compare(path.size() - 4, 4, ".log") == 0;
}

int WriteFully(int fd, const char* data, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, data, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    data += written;
    size -= static_cast<size_t>(written);
  }
  return 0;
}

int SyncFolderOf(const std::string& path) {
  int fd = open(DirectoryOf(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error;
}

}  // namespace

// A log that is being written. Append and Flush come from one thread (LevelDB's writer), Sync from
// any.
class WalFile {
 public:
  WalFile(std::string path, int fd, std::shared_ptr<WalHealth> health)
      : path_(std::move(path)), fd_(fd), health_(std::move(health)) {}
  ~WalFile() { close(fd_); }

  int Append(const char* data, size_t size) {
    buffer_.append(data, size);
    return buffer_.size() >= kBufferBytes ? Flush() : 0;
  }

  int Flush() {
    if (int error = health_->Get(); error != 0) return error;
    if (buffer_.empty()) return 0;
    int error = WriteFully(fd_, buffer_.data(), buffer_.size());
    if (error != 0) return health_->Fail(error);
    written_ += buffer_.size();
    buffer_.clear();
    if (written_ - writeback_started_ >= kWritebackBytes) {
      // Only to keep the later sync short, so its outcome does not matter: fdatasync reports what
      // failed.
      (void)sync_file_range(fd_, static_cast<off_t>(writeback_started_),
                            static_cast<off_t>(written_ - writeback_started_),
                            SYNC_FILE_RANGE_WRITE);
      writeback_started_ = written_;
    }
    return 0;
  }

  // One at a time: of two syncs that run together the kernel tells only one about an error, and the
  // other would vouch for what is lost.
  int Sync() {
    std::lock_guard lock(sync_mutex_);
    if (int error = health_->Get(); error != 0) return error;
    if (fdatasync(fd_) != 0) return health_->Fail(errno);
    if (!name_is_durable_) {
      if (int error = SyncFolderOf(path_); error != 0) return health_->Fail(error);
      name_is_durable_ = true;
    }
    return 0;
  }

  const std::string& path() const { return path_; }

 private:
  static constexpr size_t kBufferBytes = 64 << 10;
  static constexpr uint64_t kWritebackBytes = 1 << 20;

  const std::string path_;
  const int fd_;
  const std::shared_ptr<WalHealth> health_;

  // Used by the writer only.
  std::string buffer_;
  uint64_t written_ = 0;
  uint64_t writeback_started_ = 0;

  std::mutex sync_mutex_;
  bool name_is_durable_ = false;  // guarded by sync_mutex_
};

namespace {

class WalHandle final : public leveldb::WritableFile {
 public:
  explicit WalHandle(std::shared_ptr<WalFile> file) : file_(std::move(file)) {}
  // LevelDB drops a full log without closing it. A failure is kept in WalHealth and fails the next
  // log.
  ~WalHandle() override {
    if (file_ != nullptr) Close();
  }

  leveldb::Status Append(const leveldb::Slice& data) override {
    return ToLevelDb(file_->path(), file_->Append(data.data(), data.size()));
  }
  leveldb::Status Flush() override { return ToLevelDb(file_->path(), file_->Flush()); }
  leveldb::Status Sync() override {
    int error = file_->Flush();
    if (error == 0) error = file_->Sync();
    return ToLevelDb(file_->path(), error);
  }
  leveldb::Status Close() override {
    leveldb::Status status = Sync();
    file_.reset();
    return status;
  }

 private:
  std::shared_ptr<WalFile> file_;
};

class TableFile final : public leveldb::RandomAccessFile {
 public:
  TableFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  ~TableFile() override { close(fd_); }

  leveldb::Status Read(uint64_t offset, size_t size, leveldb::Slice* result,
                       char* scratch) const override {
    size_t done = 0;
    while (done < size) {
      ssize_t got = pread(fd_, scratch + done, size - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return ToLevelDb(path_, errno);
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    *result = leveldb::Slice(scratch, done);
    return leveldb::Status::OK();
  }

 private:
  const std::string path_;
  const int fd_;
};

// A log being read back, ended at its first damaged place. The layout is LevelDB's (its
// doc/log_format.md): blocks of 32 KiB holding records of masked CRC-32C, 16-bit length, 8-bit type
// and data; fewer than 7 bytes at the end of a block are filler.
class PrefixOfLog final : public leveldb::SequentialFile {
 public:
  PrefixOfLog(std::string path, std::unique_ptr<leveldb::SequentialFile> file,
              std::shared_ptr<std::string> damaged_log)
      : path_(std::move(path)),
        file_(std::move(file)),
        damaged_log_(std::move(damaged_log)),
        block_(kBlockBytes) {}

  leveldb::Status Read(size_t size, leveldb::Slice* result, char* scratch) override {
    size_t done = 0;
    while (done < size) {
      if (position_ == valid_ && !ended_) {
        leveldb::Status status = NextBlock();
        if (!status.ok()) return status;
      }
      size_t take = std::min(size - done, valid_ - position_);
      if (take == 0) break;
      memcpy(scratch + done, block_.data() + position_, take);
      position_ += take;
      done += take;
    }
    *result = leveldb::Slice(scratch, done);
    return leveldb::Status::OK();
  }

  leveldb::Status Skip(uint64_t size) override {
    std::vector<char> scratch(kBlockBytes);
    leveldb::Slice got;
    while (size > 0) {
      leveldb::Status status = Read(std::min<uint64_t>(size, kBlockBytes), &got, scratch.data());
      if (!status.ok()) return status;
      if (got.empty()) break;
      size -= got.size();
    }
    return leveldb::Status::OK();
  }

 private:
  static constexpr size_t kBlockBytes = 32768;
  static constexpr size_t kHeaderBytes = 7;

  leveldb::Status NextBlock() {
    size_t size = 0;
    while (size < kBlockBytes) {
      leveldb::Slice got;
      char* to = block_.data() + size;
      leveldb::Status status = file_->Read(kBlockBytes - size, &got, to);
      if (!status.ok()) return status;
      if (got.empty()) break;
      if (got.data() != to) memmove(to, got.data(), got.size());
      size += got.size();
    }
    position_ = 0;
    valid_ = ValidPrefix(size);
    ended_ = valid_ < kBlockBytes;
    if (valid_ < size) *damaged_log_ = path_;
    return leveldb::Status::OK();
  }

  // Up to where the first `size` bytes of the block are whole records.
  size_t ValidPrefix(size_t size) const {
    size_t at = 0;
    while (size - at >= kHeaderBytes) {
      const char* header = block_.data() + at;
      size_t length = DecodeFixed16(header + 4);
      if (length > size - at - kHeaderBytes) return at;
      uint32_t crc = Crc32c(header + 6, 1 + length);
      uint32_t masked = ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
      if (masked != DecodeFixed32(header)) return at;
      at += kHeaderBytes + length;
    }
    return size == kBlockBytes ? size : at;
  }

  const std::string path_;
  const std::unique_ptr<leveldb::SequentialFile> file_;
  const std::shared_ptr<std::string> damaged_log_;
  std::vector<char> block_;
  size_t position_ = 0;
  size_t valid_ = 0;
  bool ended_ = false;
};

}  // namespace

StateEnv::StateEnv()
    : EnvWrapper(leveldb::Env::Default()),
      health_(std::make_shared<WalHealth>()),
      damaged_log_(std::make_shared<std::string>()) {}

StateEnv::~StateEnv() = default;

Status StateEnv::SyncLog() {
  std::shared_ptr<WalFile> wal;
  {
    std::lock_guard lock(mutex_);
    wal = wal_;
  }
  int error = wal != nullptr ? wal->Sync() : health_->Get();
  return error == 0 ? Status::Ok() : StatusFromErrno(error, "sync of the state database's log");
}

leveldb::Status StateEnv::NewSequentialFile(const std::string& path,
                                            leveldb::SequentialFile** result) {
  if (!IsLog(path)) return target()->NewSequentialFile(path, result);
  if (!damaged_log_->empty() && *damaged_log_ != path) {
    uint64_t size = 0;
    leveldb::Status status = target()->GetFileSize(path, &size);
    if (!status.ok()) return status;
    if (size > 0) {
      return leveldb::Status::Corruption(*damaged_log_ + " is damaged, but a later log holds data",
                                         path);
    }
  }
  leveldb::SequentialFile* file = nullptr;
  leveldb::Status status = target()->NewSequentialFile(path, &file);
  if (!status.ok()) return status;
  *result = new PrefixOfLog(path, std::unique_ptr<leveldb::SequentialFile>(file), damaged_log_);
  return status;
}

leveldb::Status StateEnv::NewRandomAccessFile(const std::string& path,
                                              leveldb::RandomAccessFile** result) {
  *result = nullptr;
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ToLevelDb(path, errno);
  *result = new TableFile(path, fd);
  return leveldb::Status::OK();
}

leveldb::Status StateEnv::NewWritableFile(const std::string& path, leveldb::WritableFile** result) {
  if (!IsLog(path)) return target()->NewWritableFile(path, result);
  *result = nullptr;
  // The full log is made durable before SyncLog turns to the new one. LevelDB's writer is in here
  // and so does not write to the full one.
  std::shared_ptr<WalFile> full;
  {
    std::lock_guard lock(mutex_);
    full = wal_;
  }
  if (full != nullptr) {
    if (int error = full->Sync(); error != 0) return ToLevelDb(full->path(), error);
  }
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return ToLevelDb(path, errno);
  auto wal = std::make_shared<WalFile>(path, fd, health_);
  *result = new WalHandle(wal);
  std::lock_guard lock(mutex_);
  wal_ = std::move(wal);
  return leveldb::Status::OK();
}

leveldb::Status StateEnv::LockFile(const std::string& path, leveldb::FileLock** lock) {
  leveldb::Status status = target()->LockFile(path, lock);
  if (!status.ok()) {
    // Told apart from a file that cannot be opened. Not by opening it: closing it again would drop
    // a lock that this process holds (fcntl locks).
    if (access(path.c_str(), R_OK | W_OK) == 0) lock_was_held_ = true;
  }
  return status;
}

}  // namespace tercet
