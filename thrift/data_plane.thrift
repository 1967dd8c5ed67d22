// Headers of the data-plane frames (common/rpc/frame_format.md); serialized with the
// compact protocol. The payload follows the header raw. The frame's kind says which struct it is.
namespace cpp tercet.wire

include "common.thrift"

/** The kind field of a frame's prelude. A response has its request's kind + 1. Never renumber. */
enum FrameKind {
  HELLO = 2,
  HELLO_RESPONSE = 3,
  READ = 4,
  READ_RESPONSE = 5,
  WRITE = 6,
  WRITE_RESPONSE = 7,
  SYNC = 8,
  SYNC_RESPONSE = 9,
  TRUNCATE = 10,
  TRUNCATE_RESPONSE = 11,
  STAT = 12,
  STAT_RESPONSE = 13,
}

/** First frame of every connection. */
struct HelloHeader {
  1: binary cluster_id,
  /** The server that the caller means to talk to: another one at this address refuses. */
  2: i32 server_id = 0,
  /** For logs: "mount host:/mnt session 12", "chunk server 3". */
  3: string caller,
  4: i32 protocol_version = 1,
  /** Names a connection that replaces another one after a failure ("server 3 link 2"). When a connection
   *  of the same name and a higher number says HELLO, the older one is closed and its frames that were not
   *  applied yet are dropped before the answer goes out: nothing of it can overtake the newer one's. */
  5: optional string link_name,
  6: optional i64 link_number,
}
struct HelloResponseHeader {
  1: common.WireStatus status,
  2: i32 server_id = 0,
}

struct ReadHeader {
  1: i64 block_id = 0,
  2: i64 generation = 0,
  3: i32 offset = 0,
  4: i32 length = 0,
  /** Read and verify under the block's lock: asked for after a page failed its checksum, so that a
   *  page that was being written is told from a damaged one. */
  5: bool verified = false,
}
/** The payload holds whole pages (4096 bytes) from the page of `offset` on, up to the end of the
 *  replica's data; what is missing at the end reads as zeros. */
struct ReadResponseHeader {
  1: common.WireStatus status,
  /** CRC-32C of each page of the payload (the last one zero-padded to 4096), 4 bytes each, little-endian. */
  2: binary page_crcs,
}

/** Where a write goes on behind the server that reads this. */
struct ChainHop {
  1: i32 server_id = 0,
  2: string host,
  3: i32 port = 0,
}

struct WriteHeader {
  1: i64 block_id = 0,
  2: i64 generation = 0,
  3: i32 offset = 0,
  /** CRC-32C of the payload, cut at the block's page boundaries, 4 bytes each, little-endian. */
  4: binary piece_crcs,
  /** The servers behind this one, in order. Empty at the tail. */
  5: list<ChainHop> downstream,
  /** Make the replica when it is not there: the block was only reserved so far. */
  6: bool create = false,
  /** Answer only when the block is on disk here and downstream. */
  7: bool sync = false,
}
struct WriteResponseHeader {
  1: common.WireStatus status,
  /** With an error: the server where it happened, as seen by its predecessor. */
  2: i32 failed_server_id = 0,
}

/** fsync of a block on the whole chain. Covers every write that was acknowledged before. */
struct SyncHeader {
  1: i64 block_id = 0,
  2: i64 generation = 0,
  3: list<ChainHop> downstream,
}
struct SyncResponseHeader {
  1: common.WireStatus status,
  2: i32 failed_server_id = 0,
}

/** Cuts the block to `length` bytes on the whole chain: what is behind reads as zeros. */
struct TruncateHeader {
  1: i64 block_id = 0,
  2: i64 generation = 0,
  3: i32 length = 0,
  4: list<ChainHop> downstream,
}
struct TruncateResponseHeader {
  1: common.WireStatus status,
  2: i32 failed_server_id = 0,
}

/** What this server holds of a block; for tools. */
struct StatHeader { 1: i64 block_id = 0 }
struct StatResponseHeader {
  1: common.WireStatus status,
  2: i64 generation = 0,
  /** Highest byte ever written + 1. */
  3: i32 length = 0,
  4: string disk_path,
}
