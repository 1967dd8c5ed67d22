// Values of the namespace state's rows (format.md). Each starts with a version byte; integers are
// little-endian or varints.
//
// Invariants:
//  - Encode(Decode(x)) of a record written by this version is x.
//  - A decoder accepts bytes behind the fields it knows (a newer version appended them) and gives
//    kVersionTooNew for a higher version byte, which only an incompatible change gets.
//  - A decoder never reads past its input and never allocates more than the input justifies: it
//    gives kCorruption instead.
#pragma once

#include <cstdint>
#include <map>
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
inline constexpr size_t kMaxStaleServers = 16;
inline constexpr size_t kMaxBadReplicas = 16;
inline constexpr size_t kMaxServerLabels = 16;
inline constexpr size_t kMaxServerLabelBytes = 64;
inline constexpr size_t kMaxDiskCommands = 256;  // disk rows per server
inline constexpr size_t kMaxRestores = 64;
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
  uint32_t nlink = 0;  // 0: an orphan, or in the trash
  uint64_t size_bytes = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t rdev = 0;
  uint32_t block_size_bytes = kMaxBlockSizeBytes;  // a power of two; for directories: of new files
  /// Directories: the one that holds this (the root: itself). Others: where the name hint is; 0
  /// when no name is known.
  InodeId parent;
  uint32_t xattr_count = 0;
  uint64_t block_count = 0;     // committed file block rows, dead ones included
  uint64_t change_version = 1;  // grows with every change
  uint8_t replicas = 3;         // of new blocks; a directory hands its policy to what is made in it
  uint8_t min_replicas = 2;
  std::string symlink_target;
  /// One of its names, in `parent`; empty when none is known (rows of older versions, the root).
  std::string name_hint = {};
  /// Where replicas of its blocks go; 0: anywhere, on different servers.
  uint32_t rule_id = 0;
  /// Kept for so long when its last name goes; 0: not at all.
  uint32_t trash_retention_s = 0;
  /// Not 0: in the trash, with this trash row; nlink is 0 then.
  int64_t trash_expires_ns = 0;

  bool in_trash() const { return trash_expires_ns != 0; }
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
  /// Servers that left the chain and keep their replica, out of date, as the base of a copy: those
  /// with a held delete task for the block. At most kMaxStaleServers, none of them in the chain.
  std::vector<ServerId> stale = {};

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

/// The server is to delete its replica of a block that no file has any more, or whose chain it
/// left.
struct DeleteTaskRecord {
  Generation generation;  // of this one and below
  /// Not yet: it is not served any more, but kept as the base of a copy (FileBlockRecord::stale).
  bool hold = false;

  std::string Encode() const;
  static Result<DeleteTaskRecord> Decode(std::string_view bytes);
};

/// Why a block has a repair row. Bits; part of the format, never change.
enum RepairReason : uint8_t {
  kRepairShort = 1 << 0,      // fewer replicas in the chain than wanted
  kRepairBad = 1 << 1,        // bad replicas are noted
  kRepairSurplus = 1 << 2,    // more replicas than wanted
  kRepairMisplaced = 1 << 3,  // the policy may want other servers: placement judges
  kRepairSealing = 1 << 4,    // a reconfiguration is under way, or was given up
};

/// What is the matter with a replica: same numbers as wire::BadReplicaReason; never change.
enum class BadReplica : uint8_t {
  kDamaged = 1,
  kMissing = 2,
  kSuspect = 3,
  /// Its bytes are sound, but others may differ from it in what nobody acknowledged: it counts as a
  /// good one until they were compared.
  kDoubtful = 4,
};

/// Something is to be done about a block (metaserver/repair/protocol.md).
struct RepairRecord {
  struct Bad {
    ServerId server;
    BadReplica reason = BadReplica::kDamaged;
    bool operator==(const Bad&) const = default;
  };
  uint8_t reasons = 0;  // RepairReason; never 0
  /// The newest generation that an attempt has used or may have used; 0: none beyond the block's
  /// own. Set if and only if reasons has kRepairSealing.
  Generation sealing;
  int64_t since_ns = 0;  // since when the row is there
  std::vector<Bad> bad;  // at most kMaxBadReplicas, each a member of the chain
  /// Servers outside the chain that may have got a replica of a generation up to `sealing` from an
  /// attempt. At most kMaxChainLength.
  std::vector<ServerId> targets = {};

  bool operator==(const RepairRecord&) const = default;
  std::string Encode() const;
  static Result<RepairRecord> Decode(std::string_view bytes);
};

/// A file whose last name is gone, kept until the time in the row's key.
struct TrashRecord {
  InodeId directory;  // that its last name was in
  std::string name;
  int64_t deleted_at_ns = 0;

