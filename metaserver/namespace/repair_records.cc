// Records of what is to be done about blocks, of policies, the trash and the cluster's settings.
#include <algorithm>
#include <bit>

#include "metaserver/namespace/record_coding.h"
#include "metaserver/namespace/records.h"

namespace tercet {
namespace {

using namespace record_coding;

constexpr uint8_t kAllRepairReasons =
    kRepairShort | kRepairBad | kRepairSurplus | kRepairMisplaced | kRepairSealing;

// Which parts of a policy change are there. Bits; never change.
enum PolicyBit : uint8_t {
  kHasReplicas = 1 << 0,
  kHasMinReplicas = 1 << 1,
  kHasBlockSize = 1 << 2,
  kHasDomain = 1 << 3,
  kHasRequire = 1 << 4,
  kHasRetention = 1 << 5,
};

bool IsBadReplica(uint8_t reason) {
  return reason >= static_cast<uint8_t>(BadReplica::kDamaged) &&
         reason <= static_cast<uint8_t>(BadReplica::kDoubtful);
}

}  // namespace

std::string RepairRecord::Encode() const {
  std::string out = NewRecord(24 + 3 * bad.size() + 2 * targets.size());
  PutFixed8(&out, reasons);
  PutVarint64(&out, sealing.value());
  PutFixed64(&out, static_cast<uint64_t>(since_ns));
  PutFixed8(&out, static_cast<uint8_t>(bad.size()));
  for (const Bad& replica : bad) {
    PutVarint64(&out, replica.server.value());
    PutFixed8(&out, static_cast<uint8_t>(replica.reason));
  }
  PutServers(&out, targets);
  return out;
}

Result<RepairRecord> RepairRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "repair"));
  RepairRecord record;
  bool wrong = false;
  record.reasons = decoder.Fixed8();
  record.sealing = Generation(decoder.Varint64());
  record.since_ns = static_cast<int64_t>(decoder.Fixed64());
  const size_t count = decoder.Fixed8();
  if (count > kMaxBadReplicas) return Malformed("repair", "too many bad replicas");
  for (size_t i = 0; i < count; ++i) {
    Bad replica;
    replica.server = ServerId(Varint32(decoder, &wrong));
    const uint8_t reason = decoder.Fixed8();
    if (!IsBadReplica(reason)) wrong = true;
    replica.reason = static_cast<BadReplica>(reason);
    record.bad.push_back(replica);
  }
  record.targets = GetServers(decoder, kMaxChainLength, &wrong);
  RETURN_IF_ERROR(Finish(decoder, "repair"));
  if (wrong || (record.reasons & kAllRepairReasons) == 0 ||
      ((record.reasons & kRepairSealing) != 0) != (record.sealing.value() != 0)) {
    return Malformed("repair", "field out of range");
  }
  return record;
}

std::string TrashRecord::Encode() const {
  std::string out = NewRecord(24 + name.size());
  PutVarint64(&out, directory.value());
  PutLengthPrefixed(&out, name);
  PutFixed64(&out, static_cast<uint64_t>(deleted_at_ns));
  return out;
}

Result<TrashRecord> TrashRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "trash"));
  TrashRecord record;
  bool bad = false;
  record.directory = InodeId(decoder.Varint64());
  record.name = BoundedString(decoder, kMaxNameBytes, &bad);
  record.deleted_at_ns = static_cast<int64_t>(decoder.Fixed64());
  RETURN_IF_ERROR(Finish(decoder, "trash"));
  if (bad || record.name.empty()) return Malformed("trash", "name out of range");
  return record;
}

std::string PlacementRule::Encode() const {
  std::string out = NewRecord(64);
  PutLengthPrefixed(&out, domain);
  PutLabels(&out, require);
  return out;
}

Result<PlacementRule> PlacementRule::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "placement rule"));
  PlacementRule record;
  bool bad = false;
  record.domain = BoundedString(decoder, kMaxServerLabelBytes, &bad);
  record.require = GetLabels(decoder, &bad);
  RETURN_IF_ERROR(Finish(decoder, "placement rule"));
  if (bad) return Malformed("placement rule", "field out of range");
  return record;
}

std::string PolicyWalkRecord::Encode() const {
  std::string out = NewRecord(64 + after_name.size());
  uint8_t bits = 0;
  if (change.replicas) bits |= kHasReplicas;
  if (change.min_replicas) bits |= kHasMinReplicas;
  if (change.block_size_bytes) bits |= kHasBlockSize;
  if (change.domain) bits |= kHasDomain;
  if (change.require) bits |= kHasRequire;
  if (change.trash_retention_s) bits |= kHasRetention;
  PutFixed8(&out, bits);
  if (change.replicas) PutFixed8(&out, *change.replicas);
  if (change.min_replicas) PutFixed8(&out, *change.min_replicas);
  if (change.block_size_bytes) {
    PutFixed8(&out, static_cast<uint8_t>(std::countr_zero(*change.block_size_bytes)));
  }
  if (change.domain) PutLengthPrefixed(&out, *change.domain);
  if (change.require) PutLabels(&out, *change.require);
  if (change.trash_retention_s) PutVarint64(&out, *change.trash_retention_s);
  PutLengthPrefixed(&out, after_name);
  PutVarint64(&out, next_index);
  PutFixed64(&out, static_cast<uint64_t>(since_ns));
  return out;
}

