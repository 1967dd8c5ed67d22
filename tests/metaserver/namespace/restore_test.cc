// A data folder made out of a backup.
#include <algorithm>
#include <set>

#include "common/env/clock.h"
#include "metaserver/journal/journal.h"
#include "metaserver/journal/member_state.h"
#include "metaserver/namespace/backup.h"
#include "metaserver/namespace/database.h"
#include "tests/metaserver/namespace/backup_test_util.h"

namespace tercet {
namespace {

constexpr char kDataDir[] = "/data";
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kStartOf2026 = 1'767'225'600;

RestoreOptions SomeOptions(const std::string& data_dir = kDataDir) {
  RestoreOptions options;
  options.data_dir = data_dir;
  options.address = "meta:7100";
  options.journal_segment_bytes = Journal::kMinSegmentBytes;
  return options;
}

class RestoreTest : public testing::Test {
 protected:
  Result<RestoreResult> Restore(const std::string& data_dir = kDataDir) {
    return RestoreToFolder(disk_, clock_, random_, kBackupPath, SomeOptions(data_dir));
  }
  std::unique_ptr<Database> OpenState(const std::string& data_dir = kDataDir) {
    DatabaseOptions options;
    options.path = data_dir + "/state";
    options.disk = &disk_;
    Result<std::unique_ptr<Database>> database = Database::Open(options);
    EXPECT_TRUE(database.ok()) << database.status().ToString();
    return database.ok() ? std::move(database).value() : nullptr;
  }
  std::unique_ptr<Journal> OpenJournal(const std::string& data_dir = kDataDir) {
    JournalOptions options;
    options.folder = data_dir + "/journal";
    options.segment_bytes = Journal::kMinSegmentBytes;
    Result<std::unique_ptr<Journal>> journal = Journal::Open(disk_, random_, options);
    EXPECT_TRUE(journal.ok()) << journal.status().ToString();
    return journal.ok() ? std::move(journal).value() : nullptr;
  }
  MemberState SavedMember(const std::string& data_dir = kDataDir) {
    Result<MemberState> state = LoadMemberState(disk_, data_dir + "/journal/member");
    EXPECT_TRUE(state.ok()) << state.status().ToString();
    return state.ok() ? *state : MemberState();
  }

