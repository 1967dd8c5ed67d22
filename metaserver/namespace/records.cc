#include "metaserver/namespace/records.h"

#include <algorithm>
#include <bit>

#include "common/base/coding.h"
#include "metaserver/namespace/record_coding.h"

namespace tercet {
namespace {

using namespace record_coding;

// Bits of the flag bytes; never change.
constexpr uint8_t kInodeTruncationPending = 1 << 0;
constexpr uint8_t kBlockReserved = 1 << 0;
constexpr uint8_t kBlockHasValidBytes = 1 << 1;
constexpr uint8_t kBlockHasStale = 1 << 2;
constexpr uint8_t kDeleteTaskHold = 1 << 0;
constexpr uint8_t kSessionClosing = 1 << 0;

bool IsKnownType(uint8_t type) {
  return type >= static_cast<uint8_t>(InodeType::kRegular) &&
         type <= static_cast<uint8_t>(InodeType::kBlockDevice);
}

}  // namespace

std::string InodeRecord::Encode() const {
  std::string out = NewRecord(80 + symlink_target.size() + name_hint.size());
  PutFixed8(&out, static_cast<uint8_t>(type));
  PutFixed8(&out, truncation_pending ? kInodeTruncationPending : 0);
  PutFixed8(&out, static_cast<uint8_t>(std::countr_zero(block_size_bytes)));
  PutFixed8(&out, replicas);
  PutFixed8(&out, min_replicas);
  PutFixed16(&out, static_cast<uint16_t>(mode));
  PutFixed64(&out, static_cast<uint64_t>(atime_ns));
  PutFixed64(&out, static_cast<uint64_t>(mtime_ns));
  PutFixed64(&out, static_cast<uint64_t>(ctime_ns));
  PutVarint64(&out, uid);
  PutVarint64(&out, gid);
  PutVarint64(&out, nlink);
  PutVarint64(&out, size_bytes);
  PutVarint64(&out, rdev);
  PutVarint64(&out, parent.value());
  PutVarint64(&out, xattr_count);
  PutVarint64(&out, block_count);
  PutVarint64(&out, change_version);
  PutLengthPrefixed(&out, symlink_target);
  PutLengthPrefixed(&out, name_hint);
  PutVarint64(&out, rule_id);
  PutVarint64(&out, trash_retention_s);
  PutVarint64(&out, static_cast<uint64_t>(trash_expires_ns));
  return out;
}

Result<InodeRecord> InodeRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "inode"));
  InodeRecord record;
  bool bad = false;
  uint8_t type = decoder.Fixed8();
  record.truncation_pending = (decoder.Fixed8() & kInodeTruncationPending) != 0;
  uint8_t block_size_log2 = decoder.Fixed8();
  record.replicas = decoder.Fixed8();
  record.min_replicas = decoder.Fixed8();
  record.mode = decoder.Fixed16();
  record.atime_ns = static_cast<int64_t>(decoder.Fixed64());
  record.mtime_ns = static_cast<int64_t>(decoder.Fixed64());
  record.ctime_ns = static_cast<int64_t>(decoder.Fixed64());
  record.uid = Varint32(decoder, &bad);
  record.gid = Varint32(decoder, &bad);
  record.nlink = Varint32(decoder, &bad);
  record.size_bytes = decoder.Varint64();
  record.rdev = decoder.Varint64();
  record.parent = InodeId(decoder.Varint64());
  record.xattr_count = Varint32(decoder, &bad);
  record.block_count = decoder.Varint64();
  record.change_version = decoder.Varint64();
  record.symlink_target = BoundedString(decoder, kMaxSymlinkTargetBytes, &bad);
  if (!decoder.rest().empty()) {
    record.name_hint = BoundedString(decoder, kMaxNameBytes, &bad);
    record.rule_id = Varint32(decoder, &bad);
    record.trash_retention_s = Varint32(decoder, &bad);
    record.trash_expires_ns = static_cast<int64_t>(decoder.Varint64());
  }
  RETURN_IF_ERROR(Finish(decoder, "inode"));
  if (!IsKnownType(type)) return Malformed("inode", "unknown type");
  record.type = static_cast<InodeType>(type);
  if (block_size_log2 > 31 || !IsBlockSize(uint32_t{1} << block_size_log2)) {
    return Malformed("inode", "block size out of range");
  }
  record.block_size_bytes = uint32_t{1} << block_size_log2;
  if (bad || record.mode > 07777 || record.size_bytes > kMaxFileSizeBytes || record.replicas == 0 ||
      record.replicas > kMaxChainLength || record.min_replicas == 0 ||
      record.min_replicas > record.replicas || record.trash_expires_ns < 0) {
    return Malformed("inode", "field out of range");
  }
  return record;
}

