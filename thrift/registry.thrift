// Chunk server to metaserver. Served under the multiplexed name "registry".
// Commands to chunk servers ride on heartbeat replies; every reply carries the epoch, and a chunk server
// ignores commands of an epoch below the highest it ever saw.
namespace cpp tercet.wire

include "common.thrift"

struct DiskReport {
  /** Identity of the disk, 16 bytes, from its identity file. */
  1: binary disk_uuid,
  2: string path,
  3: i64 total_bytes = 0,
  /** What new blocks may still take. */
  4: i64 available_bytes = 0,
  5: i64 replica_count = 0,
  /** False once it was ejected, after errors or by command. */
  6: bool healthy = true,
  /** What it does by command of the active: see DiskState. */
  7: i32 state = 0,
  8: i64 trash_bytes = 0,
  9: i64 quarantine_bytes = 0,
  /** Bytes of replicas, their tables and headers included. */
  10: i64 replica_bytes = 0,
  /** When the round of verification that was completed last began; 0: none was. Nanoseconds since 1970. */
  11: i64 scrubbed_since_ns = 0,
  /** It is draining, and no other disk of the server has room for what is left. */
  12: bool no_room = false,
}

/** Never renumber. */
enum DiskState {
  IN_SERVICE = 0,
  /** Takes no new replicas; its own are moved to the server's other disks. */
  DRAINING = 1,
  /** Its replicas count as lost. */
  EJECTED = 2,
}

struct RegisterServerRequest {
  /** Identity of the server, 16 bytes, from its identity file. */
  1: binary server_uuid,
  /** Identity of the cluster its disks belong to; empty for a new server. */
  2: binary cluster_id,
  /** Random at each start: tells a restart from a second server with the same identity. */
  3: i64 incarnation = 0,
  /** Where clients reach it. */
  4: string host,
  5: i32 port = 0,
  6: list<DiskReport> disks,
  7: string version,
  /** Where and what it is: "rack" → "r1", "zone", "medium" → "ssd". At most 16, keys and values to 64 bytes of
   *  letters, digits, '-', '_', '.'. */
  8: map<string, string> labels,
}
struct RegisterServerResponse {
  1: common.ReplyInfo info,
  2: i32 server_id = 0,
  3: binary cluster_id,
  4: i32 heartbeat_interval_ms = 0,
  /** Blocks from this id on had not been given out when this was answered. Of those below, the server makes no replica
   *  for a client's write any more: it may have had one and lost it. */
  5: i64 next_block_id = 0,
}

struct DeleteReplicaTask {
  1: i64 block_id = 0,
  /** Replicas of this generation and below. They are not served any more from when the task is known. */
  2: i64 generation = 0,
  /** Do not delete it yet: it may save copying when this server gets a replica of the block again. */
  3: bool hold = false,
}

/** Why a replica is no good. Never renumber. */
enum BadReplicaReason {
  /** Pages or the header fail their checksum. */
  DAMAGED = 1,
  /** There is none, or an older one. */
  MISSING = 2,
  /** The machine crashed while it had writes that were not on disk. */
  SUSPECT = 3,
  /** Its bytes are sound, but it may differ from the others in what nobody acknowledged: a write ended in the middle, or
   *  the server crashed, and the writer did not recover the block within 10 s. */
  DOUBTFUL = 4,
}
struct BadReplica {
  1: i64 block_id = 0,
  2: i64 generation = 0,
  3: BadReplicaReason reason = BadReplicaReason.DAMAGED,
}

/** How a server is doing, over the last heartbeat interval or so. */
struct ServerLoad {
  /** 99th percentiles of requests of clients, in microseconds; 0: there were none. */
  1: i64 read_p99_us = 0,
  2: i64 write_p99_us = 0,
  3: i64 client_bytes_per_second = 0,
  4: i64 client_requests_per_second = 0,
  /** Totals since the process started. */
  5: i64 pulled_bytes = 0,
  6: i32 pulls_running = 0,
  7: i64 scrubbed_bytes = 0,
}

