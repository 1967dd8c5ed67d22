#include "metaserver/service/data_folder.h"

#include <algorithm>

#include "common/base/hex.h"
#include "common/log/log.h"
#include "metaserver/journal/rebuild_advice.h"
#include "metaserver/namespace/state_builder.h"
#include "metaserver/namespace/state_store.h"
#include "metaserver/service/state_fetcher.h"

namespace tercet {

namespace {

/// What was fetched up to now; kEmpty without a folder.
Result<StateFolderKind> NextStateKind(const DataFolder& folder, Disk& disk) {
  ASSIGN_OR_RETURN(const bool exists, disk.Exists(folder.next_state()));
  if (!exists) return StateFolderKind::kEmpty;
  return ReadStateFolderKind(disk, folder.next_state());
}

/// The journal holds the record of the state's base, or all behind it.
bool ReachesBase(const Journal& journal, const StateBase& base) {
  const JournalRange range = journal.range();
  if (base.index.Next() < range.first || base.index > range.last) return false;
  const auto epoch = journal.EpochAt(base.index);
  return epoch.ok() && *epoch == base.epoch;
}

/// Step 2.
Status MoveJournalTo(const StateBase& base, const DataFolder& folder, Disk& disk, Journal& journal,
                     MemberState* state) {
  if (ReachesBase(journal, base)) return Status::Ok();
  // All up to the base is committed, so its membership may be acted upon before the journal is
  // there.
  MemberState moved = *state;
  moved.base_membership = base.membership;
  moved.base_membership_index = base.membership_index;
  RETURN_IF_ERROR(SaveMemberState(disk, folder.member_state(), moved));
  *state = std::move(moved);
  LOG_INFO("the journal begins anew behind the fetched state index={} epoch={}", base.index,
           base.epoch);
  return journal.ResetTo(base.index, base.epoch);
}

}  // namespace

Status PrepareDataFolder(Disk& disk, const DataFolder& folder) {
  RETURN_IF_ERROR(disk.MakeDirectories(folder.path()).WithContext("data_dir"));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, disk.List(folder.path()));
  const bool ours = std::any_of(names.begin(), names.end(),
                                [](const std::string& name) { return name == "journal"; });
  const bool empty = std::all_of(names.begin(), names.end(),
                                 [](const std::string& name) { return name == "lost+found"; });
  if (ours || empty) return Status::Ok();
  return Status(StatusCode::kFailedPrecondition,
                "data_dir " + folder.path() +
                    " is not empty and has no metaserver's journal in it; name " +
                    "an empty folder or the one that this metaserver used before");
}

Result<std::unique_ptr<Journal>> OpenJournal(const MetaserverConfig& config, Disk& disk,
                                             Random& random) {
  JournalOptions options;
  options.folder = DataFolder(config.data_dir).journal();
  ASSIGN_OR_RETURN(options.identity.cluster_id, BytesFromHex(config.cluster_id));
  options.segment_bytes = config.journal_segment_bytes;
  options.max_payload_bytes = std::min(options.max_payload_bytes, config.journal_segment_bytes / 2);
  return Journal::Open(disk, random, options);
}

DatabaseOptions StateOptions(const MetaserverConfig& config, Disk& disk, const std::string& path) {
  DatabaseOptions options;
  options.path = path;
  options.disk = &disk;
  options.block_cache_bytes = config.block_cache_bytes;
  options.write_buffer_bytes = config.write_buffer_bytes;
  options.max_open_files = config.max_open_files;
  return options;
}

Result<MemberState> FormGroup(const DataFolder& folder, const std::string& address,
                              const Journal& journal, Disk& disk, Random& random) {
  const JournalRange range = journal.range();
  if (range.last.value() != 0 && !journal.older_than_groups()) {
    return Status(StatusCode::kCorruption, folder.member_state() +
                                               " is missing, although the journal holds records. " +
                                               std::string(kRebuildAdvice));
  }
  MemberState state;
  while (state.group_id == 0) state.group_id = random.Next();
  state.self = MemberId(1);
  state.kind = MemberKind::kMetaserver;
  state.epoch = range.last_epoch;
  state.base_membership.members.push_back({state.self, state.kind, /*voter=*/true, address});
  state.base_membership.next_id = MemberId(2);
  RETURN_IF_ERROR(SaveMemberState(disk, folder.member_state(), state));
  LOG_INFO("made a metadata group of one member={} address={}", state.self, address);
  return state;
}

Result<bool> InstallFetchedState(const MetaserverConfig& config, const DataFolder& folder,
                                 Disk& disk, Journal& journal, MemberState* state) {
  ASSIGN_OR_RETURN(const StateFolderKind kind, NextStateKind(folder, disk));
  if (kind != StateFolderKind::kState) {
    // Left by a crash between steps 3 and 4, or 4 itself.
    ASSIGN_OR_RETURN(const bool installed, disk.Exists(folder.state()));
    if (installed) RETURN_IF_ERROR(RemoveFlatFolder(disk, folder.old_state()));
    return false;
  }
  StateBase base;
  {
    ASSIGN_OR_RETURN(const auto builder,
                     StateBuilder::Open(StateOptions(config, disk, folder.next_state())));
    base = builder->base();
  }
  if (base.cluster_id != journal.identity().cluster_id || base.group_id != state->group_id ||
      base.index.Next() < journal.range().first) {
    LOG_WARN("a fetched state cannot be used and is removed base={} journal_first={}", base.index,
             journal.range().first);
    RETURN_IF_ERROR(RemoveFlatFolder(disk, folder.next_state()));
    return false;
  }
  RETURN_IF_ERROR(MoveJournalTo(base, folder, disk, journal, state));
  ASSIGN_OR_RETURN(const bool had_state, disk.Exists(folder.state()));
  if (had_state) {
    RETURN_IF_ERROR(RemoveFlatFolder(disk, folder.old_state()));
    RETURN_IF_ERROR(disk.Rename(folder.state(), folder.old_state()));
  }
  RETURN_IF_ERROR(disk.Rename(folder.next_state(), folder.state()));
  RETURN_IF_ERROR(disk.SyncDirectory(folder.path()));
  RETURN_IF_ERROR(RemoveFlatFolder(disk, folder.old_state()));
  LOG_INFO("installed the fetched state base={} consistent_from={}", base.index,
           base.consistent_from);
  return true;
}

Result<bool> FetchIsBegun(const DataFolder& folder, Disk& disk) {
  ASSIGN_OR_RETURN(const StateFolderKind kind, NextStateKind(folder, disk));
  return kind == StateFolderKind::kFetched;
}

Status BeginFetch(const MetaserverConfig& config, const DataFolder& folder, Disk& disk) {
  return StateBuilder::Open(StateOptions(config, disk, folder.next_state())).status();
}

bool JournalReaches(const Journal& journal, const Database& database) {
  return database.applied_index().Next() >= journal.range().first;
}

}  // namespace tercet
