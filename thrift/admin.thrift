// The tercet CLI to metaserver. Served under the multiplexed name "admin".
namespace cpp tercet.wire

include "common.thrift"
include "registry.thrift"

/** What a chunk server is there for, by command. Never renumber; stored. */
enum ServiceState {
  IN_SERVICE = 0,
  /** No new replicas; its own move to other servers. */
  DRAINING = 1,
  /** It may be away for a while: nothing is made again because of that, no new replicas. */
  MAINTENANCE = 2,
  /** Taken out for good: refused when it comes back. */
  REMOVED = 3,
}

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
  12: ServiceState state = ServiceState.IN_SERVICE,
  13: map<string, string> labels,
  /** A client could not reach it, and it was not heard of since: gets no new blocks. */
  14: bool suspected = false,
  15: registry.ServerLoad load,
  /** Bytes of replicas on its disks. */
  16: i64 used_bytes = 0,
  /** Draining: replicas when it began, how many bytes are left (estimated), rate, and the time until done; -1: not known. */
  17: i64 drain_replicas_at_start = 0,
  18: i64 drain_bytes_left = 0,
  19: i64 drain_bytes_per_second = 0,
  20: i64 drain_eta_s = -1,
  /** With state MAINTENANCE: what is left of it; 0: without end. */
  21: i64 maintenance_left_s = 0,
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

// ---- chunk servers, disks, repair ----

/** A file named in a warning or a report. */
struct FileName {
  1: i64 inode = 0,
  /** One of its names, or "inode N" when none is known. */
  2: string path,
  3: i64 block_id = 0,
  4: i64 block_index = 0,
}

/** kNotFound: unknown server. kFailedPrecondition without `force`: what it would break, and files it concerns. */
struct SetServerStateRequest {
  1: i32 server_id = 0,
  2: ServiceState state = ServiceState.IN_SERVICE,
  3: bool force = false,
  /** For MAINTENANCE: ends by itself; 0: never. */
  4: i64 maintenance_s = 0,
}
struct SetServerStateResponse {
  1: common.ReplyInfo info,
  /** For people; also with an error. */
  2: list<string> warnings,
  /** At most 20 of the files that the warnings are about, and how many blocks there are in all. */
  3: list<FileName> files,
  4: i64 blocks = 0,
}

struct SetDiskStateRequest {
  1: i32 server_id = 0,
  /** Or the path, as the server reports it. */
  2: binary disk_uuid,
  3: string path,
  4: registry.DiskState state = registry.DiskState.IN_SERVICE,
  5: bool force = false,
}
struct SetDiskStateResponse {
  1: common.ReplyInfo info,
  2: list<string> warnings,
}

/** How much background work may do. Journaled; in force within a heartbeat. Absent fields stay as they are. */
struct SetLimitsRequest {
  1: optional i64 repair_bytes_per_second,
  2: optional i64 move_bytes_per_second,
  3: optional i64 scrub_period_s,
  /** How long a server may be away before its replicas are made again elsewhere, as long as a block has min_replicas. */
  4: optional i64 repair_delay_ms,
}
struct SetLimitsResponse {
  1: common.ReplyInfo info,
}
struct GetRepairStatusRequest {}
struct RepairClassStatus {
  /** "lost", "one_left", "below_minimum", "damaged", "below_wanted", "misplaced", "surplus", "drain", "balance", "waiting". */
  1: string name,
  2: i64 blocks = 0,
  3: i64 oldest_ms = 0,
}
struct GetRepairStatusResponse {
  1: common.ReplyInfo info,
  2: list<RepairClassStatus> queue,
  3: i32 running = 0,
  4: i64 bytes_per_second = 0,
  5: i64 repaired_blocks = 0,
  6: i64 failed_attempts = 0,
  7: registry.BackgroundLimits limits,
  8: i64 repair_delay_ms = 0,
  9: i64 recoveries = 0,
}

// ---- balance ----

