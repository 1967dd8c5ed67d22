// Makes a state database out of rows that another metaserver sends or a backup holds
// (metaserver/namespace/state_format.md, "A state being fetched").
//
// The rows may come from several snapshots, one after the other in key order: of index S0 first,
// after a cut of others, none of them before S0. What is in the journal is blind puts and deletes:
// a row that no record in S0+1 … N touches is the same in all snapshots from S0 to N, and one that
// some record touches is after them what the last of these makes it. So whatever is mixed in: after
// the records S0+1 … N are applied, N being the newest snapshot's index, the state is that of
// record N. Until then it is no state of any moment: `consistent_from` is N.
//
// A folder's life; in brackets what a crash between a step and the next leaves:
//  1. the file `format` says that a state is being fetched [begun() is false]
//  2. Begin: the base is written, synced [begun; no rows]
//  3. Put: rows, in key order, as batches; synced every kSyncBytes [rows up to some key that is not
//     before the last sync; after_key() tells it, the fetch goes on there]
//  4. Finish: applied index and consistent_from are written, synced [as 3; Finish again]
//  5. the file `format` says that it is a state [finished()]
//
// Database::Open refuses a folder before step 5. StateBuilder::Open takes one after it too, to tell
// its base to whoever installs it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/state_rows.h"
#include "metaserver/namespace/state_store.h"
#include "metaserver/raft/membership.h"

namespace tercet {

/// What is known of a state that is being fetched.
struct StateBase {
  std::string cluster_id;  // 16 bytes
  uint64_t group_id = 0;
  JournalIndex index;            // S0: the records behind it are to be applied
  Epoch epoch;                   // of record S0
  JournalIndex consistent_from;  // N
  Membership membership;         // as of S0
  JournalIndex membership_index;
};

/// Not thread-safe.
class StateBuilder {
 public:
  static constexpr size_t kSyncBytes = 8 << 20;

  /// Goes on in the folder, or begins in an empty one. kBusy, kCorruption, kVersionTooNew as
  /// Database::Open; kFailedPrecondition when the folder holds a state that was not fetched.
  static Result<std::unique_ptr<StateBuilder>> Open(const DatabaseOptions& options);
  ~StateBuilder();

  bool begun() const;
  bool finished() const;                 // begun too; no row may come
  const StateBase& base() const;         // begun
  const std::string& after_key() const;  // empty: nothing is there yet
  uint64_t row_count() const;            // so far

  /// The first snapshot; base.consistent_from is not looked at. Durable when it returns.
  Status Begin(const StateBase& base);
  /// A further one, of the same cluster and group (the caller looks). Durable when it returns.
  /// kInvalidArgument for one before S0: the folder has to be emptied then.
  Status GoOn(JournalIndex snapshot_index);
  /// Rows as in ReadStateSnapshotResponse, all behind after_key() and in order; kCorruption
  /// otherwise, and when they are malformed (nothing is taken then). No rows with an empty last_key
  /// are fine.
  Status Put(std::string_view rows, std::string_view last_key);
  /// All rows are there: the folder is a state now, durably, and the builder has let go of it.
  Status Finish();

 private:
  struct Impl;
  explicit StateBuilder(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace tercet
