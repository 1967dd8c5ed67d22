// A member's process in a simulation: drives the real core, journal, state and proposer as
// metaserver/group does with threads, but in events of a virtual clock.
//
// Each event ends with Pump: what the core wants done is done, in the order that
// metaserver/raft/raft_core.h asks for. A failed disk operation ends the process; the machine
// starts it anew.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "metaserver/group/record_tail.h"
#include "metaserver/journal/journal.h"
#include "metaserver/journal/member_state.h"
#include "metaserver/namespace/database.h"
#include "metaserver/raft/raft_core.h"
#include "metaserver/service/proposer.h"
#include "tests/sim/calls.h"
#include "tests/sim/state_fetch.h"
#include "tests/sim/world.h"

namespace tercet::sim {

enum class ProcessEnd {
  kNone,
  kFault,    // of the disk
  kRestart,  // it wants to start anew: it gets a state, or is rid of one
  kFatal,    // the core says that it must not go on
};

class Process final : public Consensus {
 public:
  using Reply = std::function<void(Answer)>;
  static constexpr char kJournalFolder[] = "/journal";
  static constexpr char kMemberFile[] = "/member";
  static constexpr char kStateFolder[] = "/state";
  static constexpr char kNextStateFolder[] = "/state.next";
  static constexpr char kOldStateFolder[] = "/state.old";

  /// `machine` must outlive the process. kIo and the like when the disk fails, kCorruption when it
  /// holds what it must not.
  static Result<std::unique_ptr<Process>> Start(Machine& machine);
  ~Process() override;

  // Events; Pump after each.
  void Receive(RaftMessage message);
  void LinkReset(MemberId member);
  void HandleCall(const Call& call, const Reply& reply);
  /// To the best one for 0.
  Status Transfer(MemberId target);
  Status ProposeMembership(const Membership& membership);
  void Pump();

  // Consensus, for the proposer.
  Result<JournalIndex> Append(Epoch epoch, std::string payload) override;
  /// Never called: the simulation finishes mutations when their records are applied.
  Status WaitApplied(JournalIndex index) override;
  bool HoldsLease(Epoch epoch) const override;
  ConsensusState state() const override;

  ProcessEnd end() const { return end_; }
  const std::string& end_reason() const { return end_reason_; }
  Machine& machine() { return machine_; }
  const RaftCore& core() const { return *core_; }
  const MemberState& member_state() const { return state_; }
  /// Null for a witness and while the state is fetched.
  Database* database() { return database_.get(); }
  JournalIndex durable() const { return durable_; }
  /// As far as its own clock and core say, no other can be the active.
  bool MayServe() const;
  bool active() const { return active_epoch_.value() != 0; }
  bool syncing() const { return syncing_; }

  // For the fetch of the state.
  const JournalRange journal_range() const { return journal_->range(); }
  DatabaseOptions StateOptions(const char* folder) const;
  SnapshotServer& snapshots() { return snapshots_; }
  StateFetch* fetch() { return fetch_.get(); }
  /// Before a fetched state becomes one: the journal must hold what follows it, and end no earlier.
  Status AlignJournal(const StateBase& base);
  /// The state in kNextStateFolder is whole: puts it into place. The process ends.
  void InstallState(const StateBase& base);
  void End(ProcessEnd end, const std::string& reason);
  void Fault(const Status& status) { End(ProcessEnd::kFault, status.ToString()); }

 private:
  struct PendingCall {
    StartedMutation<wire::GetXattrResponse> started;
    Reply reply;
    bool lost = false;  // leadership went, but nobody looked yet
  };

  explicit Process(Machine& machine);
  Status Open();
  Status OpenState();
  Status MakeCore();
  void UpdateLacksState();
  int64_t Now() const { return machine_.clock().MonotonicNanos(); }
  void ScheduleTick();
  void Tick();

  // Log and hard state (process.cc).
  bool CarryOut(RaftEffects effects);
  Status SaveState();
  Status TruncateAfter(JournalIndex index);
  Status AppendToJournal(const CommittedRecord& record);
  Status SyncJournal();
  void StartSync();
  void OnSynced(JournalIndex index, Epoch epoch);
  void OpenEpoch();
  bool SendAppends();
  void Send(RaftMessage message);
  std::vector<CommittedRecord> Records(JournalIndex from, JournalIndex to);
  void NoteCommits();
  void OnOffer(const StateOffer& offer);
  void WatchSpace();
  void PromoteCaughtUp();
  void FollowKind();

  // State (process_state.cc).
  void StartApply();
  void ApplyStep();
  void Checkpoint();
  Status ReleaseBefore(JournalIndex index);
  void UpdateRole();
  void Activate();
  void MakeSessions();
  void Deactivate();
  void FinishCalls();
  void Finish(PendingCall call, const Status& waited);
  void Read(const Call& call, const Reply& reply);
  void AnswerRead(const AnswerBasis& basis, const Status& status, Answer answer,
                  const Reply& reply);
  Status ResetJournal(JournalIndex base, Epoch epoch, const Membership& membership,
                      JournalIndex membership_index);

  Machine& machine_;
  World& world_;
  ProcessEnd end_ = ProcessEnd::kNone;
  std::string end_reason_;
  MemberState state_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<Database> database_;
  SnapshotServer snapshots_;  // goes before the database
  std::unique_ptr<StateFetch> fetch_;
  std::unique_ptr<Proposer> proposer_;
  std::unique_ptr<RaftCore> core_;
  RecordTail tail_;
  JournalIndex durable_;       // as the core knows it
  JournalIndex noted_commit_;  // as the checker does
  bool syncing_ = false;
  bool applying_ = false;
  bool short_of_space_ = false;
  uint32_t since_checkpoint_ = 0;
  Epoch opened_epoch_;  // whose first record was appended here, as the leader's
  JournalIndex epoch_record_;
  Epoch active_epoch_;
  bool sessions_made_ = false;
  std::deque<PendingCall> pending_;
};

/// Takes a folder of files out of a disk.
Status RemoveFolder(Disk& disk, const std::string& path);

}  // namespace tercet::sim
