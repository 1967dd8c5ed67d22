#include <map>
#include <utility>

#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

class PolicyWalkTest : public ReplicaTest {
 protected:
  int ReplicasOf(int64_t inode) const { return InodeRow(inode).replicas; }
};

TEST_F(PolicyWalkTest, ReachesEverythingBelow) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t e = MakeDirectory(d, "e");
  const int64_t f = MakeDirectory(e, "f");
  std::vector<int64_t> inodes = {d, e, f};
  for (int64_t directory : {d, e, f}) {
    for (int i = 0; i < 7; ++i) {
      inodes.push_back(Create(directory, "file" + std::to_string(i)));
    }
  }
  const int64_t beside = Create(kRoot, "beside");
  Make(d, "pipe", wire::FileType::FIFO);
  ASSERT_OK(SetReplicas("/d", 2));
  const int steps = WalkPoliciesToTheEnd(3);
  EXPECT_GE(steps, 8);
  for (int64_t inode : inodes) EXPECT_EQ(ReplicasOf(inode), 2) << inode;
  EXPECT_EQ(ReplicasOf(beside), 3);
}

TEST_F(PolicyWalkTest, OneRowAtATimeGetsToTheEndToo) {
  const int64_t d = MakeDirectory(kRoot, "d");
  MakeDirectory(d, "empty");
  const int64_t inode = Create(d, "f");
  WriteBlocks(inode, 0, 3);
  ASSERT_OK(SetReplicas("/d", 2));
  WalkPoliciesToTheEnd(1);
  EXPECT_EQ(ReplicasOf(inode), 2);
}

TEST_F(PolicyWalkTest, BlocksGetRowsForWhatTheyNow) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t inode = Create(d, "f");
  blocks = WriteBlocks(inode, 0, 250);
  ASSERT_OK(SetReplicas("/d", 4));
  auto first = WalkPolicies(100);
  ASSERT_OK(first);
  EXPECT_FALSE(first->done);
  EXPECT_LE(last_changes.entries.size(), 110u) << "records stay small";
  WalkPoliciesToTheEnd();
  for (int64_t block : blocks) EXPECT_EQ(Reasons(block), kRepairShort) << block;
  ASSERT_OK(SetReplicas("/d", 2));
  WalkPoliciesToTheEnd();
  for (int64_t block : blocks) EXPECT_EQ(Reasons(block), kRepairSurplus) << block;
  ASSERT_OK(SetReplicas("/d", 3));
  WalkPoliciesToTheEnd();
  for (int64_t block : blocks) EXPECT_EQ(Reasons(block), 0) << block;
  // Where a replica may be is for placement to judge.
  ASSERT_OK(SetDomain("/d", "rack"));
  WalkPoliciesToTheEnd();
  for (int64_t block : blocks) EXPECT_EQ(Reasons(block), kRepairMisplaced) << block;
}

TEST_F(PolicyWalkTest, AFilesOwnPolicyIsCarriedToItsBlocks) {
  MakeFile("a", 3);
  ASSERT_OK(SetReplicas("/a", 2));
  WalkPoliciesToTheEnd();
  for (int64_t block : blocks) EXPECT_EQ(Reasons(block), kRepairSurplus) << block;
}

TEST_F(PolicyWalkTest, WhatIsMadeMeanwhileGetsIt) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t e = MakeDirectory(d, "e");
  for (int i = 0; i < 9; ++i) Create(d, "a" + std::to_string(i));
  ASSERT_OK(SetReplicas("/d", 2));
  ASSERT_OK(WalkPolicies(4));
  const int64_t early_name = Create(d, "0");
  const int64_t below = Create(e, "x");
  EXPECT_EQ(ReplicasOf(early_name), 2);
  EXPECT_EQ(ReplicasOf(below), 3) << "not reached yet";
  WalkPoliciesToTheEnd();
  EXPECT_EQ(ReplicasOf(below), 2);
}

TEST_F(PolicyWalkTest, WhatIsRenamedMeanwhileIsNotMissed) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t late = MakeDirectory(d, "z");
  const int64_t deep = Create(late, "deep");
  for (int i = 0; i < 9; ++i) Create(d, "a" + std::to_string(i));
  const int64_t last = Create(d, "y");
  const auto last_blocks = WriteBlocks(last, 0, 2);
  const int64_t out = Create(late, "out");
  ASSERT_OK(SetReplicas("/d", 2));
  ASSERT_OK(WalkPolicies(4));
  // From behind the walk's place to before it.
  ASSERT_OK(Rename(d, "y", d, "0"));
  EXPECT_EQ(ReplicasOf(last), 2);
  ASSERT_OK(Rename(d, "z", d, "1"));
  // And out of the directory: it was there when the policy was set.
  ASSERT_OK(Rename(late, "out", kRoot, "out"));
  WalkPoliciesToTheEnd();
  EXPECT_EQ(ReplicasOf(deep), 2);
  EXPECT_EQ(ReplicasOf(out), 2);
  for (int64_t block : last_blocks) EXPECT_EQ(Reasons(block), kRepairSurplus);
}

TEST_F(PolicyWalkTest, ExchangedOnesBothGetIt) {
  const int64_t d = MakeDirectory(kRoot, "d");
  for (int i = 0; i < 9; ++i) Create(d, "a" + std::to_string(i));
  const int64_t inside = Create(d, "z");
  const int64_t outside = Create(kRoot, "o");
  ASSERT_OK(SetReplicas("/d", 2));
  ASSERT_OK(WalkPolicies(4));
  ASSERT_OK(Rename(d, "z", kRoot, "o", RenameFlag::kExchange));
  WalkPoliciesToTheEnd();
  EXPECT_EQ(ReplicasOf(inside), 2);
  EXPECT_EQ(ReplicasOf(outside), 2) << "the walk comes by there";
}

