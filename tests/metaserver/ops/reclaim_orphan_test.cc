#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class ReclaimOrphanTest : public OpsTest {
 protected:
  int64_t file = Create(kRoot, "a");
};

TEST_F(ReclaimOrphanTest, RemovesEverythingOfAnOrphan) {
  WriteBlocks(file, 0, 2);
  ASSERT_OK(Allocate(file, 9));
  ASSERT_OK(SetXattr(file, "user.x", "1"));
  ASSERT_OK(Unlink(kRoot, "a"));
  auto result = Reclaim(file);
  ASSERT_OK(result);
  EXPECT_TRUE(result->done);
  EXPECT_EQ(result->removed, 3);
  EXPECT_EQ(DeleteTasks().size(), 9u);
  EXPECT_EQ(CounterValue(Counter::kInodeCount), 1u);
  EXPECT_EQ(CounterValue(Counter::kBlockCount), 0u);
  EXPECT_EQ(CounterValue(Counter::kOrphanCount), 0u);
  wire::GetAttributesRequest request;
  request.inode = file;
  EXPECT_CODE(kStaleHandle, GetAttributes(view, request));
  // Again, as after a lost answer.
  result = Reclaim(file);
  ASSERT_OK(result);
  EXPECT_TRUE(result->done);
  EXPECT_TRUE(last_changes.entries.empty());
}

TEST_F(ReclaimOrphanTest, WorksInBoundedBatches) {
  WriteBlocks(file, 0, 25);
  ASSERT_OK(Unlink(kRoot, "a"));
  for (int batch = 0; batch < 2; ++batch) {
    auto result = Reclaim(file, 10);
    ASSERT_OK(result);
    EXPECT_FALSE(result->done);
    EXPECT_EQ(result->removed, 10);
    EXPECT_LE(last_changes.entries.size(), 10u * 8 + 2);
    EXPECT_THAT(FindViolations(view), testing::IsEmpty());
  }
  auto result = Reclaim(file, 10);
  ASSERT_OK(result);
  EXPECT_TRUE(result->done);
  EXPECT_EQ(DeleteTasks().size(), 75u);
}

TEST_F(ReclaimOrphanTest, ABatchThatFitsExactlyIsTheLast) {
  WriteBlocks(file, 0, 10);
  ASSERT_OK(Unlink(kRoot, "a"));
  EXPECT_TRUE(Reclaim(file, 10)->done);
}

TEST_F(ReclaimOrphanTest, DoesNotTouchAFileWithAName) {
  WriteBlocks(file, 0, 1);
  auto result = Reclaim(file);
  ASSERT_OK(result);
  EXPECT_TRUE(result->done);
  EXPECT_TRUE(last_changes.entries.empty());
  EXPECT_EQ(Blocks(file).size(), 1u);
  EXPECT_CODE(kInvalidArgument, Reclaim(file, 0));
}

TEST_F(ReclaimOrphanTest, RefusesAnOrphanRowThatNamesALinkedFile) {
  MapView damaged = view;
  const InodeId inode(static_cast<uint64_t>(file));
  damaged.rows[OrphanKey(inode)] = OrphanRecord{1}.Encode();
  Transaction transaction(damaged);
  OperationContext context{transaction, session, now_ns, chooser};
  EXPECT_CODE(kCorruption, EvaluateReclaimOrphan(context, inode, 10));
}

}  // namespace
}  // namespace tercet
