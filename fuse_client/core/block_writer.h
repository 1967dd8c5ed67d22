// Writes one block of one file: knows or asks for the block, sends its pieces down the chain, and
// gets over failures.
//
// Invariants:
//  - Pieces stay in InodeState::in_flight until every replica of the block's chain has acknowledged
//    them. After a failure all of them are sent again, in order, to what the active made of the
//    block.
//  - Nothing is sent again under the generation with which it failed: servers may still hold frames
//    of the broken connection, and apply them behind newer ones. Only another generation, or
//    another block, makes them void; until RecoverBlock gives one nothing is sent. Nor is it by
//    other writers of this mount, or later ones, when this one gave up.
//  - What was acknowledged is in the new chain: the active copies it before it answers. So it is
//    not kept here. A new chain with the same block also has it on disk where the old one had, but
//    data that was only acknowledged is not synced by it: data counts as synced only when a SYNC of
//    the current chain covered it, or its frame carried the sync flag.
//  - `written_` says what was acknowledged since the last commit that named or confirmed the block.
//    It is needed when the block itself is taken out of the file, by somebody else's truncation or
//    with a lost session: then it is copied from a replica of the old block to what is there now,
//    before anything else is sent.
//
// Recovery, step by step:
//  1. A chain fails: in its connection, by its deadline, or with a replica's answer. It is dropped.
//     A crash of the mount here loses only what was never committed; half-written pieces are in the
//     block then, as after a crash in mid-write.
//  2. RecoverBlock names the block, the generation and the failed server (when a replica said that
//     the generation is old, only such as failed before: somebody else recovers, or has recovered).
//     The answer is
//      - the block with another generation and chain: pieces are sent again. Also when another
//        writer, of this file on another mount, has asked before.
//      - another block, reserved for this mount, when nothing of the old one was acknowledged.
//      - kConflict: the block left the file. AllocateBlock says what is there now; see written_.
//      - kUnavailable, or no answer: asked again until the data limit. An answer that was lost
//        costs nothing: the block's generation has changed, and the repetition is told so.
//      - kNoSpace: the program gets ENOSPC. Also when no chain with room is found.
//  3. Out of time: the block's data is dropped; the caller reports the error to the program.
// Before a chain with a server that failed just now is used at all the active is asked in the same
// way: it knows whether the server still fails. So a writer of many blocks waits for a hung server
// once, not at each block.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
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
  /// Makes what anybody wrote to this block of the file durable on all replicas; the only call of
  /// this writer. OK also when it is not part of the file any more.
  Status SyncExisting(FileBlock block);

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

  /// Why the chain of block_ ended.
  struct Failure {
    Status status;
    ServerId server;
  };

  /// From the first failure of a call on.
  struct Recovery {
    RetryTimer timer;
    Status cause;
    ServerId server;  // where it failed; 0: not known
    std::optional<FileBlock> before;
    bool told = false;  // that it takes long
  };

  Status Run(Goal goal);
  Status TryOnce(Goal goal);
  void NoticeForeignChanges();
  void NoticeFailedServers();
  Status EnsureChain();
  Status EnsureBlock();
  Status LeaveGivenUpGeneration();
  Status Recover();
  Status AskForMoreReplicas();
  Status AskAgainIfSuspect();
  Status AskForRecovery(const Status& failure, const std::vector<ServerId>& failed,
                        std::chrono::milliseconds limit);
  /// The block's chain is another one than `before`; counts it.
  bool NoteChange(const FileBlock& before) const;
  void LogRecovered() const;
  void LogSlowness(const Status& failure);
  Status FetchBlock(bool* found);
  Status Allocate(const std::vector<ServerId>& exclude,
                  std::optional<std::chrono::milliseconds> limit);
  Status AllocateAvoidingFailed();
  std::vector<ServerId> RecentlyFailedMembers() const;
  std::vector<ServerId> ServersToAvoid() const;
  Status Adopt(FileBlock fresh);
  Status CopySalvage();
  Status CutIfNeeded();
  Status SubmitPieces(const std::deque<Piece>& waiting, Goal goal);
  void CollectAcknowledged();
  Status PrepareRetry(const Status& failure);
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
  /// RecoverBlock has to replace block_'s generation before anything is sent.
  std::optional<Failure> failure_;
  uint64_t seen_foreign_changes_;  // of the inode, when block_ was last known to be right
  /// Of DataConnections, when chain_'s servers were last looked at.
  uint64_t seen_failures_ = 0;
  std::unique_ptr<ChainWriter> chain_;
  std::deque<uint64_t> submitted_;  // chain_'s numbers of the first of pieces()
  IntervalSet written_;             // in the block
  std::optional<Salvage> salvage_;
  // Of the recovery under way.
  std::optional<Recovery> recovering_;
  std::vector<ServerId> excluded_;  // failed during it
  bool unsynced_ = false;
  // SyncExisting: nothing is to be allocated, and nothing is lost by a failure.
  bool only_syncs_ = false;
  bool left_file_ = false;
};

}  // namespace tercet
