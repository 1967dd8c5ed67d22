// What the members of a metadata group say to each other, as the core sees it. On the wire:
// thrift/group.thrift. A message may be lost, delayed, duplicated and overtaken by another.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/base/ids.h"
#include "metaserver/raft/consensus.h"
#include "metaserver/raft/membership.h"

namespace tercet {

struct VoteRequest {
  JournalIndex last_index;
  Epoch last_epoch;
  /// Asks whether a vote would be won, without anybody taking part in a new epoch.
  bool pre_vote = false;
  /// The leader handed over: voters do not wait for its lease to run out.
  bool transfer = false;
};

struct VoteResponse {
  bool granted = false;
  bool pre_vote = false;
  /// The voter's membership does not have the candidate: it was removed.
  bool unknown_member = false;
  /// Not granted because the voter's log is newer than the candidate's.
  bool log_is_newer = false;
};

struct AppendRequest {
  JournalIndex previous_index;
  Epoch previous_epoch;
  /// Consecutive from previous_index + 1; none in a heartbeat.
  std::vector<CommittedRecord> records;
  JournalIndex commit_index;
  /// The leader's monotonic clock when this was sent; echoed.
  int64_t sent_ns = 0;
  /// The leader's wall clock, to find clocks that differ.
  int64_t wall_ns = 0;
};

struct AppendResponse {
  /// The log has previous_index with previous_epoch.
  bool accepted = false;
  /// Accepted: records up to here are durable and the same as the leader's.
  JournalIndex match_index;
  /// Refused: the newest record that may agree, at or before previous_index, and its epoch.
  JournalIndex hint_index;
  Epoch hint_epoch;
  /// Everything up to here is durable, whether it agrees with the leader or not.
  JournalIndex durable_index;
  /// Of the newest request that this answers.
  int64_t echoed_sent_ns = 0;
  /// The sender's own wall clock.
  int64_t wall_ns = 0;
  JournalIndex applied_index;
  /// It has no namespace, or one too old for the leader's log, and must fetch it.
  bool lacks_state = false;
  /// It drops records because its disk is short of room.
  bool short_of_space = false;
};

/// The receiver's next record is no longer in the leader's log. A witness begins its log anew
/// behind `base_index`; a metaserver fetches the namespace first.
struct StateOffer {
  JournalIndex base_index;  // the record before the leader's first: committed
  Epoch base_epoch;
  Membership membership;  // as of base_index
};

/// Hands over: the receiver, whose log is complete, is to become the leader at once.
struct TimeoutNow {};

/// The receiver had acknowledged records that it does not have any more: it must not go on.
struct AmnesiaNotice {
  JournalIndex acknowledged;
};

struct RaftMessage {
  MemberId from;
  MemberId to;
  Epoch epoch;
  std::variant<VoteRequest, VoteResponse, AppendRequest, AppendResponse, StateOffer, TimeoutNow,
               AmnesiaNotice>
      body;
};

}  // namespace tercet
