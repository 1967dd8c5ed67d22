// The parts of a drill that judge: they must find what they are there for.
#include "tools/drill/drill.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tools/drill/guardian.h"
#include "tools/drill/link_cutter.h"
#include "tools/drill/load_verify.h"
#include "tools/drill/pause_log.h"
#include "tools/drill/report.h"
#include "tools/run_program.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

TEST(RegisterModelTest, AReadMustNotBeOlderThanWhatWasKnownBefore) {
  RegisterModel model;
  model.Attempt(5);
  model.Acknowledge(5);
  const int64_t floor = model.floor();
  EXPECT_EQ(floor, 5);
  EXPECT_EQ(model.Check(floor, 5), "");
  EXPECT_NE(model.Check(floor, 4), "");
  EXPECT_NE(model.Check(floor, 6), "") << "nobody wrote it";
}

TEST(RegisterModelTest, WhatAReadReturnedLaterReadsMustReturnToo) {
  RegisterModel model;
  model.Attempt(1);
  model.Acknowledge(1);
  model.Attempt(2);  // not acknowledged: may or may not be seen
  const int64_t before = model.floor();
  EXPECT_EQ(model.Check(before, 2), "");
  EXPECT_EQ(model.Check(before, 1), "") << "began before the other ended";
  EXPECT_NE(model.Check(model.floor(), 1), "") << "began after it";
}

TEST(PauseLogTest, AnOperationUnderWayAtTheFaultCountsWithAllOfItsTime) {
  PauseLog log;
  log.Begin("quick");
  log.End();
  log.Begin("slow");
  std::this_thread::sleep_for(milliseconds(30));
  const auto fault = PauseLog::Clock::now();
  EXPECT_GE(log.LongestSince(fault).longest, milliseconds(30)) << "still under way";
  EXPECT_EQ(log.LongestSince(fault).operation, "slow");
  EXPECT_FALSE(log.HasEndedOneBegunAfter(fault));
  log.End();
  EXPECT_GE(log.LongestSince(fault).longest, milliseconds(30));
  EXPECT_FALSE(log.HasEndedOneBegunAfter(fault)) << "it began before";
  log.Begin("next");
  log.End();
  EXPECT_TRUE(log.HasEndedOneBegunAfter(fault));
  EXPECT_EQ(log.count(), 3u);
}

TEST(PauseLogTest, AnOperationThatEndedBeforeTheFaultDoesNotCount) {
  PauseLog log;
  log.Begin("slow");
  std::this_thread::sleep_for(milliseconds(30));
  log.End();
  const auto fault = PauseLog::Clock::now();
  EXPECT_LT(log.LongestSince(fault).longest, milliseconds(30));
  log.ForgetBefore(fault);
  EXPECT_EQ(log.LongestSince(fault - std::chrono::hours(1)).longest.count(), 0);
}

GroupSurvey Group(int standbys, int witnesses) {
  GroupSurvey survey;
  survey.active_id = 1;
  survey.election_timeout_ms = 400;
  for (int id = 1; id <= 1 + standbys + witnesses; ++id) {
    SurveyedMember member;
    member.id = id;
    member.address = "h:" + std::to_string(id);
    member.voter = member.answered = true;
    member.witness = id > 1 + standbys;
    member.epoch = 4;
    member.journal_index = member.applied_index = 0;
    member.lag_records = 0;
    member.last_contact_ms = 1;
    survey.members.push_back(member);
  }
  return survey;
}

TEST(AffordableTest, RefusesWhatTheGroupCannotTake) {
  const auto why = [](FaultKind kind, const GroupSurvey& survey,
                      FaultTarget target = FaultTarget::kActive) {
    return CheckAffordable({.kind = kind, .target = target, .limits = {}}, survey).message();
  };
  EXPECT_EQ(why(FaultKind::kKill, Group(1, 1)), "");
  EXPECT_EQ(why(FaultKind::kPartition, Group(2, 0)), "");
  EXPECT_EQ(why(FaultKind::kSwitchover, Group(1, 0)), "");
  EXPECT_EQ(why(FaultKind::kPower, Group(0, 0)), "");
  EXPECT_NE(why(FaultKind::kKill, Group(0, 0)).find("no standby"), std::string::npos);
  EXPECT_NE(why(FaultKind::kKill, Group(0, 2)).find("no standby"), std::string::npos);
  EXPECT_NE(why(FaultKind::kKill, Group(1, 0)).find("no majority"), std::string::npos);
  EXPECT_NE(why(FaultKind::kStop, Group(1, 0)).find("no majority"), std::string::npos);
  EXPECT_NE(why(FaultKind::kKill, Group(2, 0), FaultTarget::kWitness).find("no witness"),
            std::string::npos);
  GroupSurvey behind = Group(1, 1);
  behind.members[1].lag_records = 1'000'000;
  EXPECT_NE(why(FaultKind::kKill, behind).find("not whole"), std::string::npos);
}

