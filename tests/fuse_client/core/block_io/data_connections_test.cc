#include "fuse_client/core/block_io/data_connections.h"

#include <gtest/gtest.h>

#include "common/rpc/socket.h"
#include "tests/fuse_client/core/block_io/fake_chunk_server.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

DataConnectionOptions Options() {
  DataConnectionOptions options;
  options.cluster_id = "cluster";
  options.caller = "test";
  options.connect_timeout = milliseconds(20'000);
  options.max_idle_per_server = 2;
  return options;
}

class DataConnectionsTest : public testing::Test {
 protected:
  SimClock clock_;
  FakeChunkServer server_{ServerId(7)};
  DataConnections connections_{Options(), &clock_};
};

TEST_F(DataConnectionsTest, ReusesWhatWasGivenBack) {
  auto first = connections_.Take(server_.replica());
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_FALSE(first->reused);
  FrameConnection* raw = first->connection.get();
  connections_.Put(server_.replica(), std::move(first->connection));
  auto second = connections_.Take(server_.replica());
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(second->reused);
  EXPECT_EQ(second->connection.get(), raw);
  EXPECT_EQ(server_.counts().hello, 1);
}

TEST_F(DataConnectionsTest, KeepsABoundedNumberIdle) {
  std::vector<DataConnections::Taken> taken;
  for (int i = 0; i < 5; ++i) {
    taken.push_back(std::move(connections_.Take(server_.replica())).value());
  }
  for (auto& one : taken) connections_.Put(server_.replica(), std::move(one.connection));
  EXPECT_EQ(connections_.idle_count(ServerId(7)), 2u);
}

TEST_F(DataConnectionsTest, DoesNotReuseWhatTheServerClosed) {
  auto taken = connections_.Take(server_.replica());
  connections_.Put(server_.replica(), std::move(taken->connection));
  server_.Stop();
  server_.Restart();
  auto again = connections_.Take(server_.replica());
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_FALSE(again->reused);
}

TEST_F(DataConnectionsTest, DoesNotReuseConnectionsToAnOldAddress) {
  auto taken = connections_.Take(server_.replica());
  connections_.Put(server_.replica(), std::move(taken->connection));
  FakeChunkServer moved(ServerId(7));
  auto again = connections_.Take(moved.replica());
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->reused);
  EXPECT_EQ(moved.counts().hello, 1);
}

TEST_F(DataConnectionsTest, AnotherClusterIsRefused) {
  FakeChunkServer foreign(ServerId(8), "another cluster");
  EXPECT_EQ(connections_.Take(foreign.replica()).code(), StatusCode::kWrongCluster);
}

TEST_F(DataConnectionsTest, AnotherServerAtTheAddressIsRefused) {
  const ReplicaAddress wrong{ServerId(9), server_.replica().address};
  auto taken = connections_.Take(wrong);
  EXPECT_EQ(taken.code(), StatusCode::kUnavailable);
  EXPECT_NE(taken.status().message().find("is chunk server 7, not 9"), std::string::npos)
      << taken.status().ToString();
}

TEST_F(DataConnectionsTest, FailedServerIsRememberedForAWhileWhichGrows) {
  const ServerId id(7);
  server_.Stop();
  EXPECT_FALSE(connections_.RecentlyFailed(id));
  EXPECT_EQ(connections_.Take(server_.replica()).code(), StatusCode::kUnavailable);
  for (const int seconds : {2, 4, 8, 16, 16}) {
    EXPECT_TRUE(connections_.RecentlyFailed(id));
    connections_.NoteFailure(id);  // another user that meets the same failure
    clock_.Advance(std::chrono::seconds(seconds) - milliseconds(1));
    EXPECT_TRUE(connections_.RecentlyFailed(id)) << seconds;
    clock_.Advance(milliseconds(1));
    EXPECT_FALSE(connections_.RecentlyFailed(id)) << seconds;
    EXPECT_FALSE(connections_.Take(server_.replica()).ok());
  }
  server_.Restart();
  auto taken = connections_.Take(server_.replica());
  ASSERT_TRUE(taken.ok());
  connections_.Put(server_.replica(), std::move(taken->connection));
  EXPECT_FALSE(connections_.RecentlyFailed(id));
  connections_.NoteFailure(id);
  clock_.Advance(std::chrono::seconds(2));
  EXPECT_FALSE(connections_.RecentlyFailed(id)) << "success starts the back-off anew";
}

TEST_F(DataConnectionsTest, FailuresAreCountedOnceAndForgottenInTime) {
  EXPECT_FALSE(connections_.AnyRecentlyFailed());
  EXPECT_EQ(connections_.failures(), 0u);
  connections_.NoteFailure(ServerId(7));
  connections_.NoteFailure(ServerId(7));
  EXPECT_EQ(connections_.failures(), 1u);
  EXPECT_TRUE(connections_.AnyRecentlyFailed());
  EXPECT_FALSE(connections_.RecentlyFailed(ServerId(8)));
  clock_.Advance(std::chrono::seconds(1));
  connections_.NoteFailure(ServerId(8));
  EXPECT_EQ(connections_.failures(), 2u);
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_FALSE(connections_.RecentlyFailed(ServerId(7)));
  EXPECT_TRUE(connections_.AnyRecentlyFailed()) << "the other one";
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_FALSE(connections_.AnyRecentlyFailed());
}

TEST_F(DataConnectionsTest, FailureClosesIdleConnections) {
  auto taken = connections_.Take(server_.replica());
  connections_.Put(server_.replica(), std::move(taken->connection));
  connections_.NoteFailure(ServerId(7));
  EXPECT_EQ(connections_.idle_count(ServerId(7)), 0u);
}

TEST(DataConnectionsTimeoutTest, ServerThatAcceptsButDoesNotAnswerIsGivenUp) {
  // As a stopped process does: the kernel accepts for it.
  auto listening = ListenOn(HostPort{"127.0.0.1", 0});
  ASSERT_TRUE(listening.ok());
  DataConnectionOptions options = Options();
  options.connect_timeout = milliseconds(30);
  DataConnections connections(options);
  const ReplicaAddress replica{ServerId(3), {"127.0.0.1", listening->port}};
  EXPECT_EQ(connections.Take(replica).code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(connections.RecentlyFailed(ServerId(3)));
}

}  // namespace
}  // namespace tercet
