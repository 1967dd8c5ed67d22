// A restore, step by step; in brackets what a crash between a step and the next leaves:
//  1. the backup is read and verified; data_dir is looked at [nothing]
//  2. its rows go to data_dir/state, as a state that is being fetched [a folder that the metaserver
//     refuses: it has no journal]
//  3. the state is finished [as before]
//  4. data_dir/journal.unfinished gets a journal that begins behind the backup's record, the
//     identity and the member state [as before]
//  5. it gets its name, durably [as before, or the restored data folder]
#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <unordered_set>
#include <utility>

#include "metaserver/journal/journal.h"
#include "metaserver/journal/member_state.h"
#include "metaserver/namespace/backup.h"
#include "metaserver/namespace/keys.h"
#include "metaserver/namespace/records.h"
#include "metaserver/namespace/state_builder.h"

namespace tercet {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr int64_t kStartOf2026 = 1'767'225'600;  // seconds since 1970
constexpr size_t kPutBytes = 1 << 20;

int64_t WallSeconds(const Clock& clock) { return clock.WallNanos() / kNanosPerSecond; }

/// Rows at the beginning of the backup from which others are made.
struct FirstRows {
  std::map<std::string, uint64_t> counters;  // by key
  RestoresRecord restores;                   // no ranges: none
};

Result<FirstRows> ReadFirstRows(Disk& disk, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BackupReader> backup, BackupReader::Open(disk, path));
  const std::string end = TableRange(TableId::kCounter).to;
  FirstRows first;
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(const std::string_view some, backup->Next());
    more = !some.empty();
    RETURN_IF_ERROR(VisitStateRows(some, [&](std::string_view key, std::string_view value) {
      const std::optional<ParsedKey> parsed = ParseKey(key);
      if (key >= end) more = false;
      if (parsed && parsed->table == TableId::kCounter) {
        ASSIGN_OR_RETURN(const NumberRecord record, NumberRecord::Decode(value));
        first.counters[std::string(key)] = record.value;
      } else if (key == ClusterKey(ClusterField::kRestores)) {
        ASSIGN_OR_RETURN(first.restores, RestoresRecord::Decode(value));
      }
      return Status::Ok();
    }));
  }
  return first;
}

/// Remembers that blocks of these ids were given out, perhaps, after the backup.
void AddRange(RestoresRecord* record, RestoresRecord::Range range) {
  record->ranges.push_back(range);
  if (record->ranges.size() <= kMaxRestores) return;
  // Two become one: what lies between them is taken for unknown too.
  record->ranges[1].first = record->ranges[0].first;
  record->ranges.erase(record->ranges.begin());
}

/// What the restored state has in place of the backup's rows with these keys, or without any.
Result<std::map<std::string, std::string>> MakeReplacements(FirstRows first, uint64_t id_headroom) {
  std::map<std::string, std::string> rows;
  for (const Counter counter :
       {Counter::kNextInode, Counter::kNextBlock, Counter::kNextSession, Counter::kNextServer}) {
    const bool is_server = counter == Counter::kNextServer;
    const uint64_t limit = is_server ? std::numeric_limits<uint32_t>::max()
                                     : static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    const uint64_t headroom = is_server ? kServerIdHeadroom : id_headroom;
    const uint64_t old = std::max<uint64_t>(first.counters[CounterKey(counter)], 1);
    if (old > limit - headroom) {
      return Status(StatusCode::kFailedPrecondition,
                    "the state was restored so often that its ids are used up");
    }
    rows[CounterKey(counter)] = NumberRecord{old + headroom}.Encode();
    if (counter == Counter::kNextBlock) {
      AddRange(&first.restores, {BlockId(old), BlockId(old + headroom)});
    }
  }
  rows[ClusterKey(ClusterField::kRestores)] = first.restores.Encode();
  return rows;
}

/// What the restored state holds of the backup's rows.
class RestoredRows {
 public:
  RestoredRows(std::string cluster_id, std::map<std::string, std::string> replacements,
               int64_t trash_delay_ns)
      : cluster_id_(std::move(cluster_id)),
        replacements_(std::move(replacements)),
        trash_delay_ns_(trash_delay_ns),
        next_(replacements_.begin()) {}

