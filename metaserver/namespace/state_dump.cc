#include "metaserver/namespace/state_dump.h"

#include <time.h>

#include <cstdio>
#include <optional>
#include <type_traits>

#include "common/base/crc32c.h"
#include "common/base/hex.h"
#include "metaserver/namespace/keys.h"
#include "metaserver/namespace/records.h"

namespace tercet {
namespace {

// The length of the UTF-8 sequence at the start of `bytes` and its code point; 0 when there is
// none.
size_t Utf8Sequence(std::string_view bytes, uint32_t* code_point) {
  const auto lead = static_cast<unsigned char>(bytes[0]);
  const size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (length == 0 || lead > 0xf4 || bytes.size() < length) return 0;
  *code_point = length == 1 ? lead : lead & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if ((byte & 0xc0) != 0x80) return 0;
    *code_point = *code_point << 6 | (byte & 0x3f);
  }
  const bool overlong =
      (length == 3 && *code_point < 0x800) || (length == 4 && *code_point < 0x10000);
  const bool surrogate = *code_point >= 0xd800 && *code_point < 0xe000;
  return overlong || surrogate || *code_point > 0x10ffff ? 0 : length;
}

// Control characters, and what moves text about or ends lines in some viewers.
bool IsHarmless(uint32_t code_point) {
  return code_point >= 0x20 && !(code_point >= 0x7f && code_point < 0xa0) &&
         !(code_point >= 0x200b && code_point <= 0x200f) &&
         !(code_point >= 0x2028 && code_point <= 0x202e) &&
         !(code_point >= 0x2060 && code_point <= 0x206f) && code_point != 0xfeff;
}

std::string Quoted(std::string_view bytes) {
  std::string out = "\"";
  while (!bytes.empty()) {
    uint32_t code_point = 0;
    const size_t length = Utf8Sequence(bytes, &code_point);
    if (length > 0 && (code_point == '"' || code_point == '\\')) {
      out += '\\';
      out += bytes[0];
    } else if (length > 0 && IsHarmless(code_point)) {
      out += bytes.substr(0, length);
    } else {
      switch (bytes[0]) {
        case '\n':
          out += "\\n";
          break;
        case '\t':
          out += "\\t";
          break;
        case '\r':
          out += "\\r";
          break;
        default:
          out += "\\x" + HexOf(bytes.substr(0, 1));
      }
      bytes.remove_prefix(1);
      continue;
    }
    bytes.remove_prefix(length);
  }
  return out + '"';
}

std::string Time(int64_t nanos) {
  constexpr int64_t kPerSecond = 1'000'000'000;
  int64_t seconds = nanos / kPerSecond;
  int64_t rest = nanos % kPerSecond;
  if (rest < 0) {
    rest += kPerSecond;
    --seconds;
  }
  const time_t time = seconds;
  tm parts{};
  gmtime_r(&time, &parts);
  char text[80];
  snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%09lldZ", parts.tm_year + 1900,
           parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
           static_cast<long long>(rest));
  return std::string(text) + '(' + std::to_string(nanos) + ')';
}

