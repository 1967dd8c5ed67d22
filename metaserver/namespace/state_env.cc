#include "metaserver/namespace/state_env.h"

#include <fcntl.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/env/posix_disk.h"

namespace tercet {

// Shared by all logs of one database.
struct WalHealth {
  std::mutex mutex;
  Status failure;  // the first one, guarded by mutex

  Status Get() {
    std::lock_guard lock(mutex);
    return failure;
  }
  Status Fail(const Status& status) {
    std::lock_guard lock(mutex);
    if (failure.ok()) failure = status;
    return failure;
  }
};

namespace {

bool IsLog(const std::string& path) {
  return path.size() > 4 && path.compare(path.size() - 4, 4, ".log") == 0;
}

}  // namespace

// A log that is being written. Append and Flush come from one thread (LevelDB's writer), Sync from
// any.
class WalFile {
 public:
  WalFile(Disk& disk, std::string path, std::unique_ptr<File> file,
          std::shared_ptr<WalHealth> health)
      : disk_(disk), path_(std::move(path)), file_(std::move(file)), health_(std::move(health)) {}

  Status Append(const char* data, size_t size) {
    buffer_.append(data, size);
    return buffer_.size() >= kBufferBytes ? Flush() : Status::Ok();
  }

  Status Flush() {
    RETURN_IF_ERROR(health_->Get());
    if (buffer_.empty()) return Status::Ok();
    if (Status status = file_->WriteAt(written_, buffer_); !status.ok()) {
      return health_->Fail(status);
    }
    written_ += buffer_.size();
    buffer_.clear();
    if (written_ - writeback_started_ >= kWritebackBytes && file_->descriptor() >= 0) {
      // Only to keep the later sync short, so its outcome does not matter: fdatasync reports what
      // failed.
      (void)sync_file_range(file_->descriptor(), static_cast<off_t>(writeback_started_),
                            static_cast<off_t>(written_ - writeback_started_),
                            SYNC_FILE_RANGE_WRITE);
      writeback_started_ = written_;
    }
    return Status::Ok();
  }

  // One at a time: of two syncs that run together the kernel tells only one about an error, and the
  // other would vouch for what is lost.
  Status Sync() {
    std::lock_guard lock(sync_mutex_);
    RETURN_IF_ERROR(health_->Get());
    if (Status status = file_->Sync(); !status.ok()) return health_->Fail(status);
    if (!name_is_durable_) {
      Status status = disk_.SyncDirectory(DirectoryOf(path_));
      if (!status.ok()) return health_->Fail(status);
      name_is_durable_ = true;
    }
    return Status::Ok();
  }

 private:
  static constexpr size_t kBufferBytes = 64 << 10;
  static constexpr uint64_t kWritebackBytes = 1 << 20;

  Disk& disk_;
  const std::string path_;
  const std::unique_ptr<File> file_;
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
    return ToLevelDbStatus(file_->Append(data.data(), data.size()));
  }
  leveldb::Status Flush() override { return ToLevelDbStatus(file_->Flush()); }
  leveldb::Status Sync() override {
    Status status = file_->Flush();
    if (status.ok()) status = file_->Sync();
    return ToLevelDbStatus(status);
  }
  leveldb::Status Close() override {
    leveldb::Status status = Sync();
    file_.reset();
    return status;
  }

 private:
  std::shared_ptr<WalFile> file_;
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

StateEnv::StateEnv(Disk& disk)
    : DiskEnv(disk, /*queue_work=*/&disk != &RealDisk()),
      health_(std::make_shared<WalHealth>()),
      damaged_log_(std::make_shared<std::string>()) {}

StateEnv::~StateEnv() = default;

Status StateEnv::SyncLog() {
  std::shared_ptr<WalFile> wal;
  {
    std::lock_guard lock(mutex_);
    wal = wal_;
  }
  Status status = wal != nullptr ? wal->Sync() : health_->Get();
  return status.ok() ? status : status.WithContext("sync of the state database's log");
}

leveldb::Status StateEnv::NewSequentialFile(const std::string& path,
                                            leveldb::SequentialFile** result) {
  if (!IsLog(path)) return DiskEnv::NewSequentialFile(path, result);
  if (!damaged_log_->empty() && *damaged_log_ != path) {
    uint64_t size = 0;
    leveldb::Status status = GetFileSize(path, &size);
    if (!status.ok()) return status;
    if (size > 0) {
      return leveldb::Status::Corruption(*damaged_log_ + " is damaged, but a later log holds data",
                                         path);
    }
  }
  leveldb::SequentialFile* file = nullptr;
  leveldb::Status status = DiskEnv::NewSequentialFile(path, &file);
  if (!status.ok()) return status;
  *result = new PrefixOfLog(path, std::unique_ptr<leveldb::SequentialFile>(file), damaged_log_);
  return status;
}

leveldb::Status StateEnv::NewWritableFile(const std::string& path, leveldb::WritableFile** result) {
  if (!IsLog(path)) return DiskEnv::NewWritableFile(path, result);
  *result = nullptr;
  // The full log is made durable before SyncLog turns to the new one. LevelDB's writer is in here
  // and so does not write to the full one.
  std::shared_ptr<WalFile> full;
  {
    std::lock_guard lock(mutex_);
    full = wal_;
  }
  if (full != nullptr) {
    if (Status status = full->Sync(); !status.ok()) return ToLevelDbStatus(status);
  }
  Result<std::unique_ptr<File>> file = disk().Open(path, OpenMode::kCreate);
  if (!file.ok()) return ToLevelDbStatus(file.status());
  if (Status status = (*file)->Truncate(0); !status.ok()) return ToLevelDbStatus(status);
  auto wal = std::make_shared<WalFile>(disk(), path, std::move(file).value(), health_);
  *result = new WalHandle(wal);
  std::lock_guard lock(mutex_);
  wal_ = std::move(wal);
  return leveldb::Status::OK();
}

}  // namespace tercet
