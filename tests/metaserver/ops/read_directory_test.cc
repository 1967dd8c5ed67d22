#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using ReadDirectoryTest = OpsTest;
using testing::ElementsAre;

wire::ReadDirectoryRequest Request(int64_t inode, const std::string& after = "",
                                   int32_t max_entries = 1000) {
  wire::ReadDirectoryRequest request;
  request.inode = inode;
  request.after_name = after;
  request.max_entries = max_entries;
  return request;
}

TEST_F(ReadDirectoryTest, ListsNamesInByteOrderWithAttributes) {
  Create(kRoot, "b");
  Create(kRoot, "\xc3\xa4");
  MakeDirectory(kRoot, "B");
  Create(kRoot, "a");
  Create(kRoot, "aa");
  auto response = ReadDirectory(view, Request(kRoot));
  ASSERT_OK(response);
  EXPECT_TRUE(response->complete);
  EXPECT_EQ(response->parent, kRoot);
  EXPECT_THAT(NamesIn(kRoot), ElementsAre("B", "a", "aa", "b", "\xc3\xa4"));
  for (const auto& entry : response->entries) {
    ASSERT_TRUE(entry.__isset.attributes);
    EXPECT_EQ(entry.attributes.inode, entry.inode);
    EXPECT_EQ(entry.attributes.type, entry.type);
  }
}

TEST_F(ReadDirectoryTest, GoesOnBehindANameThatMayBeGone) {
  for (const char* name : {"a", "b", "b!", "c"}) Create(kRoot, name);
  auto first = ReadDirectory(view, Request(kRoot, "", 2));
  ASSERT_OK(first);
  EXPECT_FALSE(first->complete);
  ASSERT_EQ(first->entries.size(), 2u);
  EXPECT_EQ(first->entries.back().name, "b");
  ASSERT_OK(Unlink(kRoot, "b"));
  auto second = ReadDirectory(view, Request(kRoot, "b", 2));
  ASSERT_OK(second);
  EXPECT_TRUE(second->complete);
  ASSERT_EQ(second->entries.size(), 2u);
  EXPECT_EQ(second->entries[0].name, "b!");
  EXPECT_EQ(second->entries[1].name, "c");
}

TEST_F(ReadDirectoryTest, DoesNotListTheNeighbouringDirectory) {
  const int64_t first = MakeDirectory(kRoot, "1");
  const int64_t second = MakeDirectory(kRoot, "2");
  Create(first, "in-first");
  Create(second, "in-second");
  EXPECT_THAT(NamesIn(first), ElementsAre("in-first"));
  EXPECT_THAT(NamesIn(second), ElementsAre("in-second"));
}

TEST_F(ReadDirectoryTest, BoundsTheReplyAndStillListsEverything) {
  constexpr int kFiles = 9000;
  for (int i = 0; i < kFiles; ++i) Create(kRoot, "file-" + std::to_string(100000 + i));
  std::string after;
  int seen = 0;
  for (bool complete = false; !complete;) {
    auto response = ReadDirectory(view, Request(kRoot, after, 1 << 30));
    ASSERT_OK(response);
    ASSERT_FALSE(response->entries.empty());
    EXPECT_LT(response->entries.size(), static_cast<size_t>(kFiles));
    seen += static_cast<int>(response->entries.size());
    after = response->entries.back().name;
    complete = response->complete;
  }
  EXPECT_EQ(seen, kFiles);
}

TEST_F(ReadDirectoryTest, LeavesAttributesOutWhenNotAsked) {
  Create(kRoot, "a");
  auto request = Request(kRoot);
  request.with_attributes = false;
  auto response = ReadDirectory(view, request);
  ASSERT_OK(response);
  EXPECT_FALSE(response->entries[0].__isset.attributes);
}

TEST_F(ReadDirectoryTest, ListsAnEntryWithoutAttributesWhenItsInodeJustWent) {
  const int64_t file = Create(kRoot, "a");
  MapView between = view;
  between.rows.erase(InodeKey(InodeId(static_cast<uint64_t>(file))));
  auto response = ReadDirectory(between, Request(kRoot));
  ASSERT_OK(response);
  ASSERT_EQ(response->entries.size(), 1u);
  EXPECT_FALSE(response->entries[0].__isset.attributes);
}

TEST_F(ReadDirectoryTest, RefusesWhatIsNotADirectory) {
  EXPECT_CODE(kNotDirectory, ReadDirectory(view, Request(Create(kRoot, "a"))));
  EXPECT_CODE(kStaleHandle, ReadDirectory(view, Request(88)));
  EXPECT_CODE(kNameTooLong, ReadDirectory(view, Request(kRoot, std::string(256, 'a'))));
}

TEST_F(ReadDirectoryTest, ShowsARemovedDirectoryAsEmpty) {
  const int64_t directory = MakeDirectory(kRoot, "d");
  ASSERT_OK(RemoveDirectory(kRoot, "d"));
  EXPECT_THAT(NamesIn(directory), testing::IsEmpty());
}

}  // namespace
}  // namespace tercet
