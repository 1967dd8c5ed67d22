// Who may talk to a data plane.
#include <gtest/gtest.h>

#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers

constexpr ServerId kSelf{4};

class HelloTest : public testing::Test {
 protected:
  TestServer server_{kSelf, {}};
};

TEST_F(HelloTest, RightOneIsAccepted) {
  RawClient client(server_.port());
  EXPECT_TRUE(client.Hello(RawClient::HelloFor(kSelf)).ok());
  EXPECT_EQ(client.Stat(BlockId(1)).status.code(), StatusCode::kNotFound);
}

TEST_F(HelloTest, AnotherClusterIsRefused) {
  RawClient client(server_.port());
  wire::HelloHeader hello = RawClient::HelloFor(kSelf);
  hello.cluster_id = "another-cluster!";
  EXPECT_EQ(client.Hello(hello).code(), StatusCode::kWrongCluster);
  EXPECT_FALSE(client.Receive().ok()) << "the connection has to end";
  EXPECT_EQ(server_.data_plane().counters().connections_refused.load(), 1u);
}

TEST_F(HelloTest, WhoLooksForAnotherServerIsRefused) {
  RawClient client(server_.port());
  const Status status = client.Hello(RawClient::HelloFor(ServerId(5)));
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("this is server 4, not 5"), std::string::npos)
      << status.message();
  EXPECT_FALSE(client.Receive().ok());
}

TEST_F(HelloTest, AnotherVersionIsRefused) {
  RawClient client(server_.port());
  wire::HelloHeader hello = RawClient::HelloFor(kSelf);
  hello.protocol_version = kDataPlaneProtocolVersion + 1;
  EXPECT_EQ(client.Hello(hello).code(), StatusCode::kVersionTooNew);
  EXPECT_FALSE(client.Receive().ok());
}

TEST_F(HelloTest, ServerWithoutANumberAsksToComeBack) {
  auto unregistered = DataPlaneServer::Start({.listen = {"127.0.0.1", 0}}, server_.store());
  ASSERT_TRUE(unregistered.ok()) << unregistered.status().ToString();
  {
    RawClient client((*unregistered)->port());
    EXPECT_EQ(client.Hello(RawClient::HelloFor(kSelf)).code(), StatusCode::kUnavailable);
  }
  (*unregistered)->SetIdentity(kCluster, kSelf);
  RawClient client((*unregistered)->port());
  EXPECT_TRUE(client.Hello(RawClient::HelloFor(kSelf)).ok());
}

TEST_F(HelloTest, NothingIsServedBeforeIt) {
  RawClient client(server_.port());
  client.SendWrite({.block = BlockId(1), .data = "x"});
  EXPECT_FALSE(client.Receive().ok());
  EXPECT_EQ(server_.store().Stat(BlockId(1)).code(), StatusCode::kNotFound);
  EXPECT_EQ(server_.data_plane().counters().bad_frames.load(), 1u);
}

TEST_F(HelloTest, SecondOneEndsTheConnection) {
  RawClient client(server_);
  EXPECT_FALSE(client.Hello(RawClient::HelloFor(kSelf)).ok());
}

TEST_F(HelloTest, PortInUseIsSaid) {
  auto second = DataPlaneServer::Start({.listen = {"127.0.0.1", server_.port()}}, server_.store());
  EXPECT_EQ(second.status().code(), StatusCode::kBusy) << second.status().ToString();
}

TEST_F(HelloTest, NewerConnectionOfALinkEndsTheOlderOne) {
  wire::HelloHeader hello = RawClient::HelloFor(kSelf);
  hello.__set_link_name("server 1 link 0");
  hello.__set_link_number(10);
  RawClient older(server_.port());
  ASSERT_TRUE(older.Hello(hello).ok());
  ASSERT_TRUE(older.Write({.block = BlockId(1), .data = "old"}).status.ok());

  hello.__set_link_number(11);
  RawClient newer(server_.port());
  ASSERT_TRUE(newer.Hello(hello).ok());
  // The older one's thread had ended before the newer one was greeted: this cannot be applied.
  older.SendWrite({.block = BlockId(1), .data = "late"});
  EXPECT_TRUE(newer.Write({.block = BlockId(1), .data = "new"}).status.ok());
  EXPECT_FALSE(older.Receive().ok());
  EXPECT_EQ(server_.Contents(BlockId(1)), "new");

  hello.__set_link_number(10);
  RawClient late(server_.port());
  EXPECT_EQ(late.Hello(hello).code(), StatusCode::kConflict);
  EXPECT_EQ(newer.Stat(BlockId(1)).status.code(), StatusCode::kOk);
}

TEST_F(HelloTest, LinksOfOtherNamesAreLeftAlone) {
  wire::HelloHeader hello = RawClient::HelloFor(kSelf);
  hello.__set_link_name("server 1 link 0");
  hello.__set_link_number(1);
  RawClient first(server_.port());
  ASSERT_TRUE(first.Hello(hello).ok());
  hello.__set_link_name("server 1 link 1");
  RawClient second(server_.port());
  ASSERT_TRUE(second.Hello(hello).ok());
  EXPECT_TRUE(first.Write({.block = BlockId(1), .data = "x"}).status.ok());
}

}  // namespace
}  // namespace tercet
