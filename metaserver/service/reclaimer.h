// Frees in the background what mutations leave behind: orphans that no session holds open, and the
// blocks that a large truncation cut off.
//
// The rows in the journaled state are the queue, so nothing is forgotten over a crash. Work is done
// in small records and paced, so that foreground mutations do not wait for it: a step that took t
// is followed by a pause of several t.
#pragma once

#include <chrono>
#include <cstdint>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "metaserver/service/proposer.h"
#include "metaserver/service/sessions.h"

namespace tercet {

struct ReclaimerOptions {
  /// Orphans in one journal record.
  size_t orphans_per_record = 16;
  /// Blocks removed by one journal record (of one orphan or truncation).
  int max_blocks_per_record = 128;
};

/// Used by one thread.
class Reclaimer {
 public:
  /// All references must outlive the reclaimer.
  Reclaimer(ReclaimerOptions options, Proposer& proposer, Sessions& sessions, const Clock& clock);

  /// Does one small piece of work. True when there is more that can be done now.
  Result<bool> Step();

 private:
  /// Brings orphans from the queue into the window.
  Status FillWindow();
  Result<bool> ReclaimOrphans();
  Result<bool> ReclaimTruncations();

  const ReclaimerOptions options_;
  Proposer& proposer_;
  Sessions& sessions_;
  const Clock& clock_;

  Epoch epoch_;               // of the activation that what follows belongs to
  InodeId next_orphan_;       // where the scan of the queue goes on
  int64_t next_fill_ms_ = 0;  // not before
  InodeId next_truncation_;   // where that scan goes on
  int64_t next_truncation_ms_ = 0;
  size_t one_by_one_ = 0;  // records with one orphan only: one of them is damaged
};

}  // namespace tercet
