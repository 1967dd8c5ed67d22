// Which inodes are in use on this mount, and which it promised never to open again.
//
// The promise (docs/architecture.md, "Deletion"): an inode that the metaserver condemned is
// released once nothing here uses it; from then on Use answers kStaleHandle. Both are decided under
// one mutex.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "fuse_client/core/inode_state.h"
#include "fuse_client/core/metadata_client.h"

namespace tercet {

/// Thread-safe.
class OpenInodes final : public OrphanKeeper {
 public:
  explicit OpenInodes(std::shared_ptr<PieceBufferPool> pool) : pool_(std::move(pool)) {}

  /// The inode's state with one more use. kStaleHandle when it was given up.
  Result<InodeStatePtr> Use(InodeId inode);
  /// One more use of a state that is in use.
  void UseAgain(const InodeStatePtr& state);
  /// True when this was the last use and the inode is condemned: the metaserver should be told
  /// soon.
  bool Unuse(const InodeStatePtr& state);
  /// The state if the inode is in use, else null. Does not count as a use.
  InodeStatePtr Find(InodeId inode) const;

  size_t Condemn(const std::vector<int64_t>& inodes) override;
  std::vector<int64_t> TakeReleased(size_t max) override;
  void PutBackReleased(const std::vector<int64_t>& inodes) override;

 private:
  struct Entry {
    InodeStatePtr state;
    size_t uses = 0;
  };
  void GiveUpLocked(int64_t inode);

  const std::shared_ptr<PieceBufferPool> pool_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::unordered_map<InodeId, Entry> entries_;
  std::unordered_set<int64_t> condemned_in_use_;  // a subset of entries_
  std::deque<int64_t> released_;  // to be told; a condemned inode is told once per request
  // The promises, oldest first. Those forgotten are long reclaimed: the metaserver refuses them.
  std::unordered_set<int64_t> given_up_;
  std::deque<int64_t> given_up_order_;
};

}  // namespace tercet
