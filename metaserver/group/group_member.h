// A member of a metadata group: drives the consensus core (metaserver/raft) over this machine's
// journal, the connections to the other members and the state.
//
// A record's way on the active; in brackets what a crash of this member leaves:
//  1. Append: it gets an index, enters the journal's buffer and the queue to each member [gone
//  here;
//     another may have it: then it survives, and the retry of whoever waits finds out]
//  2. at the same time: one write and one fdatasync here for all records in the buffer, and the
//     same at each other member
//  3. a majority has it: it is committed
//  4. it is applied to the state, when it is also durable here [applied again by the next start]
//  5. those who wait for it are woken
//  6. checkpoint: the state is synced, then the journal behind it released, but for what slow
//     members still need (bounded)
//
// The threads that wait do steps 2 (here) and 4, so that one client costs no more hand-overs than
// the network needs; on followers threads of the member's own do. Each step is done by one thread
// at a time, in index order.
//
// A member without an applier - a witness, or a metaserver whose namespace is yet to be fetched -
// does all but 4, and leads only to hand over.
//
// Invariants beside those of the core:
//  - Nothing is applied that is not committed and durable here.
//  - Nothing leaves that the hard state on the disk does not cover.
//  - A failed write or sync of journal or state ends the member for good (`failure`): only a
//    restart, which reads what the disk really holds, goes on.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/disk.h"
#include "common/env/random.h"
#include "metaserver/journal/journal.h"
#include "metaserver/journal/member_state.h"
#include "metaserver/raft/consensus.h"
#include "metaserver/raft/raft_core.h"
#include "tercet_thrift/GroupService.h"

namespace tercet {

struct GroupMemberOptions {
  RaftOptions raft;
  /// Of the file with the MemberState.
  std::string member_state_path;
  /// "HOST:PORT" under which others reach this member; updates the membership when it changed.
  std::string address;
  std::string version;
  /// Source address of connections to other members; empty: any.
  std::string bind_host;
  /// Payload of the record that opens an epoch: changes nothing when it is applied.
  std::string epoch_payload;
  /// Payload bytes that are appended but not applied. Above, Append waits (and helps).
  uint64_t max_queued_bytes = 16 << 20;
  /// A checkpoint comes after so many bytes of journal.
  uint64_t checkpoint_bytes = 16 << 20;
  /// Journal that is kept for members that are behind, beyond what this member needs itself.
  uint64_t retain_bytes = 512 << 20;
  /// Below this the member is short of space: an active hands over, or answers kNoSpace when nobody
  /// can take over; a follower takes no more records. 0: no watch.
  uint64_t min_free_bytes = 64 << 20;
  std::vector<std::string> watched_folders;
};

/// Since the start.
struct GroupMemberCounters {
  uint64_t records = 0;  // appended here, as active or as follower
  uint64_t payload_bytes = 0;
  uint64_t syncs = 0;
  uint64_t sync_nanos = 0;
  uint64_t max_batch_records = 0;  // of one sync
  uint64_t applies = 0;
  uint64_t apply_nanos = 0;
  uint64_t checkpoints = 0;
  uint64_t spares_prepared = 0;
  uint64_t no_space_refusals = 0;
  uint64_t replayed_records = 0;  // committed before the start and applied since
  uint64_t elections = 0;         // this member began
  uint64_t messages_sent = 0;
  uint64_t messages_received = 0;
  uint64_t messages_dropped = 0;  // a member's queue was full, or the message not for this group
};

/// For people; from the core under the lock.
struct GroupStatus {
  MemberId self;
  MemberKind kind = MemberKind::kMetaserver;
  uint64_t group_id = 0;
  RaftRole role = RaftRole::kFollower;
  bool active = false;  // serves
  bool transferring = false;
  Epoch epoch;
  MemberId leader;  // 0: unknown
  JournalIndex first_index;
  JournalIndex last_index;
  JournalIndex durable_index;
  JournalIndex commit_index;
  JournalIndex applied_index;
  int64_t lease_ms = -1;  // left; -1: none; INT64_MAX in a group of one
  bool lacks_state = false;
  bool short_of_space = false;
  bool removed = false;  // the group no longer has this member
  Membership membership;
  std::vector<PeerProgress> peers;  // of a leader
  int64_t now_ns = 0;               // of the clock that last_contact_ns is of
};

/// Thread-safe.
class GroupMember final : public Consensus {
 public:
  /// The journal must not be older than the applier's state (kCorruption), and its identity must be
  /// the cluster's. Replays what is known to be committed; the rest is settled with the group.
  /// `applier` may be null (see above); `active_role` may be null with it. All references must
  /// outlive the member.
  static Result<std::unique_ptr<GroupMember>> Start(GroupMemberOptions options,
                                                    std::unique_ptr<Journal> journal,
                                                    MemberState state, Applier* applier,
                                                    ActiveRole* active_role, Disk& disk,
                                                    const Clock& clock, Random& random);
  /// Stop first. What was appended but not waited for may be lost.
  ~GroupMember() override;
  /// Resigns (handing over when it can, within `patience`), answers all who wait with kNotActive
  /// and ends the threads. BecomeStandby has returned when it does.
  void Stop(std::chrono::milliseconds patience = std::chrono::milliseconds(500));

  Result<JournalIndex> Append(Epoch epoch, std::string payload) override;
  /// Of the present leadership or, without one, the newest that ended here.
  Status WaitApplied(JournalIndex index) override;
  /// kNotActive when leadership of `epoch` ended before the record was applied here and it is not
  /// known (yet) to have survived.
  Status WaitApplied(Epoch epoch, JournalIndex index) override;
  bool HoldsLease(Epoch epoch) const override;
  ConsensusState state() const override;

  /// "group", for the ThriftServer.
  std::shared_ptr<wire::GroupServiceIf> Handler();

  /// Waits until this member is active and serves, or another is known to be, or the time is over.
  void AwaitActive(std::chrono::milliseconds timeout);

  // Administration; kNotActive unless this is the leader.
  /// Calls Join at `address`, then journals it as a member that does not vote; it becomes a voter
  /// by itself when it has caught up. OK with its id when it is a member already.
  Result<MemberId> AddMember(const std::string& address, MemberKind kind);
  /// kFailedPrecondition when the remaining voters that were heard of within an election timeout
  /// are no majority (unless `force`), or it is the last metaserver. This member itself: hands over
  /// first, kBusy then: to be asked again at the new leader.
  Status RemoveMember(MemberId member, bool force);
  /// A witness becomes a metaserver: it fetches the namespace and is a standby then.
  Status PromoteWitness(MemberId member);
  /// Begins to hand over; 0: to the best standby. Returns to whom.
  Result<MemberId> TransferActive(MemberId target);

  GroupStatus status() const;
  GroupMemberCounters counters() const;
  /// Why the member cannot go on and the process has to be restarted (or rebuilt, as the message
  /// says); OK while it runs.
  Status failure() const;
  /// Not empty: this metaserver has to fetch the namespace from the group (see StateOffer), or has
  /// to begin its journal anew behind the offer's base, and is to be started anew for it.
  std::optional<StateOffer> pending_offer() const;
  /// Its kind in the newest membership: a witness that was promoted has to be started anew.
  MemberKind kind() const;

  const NodeIdentity& identity() const;
  /// Of the namespace, as of `index`; for state snapshots.
  std::pair<JournalIndex, Membership> MembershipAt(JournalIndex index) const;

 private:
  struct Impl;
  explicit GroupMember(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace tercet
