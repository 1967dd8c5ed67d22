// Values of the namespace state's rows (format.md). Each starts with a version byte; integers are
// little-endian or varints.
//
// Invariants:
//  - Encode(Decode(x)) of a record written by this version is x.
//  - A decoder accepts bytes behind the fields it knows (a newer version appended them) and gives
//    kVersionTooNew for a higher version byte, which only an incompatible change gets.
//  - A decoder never reads past its input and never allocates more than the input justifies: it
//  gives
//    kCorruption instead.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"

namespace tercet {

// Bounds that decoders enforce and operations keep to.
inline constexpr size_t kUuidBytes = 16;
inline constexpr size_t kMaxNameBytes = 255;
inline constexpr size_t kMaxSymlinkTargetBytes = 4095;
inline constexpr size_t kMaxXattrNameBytes = 255;
inline constexpr size_t kMaxXattrValueBytes = 64 * 1024;
inline constexpr size_t kMaxChainLength = 16;
inline constexpr size_t kMaxReservers = 16;
inline constexpr size_t kMaxTruncationCuts = 64;
inline constexpr size_t kMaxHostBytes = 255;
inline constexpr size_t kMaxPathBytes = 4096;
inline constexpr size_t kMaxVersionBytes = 100;
inline constexpr size_t kMaxSlotReplyBytes = 4 * 1024 * 1024;
inline constexpr uint32_t kMinBlockSizeBytes = 4096;
inline constexpr uint32_t kMaxBlockSizeBytes = 64 * 1024 * 1024;
/// The largest file size in bytes.
inline constexpr uint64_t kMaxFileSizeBytes = uint64_t{1} << 50;

/// What the state's format document calls version 1. A database with a higher one is refused.
inline constexpr uint32_t kNamespaceFormatVersion = 1;

/// Same numbers as wire::FileType; never change.
enum class InodeType : uint8_t {
  kRegular = 1,
  kDirectory = 2,
  kSymlink = 3,
  kFifo = 4,
  kSocket = 5,
  kCharacterDevice = 6,
  kBlockDevice = 7,
};

struct InodeRecord {
  InodeType type = InodeType::kRegular;
  /// Some blocks are dead: the inode has a truncation row (TruncationRecord).
  bool truncation_pending = false;
  uint32_t mode = 0;  // 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;  // 0: an orphan
  uint64_t size_bytes = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t rdev = 0;
  uint32_t block_size_bytes = kMaxBlockSizeBytes;  // a power of two; for directories: of new files
  InodeId parent;  // directories: the one that holds this (the root: itself); others: 0
  uint32_t xattr_count = 0;
  uint64_t block_count = 0;     // committed file block rows, dead ones included
  uint64_t change_version = 1;  // grows with every change
  uint8_t replicas = 3;         // of new blocks; a directory hands its policy to what is made in it
  uint8_t min_replicas = 2;
  std::string symlink_target;

  bool is_directory() const { return type == InodeType::kDirectory; }
  bool is_regular() const { return type == InodeType::kRegular; }

  std::string Encode() const;
  static Result<InodeRecord> Decode(std::string_view bytes);
};

struct DentryRecord {
  InodeId inode;
  InodeType type = InodeType::kRegular;

  std::string Encode() const;
  static Result<DentryRecord> Decode(std::string_view bytes);
};

struct XattrRecord {
  std::string value;

  std::string Encode() const;
  static Result<XattrRecord> Decode(std::string_view bytes);
};

/// The block at one index of a file.
struct FileBlockRecord {
  BlockId block;
  Generation generation{1};
  bool reserved = false;
  std::vector<ServerId> chain;       // in chain order, 1 to kMaxChainLength, all different
  std::vector<SessionId> reservers;  // reserved only: sessions that were given the block to write
  std::optional<uint32_t> valid_bytes;  // bytes at and behind this offset read as zeros

  std::string Encode() const;
  static Result<FileBlockRecord> Decode(std::string_view bytes);
};

struct BlockOwnerRecord {
  InodeId inode;
  uint64_t index = 0;

  std::string Encode() const;
  static Result<BlockOwnerRecord> Decode(std::string_view bytes);
};

/// A committed block's replica that a server must have.
struct ReplicaRecord {
  Generation generation;

  std::string Encode() const;
  static Result<ReplicaRecord> Decode(std::string_view bytes);
};

struct OrphanRecord {
  int64_t since_ns = 0;

  std::string Encode() const;
  static Result<OrphanRecord> Decode(std::string_view bytes);
};

/// Blocks a truncation cut off whose rows are still there because there were too many for one
/// journal record. A block is dead when some cut has first_index <= its index and its id <
/// block_limit: what is allocated after the cut has a higher id and is alive. Dead blocks are
/// invisible to everybody but the reclaimer. Cuts are sorted; both members strictly ascend.
struct TruncationRecord {
  struct Cut {
    uint64_t first_index = 0;
    BlockId block_limit;
  };
  std::vector<Cut> cuts;    // 1 to kMaxTruncationCuts
  uint64_t next_index = 0;  // no dead rows below: where the reclaimer goes on

  bool IsDead(uint64_t index, BlockId block) const;
  /// Adds a cut whose limit is above all others, and drops those it makes superfluous.
  void Add(Cut cut);

  std::string Encode() const;
  static Result<TruncationRecord> Decode(std::string_view bytes);
};

/// The server is to delete its replica of a block that no file has any more.
struct DeleteTaskRecord {
  Generation generation;  // of this one and below

  std::string Encode() const;
  static Result<DeleteTaskRecord> Decode(std::string_view bytes);
};

struct SessionRecord {
  std::string client_uuid;  // kUuidBytes
  std::string host_name;
  std::string mount_point;
  std::string client_version;
  int64_t opened_at_ns = 0;
  /// It has ended; its slot replies are being removed. Treat it as gone.
  bool closing = false;

  std::string Encode() const;
  static Result<SessionRecord> Decode(std::string_view bytes);
};

/// The newest mutation of a session's slot and its reply, for retries.
struct SlotReplyRecord {
  uint64_t sequence = 0;
  std::string reply;  // serialized wire response

  std::string Encode() const;
  static Result<SlotReplyRecord> Decode(std::string_view bytes);
};

struct ServerRecord {
  std::string uuid;  // kUuidBytes
  std::string host;
  uint16_t port = 0;
  uint64_t incarnation = 0;      // of its newest registration
  int64_t registered_at_ns = 0;  // the first time
  std::string version;

  std::string Encode() const;
  static Result<ServerRecord> Decode(std::string_view bytes);
};

/// Rows whose value is one number: counters, the uuid indexes, the format version.
struct NumberRecord {
  uint64_t value = 0;

  std::string Encode() const;
  static Result<NumberRecord> Decode(std::string_view bytes);
};

/// The cluster's identity, kUuidBytes.
struct ClusterIdRecord {
  std::string cluster_id;

  std::string Encode() const;
  static Result<ClusterIdRecord> Decode(std::string_view bytes);
};

}  // namespace tercet
