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

INSTANTIATE_TEST_SUITE_P(Positions, LostReplicaTest, testing::Values(0, 1, 2));

}  // namespace
}  // namespace tercet
