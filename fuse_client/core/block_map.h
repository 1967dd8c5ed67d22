// Which blocks a file has, as far as this mount knows, and where their servers listen.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/base/ids.h"
#include "common/rpc/host_port.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

struct FileBlock {
  BlockId id;  // 0: a hole
  Generation generation;
  std::vector<ServerId> chain;
  /// Given to this mount, and no commit of ours named it yet.
  bool reserved = false;
  /// Of a reserved block: a write was acknowledged. Before, it reads as zeros and has no replicas.
  bool has_data = false;
  /// What is behind reads as zeros and is to be cut off before a write beyond it.
  std::optional<uint32_t> valid_bytes;
  /// It has too few replicas to be written to: the active is to give it more first.
  bool below_minimum = false;
  /// This mount cut it off at valid_bytes and no commit said so yet.
  bool trimmed = false;
  /// When the metaserver said so.
  std::chrono::steady_clock::time_point learned_at = std::chrono::steady_clock::now();

  bool is_hole() const { return id == BlockId(); }
};

/// Not thread-safe.
class BlockMap {
 public:
  /// Null: not known. Stays valid until the next change.
  const FileBlock* Find(uint64_t index) const;
  void Put(uint64_t index, FileBlock block);
  /// What the metaserver says about [first, first + count): indexes it does not list are holes.
  /// Blocks that are reserved by this mount are kept.
  void Learn(uint64_t first, uint64_t count, const std::vector<wire::BlockInfo>& blocks);
  /// The blocks that came with opening a file: the first `asked_for` at most.
  void LearnFirst(uint64_t asked_for, const std::vector<wire::BlockInfo>& blocks);
  /// The metaserver is about to be asked about [first, first + count): others need not.
  void NoteAsked(uint64_t first, uint64_t count, std::chrono::steady_clock::time_point now);
  /// A commit named the block `id`.
  void NoteCommitted(uint64_t index, BlockId id);
  void Forget(uint64_t index);
  void ForgetFrom(uint64_t index);
  /// Forgets what the metaserver can tell again: all but reserved and trimmed blocks.
  void ForgetCommitted();

  /// Grows with every change but Learn and LearnFirst. An answer that was asked for before a change
  /// may be older than it, and is not to be learned.
  uint64_t changes() const { return changes_; }

 private:
  void LearnOne(uint64_t index, FileBlock block);

  std::map<uint64_t, FileBlock> blocks_;
  uint64_t changes_ = 0;
};

FileBlock BlockFromWire(const wire::BlockInfo& info);

/// Thread-safe.
class ServerDirectory {
 public:
  void Learn(const std::vector<wire::ServerAddress>& servers);
  /// nullopt when it is not known.
  std::optional<HostPort> Find(ServerId server) const;
  std::vector<ServerId> All() const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<ServerId, HostPort>
      addresses_;  // guarded by mutex_; one per server of the cluster
};

}  // namespace tercet
