// First writes to blocks that their servers may have lost: journal, stores and data planes
// together.
#include <gtest/gtest.h>

#include "tests/metaserver/repair/repair_fixture.h"

namespace tercet {
namespace {

using testing_support::WriteSpec;

class LateWriteTest : public RepairTest {
 protected:
  /// Reserves block 1 of the file.
  wire::BlockInfo Reserve() {
    wire::AllocateBlockRequest request;
    request.context = Context(session_);
    request.inode = inode_;
    request.block_index = 1;
    wire::AllocateBlockResponse response;
    metadata_->AllocateBlock(response, request);
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return response.block;
  }
  void RegisterAllAgain() {
    for (const auto& [id, server] : chunk_servers_) {
      const auto response =
          Register(RegisterRequest(static_cast<int>(id.value()), 1, server->port()));
      ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
      ASSERT_GT(response.next_block_id, 0);
      server->store().RaiseCreateFloor(BlockId(static_cast<uint64_t>(response.next_block_id)));
    }
  }
  Status WriteTo(const wire::BlockInfo& block, std::string_view data, bool create) {
    WriteSpec spec;
    spec.block = BlockId(static_cast<uint64_t>(block.block_id));
    spec.generation = Generation(static_cast<uint64_t>(block.generation));
    spec.data = data;
    spec.create = create;
    for (size_t i = 1; i < block.chain.size(); ++i) spec.downstream.push_back(At(block, i).hop());
    return RawClient(At(block, 0)).Write(spec).status;
  }
  TestServer& At(const wire::BlockInfo& block, size_t position) {
    return Server(ServerId(static_cast<uint32_t>(block.chain.at(position))));
  }
  wire::BlockInfo RecoverLost(const wire::BlockInfo& block, bool has_data) {
    wire::RecoverBlockRequest request;
    request.session_id = session_;
    request.inode = inode_;
    request.block_index = 1;
    request.block_id = block.block_id;
    request.generation = block.generation;
    request.failure = static_cast<int32_t>(StatusCode::kNotFound);
    request.has_data = has_data;
    wire::RecoverBlockResponse response;
    metadata_->RecoverBlock(response, request);
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return response.block;
  }
  void ExpectOnAll(const wire::BlockInfo& block, const std::string& contents) {
    ASSERT_EQ(block.chain.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(At(block, i).Contents(BlockId(static_cast<uint64_t>(block.block_id)),
                                      Generation(static_cast<uint64_t>(block.generation))),
                contents)
          << "server " << block.chain[i];
    }
  }
};

TEST_F(LateWriteTest, AnUnwrittenBlockIsReplacedOnTheSameServers) {
  MakeCluster(3);
  const wire::BlockInfo reserved = Reserve();
  RegisterAllAgain();
  EXPECT_EQ(WriteTo(reserved, "data", true).code(), StatusCode::kNotFound);
  const wire::BlockInfo fresh = RecoverLost(reserved, false);
  EXPECT_NE(fresh.block_id, reserved.block_id);
  ASSERT_TRUE(WriteTo(fresh, "data", true).ok());
  ExpectOnAll(fresh, "data");
  // What was given out before and was written goes on.
  EXPECT_TRUE(Write(0, "more").ok());
}

class LostReplicaTest : public LateWriteTest, public testing::WithParamInterface<size_t> {};

TEST_P(LostReplicaTest, IsMadeFromTheOthers) {
  const size_t position = GetParam();
  MakeCluster(3);
  const wire::BlockInfo reserved = Reserve();
  const std::string first = testing_support::Pattern(3, 100'000);
  ASSERT_TRUE(WriteTo(reserved, first, true).ok());
  const BlockId block(static_cast<uint64_t>(reserved.block_id));
  ASSERT_TRUE(At(reserved, position).store().MoveToTrash(block, Generation(1)).ok());
  RegisterAllAgain();
  EXPECT_EQ(WriteTo(reserved, "late", true).code(), StatusCode::kNotFound);
  const wire::BlockInfo recovered = RecoverLost(reserved, true);
  EXPECT_EQ(recovered.block_id, reserved.block_id);
  EXPECT_GT(recovered.generation, reserved.generation);
  ASSERT_TRUE(WriteTo(recovered, "late", false).ok());
  ExpectOnAll(recovered, "late" + first.substr(4));
}

// A seal made it in the place of a lost one while the block was reserved, so that nothing but its
// length says what it lacks.
TEST_F(LateWriteTest, AnEmptyReplicaOfACommittedBlockWaitsForThoseThatHoldIt) {
  MakeCluster(3);
  const wire::BlockInfo reserved = Reserve();
  const std::string data = testing_support::Pattern(5, 50'000);
  ASSERT_TRUE(WriteTo(reserved, data, true).ok());
  const BlockId block(static_cast<uint64_t>(reserved.block_id));
  TestServer& emptied = At(reserved, 0);
  ASSERT_TRUE(emptied.store().MoveToTrash(block, Generation(1)).ok());
  BegunReconfiguration begun;
  ASSERT_TRUE(services_->proposer()
                  .Propose(services_->proposer().epoch(), "begin",
                           [&](OperationContext& context) -> Status {
                             ASSIGN_OR_RETURN(begun, EvaluateBeginReconfiguration(context, block,
                                                                                  Generation(1)));
                             return Status::Ok();
                           })
                  .ok());
  wire::SealHeader seal = testing_support::SealOf(block, begun.sealing);
  seal.create_if_absent = begun.reserved;
  ASSERT_TRUE(RawClient(emptied).Seal(seal).status.ok());
  wire::CommitWriteRequest commit;
  commit.context = Context(session_);
  commit.inode = inode_;
  commit.written_blocks = {reserved.block_id};
  commit.end_offset = (1 << 20) + static_cast<int64_t>(data.size());
  wire::CommitWriteResponse committed;
  metadata_->CommitWrite(committed, commit);
  ASSERT_EQ(committed.info.status.code, 0) << committed.info.status.message;

  const std::vector<ServerId> silent = {At(reserved, 1).id(), At(reserved, 2).id()};
  for (const ServerId server : silent) Kill(server);
  PassTime(45'000);
  Repair();
  const auto row = [&] {
    return **tables().FindFileBlock(InodeId(static_cast<uint64_t>(inode_)), 1);
  };
  EXPECT_EQ(row().chain.size(), 3u) << "what was acknowledged is with the silent ones";
  // Nor does a writer get a chain of the empty one and empty copies of it.
  AddServer(4);
  wire::RecoverBlockRequest request;
  request.session_id = session_;
  request.inode = inode_;
  request.block_index = 1;
  request.block_id = reserved.block_id;
  request.generation = 1;
  request.failure = static_cast<int32_t>(StatusCode::kStaleGeneration);
  wire::RecoverBlockResponse refused;
  metadata_->RecoverBlock(refused, request);
  EXPECT_EQ(refused.info.status.code, static_cast<int32_t>(StatusCode::kUnavailable));
  EXPECT_EQ(row().chain.size(), 3u);

  for (const ServerId server : silent) {
    Server(server).Restart();
    killed_.erase(server);
    incarnations_[server] = 2;
    RegisterServer(server, Server(server).port(), 2);
  }
  Repair();
  const FileBlockRecord whole = row();
  ASSERT_EQ(whole.chain.size(), 3u);
  for (const ServerId server : whole.chain) {
    EXPECT_EQ(Server(server).Contents(block, whole.generation), data) << server.value();
  }
}

INSTANTIATE_TEST_SUITE_P(Positions, LostReplicaTest, testing::Values(0, 1, 2));

}  // namespace
}  // namespace tercet