// Collects " name=value".
class Fields {
 public:
  Fields& Add(std::string_view name, std::string_view value) {
    text_ += ' ';
    text_ += name;
    text_ += '=';
    text_ += value;
    return *this;
  }
  template <typename T>
  requires std::is_integral_v<T> Fields& Add(std::string_view name, T value) {
    return Add(name, std::string_view(std::to_string(value)));
  }
  template <typename Tag, typename Rep>
  Fields& Add(std::string_view name, StrongId<Tag, Rep> id) {
    return Add(name, id.value());
  }
  template <typename Id>
  Fields& AddList(std::string_view name, const std::vector<Id>& ids) {
    std::string list;
    for (const Id& id : ids) list += (list.empty() ? "" : ",") + std::to_string(id.value());
    return Add(name, std::string_view(list));
  }
  /// A name alone, when it holds.
  Fields& Flag(std::string_view name, bool holds) {
    if (holds) text_ += ' ' + std::string(name);
    return *this;
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string_view TypeName(InodeType type) {
  switch (type) {
    case InodeType::kRegular:
      return "regular";
    case InodeType::kDirectory:
      return "directory";
    case InodeType::kSymlink:
      return "symlink";
    case InodeType::kFifo:
      return "fifo";
    case InodeType::kSocket:
      return "socket";
    case InodeType::kCharacterDevice:
      return "character_device";
    case InodeType::kBlockDevice:
      return "block_device";
  }
  return "unknown";
}

std::string Show(const InodeRecord& record) {
  char mode[16];
  snprintf(mode, sizeof(mode), "%04o", record.mode);
  Fields fields;
  fields.Flag(TypeName(record.type), true)
      .Add("mode", std::string_view(mode))
      .Add("uid", record.uid)
      .Add("gid", record.gid)
      .Add("nlink", record.nlink)
      .Add("size", record.size_bytes)
      .Add("blocks", record.block_count)
      .Add("atime", Time(record.atime_ns))
      .Add("mtime", Time(record.mtime_ns))
      .Add("ctime", Time(record.ctime_ns))
      .Add("block_size", record.block_size_bytes)
      .Add("replicas", record.replicas)
      .Add("min_replicas", record.min_replicas)
      .Add("change", record.change_version)
      .Add("xattrs", record.xattr_count);
  if (record.parent != InodeId()) fields.Add("parent", record.parent);
  if (record.rdev != 0) fields.Add("rdev", record.rdev);
  if (!record.symlink_target.empty()) fields.Add("target", Quoted(record.symlink_target));
  if (!record.name_hint.empty()) fields.Add("name", Quoted(record.name_hint));
  if (record.rule_id != 0) fields.Add("rule", record.rule_id);
  if (record.trash_retention_s != 0) fields.Add("trash_retention_s", record.trash_retention_s);
  if (record.in_trash()) fields.Add("trash_expires", Time(record.trash_expires_ns));
  return fields.Flag("truncation_pending", record.truncation_pending).Take();
}

std::string Show(const DentryRecord& record) {
  return Fields().Add("inode", record.inode).Add("type", TypeName(record.type)).Take();
}

std::string Show(const XattrRecord& record) {
  return Fields().Add("value", Quoted(record.value)).Take();
}

std::string Show(const FileBlockRecord& record) {
  Fields fields;
  fields.Add("block", record.block)
      .Add("generation", record.generation)
      .AddList("chain", record.chain)
      .Flag("reserved", record.reserved);
  if (record.reserved) fields.AddList("reservers", record.reservers);
  if (record.valid_bytes) fields.Add("valid_bytes", *record.valid_bytes);
  if (!record.stale.empty()) fields.AddList("stale", record.stale);
  return fields.Take();
}

std::string Show(const BlockOwnerRecord& record) {
  return Fields().Add("inode", record.inode).Add("index", record.index).Take();
}

std::string Show(const ReplicaRecord& record) {
  return Fields().Add("generation", record.generation).Take();
}

std::string Show(const OrphanRecord& record) {
  return Fields().Add("since", Time(record.since_ns)).Take();
}

std::string Show(const TruncationRecord& record) {
  std::string cuts;
  for (const TruncationRecord::Cut& cut : record.cuts) {
    cuts += (cuts.empty() ? "" : ",") + std::to_string(cut.first_index) + ':' +
            std::to_string(cut.block_limit.value());
  }
  return Fields().Add("next_index", record.next_index).Add("cuts", std::string_view(cuts)).Take();
}

std::string Show(const DeleteTaskRecord& record) {
  return Fields().Add("generation", record.generation).Flag("hold", record.hold).Take();
}

std::string Labels(const std::map<std::string, std::string>& labels) {
  std::string list;
  for (const auto& [key, value] : labels) {
    list += (list.empty() ? "" : ",") + Quoted(key) + ':' + Quoted(value);
  }
  return list;
}

std::string Show(const RepairRecord& record) {
  static constexpr std::string_view kReasons[] = {"short", "bad", "surplus", "misplaced",
                                                  "sealing"};
  static constexpr std::string_view kBad[] = {"unknown", "damaged", "missing", "suspect",
                                              "doubtful"};
  Fields fields;
  for (size_t bit = 0; bit < std::size(kReasons); ++bit) {
    fields.Flag(kReasons[bit], (record.reasons & (1u << bit)) != 0);
  }
  if (record.sealing.value() != 0) fields.Add("generation", record.sealing);
  fields.Add("since", Time(record.since_ns));
  std::string bad;
  for (const RepairRecord::Bad& replica : record.bad) {
    const auto reason = static_cast<size_t>(replica.reason);
    bad += (bad.empty() ? "" : ",") + std::to_string(replica.server.value()) + ':' +
           std::string(kBad[reason < std::size(kBad) ? reason : 0]);
  }
  if (!bad.empty()) fields.Add("replicas", std::string_view(bad));
  if (!record.targets.empty()) fields.AddList("targets", record.targets);
  return fields.Take();
}

std::string Show(const PolicyWalkRecord& record) {
  const PolicyChange& change = record.change;
  Fields fields;
  if (change.replicas) fields.Add("replicas", *change.replicas);
  if (change.min_replicas) fields.Add("min_replicas", *change.min_replicas);
  if (change.block_size_bytes) fields.Add("block_size", *change.block_size_bytes);
  if (change.domain) fields.Add("domain", Quoted(*change.domain));
  if (change.require) fields.Add("require", Labels(*change.require));
  if (change.trash_retention_s) fields.Add("trash_retention_s", *change.trash_retention_s);
  return fields.Add("after", Quoted(record.after_name))
      .Add("next_index", record.next_index)
      .Add("since", Time(record.since_ns))
      .Take();
}

std::string Show(const TrashRecord& record) {
  return Fields()
      .Add("directory", record.directory)
      .Add("name", Quoted(record.name))
      .Add("deleted", Time(record.deleted_at_ns))
      .Take();
}

std::string Show(const PlacementRule& record) {
  return Fields()
      .Add("domain", Quoted(record.domain))
      .Add("require", Labels(record.require))
      .Take();
}

std::string Show(const DiskRecord& record) {
  static constexpr std::string_view kStates[] = {"in_service", "draining", "ejected"};
  return Fields()
      .Add("state", kStates[static_cast<size_t>(record.state)])
      .Add("since", Time(record.since_ns))
      .Take();
}

std::string Show(const BalanceRecord& record) {
  static constexpr std::string_view kStates[] = {"none", "running", "paused", "done", "stopped"};
  return Fields()
      .Add("state", kStates[static_cast<size_t>(record.state)])
      .Add("started", Time(record.started_at_ns))
      .Add("changed", Time(record.changed_at_ns))
      .Add("threshold_permille", record.threshold_permille)
      .Add("moved_bytes", record.moved_bytes)
      .Add("moved_blocks", record.moved_blocks)
      .Take();
}

std::string Show(const LimitsRecord& record) {
  return Fields()
      .Add("repair_bytes_per_second", record.repair_bytes_per_second)
      .Add("move_bytes_per_second", record.move_bytes_per_second)
      .Add("scrub_period_s", record.scrub_period_s)
      .Add("repair_delay_ms", record.repair_delay_ms)
      .Take();
}

std::string Show(const RestoresRecord& record) {
  std::string ranges;
  for (const RestoresRecord::Range& range : record.ranges) {
    ranges += (ranges.empty() ? "" : ",") + std::to_string(range.first.value()) + '-' +
              std::to_string(range.end.value());
  }
  return Fields().Add("lost_blocks", std::string_view(ranges)).Take();
}

std::string Show(const SessionRecord& record) {
  return Fields()
      .Add("uuid", HexOf(record.client_uuid))
      .Add("host", Quoted(record.host_name))
      .Add("mount", Quoted(record.mount_point))
      .Add("version", Quoted(record.client_version))
      .Add("opened", Time(record.opened_at_ns))
      .Flag("closing", record.closing)
      .Take();
}

std::string Show(const SlotReplyRecord& record) {
  char crc[16];
  snprintf(crc, sizeof(crc), "%08x", Crc32c(record.reply));
  return Fields()
      .Add("sequence", record.sequence)
      .Add("reply_bytes", record.reply.size())
      .Add("reply_crc32c", std::string_view(crc))
      .Take();
}

std::string Show(const ServerRecord& record) {
  Fields fields;
  fields.Add("uuid", HexOf(record.uuid))
      .Add("host", Quoted(record.host))
      .Add("port", record.port)
      .Add("incarnation", record.incarnation)
      .Add("registered", Time(record.registered_at_ns))
      .Add("version", Quoted(record.version));
  if (record.state != ServiceState::kInService) {
    static constexpr std::string_view kStates[] = {"in_service", "draining", "maintenance",
                                                   "removed"};
    fields.Add("state", kStates[static_cast<size_t>(record.state)])
        .Add("since", Time(record.state_since_ns));
    if (record.state_until_ns != 0) fields.Add("until", Time(record.state_until_ns));
    if (record.drain_replicas_at_start != 0) {
      fields.Add("drain_replicas_at_start", record.drain_replicas_at_start);
    }
  }
  if (!record.labels.empty()) fields.Add("labels", Labels(record.labels));
  return fields.Take();
}

std::string Show(const NumberRecord& record) { return ' ' + std::to_string(record.value); }

std::string Show(const ClusterIdRecord& record) { return ' ' + HexOf(record.cluster_id); }

std::string Unknown(std::string_view key, std::string_view value, const std::string& why) {
  return "unknown " + HexOf(key) + " = " + HexOf(value) + " (" + why + ')';
}

template <typename Record>
std::string Line(const std::string& head, std::string_view key, std::string_view value) {
  const Result<Record> record = Record::Decode(value);
  if (!record.ok()) return Unknown(key, value, record.status().message());
  std::string line = head + ':' + Show(*record);
  // What a newer version appended, or else encodes differently.
  const std::string known = record->Encode();
  // An older version left out the fields at the end.
  if (known != value && !known.starts_with(value))
    line += value.starts_with(known) ? " more=" + HexOf(value.substr(known.size()))
                                     : " raw=" + HexOf(value);
  return line;
}

std::string_view CounterName(uint64_t counter) {
  switch (static_cast<Counter>(counter)) {
    case Counter::kNextInode:
      return "next_inode";
    case Counter::kNextBlock:
      return "next_block";
    case Counter::kNextSession:
      return "next_session";
    case Counter::kNextServer:
      return "next_server";
    case Counter::kInodeCount:
      return "inodes";
    case Counter::kBlockCount:
      return "blocks";
    case Counter::kOrphanCount:
      return "orphans";
    case Counter::kTrashCount:
      return "trash";
  }
  return "";
}

std::string ClusterLine(uint64_t field, std::string_view key, std::string_view value) {
  switch (static_cast<ClusterField>(field)) {
    case ClusterField::kFormatVersion:
      return Line<NumberRecord>("cluster format_version", key, value);
    case ClusterField::kClusterId:
      return Line<ClusterIdRecord>("cluster id", key, value);
    case ClusterField::kTimeFloor: {
      const Result<NumberRecord> floor = NumberRecord::Decode(value);
      if (!floor.ok()) return Unknown(key, value, floor.status().message());
      return "cluster time_floor: " + Time(static_cast<int64_t>(floor->value));
    }
    case ClusterField::kBalance:
      return Line<BalanceRecord>("cluster balance", key, value);
    case ClusterField::kLimits:
      return Line<LimitsRecord>("cluster limits", key, value);
    case ClusterField::kRestores:
      return Line<RestoresRecord>("cluster restores", key, value);
  }
  return Unknown(key, value, "field of a later version");
}

}  // namespace

std::string DumpStateRow(std::string_view key, std::string_view value) {
  const std::optional<ParsedKey> parsed = ParseKey(key);
  if (!parsed) return Unknown(key, value, "no table has such a key");
  const std::string first = std::to_string(parsed->first);
  const std::string both = first + '/' + std::to_string(parsed->second);
  switch (parsed->table) {
    case TableId::kDatabase:
      break;
    case TableId::kCluster:
      return ClusterLine(parsed->first, key, value);
    case TableId::kCounter: {
      const std::string_view name = CounterName(parsed->first);
      if (name.empty()) return Unknown(key, value, "counter of a later version");
      return Line<NumberRecord>("counter " + std::string(name), key, value);
    }
    case TableId::kInode:
      return Line<InodeRecord>("inode " + first, key, value);
    case TableId::kDentry:
      return Line<DentryRecord>("dentry " + first + ' ' + Quoted(parsed->name), key, value);
    case TableId::kXattr:
      return Line<XattrRecord>("xattr " + first + ' ' + Quoted(parsed->name), key, value);
    case TableId::kFileBlock:
      return Line<FileBlockRecord>("file_block " + both, key, value);
    case TableId::kBlockOwner:
      return Line<BlockOwnerRecord>("block_owner " + first, key, value);
    case TableId::kReplica:
      return Line<ReplicaRecord>("replica " + both, key, value);
    case TableId::kOrphan:
      return Line<OrphanRecord>("orphan " + first, key, value);
    case TableId::kTruncation:
      return Line<TruncationRecord>("truncation " + first, key, value);
    case TableId::kDeleteTask:
      return Line<DeleteTaskRecord>("delete_task " + both, key, value);
    case TableId::kRepair:
      return Line<RepairRecord>("repair " + first, key, value);
    case TableId::kPolicyWalk:
      return Line<PolicyWalkRecord>("policy_walk " + first, key, value);
    case TableId::kTrash:
      return Line<TrashRecord>("trash " + both, key, value);
    case TableId::kDisk:
      return Line<DiskRecord>("disk " + first + ' ' + HexOf(parsed->name), key, value);
    case TableId::kPlacementRule:
      return Line<PlacementRule>("placement_rule " + first, key, value);
    case TableId::kSession:
      return Line<SessionRecord>("session " + first, key, value);
    case TableId::kSessionByUuid:
      return Line<NumberRecord>("session_by_uuid " + HexOf(parsed->name), key, value);
    case TableId::kSlotReply:
      return Line<SlotReplyRecord>("slot_reply " + both, key, value);
    case TableId::kServer:
      return Line<ServerRecord>("server " + first, key, value);
    case TableId::kServerByUuid:
      return Line<NumberRecord>("server_by_uuid " + HexOf(parsed->name), key, value);
  }
  return Unknown(key, value, "no table has such a key");
}

}  // namespace tercet
