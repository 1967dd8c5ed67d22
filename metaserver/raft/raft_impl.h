// The parts of the core: raft_core.cc (calls, time, roles), raft_election.cc (votes),
// raft_follower.cc (requests of a leader), raft_leader.cc (answers, commit, lease, membership,
// handing over).
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "metaserver/raft/raft_core.h"
#include "metaserver/raft/raft_log_index.h"
#include "metaserver/raft/raft_peer.h"

namespace tercet {

struct RaftCore::Impl {
  Impl(RaftOptions options, MemberId self, HardState hard_state, LogSummary log,
       JournalIndex applied, Random& random, int64_t now_ns);

  // Time and roles: raft_core.cc.
  void Advance(int64_t now_ns);
  void Tick();
  /// When this process, or its whole machine, stood still, silence says nothing about the others:
  /// what they sent meanwhile waits to be read.
  void NoteStall();
  void Receive(RaftMessage message);
  void Send(MemberId to, Epoch epoch, decltype(RaftMessage::body) body);
  void Fail(std::string reason);
  /// Takes part in a newer epoch, as a follower that knows no leader and has not voted.
  void Adopt(Epoch epoch);
  void BecomeFollower();
  void BecomeLeader();
  /// Gives up leading or campaigning, within the epoch.
  void Resign();
  void RestartElectionTimer();
  void ElectionTimerIn(int64_t wait_ns);
  /// Would rather follow: waits longer before it campaigns.
  bool reluctant() const;
  /// Cannot serve, whatever the others do.
  bool cannot_serve() const;
  bool SelfIsVoter() const { return log.membership().IsVoter(self); }
  bool removed() const;

  // Elections: raft_election.cc.
  /// Asks first whether an election could be won.
  void Campaign();
  void StartElection(bool transfer);
  void RequestVotes(bool pre_vote, bool transfer);
  bool GrantsAreQuorum() const;
  void OnVoteRequest(MemberId from, Epoch epoch, const VoteRequest& request);
  void OnVoteResponse(MemberId from, Epoch epoch, const VoteResponse& response);
  void OnTimeoutNow(MemberId from, Epoch epoch);
  void Refuse(MemberId candidate, bool pre_vote, bool log_is_newer);
  bool WasRemoved(MemberId member) const;
  /// Until then this member votes for nobody but the leader that it follows.
  int64_t PromiseEnd() const;
  void CampaignSoon();

  // Following: raft_follower.cc.
  void OnAppendRequest(MemberId from, Epoch epoch, AppendRequest request);
  void OnStateOffer(MemberId from, Epoch epoch, StateOffer offer);
  void OnAmnesiaNotice(MemberId from, Epoch epoch, const AmnesiaNotice& notice);
  /// The sender leads its epoch. False when that is an earlier one (answered here) or makes no
  /// sense.
  bool FollowSender(MemberId from, Epoch epoch);
  /// The memberships among the records; nothing when the request makes no sense.
  std::optional<std::map<JournalIndex, Membership>> CheckRecords(
      Epoch epoch, const AppendRequest& request) const;
  /// Answers when not.
  bool AgreesAtPrevious(const AppendRequest& request);
  struct Taken {
    JournalIndex agreed;  // up to here the log is the leader's
    bool fresh = false;   // there were records that the log did not have
  };
  Taken TakeRecords(AppendRequest request, std::map<JournalIndex, Membership> memberships);
  void TruncateAfter(JournalIndex index);
  AppendResponse NewAppendResponse(bool accepted) const;
  void AcknowledgeToLeader();

  // Leading: raft_leader.cc.
  Status CanPropose(RecordKind kind, const Membership* membership) const;
  Status CanChangeMembership(const Membership& next) const;
  void Propose(const Membership* membership);
  void SyncPeers();
  void OnAppendResponse(MemberId from, Epoch epoch, const AppendResponse& response);
  void AdvanceCommit();
  void TickLeader();
  bool HeardOfQuorum() const;
  int64_t LeaseUntil() const;
  bool may_serve() const;
  /// The quorum-th largest of what `of_peer` says of each voter, `of_self` for this member; nothing
  /// when it has no quorum.
  template <typename T, typename OfPeer>
  std::optional<T> QuorumOf(T of_self, OfPeer of_peer) const;
  Status CanTakeOver(const RaftPeer& peer, bool with_little_room) const;
  /// `complete`: that has all records. Null when there is none.
  const RaftPeer* BestSuccessor(bool complete, bool with_little_room) const;
  Status Transfer(MemberId target);
  void ContinueTransfer();
  void HandOverIfReluctant();
  RaftPeer* FindPeer(MemberId id);
  JournalIndex needed_from() const;
  std::vector<PeerProgress> progress() const;

  // Constant after construction.
  const RaftOptions options;
  const MemberId self;
  Random& random;  // outlives the core
  const int64_t start_ns;

  // What must survive a restart, and the log.
  HardState hard;
  RaftLogIndex log;
  JournalIndex durable;  // the log is synced up to here
  JournalIndex commit;   // >= first - 1, <= last
  JournalIndex applied;

  // This member.
  int64_t now_ns;
  int64_t last_tick_ns;
  int64_t grace_until_ns = 0;  // after a stall: nobody is given up before
  std::optional<int64_t> wall_offset_ns;
  RaftRole role = RaftRole::kFollower;
  bool lacks_state = false;
  bool short_of_space = false;
  bool told_removed = false;
  bool failed = false;
  uint64_t rejected_messages = 0;
  int64_t election_deadline_ns = 0;
  RaftEffects effects;

  // Of a follower.
  MemberId leader;                  // of hard.epoch; 0: unknown
  std::optional<int64_t> heard_ns;  // of a leader that may hold a lease
  JournalIndex verified;            // the log is the leader's up to here
  int64_t newest_sent_ns = 0;       // of the leader's requests

  // Of a candidate: who granted its (pre-)vote, and when.
  std::map<MemberId, int64_t> grants;

  // Of a leader.
  std::map<MemberId, RaftPeer> peers;
  JournalIndex epoch_first;  // its epoch's first record has this index, or will have
  bool lease_void = false;
  std::optional<MemberId> transfer_target;
  int64_t transfer_since_ns = 0;
  int64_t next_timeout_now_ns = 0;
};

}  // namespace tercet
