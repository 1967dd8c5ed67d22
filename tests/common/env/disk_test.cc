// What every Disk promises, over the real and the simulated one.
#include "common/env/disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "common/env/posix_disk.h"
#include "common/env/random.h"
#include "common/env/sim_disk.h"

namespace tercet {
namespace {

struct RealBackend {
  Disk& disk() { return RealDisk(); }
};

struct SimBackend {
  SimDisk sim;
  Disk& disk() { return sim; }
};

template <typename Backend>
class DiskTest : public testing::Test {
 protected:
  DiskTest()
      : disk_(backend_.disk()),
        root_(testing::TempDir() + "disk_test_" + std::to_string(SystemRandom().Next())) {
    EXPECT_TRUE(disk_.MakeDirectories(root_).ok());
  }
  ~DiskTest() override { std::filesystem::remove_all(root_); }

  std::string Path(const std::string& name) const { return root_ + "/" + name; }

  std::unique_ptr<File> Create(const std::string& name, std::string_view data = "") {
    auto file = disk_.Open(Path(name), OpenMode::kCreate);
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    EXPECT_TRUE((*file)->WriteAt(0, data).ok());
    return std::move(*file);
  }

  std::string Content(const std::string& name) {
    auto data = ReadWholeFile(disk_, Path(name), 1 << 20);
    return data.ok() ? *data : data.status().ToString();
  }

