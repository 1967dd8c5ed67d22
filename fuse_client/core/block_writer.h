// Writes one block of one file: knows or asks for the block, sends its pieces down the chain, and
// gets over failures.
//
// Invariants:
//  - Pieces stay in InodeState::in_flight until every replica of the block they are for has
//  acknowledged
//    them. After a failure of the chain all of them are sent again, in order, to what replaced it.
//  - `written_` holds what was acknowledged since the last commit that named or confirmed the
//  block. When
//    the block itself is replaced (it was only reserved, or somebody else's truncation took it out
//    of the file), that is copied from a replica of the old block before anything else is sent.
//  - Data counts as synced only when a SYNC of the current chain covered it.
//
// Recovery, step by step:
//  1. A chain fails. Not committed yet: AllocateBlock replaces the block by one on other servers,
//  with what
//     was acknowledged so far copied from the old one. A crash of the mount here loses only what
//     was never committed.
//  2. Committed: the locations are fetched again, and the chain is tried again until the data
//  limit.
//  3. Out of time: the block's data is dropped; the caller reports the error to the program.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "fuse_client/core/block_io/chain_writer.h"
#include "fuse_client/core/client_context.h"
#include "fuse_client/core/inode_state.h"
#include "fuse_client/core/interval_set.h"

namespace tercet {

/// All methods are called with the inode's write_mutex held, by one thread at a time per
/// BlockWriter.
class BlockWriter {
 public:
  /// `context` and `inode` must outlive it.
  BlockWriter(ClientContext* context, InodeState* inode, uint64_t index);
  ~BlockWriter();

  /// Sends the pieces that wait, without waiting for their acknowledgements. An error of this and
  /// the next two is final: the block's pieces and what was written since the last commit are lost.
  Status Send();
  /// Sends, and waits until all replicas have everything.
  Status Drain();
  /// Drains, and makes everything durable on all replicas.
  Status Sync();

  /// Ids to be named in a commit; 0 when there is none. Only after Drain.
  int64_t block_to_commit() const;
  int64_t block_to_trim() const;
  /// The commit that named them is done.
  void NoteCommitted();
  /// The commit was refused because the file's block may be another one now: finds out, and moves
  /// what was written there.
  Status Reallocate();

  /// The file was cut: the block's locations and valid length are to be asked for again.
  void NoteTruncated();
  bool unsynced() const { return unsynced_; }
  /// Nothing waits or is in flight, and a commit needs nothing of it.
  bool idle() const;
  uint64_t index() const { return index_; }

 private:
  enum class Goal { kSend, kDrain, kSync };
  struct Salvage {
    BlockTarget source;
    IntervalSet ranges;  // in the block
  };

  Status Run(Goal goal);
  Status TryOnce(Goal goal);
  void NoticeForeignChanges();
  Status EnsureChain();
  Status EnsureBlock();
  Status FetchBlock(bool* found);
  Status Allocate(BlockId replace, const std::vector<ServerId>& exclude,
                  std::optional<std::chrono::milliseconds> limit);
  Status AllocateAvoidingFailed();
  Status Adopt(FileBlock fresh);
  Status CopySalvage();
  Status CutIfNeeded();
  Status SubmitPieces(const std::deque<Piece>& waiting, Goal goal);
  void CollectAcknowledged();
  Status PrepareRetry(const Status& failure);
  Status MoveAway(const Status& failure);
  void Publish();
  void DropChain();
  void GiveUp(const Status& status, double seconds);
  std::deque<Piece>* pieces();
  std::string Name() const;

  ClientContext* const context_;
  InodeState* const inode_;
  const uint64_t index_;

  std::optional<FileBlock> block_;  // as used by chain_; its copy in the block map may lag behind
  /// A reserved block that was given up, with anything in it: not to be used again.
  BlockId abandoned_;
  /// block_ has to be asked for again; it still says what written_ is about.
  bool refetch_ = false;
  uint64_t seen_foreign_changes_;  // of the inode, when block_ was last known to be right
  std::unique_ptr<ChainWriter> chain_;
  std::deque<uint64_t> submitted_;  // chain_'s numbers of the first of pieces()
  IntervalSet written_;             // in the block
  std::optional<Salvage> salvage_;
  std::vector<ServerId> excluded_;  // failed during the recovery under way
  bool unsynced_ = false;
};

}  // namespace tercet
