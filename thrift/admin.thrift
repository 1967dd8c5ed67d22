// The tercet CLI to metaserver. Served under the multiplexed name "admin".
namespace cpp tercet.wire

include "common.thrift"
include "registry.thrift"

struct GetStatusRequest {}
struct ServerStatus {
  1: i32 server_id = 0,
  2: binary server_uuid,
  3: string host,
  4: i32 port = 0,
  /** It renews its registration. */
  5: bool alive = false,
  /** Since the last heartbeat; -1 when none came since this metaserver became active. */
  6: i64 last_heartbeat_ms = -1,
  7: list<registry.DiskReport> disks,
  8: string version,
  /** Replicas the journal places on it. */
  9: i64 replica_count = 0,
  /** Replicas it reported as missing or damaged and that are still placed on it. */
  10: i64 missing_replicas = 0,
  /** Deletions it has not confirmed yet. */
  11: i64 pending_deletes = 0,
}
/** How many blocks have so many replicas on live servers. */
struct ReplicaCount {
  1: i32 replicas = 0,
  2: i64 blocks = 0,
}
struct MetaserverStatus {
  1: string address,
  /** "active", "standby" or "witness". */
  2: string role,
  3: i64 epoch = 0,
  4: i64 journal_index = 0,
  5: i64 applied_index = 0,
  6: i64 uptime_ms = 0,
  7: string version,
}
struct GetStatusResponse {
  1: common.ReplyInfo info,
  2: binary cluster_id,
  3: list<MetaserverStatus> metaservers,
  4: list<ServerStatus> servers,
  5: list<ReplicaCount> blocks_by_replicas,
  6: i64 inode_count = 0,
  7: i64 block_count = 0,
  8: i64 session_count = 0,
  /** Files without a name that wait for their last close or for their space to be freed. */
  9: i64 orphan_count = 0,
  /** Counts of blocks, replicas and deletions are of the state up to here: in a large state they are
   *  brought up to date in the background only. Which servers are alive is always of now. */
  10: optional i64 counted_index,
}

/** One of `path` and `inode`. */
struct GetFileInfoRequest {
  /** Absolute within the file system. Symbolic links are not followed. */
  1: string path,
  2: i64 inode = 0,
  /** Blocks are listed from this index on, at most max_blocks. */
  3: i64 first_block_index = 0,
  4: i32 max_blocks = 1000,
}
struct GetFileInfoResponse {
  1: common.ReplyInfo info,
  2: common.Attributes attributes,
  3: list<common.BlockInfo> blocks,
  4: list<common.ServerAddress> servers,
  /** Servers of `servers` that are alive. */
  5: list<i32> alive_servers,
  /** There are blocks behind those listed. */
  6: bool more = false,
}

/** A member of the metadata group, as the answering one sees it. */
struct GroupMember {
  1: i32 member_id = 0,
  2: string address,
  3: bool witness = false,
  /** False: it is being caught up and does not count in votes. */
  4: bool voter = false,
  // What follows is known of itself by each member, and of the others by the leader.
  /** "active", "standby", "witness", "leader" (leads, but does not serve yet), "candidate", "unknown". */
  5: string role,
  6: i64 epoch = 0,
  /** The newest record that is durable there (and known to agree). */
  7: i64 journal_index = 0,
  8: i64 applied_index = 0,
  /** Since the leader heard of it; 0 for the leader; -1: not in this epoch. */
  9: i64 last_contact_ms = -1,
  /** Its wall clock minus the leader's. */
  10: i64 clock_skew_ms = 0,
  /** It has no namespace (yet): "fetching", with how many rows it has; else empty. */
  11: string state_note,
  12: bool short_of_space = false,
  /** It lost records it had acknowledged: remove it and add it anew. */
  13: bool amnesia = false,
}
/** Answered by every member, whatever its role; `info` is kOk also from a standby. */
struct GetGroupStatusRequest {}
struct GetGroupStatusResponse {
  1: common.ReplyInfo info,
  2: binary cluster_id,
  3: i64 group_id = 0,
  /** Who answers. */
  4: i32 member_id = 0,
  /** 0: none is known. */
  5: i32 leader_id = 0,
  6: list<GroupMember> members,
  7: i64 commit_index = 0,
  8: i64 first_index = 0,
  9: i64 last_index = 0,
  /** What is left of the active's lease; -1 when the answering member has none. */
  10: i64 lease_ms = -1,
  11: i64 election_timeout_ms = 0,
  12: string version,
  13: bool transferring = false,
}

