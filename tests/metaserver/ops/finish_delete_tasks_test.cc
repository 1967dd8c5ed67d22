#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class FinishDeleteTasksTest : public OpsTest {
 protected:
  Result<BatchResult> Finish(uint32_t server, const std::vector<wire::DeleteReplicaTask>& tasks) {
    return Do([&](OperationContext& context) {
      return EvaluateFinishDeleteTasks(context, ServerId(server), tasks);
    });
  }
  static wire::DeleteReplicaTask Task(int64_t block, int64_t generation) {
    wire::DeleteReplicaTask task;
    task.block_id = block;
    task.generation = generation;
    return task;
  }
};

TEST_F(FinishDeleteTasksTest, RemovesWhatAServerConfirmed) {
  const int64_t file = Create(kRoot, "a");
  const std::vector<int64_t> ids = WriteBlocks(file, 0, 2);
  ASSERT_OK(Truncate(file, 0));
  auto result = Finish(2, {Task(ids[0], 1), Task(4711, 1)});
  ASSERT_OK(result);
  EXPECT_EQ(result->removed, 1);
  EXPECT_EQ(DeleteTasks().size(), 5u);
  EXPECT_FALSE(Tables(view)
                   .FindDeleteTask(ServerId(2), BlockId(static_cast<uint64_t>(ids[0])))
                   ->has_value());
  EXPECT_EQ(Finish(2, {Task(ids[0], 1)})->removed, 0);
}

TEST_F(FinishDeleteTasksTest, KeepsATaskForANewerGeneration) {
  Transaction transaction(view);
  MutableTables(transaction).PutDeleteTask(ServerId(1), BlockId(1), {Generation(3)});
  MutableTables(transaction).PutCounter(Counter::kNextBlock, 2);
  view.Apply(transaction.Take());
  EXPECT_EQ(Finish(1, {Task(1, 2)})->removed, 0);
  EXPECT_EQ(DeleteTasks().size(), 1u);
  EXPECT_EQ(Finish(1, {Task(1, 3)})->removed, 1);
  EXPECT_TRUE(DeleteTasks().empty());
}

}  // namespace
}  // namespace tercet
