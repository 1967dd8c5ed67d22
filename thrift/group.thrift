// Metaserver to metaserver: the Raft messages of the metadata group, served under the multiplexed name
// "group". Source of the algorithm: D. Ongaro, "Consensus: Bridging Theory and Practice" (2014).
namespace cpp tercet.wire

include "common.thrift"

/** One record of the journal; `payload` is what metaserver/journal/format.md calls the record body. */
struct JournalEntry {
  1: i64 index = 0,
  2: i64 epoch = 0,
  3: binary payload,
}

struct RequestVoteRequest {
  1: binary cluster_id,
  2: i32 candidate_id = 0,
  3: i64 epoch = 0,
  4: i64 last_index = 0,
  5: i64 last_epoch = 0,
  /** Asks whether a vote would be won, without taking part in a new epoch. */
  6: bool pre_vote = false,
  /** Set by a leader that hands over: voters skip the wait for its lease. */
  7: bool leadership_transfer = false,
}
struct RequestVoteResponse {
  1: common.WireStatus status,
  2: i64 epoch = 0,
  3: bool granted = false,
}

struct AppendEntriesRequest {
  1: binary cluster_id,
  2: i32 leader_id = 0,
  3: i64 epoch = 0,
  4: i64 previous_index = 0,
  5: i64 previous_epoch = 0,
  6: list<JournalEntry> entries,
  7: i64 commit_index = 0,
}
struct AppendEntriesResponse {
  1: common.WireStatus status,
  2: i64 epoch = 0,
  3: bool accepted = false,
  /** Accepted: the highest index now on disk. Refused: where the leader should look next. */
  4: i64 match_index = 0,
}

/** A piece of a snapshot: rows of the state in key order. */
struct InstallSnapshotRequest {
  1: binary cluster_id,
  2: i32 leader_id = 0,
  3: i64 epoch = 0,
  /** The state includes the journal up to here. */
  4: i64 snapshot_index = 0,
  5: i64 snapshot_epoch = 0,
  /** The last key of the piece before; empty for the first. Lets a cut transfer go on. */
  6: binary after_key,
  /** Length-prefixed key, length-prefixed value, and so on. */
  7: binary rows,
  8: i32 rows_crc32c = 0,
  9: bool last = false,
}
struct InstallSnapshotResponse {
  1: common.WireStatus status,
  2: i64 epoch = 0,
  /** The receiver has everything up to this key. */
  3: binary received_key,
}

struct TimeoutNowRequest {
  1: binary cluster_id,
  2: i32 leader_id = 0,
  3: i64 epoch = 0,
}
struct TimeoutNowResponse {
  1: common.WireStatus status,
  2: i64 epoch = 0,
}

service GroupService {
  RequestVoteResponse RequestVote(1: RequestVoteRequest request),
  AppendEntriesResponse AppendEntries(1: AppendEntriesRequest request),
  InstallSnapshotResponse InstallSnapshot(1: InstallSnapshotRequest request),
  TimeoutNowResponse TimeoutNow(1: TimeoutNowRequest request),
}
