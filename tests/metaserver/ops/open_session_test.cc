#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using OpenSessionTest = OpsTest;

wire::OpenSessionRequest Request(const std::string& uuid) {
  wire::OpenSessionRequest request;
  request.client_uuid = uuid;
  request.host_name = "client.example";
  request.mount_point = "/mnt/tercet";
  request.client_version = "0.1.0";
  return request;
}

TEST_F(OpenSessionTest, OpensASessionAndRemembersTheClient) {
  auto opened = Do(EvaluateOpenSession, Request("abcdefghijklmnop"));
  ASSERT_OK(opened);
  EXPECT_EQ(opened->cluster_id, kClusterId);
  EXPECT_EQ(opened->root_inode, kRoot);
  const SessionId id(static_cast<uint64_t>(opened->session_id));
  auto record = Tables(view).FindSession(id);
  ASSERT_OK(record);
  ASSERT_TRUE(record->has_value());
  EXPECT_EQ((*record)->host_name, "client.example");
  EXPECT_EQ((*record)->mount_point, "/mnt/tercet");
  EXPECT_EQ((*record)->opened_at_ns, now_ns);
  EXPECT_TRUE(*Tables(view).IsSessionOpen(id));
  EXPECT_FALSE(*Tables(view).IsSessionOpen(id.Next()));
}

TEST_F(OpenSessionTest, GivesARetryTheSameSession) {
  auto first = Do(EvaluateOpenSession, Request("abcdefghijklmnop"));
  auto again = Do(EvaluateOpenSession, Request("abcdefghijklmnop"));
  auto other = Do(EvaluateOpenSession, Request("abcdefghijklmnoq"));
  ASSERT_OK(first);
  ASSERT_OK(again);
  ASSERT_OK(other);
  EXPECT_EQ(again->session_id, first->session_id);
  EXPECT_NE(other->session_id, first->session_id);
}

TEST_F(OpenSessionTest, BoundsWhatAClientSays) {
  EXPECT_CODE(kInvalidArgument, Do(EvaluateOpenSession, Request("")));
  EXPECT_CODE(kInvalidArgument, Do(EvaluateOpenSession, Request(std::string(17, 'u'))));
  auto request = Request("abcdefghijklmnop");
  request.host_name = std::string(256, 'h');
  EXPECT_CODE(kInvalidArgument, Do(EvaluateOpenSession, request));
  request = Request("abcdefghijklmnop");
  request.mount_point = std::string(4097, 'h');
  EXPECT_CODE(kInvalidArgument, Do(EvaluateOpenSession, request));
  request = Request("abcdefghijklmnop");
  request.client_version = std::string(101, 'h');
  EXPECT_CODE(kInvalidArgument, Do(EvaluateOpenSession, request));
}

}  // namespace
}  // namespace tercet
