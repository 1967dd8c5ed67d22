#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using RegisterServerTest = OpsTest;

wire::RegisterServerRequest Request(const std::string& uuid) {
  wire::RegisterServerRequest request;
  request.server_uuid = uuid;
  request.host = "10.0.0.9";
  request.port = 7009;
  request.incarnation = -3;
  request.version = "0.1.0";
  return request;
}

TEST_F(RegisterServerTest, GivesANewServerAnIdAndTheClustersIdentity) {
  auto registered = Do(EvaluateRegisterServer, Request("server-uuid-new0"));
  ASSERT_OK(registered);
  EXPECT_EQ(registered->server_id, 6);
  EXPECT_EQ(registered->cluster_id, kClusterId);
  auto record = Tables(view).FindServer(ServerId(6));
  ASSERT_OK(record);
  ASSERT_TRUE(record->has_value());
  EXPECT_EQ((*record)->host, "10.0.0.9");
  EXPECT_EQ((*record)->port, 7009);
  EXPECT_EQ(static_cast<int64_t>((*record)->incarnation), -3);
  EXPECT_EQ((*record)->registered_at_ns, now_ns);
}

TEST_F(RegisterServerTest, SaysWhichBlocksWereGivenOut) {
  EXPECT_EQ(Do(EvaluateRegisterServer, Request("server-uuid-new0"))->next_block_id, 1);
  const int64_t file = Create(kRoot, "a");
  ASSERT_OK(Allocate(file, 0));
  ASSERT_OK(Allocate(file, 1));
  EXPECT_EQ(Do(EvaluateRegisterServer, Request("server-uuid-new0"))->next_block_id, 3);
}

TEST_F(RegisterServerTest, KeepsTheIdAndBringsTheAddressUpToDate) {
  auto request = Request("server-uuid-0001");
  request.cluster_id = kClusterId;
  auto registered = Do(EvaluateRegisterServer, request);
  ASSERT_OK(registered);
  EXPECT_EQ(registered->server_id, 1);
  EXPECT_EQ((*Tables(view).FindServer(ServerId(1)))->port, 7009);
  EXPECT_EQ(last_changes.entries.size(), 1u);
  ASSERT_OK(Do(EvaluateRegisterServer, request));
  EXPECT_TRUE(last_changes.entries.empty());
}

TEST_F(RegisterServerTest, RefusesAnotherClustersServerAndMalformedRequests) {
  auto request = Request("server-uuid-new0");
  request.cluster_id = "another-cluster!";
  EXPECT_CODE(kWrongCluster, Do(EvaluateRegisterServer, request));
  EXPECT_CODE(kInvalidArgument, Do(EvaluateRegisterServer, Request("short")));
  request = Request("server-uuid-new0");
  request.host = "";
  EXPECT_CODE(kInvalidArgument, Do(EvaluateRegisterServer, request));
  for (int32_t port : {0, -1, 65536}) {
    request = Request("server-uuid-new0");
    request.port = port;
    EXPECT_CODE(kInvalidArgument, Do(EvaluateRegisterServer, request));
  }
}

}  // namespace
}  // namespace tercet