Result<PolicyWalkRecord> PolicyWalkRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "policy walk"));
  PolicyWalkRecord record;
  PolicyChange& change = record.change;
  bool bad = false;
  const uint8_t bits = decoder.Fixed8();
  if ((bits & kHasReplicas) != 0) change.replicas = decoder.Fixed8();
  if ((bits & kHasMinReplicas) != 0) change.min_replicas = decoder.Fixed8();
  if ((bits & kHasBlockSize) != 0) {
    const uint8_t log2 = decoder.Fixed8();
    if (log2 > 31 || !IsBlockSize(uint32_t{1} << log2)) {
      return Malformed("policy walk", "block size out of range");
    }
    change.block_size_bytes = uint32_t{1} << log2;
  }
  if ((bits & kHasDomain) != 0) change.domain = BoundedString(decoder, kMaxServerLabelBytes, &bad);
  if ((bits & kHasRequire) != 0) change.require = GetLabels(decoder, &bad);
  if ((bits & kHasRetention) != 0) change.trash_retention_s = Varint32(decoder, &bad);
  record.after_name = BoundedString(decoder, kMaxNameBytes, &bad);
  record.next_index = decoder.Varint64();
  record.since_ns = static_cast<int64_t>(decoder.Fixed64());
  RETURN_IF_ERROR(Finish(decoder, "policy walk"));
  const auto in_range = [](const std::optional<uint8_t>& count) {
    return !count || (*count > 0 && *count <= kMaxChainLength);
  };
  if (bad || !in_range(change.replicas) || !in_range(change.min_replicas)) {
    return Malformed("policy walk", "field out of range");
  }
  return record;
}

std::string DiskRecord::Encode() const {
  std::string out = NewRecord(10);
  PutFixed8(&out, static_cast<uint8_t>(state));
  PutFixed64(&out, static_cast<uint64_t>(since_ns));
  return out;
}

Result<DiskRecord> DiskRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "disk"));
  DiskRecord record;
  const uint8_t state = decoder.Fixed8();
  record.since_ns = static_cast<int64_t>(decoder.Fixed64());
  RETURN_IF_ERROR(Finish(decoder, "disk"));
  if (state > static_cast<uint8_t>(DiskCommandState::kEjected)) {
    return Malformed("disk", "unknown state");
  }
  record.state = static_cast<DiskCommandState>(state);
  return record;
}

std::string BalanceRecord::Encode() const {
  std::string out = NewRecord(48);
  PutFixed8(&out, static_cast<uint8_t>(state));
  PutFixed64(&out, static_cast<uint64_t>(started_at_ns));
  PutFixed64(&out, static_cast<uint64_t>(changed_at_ns));
  PutVarint64(&out, threshold_permille);
  PutVarint64(&out, moved_bytes);
  PutVarint64(&out, moved_blocks);
  return out;
}

Result<BalanceRecord> BalanceRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "balance"));
  BalanceRecord record;
  bool bad = false;
  const uint8_t state = decoder.Fixed8();
  record.started_at_ns = static_cast<int64_t>(decoder.Fixed64());
  record.changed_at_ns = static_cast<int64_t>(decoder.Fixed64());
  record.threshold_permille = Varint32(decoder, &bad);
  record.moved_bytes = decoder.Varint64();
  record.moved_blocks = decoder.Varint64();
  RETURN_IF_ERROR(Finish(decoder, "balance"));
  if (bad || state > static_cast<uint8_t>(BalanceState::kStopped)) {
    return Malformed("balance", "field out of range");
  }
  record.state = static_cast<BalanceState>(state);
  return record;
}

std::string LimitsRecord::Encode() const {
  std::string out = NewRecord(24);
  PutVarint64(&out, repair_bytes_per_second);
  PutVarint64(&out, move_bytes_per_second);
  PutVarint64(&out, scrub_period_s);
  PutVarint64(&out, repair_delay_ms);
  return out;
}

Result<LimitsRecord> LimitsRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "limits"));
  LimitsRecord record;
  record.repair_bytes_per_second = decoder.Varint64();
  record.move_bytes_per_second = decoder.Varint64();
  record.scrub_period_s = decoder.Varint64();
  record.repair_delay_ms = decoder.Varint64();
  RETURN_IF_ERROR(Finish(decoder, "limits"));
  return record;
}

bool RestoresRecord::Contains(BlockId block) const {
  return std::ranges::any_of(
      ranges, [&](const Range& range) { return block >= range.first && block < range.end; });
}

std::string RestoresRecord::Encode() const {
  std::string out = NewRecord(2 + 12 * ranges.size());
  PutFixed8(&out, static_cast<uint8_t>(ranges.size()));
  for (const Range& range : ranges) {
    PutVarint64(&out, range.first.value());
    PutVarint64(&out, range.end.value());
  }
  return out;
}

Result<RestoresRecord> RestoresRecord::Decode(std::string_view bytes) {
  Decoder decoder(bytes);
  RETURN_IF_ERROR(CheckVersion(decoder, "restores"));
  RestoresRecord record;
  const size_t count = decoder.Fixed8();
  if (count == 0 || count > kMaxRestores) return Malformed("restores", "ranges out of range");
  for (size_t i = 0; i < count; ++i) {
    Range range;
    range.first = BlockId(decoder.Varint64());
    range.end = BlockId(decoder.Varint64());
    if (range.first >= range.end ||
        (!record.ranges.empty() && range.first < record.ranges.back().end)) {
      return Malformed("restores", "ranges out of order");
    }
    record.ranges.push_back(range);
  }
  RETURN_IF_ERROR(Finish(decoder, "restores"));
  return record;
}

}  // namespace tercet
