// One attempt to take a block from a generation and its chain to the next (protocol.md): which
// steps, in which order, with whom. Pure: no I/O, threads or clocks. The driver (reconfigurer.h)
// carries out the effects over connections and the journal; tests/sim carries them out in virtual
// time.
//
// Life: Start, then one call of On… for each effect that was returned, in any order, until done().
// Effects that are returned together may be carried out at the same time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/ops/replica_operations.h"

namespace tercet {

/// What is wanted of the attempt.
struct ReconfigurationGoal {
  BlockId block;
  /// The decision was made upon this generation: another one in the journal is kConflict.
  Generation from;
  /// Members that are not to be in the new chain: failed, drained, surplus.
  std::vector<ServerId> drop;
  /// New members, in this order behind the old ones. They may hold a base or nothing.
  std::vector<ServerId> add;
  /// Members whose replica is to be compared page by page with its own checksums (damaged,
  /// suspect).
  std::vector<ServerId> verify;
  /// Members that are known not to answer: they are not asked to seal.
  std::vector<ServerId> unreachable;
  /// With fewer equal members nothing is committed.
  int minimum = 1;
  /// No replica that is not suspect will come back: the best suspect one is taken.
  bool accept_suspect = false;
};

/// A server's answer to SEAL.
struct SealAnswer {
  bool absent = false;
  Generation before;
  uint32_t length = 0;
  uint32_t table_crc = 0;
  bool suspect = false;
  uint32_t damaged_pages = 0;
};

// ---- effects ----

/// Journal the begin record (EvaluateBeginReconfiguration); answer: OnBegun.
struct BeginEffect {
  BlockId block;
  Generation from;
};
/// Send SEAL; answer: OnSealed. A failure to answer is an answer.
struct SealEffect {
  ServerId server;
  Generation generation;
  bool create_if_absent = false;
  bool verify = false;
  bool accept_suspect = false;
};
/// Send PULL (finish); answer: OnPulled.
struct PullEffect {
  ServerId target;
  ServerId source;
  Generation generation;  // of both, in the end
  bool verify_base = false;
};
/// Journal the commit record (EvaluateCommitReconfiguration); answer: OnCommitted.
struct CommitEffect {
  BlockId block;
  Generation from;
  Generation sealing;
  std::vector<ServerId> chain;
  /// Members of the old chain that are not in the new one.
  std::vector<ServerId> dropped;
  /// Members of the new chain whose replica was found to have damage that no other replica could
  /// mend.
  uint32_t lost_pages = 0;
};
using ReconfigurationEffect = std::variant<BeginEffect, SealEffect, PullEffect, CommitEffect>;
using ReconfigurationEffects = std::vector<ReconfigurationEffect>;

class Reconfiguration {
 public:
  explicit Reconfiguration(ReconfigurationGoal goal);

  ReconfigurationEffects Start();
  ReconfigurationEffects OnBegun(const Result<BegunReconfiguration>& begun);
  ReconfigurationEffects OnSealed(ServerId server, const Result<SealAnswer>& answer);
  /// `failed`: with an error, where it happened: the source or the target.
  ReconfigurationEffects OnPulled(ServerId target, const Status& status, ServerId failed);
  ReconfigurationEffects OnCommitted(const Status& status);

  bool done() const { return outcome_.has_value(); }
  /// OK: the new chain is journaled. kConflict: the block is another one now, look again.
  /// kUnavailable: too few members. kCorruption: no member is whole. kNoSpace. What the journal
  /// said.
  const Status& outcome() const { return *outcome_; }
  /// Of a committed attempt.
  Generation generation() const { return begun_.sealing; }
  const std::vector<ServerId>& chain() const { return chain_; }
  /// Who did not seal, or could not be made equal, and why: to be avoided by the next attempt.
  const std::map<ServerId, Status>& failed() const { return failed_; }

 private:
  enum class Phase { kNew, kBeginning, kSealing, kEqualizing, kCommitting, kDone };

  ReconfigurationEffects ChooseSource();
  ReconfigurationEffects Equalize();
  ReconfigurationEffects CommitOrFail();
  ReconfigurationEffects Finish(Status status);

  const ReconfigurationGoal goal_;
  Phase phase_ = Phase::kNew;
  BegunReconfiguration begun_;
  std::map<ServerId, std::optional<Result<SealAnswer>>> seals_;  // nothing: not answered yet
  ServerId source_;
  std::map<ServerId, bool> pulls_;  // pulling → answered
  std::vector<ServerId> equal_;     // sealed and equal to the source, it included
  std::vector<ServerId> chain_;
  std::map<ServerId, Status> failed_;
  std::optional<Status> outcome_;
};

}  // namespace tercet
