// The engine of GroupMember: puts the core's effects into the world, and tells the core what
// happened there.
//
// One lock, mutex_, guards the core and all that goes with it. Under it the log in the core and the
// log in the journal are the same: whoever changes one changes the other before releasing it. What
// takes long is done without it - syncs and applies in steps, one thread at a time each; records
// for members that are behind are read by the links' threads - but for what is rare and must be
// done before anything else: hard state, truncation, a log that begins anew.
//
// Lock order: mutex_, then sync_mutex_, then the journal's and the links' own.
//
// Leadership as the driver sees it:
//   lead_epoch_   the core leads; records of this member's own can be waited for
//   serve_epoch_  and the active role was told or is being told so; Append is allowed. Ends with
//                 leadership, or earlier, when it is handed over
//   serving_      and BecomeActive has returned
#pragma once

#include <semaphore.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/rpc/host_port.h"
#include "metaserver/group/group_member.h"
#include "metaserver/group/peer_link.h"
#include "metaserver/group/record_tail.h"

namespace tercet {

/// Thread-safe. The public calls are those of GroupMember.
class MemberDriver final : public LinkSource {
 public:
  MemberDriver(GroupMemberOptions options, std::unique_ptr<Journal> journal, MemberState state,
               Applier* applier, ActiveRole* active_role, Disk& disk, const Clock& clock,
               Random& random);
  ~MemberDriver() override;
  Status Start();
  void Stop(std::chrono::milliseconds patience);

  Result<JournalIndex> Append(Epoch epoch, std::string payload);
  Status WaitApplied(Epoch epoch, JournalIndex index);
  /// As WaitApplied for the present leadership or, without one, the last.
  Status WaitApplied(JournalIndex index);
  bool HoldsLease(Epoch epoch) const;
  ConsensusState state() const;
  void AwaitActive(std::chrono::milliseconds timeout);

  Result<MemberId> AddMember(const std::string& address, MemberKind kind);
  Status RemoveMember(MemberId member, bool force);
  Status PromoteWitness(MemberId member);
  Result<MemberId> TransferActive(MemberId target);

  GroupStatus status() const;
  GroupMemberCounters counters() const;
  Status failure() const;
  std::optional<StateOffer> pending_offer() const;
  MemberKind kind() const;
  const NodeIdentity& identity() const { return journal_->identity(); }
  std::pair<JournalIndex, Membership> MembershipAt(JournalIndex index) const;

  // From the handler.
  /// kWrongCluster, kFailedPrecondition. Remembers the caller's address.
  Status Hello(MemberId from, const std::string& address);
  void Receive(RaftMessage message);
  void CountDropped() override;
  uint64_t group_id() const { return group_id_; }
  MemberId self() const { return self_; }

  // LinkSource.
  Next NextFor(MemberId to, bool may_wait) override;
  void LinkConnected(MemberId to) override;
  void CountSent() override;

 private:
  using Lock = std::unique_lock<std::mutex>;
  using LinkPtr = std::shared_ptr<PeerLink>;
  /// A thread that is asleep. It is told either that its wait is over, and then needs no lock to
  /// return, or that there is a step for it to do. A semaphore of its own: a condition variable
  /// would make all who are woken together queue for the lock.
  struct Waiter {
    Waiter(Epoch waited_epoch, JournalIndex waited_index);
    ~Waiter();
    const Epoch epoch;  // of the leadership it waits in
    const JournalIndex index;
    bool signalled = false;         // in wakes_, or posted
    std::optional<Status> outcome;  // its wait is over, and it is not among waiters_ any more
    sem_t wakeup;
  };
  struct Peer {
    LinkPtr link;
  };
  struct Leadership {  // that has ended
    Epoch epoch;
    JournalIndex applied;  // when it ended
  };
  struct HeardAddress {
    std::string address;
    int64_t heard_ns = 0;
  };

  // All below need mutex_; those with a Lock release it in between.

  // member_driver.cc: the core's effects, leadership.
  int64_t Now() const { return clock_.MonotonicNanos(); }
  /// After each input to the core: everything that follows from it. RunDeferred comes next.
  void Settle();
  void RunEffects();
  Status Perform(RaftEffects& effects);
  Status Truncate(JournalIndex after);
  Status SaveHardState(const HardState& hard_state);
  void BeginLeadership();
  void EndLeadership();
  void AppendEpochRecord();
  void PublishRole();
  Epoch WantedRole() const;
  void Fail(const Status& status);
  Status NotActive() const;
  std::string ActiveHint() const;
  std::string AddressOf(MemberId member) const;

  // driver_log.cc: a record's way.
  Status CheckActive(Epoch epoch) const;
  bool Ended() const { return !failure_.ok() || stopping_; }
  bool HasApplyWork() const;
  bool HasSyncWork() const;
  /// Does a step that nobody does, if there is work for it; false when there is none.
  bool Work(Lock& lock);
  void SyncStep(Lock& lock);
  void ApplyStep(Lock& lock);
  Result<std::vector<CommittedRecord>> TakeForApply(Lock& lock);
  /// Chooses whom to wake: those whose wait is over, and one for each step that has work and nobody
  /// doing it. RunDeferred wakes them.
  void WakeWaiters();
  void PostWakes(std::vector<Waiter*> wakes) const;
  /// The outcome of the wait when it is over, without the lock then; else there is a step to do, or
  /// another reason to look again.
  std::optional<Status> Sleep(Lock& lock, Epoch epoch, JournalIndex index);
  Status AwaitSpare(Lock& lock);
  Status WaitOutcome(Epoch epoch, JournalIndex index) const;
  /// Puts a record at the end of journal, tail and core.
  Result<JournalIndex> AppendHere(RecordKind kind, std::string&& payload,
                                  const Membership* membership);

