// Moves of replicas between disks that are cut short: by errors of one of the disks, by a power
// cut.
#include <gtest/gtest.h>

#include <memory>

#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

constexpr BlockId kBlock(7);
constexpr Generation kFirst(1);
constexpr uint64_t kNever = uint64_t{1} << 40;

/// Over another disk, for a process that dies after so many more changes: nothing that it does then
/// has any effect, while what it did stays in the system's cache.
class MortalProcess final : public Disk {
 public:
  explicit MortalProcess(Disk& disk) : disk_(disk) {}
  void DieAfter(uint64_t changes) { left_ = changes; }
  void LiveAgain() { left_ = kNever; }
  bool dead() const { return left_ == 0; }

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    if (mode == OpenMode::kCreate || mode == OpenMode::kCreateExclusive) RETURN_IF_ERROR(Change());
    ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk_.Open(path, mode));
    return std::unique_ptr<File>(std::make_unique<MortalFile>(*this, std::move(file)));
  }
  Status Rename(const std::string& from, const std::string& to) override {
    RETURN_IF_ERROR(Change());
    return disk_.Rename(from, to);
  }
  Status Remove(const std::string& path) override {
    RETURN_IF_ERROR(Change());
    return disk_.Remove(path);
  }
  Status MakeDirectories(const std::string& path) override { return disk_.MakeDirectories(path); }
  Status SyncDirectory(const std::string& path) override {
    RETURN_IF_ERROR(Change());
    return disk_.SyncDirectory(path);
  }
  Result<std::vector<std::string>> List(const std::string& path) override {
    return disk_.List(path);
  }
  Result<bool> Exists(const std::string& path) override { return disk_.Exists(path); }
  Result<DiskSpace> Space(const std::string& path) override { return disk_.Space(path); }
  Result<std::unique_ptr<DiskFileSystem>> OpenFileSystem(const std::string& path) override {
    return disk_.OpenFileSystem(path);
  }
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return disk_.Lock(path);
  }

 private:
  class MortalFile final : public File {
   public:
    MortalFile(MortalProcess& process, std::unique_ptr<File> file)
        : process_(process), file_(std::move(file)) {}
    Result<size_t> ReadAt(uint64_t offset, std::span<char> out) const override {
      return file_->ReadAt(offset, out);
    }
    Status WriteAt(uint64_t offset, std::string_view data) override {
      RETURN_IF_ERROR(process_.Change());
      return file_->WriteAt(offset, data);
    }
    Status WriteVectorAt(uint64_t offset, std::span<const iovec> pieces) override {
      RETURN_IF_ERROR(process_.Change());
      return file_->WriteVectorAt(offset, pieces);
    }
    Status Sync() override {
      RETURN_IF_ERROR(process_.Change());
      return file_->Sync();
    }
    Status Truncate(uint64_t size) override {
      RETURN_IF_ERROR(process_.Change());
      return file_->Truncate(size);
    }
    Status Allocate(uint64_t size) override {
      RETURN_IF_ERROR(process_.Change());
      return file_->Allocate(size);
    }
    Result<uint64_t> Size() const override { return file_->Size(); }

   private:
    MortalProcess& process_;
    const std::unique_ptr<File> file_;
  };

  Status Change() {
    if (left_ == 0) return Status(StatusCode::kIo, "the process is dead");
    --left_;
    return Status::Ok();
  }

  Disk& disk_;
  uint64_t left_ = kNever;
};

/// A store on two simulated disks, with one replica that is settled.
class MovedReplica {
 public:
  explicit MovedReplica(uint64_t seed) : ids_(seed), chance_(seed + 1000) { Open(); }

  void Open() {
    auto opened = BlockStore::Open(process_, clock_, ids_, options_);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    store_ = std::move(opened).value();
  }
  void WriteAndSettle(const std::string& data) {
    ASSERT_OK(WriteData(store(), kBlock, 0, data));
    ASSERT_OK(store().Sync(kBlock, kFirst));
    for (int i = 0; i < 2; ++i) store().Maintain();
  }
  void Kill() {
    disk().KillProcess();
    Abandon();
    Open();
  }
  void CutPower() {
    disk().Crash(chance_);
    Abandon();
    options_.boot_id += "'";
    Open();
  }
  StoreDiskStatus Source() { return store().Disks()[source_]; }
  StoreDiskStatus Target() { return store().Disks()[1 - source_]; }
  void NoteSource() { source_ = store().Stat(kBlock)->disk_path == "/disk0" ? 0 : 1; }
  Status Move() { return store().MoveToDisk(kBlock, Target().disk_uuid); }
  SimDisk& disk() { return environment_.disk(); }
  MortalProcess& process() { return process_; }
  BlockStore& store() { return *store_; }

