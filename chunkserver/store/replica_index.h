// The index of one disk: which replicas it has, and of which generation. LevelDB rows are described
// in chunkserver/store/format.md.
//
// Rows are written without sync. That is enough: they survive a crash of the process, and after a
// crash of the operating system, or when the index is damaged, StoreDisk makes it again from the
// replicas' files. Which of these happened is told by the state row:
//   - Open leaves {not clean, boot id} there, synced; MarkClean leaves {clean, count, digest},
//   synced.
//   - Trusted is an index that is clean and has the count and digest it says, or one that was not
//   closed
//     but belongs to this run of the operating system.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "chunkserver/store/block_store.h"
#include "common/base/status.h"

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
};
std::string EncodeIndexState(const IndexState& state);
Result<IndexState> DecodeIndexState(std::string_view bytes);

std::string EncodeReplicaKey(BlockId block);
std::string EncodeReplicaRow(Generation generation);
Result<ReplicaInfo> DecodeReplicaRow(std::string_view key, std::string_view value);

/// Thread-safe.
class ReplicaIndex {
 public:
  /// Opens what is there. kNotFound when there is no index or it is not to be trusted (make it with
  /// Rebuild); kCorruption when it is damaged; kBusy; kIo.
  static Result<std::unique_ptr<ReplicaIndex>> Open(const std::string& path,
                                                    const std::string& boot_id);

  /// Makes an index from nothing. Add the replicas, then call FinishRebuild; a crash before leaves
  /// an index that is not trusted.
  static Result<std::unique_ptr<ReplicaIndex>> StartRebuild(const std::string& path,
                                                            const std::string& boot_id);
  Status AddBatch(const std::vector<ReplicaInfo>& replicas);
  Status FinishRebuild();

  ~ReplicaIndex();

  /// kNotFound when there is no such replica.
  Result<Generation> Find(BlockId block) const;
  /// The block must not have a row.
  Status Add(ReplicaInfo replica);
  /// The row must be there.
  Status Remove(ReplicaInfo replica);
  Result<std::vector<ReplicaInfo>> List(uint64_t range) const;
  /// Adds this disk's ranges to `sums`.
  void AddDigests(std::map<uint64_t, ReplicaRangeDigest>* sums) const;
  uint64_t replica_count() const;
  /// Nothing may be changed afterwards.
  Status MarkClean();

 private:
  explicit ReplicaIndex(std::string boot_id);
  Status OpenDatabase(const std::string& path, bool create);
  /// Reads all rows into the digests.
  Status LoadDigests();
  Status WriteState(bool clean);
  void Count(ReplicaInfo replica, int64_t change);

  const std::string boot_id_;
  // Constant after Open; self-synchronised. The database goes first.
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<leveldb::DB> database_;

  mutable std::mutex mutex_;
  std::map<uint64_t, ReplicaRangeDigest> digests_;  // guarded by mutex_
  uint64_t replica_count_ = 0;                      // guarded by mutex_
};

}  // namespace tercet
