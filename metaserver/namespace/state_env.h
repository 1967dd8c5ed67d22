// The files of the state database, as LevelDB sees them.
//
// LevelDB writes each batch to a write-ahead log (WAL) before its memory table; when the table is
// full it starts a new log and, later and in the background, writes the table out. Three things in
// that break the promise that what survives a power cut is a prefix of the batches, and are mended
// here:
//  1. It closes a full log without syncing it, and may sync the next one. Here a log is synced
//     before it is closed, so a log only ever gets data when everything in its predecessors is
//     durable.
//  2. It syncs the folder for its MANIFEST only. Here a log's first sync also syncs the folder.
//  3. When it reads a log back it skips over a damaged place and goes on behind it. Here a log ends
//     at its first damaged place, and when a later log holds anything, opening fails (by 1. a power
//     cut does not do that).
//
// Besides, tables are read with pread instead of mmap, so that the block cache bounds the memory
// they take (disk_env.h, which also says what is done about files other than logs).
//
// After a failed write or sync of a log every later one fails too: the kernel may have dropped what
// it could not write.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "common/base/status.h"
#include "common/env/disk_env.h"

namespace tercet {

class WalFile;
struct WalHealth;

/// Thread-safe. Must outlive the database opened on it.
class StateEnv final : public DiskEnv {
 public:
  /// On RealDisk() LevelDB has its own thread, on another disk work is queued.
  explicit StateEnv(Disk& disk);
  ~StateEnv() override;

  /// Makes durable what was written to the logs before the call. Does not hold up writes. After an
  /// error every later call and every later write of a log gives the same error.
  Status SyncLog();

  leveldb::Status NewSequentialFile(const std::string& path,
                                    leveldb::SequentialFile** result) override;
  leveldb::Status NewWritableFile(const std::string& path, leveldb::WritableFile** result) override;

 private:
  // Self-synchronised.
  const std::shared_ptr<WalHealth> health_;

  std::mutex mutex_;
  // Guarded by mutex_:
  std::shared_ptr<WalFile> wal_;  // the newest log; shared with LevelDB's handle on it

  // Used by the one thread that opens the database. The log that ended early; empty: none did.
  const std::shared_ptr<std::string> damaged_log_;
};

}  // namespace tercet