TEST_F(PolicyWalkTest, ANewerChangeAboveOverridesAnOlderOneBelow) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t e = MakeDirectory(d, "e");
  std::vector<int64_t> files;
  for (int i = 0; i < 9; ++i) files.push_back(Create(e, "a" + std::to_string(i)));
  ASSERT_OK(SetReplicas("/d/e", 2));
  ASSERT_OK(WalkPolicies(4));
  ASSERT_OK(SetReplicas("/d", 4));
  ASSERT_OK(SetRetention("/d", 9));
  WalkPoliciesToTheEnd(3);
  for (int64_t inode : files) {
    EXPECT_EQ(ReplicasOf(inode), 4);
    EXPECT_EQ(InodeRow(inode).trash_retention_s, 9u);
  }
}

TEST_F(PolicyWalkTest, ChildrenKeepWhatIsNotChanged) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t e = MakeDirectory(d, "e");
  const int64_t inode = Create(e, "f");
  ASSERT_OK(SetDomain("/d/e", "rack"));
  wire::SetPolicyRequest require = PolicyRequest("/d/e");
  require.__set_require({{"medium", "ssd"}});
  ASSERT_OK(Do(EvaluateSetPolicy, require));
  WalkPoliciesToTheEnd();
  ASSERT_OK(SetDomain("/d", "zone"));
  WalkPoliciesToTheEnd();
  const PlacementRule rule = *tables().GetPlacementRule(InodeRow(inode).rule_id);
  EXPECT_EQ(rule.domain, "zone");
  EXPECT_EQ(rule.require.at("medium"), "ssd");
}

TEST_F(PolicyWalkTest, RemovedInodesEndTheirRows) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t e = MakeDirectory(d, "e");
  MakeFile("f");
  ASSERT_OK(SetReplicas("/d", 2));
  ASSERT_OK(SetReplicas("/f", 2));
  ASSERT_OK(RemoveDirectory(d, "e"));
  ASSERT_OK(RemoveDirectory(kRoot, "d"));
  ASSERT_OK(Unlink(kRoot, "f"));
  for (int64_t inode : {d, e, file}) ASSERT_OK(Reclaim(inode));
  WalkPoliciesToTheEnd();
  ASSERT_OK(WalkPolicies(1));
  EXPECT_TRUE(last_changes.entries.empty());
  EXPECT_CODE(kInvalidArgument, WalkPolicies(0));
}

TEST_F(PolicyWalkTest, WhatIsMovedWhenThereIsNoRoomForAnotherRuleKeepsItsOwn) {
  const int64_t d = MakeDirectory(kRoot, "d");
  for (int i = 0; i < 9; ++i) Create(d, "a" + std::to_string(i));
  const int64_t moved = Create(d, "y");
  const int64_t deleted = Create(d, "z");
  for (const std::string name : {"y", "z"}) {
    wire::SetPolicyRequest own = PolicyRequest("/d/" + name);
    own.__set_require({{"medium", "ssd"}});
    ASSERT_OK(Do(EvaluateSetPolicy, own));
  }
  WalkPoliciesToTheEnd();
  const uint32_t own_rule = InodeRow(moved).rule_id;
  wire::SetPolicyRequest change = PolicyRequest("/d");
  change.__set_domain("rack");
  change.__set_replicas(2);
  change.__set_trash_retention_s(60);
  ASSERT_OK(Do(EvaluateSetPolicy, change));
  ASSERT_OK(WalkPolicies(4));
  ASSERT_OK(Do([&](OperationContext& context) {
    MutableTables tables(context.transaction);
    for (uint32_t rule = 3; rule <= kMaxPlacementRules; ++rule) {
      tables.PutPlacementRule(rule, {.domain = "d" + std::to_string(rule), .require = {}});
    }
    return Status::Ok();
  }));
  ASSERT_OK(Rename(d, "y", kRoot, "y"));
  ASSERT_OK(Unlink(d, "z"));
  for (int64_t inode : {moved, deleted}) {
    EXPECT_EQ(InodeRow(inode).rule_id, own_rule);
    EXPECT_EQ(ReplicasOf(inode), 2) << "the rest of the change reached it";
  }
}

TEST_F(PolicyWalkTest, WhatCannotBeReadIsPassedOver) {
  const int64_t d = MakeDirectory(kRoot, "d");
  std::vector<int64_t> files;
  for (int i = 0; i < 5; ++i) files.push_back(Create(d, "a" + std::to_string(i)));
  const std::string gone_key = InodeKey(Inode(files[3]));
  const std::string gone_row = view.rows.at(gone_key);
  MakeFile("broken", 3);
  const auto broken_blocks = blocks;
  const std::string inode_key = InodeKey(Inode(files[1]));
  const std::string block_key = FileBlockKey(Inode(file), 1);
  MakeFile("whole", 3);
  const std::string inode_row = std::exchange(view.rows[inode_key], "\1");
  const std::string block_row = std::exchange(view.rows[block_key], "\1");
  view.rows.erase(gone_key);
  for (const std::string path : {"/d", "/broken", "/whole"}) ASSERT_OK(SetReplicas(path, 2));
  WalkPoliciesToTheEnd(3);
  view.rows[inode_key] = inode_row;
  view.rows[gone_key] = gone_row;
  view.rows[block_key] = block_row;
  for (int64_t inode : files)
    EXPECT_EQ(ReplicasOf(inode), inode == files[1] || inode == files[3] ? 3 : 2);
  for (int64_t block : blocks) EXPECT_EQ(Reasons(block), kRepairSurplus);
  for (int64_t block : broken_blocks) ASSERT_OK(Review(block));
}

}  // namespace
}  // namespace tercet