std::string DentryRecord::Encode() const {
  std::string out = NewRecord(12);
  PutFixed8(&out, static_cast<uint8_t>(type));
  PutVarint64(&out, inode.value());
  return out;
}

Result<DentryRecord> DentryRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "dentry"));
  DentryRecord record;
  uint8_t type = decoder.Fixed8();
  record.inode = InodeId(decoder.Varint64());
  RETURN_IF_ERROR(Finish(decoder, "dentry"));
  if (!IsKnownType(type)) return Malformed("dentry", "unknown type");
  if (record.inode.value() == 0) return Malformed("dentry", "no inode");
  record.type = static_cast<InodeType>(type);
  return record;
}

std::string XattrRecord::Encode() const {
  std::string out = NewRecord(4 + value.size());
  PutLengthPrefixed(&out, value);
  return out;
}

Result<XattrRecord> XattrRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "xattr"));
  XattrRecord record;
  bool bad = false;
  record.value = BoundedString(decoder, kMaxXattrValueBytes, &bad);
  RETURN_IF_ERROR(Finish(decoder, "xattr"));
  if (bad) return Malformed("xattr", "value too large");
  return record;
}

std::string FileBlockRecord::Encode() const {
  std::string out = NewRecord(16 + 2 * chain.size() + 4 * reservers.size());
  PutFixed8(&out, static_cast<uint8_t>((reserved ? kBlockReserved : 0) |
                                       (valid_bytes ? kBlockHasValidBytes : 0) |
                                       (stale.empty() ? 0 : kBlockHasStale)));
  PutVarint64(&out, block.value());
  PutVarint64(&out, generation.value());
  PutServers(&out, chain);
  PutFixed8(&out, static_cast<uint8_t>(reservers.size()));
  for (SessionId session : reservers) PutVarint64(&out, session.value());
  if (valid_bytes) PutVarint64(&out, *valid_bytes);
  if (!stale.empty()) PutServers(&out, stale);
  return out;
}

Result<FileBlockRecord> FileBlockRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "file block"));
  FileBlockRecord record;
  bool bad = false;
  uint8_t flags = decoder.Fixed8();
  record.reserved = (flags & kBlockReserved) != 0;
  record.block = BlockId(decoder.Varint64());
  record.generation = Generation(decoder.Varint64());
  record.chain = GetServers(decoder, kMaxChainLength, &bad);
  if (bad || record.chain.empty()) return Malformed("file block", "chain out of range");
  size_t reserver_count = decoder.Fixed8();
  if (reserver_count > kMaxReservers) return Malformed("file block", "too many reservers");
  for (size_t i = 0; i < reserver_count; ++i) {
    record.reservers.push_back(SessionId(decoder.Varint64()));
  }
  if ((flags & kBlockHasValidBytes) != 0) record.valid_bytes = Varint32(decoder, &bad);
  if ((flags & kBlockHasStale) != 0) {
    record.stale = GetServers(decoder, kMaxStaleServers, &bad);
    for (ServerId server : record.stale) {
      if (std::ranges::find(record.chain, server) != record.chain.end()) bad = true;
    }
  }
  RETURN_IF_ERROR(Finish(decoder, "file block"));
  if (bad || record.block.value() == 0 || record.generation.value() == 0 ||
      (record.valid_bytes && *record.valid_bytes >= kMaxBlockSizeBytes)) {
    return Malformed("file block", "field out of range");
  }
  return record;
}

std::string BlockOwnerRecord::Encode() const {
  std::string out = NewRecord(12);
  PutVarint64(&out, inode.value());
  PutVarint64(&out, index);
  return out;
}

Result<BlockOwnerRecord> BlockOwnerRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "block owner"));
  BlockOwnerRecord record;
  record.inode = InodeId(decoder.Varint64());
  record.index = decoder.Varint64();
  RETURN_IF_ERROR(Finish(decoder, "block owner"));
  return record;
}

