// LevelDB's environment over a Disk, so that databases run on the simulated disk as well.
//
// What LevelDB relies on and does not do itself is done here:
//  - A file's first sync also syncs its folder: what a durable file names is there by name.
//  - So does a rename: CURRENT never goes back to a manifest that is removed since. When that sync
//    fails, CURRENT may name the old or the new manifest, and LevelDB would remove the new one: so
//    nothing is removed any more.
//
// Background work (compactions) is done by LevelDB's own thread, or with `queue_work` by whoever
// calls RunQueued: then one thread may use the database alone, and the same calls do the same. It
// must call RunQueued before each write and before the database is closed: LevelDB waits for the
// work when its second write buffer is full, and when it closes.
#pragma once

#include <leveldb/env.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/env/disk.h"

namespace tercet {

leveldb::Status ToLevelDbStatus(const Status& status);

/// Thread-safe. Must outlive the database opened on it, `disk` must outlive both.
class DiskEnv : public leveldb::EnvWrapper {
 public:
  DiskEnv(Disk& disk, bool queue_work);

  /// Whether a LockFile failed because another process (or another object of this one) has it.
  bool lock_was_held() const { return lock_was_held_; }
  /// Does what is queued, and what that queues. Without `queue_work` there is never any.
  void RunQueued();
  Disk& disk() const { return disk_; }

  leveldb::Status NewSequentialFile(const std::string& path,
                                    leveldb::SequentialFile** result) override;
  leveldb::Status NewRandomAccessFile(const std::string& path,
                                      leveldb::RandomAccessFile** result) override;
  leveldb::Status NewWritableFile(const std::string& path, leveldb::WritableFile** result) override;
  /// Not supported: only needed to go on in an old log, which is not done.
  leveldb::Status NewAppendableFile(const std::string& path,
                                    leveldb::WritableFile** result) override;
  bool FileExists(const std::string& path) override;
  leveldb::Status GetChildren(const std::string& folder, std::vector<std::string>* names) override;
  leveldb::Status RemoveFile(const std::string& path) override;
  leveldb::Status CreateDir(const std::string& folder) override;
  /// Not supported.
  leveldb::Status RemoveDir(const std::string& folder) override;
  leveldb::Status GetFileSize(const std::string& path, uint64_t* size) override;
  leveldb::Status RenameFile(const std::string& from, const std::string& to) override;
  leveldb::Status LockFile(const std::string& path, leveldb::FileLock** lock) override;
  leveldb::Status UnlockFile(leveldb::FileLock* lock) override;
  void Schedule(void (*function)(void*), void* argument) override;
  /// Of the queueing kind: none.
  leveldb::Status NewLogger(const std::string& path, leveldb::Logger** result) override;
  /// Of the queueing kind: always 0, and no sleep. LevelDB only measures with it.
  uint64_t NowMicros() override;
  void SleepForMicroseconds(int micros) override;

 private:
  // Constant after construction.
  Disk& disk_;
  const bool queue_work_;

  // Self-synchronised.
  std::atomic<bool> lock_was_held_{false};
  std::atomic<bool> names_are_unsure_{false};

  std::mutex mutex_;
  std::deque<std::pair<void (*)(void*), void*>> queue_;  // guarded by mutex_; one per database
};

}  // namespace tercet