struct AddMemberRequest {
  /** "HOST:PORT" of a metaserver that was started with group.join. */
  1: string address,
  2: bool witness = false,
}
struct AddMemberResponse {
  1: common.ReplyInfo info,
  /** It becomes a voter by itself when it has caught up: see GetGroupStatus. */
  2: i32 member_id = 0,
}
/** By id or, for 0, by address. */
struct RemoveMemberRequest {
  1: i32 member_id = 0,
  2: string address,
  /** Also when the remaining ones that answer are no majority. */
  3: bool force = false,
}
struct RemoveMemberResponse {
  1: common.ReplyInfo info,
}
struct PromoteWitnessRequest {
  1: i32 member_id = 0,
  2: string address,
}
struct PromoteWitnessResponse {
  1: common.ReplyInfo info,
}
/** Hands the active role over; answered when it has begun. 0: to the best standby. */
struct TransferActiveRequest {
  1: i32 member_id = 0,
}
struct TransferActiveResponse {
  1: common.ReplyInfo info,
  2: i32 target_id = 0,
}

/** The committed state at one moment, held for some time, to be read row by row: for backups, dumps
 *  and for members that lack the state. Answered by every metaserver that has the state. */
struct OpenStateSnapshotRequest {
  /** Refused with kFailedPrecondition by others than the active. */
  1: bool from_active = false,
}
struct OpenStateSnapshotResponse {
  1: common.ReplyInfo info,
  /** Forgotten a minute after its last use: kNotFound then. */
  2: i64 snapshot_id = 0,
  3: binary cluster_id,
  4: i64 group_id = 0,
  /** The state includes the journal up to here. */
  5: i64 index = 0,
  6: i64 epoch = 0,
  /** The group's membership as of `index` and the index of its record. */
  7: binary membership,
  8: i64 membership_index = 0,
  /** Roughly, for progress. */
  9: i64 row_count = 0,
}
struct ReadStateSnapshotRequest {
  1: i64 snapshot_id = 0,
  /** Rows behind this key; empty: from the first. */
  2: binary after_key,
  3: i32 max_bytes = 1048576,
}
struct ReadStateSnapshotResponse {
  1: common.ReplyInfo info,
  /** Of each row: varint length and key, varint length and value. */
  2: binary rows,
  3: i32 rows_crc32c = 0,
  /** The last of the rows' keys. */
  4: binary last_key,
  5: bool at_end = false,
}
struct CloseStateSnapshotRequest {
  1: i64 snapshot_id = 0,
}
struct CloseStateSnapshotResponse {
  1: common.ReplyInfo info,
}

service AdminService {
  GetStatusResponse GetStatus(1: GetStatusRequest request),
  GetFileInfoResponse GetFileInfo(1: GetFileInfoRequest request),
  GetGroupStatusResponse GetGroupStatus(1: GetGroupStatusRequest request),
  AddMemberResponse AddMember(1: AddMemberRequest request),
  RemoveMemberResponse RemoveMember(1: RemoveMemberRequest request),
  PromoteWitnessResponse PromoteWitness(1: PromoteWitnessRequest request),
  TransferActiveResponse TransferActive(1: TransferActiveRequest request),
  OpenStateSnapshotResponse OpenStateSnapshot(1: OpenStateSnapshotRequest request),
  ReadStateSnapshotResponse ReadStateSnapshot(1: ReadStateSnapshotRequest request),
  CloseStateSnapshotResponse CloseStateSnapshot(1: CloseStateSnapshotRequest request),
}
