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

service AdminService {
  GetStatusResponse GetStatus(1: GetStatusRequest request),
  GetFileInfoResponse GetFileInfo(1: GetFileInfoRequest request),
}
