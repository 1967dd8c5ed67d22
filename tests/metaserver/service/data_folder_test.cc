// What is done to the data folder between two lives of a metaserver, and crashes in the middle of
// it.
#include "metaserver/service/data_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "common/base/coding.h"
#include "common/env/posix_disk.h"
#include "metaserver/namespace/state_builder.h"

namespace tercet {
namespace {

/// The machine's disk until a crash: from then on every change fails.
class CrashingDisk final : public Disk {
 public:
  int changes_left = 1 << 30;
  bool crashed() const { return changes_left <= 0; }

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    if (mode != OpenMode::kReadOnly) RETURN_IF_ERROR(Change());
    return RealDisk().Open(path, mode);
  }
  Status Rename(const std::string& from, const std::string& to) override {
    RETURN_IF_ERROR(Change());
    return RealDisk().Rename(from, to);
  }
  Status Remove(const std::string& path) override {
    RETURN_IF_ERROR(Change());
    return RealDisk().Remove(path);
  }
  Status MakeDirectories(const std::string& path) override {
    return RealDisk().MakeDirectories(path);
  }
  Status SyncDirectory(const std::string& path) override {
    RETURN_IF_ERROR(Change());
    return RealDisk().SyncDirectory(path);
  }
  Result<std::vector<std::string>> List(const std::string& path) override {
    return RealDisk().List(path);
  }
  Result<bool> Exists(const std::string& path) override { return RealDisk().Exists(path); }
  Result<DiskSpace> Space(const std::string& path) override { return RealDisk().Space(path); }
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return RealDisk().Lock(path);
  }

 private:
  Status Change() {
    if (changes_left-- > 0) return Status::Ok();
    changes_left = 0;
    return Status(StatusCode::kIo, "crashed");
  }
};

constexpr JournalIndex kBase{1000};
constexpr Epoch kBaseEpoch{3};

class DataFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    config_.data_dir = testing::TempDir() + "tercet-data-folder-" +
                       testing::UnitTest::GetInstance()->current_test_info()->name() + "-" +
                       std::to_string(getpid());
    config_.journal_segment_bytes = 64 << 10;
    Clean();
  }
  void TearDown() override { Clean(); }
  void Clean() { std::filesystem::remove_all(config_.data_dir); }
  DataFolder folder() const { return DataFolder(config_.data_dir); }

  std::unique_ptr<Journal> OpenIt(Disk& disk = RealDisk()) {
    auto journal = OpenJournal(config_, disk, SystemRandom());
    EXPECT_TRUE(journal.ok()) << journal.status().ToString();
    return journal.ok() ? std::move(journal).value() : nullptr;
  }
  /// A member with a few old records and an old state, and a fetched state behind `base`.
  void Make(JournalIndex base) {
    Clean();
    ASSERT_TRUE(PrepareDataFolder(RealDisk(), folder()).ok());
    auto journal = OpenIt();
    auto formed = FormGroup(folder(), "a:1", *journal, RealDisk(), SystemRandom());
    ASSERT_TRUE(formed.ok());
    group_id_ = formed->group_id;
    cluster_id_ = journal->identity().cluster_id;
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(journal->Append(Epoch(1), "record").ok());
    ASSERT_TRUE(journal->Sync().ok());
    ASSERT_TRUE(Database::Open(StateOptions(config_, RealDisk(), folder().state())).ok());
    auto builder = StateBuilder::Open(StateOptions(config_, RealDisk(), folder().next_state()));
    ASSERT_TRUE(builder.ok());
    StateBase state_base;
    state_base.cluster_id = cluster_id_;
    state_base.group_id = group_id_;
    state_base.index = base;
    state_base.epoch = kBaseEpoch;
    state_base.membership = formed->base_membership;
    state_base.membership.members[0].address = "b:2";
    state_base.membership_index = JournalIndex(7);
    ASSERT_TRUE((*builder)->Begin(state_base).ok());
    std::string row;
    PutLengthPrefixed(&row, "\x10key");
    PutLengthPrefixed(&row, "value");
    ASSERT_TRUE((*builder)->Put(row, "\x10key").ok());
    ASSERT_TRUE((*builder)->Finish().ok());
  }
  Result<bool> Install(Disk& disk) {
    ASSIGN_OR_RETURN(auto journal, OpenJournal(config_, disk, SystemRandom()));
    ASSIGN_OR_RETURN(MemberState state, LoadMemberState(disk, folder().member_state()));
    return InstallFetchedState(config_, folder(), disk, *journal, &state);
  }
  void ExpectInstalled() {
    auto journal = OpenIt();
    EXPECT_EQ(journal->range().first, kBase.Next());
    EXPECT_EQ(journal->range().last, kBase);
    EXPECT_EQ(journal->range().last_epoch, kBaseEpoch);
    auto state = LoadMemberState(RealDisk(), folder().member_state());
    ASSERT_TRUE(state.ok());
    EXPECT_EQ(state->group_id, group_id_);
    EXPECT_EQ(state->base_membership.members[0].address, "b:2");
    EXPECT_EQ(state->base_membership_index, JournalIndex(7));
    auto database = Database::Open(StateOptions(config_, RealDisk(), folder().state()));
    ASSERT_TRUE(database.ok()) << database.status().ToString();
    EXPECT_EQ((*database)->applied_index(), kBase);
    EXPECT_EQ(*(*database)->committed().Get("\x10key"), "value");
    EXPECT_TRUE(JournalReaches(*journal, **database));
    EXPECT_FALSE(std::filesystem::exists(folder().next_state()));
    EXPECT_FALSE(std::filesystem::exists(folder().old_state()));
  }

  MetaserverConfig config_;
  uint64_t group_id_ = 0;
  std::string cluster_id_;
};

