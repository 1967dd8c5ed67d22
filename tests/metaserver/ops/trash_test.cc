#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

class TrashTest : public ReplicaTest {
 protected:
  /// A directory whose files are kept for a minute.
  int64_t Keeping(const std::string& name) {
    const int64_t directory = MakeDirectory(kRoot, name);
    EXPECT_TRUE(SetRetention("/" + name, 60).ok());
    WalkPoliciesToTheEnd();
    return directory;
  }
  uint64_t Trashed() const { return CounterValue(Counter::kTrashCount); }
  uint64_t Orphans() const { return CounterValue(Counter::kOrphanCount); }
};

TEST_F(TrashTest, TheLastNameGoesAndTheFileStays) {
  const int64_t d = Keeping("d");
  const int64_t inode = Create(d, "f");
  WriteBlocks(inode, 0, 2);
  ASSERT_OK(Unlink(d, "f"));
  EXPECT_EQ(Trashed(), 1u);
  EXPECT_EQ(Orphans(), 0u);
  const InodeRecord record = InodeRow(inode);
  EXPECT_EQ(record.nlink, 0u);
  EXPECT_EQ(record.trash_expires_ns, now_ns + 60 * kSecond);
  auto trash = tables().FindTrash(record.trash_expires_ns, Inode(inode));
  ASSERT_TRUE(trash.ok() && *trash);
  EXPECT_EQ((*trash)->name, "f");
  EXPECT_EQ((*trash)->directory, Inode(d));
  EXPECT_EQ((*trash)->deleted_at_ns, now_ns);
  // Who has it open goes on.
  EXPECT_EQ(Blocks(inode).size(), 2u);
  WriteBlocks(inode, 2, 3);
  ASSERT_OK(Truncate(inode, 5));
  // It cannot be reclaimed, nor linked.
  ASSERT_OK(Reclaim(inode));
  EXPECT_EQ(Blocks(inode).size(), 1u);
  EXPECT_CODE(kNotFound, Link(inode, kRoot, "again"));
}

TEST_F(TrashTest, WithoutRetentionOrWithOtherNamesNothingGoesThere) {
  const int64_t d = Keeping("d");
  const int64_t linked = Create(d, "one");
  ASSERT_OK(Link(linked, d, "two"));
  ASSERT_OK(Unlink(d, "one"));
  EXPECT_EQ(Trashed(), 0u);
  Make(d, "pipe", wire::FileType::FIFO);
  ASSERT_OK(Unlink(d, "pipe"));
  MakeDirectory(d, "sub");
  ASSERT_OK(RemoveDirectory(d, "sub"));
  EXPECT_EQ(Trashed(), 0u);
  EXPECT_EQ(Orphans(), 2u);
  Create(kRoot, "f");
  ASSERT_OK(Unlink(kRoot, "f"));
  EXPECT_EQ(Trashed(), 0u);
  EXPECT_EQ(Orphans(), 3u);
  ASSERT_OK(Unlink(d, "two"));
  EXPECT_EQ(Trashed(), 1u);
}

// The retention is promised when the command returns, not when the walk has come to each file.
TEST_F(TrashTest, ARetentionThatIsOnItsWayCounts) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t sub = MakeDirectory(d, "sub");
  const int64_t direct = Create(d, "f");
  const int64_t below = Create(sub, "g");
  WriteBlocks(below, 0, 1);
  ASSERT_OK(SetReplicas("/d", 2));
  ASSERT_OK(SetRetention("/d", 60));
  ASSERT_OK(Unlink(d, "f"));
  ASSERT_OK(Unlink(sub, "g"));
  EXPECT_TRUE(InodeRow(direct).in_trash());
  ASSERT_TRUE(InodeRow(below).in_trash());
  EXPECT_EQ(InodeRow(below).trash_expires_ns, now_ns + 60 * kSecond);
  EXPECT_EQ(InodeRow(below).replicas, 2) << "there the walk does not come any more";
  WalkPoliciesToTheEnd();
  EXPECT_EQ(Reasons(static_cast<int64_t>(BlockRow(below, 0).block.value())), kRepairSurplus);
}

TEST_F(TrashTest, ARetentionThatIsAboutToEndKeepsNothing) {
  const int64_t d = Keeping("d");
  Create(d, "f");
  ASSERT_OK(SetRetention("/d", 0));
  ASSERT_OK(Unlink(d, "f"));
  EXPECT_EQ(Trashed(), 0u);
  EXPECT_EQ(Orphans(), 1u);
}

TEST_F(TrashTest, WhatARenameReplacesGoesThere) {
  const int64_t d = Keeping("d");
  const int64_t old = Create(d, "f");
  Create(d, "new");
  ASSERT_OK(Rename(d, "new", d, "f"));
  EXPECT_TRUE(InodeRow(old).in_trash());
  EXPECT_EQ(Trashed(), 1u);
}

