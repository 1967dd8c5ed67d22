#include "metaserver/namespace/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <set>
#include <vector>

namespace tercet {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
const std::string kUuid = "0123456789abcdef";

bool InRange(const std::string& key, const KeyRange& range) {
  return range.from <= key && key < range.to;
}

TEST(KeysTest, HaveTheBytesOfTheFormatDocument) {
  EXPECT_EQ(DentryKey(InodeId(1), "a"), std::string("\x11\0\0\0\0\0\0\0\x01"
                                                    "a",
                                                    10));
  EXPECT_EQ(InodeKey(InodeId(2)), std::string("\x10\0\0\0\0\0\0\0\x02", 9));
  EXPECT_EQ(ReplicaKey(ServerId(3), BlockId(0x0102)),
            std::string("\x15\0\0\0\x03\0\0\0\0\0\0\x01\x02", 13));
  EXPECT_EQ(CounterKey(Counter::kNextInode), std::string("\x02\x01", 2));
}

TEST(KeysTest, SortByNumber) {
  EXPECT_LT(InodeKey(InodeId(255)), InodeKey(InodeId(256)));
  EXPECT_LT(FileBlockKey(InodeId(1), kMax), FileBlockKey(InodeId(2), 0));
  EXPECT_LT(ReplicaKey(ServerId(1), BlockId(kMax)), ReplicaKey(ServerId(2), BlockId(0)));
  EXPECT_LT(DentryKey(InodeId(1), "\xff"), DentryKey(InodeId(2), "a"));
}

TEST(KeysTest, ParseBackToTheirParts) {
  struct Case {
    std::string key;
    TableId table;
    uint64_t first;
    uint64_t second;
    std::string name;
  };
  const std::vector<Case> cases = {
      {ClusterKey(ClusterField::kClusterId), TableId::kCluster, 2, 0, ""},
      {CounterKey(Counter::kOrphanCount), TableId::kCounter, 7, 0, ""},
      {InodeKey(InodeId(kMax)), TableId::kInode, kMax, 0, ""},
      {DentryKey(InodeId(5), "a b"), TableId::kDentry, 5, 0, "a b"},
      {XattrKey(InodeId(5), "user.x"), TableId::kXattr, 5, 0, "user.x"},
      {FileBlockKey(InodeId(5), 6), TableId::kFileBlock, 5, 6, ""},
      {BlockOwnerKey(BlockId(9)), TableId::kBlockOwner, 9, 0, ""},
      {ReplicaKey(ServerId(3), BlockId(9)), TableId::kReplica, 3, 9, ""},
      {OrphanKey(InodeId(5)), TableId::kOrphan, 5, 0, ""},
      {TruncationKey(InodeId(5)), TableId::kTruncation, 5, 0, ""},
      {DeleteTaskKey(ServerId(3), BlockId(9)), TableId::kDeleteTask, 3, 9, ""},
      {RepairKey(BlockId(9)), TableId::kRepair, 9, 0, ""},
      {PolicyWalkKey(InodeId(5)), TableId::kPolicyWalk, 5, 0, ""},
      {TrashKey(77, InodeId(5)), TableId::kTrash, 77, 5, ""},
      {DiskKey(ServerId(3), kUuid), TableId::kDisk, 3, 0, kUuid},
      {PlacementRuleKey(12), TableId::kPlacementRule, 12, 0, ""},
      {SessionKey(SessionId(8)), TableId::kSession, 8, 0, ""},
      {SessionByUuidKey(kUuid), TableId::kSessionByUuid, 0, 0, kUuid},
      {SlotReplyKey(SessionId(8), 63), TableId::kSlotReply, 8, 63, ""},
      {ServerKey(ServerId(3)), TableId::kServer, 3, 0, ""},
      {ServerByUuidKey(kUuid), TableId::kServerByUuid, 0, 0, kUuid},
  };
  std::set<std::string> keys;
  for (const Case& c : cases) {
    auto parsed = ParseKey(c.key);
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->table, c.table);
    EXPECT_EQ(parsed->first, c.first);
    EXPECT_EQ(parsed->second, c.second);
    EXPECT_EQ(parsed->name, c.name);
    EXPECT_TRUE(InRange(c.key, TableRange(c.table)));
    keys.insert(c.key);
  }
  EXPECT_EQ(keys.size(), cases.size());
}

