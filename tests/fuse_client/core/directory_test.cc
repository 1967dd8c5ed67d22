#include <map>
#include <set>

#include "metaserver/ops/mutations.h"
#include "tests/fuse_client/core/client_fixture.h"

namespace tercet {
namespace {

using testing::ElementsAre;

class DirectoryTest : public ClientTest {
 protected:
  struct Seen {
    std::string name;
    uint64_t next_offset;
    bool has_attributes;
  };

  void SetUp() override { Mount(); }

  void MakeByAnother(const std::string& name) {
    wire::MakeNodeRequest request;
    request.parent = 1;
    request.name = name;
    request.type = wire::FileType::FIFO;
    ASSERT_TRUE(metaserver_.Do(&EvaluateMakeNode, request).ok());
  }
  void UnlinkByAnother(const std::string& name) {
    wire::UnlinkRequest request;
    request.parent = 1;
    request.name = name;
    ASSERT_TRUE(metaserver_.Do(&EvaluateUnlink, request).ok());
  }
  static std::string NameOf(int number) {
    std::string digits = std::to_string(number);
    return "n" + std::string(6 - digits.size(), '0') + digits;
  }
  OpenDirectoryPtr Open() { return *fs_->OpenDirectoryHandle(fs_->root()); }
  std::vector<Seen> Read(const OpenDirectoryPtr& directory, uint64_t offset, size_t count,
                         bool plus = true) {
    std::vector<Seen> seen;
    const Status status =
        fs_->ReadDirectory(directory, offset, plus, [&](const DirectoryItem& item) {
          if (seen.size() == count) return false;
          seen.push_back({std::string(item.name), item.next_offset, item.attributes != nullptr});
          return true;
        });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return seen;
  }
  static std::vector<std::string> NamesOf(const std::vector<Seen>& seen) {
    std::vector<std::string> names;
    for (const Seen& entry : seen) names.push_back(entry.name);
    return names;
  }
};

TEST_F(DirectoryTest, DotsComeFirstAndEntriesFollowWithAttributes) {
  MakeByAnother("b");
  MakeByAnother("a");
  const auto seen = Read(Open(), 0, 100);
  EXPECT_THAT(NamesOf(seen), ElementsAre(".", "..", "a", "b"));
  EXPECT_FALSE(seen[0].has_attributes);
  EXPECT_TRUE(seen[2].has_attributes);
  const auto plain = Read(Open(), 0, 100, /*plus=*/false);
  EXPECT_THAT(NamesOf(plain), ElementsAre(".", "..", "a", "b"));
  EXPECT_FALSE(plain[2].has_attributes);
}

TEST_F(DirectoryTest, LargeDirectoriesStreamInBatchesAndSeeksWorkWithinAHandle) {
  constexpr int kEntries = 30'000;
  for (int i = 0; i < kEntries; ++i) MakeByAnother(NameOf(i));
  const OpenDirectoryPtr directory = Open();
  std::map<std::string, uint64_t> offset_behind;
  uint64_t offset = 0;
  int next = 0;
  for (;;) {
    const auto seen = Read(directory, offset, 333);
    for (const Seen& entry : seen) {
      offset = entry.next_offset;
      if (entry.name[0] == '.') continue;
      ASSERT_EQ(entry.name, NameOf(next++));
      offset_behind[entry.name] = offset;
    }
    if (seen.size() < 333) break;
  }
  EXPECT_EQ(next, kEntries);
  EXPECT_LE(metaserver_.calls("ReadDirectory"), kEntries / 1'000 + 10);
  for (int target : {21'000, 5, 29'998, 13'333}) {
    const auto seen = Read(directory, offset_behind[NameOf(target)], 1);
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].name, NameOf(target + 1));
  }
  EXPECT_TRUE(Read(directory, offset_behind[NameOf(kEntries - 1)], 1).empty());
  EXPECT_THAT(NamesOf(Read(directory, 0, 3)), ElementsAre(".", "..", NameOf(0)));
}

TEST_F(DirectoryTest, RewindingReadsAnew) {
  const OpenDirectoryPtr directory = Open();
  EXPECT_EQ(Read(directory, 0, 100).size(), 2u);
  MakeByAnother("a");
  EXPECT_THAT(NamesOf(Read(directory, 0, 100)), ElementsAre(".", "..", "a"));
}

TEST_F(DirectoryTest, RemovingWhileReadingSkipsAndRepeatsNothing) {
  for (int i = 0; i < 5'000; ++i) MakeByAnother(NameOf(i));
  const OpenDirectoryPtr directory = Open();
  std::set<std::string> removed;
  uint64_t offset = 0;
  for (;;) {
    const auto seen = Read(directory, offset, 700);
    for (const Seen& entry : seen) {
      offset = entry.next_offset;
      if (entry.name[0] == '.') continue;
      ASSERT_TRUE(removed.insert(entry.name).second) << entry.name;
      ASSERT_TRUE(fs_->Unlink(fs_->root(), entry.name).ok());
    }
    if (seen.size() < 700) break;
  }
  EXPECT_EQ(removed.size(), 5'000u);
}

TEST_F(DirectoryTest, AnEntryRemovedOnThisMountIsNotShownAgain) {
  for (int i = 0; i < 10; ++i) MakeByAnother(NameOf(i));
  const OpenDirectoryPtr directory = Open();
  const auto first = Read(directory, 0, 4);  // fetches all of them
  ASSERT_TRUE(fs_->Unlink(fs_->root(), NameOf(5)).ok());
  ASSERT_TRUE(fs_->MakeDirectory(fs_->root(), "z", 0755, 1, 1).ok());
  const auto rest = NamesOf(Read(directory, first.back().next_offset, 100));
  EXPECT_THAT(rest, testing::Not(testing::Contains(NameOf(5))));
  EXPECT_EQ(rest.back(), "z");
  EXPECT_EQ(rest.size(), 8u);
}

TEST_F(DirectoryTest, AttributesInAListingAreNeverOlderThanWhatThisMountKnows) {
  const OpenFilePtr file = Create("f");
  const OpenDirectoryPtr directory = Open();
  Read(directory, 0, 2);  // the batch holds f with size 0
  ASSERT_TRUE(fs_->Write(file, 0, "12345").ok());
  auto size_of_f = [&] {
    int64_t size = -1;
    EXPECT_TRUE(fs_->ReadDirectory(directory, 2, true,
                                   [&](const DirectoryItem& item) {
                                     size = item.attributes->size_bytes;
                                     return true;
                                   })
                    .ok());
    return size;
  };
  EXPECT_EQ(size_of_f(), 5) << "buffered";
  ASSERT_TRUE(fs_->Flush(file).ok());
  fs_->Release(file);
  EXPECT_EQ(size_of_f(), 5) << "committed and closed";
}

TEST_F(DirectoryTest, ARemovedDirectoryReadsAsEmpty) {
  auto made = fs_->MakeDirectory(fs_->root(), "d", 0755, 1, 1);
  const OpenDirectoryPtr directory =
      *fs_->OpenDirectoryHandle(InodeId(static_cast<uint64_t>(made->inode)));
  ASSERT_TRUE(fs_->RemoveDirectory(fs_->root(), "d").ok());
  EXPECT_LE(Read(directory, 0, 100).size(), 2u);
}

}  // namespace
}  // namespace tercet