TEST_F(TrashTest, RestoresToWhereItWas) {
  const int64_t d = Keeping("d");
  const int64_t inode = Create(d, "f");
  WriteBlocks(inode, 0, 2);
  ASSERT_OK(Unlink(d, "f"));
  auto restored = RestoreTrash(inode);
  ASSERT_OK(restored);
  EXPECT_EQ(restored->path, "/d/f");
  EXPECT_EQ(InodeOf(d, "f"), inode);
  EXPECT_EQ(Attributes(inode).nlink, 1);
  EXPECT_EQ(Blocks(inode).size(), 2u);
  EXPECT_EQ(Trashed(), 0u);
  EXPECT_CODE(kNotFound, RestoreTrash(inode));
}

TEST_F(TrashTest, RestoresElsewhere) {
  const int64_t d = Keeping("d");
  const int64_t inode = Create(d, "f");
  ASSERT_OK(Unlink(d, "f"));
  Create(d, "f");
  EXPECT_CODE(kExists, RestoreTrash(inode));
  EXPECT_CODE(kNotFound, RestoreTrash(inode, "/nowhere/f"));
  EXPECT_CODE(kNotDirectory, RestoreTrash(inode, "/d/f/g"));
  EXPECT_CODE(kInvalidArgument, RestoreTrash(inode, "d/g"));
  EXPECT_CODE(kInvalidArgument, RestoreTrash(inode, "/d/"));
  EXPECT_CODE(kExists, RestoreTrash(inode, "/d/."));
  EXPECT_CODE(kNameTooLong, RestoreTrash(inode, "/d/" + std::string(256, 'x')));
  EXPECT_EQ(RestoreTrash(inode, "/g")->path, "/g");
  EXPECT_EQ(InodeOf(kRoot, "g"), inode);
}

TEST_F(TrashTest, WithoutItsDirectoryAnotherPlaceIsAskedFor) {
  const int64_t d = Keeping("d");
  const int64_t inode = Create(d, "f");
  ASSERT_OK(Unlink(d, "f"));
  ASSERT_OK(RemoveDirectory(kRoot, "d"));
  EXPECT_CODE(kNotFound, RestoreTrash(inode)) << "removed";
  ASSERT_OK(Reclaim(d));
  auto refused = RestoreTrash(inode);
  EXPECT_CODE(kNotFound, refused);
  EXPECT_NE(refused.status().message().find("another place"), std::string::npos);
  ASSERT_OK(RestoreTrash(inode, "/f"));
}

TEST_F(TrashTest, ExpiresInOrderAndInBatches) {
  const int64_t d = Keeping("d");
  std::vector<int64_t> inodes;
  for (int i = 0; i < 5; ++i) {
    inodes.push_back(Create(d, std::to_string(i)));
    ASSERT_OK(Unlink(d, std::to_string(i)));
    now_ns += kSecond;
  }
  auto none = ExpireTrash();
  EXPECT_TRUE(none->done);
  EXPECT_EQ(none->removed, 0);
  now_ns += 57 * kSecond;  // the first three are due
  auto first = ExpireTrash(2);
  ASSERT_OK(first);
  EXPECT_EQ(first->removed, 2);
  EXPECT_FALSE(first->done);
  auto second = ExpireTrash(2);
  EXPECT_EQ(second->removed, 1);
  EXPECT_TRUE(second->done);
  EXPECT_EQ(Trashed(), 2u);
  EXPECT_EQ(Orphans(), 3u);
  EXPECT_FALSE(InodeRow(inodes[0]).in_trash());
  EXPECT_TRUE(InodeRow(inodes[3]).in_trash());
  ASSERT_OK(Reclaim(inodes[0]));
  EXPECT_FALSE(*tables().FindInode(Inode(inodes[0])));
  EXPECT_CODE(kNotFound, RestoreTrash(inodes[1]));
}

TEST_F(TrashTest, PurgesWhatIsNamed) {
  const int64_t d = Keeping("d");
  const int64_t one = Create(d, "1");
  const int64_t two = Create(d, "2");
  const int64_t linked = Create(d, "3");
  ASSERT_OK(Unlink(d, "1"));
  ASSERT_OK(Unlink(d, "2"));
  EXPECT_EQ(*PurgeTrash({one, linked, 999}), 1);
  EXPECT_EQ(*PurgeTrash({one}), 0);
  EXPECT_TRUE(InodeRow(two).in_trash());
  EXPECT_EQ(Orphans(), 1u);
}

class ListTrashTest : public TrashTest {
 protected:
  wire::ListTrashResponse List(const std::string& path = "", int max = 100,
                               const std::string& cursor = "") const {
    wire::ListTrashRequest request;
    request.path = path;
    request.max_entries = max;
    request.cursor = cursor;
    auto response = ListTrash(view, request);
    EXPECT_TRUE(response.ok()) << response.status().ToString();
    return response.ok() ? *response : wire::ListTrashResponse();
  }
};