std::string ReplicaRecord::Encode() const {
  std::string out = NewRecord(4);
  PutVarint64(&out, generation.value());
  return out;
}

Result<ReplicaRecord> ReplicaRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "replica"));
  ReplicaRecord record;
  record.generation = Generation(decoder.Varint64());
  RETURN_IF_ERROR(Finish(decoder, "replica"));
  return record;
}

std::string OrphanRecord::Encode() const {
  std::string out = NewRecord(9);
  PutFixed64(&out, static_cast<uint64_t>(since_ns));
  return out;
}

Result<OrphanRecord> OrphanRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "orphan"));
  OrphanRecord record;
  record.since_ns = static_cast<int64_t>(decoder.Fixed64());
  RETURN_IF_ERROR(Finish(decoder, "orphan"));
  return record;
}

bool TruncationRecord::IsDead(uint64_t index, BlockId block) const {
  // Limits ascend with the indexes, so the last cut that reaches the index decides.
  auto behind = std::ranges::upper_bound(cuts, index, {}, &Cut::first_index);
  return behind != cuts.begin() && block < std::prev(behind)->block_limit;
}

void TruncationRecord::Add(Cut cut) {
  auto superfluous = std::ranges::lower_bound(cuts, cut.first_index, {}, &Cut::first_index);
  cuts.erase(superfluous, cuts.end());
  // A cut at the same limit (nothing was allocated in between) and from further down covers this
  // one.
  if (!cuts.empty() && cuts.back().block_limit >= cut.block_limit) return;
  cuts.push_back(cut);
  next_index = std::min(next_index, cut.first_index);
}

std::string TruncationRecord::Encode() const {
  std::string out = NewRecord(8 + 8 * cuts.size());
  PutVarint64(&out, next_index);
  PutFixed8(&out, static_cast<uint8_t>(cuts.size()));
  for (const Cut& cut : cuts) {
    PutVarint64(&out, cut.first_index);
    PutVarint64(&out, cut.block_limit.value());
  }
  return out;
}

Result<TruncationRecord> TruncationRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "truncation"));
  TruncationRecord record;
  record.next_index = decoder.Varint64();
  size_t count = decoder.Fixed8();
  if (count == 0 || count > kMaxTruncationCuts) return Malformed("truncation", "cuts out of range");
  for (size_t i = 0; i < count; ++i) {
    Cut cut;
    cut.first_index = decoder.Varint64();
    cut.block_limit = BlockId(decoder.Varint64());
    if (!record.cuts.empty() && (cut.first_index <= record.cuts.back().first_index ||
                                 cut.block_limit <= record.cuts.back().block_limit)) {
      return Malformed("truncation", "cuts out of order");
    }
    record.cuts.push_back(cut);
  }
  RETURN_IF_ERROR(Finish(decoder, "truncation"));
  return record;
}

std::string DeleteTaskRecord::Encode() const {
  std::string out = NewRecord(6);
  PutVarint64(&out, generation.value());
  PutFixed8(&out, hold ? kDeleteTaskHold : 0);
  return out;
}

Result<DeleteTaskRecord> DeleteTaskRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "delete task"));
  DeleteTaskRecord record;
  record.generation = Generation(decoder.Varint64());
  if (!decoder.rest().empty()) record.hold = (decoder.Fixed8() & kDeleteTaskHold) != 0;
  RETURN_IF_ERROR(Finish(decoder, "delete task"));
  return record;
}

std::string SessionRecord::Encode() const {
  std::string out = NewRecord(40 + host_name.size() + mount_point.size() + client_version.size());
  PutFixed8(&out, closing ? kSessionClosing : 0);
  PutFixed64(&out, static_cast<uint64_t>(opened_at_ns));
  PutLengthPrefixed(&out, client_uuid);
  PutLengthPrefixed(&out, host_name);
  PutLengthPrefixed(&out, mount_point);
  PutLengthPrefixed(&out, client_version);
  return out;
}

