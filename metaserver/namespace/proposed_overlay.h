// The effects of records that are proposed but not applied yet, laid over the committed state.
//
// Invariants:
//  - For each key the overlay holds the change of the newest proposed record that touches it, until
//    that record is applied. Older records' changes of the key are hidden, never seen again.
//  - A record leaves the overlay only after its effects can be read in the committed state, and a
//    reader looks into the overlay first and into the committed state second. So a reader finds a
//    proposed change in at least one of the two, at any moment.
//  - A record that is applied before it is added here never enters.
#pragma once

#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "metaserver/namespace/view.h"

namespace tercet {

/// Thread-safe: one thread at a time proposes (and reads, to build on what is proposed) while
/// another one applies. O(log n) per key.
class ProposedOverlay final : public View {
 public:
  /// `committed` must outlive the overlay. Records up to `applied` are in it already.
  ProposedOverlay(const View& committed, JournalIndex applied)
      : committed_(committed), applied_(applied) {}

  Result<std::optional<std::string>> Get(std::string_view key) const override;
  /// A change that is proposed during the scan may or may not be visited.
  Status Scan(std::string_view from, std::string_view to, const RowFunction& row) const override;

  /// Records come in index order.
  void Add(JournalIndex index, const WriteSet& changes);
  /// Everything up to `index` can be read in the committed state now.
  void RemoveApplied(JournalIndex index);
  /// Forgets everything that is proposed: leadership was lost.
  void Clear();
  /// The newest record in the overlay; 0 when all that was proposed is applied.
  JournalIndex newest() const;

 private:
  struct Row {
    JournalIndex index;                // of the record whose change this is
    std::optional<std::string> value;  // nothing: deleted
  };
  using Rows = std::map<std::string, Row, std::less<>>;
  struct Record {
    JournalIndex index;
    std::vector<Rows::iterator> rows;
  };

  const View& committed_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  Rows rows_;
  std::deque<Record> records_;  // by index; bounded by the journal's queue of appended records
  JournalIndex applied_;
};

}  // namespace tercet
