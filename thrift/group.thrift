// Metaserver to metaserver: what the members of a metadata group say to each other. Served under the
// multiplexed name "group". Source of the algorithm: D. Ongaro, "Consensus: Bridging Theory and
// Practice" (2014). The meaning of the fields: metaserver/raft/raft_messages.h.
namespace cpp tercet.wire

include "common.thrift"

/** One record of the journal; kind and payload as metaserver/journal/format.md says. */
struct JournalEntry {
  1: i64 index = 0,
  2: i64 epoch = 0,
  3: binary payload,
  4: i32 kind = 1,
}

struct VoteRequestBody {
  1: i64 last_index = 0,
  2: i64 last_epoch = 0,
  3: bool pre_vote = false,
  4: bool transfer = false,
}
struct VoteResponseBody {
  1: bool granted = false,
  2: bool pre_vote = false,
  3: bool unknown_member = false,
  4: bool log_is_newer = false,
}
struct AppendRequestBody {
  1: i64 previous_index = 0,
  2: i64 previous_epoch = 0,
  3: list<JournalEntry> entries,
  4: i64 commit_index = 0,
  5: i64 sent_ns = 0,
  6: i64 wall_ns = 0,
}
struct AppendResponseBody {
  1: bool accepted = false,
  2: i64 match_index = 0,
  3: i64 hint_index = 0,
  4: i64 hint_epoch = 0,
  5: i64 durable_index = 0,
  6: i64 echoed_sent_ns = 0,
  7: i64 wall_ns = 0,
  8: i64 applied_index = 0,
  9: bool lacks_state = false,
  10: bool short_of_space = false,
}
struct StateOfferBody {
  1: i64 base_index = 0,
  2: i64 base_epoch = 0,
  /** metaserver/raft/format.md */
  3: binary membership,
}
struct TimeoutNowBody {}
struct AmnesiaNoticeBody {
  1: i64 acknowledged = 0,
}

/** Exactly one of the bodies is there. */
struct GroupMessage {
  /** Random, of this life of the group: a restored group has a new one. Others' messages are dropped. */
  1: i64 group_id = 0,
  2: i32 from_member = 0,
  3: i32 to_member = 0,
  4: i64 epoch = 0,
  5: optional VoteRequestBody vote_request,
  6: optional VoteResponseBody vote_response,
  7: optional AppendRequestBody append_request,
  8: optional AppendResponseBody append_response,
  9: optional StateOfferBody state_offer,
  10: optional TimeoutNowBody timeout_now,
  11: optional AmnesiaNoticeBody amnesia_notice,
}

/** Asked first on each new connection, so that a wrong peer is named in both logs. */
struct HelloRequest {
  1: binary cluster_id,
  2: i64 group_id = 0,
  3: i32 from_member = 0,
  4: i32 to_member = 0,
  5: string from_address,
  6: string version,
}
struct HelloResponse {
  /** kWrongCluster, kFailedPrecondition (another member or group lives here, or none yet). */
  1: common.WireStatus status,
}

/** To a metaserver or witness whose folder is empty: it becomes a member. A retry with the same ids is fine. */
struct JoinRequest {
  1: binary cluster_id,
  2: i64 group_id = 0,
  3: i32 member_id = 0,
  4: bool witness = false,
  /** A member's address to begin with; the group's own messages tell the rest. */
  5: string leader_address,
}
struct JoinResponse {
  /** kFailedPrecondition: it belongs to a group already, the message says to which. */
  1: common.WireStatus status,
}

service GroupService {
  HelloResponse Hello(1: HelloRequest request),
  JoinResponse Join(1: JoinRequest request),
  /** No answer: answers are messages of their own. */
  oneway void Deliver(1: GroupMessage message),
}
