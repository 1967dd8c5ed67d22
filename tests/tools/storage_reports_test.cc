// What the commands about storage print and take.
#include "tools/storage_reports.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tools/fsck_report.h"
#include "tools/output.h"
#include "tools/storage_command.h"

namespace tercet {
namespace {

wire::ServerStatus Server(int32_t id) {
  wire::ServerStatus server;
  server.server_id = id;
  server.host = "10.0.0." + std::to_string(id);
  server.port = 9500;
  server.alive = true;
  wire::DiskReport disk;
  disk.path = "/d1";
  disk.total_bytes = int64_t{100} << 30;
  disk.available_bytes = int64_t{40} << 30;
  disk.disk_uuid = std::string(16, '\xab');
  server.disks = {disk};
  return server;
}

TEST(StorageOutputTest, TimesAndRatesAreForPeople) {
  EXPECT_EQ(HumanSeconds(-1), "-");
  EXPECT_EQ(HumanSeconds(0), "0 s");
  EXPECT_EQ(HumanSeconds(59), "59 s");
  EXPECT_EQ(HumanSeconds(130), "2m 10s");
  EXPECT_EQ(HumanSeconds(3 * 3600 + 5 * 60 + 1), "3h 5m");
  EXPECT_EQ(HumanSeconds(4 * 86'400 + 2 * 3600), "4d 2h");
  EXPECT_EQ(HumanRate(80 << 20), "80.0 MiB/s");
  EXPECT_EQ(HumanTime(0), "never");
  EXPECT_EQ(HumanTime(1'700'000'000'000'000'000), "2023-11-14 22:13:20 UTC");
}

TEST(StorageOutputTest, PeriodsAreParsed) {
  EXPECT_EQ(*ParseSeconds("2h"), 7200);
  EXPECT_EQ(*ParseSeconds("14d"), 14 * 86'400);
  EXPECT_EQ(*ParseSeconds("off"), 0);
  EXPECT_EQ(ParseSeconds("10ms").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseSeconds("soon").code(), StatusCode::kInvalidArgument);
}

TEST(ResolveServerTest, ByIdOrAddressAndTheRefusalSaysWhichThereAre) {
  wire::GetStatusResponse status;
  status.servers = {Server(1), Server(2)};
  EXPECT_EQ(*ResolveServer(status, "2"), 2);
  EXPECT_EQ(*ResolveServer(status, "10.0.0.1:9500"), 1);
  const auto unknown = ResolveServer(status, "3");
  EXPECT_EQ(unknown.code(), StatusCode::kNotFound);
  EXPECT_NE(unknown.status().message().find("1 (10.0.0.1:9500), 2 (10.0.0.2:9500)"),
            std::string::npos)
      << unknown.status().message();
  EXPECT_FALSE(ResolveServer(status, "2x").ok());
  EXPECT_FALSE(ResolveServer(status, "10.0.0.1:9501").ok());
  EXPECT_FALSE(ResolveServer({}, "1").ok());
}

TEST(PathInFileSystemTest, WhatIsOnNoMountIsTakenAsItIsWhenAbsolute) {
  EXPECT_EQ(*PathInFileSystem("/a/b/../c"), "/a/c");
  EXPECT_EQ(*PathInFileSystem("/"), "/");
  EXPECT_EQ(PathInFileSystem("a/b").code(), StatusCode::kInvalidArgument);
  // Another file system is no mount of ours.
  EXPECT_EQ(*PathInFileSystem(testing::TempDir() + "x"),
            std::filesystem::path(testing::TempDir() + "x").lexically_normal().string());
}

TEST(ServerReportTest, StatesAreNamedAsCommandedAndAsTheyAre) {
  wire::ServerStatus server = Server(1);
  EXPECT_EQ(ServerStateText(server), "alive");
  server.suspected = true;
  EXPECT_EQ(ServerStateText(server), "suspected");
  server.alive = false;
  EXPECT_EQ(ServerStateText(server), "dead");
  server.state = wire::ServiceState::DRAINING;
  EXPECT_EQ(ServerStateText(server), "draining (dead)");
  server.state = wire::ServiceState::REMOVED;
  EXPECT_EQ(ServerStateText(server), "removed");
  EXPECT_EQ(ServerJson(server)["state"], "removed");
}

TEST(ServerReportTest, AnEjectedDiskDoesNotCountAsSpace) {
  wire::ServerStatus server = Server(1);
  server.disks.push_back(server.disks[0]);
  server.disks[1].healthy = false;
  EXPECT_EQ(SpaceOf(server).total_bytes, int64_t{100} << 30);
  EXPECT_EQ(ServerJson(server)["disks"][1]["state"], "ejected");
  server.disks[1].healthy = true;
  server.disks[1].state = wire::DiskState::DRAINING;
  EXPECT_EQ(SpaceOf(server).total_bytes, int64_t{200} << 30);
  EXPECT_EQ(ServerJson(server)["disks"][1]["state"], "draining");
}

TEST(ServerReportTest, ADrainSaysHowFarItIs) {
  wire::ServerStatus server = Server(1);
  server.state = wire::ServiceState::DRAINING;
  server.drain_replicas_at_start = 4'000;
  server.replica_count = 2'800;
  server.drain_bytes_left = int64_t{12} << 30;
  EXPECT_EQ(DrainText(server), "1,200 of 4,000 replicas moved, 12.0 GiB left");
  server.drain_bytes_per_second = 80 << 20;
  server.drain_eta_s = 150;
  EXPECT_EQ(DrainText(server),
            "1,200 of 4,000 replicas moved, 12.0 GiB left, 80.0 MiB/s, done in 2m 30s");
  // New replicas that came before the command was known everywhere.
  server.replica_count = 4'001;
  EXPECT_TRUE(DrainText(server).starts_with("0 of 4,001"));
  server.replica_count = 0;
  EXPECT_EQ(DrainText(server), "all replicas are elsewhere: it can be removed");
}

TEST(RepairReportTest, TheSummaryIsShortAndEmptyWhenNothingIsToBeSaid) {
  wire::GetRepairStatusResponse reply;
  wire::RepairClassStatus entry;
  entry.name = "one_left";
  reply.queue = {entry};
  EXPECT_EQ(RepairSummary(reply), "");
  reply.queue[0].blocks = 1'200;
  reply.running = 4;
  reply.bytes_per_second = 1 << 20;
  EXPECT_EQ(RepairSummary(reply), "repair: 1,200 one_left; 4 running, 1.0 MiB/s");
  reply.limits.scrub_period_s = 14 * 86'400;
  const auto json = RepairJson(reply);
  EXPECT_EQ(json["queue"][0]["class"], "one_left");
  EXPECT_EQ(json["limits"]["scrub_period_s"], 14 * 86'400);
  EXPECT_NE(RepairText(reply).find("scrub each 14d 0h"), std::string::npos) << RepairText(reply);
}

TEST(BalanceReportTest, ThePlanShowsEachServerBeforeAndAfter) {
  wire::PlanBalanceResponse plan;
  wire::BalanceServer server;
  server.server_id = 5;
  server.total_bytes = 1'000;
  server.used_after_bytes = 250;
  plan.servers = {server};
  plan.bytes_to_move = 250;
  plan.expected_s = 130;
  plan.plan = "\x01\x02";
  const auto json = BalancePlanJson(plan);
  EXPECT_EQ(json["plan"], "0102");
  EXPECT_EQ(json["servers"][0]["percent_after"], 25.0);
  EXPECT_NE(BalancePlanText(plan).find("250 B to move, expected to take 2m 10s"),
            std::string::npos);
  plan.bytes_to_move = 0;
  EXPECT_NE(BalancePlanText(plan).find("even enough"), std::string::npos);
}

TEST(FsckReportTest, PagesAddUpAndOnlyNothingIsClean) {
  FsckReport report;
  report.path = "/";
  wire::FsckResponse page;
  page.files = 2;
  page.blocks = 5;
  page.healthy = 5;
  report.Add(page, 10);
  EXPECT_TRUE(report.clean());
  page.healthy = 4;
  page.corrupt = 1;
  wire::FsckProblem problem;
  problem.kind = "corrupt";
  problem.file.path = "/f";
  problem.servers = {1, 3};
  page.problems = {problem, problem};
  report.Add(page, 1);
  EXPECT_FALSE(report.clean());
  const auto json = FsckJson(report);
  EXPECT_EQ(json["files"], 4);
  EXPECT_EQ(json["blocks"], 10);
  EXPECT_EQ(json["healthy"], 9);
  EXPECT_EQ(json["corrupt"], 1);
  EXPECT_EQ(json["missing"], 0);
  EXPECT_EQ(json["under_replicated"], 0);
  EXPECT_EQ(json["over_replicated"], 0);
  EXPECT_EQ(json["orphaned"], 0);
  EXPECT_EQ(json["problems"].size(), 1u);
  EXPECT_EQ(json["problems_left_out"], 1);
  EXPECT_EQ(json["problems"][0]["servers"], nlohmann::json({1, 3}));
  const std::string text = FsckText(report, false);
  EXPECT_NE(text.find("PROBLEMS"), std::string::npos) << text;
  EXPECT_NE(text.find("and 1 more"), std::string::npos) << text;
  for (int64_t FsckReport::*count :
       {&FsckReport::under_replicated, &FsckReport::over_replicated, &FsckReport::missing,
        &FsckReport::corrupt, &FsckReport::orphaned}) {
    FsckReport one;
    EXPECT_TRUE(one.clean());
    one.*count = 1;
    EXPECT_FALSE(one.clean());
  }
}

}  // namespace
}  // namespace tercet
