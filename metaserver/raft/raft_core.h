// The Raft consensus algorithm as a pure state machine: no threads, clocks, disks or sockets. What
// happens comes in as calls, what is to be done goes out as effects; the same calls always give the
// same effects. Source: D. Ongaro, "Consensus: Bridging Theory and Practice" (2014): elections
// (3.4), membership changes by one (4.1-4.3), transfer (3.10), pre-vote (9.6), reads under a
// leader's lease (6.4.1); the numbers below refer to it.
//
// The core knows a record's index, epoch and kind, and of a membership its content. Payloads stay
// with the driver.
//
// Invariants (checked by tests/sim over whole histories):
//  - Election safety: at most one leader per epoch.
//  - Log matching: two logs that have a record of the same index and epoch are the same up to it.
//  - Leader completeness: what is committed is in the log of every later leader.
//  - A leader commits by counting only records of its own epoch (5.4.2 of the paper).
//  - Lease: while `lease_until_ns` of a leader is ahead of its clock no other member can have
//    become leader, as long as clocks run alike within a quarter: each voter that a lease counts on
//    promised not to vote for another for election_timeout since it heard from the leader.
//  - A member that starts anew votes for nobody before election_timeout has gone by: it does not
//    know what it promised before. (A group of one elects itself at once.)
//
// Order of effects. The driver must, before anything else of the same Effects: make `hard_state`
// durable; then cut the log behind `truncate_after`; then append `append`. Only then may it send
// `messages`. What must wait for the log's sync is not in `messages` before LogDurable said so.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/random.h"
#include "metaserver/raft/consensus.h"
#include "metaserver/raft/membership.h"
#include "metaserver/raft/raft_messages.h"

namespace tercet {

struct RaftOptions {
  int64_t heartbeat_interval_ns = 50'000'000;
  /// A follower that hears nothing for this long, and up to a quarter more, wants an election.
  /// A witness waits twice as long, so that it leads only when no metaserver can.
  int64_t election_timeout_ns = 400'000'000;
  /// Of a leader since the last round of heartbeats that a majority answered: at most three
  /// quarters of the election timeout (more is taken for that).
  int64_t lease_ns = 300'000'000;
  /// A transfer that did not succeed by then is given up: the leader resigns (and may win again).
  int64_t transfer_timeout_ns = 1'000'000'000;
  /// AppendRequests with records under way to one member.
  int max_in_flight = 16;
  /// A member that lacks more records than this cannot take leadership over.
  uint64_t max_transfer_lag = 4096;
};

/// What a member must never forget; the driver keeps it durable.
struct HardState {
  Epoch epoch;
  MemberId voted_for;  // in that epoch; 0: nobody

  friend bool operator==(const HardState&, const HardState&) = default;
};

/// What the log holds when the core starts.
struct LogSummary {
  struct Run {  // records of one epoch, one behind the other
    JournalIndex first;
    Epoch epoch;
  };
  JournalIndex first{1};  // the oldest record that is there, last + 1 when none is
  JournalIndex last;      // all are durable
  Epoch base_epoch;       // of the record before `first`; 0: there never was one
  std::vector<Run> runs;  // by ascending index, the first one begins at `first`
  /// Of the records before `first`: what the newest of them said, and all later ones.
  Membership base_membership;
  JournalIndex base_membership_index;
  std::vector<std::pair<JournalIndex, Membership>> memberships;
};

enum class RaftRole { kFollower, kPreCandidate, kCandidate, kLeader };

/// "follower", "pre-candidate", "candidate", "leader".
std::string_view RaftRoleName(RaftRole role);

struct RaftEffects {
  std::optional<HardState> hard_state;
  std::optional<JournalIndex> truncate_after;
  /// To be put at the end of the log, in order, and synced; LogDurable tells when. Of a leader's
  /// own proposals there is nothing here: their driver has appended them itself.
  std::vector<CommittedRecord> append;
  std::vector<RaftMessage> messages;
  /// This member is too far behind; set once per offer.
  std::optional<StateOffer> state_offer;
  /// Not empty: this member must not go on, and why.
  std::string fatal;

  bool empty() const {
    return !hard_state && !truncate_after && append.empty() && messages.empty() && !state_offer &&
           fatal.empty();
  }
};

/// What goes to a member next: records first..last behind previous, or a heartbeat when last <
/// first.
struct AppendPlan {
  Epoch epoch;
  JournalIndex previous_index;
  Epoch previous_epoch;
  JournalIndex first;
  JournalIndex last;  // the driver may send fewer, see AppendSent
};

/// What a leader knows of another member, for people.
struct PeerProgress {
  MemberId id;
  JournalIndex match_index;
  JournalIndex applied_index;
  int64_t last_contact_ns = 0;  // the leader's clock at the newest answer; 0: none in this epoch
  int64_t clock_skew_ns = 0;    // the member's wall clock minus the leader's, roughly
  bool lacks_state = false;
  bool short_of_space = false;
  bool amnesia = false;
};

/// Not thread-safe: the driver's lock.
class RaftCore {
 public:
  /// `random` must outlive the core. `now_ns` is of a monotonic clock here and in all calls, never
  /// going back.
  RaftCore(RaftOptions options, MemberId self, HardState hard_state, LogSummary log,
           JournalIndex applied, Random& random, int64_t now_ns);
  ~RaftCore();