struct BalanceServer {
  1: i32 server_id = 0,
  2: i64 total_bytes = 0,
  3: i64 used_before_bytes = 0,
  4: i64 used_after_bytes = 0,
}
struct PlanBalanceRequest {
  /** Ends when all servers are within so many percentage points of the mean. */
  1: double threshold_points = 5.0,
}
struct PlanBalanceResponse {
  1: common.ReplyInfo info,
  /** To be given to StartBalance: says which servers, in which state, and how full, the plan is about. */
  2: binary plan,
  3: list<BalanceServer> servers,
  4: i64 bytes_to_move = 0,
  5: i64 expected_s = 0,
  /** Nothing to do when empty; otherwise what to know ("server 3 cannot take what its fair share is: rack rule"). */
  6: list<string> notes,
}
/** kConflict: the plan is older than the cluster's state. kFailedPrecondition: one is running. */
struct StartBalanceRequest {
  1: binary plan,
}
struct StartBalanceResponse { 1: common.ReplyInfo info }
enum BalanceAction { PAUSE = 1, RESUME = 2, STOP = 3 }
struct ControlBalanceRequest { 1: BalanceAction action = BalanceAction.PAUSE }
struct ControlBalanceResponse { 1: common.ReplyInfo info }
struct GetBalanceRequest {}
struct GetBalanceResponse {
  1: common.ReplyInfo info,
  /** "none", "running", "paused", "done", "stopped". */
  2: string state,
  3: i64 started_at_ns = 0,
  4: i64 moved_bytes = 0,
  5: i64 moved_blocks = 0,
  6: i64 left_bytes = 0,
  7: i64 bytes_per_second = 0,
  8: i64 eta_s = -1,
  9: list<BalanceServer> servers,
  10: double threshold_points = 5.0,
  /** Why it goes slowly just now, if it does: "clients' p99 is 2.1 times what it was". */
  11: string note,
  12: i64 limit_bytes_per_second = 0,
}

// ---- what would be lost, what is wrong ----

/** Pages through the blocks: ask again with the `cursor` of the reply until it is empty, and add up. */
struct GetExposureRequest {
  1: list<i32> servers,
  /** "rack=r1": all servers with this label. */
  2: list<string> labels,
  3: binary cursor,
  4: i32 max_files = 100,
}
struct GetExposureResponse {
  1: common.ReplyInfo info,
  2: list<i32> lost_servers,
  3: i64 blocks = 0,
  /** Without any replica then. */
  4: i64 lost_blocks = 0,
  /** With fewer than min_replicas then: readable, not writable until repaired. */
  5: i64 below_minimum_blocks = 0,
  6: i64 below_wanted_blocks = 0,
  7: list<FileName> lost_files,
  8: binary cursor,
}

struct FsckProblem {
  /** "missing", "under_replicated", "over_replicated", "corrupt", "orphaned", "misplaced", "inconsistent". */
  1: string kind,
  2: FileName file,
  3: i64 generation = 0,
  4: list<i32> servers,
  5: string detail,
}
/** Pages through the files under a path: ask again with the `cursor` of the reply until it is empty, and add up. */
struct FsckRequest {
  1: string path,
  2: binary cursor,
  /** Queue what is found for repair, at once. */
  3: bool repair = false,
  4: i32 max_problems = 1000,
}
struct FsckResponse {
  1: common.ReplyInfo info,
  2: i64 files = 0,
  3: i64 blocks = 0,
  4: i64 healthy = 0,
  5: i64 under_replicated = 0,
  6: i64 over_replicated = 0,
  7: i64 missing = 0,
  8: i64 corrupt = 0,
  9: i64 orphaned = 0,
  10: list<FsckProblem> problems,
  11: binary cursor,
  12: i64 queued_for_repair = 0,
  /** Of the healthy ones: replicas may differ in what nobody acknowledged, and are about to be compared. */
  13: i64 doubtful = 0,
}
/** Has all live chunk servers compare what they hold with the journal now. */
struct StartInventoryRequest {}
struct StartInventoryResponse {
  1: common.ReplyInfo info,
  2: i64 inventory_id = 0,
}
struct GetInventoryRequest { 1: i64 inventory_id = 0 }
struct GetInventoryResponse {
  1: common.ReplyInfo info,
  2: list<i32> done_servers,
  3: list<i32> pending_servers,
}