 private:
  /// What belongs to a process that is dead does nothing to the disks any more.
  void Abandon() {
    disk().CutPowerAfter(kNever);
    for (int i = 0; i < 2; ++i) disk().FailPathsUnder(environment_.DiskPath(i));
    store_.reset();
    disk().ClearFailedPaths();
    process_.LiveAgain();
  }

  SimEnvironment environment_;
  MortalProcess process_{environment_.disk()};
  SimClock clock_;
  SeededRandom ids_, chance_;
  BlockStoreOptions options_ = AllSimulated(environment_, 2);
  size_t source_ = 0;
  std::unique_ptr<BlockStore> store_;
};

TEST(MoveFaults, AnErrorOfTheTargetIsHeldAgainstTheTargetOnly) {
  const std::string data = Pattern((2 << 20) + 5000, 1);
  int failed = 0;
  for (uint64_t nth = 1;; ++nth) {
    SCOPED_TRACE(nth);
    MovedReplica replica(nth);
    replica.WriteAndSettle(data);
    replica.NoteSource();
    replica.disk().FailWrite(nth);
    if (replica.Move().ok()) break;  // from here on it is the source's turn: to put away its file
    replica.disk().FailWrite(0);
    ++failed;
    ASSERT_TRUE(replica.Source().healthy);
    ASSERT_FALSE(replica.Target().healthy);
    EXPECT_TRUE(ReadData(replica.store(), kBlock, 0, kMaxBlockBytes)->substr(0, data.size()) ==
                data);
  }
  EXPECT_GT(failed, 5);
}

TEST(MoveFaults, AnUnreadableSourceIsHeldAgainstTheSourceOnly) {
  MovedReplica replica(1);
  replica.WriteAndSettle(Pattern(20'000, 1));
  replica.NoteSource();
  replica.disk().FailPathsUnder(replica.Source().path);
  EXPECT_EQ(replica.Move().code(), StatusCode::kIo);
  EXPECT_FALSE(replica.Source().healthy);
  EXPECT_TRUE(replica.Target().healthy);
  EXPECT_EQ(replica.Target().replica_count, 0u);
  replica.disk().ClearFailedPaths();
}

// A power cut, or the end of the process, cuts the move short, so that the start after it may have
// to put one of two replicas away; then there is a change of the other one; after a power cut what
// was put away must not be there in its place.
TEST(MoveFaults, WhatAMoveLeftBehindNeverComesBackAfterALaterChange) {
  const std::string before = Pattern(20'000, 1);
  const std::string after = Pattern(20'000, 2);
  for (uint64_t run = 0; run < 20; ++run) {
    const bool by_power_cut = run % 2 == 0;
    for (uint64_t cut = 1;; ++cut) {
      SCOPED_TRACE("run " + std::to_string(run) + " cut after " + std::to_string(cut));
      MovedReplica replica(run * 1000 + cut);
      replica.WriteAndSettle(before);
      replica.NoteSource();
      by_power_cut ? replica.disk().CutPowerAfter(cut) : replica.process().DieAfter(cut);
      const Status moved = replica.Move();
      const bool whole = !replica.disk().power_is_cut() && !replica.process().dead();
      ASSERT_TRUE(!whole || moved.ok()) << moved.ToString();
      by_power_cut ? replica.CutPower() : replica.Kill();
      ASSERT_TRUE(ReadData(replica.store(), kBlock, 0, kMaxBlockBytes)->substr(0, 20'000) ==
                  before);
      ASSERT_OK(WriteData(replica.store(), kBlock, 0, after));
      ASSERT_OK(replica.store().Sync(kBlock, kFirst));
      replica.CutPower();
      auto read = replica.store().Read(kBlock, kFirst, 0, kMaxBlockBytes);
      // It was changed shortly before: it may be suspect, and must not be gone, nor be an old one.
      if (read.ok()) {
        ASSERT_TRUE(read->data.substr(0, 20'000) == after);
      } else {
        ASSERT_EQ(read.code(), StatusCode::kUnavailable) << read.status().ToString();
      }
      if (whole) break;
    }
  }
}

}  // namespace
}  // namespace tercet