  /// Calls `out` for the row and what goes before it, or leaves it out.
  Status Take(std::string_view key, std::string_view value, const StateRowFunction& out) {
    const bool replaced = replacements_.contains(std::string(key));
    for (; next_ != replacements_.end() && next_->first <= key; ++next_) {
      RETURN_IF_ERROR(out(next_->first, next_->second));
    }
    if (replaced) return Status::Ok();
    if (key == ClusterKey(ClusterField::kClusterId)) {
      ASSIGN_OR_RETURN(const ClusterIdRecord record, ClusterIdRecord::Decode(value));
      cluster_id_seen_ = record.cluster_id == cluster_id_;
    }
    const std::optional<ParsedKey> parsed = ParseKey(key);
    if (!parsed) return out(key, value);  // of a table that came later: as it is
    ASSIGN_OR_RETURN(const std::optional<StateRow> row, Change(*parsed, key, value));
    if (row) return out(row->key, row->value);
    ++left_out_;
    return Status::Ok();
  }

  Status Finish(const StateRowFunction& out) {
    for (; next_ != replacements_.end(); ++next_) {
      RETURN_IF_ERROR(out(next_->first, next_->second));
    }
    if (cluster_id_seen_) return Status::Ok();
    return Status(StatusCode::kCorruption,
                  "the backup's rows are not of the cluster that its header names");
  }

  uint64_t left_out() const { return left_out_; }

 private:
  struct StateRow {
    std::string key;
    std::string value;
  };

  // The row as it is in the restored state, or nothing.
  Result<std::optional<StateRow>> Change(const ParsedKey& parsed, std::string_view key,
                                         std::string_view value) {
    std::optional<StateRow> row(StateRow{std::string(key), std::string(value)});
    switch (parsed.table) {
      case TableId::kSession:
      case TableId::kSessionByUuid:
      case TableId::kSlotReply:
      case TableId::kDeleteTask:
        row.reset();
        break;
      case TableId::kFileBlock: {
        // Whoever it was reserved for may have written and committed it since: it must not be
        // replaced, for then the chunk servers would be told to delete it.
        ASSIGN_OR_RETURN(FileBlockRecord record, FileBlockRecord::Decode(value));
        if (record.reserved) {
          reserved_.insert(record.block.value());
          row.reset();
        } else if (!record.stale.empty()) {
          // Their delete tasks are gone, and they may be in the chain again since.
          record.stale.clear();
          row->value = record.Encode();
        }
        break;
      }
      case TableId::kBlockOwner:  // all file blocks come before them
        if (reserved_.contains(parsed.first)) row.reset();
        break;
      case TableId::kRepair: {
        if (reserved_.contains(parsed.first)) {
          row.reset();
          break;
        }
        // Targets may have become members with the very generation that was being sealed.
        ASSIGN_OR_RETURN(RepairRecord record, RepairRecord::Decode(value));
        if (!record.targets.empty()) {
          record.targets.clear();
          row->value = record.Encode();
        }
        break;
      }
      case TableId::kInode: {
        ASSIGN_OR_RETURN(InodeRecord record, InodeRecord::Decode(value));
        if (record.in_trash()) {
          record.trash_expires_ns += trash_delay_ns_;
          row->value = record.Encode();
        }
        break;
      }
      case TableId::kTrash:
        // All by the same, so the order stays.
        row->key =
            TrashKey(static_cast<int64_t>(parsed.first) + trash_delay_ns_, InodeId(parsed.second));
        break;
      default:
        break;
    }
    return row;
  }

  const std::string cluster_id_;
  const std::map<std::string, std::string> replacements_;
  const int64_t trash_delay_ns_;
  std::map<std::string, std::string>::const_iterator next_;  // not put in yet
  bool cluster_id_seen_ = false;
  uint64_t left_out_ = 0;
  std::unordered_set<uint64_t> reserved_;  // blocks whose rows were left out
};

Status CheckEmpty(Disk& disk, const std::string& data_dir) {
  RETURN_IF_ERROR(disk.MakeDirectories(data_dir).WithContext("data_dir"));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, disk.List(data_dir));
  for (const std::string& name : names) {
    if (name == "lost+found") continue;
    return Status(StatusCode::kNotEmpty, data_dir + " is not empty (" + name +
                                             "); a backup is restored into an empty folder only");
  }
  return Status::Ok();
}

