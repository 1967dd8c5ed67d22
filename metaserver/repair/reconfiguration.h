// One attempt to take a block from a generation and its chain to the next (protocol.md): which
// steps, in which order, with whom. Pure: no I/O, threads or clocks. The driver (reconfigurer.h)
// carries out the effects over connections and the journal; tests/sim carries them out in virtual
// time.
//
// Invariants:
//  - The root, whose content the new chain gets, was a member of the old chain, was sealed in this
//    attempt, is not suspect unless that was accepted, and is not empty while any member is not.
//  - A member of the new chain was sealed and has the root's checksums, or pulled from one that
//    has, in this attempt. So it has every acknowledged write.
//  - When another root is taken, who was equal to the one before is not any more.
//  - Each (target, source) pair is tried once per root, each root once: an attempt ends.
//
// Life: Start, then one call of On… for each effect that was returned, in any order, until done().
// Effects that are returned together may be carried out at the same time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
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
  /// No replica that is not suspect will come back: the best suspect one is taken, when all members
  /// but the unreachable ones have answered.
  bool accept_suspect = false;
  /// Members that were noted as suspect. One that does not say so any more was accepted by an
  /// attempt that was not committed: it is a suspect as before.
  std::vector<ServerId> suspects;
  /// A replica was found with this generation, which the journal (restored from a backup) does not
  /// know: the attempt's is higher.
  Generation above;
  /// Something that was written to this block was acknowledged, as of every committed one: an empty
  /// replica, which a seal may have made while it was reserved, is not whole.
  bool has_data = false;
};

/// A server's answer to SEAL.
struct SealAnswer {
  /// Not 0: refused, the replica has this generation, which is higher than the attempt's. The other
  /// fields are unset.
  Generation newer;
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
  std::vector<ServerId> targets;  // new members: remembered with the attempt
  Generation above;
};
/// Send SEAL; answer: OnSealed. A failure to answer is an answer.
/// One server may be asked twice: with `accept_suspect` once all have answered and it is the one
/// that is kept.
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
  /// Members of the new chain whose pages were compared with their checksums, or were made anew.
  std::vector<ServerId> verified;
  /// The new chain holds nothing, as nothing was acknowledged: not when something was committed in
  /// the block meanwhile.
  bool unwritten = false;
  /// Pages of members of the new chain that are known to be damaged, or were accepted as they are,
  /// and that no other replica could mend.
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
  /// New members that were told to pull: of an attempt that was given up they may hold a replica
  /// that no journal knows (EvaluateDiscardTargets).
  const std::vector<ServerId>& targets() const { return targets_; }
  /// Not 0: it ended with kConflict since a replica has this generation, higher than the attempt's.
  /// Another attempt, above it, can go on.
  Generation newer() const { return newer_; }
  /// It failed, and whoever answered with a replica has a suspect one: with `accept_suspect` it
  /// could go on.
  bool only_suspects() const { return done() && !outcome_->ok() && OnlySuspects(); }
  /// It is known which generation the attempt has: members may be sealed with it.
  bool begun() const { return begun_.sealing.value() != 0; }

 private:
  enum class Phase { kNew, kBeginning, kSealing, kAccepting, kEqualizing, kCommitting, kDone };
  /// What is known of a server that takes part.
  struct Member {
    bool was = false;     // in the old chain
    bool wanted = false;  // to be in the new one
    bool verify = false;  // its pages are to be compared with its checksums
    bool noted_suspect = false;
    bool sealing = false;  // asked and not answered
    std::optional<SealAnswer> sealed;
    bool out = false;      // failed: neither source nor member of the new chain
    bool suspect = false;  // may lack acknowledged writes, and was not accepted as it is
    bool damaged = false;  // has pages that do not match their checksums
    bool equal = false;    // its checksums are those of the root
    bool pulling = false;
    bool verified = false;         // its pages match its checksums, as of this attempt
    bool verifying = false;        // by its newest pull
    bool pulled = false;           // it was told to pull: what it answered to SEAL is outdated
    ServerId source;               // of its newest pull
    bool gave = false;             // something was pulled from it
    std::set<ServerId> blamed_by;  // who could not reach it
    std::set<ServerId> tried;      // sources from which it pulled in vain, under this root

    bool whole() const { return equal && !damaged && !out; }
    bool has_replica() const { return sealed && !sealed->absent; }
    bool above_suspicion() const {
      return has_replica() && !sealed->suspect && !noted_suspect && sealed->length > 0;
    }
  };

  ReconfigurationEffects SealAll();
  ReconfigurationEffects TakeRoot();
  void SetRoot(ServerId root);
  ReconfigurationEffects Equalize();
  ReconfigurationEffects StartPulls();
  ReconfigurationEffects CommitOrFail();
  ReconfigurationEffects Finish(Status status);

  std::optional<ServerId> BestRoot() const;
  std::optional<ServerId> BestSuspect() const;
  std::optional<ServerId> SourceFor(ServerId target) const;
  /// Servers that a commit would name now. Without damaged ones where enough are whole.
  std::vector<ServerId> PresentChain() const;
  /// A member that might have answered did not.
  bool AnySilent() const;
  /// Leaves out who others could not reach, or who could reach no other. False: nobody.
  bool ExcludeUnreachable();
  bool AnyPulling() const;
  bool OnlySuspects() const;
  size_t Minimum() const;
  /// How many members the new chain can have at most.
  size_t Hopeful() const;
  void Exclude(ServerId server, const Status& status);
  Status TooFew(size_t got) const;

  const ReconfigurationGoal goal_;
  Phase phase_ = Phase::kNew;
  BegunReconfiguration begun_;
  std::vector<ServerId> order_;  // the old chain, then the new members
  std::map<ServerId, Member> members_;
  size_t seals_open_ = 0;
  Generation newer_;
  ServerId root_;  // whose content the new chain gets; 0: not chosen yet
  bool empty_ = false;  // the content of the newest root, as nothing was acknowledged
  std::set<ServerId> roots_tried_;
  uint32_t accepted_damage_ = 0;
  std::vector<ServerId> chain_;
  std::vector<ServerId> targets_;
  std::map<ServerId, Status> failed_;
  std::optional<Status> outcome_;
};

}  // namespace tercet