TEST_F(DataFolderTest, AFetchedStateIsInstalledWhereverACrashComes) {
  int crashes = 0;
  for (int changes = 0;; ++changes) {
    Make(kBase);
    CrashingDisk disk;
    disk.changes_left = changes;
    const auto first = Install(disk);
    const bool crashed = disk.crashed();
    if (crashed) {
      ++crashes;
      const auto again = Install(RealDisk());
      ASSERT_TRUE(again.ok()) << changes << ": " << again.status().ToString();
    } else {
      ASSERT_TRUE(first.ok() && *first);
    }
    ASSERT_NO_FATAL_FAILURE(ExpectInstalled()) << "after " << changes << " changes";
    EXPECT_FALSE(*Install(RealDisk()));
    if (!crashed) break;
  }
  EXPECT_GT(crashes, 10);
}

TEST_F(DataFolderTest, AJournalThatReachesTheBaseStaysAsItIs) {
  Make(JournalIndex(3));
  {
    // The same record as the base's.
    auto journal = OpenIt();
    ASSERT_TRUE(journal->ResetTo(JournalIndex(2), kBaseEpoch).ok());
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(journal->Append(kBaseEpoch, "record").ok());
    ASSERT_TRUE(journal->Sync().ok());
  }
  ASSERT_TRUE(*Install(RealDisk()));
  EXPECT_EQ(OpenIt()->range().first, JournalIndex(3));
  EXPECT_EQ(OpenIt()->range().last, JournalIndex(6));
}

TEST_F(DataFolderTest, AJournalThatWentAnotherWayBeginsAnew) {
  // It holds record 3, but of another epoch than the base's.
  Make(JournalIndex(3));
  ASSERT_TRUE(*Install(RealDisk()));
  EXPECT_EQ(OpenIt()->range().first, JournalIndex(4));
  EXPECT_EQ(OpenIt()->range().last, JournalIndex(3));
}

TEST_F(DataFolderTest, AStateThatIsTooOldForTheJournalIsRemoved) {
  Make(JournalIndex(3));
  ASSERT_TRUE(OpenIt()->ResetTo(JournalIndex(50), kBaseEpoch).ok());
  EXPECT_FALSE(*Install(RealDisk()));
  EXPECT_FALSE(std::filesystem::exists(folder().next_state()));
  EXPECT_TRUE(std::filesystem::exists(folder().state()));
}

TEST_F(DataFolderTest, AMemberWithRecordsAndWithoutMemberStateFormsNoGroup) {
  Make(kBase);
  std::filesystem::remove(folder().member_state());
  const auto formed = FormGroup(folder(), "a:1", *OpenIt(), RealDisk(), SystemRandom());
  EXPECT_EQ(formed.status().code(), StatusCode::kCorruption);
  EXPECT_NE(formed.status().message().find("tercet meta remove"), std::string::npos);
}

TEST_F(DataFolderTest, AFetchThatIsBegunIsSeenByTheNextStart) {
  ASSERT_TRUE(PrepareDataFolder(RealDisk(), folder()).ok());
  EXPECT_FALSE(*FetchIsBegun(folder(), RealDisk()));
  ASSERT_TRUE(BeginFetch(config_, folder(), RealDisk()).ok());
  EXPECT_TRUE(*FetchIsBegun(folder(), RealDisk()));
}

}  // namespace
}  // namespace tercet
