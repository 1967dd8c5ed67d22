// The namespace state in LevelDB, with the effects of proposed records laid over it.
//
// Invariants:
//  - Each LevelDB batch holds the whole effect of one or more consecutive records and the index of
//    the last of them: whatever LevelDB comes back with after a crash, the applied index tells
//    exactly which records are in.
//  - What survives a power cut is a prefix of the batches. LevelDB alone does not promise that;
//    metaserver/namespace/state_env.h says what is done about it.
//  - Rows whose key begins with a zero byte belong to the database
//    (metaserver/namespace/state_format.md). No write set touches them.
//  - After a failed write nothing is applied any more until the database is opened anew: LevelDB
//    may have taken part of the batch.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/proposed_overlay.h"
#include "metaserver/namespace/state_store.h"
#include "metaserver/namespace/view.h"
#include "metaserver/raft/consensus.h"

namespace tercet {

class Database final : public Applier {
 public:
  /// kBusy when another process has the database open, kCorruption when it is damaged,
  /// kVersionTooNew when a newer Tercet wrote it, kFailedPrecondition when it is a state that is
  /// not fetched to its end (then nothing was changed).
  static Result<std::unique_ptr<Database>> Open(const DatabaseOptions& options);
  /// Syncs what was applied. No view or snapshot may be used any more.
  ~Database() override;

  /// The applied state. Thread-safe; each Get and each Scan sees one moment of it.
  const View& committed() const { return *committed_; }

  /// The applied state as of now, for reads that must agree with each other and for iterating over
  /// all of it. Thread-safe. Must go before the database does. Holds disk space while it lives.
  std::unique_ptr<const View> TakeSnapshot() const;

  /// What will be when all proposed records are applied. For the proposer, under its lock; another
  /// thread may apply meanwhile.
  const View& proposed() const { return overlay_; }
  /// Records come in index order. May come after the record is applied already. Needs the
  /// proposer's lock.
  void AddProposed(JournalIndex index, const WriteSet& changes) { overlay_.Add(index, changes); }
  /// Forgets all proposed records: leadership was lost. Needs the proposer's lock.
  void DropProposed() { overlay_.Clear(); }
  /// The newest proposed record that is not applied yet; 0 when there is none. Thread-safe.
  JournalIndex newest_proposed() const { return overlay_.newest(); }

  /// Of a membership record only the index is taken. Not durable until SyncApplied. kInternal when
  /// the records do not follow the applied index without a gap; kCorruption when a payload is no
  /// write set or touches the database's own rows (nothing of the span is applied then).
  Status Apply(std::span<const CommittedRecord> records) override;
  /// Thread-safe, and does not hold up Apply.
  Result<JournalIndex> SyncApplied() override;
  /// Thread-safe.
  JournalIndex applied_index() const override;
  /// The epoch of the record at applied_index(); 0 when none is applied. Not thread-safe against
  /// Apply.
  Epoch applied_epoch() const { return applied_epoch_; }
  /// Until this record is applied the rows are of no one moment and only good for applying records
  /// (state_builder.h): no reads, no snapshots for others, no vote for this member as active. 0 for
  /// a state that was not fetched.
  JournalIndex consistent_from() const { return consistent_from_; }

  /// LevelDB's own figures in text, for people. Thread-safe.
  std::string Statistics() const;

 private:
  Database(std::unique_ptr<StateStore> store, JournalIndex applied, Epoch epoch,
           JournalIndex consistent_from);

  // Constant after construction.
  const JournalIndex consistent_from_;
  const std::unique_ptr<StateStore> store_;
  const std::unique_ptr<const View> committed_;

  // Self-synchronised.
  std::atomic<uint64_t> applied_index_;
  ProposedOverlay overlay_;

  // Used by the one thread in Apply.
  Epoch applied_epoch_;
  Status failure_;  // why nothing is applied any more
};

}  // namespace tercet