  // Inputs. Each may leave effects behind: TakeEffects.

  /// To be called at least every heartbeat_interval / 2. When a call comes later than two intervals
  /// after the one before, the process stood still: the others get two intervals to be heard before
  /// their silence counts.
  void Tick(int64_t now_ns);
  /// Messages for others, of unknown members and of earlier epochs are dropped or answered as Raft
  /// says; nothing in a message is trusted to be well-formed beyond what it can be checked for.
  void Receive(RaftMessage message, int64_t now_ns);
  /// The driver, which is told to be leader, has put a record at the end of the log. kMembership:
  /// `membership` is its content. kNotActive when this is no leader or hands over (the driver asks
  /// CanPropose first, under the same lock); kBusy for a membership while one is uncommitted;
  /// kInvalidArgument for one that changes more than one voter.
  Result<JournalIndex> Propose(RecordKind kind, const Membership* membership, int64_t now_ns);
  /// OK when Propose of this kind would be. Checked before the driver writes the record.
  Status CanPropose(RecordKind kind, const Membership* membership) const;
  /// Everything up to `index`, whose epoch is `epoch`, is synced. Ignored for records that were
  /// taken back since.
  void LogDurable(JournalIndex index, Epoch epoch, int64_t now_ns);
  /// There was no room for the records behind `last` of the last effects' `append`: they are not in
  /// the log. Implies SetShortOfSpace(true). No effect for records that are durable.
  void AppendRefused(JournalIndex last);
  /// The driver has applied so much (it applies up to commit_index, and only what is durable here).
  void Applied(JournalIndex index);
  /// Records before `first` left the log.
  void LogReleased(JournalIndex first);
  /// The log begins anew behind `base`, after a state offer.
  void LogReset(JournalIndex base, Epoch base_epoch, const Membership& membership, int64_t now_ns);
  /// Whether this member has the namespace. Without it, it leads only to hand over. A metaserver
  /// that fetches it reports so to its leader.
  void SetLacksState(bool lacks_state);
  /// The disk is short of room: this member lets others lead if they can (an active looks at each
  /// Tick whether one can), and as a follower it drops records.
  void SetShortOfSpace(bool short_of_space);
  /// What to add to `now_ns` to get the wall clock's time, to find clocks that differ: goes out
  /// with answers. Until the first call nothing is said of clocks.
  void SetWallOffset(int64_t wall_minus_monotonic_ns);
  /// The connection to a member is new: what was under way to it is lost.
  void LinkReset(MemberId member);
  /// Hands leadership over to `target`, or to the best one for 0, as soon as that has all records.
  /// kNotActive; kFailedPrecondition with the reason when no such member can take it; kBusy.
  Status Transfer(MemberId target, int64_t now_ns);
  /// Gives up leadership at once: the journal cannot be written, or the member stops. The best
  /// other member is told to take over, if there is one.
  void Resign(int64_t now_ns);

  RaftEffects TakeEffects();

  /// What to send to a member now, if anything; to be asked until there is nothing, after each
  /// input and tick. Of a member behind the log's first record only heartbeats (it gets a
  /// StateOffer among the messages when it answers one). Leaders only. Changes nothing.
  std::optional<AppendPlan> NextAppend(MemberId to, int64_t now_ns);
  /// Records up to `last` (plan.previous_index for a heartbeat) of the plan went out, or are about
  /// to. What was lost shows with the next heartbeat.
  void AppendSent(MemberId to, const AppendPlan& plan, JournalIndex last, int64_t now_ns);

  // State.
  RaftRole role() const;
  bool is_leader() const { return role() == RaftRole::kLeader; }
  Epoch epoch() const;
  MemberId leader() const;  // 0: unknown
  MemberId self() const;
  JournalIndex last_index() const;
  Epoch last_epoch() const;
  JournalIndex first_index() const;
  JournalIndex commit_index() const;
  /// kNotFound outside of [first - 1, last].
  Result<Epoch> EpochAt(JournalIndex index) const;
  /// Leader whose own epoch's first record is committed, that is not handing over and has the
  /// state: it may serve once all up to commit_index is applied, and while the lease holds.
  bool may_serve() const;
  /// The leader's lease ends then; 0 without one; INT64_MAX in a group of one.
  int64_t lease_until_ns() const;
  bool transferring() const;
  const Membership& membership() const;  // the newest in the log
  JournalIndex membership_index() const;
  /// The newest at or before `index`, which must not be before first - 1.
  std::pair<JournalIndex, Membership> MembershipAt(JournalIndex index) const;
  /// The oldest record that some member of the group may still need from this leader's log;
  /// last + 1 when none does. Members not heard of in this epoch need what they had when it began.
  /// Of members that are no leader: last + 1.
  JournalIndex needed_from() const;
  std::vector<PeerProgress> progress() const;
  /// A committed membership knows this member no longer. It takes no part any more.
  bool removed() const;
  /// Messages that made no sense, since the start.
  uint64_t rejected_messages() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tercet
