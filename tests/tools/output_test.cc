#include "tools/output.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tools/admin_client.h"
#include "tools/reports.h"

namespace tercet {
namespace {

TEST(OutputTest, BytesTimesAndNumbersForPeople) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1024), "1.0 KiB");
  EXPECT_EQ(HumanBytes((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(HumanBytes(UINT64_MAX), "16.0 EiB");
  EXPECT_EQ(HumanMillis(-1), "-");
  EXPECT_EQ(HumanMillis(999), "999 ms");
  EXPECT_EQ(HumanMillis(119'999), "119 s");
  EXPECT_EQ(HumanMillis(3 * 86'400'000), "3 d");
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(1234567), "1,234,567");
  EXPECT_EQ(Grouped(-123), "-123");
  EXPECT_EQ(Grouped(-1234), "-1,234");
  EXPECT_EQ(Hex(std::string("\x00\xff", 2)), "00ff");
}

TEST(OutputTest, ColumnsAreAsWideAsTheirWidestCell) {
  Table table({{"NAME"}, {"SIZE", true}});
  table.Add({"a", "10"});
  table.Add({"longer", "7"});
  EXPECT_EQ(table.ToString(), "NAME    SIZE\na         10\nlonger     7\n");
}

TEST(OutputTest, NamesStayOnOneLineAndShowWhatTheyHold) {
  EXPECT_EQ(Printable("plain näme.txt"), "plain näme.txt");
  EXPECT_EQ(Printable("a\nb\tc\\"), "a\\nb\\tc\\\\");
  EXPECT_EQ(Printable("\x1b[31m\x7f\xc2\x9b"), "\\x1b[31m\\x7f\\xc2\\x9b");
  EXPECT_EQ(Printable("\xff\xfe"
                      "bad\xe4\xb8"),
            "\\xff\\xfebad\\xe4\\xb8");
}

TEST(OutputTest, NamesThatAreNotUtf8DoNotBreakJson) {
  const std::string text = JsonText({{"name",
                                      "\xff\xfe"
                                      "bad"}},
                                    -1);
  EXPECT_EQ(nlohmann::json::parse(text).at("name"), "\uFFFD\uFFFDbad");
}

wire::GetFileInfoResponse SampleFile() {
  wire::GetFileInfoResponse reply;
  reply.attributes.inode = 7;
  reply.attributes.mode = 0640;
  reply.attributes.size_bytes = 100;
  reply.attributes.block_size_bytes = 1 << 26;
  wire::BlockInfo block;
  block.block_index = 0;
  block.block_id = 55;
  block.generation = 2;
  block.chain = {1, 3};
  block.__set_valid_bytes(60);
  reply.blocks = {block};
  wire::ServerAddress server;
  server.server_id = 1;
  server.host = "10.0.0.1";
  server.port = 7000;
  reply.servers = {server};
  reply.alive_servers = {1};
  return reply;
}

TEST(ReportsTest, FileInfoAsJson) {
  auto json = FileInfoJson("/f", SampleFile());
  EXPECT_EQ(json["path"], "/f");
  EXPECT_EQ(json["inode"], 7);
  EXPECT_EQ(json["mode"], "0640");
  EXPECT_EQ(json["size_bytes"], 100);
  auto block = json["blocks"][0];
  EXPECT_EQ(block["index"], 0);
  EXPECT_EQ(block["block_id"], 55);
  EXPECT_EQ(block["generation"], 2);
  EXPECT_EQ(block["valid_bytes"], 60);
  EXPECT_EQ(block["replicas"][0],
            (nlohmann::json{{"server_id", 1}, {"address", "10.0.0.1:7000"}, {"alive", true}}));
  EXPECT_EQ(block["replicas"][1],
            (nlohmann::json{{"server_id", 3}, {"address", ""}, {"alive", false}}));
}

TEST(ReportsTest, FileInfoAsText) {
  std::string text = FileInfoText("/f", SampleFile());
  EXPECT_NE(text.find("file, inode 7, mode 0640"), std::string::npos) << text;
  EXPECT_NE(text.find("1 (10.0.0.1:7000), 3 (unknown) dead cut at 60"), std::string::npos) << text;
}

TEST(ReportsTest, StatusCountsOnlyHealthyDisks) {
  wire::GetStatusResponse reply;
  reply.cluster_id = "\x01\x02";
  wire::ServerStatus server;
  server.server_id = 4;
  server.host = "::1";
  server.port = 9;
  server.alive = true;
  server.missing_replicas = 5;
  wire::DiskReport good;
  good.total_bytes = 4096;
  good.available_bytes = 1024;
  wire::DiskReport failed = good;
  failed.healthy = false;
  server.disks = {good, failed};
  reply.servers = {server};
  wire::ReplicaCount count;
  count.replicas = 3;
  count.blocks = 12;
  reply.blocks_by_replicas = {count};
  auto json = StatusJson(reply);
  EXPECT_EQ(json["cluster_id"], "0102");
  EXPECT_EQ(json["servers"][0]["address"], "[::1]:9");
  EXPECT_EQ(json["servers"][0]["total_bytes"], 4096);
  EXPECT_EQ(json["servers"][0]["disks"].size(), 2u);
  EXPECT_EQ(json["blocks_by_replicas"][0]["blocks"], 12);
  std::string text = StatusText(reply, "the group's table\n");
  EXPECT_NE(text.find("the group's table"), std::string::npos) << text;
  EXPECT_NE(text.find("2 (1 failed)"), std::string::npos) << text;
  EXPECT_NE(text.find("3.0 KiB"), std::string::npos) << text;
}

TEST(MetaAddressesTest, OptionBeforeEnvironmentAndNeitherIsAnError) {
  ::unsetenv("TERCET_META");
  EXPECT_EQ(MetaAddressesFrom("").code(), StatusCode::kInvalidArgument);
  ::setenv("TERCET_META", "a:1,b:2", 1);
  EXPECT_EQ(MetaAddressesFrom("")->size(), 2u);
  EXPECT_EQ(MetaAddressesFrom("c:3")->front().ToString(), "c:3");
  EXPECT_FALSE(MetaAddressesFrom("nonsense").ok());
  ::unsetenv("TERCET_META");
}

TEST(AdminClientTest, AnUnreachableClusterNamesTheAddress) {
  AdminClient client({{.host = "127.0.0.1", .port = 1}},
                     {.timeout = std::chrono::milliseconds(500)});
  auto reply = client.GetStatus();
  EXPECT_EQ(reply.code(), StatusCode::kUnavailable);
  EXPECT_NE(reply.status().message().find("127.0.0.1:1"), std::string::npos);
}

}  // namespace
}  // namespace tercet
