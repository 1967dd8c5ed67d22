// The LevelDB in a state folder, below Database and StateBuilder: opening and its checks, batches,
// syncs, views. The folder is described in metaserver/namespace/state_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/env/disk.h"
#include "metaserver/namespace/view.h"

namespace leveldb {
class Cache;
class DB;
class FilterPolicy;
class WriteBatch;
}  // namespace leveldb

namespace tercet {

class StateEnv;

struct DatabaseOptions {
  std::string path;  // the folder; made when it is not there
  /// Must outlive the database; null: RealDisk(). On another disk LevelDB's background work is done
  /// within Apply and the destructor: nothing happens between calls.
  Disk* disk = nullptr;
  size_t block_cache_bytes = 64 << 20;
  /// LevelDB may hold two of these in memory. Larger ones make for fewer stalls under bulk loads.
  size_t write_buffer_bytes = 16 << 20;
  size_t table_bytes = 8 << 20;
  int max_open_files = 512;
};

/// What the file `format` in a state folder says. The words are part of the format: never change.
enum class StateFolderKind {
  kEmpty,    // there is none, and no database
  kState,    // "tercet-state": a state
  kFetched,  // "tercet-state-fetch": rows of a state that is being fetched
};

// Keys of the database's own rows (state_format.md). Part of the format: never change.
inline constexpr std::string_view kAppliedRow("\0applied", 8);
inline constexpr std::string_view kConsistentFromRow("\0consistent", 11);
inline constexpr std::string_view kFetchBaseRow("\0base", 5);
inline constexpr std::string_view kFetchedRowsRow("\0fetched", 8);

/// kCorruption, kVersionTooNew; changes nothing.
Result<StateFolderKind> ReadStateFolderKind(Disk& disk, const std::string& path);
/// Durable when it returns OK.
Status WriteStateFolderKind(Disk& disk, const std::string& path, StateFolderKind kind);

/// Thread-safe, but for writes: one at a time.
class StateStore {
 public:
  /// Of a folder whose kind was checked. kBusy, kCorruption.
  static Result<std::unique_ptr<StateStore>> Open(const DatabaseOptions& options);
  /// Nothing is synced. No view may be used any more.
  ~StateStore();

  Result<std::optional<std::string>> Get(std::string_view key) const;
  /// All or nothing; not durable before Sync. After a failure nothing may be written any more:
  /// LevelDB may have taken part of it.
  Status Write(leveldb::WriteBatch* batch);
  Status Sync();
  /// The highest key; empty when there is none.
  Result<std::string> LastKey() const;
  /// The rows as of now, or of each call; must go before the store does.
  std::unique_ptr<const View> MakeView(bool snapshot) const;
  std::string Statistics() const;
  Disk& disk() const;
  const std::string& path() const { return path_; }

 private:
  explicit StateStore(std::string path);

  // Constant after Open; each must outlive the next.
  const std::string path_;
  std::unique_ptr<StateEnv> env_;
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::DB> db_;
};

}  // namespace tercet
