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
  /** False once it was ejected after errors. */
  6: bool healthy = true,
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
}
struct RegisterServerResponse {
  1: common.ReplyInfo info,
  2: i32 server_id = 0,
  3: binary cluster_id,
  4: i32 heartbeat_interval_ms = 0,
}

struct DeleteReplicaTask {
  1: i64 block_id = 0,
  /** Replicas of this generation and below. */
  2: i64 generation = 0,
}

struct HeartbeatRequest {
  1: i32 server_id = 0,
  2: i64 incarnation = 0,
  3: list<DiskReport> disks,
  /** Tasks done since the last acknowledged heartbeat: the replica is in the trash, or was not there. */
  4: list<DeleteReplicaTask> deleted,
}
struct HeartbeatResponse {
  1: common.ReplyInfo info,
  /** Delivered again with each heartbeat until reported in `deleted`. */
  2: list<DeleteReplicaTask> delete_replicas,
  /** The server is unknown or was taken for dead: register again. */
  3: bool register_again = false,
  /** Send a digest report now. */
  4: bool want_digests = false,
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
  /** Replicas the journal does not know: to be moved out of the way, never erased. */
  2: list<i64> quarantine,
}

service RegistryService {
  RegisterServerResponse RegisterServer(1: RegisterServerRequest request),
  HeartbeatResponse Heartbeat(1: HeartbeatRequest request),
  ReportDigestsResponse ReportDigests(1: ReportDigestsRequest request),
  ReportReplicasResponse ReportReplicas(1: ReportReplicasRequest request),
}