TEST_F(ListTrashTest, ShowsWhatAndWhere) {
  const int64_t d = Keeping("d");
  const int64_t sub = MakeDirectory(d, "sub");
  const int64_t inode = Create(sub, "f");
  ASSERT_OK(Truncate(inode, 77));
  ASSERT_OK(Unlink(sub, "f"));
  const int64_t deleted_at = now_ns;
  auto listed = List();
  ASSERT_EQ(listed.entries.size(), 1u);
  EXPECT_EQ(listed.entries[0].inode, inode);
  EXPECT_EQ(listed.entries[0].name, "f");
  EXPECT_EQ(listed.entries[0].directory, "/d/sub");
  EXPECT_EQ(listed.entries[0].directory_inode, sub);
  EXPECT_EQ(listed.entries[0].size_bytes, 77);
  EXPECT_EQ(listed.entries[0].deleted_at_ns, deleted_at);
  EXPECT_EQ(listed.entries[0].expires_at_ns, deleted_at + 60 * kSecond);
  EXPECT_EQ(listed.entries[0].uid, 1000);
  EXPECT_TRUE(listed.cursor.empty());
  // The directory moves: so does the place.
  ASSERT_OK(Rename(d, "sub", kRoot, "moved"));
  EXPECT_EQ(List().entries[0].directory, "/moved");
  ASSERT_OK(RemoveDirectory(kRoot, "moved"));
  EXPECT_EQ(List().entries[0].directory, "");
}

TEST_F(ListTrashTest, OnlyWhatWasBelowADirectory) {
  const int64_t d = Keeping("d");
  const int64_t e = Keeping("e");
  const int64_t sub = MakeDirectory(d, "sub");
  const int64_t one = Create(sub, "1");
  const int64_t two = Create(e, "2");
  ASSERT_OK(Unlink(sub, "1"));
  ASSERT_OK(Unlink(e, "2"));
  ASSERT_EQ(List("/d").entries.size(), 1u);
  EXPECT_EQ(List("/d").entries[0].inode, one);
  ASSERT_EQ(List("/e").entries.size(), 1u);
  EXPECT_EQ(List("/e").entries[0].inode, two);
  EXPECT_EQ(List("/").entries.size(), 2u);
  wire::ListTrashRequest request;
  request.path = "/nothing";
  EXPECT_CODE(kNotFound, ListTrash(view, request));
}

TEST_F(ListTrashTest, PageByPage) {
  const int64_t d = Keeping("d");
  std::vector<int64_t> inodes;
  for (int i = 0; i < 7; ++i) {
    inodes.push_back(Create(d, std::to_string(i)));
    ASSERT_OK(Unlink(d, std::to_string(i)));
  }
  std::vector<int64_t> seen;
  std::string cursor;
  int pages = 0;
  do {
    auto page = List("", 3, cursor);
    EXPECT_LE(page.entries.size(), 3u);
    for (const auto& entry : page.entries) seen.push_back(entry.inode);
    cursor = page.cursor;
    ++pages;
  } while (!cursor.empty());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(seen, inodes);
  wire::ListTrashRequest request;
  for (const std::string& bad : {std::string("x"), std::string(16, '\xff'), std::string(17, 'a')}) {
    request.cursor = bad;
    EXPECT_CODE(kInvalidArgument, ListTrash(view, request));
  }
}

TEST_F(ListTrashTest, FindsWhatWasDeletedBefore) {
  const int64_t d = Keeping("d");
  std::vector<int64_t> inodes;
  for (int i = 0; i < 4; ++i) {
    inodes.push_back(Create(d, std::to_string(i)));
    ASSERT_OK(Unlink(d, std::to_string(i)));
    now_ns += kSecond;
  }
  auto page = FindTrashBefore(view, now_ns - 5 * kSecond / 2, "", 100);
  ASSERT_OK(page);
  EXPECT_EQ(page->inodes, (std::vector<InodeId>{Inode(inodes[0]), Inode(inodes[1])}));
  EXPECT_TRUE(page->cursor.empty());
}

TEST_F(TrashTest, AFileWithBadRowsDoesNotKeepOthersInTheTrash) {
  const int64_t d = Keeping("d");
  std::vector<int64_t> inodes;
  for (int i = 0; i < 3; ++i) {
    inodes.push_back(Create(d, std::to_string(i)));
    ASSERT_OK(Unlink(d, std::to_string(i)));
  }
  now_ns += 61 * kSecond;
  const std::string key = InodeKey(Inode(inodes[0]));
  const std::string row = std::exchange(view.rows[key], "\1");
  const auto expired = ExpireTrash();
  ASSERT_OK(expired);
  EXPECT_EQ(expired->removed, 2);
  view.rows[key] = row;
  EXPECT_EQ(ExpireTrash()->removed, 1);
  EXPECT_EQ(Trashed(), 0u);
}

}  // namespace
}  // namespace tercet
