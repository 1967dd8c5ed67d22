// The index of one disk: which replicas it has, and of which generation. LevelDB rows are described
// in chunkserver/store/format.md.
//
// Rows are written without sync. That is enough: they survive a crash of the process, and after a
// crash of the operating system, or when the index is damaged, StoreDisk makes it again from the
// replicas' files. Which of these happened is told by the state row:
//   - Open leaves {not clean, boot id} there, synced; MarkClean leaves {clean, count, digest},
//     synced.
//   - Trusted is an index that is clean and has the count and digest it says, or one that was not
//     closed but belongs to this run of the operating system.
//
// A row that is `changing` may be ahead of its file's header, or behind it: the header says.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chunkserver/store/block_store.h"
#include "common/base/status.h"
#include "common/env/disk_env.h"

namespace leveldb {
class Cache;
class DB;
class FilterPolicy;
class WriteBatch;
}  // namespace leveldb

namespace tercet {

/// The state row.
struct IndexState {
  bool clean = false;
  uint64_t replica_count = 0;  // the last three: as of a clean close
  uint64_t digest = 0;         // XOR of ReplicaDigest over all rows
  std::string boot_id;
  bool old_format = false;  // written by a version without eras
};
std::string EncodeIndexState(const IndexState& state);
Result<IndexState> DecodeIndexState(std::string_view bytes);

/// What the index knows of a replica.
struct ReplicaRow {
  BlockId block;
  Generation generation;
  Era era;
  uint32_t length = 0;  // as of the last time that it was settled, or made
  bool suspect = false;
  bool changing = false;
  friend bool operator==(const ReplicaRow&, const ReplicaRow&) = default;
};
std::string EncodeReplicaKey(BlockId block);
std::string EncodeReplicaRow(const ReplicaRow& row);
Result<ReplicaRow> DecodeReplicaRow(std::string_view key, std::string_view value);

struct IndexOptions {
  std::string path;
  std::string boot_id;
  IndexIo io = IndexIo::kSystem;
  Disk* disk = nullptr;  // must outlive the index; needed unless `io` is kSystem
};

/// Thread-safe, but for changes to one block, which must exclude one another.
class ReplicaIndex {
 public:
  /// Opens what is there. kNotFound when there is no index or it is not to be trusted (make it with
  /// Rebuild); kCorruption when it is damaged; kBusy; kIo. `*before` is the state that was found,
  /// when there was one, whatever the outcome. `visit` (may be empty) is called with each row.
  static Result<std::unique_ptr<ReplicaIndex>> Open(
      const IndexOptions& options, std::optional<IndexState>* before,
      const std::function<void(const ReplicaRow&)>& visit);

  /// Makes an index from nothing. Add the replicas, then call FinishRebuild; a crash before leaves
  /// an index that is not trusted.
  static Result<std::unique_ptr<ReplicaIndex>> StartRebuild(const IndexOptions& options);
  Status AddBatch(const std::vector<ReplicaRow>& replicas);
  Status FinishRebuild();

  ~ReplicaIndex();

  /// kNotFound when there is no such replica.
  Result<ReplicaRow> Find(BlockId block) const;
  /// The block must not have a row.
  Status Add(const ReplicaRow& row);
  /// `before` must be the row that is there.
  Status Replace(const ReplicaRow& before, const ReplicaRow& after);
  Status Remove(const ReplicaRow& row);
  /// The complete replicas of a range.
  Result<std::vector<ReplicaInfo>> List(uint64_t range) const;
  /// Calls `visit` with each row behind `after` by block id, until it returns false.
  Status ForEach(BlockId after, const std::function<bool(const ReplicaRow&)>& visit) const;
  /// Adds this disk's ranges of complete replicas to `sums`.
  void AddDigests(std::map<uint64_t, ReplicaRangeDigest>* sums) const;
  /// The highest block that has a row; 0: there is none.
  Result<BlockId> Last() const;
  uint64_t replica_count() const;
  uint64_t suspect_count() const;
  /// Nothing may be changed afterwards.
  Status MarkClean();

 private:
  explicit ReplicaIndex(const IndexOptions& options);
  Status OpenDatabase(bool create);
  /// Reads all rows into the digests.
  Status LoadDigests(const std::function<void(const ReplicaRow&)>& visit);
  Status WriteState(bool clean);
  Status Apply(leveldb::WriteBatch* batch, bool sync);
  void Count(const ReplicaRow& row, int64_t change);

  const IndexOptions options_;
  // Constant after Open; self-synchronised. The database goes first.
  std::unique_ptr<DiskEnv> env_;  // null: LevelDB's own
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<leveldb::DB> database_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::map<uint64_t, ReplicaRangeDigest> digests_;  // of complete replicas
  uint64_t replica_count_ = 0;
  uint64_t suspect_count_ = 0;
  uint64_t digest_ = 0;  // over all rows
};

}  // namespace tercet
