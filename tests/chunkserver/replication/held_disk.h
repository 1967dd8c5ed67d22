// A disk that does nothing with some files while it is held: as slow as the test wants.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "common/env/disk.h"

namespace tercet::testing_support {

/// Over another disk, which must outlive it. Thread-safe.
class HeldDisk final : public Disk {
 public:
  /// Holds the files whose names end so: replicas unless said otherwise.
  explicit HeldDisk(Disk& disk, std::string held_files = ".blk")
      : disk_(disk), held_files_(std::move(held_files)) {}
  ~HeldDisk() override { Release(); }

  /// Reads, writes and syncs of these files wait from now on.
  void Hold() { Set(true); }
  void Release() { Set(false); }
  /// So many wait now.
  int waiting() const {
    std::lock_guard lock(mutex_);
    return waiting_;
  }

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk_.Open(path, mode));
    if (!path.ends_with(held_files_)) return file;
    return std::unique_ptr<File>(std::make_unique<HeldFile>(*this, std::move(file)));
  }
  Status Rename(const std::string& from, const std::string& to) override {
    return disk_.Rename(from, to);
  }
  Status Remove(const std::string& path) override { return disk_.Remove(path); }
  Status MakeDirectories(const std::string& path) override { return disk_.MakeDirectories(path); }
  Status SyncDirectory(const std::string& path) override { return disk_.SyncDirectory(path); }
  Result<std::vector<std::string>> List(const std::string& path) override {
    return disk_.List(path);
  }
  Result<bool> Exists(const std::string& path) override { return disk_.Exists(path); }
  Result<DiskSpace> Space(const std::string& path) override { return disk_.Space(path); }
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return disk_.Lock(path);
  }

 private:
  /// Without a descriptor, so that nothing gets around it.
  class HeldFile final : public File {
   public:
    HeldFile(const HeldDisk& disk, std::unique_ptr<File> file)
        : disk_(disk), file_(std::move(file)) {}
    Result<size_t> ReadAt(uint64_t offset, std::span<char> out) const override {
      disk_.Pass();
      return file_->ReadAt(offset, out);
    }
    Status WriteAt(uint64_t offset, std::string_view data) override {
      disk_.Pass();
      return file_->WriteAt(offset, data);
    }
    Status WriteVectorAt(uint64_t offset, std::span<const iovec> pieces) override {
      disk_.Pass();
      return file_->WriteVectorAt(offset, pieces);
    }
    Status Sync() override {
      disk_.Pass();
      return file_->Sync();
    }
    Status Truncate(uint64_t size) override {
      disk_.Pass();
      return file_->Truncate(size);
    }
    Status Allocate(uint64_t size) override { return file_->Allocate(size); }
    Result<uint64_t> Size() const override { return file_->Size(); }

   private:
    const HeldDisk& disk_;
    const std::unique_ptr<File> file_;
  };

  void Set(bool held) {
    std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }
  void Pass() const {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.wait(lock, [&] { return !held_; });
    --waiting_;
  }

  Disk& disk_;
  const std::string held_files_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool held_ = false;        // guarded by mutex_
  mutable int waiting_ = 0;  // guarded by mutex_
};

}  // namespace tercet::testing_support
