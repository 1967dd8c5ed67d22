// Types that every service shares.
//
// Rules for all .thrift files here:
//  - Field numbers and enum values never change and are never reused; new fields are optional and appended.
//  - One Request and one Response struct per method; the outcome is in the response, not an exception.
//  - Ids are i64 on the wire (i32 for servers); 0 means none.
//  - Times are nanoseconds since 1970-01-01 UTC unless a name ends otherwise.
namespace cpp tercet.wire

/** An outcome: a StatusCode of common/base/status.h and a sentence for people. */
struct WireStatus {
  1: i32 code = 0,
  2: string message,
}

/** What every reply of a metaserver carries beside its own fields. */
struct ReplyInfo {
  1: WireStatus status,
  /** The state that was answered from includes the journal up to here. */
  2: i64 journal_index = 0,
  /** The highest index known to be committed; below journal_index only for early replies. */
  3: i64 commit_index = 0,
  /** The epoch of the active that answered. */
  4: i64 epoch = 0,
  /** With NOT_ACTIVE: "HOST:PORT" of the active as far as is known, else absent. */
  5: optional string active_hint,
}

/** Where a chunk server listens for data-plane connections. */
struct ServerAddress {
  1: i32 server_id = 0,
  2: string host,
  3: i32 port = 0,
}

/** File types; the values never change, they are stored in dentries. */
enum FileType {
  REGULAR = 1,
  DIRECTORY = 2,
  SYMLINK = 3,
  FIFO = 4,
  SOCKET = 5,
  CHARACTER_DEVICE = 6,
  BLOCK_DEVICE = 7,
}

/** What stat(2) shows, and what a client needs to read and write. */
struct Attributes {
  1: i64 inode = 0,
  2: FileType type = FileType.REGULAR,
  /** Permission bits with set-uid, set-gid and sticky (07777). */
  3: i32 mode = 0,
  4: i32 uid = 0,
  5: i32 gid = 0,
  6: i32 nlink = 0,
  7: i64 size_bytes = 0,
  /** Bytes of blocks that exist, for st_blocks. */
  8: i64 allocated_bytes = 0,
  9: i64 atime_ns = 0,
  10: i64 mtime_ns = 0,
  11: i64 ctime_ns = 0,
  /** makedev(3) number of a device file. */
  12: i64 rdev = 0,
  /** The size at which the file is cut into blocks; a power of two. */
  13: i32 block_size_bytes = 0,
  /** How many extended attributes there are: 0 lets a client answer getxattr by itself. */
  14: i32 xattr_count = 0,
  /** Grows with every change of the inode. */
  15: i64 change_version = 0,
}

/** One block of a file, as a reader or writer needs it. */
struct BlockInfo {
  /** Position in the file: byte offset / block_size_bytes. */
  1: i64 block_index = 0,
  2: i64 block_id = 0,
  3: i64 generation = 0,
  /** The servers in chain order: writes enter at the first, the last acknowledges. */
  4: list<i32> chain,
  /** Given to a writer, but no commit named it yet: holds no data for anybody else. */
  5: bool reserved = false,
  /** When present, bytes of the block at and after this offset read as zeros whatever the replicas
   *  hold, and must be cut off on the replicas before a write goes beyond it. */
  6: optional i32 valid_bytes,
  /** Fewer servers than the file's min_replicas: it is read, but is written to only after RecoverBlock gave it enough. */
  7: bool below_minimum = false,
}