DrillReport Report(std::vector<int> pauses_ms) {
  DrillReport report;
  report.options.limits = DefaultLimits(FaultKind::kKill);
  for (int pause : pauses_ms) {
    DrillRound round;
    round.number = static_cast<int>(report.rounds.size()) + 1;
    round.fault = "kill -9 meta1";
    round.pause = milliseconds(pause);
    report.rounds.push_back(round);
  }
  return report;
}

TEST(JudgeTest, PassesWithinTheLimitsAndNamesEachReasonOtherwise) {
  DrillReport good = Report({700, 1'400, 600});
  JudgeDrill(&good);
  EXPECT_TRUE(good.reasons.empty()) << good.reasons.front();
  EXPECT_EQ(good.MedianPause(), milliseconds(700));
  EXPECT_EQ(good.Percentile(1), milliseconds(1'400));

  DrillReport slow = Report({900, 1'600, 900});
  JudgeDrill(&slow);
  EXPECT_EQ(slow.reasons.size(), 2u);

  const auto reason = [](auto&& change) {
    DrillReport report = Report({1});
    change(report);
    JudgeDrill(&report);
    return report.reasons.size();
  };
  EXPECT_EQ(reason([](DrillReport& r) { r.registers.stale_reads = 1; }), 1u);
  EXPECT_EQ(reason([](DrillReport& r) { r.registers.write_errors = 1; }), 1u);
  EXPECT_EQ(reason([](DrillReport& r) { r.load.errors = 1; }), 1u);
  EXPECT_EQ(reason([](DrillReport& r) { r.load.wrong = 1; }), 1u);
  EXPECT_EQ(reason([](DrillReport& r) { r.verdict.lost = 1; }), 1u);
  EXPECT_EQ(reason([](DrillReport& r) { r.verdict.extra = 1; }), 1u);
  EXPECT_EQ(reason([](DrillReport& r) { r.interrupted = true; }), 1u);
}

TEST(ReportTest, TextAndJsonSayTheSame) {
  DrillReport report = Report({700});
  report.rounds[0].from = "meta1";
  report.rounds[0].to = "meta2";
  report.registers.stale_reads = 2;
  report.findings = {"stale read by 127.0.1.1:9400"};
  JudgeDrill(&report);
  const std::string text = DrillText(report);
  for (const char* part : {"kill -9 meta1", "meta2", "700", "FAIL", "2 stale reads",
                           "stale read by 127.0.1.1:9400", "limit 1500"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  const nlohmann::json json = DrillJson(report);
  EXPECT_EQ(json["verdict"], "fail");
  EXPECT_EQ(json["rounds"][0]["pause_ms"], 700.0);
  EXPECT_EQ(json["pause_ms"]["max"], 700.0);
  EXPECT_EQ(json["limit_ms"]["median"], 800);
}

TEST(HistoryTest, KeepsTheNewestAndPassesOverCutLines) {
  std::string folder = testing::TempDir() + "drill_test.XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = HistoryPath(folder + "/deeper");
  EXPECT_EQ(ReadHistory(path, 5).code(), StatusCode::kNotFound);
  ASSERT_TRUE(AppendHistory(path, Report({1})).ok());
  std::ofstream(path, std::ios::app) << "{\"kind\":\"ki";  // the writer was killed
  ASSERT_TRUE(AppendHistory(path, Report({1, 2})).ok());
  ASSERT_TRUE(AppendHistory(path, Report({1, 2, 3})).ok());
  auto all = ReadHistory(path, 5);
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->size(), 3u);
  auto newest = ReadHistory(path, 2);
  ASSERT_EQ(newest->size(), 2u);
  EXPECT_EQ(newest->front()["rounds_done"], 2);
  EXPECT_NE(HistoryText(*newest).find("kill"), std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(CutRulesTest, DropOnlyWhatTheOneMemberSendsToTheOther) {
  const std::string rules =
      CutRules("t", {{.from = {"127.0.1.1", 9001}, .to = {"127.0.2.1", 9002}}});
  EXPECT_NE(rules.find("ip saddr 127.0.1.1 ip daddr 127.0.2.1 tcp dport 9002 drop"),
            std::string::npos)
      << rules;
  EXPECT_NE(rules.find("ip saddr 127.0.1.1 ip daddr 127.0.2.1 tcp sport 9001 drop"),
            std::string::npos)
      << rules;
  EXPECT_EQ(rules.find("saddr 127.0.2.1"), std::string::npos) << rules;
}

bool CanCut() { return ::geteuid() == 0 && RunProgram({"nft", "list", "tables"}).ok(); }

bool TableExists(const std::string& table) {
  auto listing = RunProgram({"nft", "list", "tables"});
  return listing.ok() && listing->find(table + "\n") != std::string::npos;
}

TEST(LinkCutterTest, TheGuardianRemovesTheTableOfAKilledDrill) {
  if (!CanCut()) GTEST_SKIP() << "needs root and nft";
  const pid_t drill = fork();
  if (drill == 0) {
    auto guardian = Guardian::Start();
    auto cutter = LinkCutter::Make(guardian->get());
    if (!cutter.ok()) _exit(1);
    (void)(*cutter)->Cut({{.from = {"127.200.0.1", 1}, .to = {"127.200.0.2", 2}}});
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(drill, &status, 0), drill);
  ASSERT_TRUE(WIFSIGNALED(status));
  const std::string table = "tercet_drill_" + std::to_string(drill);
  EXPECT_TRUE(WaitFor(std::chrono::seconds(20), [&] { return !TableExists(table); }));
}

TEST(LinkCutterTest, TablesOfDrillsThatAreGoneAreRemoved) {
  if (!CanCut()) GTEST_SKIP() << "needs root and nft";
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  ASSERT_EQ(waitpid(gone, nullptr, 0), gone);
  const std::string left = "tercet_drill_" + std::to_string(gone);
  ASSERT_TRUE(RunProgram({"nft", "add", "table", "inet", left}).ok());
  auto guardian = Guardian::Start();
  ASSERT_TRUE(guardian.ok());
  auto cutter = LinkCutter::Make(guardian->get());
  ASSERT_TRUE(cutter.ok()) << cutter.status().ToString();
  EXPECT_FALSE(TableExists(left));
  ASSERT_TRUE((*cutter)->Cut({{.from = {"127.200.0.1", 1}, .to = {"127.200.0.2", 2}}}).ok());
  EXPECT_TRUE(TableExists("tercet_drill_" + std::to_string(getpid())));
  cutter->reset();
  EXPECT_FALSE(TableExists("tercet_drill_" + std::to_string(getpid())));
}

TEST(GuardianTest, APausedProcessGoesOnWhenTheDrillIsKilled) {
  std::string folder = testing::TempDir() + "drill_test.XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  auto victim = SpawnDaemon({.command = {"/bin/sleep", "1000"},
                             .pid_file = folder + "/pid",
                             .output_file = folder + "/out",
                             .working_directory = folder});
  ASSERT_TRUE(victim.ok());
  const pid_t drill = fork();
  if (drill == 0) {
    auto guardian = Guardian::Start();
    (void)(*guardian)->Paused(*victim);
    kill(victim->pid, SIGSTOP);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(drill, &status, 0), drill);
  EXPECT_TRUE(WaitFor(std::chrono::seconds(20),
                      [&] { return StateOf(*victim) == ProcessState::kRunning; }));
  kill(victim->pid, SIGKILL);
  EXPECT_TRUE(WaitUntilGone(*victim, std::chrono::seconds(20)));
  std::filesystem::remove_all(folder);
}

TEST(LedgerTest, DifferencesAreNamed) {
  LedgerFile file;
  file.mode = 0600;
  file.size_bytes = 10;
  wire::Attributes attributes;
  attributes.mode = 0600;
  attributes.nlink = 1;
  attributes.size_bytes = 10;
  EXPECT_EQ(DifferenceOf(file, attributes), "");
  attributes.size_bytes = 9;
  EXPECT_NE(DifferenceOf(file, attributes), "");
  attributes.size_bytes = 10;
  attributes.nlink = 2;
  EXPECT_NE(DifferenceOf(file, attributes), "");
  attributes.nlink = 1;
  attributes.mode = 0644;
  EXPECT_NE(DifferenceOf(file, attributes), "");
  EXPECT_EQ(DrillPattern(3, 100), DrillPattern(3, 100));
  EXPECT_NE(DrillPattern(3, 100), DrillPattern(4, 100));
}

}  // namespace
}  // namespace tercet
