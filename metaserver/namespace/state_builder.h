// Makes a state database out of rows that another metaserver sends or a backup holds
// (metaserver/namespace/state_format.md, "A state being fetched").
//
// The rows may come from several snapshots, one after the other in key order: of index S0 first, of
// later ones after a cut. What is in the journal is blind puts and deletes, so whatever rows of
// later moments are mixed in: after the records S0+1 … N are applied, N being the newest snapshot's
// index, the state is that of record N. Until then it is no state of any moment: `consistent_from`
// is N.
//
// Crash at any moment: the folder holds all rows up to the key of the last Put that was synced, and
// goes on from there; a folder that is not finished is never taken for a state.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/database.h"
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
  /// Goes on in the folder, or begins in an empty one. kBusy, kCorruption, kVersionTooNew as
  /// Database::Open.
  static Result<std::unique_ptr<StateBuilder>> Open(const DatabaseOptions& options);
  ~StateBuilder();

  bool begun() const;
  const StateBase& base() const;         // begun
  const std::string& after_key() const;  // empty: nothing is there yet
  uint64_t row_count() const;            // so far

  /// The first snapshot. Durable when it returns.
  Status Begin(const StateBase& base);
  /// A further one, of a later moment. kInvalidArgument for an earlier one or another cluster or
  /// group: the folder has to be emptied then.
  Status GoOn(JournalIndex snapshot_index);
  /// Rows as in ReadStateSnapshotResponse, all behind after_key() and in order; kCorruption
  /// otherwise, and when they are malformed (nothing is taken then).
  Status Put(std::string_view rows, std::string_view last_key);
  /// All rows are there: the folder is a state now, durably. The builder is of no more use.
  Status Finish();

 private:
  struct Impl;
  explicit StateBuilder(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

/// Reads rows of `view` behind `after_key` into the form of ReadStateSnapshotResponse, the
/// database's own rows left out; at least one when there is one, no more once they exceed
/// `max_bytes`.
struct StateRows {
  std::string rows;
  std::string last_key;
  bool end = false;
};
Result<StateRows> ReadStateRows(const View& view, std::string_view after_key, size_t max_bytes);

}  // namespace tercet
