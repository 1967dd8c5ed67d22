#include "common/env/disk_env.h"

#include <algorithm>
#include <memory>

namespace tercet {
namespace {

class DiskSequentialFile final : public leveldb::SequentialFile {
 public:
  explicit DiskSequentialFile(std::unique_ptr<File> file) : file_(std::move(file)) {}

  leveldb::Status Read(size_t size, leveldb::Slice* result, char* scratch) override {
    Result<size_t> got = file_->ReadAt(offset_, {scratch, size});
    if (!got.ok()) return ToLevelDbStatus(got.status());
    offset_ += *got;
    *result = leveldb::Slice(scratch, *got);
    return leveldb::Status::OK();
  }

  leveldb::Status Skip(uint64_t size) override {
    offset_ += size;
    return leveldb::Status::OK();
  }

 private:
  const std::unique_ptr<File> file_;
  uint64_t offset_ = 0;
};

class DiskRandomAccessFile final : public leveldb::RandomAccessFile {
 public:
  explicit DiskRandomAccessFile(std::unique_ptr<File> file) : file_(std::move(file)) {}

  leveldb::Status Read(uint64_t offset, size_t size, leveldb::Slice* result,
                       char* scratch) const override {
    Result<size_t> got = file_->ReadAt(offset, {scratch, size});
    if (!got.ok()) return ToLevelDbStatus(got.status());
    *result = leveldb::Slice(scratch, *got);
    return leveldb::Status::OK();
  }

 private:
  const std::unique_ptr<File> file_;
};

class DiskWritableFile final : public leveldb::WritableFile {
 public:
  DiskWritableFile(Disk& disk, std::string path, std::unique_ptr<File> file)
      : disk_(disk), path_(std::move(path)), file_(std::move(file)) {}
  ~DiskWritableFile() override {
    if (file_ != nullptr) Close();
  }

  leveldb::Status Append(const leveldb::Slice& data) override {
    buffer_.append(data.data(), data.size());
    return buffer_.size() >= kBufferBytes ? Flush() : leveldb::Status::OK();
  }

  leveldb::Status Flush() override {
    if (buffer_.empty()) return leveldb::Status::OK();
    Status status = file_->WriteAt(written_, buffer_);
    written_ += buffer_.size();
    buffer_.clear();
    return ToLevelDbStatus(status);
  }

  leveldb::Status Sync() override {
    leveldb::Status flushed = Flush();
    if (!flushed.ok()) return flushed;
    Status status = file_->Sync();
    if (status.ok() && !name_is_durable_) {
      status = disk_.SyncDirectory(DirectoryOf(path_));
      name_is_durable_ = status.ok();
    }
    return ToLevelDbStatus(status);
  }

  leveldb::Status Close() override {
    leveldb::Status status = Flush();
    file_.reset();
    return status;
  }

 private:
  static constexpr size_t kBufferBytes = 64 << 10;

  Disk& disk_;
  const std::string path_;
  std::unique_ptr<File> file_;
  std::string buffer_;
  uint64_t written_ = 0;
  bool name_is_durable_ = false;
};

class DiskFileLock final : public leveldb::FileLock {
 public:
  explicit DiskFileLock(std::unique_ptr<tercet::FileLock> lock) : lock_(std::move(lock)) {}