Result<SessionRecord> SessionRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "session"));
  SessionRecord record;
  bool bad = false;
  record.closing = (decoder.Fixed8() & kSessionClosing) != 0;
  record.opened_at_ns = static_cast<int64_t>(decoder.Fixed64());
  record.client_uuid = BoundedString(decoder, kUuidBytes, &bad);
  record.host_name = BoundedString(decoder, kMaxHostBytes, &bad);
  record.mount_point = BoundedString(decoder, kMaxPathBytes, &bad);
  record.client_version = BoundedString(decoder, kMaxVersionBytes, &bad);
  RETURN_IF_ERROR(Finish(decoder, "session"));
  if (bad || record.client_uuid.size() != kUuidBytes) {
    return Malformed("session", "field out of range");
  }
  return record;
}

std::string SlotReplyRecord::Encode() const {
  std::string out = NewRecord(12 + reply.size());
  PutVarint64(&out, sequence);
  PutLengthPrefixed(&out, reply);
  return out;
}

Result<SlotReplyRecord> SlotReplyRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "slot reply"));
  SlotReplyRecord record;
  bool bad = false;
  record.sequence = decoder.Varint64();
  record.reply = BoundedString(decoder, kMaxSlotReplyBytes, &bad);
  RETURN_IF_ERROR(Finish(decoder, "slot reply"));
  if (bad) return Malformed("slot reply", "reply too large");
  return record;
}

ServiceState ServerRecord::StateAt(int64_t now_ns) const {
  const bool over =
      state == ServiceState::kMaintenance && state_until_ns != 0 && now_ns >= state_until_ns;
  return over ? ServiceState::kInService : state;
}

std::string ServerRecord::Encode() const {
  std::string out = NewRecord(80 + host.size() + version.size());
  PutLengthPrefixed(&out, uuid);
  PutLengthPrefixed(&out, host);
  PutFixed16(&out, port);
  PutFixed64(&out, incarnation);
  PutFixed64(&out, static_cast<uint64_t>(registered_at_ns));
  PutLengthPrefixed(&out, version);
  PutFixed8(&out, static_cast<uint8_t>(state));
  PutFixed64(&out, static_cast<uint64_t>(state_since_ns));
  PutFixed64(&out, static_cast<uint64_t>(state_until_ns));
  PutVarint64(&out, drain_replicas_at_start);
  PutLabels(&out, labels);
  return out;
}

Result<ServerRecord> ServerRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "server"));
  ServerRecord record;
  bool bad = false;
  record.uuid = BoundedString(decoder, kUuidBytes, &bad);
  record.host = BoundedString(decoder, kMaxHostBytes, &bad);
  record.port = decoder.Fixed16();
  record.incarnation = decoder.Fixed64();
  record.registered_at_ns = static_cast<int64_t>(decoder.Fixed64());
  record.version = BoundedString(decoder, kMaxVersionBytes, &bad);
  uint8_t state = 0;
  if (!decoder.rest().empty()) {
    state = decoder.Fixed8();
    record.state_since_ns = static_cast<int64_t>(decoder.Fixed64());
    record.state_until_ns = static_cast<int64_t>(decoder.Fixed64());
    record.drain_replicas_at_start = decoder.Varint64();
    record.labels = GetLabels(decoder, &bad);
  }
  RETURN_IF_ERROR(Finish(decoder, "server"));
  if (state > static_cast<uint8_t>(ServiceState::kRemoved)) bad = true;
  record.state = static_cast<ServiceState>(state);
  if (bad || record.uuid.size() != kUuidBytes) return Malformed("server", "field out of range");
  return record;
}

std::string NumberRecord::Encode() const {
  std::string out = NewRecord(9);
  PutFixed64(&out, value);
  return out;
}

Result<NumberRecord> NumberRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "number"));
  NumberRecord record;
  record.value = decoder.Fixed64();
  RETURN_IF_ERROR(Finish(decoder, "number"));
  return record;
}

std::string ClusterIdRecord::Encode() const {
  std::string out = NewRecord(18);
  PutLengthPrefixed(&out, cluster_id);
  return out;
}

Result<ClusterIdRecord> ClusterIdRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "cluster id"));
  ClusterIdRecord record;
  bool bad = false;
  record.cluster_id = BoundedString(decoder, kUuidBytes, &bad);
  RETURN_IF_ERROR(Finish(decoder, "cluster id"));
  if (bad || record.cluster_id.size() != kUuidBytes) return Malformed("cluster id", "not 16 bytes");
  return record;
}

}  // namespace tercet