/** What servers may use for background work; bytes per second and server, 0: no limit. */
struct BackgroundLimits {
  1: i64 repair_bytes_per_second = 0,
  2: i64 move_bytes_per_second = 0,
  /** All replicas are to be verified within so long; 0: never. */
  3: i64 scrub_period_s = 1209600,
}
/** A disk's state as commanded. */
struct DiskCommand {
  1: binary disk_uuid,
  2: DiskState state = DiskState.IN_SERVICE,
}

struct HeartbeatRequest {
  1: i32 server_id = 0,
  2: i64 incarnation = 0,
  3: list<DiskReport> disks,
  /** Tasks done since the last acknowledged heartbeat: the replica is in the trash, or was not there. */
  4: list<DeleteReplicaTask> deleted,
  /** Found since the last heartbeat that was answered; at most 1000, the rest later. */
  5: list<BadReplica> bad_replicas,
  6: ServerLoad load,
}
struct HeartbeatResponse {
  1: common.ReplyInfo info,
  /** Delivered again with each heartbeat until reported in `deleted`. */
  2: list<DeleteReplicaTask> delete_replicas,
  /** The server is unknown or was taken for dead: register again. */
  3: bool register_again = false,
  /** Send a digest report now. */
  4: bool want_digests = false,
  5: BackgroundLimits limits,
  /** Of all disks with a state other than IN_SERVICE. A disk that is not named is in service; one that was ejected
   *  stays so until the server starts again. */
  6: list<DiskCommand> disks,
}

/** All deletions the server has not confirmed, in order of block ids: fetched after each registration, before the server
 *  serves anything, so that it never serves a replica that left its chain while the server was away. */
struct FetchDeleteTasksRequest {
  1: i32 server_id = 0,
  2: i64 incarnation = 0,
  /** Continue behind this block. */
  3: i64 after_block_id = 0,
  4: i32 max_tasks = 10000,
}
struct FetchDeleteTasksResponse {
  1: common.ReplyInfo info,
  2: list<DeleteReplicaTask> tasks,
  3: bool complete = false,
}

/** The replicas whose block id >> 16 equals `range`, summed up. */
struct RangeDigest {
  1: i64 range = 0,
  2: i64 replica_count = 0,
  /** XOR over the replicas of ReplicaDigest(block id, generation), common/base/replica_digest.h. */
  3: i64 digest = 0,
}
struct ReportDigestsRequest {
  1: i32 server_id = 0,
  2: i64 incarnation = 0,
  /** All ranges in which the server has replicas. */
  3: list<RangeDigest> ranges,
}
struct ReportDigestsResponse {
  1: common.ReplyInfo info,
  /** Ranges whose digest differs from the journal's: details are wanted. */
  2: list<i64> differing_ranges,
}

struct ReplicaReport {
  1: i64 block_id = 0,
  2: i64 generation = 0,
}
struct ReportReplicasRequest {
  1: i32 server_id = 0,
  2: i64 incarnation = 0,
  3: i64 range = 0,
  /** All replicas of the range. */
  4: list<ReplicaReport> replicas,
}
struct ReportReplicasResponse {
  1: common.ReplyInfo info,
  /** Replicas of the report that the journal does not know: to be moved out of the way, never erased. One that has
   *  another generation than was reported by then stays. */
  2: list<i64> quarantine,
}

service RegistryService {
  RegisterServerResponse RegisterServer(1: RegisterServerRequest request),
  HeartbeatResponse Heartbeat(1: HeartbeatRequest request),
  ReportDigestsResponse ReportDigests(1: ReportDigestsRequest request),
  ReportReplicasResponse ReportReplicas(1: ReportReplicasRequest request),
  FetchDeleteTasksResponse FetchDeleteTasks(1: FetchDeleteTasksRequest request),
}