 private:
  const std::unique_ptr<tercet::FileLock> lock_;
};

}  // namespace

leveldb::Status ToLevelDbStatus(const Status& status) {
  if (status.ok()) return leveldb::Status::OK();
  if (status.code() == StatusCode::kNotFound) return leveldb::Status::NotFound(status.message());
  return leveldb::Status::IOError(status.message());
}

DiskEnv::DiskEnv(Disk& disk, bool queue_work)
    : EnvWrapper(leveldb::Env::Default()), disk_(disk), queue_work_(queue_work) {}

void DiskEnv::RunQueued() {
  if (!queue_work_) return;
  while (true) {
    std::pair<void (*)(void*), void*> work;
    {
      std::lock_guard lock(mutex_);
      if (queue_.empty()) return;
      work = queue_.front();
      queue_.pop_front();
    }
    work.first(work.second);
  }
}

leveldb::Status DiskEnv::NewSequentialFile(const std::string& path,
                                           leveldb::SequentialFile** result) {
  *result = nullptr;
  Result<std::unique_ptr<File>> file = disk_.Open(path, OpenMode::kReadOnly);
  if (!file.ok()) return ToLevelDbStatus(file.status());
  *result = new DiskSequentialFile(std::move(file).value());
  return leveldb::Status::OK();
}

leveldb::Status DiskEnv::NewRandomAccessFile(const std::string& path,
                                             leveldb::RandomAccessFile** result) {
  *result = nullptr;
  Result<std::unique_ptr<File>> file = disk_.Open(path, OpenMode::kReadOnly);
  if (!file.ok()) return ToLevelDbStatus(file.status());
  *result = new DiskRandomAccessFile(std::move(file).value());
  return leveldb::Status::OK();
}

leveldb::Status DiskEnv::NewWritableFile(const std::string& path, leveldb::WritableFile** result) {
  *result = nullptr;
  Result<std::unique_ptr<File>> file = disk_.Open(path, OpenMode::kCreate);
  if (!file.ok()) return ToLevelDbStatus(file.status());
  if (Status status = (*file)->Truncate(0); !status.ok()) return ToLevelDbStatus(status);
  *result = new DiskWritableFile(disk_, path, std::move(file).value());
  return leveldb::Status::OK();
}

leveldb::Status DiskEnv::NewAppendableFile(const std::string& path,
                                           leveldb::WritableFile** result) {
  *result = nullptr;
  return leveldb::Status::NotSupported(path);
}

bool DiskEnv::FileExists(const std::string& path) {
  Result<bool> exists = disk_.Exists(path);
  return exists.ok() && *exists;
}

leveldb::Status DiskEnv::GetChildren(const std::string& folder, std::vector<std::string>* names) {
  Result<std::vector<std::string>> found = disk_.List(folder);
  names->clear();
  if (!found.ok()) return ToLevelDbStatus(found.status());
  *names = std::move(found).value();
  std::sort(names->begin(), names->end());  // the same calls do the same
  return leveldb::Status::OK();
}

leveldb::Status DiskEnv::RemoveFile(const std::string& path) {
  if (names_are_unsure_) {
    return leveldb::Status::IOError(path, "nothing is removed after a failed rename");
  }
  return ToLevelDbStatus(disk_.Remove(path));
}

leveldb::Status DiskEnv::CreateDir(const std::string& folder) {
  return ToLevelDbStatus(disk_.MakeDirectories(folder));
}

leveldb::Status DiskEnv::RemoveDir(const std::string& folder) {
  return leveldb::Status::NotSupported(folder);
}

leveldb::Status DiskEnv::GetFileSize(const std::string& path, uint64_t* size) {
  *size = 0;
  Result<std::unique_ptr<File>> file = disk_.Open(path, OpenMode::kReadOnly);
  if (!file.ok()) return ToLevelDbStatus(file.status());
  Result<uint64_t> bytes = (*file)->Size();
  if (!bytes.ok()) return ToLevelDbStatus(bytes.status());
  *size = *bytes;
  return leveldb::Status::OK();
}

leveldb::Status DiskEnv::RenameFile(const std::string& from, const std::string& to) {
  if (Status status = disk_.Rename(from, to); !status.ok()) return ToLevelDbStatus(status);
  Status status = disk_.SyncDirectory(DirectoryOf(to));
  if (!status.ok()) names_are_unsure_ = true;
  return ToLevelDbStatus(status);
}

leveldb::Status DiskEnv::LockFile(const std::string& path, leveldb::FileLock** lock) {
  *lock = nullptr;
  Result<std::unique_ptr<tercet::FileLock>> taken = disk_.Lock(path);
  if (taken.code() == StatusCode::kBusy) lock_was_held_ = true;
  if (!taken.ok()) return ToLevelDbStatus(taken.status());
  *lock = new DiskFileLock(std::move(taken).value());
  return leveldb::Status::OK();
}

leveldb::Status DiskEnv::UnlockFile(leveldb::FileLock* lock) {
  delete lock;
  return leveldb::Status::OK();
}

void DiskEnv::Schedule(void (*function)(void*), void* argument) {
  if (!queue_work_) {
    target()->Schedule(function, argument);
    return;
  }
  std::lock_guard lock(mutex_);
  queue_.emplace_back(function, argument);
}

leveldb::Status DiskEnv::NewLogger(const std::string& path, leveldb::Logger** result) {
  if (!queue_work_) return target()->NewLogger(path, result);
  *result = nullptr;
  return leveldb::Status::NotSupported(path);
}

uint64_t DiskEnv::NowMicros() { return queue_work_ ? 0 : target()->NowMicros(); }

void DiskEnv::SleepForMicroseconds(int micros) {
  if (!queue_work_) target()->SleepForMicroseconds(micros);
}

}  // namespace tercet
