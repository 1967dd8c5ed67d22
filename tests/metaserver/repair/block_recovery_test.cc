// What a writer's recovery means to others: to the servers that it names and leaves out.
#include <gmock/gmock.h>

#include <algorithm>

#include "tests/metaserver/repair/repair_fixture.h"

namespace tercet {
namespace {

using testing::Contains;
using testing::Not;

class BlockRecoveryTest : public RepairTest {
 protected:
  bool Suspected(ServerId server) {
    const auto state = services_->servers().Find(server);
    EXPECT_TRUE(state);
    return state && state->suspected();
  }
};

TEST_F(BlockRecoveryTest, OnlyWhoDoesNotAnswerTheActiveIsSuspected) {
  MakeCluster(3);
  const FileBlockRecord before = Row();
  Kill(before.chain[2]);
  const auto response = Recover({before.chain[1], before.chain[2]}, StatusCode::kDeadlineExceeded);
  // Too few are left for the writer, whose network is broken.
  EXPECT_NE(response.info.status.code, 0);
  EXPECT_FALSE(Suspected(before.chain[1])) << "others may well reach it";
  EXPECT_TRUE(Suspected(before.chain[2]));
}

TEST_F(BlockRecoveryTest, AServerThatOneWriterCannotReachLeavesItsBlockOnly) {
  MakeCluster(3);
  const ServerId unreached = Row().chain[0];
  ASSERT_EQ(Recover({unreached}, StatusCode::kUnavailable).info.status.code, 0);
  EXPECT_THAT(Row().chain, Not(Contains(unreached)));
  EXPECT_FALSE(Suspected(unreached));
  // So it is made a member again at once, and gets new blocks.
  Repair();
  ExpectWhole(3, contents_);
  EXPECT_THAT(Row().chain, Contains(unreached));
}

TEST_F(BlockRecoveryTest, OfAnUnwrittenBlockTooOnlyTheSilentAreSuspected) {
  MakeCluster(5);
  for (const bool silent : {false, true}) {
    const int64_t inode = CreateOk(session_, silent ? "g" : "h");
    wire::AllocateBlockRequest request;
    request.context = Context(session_);
    request.inode = inode;
    wire::AllocateBlockResponse allocated;
    metadata_->AllocateBlock(allocated, request);
    ASSERT_EQ(allocated.info.status.code, 0) << allocated.info.status.message;
    const ServerId named(static_cast<uint32_t>(allocated.block.chain.at(0)));
    if (silent) Kill(named);
    wire::RecoverBlockRequest recover;
    recover.session_id = session_;
    recover.inode = inode;
    recover.block_id = allocated.block.block_id;
    recover.generation = 1;
    recover.failed_servers = {static_cast<int32_t>(named.value())};
    recover.failure = static_cast<int32_t>(StatusCode::kUnavailable);
    wire::RecoverBlockResponse response;
    metadata_->RecoverBlock(response, recover);
    ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
    EXPECT_NE(response.block.block_id, allocated.block.block_id);
    EXPECT_EQ(Suspected(named), silent);
  }
}

TEST_F(BlockRecoveryTest, WhoIsLeftOutHearsOfItWithItsNextHeartbeat) {
  MakeCluster(3);
  const ServerId dropped = Row().chain[1];
  // So many deletions that their round has left this block behind.
  ASSERT_TRUE(services_->proposer()
                  .Propose(services_->proposer().epoch(), "tasks",
                           [&](OperationContext& context) {
                             MutableTables tables(context.transaction);
                             for (uint64_t i = 1; i <= 1000; ++i) {
                               tables.PutDeleteTask(dropped, BlockId(block_.value() + i),
                                                    {.generation = Generation(1), .hold = false});
                             }
                             return Status::Ok();
                           })
                  .ok());
  ASSERT_FALSE(Beat(dropped).delete_replicas.empty());
  ASSERT_EQ(Recover({dropped}, StatusCode::kUnavailable).info.status.code, 0);
  const auto tasks = Beat(dropped).delete_replicas;
  const auto found = std::find_if(tasks.begin(), tasks.end(), [&](const auto& task) {
    return task.block_id == static_cast<int64_t>(block_.value());
  });
  ASSERT_NE(found, tasks.end());
  EXPECT_TRUE(found->hold);
  EXPECT_EQ(found->generation, 2);
}

}  // namespace
}  // namespace tercet