  Backend backend_;
  Disk& disk_;
  const std::string root_;
};

using Backends = testing::Types<RealBackend, SimBackend>;
TYPED_TEST_SUITE(DiskTest, Backends);

TYPED_TEST(DiskTest, ReadsBackWhatWasWrittenAtAnyOffset) {
  auto file = this->Create("f");
  const std::string text = "across a page";
  ASSERT_TRUE(file->WriteAt(4090, text).ok());
  std::string out(100, '?');
  auto count = file->ReadAt(4090, out);
  ASSERT_TRUE(count.ok());
  EXPECT_EQ(out.substr(0, *count), text);
  EXPECT_EQ(*file->Size(), 4090 + text.size());
}

TYPED_TEST(DiskTest, HolesReadAsZeros) {
  auto file = this->Create("f");
  ASSERT_TRUE(file->WriteAt(10000, "x").ok());
  std::string out(10001, '?');
  EXPECT_EQ(*file->ReadAt(0, out), 10001u);
  EXPECT_EQ(out, std::string(10000, '\0') + "x");
}

TYPED_TEST(DiskTest, ReadsBeyondTheEndAreShort) {
  auto file = this->Create("f", "abc");
  std::string out(10, '?');
  EXPECT_EQ(*file->ReadAt(1, out), 2u);
  EXPECT_EQ(*file->ReadAt(3, out), 0u);
  EXPECT_EQ(*file->ReadAt(100000, out), 0u);
}

TYPED_TEST(DiskTest, WritesManyPiecesInOrder) {
  // More pieces than one pwritev takes (IOV_MAX is 1024), some of them empty.
  std::vector<std::string> texts;
  std::vector<iovec> pieces;
  std::string all;
  for (int i = 0; i < 3000; ++i) texts.push_back(i % 7 == 0 ? "" : std::to_string(i) + ",");
  for (std::string& text : texts) {
    pieces.push_back({text.data(), text.size()});
    all += text;
  }
  auto file = this->Create("f");
  ASSERT_TRUE(file->WriteVectorAt(5, pieces).ok());
  EXPECT_EQ(this->Content("f"), std::string(5, '\0') + all);
}

TYPED_TEST(DiskTest, TruncatedBytesAreZerosWhenTheFileGrowsAgain) {
  auto file = this->Create("f", std::string(10000, 'x'));
  ASSERT_TRUE(file->Truncate(5).ok());
  ASSERT_TRUE(file->Truncate(9000).ok());
  EXPECT_EQ(this->Content("f"), "xxxxx" + std::string(8995, '\0'));
}

TYPED_TEST(DiskTest, AllocateExtendsAndKeepsContent) {
  auto file = this->Create("f", "abc");
  ASSERT_TRUE(file->Allocate(8192).ok());
  EXPECT_EQ(*file->Size(), 8192u);
  EXPECT_EQ(this->Content("f").substr(0, 4), std::string("abc\0", 4));
  ASSERT_TRUE(file->Allocate(10).ok());
  EXPECT_EQ(*file->Size(), 8192u);
}

TYPED_TEST(DiskTest, OpenModesDoWhatTheySay) {
  Disk& disk = this->disk_;
  EXPECT_EQ(disk.Open(this->Path("a"), OpenMode::kReadOnly).code(), StatusCode::kNotFound);
  EXPECT_EQ(disk.Open(this->Path("a"), OpenMode::kReadWrite).code(), StatusCode::kNotFound);
  EXPECT_EQ(disk.Open(this->Path("no/a"), OpenMode::kCreate).code(), StatusCode::kNotFound);
  EXPECT_TRUE(disk.Open(this->Path("a"), OpenMode::kCreateExclusive).ok());
  EXPECT_EQ(disk.Open(this->Path("a"), OpenMode::kCreateExclusive).code(), StatusCode::kExists);
  EXPECT_EQ(disk.Open(this->root_, OpenMode::kReadWrite).code(), StatusCode::kIsDirectory);
  auto reader = disk.Open(this->Path("a"), OpenMode::kReadOnly);
  ASSERT_TRUE(reader.ok());
  EXPECT_FALSE((*reader)->WriteAt(0, "x").ok());
}

TYPED_TEST(DiskTest, RenameReplaces) {
  this->Create("from", "new");
  this->Create("to", "old");
  ASSERT_TRUE(this->disk_.Rename(this->Path("from"), this->Path("to")).ok());
  EXPECT_EQ(this->Content("to"), "new");
  EXPECT_FALSE(*this->disk_.Exists(this->Path("from")));
  EXPECT_EQ(this->disk_.Rename(this->Path("from"), this->Path("x")).code(), StatusCode::kNotFound);
}

TYPED_TEST(DiskTest, RemovedFilesLiveOnWhileOpen) {
  auto file = this->Create("f", "abc");
  ASSERT_TRUE(this->disk_.Remove(this->Path("f")).ok());
  EXPECT_EQ(this->disk_.Remove(this->Path("f")).code(), StatusCode::kNotFound);
  std::string out(3, '?');
  EXPECT_EQ(*file->ReadAt(0, out), 3u);
  EXPECT_EQ(out, "abc");
}

TYPED_TEST(DiskTest, FoldersAreMadeListedAndRemoved) {
  Disk& disk = this->disk_;
  ASSERT_TRUE(disk.MakeDirectories(this->Path("a/b//c/")).ok());
  ASSERT_TRUE(disk.MakeDirectories(this->Path("a/b")).ok());
  this->Create("a/f");
  auto names = disk.List(this->Path("a"));
  ASSERT_TRUE(names.ok());
  std::sort(names->begin(), names->end());
  EXPECT_EQ(*names, (std::vector<std::string>{"b", "f"}));
  EXPECT_EQ(disk.MakeDirectories(this->Path("a/f")).code(), StatusCode::kNotDirectory);
  EXPECT_EQ(disk.Remove(this->Path("a/b")).code(), StatusCode::kNotEmpty);
  EXPECT_TRUE(disk.Remove(this->Path("a/b/c")).ok());
  EXPECT_TRUE(disk.SyncDirectory(this->Path("a")).ok());
  EXPECT_EQ(disk.List(this->Path("none")).code(), StatusCode::kNotFound);
  EXPECT_EQ(disk.SyncDirectory(this->Path("none")).code(), StatusCode::kNotFound);
}

TYPED_TEST(DiskTest, ALockExcludesOthersUntilReleased) {
  auto lock = this->disk_.Lock(this->Path("LOCK"));
  ASSERT_TRUE(lock.ok()) << lock.status().ToString();
  EXPECT_EQ(this->disk_.Lock(this->Path("LOCK")).code(), StatusCode::kBusy);
  lock->reset();
  EXPECT_TRUE(this->disk_.Lock(this->Path("LOCK")).ok());
}

TYPED_TEST(DiskTest, SpaceIsReported) {
  auto space = this->disk_.Space(this->root_);
  ASSERT_TRUE(space.ok());
  EXPECT_GT(space->available_bytes, 0u);
  EXPECT_GE(space->total_bytes, space->available_bytes);
}

TYPED_TEST(DiskTest, AtomicWriteReplacesEvenAfterALeftOverTemporary) {
  this->Create("f.tmp", "a much longer left-over");
  ASSERT_TRUE(WriteFileAtomically(this->disk_, this->Path("f"), "one").ok());
  ASSERT_TRUE(WriteFileAtomically(this->disk_, this->Path("f"), "2").ok());
  EXPECT_EQ(this->Content("f"), "2");
  EXPECT_FALSE(*this->disk_.Exists(this->Path("f.tmp")));
}

TYPED_TEST(DiskTest, ReadWholeFileRefusesMoreThanAllowed) {
  this->Create("f", "12345");
  EXPECT_EQ(ReadWholeFile(this->disk_, this->Path("f"), 4).code(), StatusCode::kCorruption);
  EXPECT_EQ(*ReadWholeFile(this->disk_, this->Path("f"), 5), "12345");
}

TEST(DirectoryOfTest, TakesTheLastPartOff) {
  EXPECT_EQ(DirectoryOf("/a/b"), "/a");
  EXPECT_EQ(DirectoryOf("/a/b/"), "/a");
  EXPECT_EQ(DirectoryOf("/a//b"), "/a");
  EXPECT_EQ(DirectoryOf("/a"), "/");
  EXPECT_EQ(DirectoryOf("/"), "/");
  EXPECT_EQ(DirectoryOf("a"), ".");
  EXPECT_EQ(DirectoryOf("a/b"), "a");
  EXPECT_EQ(DirectoryOf(""), ".");
}

}  // namespace
}  // namespace tercet