  // driver_links.cc
  void MarkLink(const LinkPtr& link);
  void MarkLinks();
  /// Cuts records off the end that the journal could not take now.
  void DropWhatHasNoRoom(Lock& lock, AppendRequest* request);
  /// What follows from Settle and is better done without the lock: kicks the links that have
  /// something to send and wakes who is to be woken.
  void RunDeferred(Lock& lock);
  std::map<MemberId, std::string> WantedLinks() const;
  bool LinksAreCurrent() const;
  /// Not under mutex_.
  void UpdateLinks();
  RaftMessage MakeAppend(MemberId to, const AppendPlan& plan, std::vector<CommittedRecord> records,
                         int64_t now_ns);

  // driver_maintenance.cc
  void Checkpoint(Lock& lock);
  JournalIndex ReleasePoint(JournalIndex applied) const;
  void MaintainSpare(Lock& lock);
  void WatchSpace(Lock& lock);
  /// For a journal that is about to begin at `first`.
  Status SaveBaseMembership(JournalIndex first);
  void BeginLogAnew(Lock& lock);
  bool ShortOfSpace() const;
  void NoteSpace();

  // driver_admin.cc
  void TendGroup(int64_t now_ns);
  void TendMembership(int64_t now_ns);
  std::optional<Membership> NextMembership(int64_t now_ns) const;
  bool Heard(const PeerProgress& peer, int64_t now_ns) const;
  MemberId BestStandby(int64_t now_ns) const;
  Status CheckAdmin() const;
  Status CheckRemoval(const Member& member, bool force) const;
  Status CallJoin(const HostPort& target, const wire::JoinRequest& request) const;
  /// Journals it and waits until it is committed.
  Status ChangeMembership(Lock& lock, const Membership& membership);

  void RunLog();
  void RunApply();
  void RunTick();
  void RunRole();
  void RunMaintenance();

  // Constant after construction.
  const GroupMemberOptions options_;
  Applier* const applier_;         // null: none
  ActiveRole* const active_role_;  // null: none
  Disk& disk_;
  const Clock& clock_;
  Random& random_;
  const uint64_t group_id_;
  const MemberId self_;

  // Self-synchronised.
  const std::unique_ptr<Journal> journal_;
  std::atomic<uint64_t> lease_epoch_{0};    // 0: none
  std::atomic<int64_t> lease_until_ns_{0};  // of that epoch
  std::atomic<uint64_t> messages_sent_{0};
  std::atomic<uint64_t> messages_dropped_{0};
  /// Held while the journal is synced, so that a truncation can wait for the end of it.
  std::mutex sync_mutex_;
  /// One UpdateLinks at a time; before mutex_.
  std::mutex links_mutex_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::unique_ptr<RaftCore> core_;
  MemberState member_state_;  // as it is on the disk
  Status failure_;
  bool stopping_ = false;      // nobody is served any more
  bool stop_threads_ = false;  // and the threads end
  JournalIndex start_last_;    // the log's end when this member started
  JournalIndex durable_;
  JournalIndex applied_;
  RecordTail tail_;
  std::list<Waiter*> waiters_;   // asleep, and their wait is not over
  std::vector<Waiter*> wakes_;   // to be woken by RunDeferred
  bool syncing_ = false;         // a thread is in SyncStep
  bool applying_ = false;        // a thread is in ApplyStep
  int64_t sync_started_ns_ = 0;  // of the SyncStep in progress
  JournalIndex send_limit_;      // records up to here may go to the others
  GroupMemberCounters counters_;
  // Leadership.
  Epoch lead_epoch_;
  JournalIndex lead_first_;       // the record that opens lead_epoch_; 0: not appended yet
  JournalIndex lead_last_;        // the newest record this member appended in it
  uint64_t queued_bytes_ = 0;     // of payloads that were appended in it and are not applied
  std::deque<Leadership> ended_;  // the newest ones
  Epoch serve_epoch_;
  bool serving_ = false;
  Epoch role_epoch_;        // what the active role was told; 0: to be standby
  bool role_lost_ = false;  // role_epoch_ is to be told that it is over
  // Other members.
  std::map<MemberId, Peer> peers_;
  std::map<MemberId, HeardAddress> heard_;  // from Hello
  std::vector<LinkPtr> dirty_links_;        // to be kicked
  std::optional<StateOffer> pending_offer_;
  std::optional<StateOffer> reset_wanted_;  // for the maintenance thread
  // Space.
  uint64_t bytes_since_checkpoint_ = 0;
  uint64_t spares_wanted_ = 0;  // attempts asked for
  uint64_t spares_tried_ = 0;   // attempts done
  Status spare_status_;         // of the newest attempt
  Status space_status_;         // of the newest look at the free space
  bool log_wanted_ = false;     // the log thread has work
  bool apply_wanted_ = false;
  std::condition_variable log_wakeup_;
  std::condition_variable apply_wakeup_;
  std::condition_variable tick_wakeup_;
  std::condition_variable role_wakeup_;
  std::condition_variable changed_;  // role, leader, commit index, failure
  std::condition_variable spare_tried_;
  std::condition_variable maintenance_wakeup_;

  // Started last.
  std::vector<std::thread> threads_;
  std::thread role_thread_;
};

}  // namespace tercet