  SimDisk disk_;
  SeededRandom random_{1};
  SimClock clock_{(kStartOf2026 + 1000) * kSecond};
};

TEST_F(RestoreTest, MakesANewGroupOfOneBehindTheBackupsRecord) {
  ASSERT_TRUE(MakeBackup(disk_, SomeState(2000)).ok());
  const Result<RestoreResult> result = Restore();
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  disk_.Crash(random_);

  const MemberState member = SavedMember();
  EXPECT_EQ(member.group_id, result->group_id);
  EXPECT_NE(member.group_id, SomeBackupHeader().group_id);
  EXPECT_EQ(member.self, MemberId(1));
  EXPECT_EQ(member.epoch, result->epoch);
  EXPECT_GE(member.epoch, Epoch(4 + kEpochHeadroom));
  ASSERT_EQ(member.base_membership.members.size(), 1u);
  EXPECT_EQ(member.base_membership.members[0],
            (Member{MemberId(1), MemberKind::kMetaserver, true, "meta:7100"}));
  EXPECT_EQ(member.base_membership_index, JournalIndex(258));

  auto journal = OpenJournal();
  EXPECT_EQ(journal->identity().cluster_id, kClusterId);
  EXPECT_EQ(journal->range().first, JournalIndex(259));
  EXPECT_EQ(journal->range().last_epoch, Epoch(4));
  EXPECT_TRUE(journal->Append(member.epoch.Next(), "goes on").ok());

  auto database = OpenState();
  EXPECT_EQ(database->applied_index(), JournalIndex(258));
  EXPECT_EQ(database->applied_epoch(), Epoch(4));
  EXPECT_LE(database->consistent_from(), database->applied_index());
}

TEST_F(RestoreTest, TheFilesAreThereButNoSessionsDeletionsOrReservations) {
  const MapView before = SomeState(2000);
  ASSERT_TRUE(MakeBackup(disk_, before).ok());
  const Result<RestoreResult> result = Restore();
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  auto database = OpenState();
  const View& after = database->committed();
  const Tables tables(after);

  const std::set<TableId> gone{TableId::kSession, TableId::kSessionByUuid, TableId::kSlotReply,
                               TableId::kDeleteTask};
  uint64_t kept = 0;
  uint64_t left_out = 0;
  for (const auto& [key, value] : before.rows) {
    const ParsedKey parsed = *ParseKey(key);
    const bool reserved = key == FileBlockKey(InodeId(2), 1) || key == BlockOwnerKey(BlockId(8));
    const std::optional<std::string> found = after.Get(key).value();
    if (gone.contains(parsed.table) || reserved) {
      ++left_out;
      EXPECT_FALSE(found.has_value()) << static_cast<int>(parsed.table);
    } else {
      ++kept;
      ASSERT_TRUE(found.has_value()) << static_cast<int>(parsed.table);
      if (parsed.table != TableId::kCounter) {
        EXPECT_EQ(*found, value);
      }
    }
  }
  EXPECT_EQ(result->rows_left_out, left_out);
  // The counter of sessions had no row, nor had what the restore remembers.
  EXPECT_EQ(result->rows_restored, kept + 2);
  EXPECT_EQ(tables.GetCounter(Counter::kInodeCount).value(), 3u);
}

TEST_F(RestoreTest, IdsAreNeverGivenOutAgain) {
  ASSERT_TRUE(MakeBackup(disk_, SomeState()).ok());
  ASSERT_TRUE(Restore().ok());
  const uint64_t headroom = kIdHeadroom + 1000 * kIdsPerSecond;
  {
    auto database = OpenState();
    const Tables tables(database->committed());
    EXPECT_EQ(tables.GetCounter(Counter::kNextInode).value(), 1000 + headroom);
    EXPECT_EQ(tables.GetCounter(Counter::kNextBlock).value(), 50 + headroom);
    EXPECT_EQ(tables.GetCounter(Counter::kNextSession).value(), 1 + headroom);
    EXPECT_EQ(tables.GetCounter(Counter::kNextServer).value(), 4 + kServerIdHeadroom);
  }
  // A second restore of the same backup: another group, above what the first one gave out since.
  clock_.Advance(std::chrono::seconds(60));
  ASSERT_TRUE(Restore("/data2").ok());
  auto database = OpenState("/data2");
  const Tables tables(database->committed());
  EXPECT_GE(tables.GetCounter(Counter::kNextBlock).value(), 50 + headroom + 60 * kIdsPerSecond);
  EXPECT_GT(SavedMember("/data2").epoch, SavedMember().epoch);
  EXPECT_NE(SavedMember("/data2").group_id, SavedMember().group_id);
  EXPECT_NE(OpenJournal("/data2")->identity().server_uuid, OpenJournal()->identity().server_uuid);
}

TEST_F(RestoreTest, BlocksGivenOutAfterTheBackupAreKnownToBe) {
  MapView state = SomeState();
  ASSERT_TRUE(MakeBackup(disk_, state).ok());
  ASSERT_TRUE(Restore().ok());
  const uint64_t headroom = kIdHeadroom + 1000 * kIdsPerSecond;
  {
    auto database = OpenState();
    const auto restores = Tables(database->committed()).FindRestores().value();
    ASSERT_TRUE(restores.has_value());
    EXPECT_FALSE(restores->Contains(BlockId(49))) << "known to the backup";
    EXPECT_TRUE(restores->Contains(BlockId(50)));
    EXPECT_TRUE(restores->Contains(BlockId(50 + headroom - 1)));
    EXPECT_FALSE(restores->Contains(BlockId(50 + headroom))) << "given out by the restored group";
  }
  // A backup of the restored state, restored again: both times are remembered.
  Transaction transaction(state);
  MutableTables tables(transaction);
  tables.PutRestores({{{BlockId(50), BlockId(1000)}}});
  tables.PutCounter(Counter::kNextBlock, 2000);
  state.Apply(transaction.Take());
  ASSERT_TRUE(disk_.Remove(kBackupPath).ok());
  ASSERT_TRUE(MakeBackup(disk_, state).ok());
  ASSERT_TRUE(Restore("/data2").ok());
  auto database = OpenState("/data2");
  const auto restores = Tables(database->committed()).FindRestores().value();
  ASSERT_EQ(restores->ranges.size(), 2u);
  EXPECT_TRUE(restores->Contains(BlockId(50)));
  EXPECT_FALSE(restores->Contains(BlockId(1500)));
  EXPECT_TRUE(restores->Contains(BlockId(2000)));
}

TEST_F(RestoreTest, ManyRestoresAreRememberedInABoundedRow) {
  MapView state = SomeState();
  Transaction transaction(state);
  RestoresRecord many;
  for (uint64_t i = 0; i < kMaxRestores; ++i) {
    many.ranges.push_back({BlockId(100 + 10 * i), BlockId(105 + 10 * i)});
  }
  MutableTables tables(transaction);
  tables.PutRestores(many);
  tables.PutCounter(Counter::kNextBlock, 5000);
  state.Apply(transaction.Take());
  ASSERT_TRUE(MakeBackup(disk_, state).ok());
  ASSERT_TRUE(Restore().ok());
  auto database = OpenState();
  const auto restores = Tables(database->committed()).FindRestores().value();
  EXPECT_EQ(restores->ranges.size(), kMaxRestores);
  EXPECT_TRUE(restores->Contains(BlockId(100)));
  EXPECT_TRUE(restores->Contains(BlockId(107))) << "between two that became one";
  EXPECT_TRUE(restores->Contains(BlockId(5000)));
}

TEST_F(RestoreTest, NothingPointsAtReplicasThatMayBeNewer) {
  MapView state = SomeState();
  Transaction transaction(state);
  MutableTables tables(transaction);
  FileBlockRecord block = **tables.FindFileBlock(InodeId(2), 0);
  block.chain = {ServerId(1), ServerId(2)};
  block.stale = {ServerId(3)};
  tables.PutFileBlock(InodeId(2), 0, block);
  RepairRecord repair;
  repair.reasons = kRepairSealing;
  repair.sealing = Generation(2);
  repair.targets = {ServerId(4)};
  tables.PutRepair(BlockId(7), repair);
  tables.PutRepair(BlockId(8), repair);  // of the reserved block
  state.Apply(transaction.Take());
  ASSERT_TRUE(MakeBackup(disk_, state).ok());
  ASSERT_TRUE(Restore().ok());
  auto database = OpenState();
  const Tables restored(database->committed());
  EXPECT_TRUE((*restored.FindFileBlock(InodeId(2), 0))->stale.empty());
  const auto kept = *restored.FindRepair(BlockId(7));
  ASSERT_TRUE(kept.has_value());
  EXPECT_EQ(kept->sealing, Generation(2));
  EXPECT_TRUE(kept->targets.empty());
  EXPECT_FALSE(restored.FindRepair(BlockId(8))->has_value());
}

TEST_F(RestoreTest, TheTrashIsKeptForAsLongAsWasLeft) {
  MapView state = SomeState();
  Transaction transaction(state);
  MutableTables tables(transaction);
  const int64_t backup_at = SomeBackupHeader().created_at_ns;
  const int64_t expiries[] = {backup_at - 5, backup_at + 10 * kSecond, backup_at + 5000 * kSecond};
  for (uint64_t i = 0; i < 3; ++i) {
    InodeRecord file;
    file.nlink = 0;
    file.trash_expires_ns = expiries[i];
    tables.PutInode(InodeId(50 + i), file);
    tables.PutTrash(expiries[i], InodeId(50 + i), {kRootInode, "gone", backup_at});
  }
  state.Apply(transaction.Take());
  ASSERT_TRUE(MakeBackup(disk_, state).ok());
  ASSERT_TRUE(Restore().ok());
  auto database = OpenState();
  const Tables restored(database->committed());
  size_t rows = 0;
  EXPECT_TRUE(restored
                  .ScanTrash(0, InodeId(),
                             [&](int64_t expires_ns, InodeId inode, const TrashRecord&) {
                               EXPECT_EQ(inode, InodeId(50 + rows));
                               EXPECT_EQ(expires_ns, expiries[rows] + 1000 * kSecond);
                               EXPECT_EQ(restored.GetInode(inode)->trash_expires_ns, expires_ns);
                               ++rows;
                               return true;
                             })
                  .ok());
  EXPECT_EQ(rows, 3u);
}

TEST_F(RestoreTest, EpochsAreAboveTheBackupsOnAMachineWithAWrongClock) {
  SimClock wrong(-5 * kSecond);
  ASSERT_TRUE(MakeBackup(disk_, SomeState()).ok());
  const Result<RestoreResult> result =
      RestoreToFolder(disk_, wrong, random_, kBackupPath, SomeOptions());
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->epoch, Epoch(4 + kEpochHeadroom));
}

TEST_F(RestoreTest, OnlyAnEmptyFolderIsFilled) {
  ASSERT_TRUE(MakeBackup(disk_, SomeState()).ok());
  ASSERT_TRUE(disk_.MakeDirectories("/data/lost+found").ok());
  ASSERT_TRUE(Restore().ok());
  const Status again = Restore().status();
  EXPECT_EQ(again.code(), StatusCode::kNotEmpty);
  EXPECT_NE(again.message().find(kDataDir), std::string::npos);
  ASSERT_TRUE(WriteFileAtomically(disk_, "/other/notes", "mine").code() != StatusCode::kOk);
  ASSERT_TRUE(disk_.MakeDirectories("/other").ok());
  ASSERT_TRUE(WriteFileAtomically(disk_, "/other/notes", "mine").ok());
  EXPECT_EQ(Restore("/other").code(), StatusCode::kNotEmpty);
  EXPECT_EQ(disk_.List("/other").value(), std::vector<std::string>{"notes"});
}

TEST_F(RestoreTest, ADamagedBackupTouchesNothing) {
  ASSERT_TRUE(MakeBackup(disk_, SomeState(2000)).ok());
  const uint64_t size = ReadWholeFile(disk_, kBackupPath, 100 << 20).value().size();
  for (uint64_t at = 3; at < size; at += size / 23) {
    ASSERT_TRUE(disk_.FlipByte(kBackupPath, at).ok());
    EXPECT_EQ(Restore().code(), StatusCode::kCorruption) << "byte " << at;
    EXPECT_FALSE(disk_.Exists(kDataDir).value());
    ASSERT_TRUE(disk_.FlipByte(kBackupPath, at).ok());
  }
  EXPECT_TRUE(Restore().ok());
}

TEST_F(RestoreTest, ABackupOfAnotherClusterThanItsHeaderSaysIsRefused) {
  MapView state = SomeState();
  state.rows[ClusterKey(ClusterField::kClusterId)] = ClusterIdRecord{"OTHER-OTHER-OTHE"}.Encode();
  ASSERT_TRUE(MakeBackup(disk_, state).ok());
  EXPECT_EQ(Restore().code(), StatusCode::kCorruption);
  EXPECT_FALSE(disk_.Exists("/data/journal").value());
}

TEST_F(RestoreTest, ABadAddressIsRefusedBeforeAnythingIsMade) {
  ASSERT_TRUE(MakeBackup(disk_, SomeState()).ok());
  RestoreOptions options = SomeOptions();
  options.address = std::string(1000, 'x');
  EXPECT_EQ(RestoreToFolder(disk_, clock_, random_, kBackupPath, options).code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(disk_.List(kDataDir).value().empty());
}

// What a cut leaves has no journal, by which a metaserver knows its folder, or is all there.
TEST_F(RestoreTest, APowerCutLeavesNoHalfMetaserver) {
  int whole = 0;
  int none = 0;
  bool restored = false;
  for (uint64_t cut = 0; !restored; ++cut) {
    SimDisk disk;
    SeededRandom random(cut);
    ASSERT_TRUE(MakeBackup(disk, SomeState(20)).ok());
    disk.CutPowerAfter(cut);
    restored = RestoreToFolder(disk, clock_, random, kBackupPath, SomeOptions()).ok();
    disk.Crash(random);
    const bool exists = disk.Exists("/data/journal").value();
    ASSERT_TRUE(exists || !restored) << "cut " << cut;
    exists ? ++whole : ++none;
    if (exists) {
      DatabaseOptions state_options;
      state_options.path = "/data/state";
      state_options.disk = &disk;
      auto database = Database::Open(state_options);
      ASSERT_TRUE(database.ok()) << "cut " << cut << ": " << database.status().ToString();
      EXPECT_EQ((*database)->applied_index(), JournalIndex(258));
      JournalOptions journal_options;
      journal_options.folder = "/data/journal";
      journal_options.segment_bytes = Journal::kMinSegmentBytes;
      auto journal = Journal::Open(disk, random, journal_options);
      ASSERT_TRUE(journal.ok()) << "cut " << cut << ": " << journal.status().ToString();
      EXPECT_EQ((*journal)->range().first, JournalIndex(259));
      EXPECT_TRUE(LoadMemberState(disk, "/data/journal/member").ok());
    } else if (disk.Exists("/data/state").value()) {
      EXPECT_EQ(RestoreToFolder(disk, clock_, random, kBackupPath, SomeOptions()).code(),
                StatusCode::kNotEmpty);
    }
  }
  EXPECT_GE(whole, 1);
  EXPECT_GT(none, 50);
}

}  // namespace
}  // namespace tercet
