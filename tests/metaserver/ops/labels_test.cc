#include "metaserver/ops/labels.h"

#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

TEST(LabelsTest, WordsAreShortAndPlain) {
  EXPECT_TRUE(IsLabelWord("rack-1_a.B"));
  EXPECT_TRUE(IsLabelWord(std::string(64, 'x')));
  EXPECT_FALSE(IsLabelWord(std::string(65, 'x')));
  for (const char* bad : {"", "a b", "a=b", "ä", "a/b", "a,b"})
    EXPECT_FALSE(IsLabelWord(bad)) << bad;
}

TEST(LabelsTest, AtMostSixteen) {
  std::map<std::string, std::string> labels;
  for (int i = 0; i < 16; ++i) labels["k" + std::to_string(i)] = "v";
  EXPECT_TRUE(CheckLabels(labels).ok());
  labels["one-more"] = "v";
  EXPECT_CODE(kInvalidArgument, CheckLabels(labels));
  EXPECT_CODE(kInvalidArgument, CheckLabels({{"rack", ""}}));
  EXPECT_CODE(kInvalidArgument, CheckLabels({{"ra ck", "r1"}}));
}

class RegisterLabelsTest : public OpsTest {};

TEST_F(RegisterLabelsTest, MalformedOnesAreRefused) {
  wire::RegisterServerRequest request;
  request.server_uuid = "server-uuid-0009";
  request.host = "10.0.0.1";
  request.port = 7000;
  request.labels = {{"rack", "r 1"}};
  EXPECT_CODE(kInvalidArgument, Do(EvaluateRegisterServer, request));
  request.labels = {{"rack", "r1"}};
  ASSERT_OK(Do(EvaluateRegisterServer, request));
  ASSERT_OK(Do(EvaluateRegisterServer, request));
  EXPECT_TRUE(last_changes.entries.empty()) << "nothing new";
  request.labels = {};
  ASSERT_OK(Do(EvaluateRegisterServer, request));
  EXPECT_FALSE(last_changes.entries.empty());
}

}  // namespace
}  // namespace tercet