Status BuildState(BackupReader& backup, StateBuilder& builder, RestoredRows& rows) {
  std::string pending;
  std::string last_key;
  const StateRowFunction collect = [&](std::string_view key, std::string_view value) {
    AppendStateRow(&pending, key, value);
    last_key = key;
    return Status::Ok();
  };
  const auto put = [&]() -> Status {
    if (pending.empty()) return Status::Ok();
    RETURN_IF_ERROR(builder.Put(pending, last_key));
    pending.clear();
    return Status::Ok();
  };
  while (true) {
    ASSIGN_OR_RETURN(const std::string_view some, backup.Next());
    if (some.empty()) break;
    RETURN_IF_ERROR(VisitStateRows(some, [&](std::string_view key, std::string_view value) {
      return rows.Take(key, value, collect);
    }));
    if (pending.size() >= kPutBytes) RETURN_IF_ERROR(put());
  }
  RETURN_IF_ERROR(rows.Finish(collect));
  return put();
}

Status MakeJournal(Disk& disk, Random& random, const RestoreOptions& options,
                   const BackupHeader& backup, const MemberState& member) {
  const std::string unfinished = options.data_dir + "/journal.unfinished";
  JournalOptions journal_options;
  journal_options.folder = unfinished;
  journal_options.identity.cluster_id = backup.cluster_id;
  journal_options.segment_bytes = options.journal_segment_bytes;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Journal> journal,
                     Journal::Open(disk, random, journal_options));
    RETURN_IF_ERROR(journal->ResetTo(backup.index, backup.epoch));
  }
  RETURN_IF_ERROR(SaveMemberState(disk, unfinished + "/member", member));
  RETURN_IF_ERROR(disk.Rename(unfinished, options.data_dir + "/journal"));
  return disk.SyncDirectory(options.data_dir);
}

MemberState NewMember(const Clock& clock, Random& random, const RestoreOptions& options,
                      const BackupHeader& backup) {
  MemberState member;
  do {
    member.group_id = random.Next();
  } while (member.group_id == 0 || member.group_id == backup.group_id);
  member.self = MemberId(1);
  // The seconds since 1970, so that a second restore of the same backup is above the first one's
  // epochs too.
  member.epoch = Epoch(std::max(backup.epoch.value() + kEpochHeadroom,
                                static_cast<uint64_t>(std::max<int64_t>(0, WallSeconds(clock)))));
  member.base_membership.members = {
      {MemberId(1), MemberKind::kMetaserver, /*voter=*/true, options.address}};
  member.base_membership.next_id = MemberId(2);
  member.base_membership_index = backup.index;
  return member;
}

}  // namespace

Result<RestoreResult> RestoreToFolder(Disk& disk, const Clock& clock, Random& random,
                                      const std::string& backup_path,
                                      const RestoreOptions& options) {
  RestoreResult result;
  ASSIGN_OR_RETURN(result.backup, VerifyBackup(disk, backup_path));
  const BackupHeader& backup = result.backup.header;
  RETURN_IF_ERROR(CheckEmpty(disk, options.data_dir));
  const MemberState member = NewMember(clock, random, options, backup);
  RETURN_IF_ERROR(member.base_membership.Validate());

  DatabaseOptions state_options;
  state_options.path = options.data_dir + "/state";
  state_options.disk = &disk;
  ASSIGN_OR_RETURN(const std::unique_ptr<StateBuilder> builder, StateBuilder::Open(state_options));
  StateBase base;
  base.cluster_id = backup.cluster_id;
  base.group_id = member.group_id;
  base.index = backup.index;
  base.epoch = backup.epoch;
  base.membership = member.base_membership;
  base.membership_index = member.base_membership_index;
  RETURN_IF_ERROR(builder->Begin(base));
  const auto seconds =
      static_cast<uint64_t>(std::max<int64_t>(0, WallSeconds(clock) - kStartOf2026));
  ASSIGN_OR_RETURN(FirstRows first, ReadFirstRows(disk, backup_path));
  ASSIGN_OR_RETURN(auto replacements,
                   MakeReplacements(std::move(first), kIdHeadroom + kIdsPerSecond * seconds));
  // Who restores a file from the trash after the backup is to have time to do it again.
  const int64_t trash_delay_ns = std::max<int64_t>(0, clock.WallNanos() - backup.created_at_ns);
  RestoredRows rows(backup.cluster_id, std::move(replacements), trash_delay_ns);
  ASSIGN_OR_RETURN(const std::unique_ptr<BackupReader> reader,
                   BackupReader::Open(disk, backup_path));
  RETURN_IF_ERROR(BuildState(*reader, *builder, rows));
  result.rows_restored = builder->row_count();
  result.rows_left_out = rows.left_out();
  RETURN_IF_ERROR(builder->Finish());

  RETURN_IF_ERROR(MakeJournal(disk, random, options, backup, member));
  result.group_id = member.group_id;
  result.epoch = member.epoch;
  return result;
}

}  // namespace tercet