// ---- policies and the trash ----

struct Policy {
  1: i32 replicas = 0,
  2: i32 min_replicas = 0,
  3: i32 block_size_bytes = 0,
  /** Label whose values replicas must differ in; empty: different servers are enough. */
  4: string domain,
  /** Labels that the servers must have. */
  5: map<string, string> require,
  /** Deleted files are kept for so long; 0: not at all. */
  6: i64 trash_retention_s = 0,
}
struct GetPolicyRequest { 1: string path }
struct GetPolicyResponse {
  1: common.ReplyInfo info,
  2: Policy policy,
  3: i64 inode = 0,
  4: bool is_directory = false,
  /** A conversion of what is below goes on. */
  5: bool converting = false,
}
/** On a directory: for itself, all that is below it, and all that is made there later. On a file: for the file. Absent fields stay.
 *  block_size_bytes concerns files made later only. kInvalidArgument: replicas 0 or more than there are servers (domains), an
 *  unknown label. */
struct SetPolicyRequest {
  1: string path,
  2: optional i32 replicas,
  3: optional i32 min_replicas,
  4: optional i32 block_size_bytes,
  5: optional string domain,
  6: optional map<string, string> require,
  7: optional i64 trash_retention_s,
  /** Only what is made there later. */
  8: bool new_files_only = false,
  /** Although there are too few servers for it now. */
  9: bool force = false,
}
struct SetPolicyResponse {
  1: common.ReplyInfo info,
  2: Policy policy,
}

struct TrashEntry {
  1: i64 inode = 0,
  2: string name,
  /** Of the directory it was in, if it is still there. */
  3: string directory,
  4: i64 directory_inode = 0,
  5: i64 size_bytes = 0,
  6: i64 deleted_at_ns = 0,
  7: i64 expires_at_ns = 0,
  8: i32 uid = 0,
}
struct ListTrashRequest {
  /** Only what was below this directory; empty: all. */
  1: string path,
  2: binary cursor,
  3: i32 max_entries = 1000,
}
struct ListTrashResponse {
  1: common.ReplyInfo info,
  2: list<TrashEntry> entries,
  3: binary cursor,
}
/** kExists: something has the name now; kNotFound: not in the trash (any more), or its directory is gone: name another. */
struct RestoreTrashRequest {
  1: i64 inode = 0,
  /** Absolute; empty: where it was. */
  2: string to_path,
}
struct RestoreTrashResponse {
  1: common.ReplyInfo info,
  2: string path,
}
/** One inode, or all that was deleted before. */
struct PurgeTrashRequest {
  1: i64 inode = 0,
  2: i64 deleted_before_ns = 0,
}
struct PurgeTrashResponse {
  1: common.ReplyInfo info,
  2: i64 purged = 0,
  /** Ask again: there is more. */
  3: bool more = false,
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
  SetServerStateResponse SetServerState(1: SetServerStateRequest request),
  SetDiskStateResponse SetDiskState(1: SetDiskStateRequest request),
  SetLimitsResponse SetLimits(1: SetLimitsRequest request),
  GetRepairStatusResponse GetRepairStatus(1: GetRepairStatusRequest request),
  PlanBalanceResponse PlanBalance(1: PlanBalanceRequest request),
  StartBalanceResponse StartBalance(1: StartBalanceRequest request),
  ControlBalanceResponse ControlBalance(1: ControlBalanceRequest request),
  GetBalanceResponse GetBalance(1: GetBalanceRequest request),
  GetExposureResponse GetExposure(1: GetExposureRequest request),
  FsckResponse Fsck(1: FsckRequest request),
  StartInventoryResponse StartInventory(1: StartInventoryRequest request),
  GetInventoryResponse GetInventory(1: GetInventoryRequest request),
  GetPolicyResponse GetPolicy(1: GetPolicyRequest request),
  SetPolicyResponse SetPolicy(1: SetPolicyRequest request),
  ListTrashResponse ListTrash(1: ListTrashRequest request),
  RestoreTrashResponse RestoreTrash(1: RestoreTrashRequest request),
  PurgeTrashResponse PurgeTrash(1: PurgeTrashRequest request),
}
