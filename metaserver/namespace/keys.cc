#include "metaserver/namespace/keys.h"

#include <limits>

#include "common/base/coding.h"

namespace tercet {
namespace {

std::string Prefix(TableId table, size_t rest_bytes) {
  std::string key;
  key.reserve(1 + rest_bytes);
  key.push_back(static_cast<char>(table));
  return key;
}

std::string NumberKey(TableId table, uint64_t number) {
  std::string key = Prefix(table, 8);
  PutBigEndian64(&key, number);
  return key;
}

std::string ByteKey(TableId table, uint8_t number) {
  std::string key = Prefix(table, 1);
  key.push_back(static_cast<char>(number));
  return key;
}

std::string NameKey(TableId table, uint64_t number, std::string_view name) {
  std::string key = Prefix(table, 8 + name.size());
  PutBigEndian64(&key, number);
  key.append(name);
  return key;
}

std::string UuidKey(TableId table, std::string_view uuid) {
  std::string key = Prefix(table, uuid.size());
  key.append(uuid);
  return key;
}

// The first key behind all keys that begin with `table`.
std::string TableEnd(TableId table) {
  return std::string(1, static_cast<char>(static_cast<uint8_t>(table) + 1));
}

// The first key behind all keys that begin with `table` and `number`.
std::string NumberEnd(TableId table, uint64_t number) {
  if (number == std::numeric_limits<uint64_t>::max()) return TableEnd(table);
  return NumberKey(table, number + 1);
}

}  // namespace

std::string ClusterKey(ClusterField field) {
  return ByteKey(TableId::kCluster, static_cast<uint8_t>(field));
}

std::string CounterKey(Counter counter) {
  return ByteKey(TableId::kCounter, static_cast<uint8_t>(counter));
}

std::string InodeKey(InodeId inode) { return NumberKey(TableId::kInode, inode.value()); }

std::string DentryKey(InodeId parent, std::string_view name) {
  return NameKey(TableId::kDentry, parent.value(), name);
}

std::string XattrKey(InodeId inode, std::string_view name) {
  return NameKey(TableId::kXattr, inode.value(), name);
}

std::string FileBlockKey(InodeId inode, uint64_t index) {
  std::string key = Prefix(TableId::kFileBlock, 16);
  PutBigEndian64(&key, inode.value());
  PutBigEndian64(&key, index);
  return key;
}

std::string BlockOwnerKey(BlockId block) { return NumberKey(TableId::kBlockOwner, block.value()); }

std::string ReplicaKey(ServerId server, BlockId block) {
  std::string key = Prefix(TableId::kReplica, 12);
  PutBigEndian32(&key, server.value());
  PutBigEndian64(&key, block.value());
  return key;
}

std::string OrphanKey(InodeId inode) { return NumberKey(TableId::kOrphan, inode.value()); }

std::string TruncationKey(InodeId inode) { return NumberKey(TableId::kTruncation, inode.value()); }

std::string DeleteTaskKey(ServerId server, BlockId block) {
  std::string key = Prefix(TableId::kDeleteTask, 12);
  PutBigEndian32(&key, server.value());
  PutBigEndian64(&key, block.value());
  return key;
}

std::string RepairKey(BlockId block) { return NumberKey(TableId::kRepair, block.value()); }

std::string PolicyWalkKey(InodeId inode) { return NumberKey(TableId::kPolicyWalk, inode.value()); }

std::string TrashKey(int64_t expires_ns, InodeId inode) {
  std::string key = Prefix(TableId::kTrash, 16);
  PutBigEndian64(&key, static_cast<uint64_t>(expires_ns));
  PutBigEndian64(&key, inode.value());
  return key;
}

std::string SessionKey(SessionId session) { return NumberKey(TableId::kSession, session.value()); }

std::string SessionByUuidKey(std::string_view uuid) {
  return UuidKey(TableId::kSessionByUuid, uuid);
}

std::string SlotReplyKey(SessionId session, uint32_t slot) {
  std::string key = Prefix(TableId::kSlotReply, 12);
  PutBigEndian64(&key, session.value());
  PutBigEndian32(&key, slot);
  return key;
}

std::string ServerKey(ServerId server) {
  std::string key = Prefix(TableId::kServer, 4);
  PutBigEndian32(&key, server.value());
  return key;
}

std::string ServerByUuidKey(std::string_view uuid) { return UuidKey(TableId::kServerByUuid, uuid); }

std::string DiskKey(ServerId server, std::string_view disk_uuid) {
  std::string key = Prefix(TableId::kDisk, 4 + disk_uuid.size());
  PutBigEndian32(&key, server.value());
  key.append(disk_uuid);
  return key;
}

std::string PlacementRuleKey(uint32_t rule) {
  std::string key = Prefix(TableId::kPlacementRule, 4);
  PutBigEndian32(&key, rule);
  return key;
}

KeyRange TableRange(TableId table) {
  return {std::string(1, static_cast<char>(table)), TableEnd(table)};
}

KeyRange DentryRange(InodeId parent, std::string_view after_name) {
  std::string from = DentryKey(parent, after_name);
  // The least key behind `after_name`: names hold no NUL, but a byte string may.
  if (!after_name.empty()) from.push_back('\0');
  return {std::move(from), NumberEnd(TableId::kDentry, parent.value())};
}

KeyRange XattrRange(InodeId inode) {
  return {NumberKey(TableId::kXattr, inode.value()), NumberEnd(TableId::kXattr, inode.value())};
}

KeyRange FileBlockRange(InodeId inode, uint64_t first, uint64_t end) {
  return {FileBlockKey(inode, first), FileBlockKey(inode, end)};
}

KeyRange ReplicaRange(ServerId server, BlockId first, BlockId end) {
  return {ReplicaKey(server, first), ReplicaKey(server, end)};
}

KeyRange DeleteTaskRange(ServerId server, BlockId first) {
  // No block has the highest id, so nothing is missed at the end.
  return {DeleteTaskKey(server, first),
          DeleteTaskKey(server, BlockId(std::numeric_limits<uint64_t>::max()))};
}

KeyRange SlotReplyRange(SessionId session) {
  return {NumberKey(TableId::kSlotReply, session.value()),
          NumberEnd(TableId::kSlotReply, session.value())};
}

KeyRange TrashRangeFrom(int64_t expires_ns, InodeId inode) {
  return {TrashKey(expires_ns, inode), TableEnd(TableId::kTrash)};
}

KeyRange DiskRange(ServerId server) {
  const std::string from = DiskKey(server, {});
  if (server.value() == std::numeric_limits<uint32_t>::max()) {
    return {from, TableEnd(TableId::kDisk)};
  }
  return {from, DiskKey(server.Next(), {})};
}

KeyRange IdRangeFrom(TableId table, uint64_t first) {
  return {NumberKey(table, first), TableEnd(table)};
}

std::optional<ParsedKey> ParseKey(std::string_view key) {
  Decoder decoder(key);
  ParsedKey parsed;
  parsed.table = static_cast<TableId>(decoder.Fixed8());
  switch (parsed.table) {
    case TableId::kCluster:
    case TableId::kCounter:
      parsed.first = decoder.Fixed8();
      break;
    case TableId::kInode:
    case TableId::kBlockOwner:
    case TableId::kOrphan:
    case TableId::kTruncation:
    case TableId::kRepair:
    case TableId::kPolicyWalk:
    case TableId::kSession:
      parsed.first = decoder.BigEndian64();
      break;
    case TableId::kServer:
    case TableId::kPlacementRule:
      parsed.first = decoder.BigEndian32();
      break;
    case TableId::kDisk:
      parsed.first = decoder.BigEndian32();
      parsed.name = decoder.Bytes(16);
      break;
    case TableId::kDentry:
    case TableId::kXattr:
      parsed.first = decoder.BigEndian64();
      parsed.name = decoder.rest();
      if (decoder.failed() || parsed.name.empty()) return std::nullopt;
      return parsed;
    case TableId::kFileBlock:
    case TableId::kTrash:
      parsed.first = decoder.BigEndian64();
      parsed.second = decoder.BigEndian64();
      break;
    case TableId::kReplica:
    case TableId::kDeleteTask:
      parsed.first = decoder.BigEndian32();
      parsed.second = decoder.BigEndian64();
      break;
    case TableId::kSlotReply:
      parsed.first = decoder.BigEndian64();
      parsed.second = decoder.BigEndian32();
      break;
    case TableId::kSessionByUuid:
    case TableId::kServerByUuid:
      parsed.name = decoder.Bytes(16);
      break;
    case TableId::kDatabase:
    default:
      return std::nullopt;
  }
  if (decoder.failed() || !decoder.rest().empty()) return std::nullopt;
  return parsed;
}

}  // namespace tercet
