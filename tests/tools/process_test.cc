#include "tools/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace tercet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ProcessTest : public testing::Test {
 protected:
  ProcessTest() {
    std::string pattern = testing::TempDir() + "process_test.XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  ~ProcessTest() override {
    if (auto id = ReadPidFile(folder_ + "/pid")) {
      if (SendSignal(*id, SIGKILL).ok()) WaitUntilGone(*id, seconds(10));
    }
    std::filesystem::remove_all(folder_);
  }

  Result<ProcessId> Spawn(std::vector<std::string> command) {
    return SpawnDaemon({.command = std::move(command),
                        .pid_file = folder_ + "/pid",
                        .output_file = folder_ + "/out",
                        .working_directory = folder_});
  }
  std::string Output() const {
    std::ifstream in(folder_ + "/out");
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

  std::string folder_;
};

TEST_F(ProcessTest, ADaemonRunsInASessionOfItsOwnAndIsFoundAgain) {
  auto id = Spawn({"/bin/sleep", "1000"});
  ASSERT_TRUE(id.ok()) << id.status().ToString();
  EXPECT_EQ(StateOf(*id), ProcessState::kRunning);
  EXPECT_EQ(::getsid(id->pid), id->pid);
  auto found = ReadPidFile(folder_ + "/pid");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->pid, id->pid);
  EXPECT_EQ(found->start_time, id->start_time);
}

TEST_F(ProcessTest, OutputGoesToTheFileAndOpenFilesAreNotInherited) {
  int pipes[2];
  ASSERT_EQ(::pipe(pipes), 0);  // not close-on-exec, as a test runner's would be
  auto id = Spawn({"/bin/sh", "-c", "echo out; echo err >&2; pwd; ls /proc/self/fd | wc -l"});
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(WaitUntilGone(*id, seconds(10)));
  // 0, 1, 2 and the folder that ls reads.
  EXPECT_EQ(Output(), "out\nerr\n" + folder_ + "\n4\n");
  ::close(pipes[0]);
  ::close(pipes[1]);
}

TEST_F(ProcessTest, AProgramThatIsNotThereIsAnErrorOfTheStart) {
  auto id = Spawn({"/nonexistent/program"});
  EXPECT_EQ(id.code(), StatusCode::kNotFound);
  EXPECT_NE(id.status().message().find("/nonexistent/program"), std::string::npos);
}

TEST_F(ProcessTest, PausedAndKilledAreTold) {
  auto id = Spawn({"/bin/sleep", "1000"});
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(SendSignal(*id, SIGSTOP).ok());
  EXPECT_TRUE(WaitFor(seconds(10), [&] { return StateOf(*id) == ProcessState::kPaused; }));
  ASSERT_TRUE(SendSignal(*id, SIGKILL).ok());
  EXPECT_TRUE(WaitUntilGone(*id, seconds(10)));
  EXPECT_EQ(StateOf(*id), ProcessState::kGone);
  EXPECT_EQ(SendSignal(*id, SIGKILL).code(), StatusCode::kNotFound);
}

TEST_F(ProcessTest, AZombieIsGone) {
  auto id = Spawn({"/bin/true"});
  ASSERT_TRUE(id.ok());
  // Nobody reaps our child meanwhile.
  EXPECT_TRUE(WaitFor(seconds(10), [&] { return StateOf(*id) == ProcessState::kGone; }));
  EXPECT_EQ(::waitpid(id->pid, nullptr, 0), id->pid);
}

TEST_F(ProcessTest, AProcessWhoseFirstThreadEndedIsNotGone) {
  // As it is for a moment after kill -9: its ports are still taken.
  const pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    std::thread([] { ::pause(); }).detach();
    ::syscall(SYS_exit, 0);
  }
  const auto stat = [pid] {
    std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
    std::vector<std::string> fields;
    for (std::string field; in >> field;) fields.push_back(field);
    return fields;
  };
  ASSERT_TRUE(WaitFor(seconds(10), [&] { return stat().at(2) == "Z"; }));
  auto other = Spawn({"/bin/true"});
  ASSERT_TRUE(other.ok());
  ProcessId id = *other;
  id.pid = pid;
  id.start_time = std::stoull(stat().at(21));
  EXPECT_EQ(StateOf(id), ProcessState::kRunning);
  EXPECT_TRUE(SendSignal(id, SIGKILL).ok());
  EXPECT_TRUE(WaitUntilGone(id, seconds(10)));
}

TEST_F(ProcessTest, AnotherProcessWithTheSameNumberIsNeverSignalled) {
  auto id = Spawn({"/bin/sleep", "1000"});
  ASSERT_TRUE(id.ok());
  ProcessId earlier = *id;
  --earlier.start_time;
  EXPECT_EQ(StateOf(earlier), ProcessState::kGone);
  EXPECT_EQ(SendSignal(earlier, SIGKILL).code(), StatusCode::kNotFound);
  ProcessId other_boot = *id;
  other_boot.boot_id = "another";
  EXPECT_EQ(SendSignal(other_boot, SIGKILL).code(), StatusCode::kNotFound);
  EXPECT_EQ(StateOf(*id), ProcessState::kRunning);
}

TEST_F(ProcessTest, TheAgeIsNeverOverstated) {
  const auto before = std::chrono::steady_clock::now();
  auto id = Spawn({"/bin/sleep", "1000"});
  ASSERT_TRUE(id.ok());
  EXPECT_TRUE(WaitFor(seconds(10), [&] { return AgeOf(*id) >= milliseconds(30); }));
  const auto age = AgeOf(*id);
  EXPECT_LE(age, std::chrono::steady_clock::now() - before + milliseconds(1));
}

TEST_F(ProcessTest, BadPidFilesNameNoProcess) {
  EXPECT_FALSE(ReadPidFile(folder_ + "/none").has_value());
  for (const char* text : {"", "x", "12", "12 34", "-1 5 boot", "0 5 boot"}) {
    EXPECT_FALSE(ProcessId::Decode(text).has_value()) << text;
  }
  EXPECT_EQ(ProcessId::Decode("12 34 boot")->Encode(), "12 34 boot");
}

TEST(RunBoundedTest, GivesTheErrnoOrTimesOut) {
  EXPECT_EQ(RunBounded(seconds(10), [] { return 0; }), 0);
  EXPECT_EQ(RunBounded(seconds(10), [] { return EBUSY; }), EBUSY);
  EXPECT_EQ(RunBounded(milliseconds(20), [] { return ::pause(); }), ETIMEDOUT);
}

}  // namespace
}  // namespace tercet