  std::string Encode() const;
  static Result<TrashRecord> Decode(std::string_view bytes);
};

/// Where replicas may go.
struct PlacementRule {
  /// Label whose values the replicas of a block should differ in; empty: different servers are
  /// enough.
  std::string domain;
  /// Labels that the servers must have.
  std::map<std::string, std::string> require;

  bool empty() const { return domain.empty() && require.empty(); }
  bool operator==(const PlacementRule&) const = default;
  std::string Encode() const;
  static Result<PlacementRule> Decode(std::string_view bytes);
};

/// A change of policy: what is absent stays as it is.
struct PolicyChange {
  std::optional<uint8_t> replicas;
  std::optional<uint8_t> min_replicas;
  std::optional<uint32_t> block_size_bytes;
  std::optional<std::string> domain;
  std::optional<std::map<std::string, std::string>> require;
  std::optional<uint32_t> trash_retention_s;

  bool empty() const {
    return !replicas && !min_replicas && !block_size_bytes && !domain && !require &&
           !trash_retention_s;
  }
  bool changes_rule() const { return domain || require; }
  bool operator==(const PolicyChange&) const = default;
};

/// A change of policy is being carried to what is below a directory, or to the blocks of a file.
/// The inode itself has it already.
struct PolicyWalkRecord {
  PolicyChange change;
  std::string after_name;   // directories: entries up to this one are done; empty: none
  uint64_t next_index = 0;  // files: blocks below this index are done
  int64_t since_ns = 0;     // of the newest change in it

  std::string Encode() const;
  static Result<PolicyWalkRecord> Decode(std::string_view bytes);
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

/// What a chunk server is there for, by command. Same numbers as wire::ServiceState; never change.
enum class ServiceState : uint8_t { kInService = 0, kDraining = 1, kMaintenance = 2, kRemoved = 3 };

struct ServerRecord {
  std::string uuid;  // kUuidBytes
  std::string host;
  uint16_t port = 0;
  uint64_t incarnation = 0;      // of its newest registration
  int64_t registered_at_ns = 0;  // the first time
  std::string version;
  ServiceState state = ServiceState::kInService;
  int64_t state_since_ns = 0;  // 0: since ever
  int64_t state_until_ns = 0;  // kMaintenance: ends by itself then; 0: does not
  uint64_t drain_replicas_at_start = 0;
  /// At most kMaxServerLabels, of kMaxServerLabelBytes each side.
  std::map<std::string, std::string> labels = {};

  /// The state, with maintenance that is over counted as kInService.
  ServiceState StateAt(int64_t now_ns) const;
  std::string Encode() const;
  static Result<ServerRecord> Decode(std::string_view bytes);
};

/// A disk's state by command. Same numbers as wire::DiskState; never change.
enum class DiskCommandState : uint8_t { kInService = 0, kDraining = 1, kEjected = 2 };

/// A disk that is not in service.
struct DiskRecord {
  DiskCommandState state = DiskCommandState::kDraining;
  int64_t since_ns = 0;

  std::string Encode() const;
  static Result<DiskRecord> Decode(std::string_view bytes);
};

/// Never renumber.
enum class BalanceState : uint8_t { kNone = 0, kRunning = 1, kPaused = 2, kDone = 3, kStopped = 4 };

struct BalanceRecord {
  BalanceState state = BalanceState::kNone;
  int64_t started_at_ns = 0;
  int64_t changed_at_ns = 0;         // of state
  uint32_t threshold_permille = 50;  // 5 points
  uint64_t moved_bytes = 0;
  uint64_t moved_blocks = 0;

  bool operator==(const BalanceRecord&) const = default;
  std::string Encode() const;
  static Result<BalanceRecord> Decode(std::string_view bytes);
};

/// What background work may use; without a row these defaults hold.
struct LimitsRecord {
  uint64_t repair_bytes_per_second = 0;      // per server; 0: no limit
  uint64_t move_bytes_per_second = 0;        // per server; 0: no limit
  uint64_t scrub_period_s = 14 * 24 * 3600;  // 0: never
  uint64_t repair_delay_ms = 30'000;

  bool operator==(const LimitsRecord&) const = default;
  std::string Encode() const;
  static Result<LimitsRecord> Decode(std::string_view bytes);
};

/// Block ids that were given out by a group whose state was lost with it: the state was restored
/// from a backup that is older. A replica of such a block may be newer than all the state knows.
struct RestoresRecord {
  struct Range {
    BlockId first;
    BlockId end;  // first < end
    bool operator==(const Range&) const = default;
  };
  std::vector<Range> ranges;  // ascending, 1 to kMaxRestores

  bool Contains(BlockId block) const;
  std::string Encode() const;
  static Result<RestoresRecord> Decode(std::string_view bytes);
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