TEST(KeysTest, RefuseWhatIsNotAKey) {
  EXPECT_FALSE(ParseKey(""));
  EXPECT_FALSE(ParseKey(std::string("\0applied", 8)));
  EXPECT_FALSE(ParseKey("\x7f"));
  EXPECT_FALSE(ParseKey(InodeKey(InodeId(1)) + "x"));
  EXPECT_FALSE(ParseKey(DentryKey(InodeId(1), "")));
  EXPECT_FALSE(ParseKey(SessionByUuidKey("short")));
  EXPECT_FALSE(ParseKey(SessionByUuidKey(kUuid + "x")));
  const std::string key = SlotReplyKey(SessionId(8), 63);
  for (size_t length = 0; length < key.size(); ++length) {
    EXPECT_FALSE(ParseKey(key.substr(0, length))) << length;
  }
}

TEST(KeysTest, NeverReadPastRandomBytes) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    std::string key(random() % 24, '\0');
    for (char& c : key) c = static_cast<char>(random());
    if (!key.empty() && random() % 2 == 0) key[0] = static_cast<char>(random() % 0x40);
    (void)ParseKey(key);
  }
}

TEST(KeysTest, RangesHoldExactlyTheirRows) {
  const KeyRange directory = DentryRange(InodeId(5));
  EXPECT_TRUE(InRange(DentryKey(InodeId(5), std::string(255, '\xff')), directory));
  EXPECT_TRUE(InRange(DentryKey(InodeId(5), "\x01"), directory));
  EXPECT_FALSE(InRange(DentryKey(InodeId(4), "\xff"), directory));
  EXPECT_FALSE(InRange(DentryKey(InodeId(6), "\x01"), directory));

  const KeyRange behind = DentryRange(InodeId(5), "b");
  EXPECT_FALSE(InRange(DentryKey(InodeId(5), "a"), behind));
  EXPECT_FALSE(InRange(DentryKey(InodeId(5), "b"), behind));
  EXPECT_TRUE(InRange(DentryKey(InodeId(5), "b\x01"), behind));
  EXPECT_TRUE(InRange(DentryKey(InodeId(5), "c"), behind));

  const KeyRange last = XattrRange(InodeId(kMax));
  EXPECT_TRUE(InRange(XattrKey(InodeId(kMax), "\xff\xff"), last));
  EXPECT_FALSE(InRange(FileBlockKey(InodeId(0), 0), last));

  const KeyRange blocks = FileBlockRange(InodeId(5), 2, 4);
  EXPECT_FALSE(InRange(FileBlockKey(InodeId(5), 1), blocks));
  EXPECT_TRUE(InRange(FileBlockKey(InodeId(5), 2), blocks));
  EXPECT_TRUE(InRange(FileBlockKey(InodeId(5), 3), blocks));
  EXPECT_FALSE(InRange(FileBlockKey(InodeId(5), 4), blocks));

  const KeyRange tasks = DeleteTaskRange(ServerId(2), BlockId(7));
  EXPECT_FALSE(InRange(DeleteTaskKey(ServerId(2), BlockId(6)), tasks));
  EXPECT_TRUE(InRange(DeleteTaskKey(ServerId(2), BlockId(7)), tasks));
  EXPECT_FALSE(InRange(DeleteTaskKey(ServerId(3), BlockId(7)), tasks));

  const KeyRange slots = SlotReplyRange(SessionId(8));
  EXPECT_TRUE(InRange(SlotReplyKey(SessionId(8), 0xffffffff), slots));
  EXPECT_FALSE(InRange(SlotReplyKey(SessionId(9), 0), slots));

  const KeyRange orphans = IdRangeFrom(TableId::kOrphan, 5);
  EXPECT_FALSE(InRange(OrphanKey(InodeId(4)), orphans));
  EXPECT_TRUE(InRange(OrphanKey(InodeId(5)), orphans));
  EXPECT_TRUE(InRange(OrphanKey(InodeId(kMax)), orphans));
  EXPECT_FALSE(InRange(TruncationKey(InodeId(0)), orphans));
}

}  // namespace
}  // namespace tercet
