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
  /** Server to requester, no header, no answer, request id 0: what is owed on this connection is being worked on.
   *  Whoever waits for an answer takes it as progress; a process that is stopped does not send it. */
  WORKING = 14,
  SEAL = 16,
  SEAL_RESPONSE = 17,
  TABLE = 18,
  TABLE_RESPONSE = 19,
  PULL = 20,
  PULL_RESPONSE = 21,
  PING = 22,
  PING_RESPONSE = 23,
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

// ---- commands of the active metaserver (metaserver/repair/protocol.md) ----
// They carry its epoch; a server that has seen a higher one refuses them as kStaleEpoch.

/** Raises the replica's generation, durably: from then on nothing older is read or written here. */
struct SealHeader {
  1: i64 epoch = 0,
  2: i64 block_id = 0,
  /** The new generation. A replica that has it already answers OK, one with a higher one kStaleGeneration. */
  3: i64 generation = 0,
  /** Where there is no replica an empty one is made with this generation (blocks that may never have been written). */
  4: bool create_if_absent = false,
  /** Read all pages and count the damaged ones. */
  5: bool verify = false,
  /** A suspect replica: take its damaged pages for what they hold and its content for good (all are suspect). */
  6: bool accept_suspect = false,
}
struct SealResponseHeader {
  1: common.WireStatus status,
  /** There is no complete replica of the block here, and none was made. The other fields are unset. */
  2: bool absent = false,
  /** With kStaleGeneration: what the replica has. */
  3: i64 generation_before = 0,
  4: i32 length = 0,
  /** CRC-32C over the page checksums (4 bytes each, little-endian) of all pages: equal, together with the length, for
   *  replicas with equal content. */
  5: i32 table_crc = 0,
  /** It may lack acknowledged writes since the machine crashed. */
  6: bool suspect = false,
  /** With `verify`. */
  7: i32 damaged_pages = 0,
}

/** The page checksums of a replica. The payload of the answer: CRC-32C of each page up to the length, 4 bytes each,
 *  little-endian. */
struct TableHeader {
  1: i64 block_id = 0,
  2: i64 generation = 0,
}
struct TableResponseHeader {
  1: common.WireStatus status,
  2: i32 length = 0,
}

/** Make your replica equal to the source's: pages whose checksums differ are read from there. Answered when done; WORKING is
 *  sent meanwhile. A requester that closes the connection cancels it. */
struct PullHeader {
  1: i64 epoch = 0,
  2: i64 block_id = 0,
  3: ChainHop source,
  /** What the source's replica has. */
  4: i64 source_generation = 0,
  /** 0: prepare. The source is not sealed; the copy may be mixed of several moments, gets generation 0, is not served, not
   *  reported, and serves as the base of a later pull. Otherwise finish: the replica is equal to the (sealed) source, durable,
   *  and has this generation, when the answer is OK. */
  5: i64 generation = 0,
  /** Compare the own replica's pages with its own checksums first: damaged ones count as differing. */
  6: bool verify_base = false,
  /** Which limit applies to preparing: see PullClass. */
  7: i32 pull_class = 1,
}
/** Limits on bytes per second apply to each class by itself. Never renumber. */
enum PullClass {
  /** Not limited: few replicas are left, or a writer waits. */
  URGENT = 0,
  REPAIR = 1,
  /** Drain, balance, conversion. */
  MOVE = 2,
}
struct PullResponseHeader {
  1: common.WireStatus status,
  2: i64 copied_bytes = 0,
  3: i32 length = 0,
  /** With an error: the server where it happened, the source or this one. */
  4: i32 failed_server_id = 0,
}

/** Answered at once by a server that works. */
struct PingHeader {}
struct PingResponseHeader {
  1: common.WireStatus status,
}
