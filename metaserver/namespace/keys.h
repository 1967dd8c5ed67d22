// Database keys of the namespace state: one byte that names the table, then big-endian integers (so
// that rows sort by number), then at most one byte string, which is always last. See format.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/ids.h"

namespace tercet {

/// First byte of every key. On disk and in the journal: never change or reuse a number.
enum class TableId : uint8_t {
  kDatabase = 0x00,       // rows of the database itself (applied index, …), never in a write set
  kCluster = 0x01,        // cluster id, format version
  kCounter = 0x02,        // next ids, totals
  kInode = 0x10,          // inode
  kDentry = 0x11,         // parent, name
  kXattr = 0x12,          // inode, name
  kFileBlock = 0x13,      // inode, block index
  kBlockOwner = 0x14,     // block
  kReplica = 0x15,        // server, block
  kOrphan = 0x16,         // inode
  kTruncation = 0x17,     // inode
  kDeleteTask = 0x18,     // server, block
  kRepair = 0x19,         // block
  kPolicyWalk = 0x1a,     // inode
  kTrash = 0x1b,          // expiry, inode
  kSession = 0x20,        // session
  kSessionByUuid = 0x21,  // client uuid
  kSlotReply = 0x22,      // session, slot
  kServer = 0x30,         // server
  kServerByUuid = 0x31,   // server uuid
  kDisk = 0x32,           // server, disk uuid
  kPlacementRule = 0x33,  // rule
};

/// Counters; the number is part of the key and never changes.
enum class Counter : uint8_t {
  kNextInode = 1,
  kNextBlock = 2,
  kNextSession = 3,
  kNextServer = 4,
  kInodeCount = 5,   // inode rows, orphans included
  kBlockCount = 6,   // committed blocks
  kOrphanCount = 7,  // orphan rows
  kTrashCount = 8,   // trash rows
};

/// Rows of TableId::kCluster; the number is part of the key and never changes.
enum class ClusterField : uint8_t {
  kFormatVersion = 1,
  kClusterId = 2,
  kTimeFloor = 3,
  kBalance = 4,
  kLimits = 5,
  kRestores = 6,
};

/// All keys k with from <= k < to.
struct KeyRange {
  std::string from;
  std::string to;
};

std::string ClusterKey(ClusterField field);
std::string CounterKey(Counter counter);
std::string InodeKey(InodeId inode);
std::string DentryKey(InodeId parent, std::string_view name);
std::string XattrKey(InodeId inode, std::string_view name);
std::string FileBlockKey(InodeId inode, uint64_t index);
std::string BlockOwnerKey(BlockId block);
std::string ReplicaKey(ServerId server, BlockId block);
std::string OrphanKey(InodeId inode);
std::string TruncationKey(InodeId inode);
std::string DeleteTaskKey(ServerId server, BlockId block);
std::string RepairKey(BlockId block);
std::string PolicyWalkKey(InodeId inode);
/// `expires_ns` must not be negative.
std::string TrashKey(int64_t expires_ns, InodeId inode);
std::string SessionKey(SessionId session);
std::string SessionByUuidKey(std::string_view uuid);
std::string SlotReplyKey(SessionId session, uint32_t slot);
std::string ServerKey(ServerId server);
std::string ServerByUuidKey(std::string_view uuid);
std::string DiskKey(ServerId server, std::string_view disk_uuid);
std::string PlacementRuleKey(uint32_t rule);

/// Every row of a table.
KeyRange TableRange(TableId table);
/// The directory's entries whose names sort behind `after_name`; all for an empty one.
KeyRange DentryRange(InodeId parent, std::string_view after_name = {});
KeyRange XattrRange(InodeId inode);
/// The file's blocks with first <= index < end.
KeyRange FileBlockRange(InodeId inode, uint64_t first, uint64_t end);
/// The server's replicas with first <= block id < end.
KeyRange ReplicaRange(ServerId server, BlockId first, BlockId end);
/// The server's tasks from block id `first` on.
KeyRange DeleteTaskRange(ServerId server, BlockId first);
KeyRange SlotReplyRange(SessionId session);
/// Trash rows from (expires_ns, inode) on.
KeyRange TrashRangeFrom(int64_t expires_ns, InodeId inode);
/// The server's disks.
KeyRange DiskRange(ServerId server);
/// Rows of a table whose keys are one id, from `first` on (inodes, orphans, sessions, …).
KeyRange IdRangeFrom(TableId table, uint64_t first);

/// The parts of a key: which numbers and bytes are set depends on the table.
struct ParsedKey {
  TableId table = TableId::kDatabase;
  uint64_t first =
      0;  // inode, parent, block, server, session, counter, cluster field, rule, expiry
  uint64_t second = 0;    // block index, block, slot, inode (trash)
  std::string_view name;  // name or uuid; points into the parsed key
};
/// Nothing when the bytes are not a well-formed key of a table known here.
std::optional<ParsedKey> ParseKey(std::string_view key);

}  // namespace tercet
