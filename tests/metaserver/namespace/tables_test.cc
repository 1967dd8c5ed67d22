#include "metaserver/namespace/tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/metaserver/ops/map_view.h"

namespace tercet {
namespace {

using testing::ElementsAre;

const std::string kUuid = "0123456789abcdef";

class TablesTest : public testing::Test {
 protected:
  MapView base_;
  Transaction transaction_{base_};
  MutableTables tables_{transaction_};
};

TEST_F(TablesTest, FindWhatWasPutAndNothingElse) {
  InodeRecord inode;
  inode.nlink = 3;
  tables_.PutInode(InodeId(5), inode);
  EXPECT_EQ(tables_.GetInode(InodeId(5))->nlink, 3u);
  EXPECT_EQ(tables_.GetInode(InodeId(6)).code(), StatusCode::kStaleHandle);
  EXPECT_FALSE(tables_.FindInode(InodeId(6))->has_value());
  tables_.DeleteInode(InodeId(5));
  EXPECT_FALSE(tables_.FindInode(InodeId(5))->has_value());

  tables_.PutDentry(InodeId(1), "a", {InodeId(5), InodeType::kFifo});
  EXPECT_EQ((*tables_.FindDentry(InodeId(1), "a"))->inode, InodeId(5));
  EXPECT_FALSE(tables_.FindDentry(InodeId(1), "")->has_value());
  EXPECT_FALSE(tables_.FindDentry(InodeId(2), "a")->has_value());

  tables_.PutServer(ServerId(4), {kUuid, "h", 80, 1, 2, "v"});
  tables_.PutServerByUuid(kUuid, ServerId(4));
  EXPECT_EQ((*tables_.FindServer(ServerId(4)))->host, "h");
  EXPECT_EQ(*tables_.FindServerByUuid(kUuid), ServerId(4));
  EXPECT_FALSE(tables_.FindServerByUuid("fedcba9876543210")->has_value());

  tables_.PutSession(SessionId(6), {kUuid, "h", "/m", "v", 7, false});
  tables_.PutSessionByUuid(kUuid, SessionId(6));
  EXPECT_EQ(*tables_.FindSessionByUuid(kUuid), SessionId(6));
  EXPECT_TRUE(*tables_.IsSessionOpen(SessionId(6)));
  tables_.PutSession(SessionId(6), {kUuid, "h", "/m", "v", 7, true});
  EXPECT_FALSE(*tables_.IsSessionOpen(SessionId(6)));

  tables_.PutSlotReply(SessionId(6), 3, {9, "reply"});
  EXPECT_EQ((*tables_.FindSlotReply(SessionId(6), 3))->sequence, 9u);
  EXPECT_EQ((*tables_.FindSlotReply(SessionId(6), 3))->reply, "reply");
  EXPECT_FALSE(tables_.FindSlotReply(SessionId(6), 4)->has_value());
}

TEST_F(TablesTest, ScanInOrderFromAStartUntilTold) {
  for (uint64_t block : {300, 1, 2, 256}) {
    tables_.PutReplica(ServerId(1), BlockId(block), {Generation(block)});
    tables_.PutReplica(ServerId(2), BlockId(block + 1), {Generation(1)});
    tables_.PutDeleteTask(ServerId(1), BlockId(block), {Generation(1)});
  }
  std::vector<uint64_t> seen;
  auto note = [&](BlockId block, const auto&) {
    seen.push_back(block.value());
    return true;
  };
  ASSERT_TRUE(tables_.ScanReplicas(ServerId(1), BlockId(2), BlockId(300), note).ok());
  EXPECT_THAT(seen, ElementsAre(2, 256));
  seen.clear();
  ASSERT_TRUE(tables_.ScanDeleteTasks(ServerId(1), BlockId(2), note).ok());
  EXPECT_THAT(seen, ElementsAre(2, 256, 300));
  seen.clear();
  ASSERT_TRUE(tables_
                  .ScanDeleteTasks(ServerId(1), BlockId(0),
                                   [&](BlockId block, const auto&) {
                                     seen.push_back(block.value());
                                     return seen.size() < 2;
                                   })
                  .ok());
  EXPECT_THAT(seen, ElementsAre(1, 2));
  std::vector<std::pair<uint64_t, uint64_t>> all;
  ASSERT_TRUE(tables_
                  .ScanAllReplicas([&](ServerId server, BlockId block, const ReplicaRecord&) {
                    all.emplace_back(server.value(), block.value());
                    return true;
                  })
                  .ok());
  EXPECT_EQ(all.size(), 8u);
  EXPECT_EQ(all.back(), std::pair(uint64_t{2}, uint64_t{301}));
}

TEST_F(TablesTest, ScanStopsAtADamagedRow) {
  tables_.PutOrphan(InodeId(1), {1});
  transaction_.Put(OrphanKey(InodeId(2)), "\x01");
  tables_.PutOrphan(InodeId(3), {3});
  int seen = 0;
  const Status status = tables_.ScanOrphans(InodeId(0), [&](InodeId, const OrphanRecord&) {
    ++seen;
    return true;
  });
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_EQ(seen, 1);
}

TEST_F(TablesTest, CountersStartAtZeroAndIdsAtOne) {
  EXPECT_EQ(*tables_.GetCounter(Counter::kInodeCount), 0u);
  ASSERT_TRUE(tables_.AddToCounter(Counter::kInodeCount, 5).ok());
  ASSERT_TRUE(tables_.AddToCounter(Counter::kInodeCount, -5).ok());
  EXPECT_EQ(tables_.AddToCounter(Counter::kInodeCount, -1).code(), StatusCode::kInternal);
  EXPECT_EQ(*tables_.TakeNextId(Counter::kNextBlock), 1u);
  EXPECT_EQ(*tables_.TakeNextId(Counter::kNextBlock), 2u);
  EXPECT_EQ(*tables_.GetCounter(Counter::kNextBlock), 3u);
}

TEST_F(TablesTest, TellWhetherTheStateIsFormatted) {
  EXPECT_EQ(tables_.GetClusterId().code(), StatusCode::kFailedPrecondition);
  EXPECT_FALSE(tables_.FindFormatVersion()->has_value());
  tables_.PutClusterId(kUuid);
  tables_.PutFormatVersion(1);
  EXPECT_EQ(*tables_.GetClusterId(), kUuid);
  EXPECT_EQ(**tables_.FindFormatVersion(), 1u);
}

}  // namespace
}  // namespace tercet
