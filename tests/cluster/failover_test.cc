// Two metaservers and a witness under a real mount: the active is killed, paused, handed over, and
// killed together with others, while programs work. They must not notice but for a pause, and
// nothing acknowledged may be lost.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

constexpr int kPatience = 60;

/// Programs on a mount, each in a thread. Every call must succeed. While there is no active, no
/// command can be started next to them: a new process closes the files that it inherits, also those
/// with O_CLOEXEC, which flushes them, and that waits for an active.
class Programs {
 public:
  explicit Programs(std::string directory) : directory_(std::move(directory)) {
    EXPECT_EQ(mkdir(directory_.c_str(), 0755), 0) << strerror(errno);
    // One program looks at what another appends to.
    const int log = open(LogPath().c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    EXPECT_GE(log, 0) << strerror(errno);
    close(log);
    const auto run = [this](void (Programs::*program)()) {
      threads_.emplace_back([this, program] { (this->*program)(); });
    };
    programs_ = 4;
    run(&Programs::MakeFiles);
    run(&Programs::AppendToOneFile);
    run(&Programs::UseAFileWithoutAName);
    run(&Programs::Browse);
    AwaitProgress();
  }
  ~Programs() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  /// Every program gets a few steps further.
  void AwaitProgress() {
    std::map<std::string, int> before;
    {
      std::lock_guard lock(mutex_);
      before = steps_;
    }
    EXPECT_TRUE(Eventually(kPatience, [&] {
      std::lock_guard lock(mutex_);
      size_t further = 0;
      for (const auto& [name, steps] : steps_) further += steps >= before[name] + 3 ? 1 : 0;
      return further == programs_;
    })) << "some program is stuck";
  }
  /// Ends the programs and looks whether all that was acknowledged is there.
  void FinishAndVerify() {
    AwaitProgress();
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    for (const auto& [name, seed] : files_) {
      EXPECT_TRUE(ReadFile(directory_ + "/" + name) == Pattern(kFileBytes, seed)) << name;
    }
    const std::string appended = ReadFile(LogPath());
    EXPECT_EQ(appended.size(), appends_ * kAppendBytes);
    for (uint64_t i = 0; i < appends_; ++i) {
      ASSERT_TRUE(appended.substr(i * kAppendBytes, kAppendBytes) == Pattern(kAppendBytes, i)) << i;
    }
    std::lock_guard lock(mutex_);
    printf("longest call: %.3f s, files: %zu, appends: %llu\n", longest_seconds_, files_.size(),
           static_cast<unsigned long long>(appends_));
  }

 private:
  static constexpr size_t kFileBytes = 70'000;
  static constexpr size_t kAppendBytes = 8'192;

  std::string LogPath() const { return directory_ + "/log"; }

  template <typename Call>
  bool Do(const char* what, Call&& call) {
    const auto start = std::chrono::steady_clock::now();
    const bool done = call();
    const int error = errno;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (!done)
      ADD_FAILURE() << what << ": " << strerror(error) << " after " << took.count() << " s";
    std::lock_guard lock(mutex_);
    longest_seconds_ = std::max(longest_seconds_, took.count());
    if (!done) stop_ = true;
    return done;
  }
  void Step(const char* program) {
    std::lock_guard lock(mutex_);
    ++steps_[program];
  }
  static bool WriteAll(int fd, const std::string& data) {
    return write(fd, data.data(), data.size()) == static_cast<ssize_t>(data.size());
  }

  void MakeFiles() {
    for (uint64_t i = 0; !stop_; ++i) {
      const std::string name = "f" + std::to_string(i);
      const std::string temporary = directory_ + "/." + name;
      int fd = -1;
      Do("create",
         [&] {
           return (fd = open(temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644)) >=
                  0;
         }) &&
          Do("write", [&] { return WriteAll(fd, Pattern(kFileBytes, i)); }) &&
          Do("fsync", [&] { return fsync(fd) == 0; });
      if (fd >= 0) Do("close", [&] { return close(fd) == 0; });
      if (stop_) return;
      if (!Do("rename",
              [&] { return rename(temporary.c_str(), (directory_ + "/" + name).c_str()) == 0; })) {
        return;
      }
      files_[name] = i;
      Step("files");
    }
  }
  void AppendToOneFile() {
    int fd = -1;
    Do("open",
       [&] { return (fd = open(LogPath().c_str(), O_APPEND | O_WRONLY | O_CLOEXEC)) >= 0; });
    while (!stop_) {
      if (!Do("append", [&] { return WriteAll(fd, Pattern(kAppendBytes, appends_)); })) break;
      ++appends_;
      if (appends_ % 4 == 0 && !Do("fdatasync", [&] { return fdatasync(fd) == 0; })) break;
      Step("append");
    }
    Do("close", [&] { return close(fd) == 0; });
  }
  void UseAFileWithoutAName() {
    const std::string path = directory_ + "/unlinked";
    int fd = -1;
    Do("create",
       [&] { return (fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644)) >= 0; });
    Do("unlink", [&] { return unlink(path.c_str()) == 0; });
    std::string read_back(kFileBytes, '\0');
    for (uint64_t i = 0; !stop_; ++i) {
      const std::string data = Pattern(kFileBytes, 1000 + i);
      Do("write without a name", [&] {
        return pwrite(fd, data.data(), data.size(), 0) == static_cast<ssize_t>(data.size());
      });
      Do("fsync without a name", [&] { return fsync(fd) == 0; });
      posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
      Do("read without a name", [&] {
        return pread(fd, read_back.data(), read_back.size(), 0) ==
               static_cast<ssize_t>(read_back.size());
      });
      EXPECT_TRUE(read_back == data) << "round " << i;
      Step("unlinked");
    }
    Do("close", [&] { return close(fd) == 0; });
  }
  void Browse() {
    while (!stop_) {
      std::error_code error;
      size_t entries = 0;
      for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
        entries += entry.path().empty() ? 0 : 1;
      }
      EXPECT_FALSE(error) << error.message();
      struct stat attributes;
      Do("stat", [&] { return stat(LogPath().c_str(), &attributes) == 0; });
      Step("browse");
    }
  }

  const std::string directory_;
  std::atomic<bool> stop_{false};
  size_t programs_ = 0;
  // Of one thread each while it runs.
  std::map<std::string, uint64_t> files_;
  uint64_t appends_ = 0;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::map<std::string, int> steps_;
  double longest_seconds_ = 0;

  std::vector<std::thread> threads_;
};

class FailoverTest : public testing::Test {
 protected:
  FailoverTest() : cluster_({.chunkservers = 3, .metaservers = 2, .witnesses = 1}) {}
  void SetUp() override { ASSERT_TRUE(cluster_.Up()); }

  /// The node that is active now; empty when there is none for long.
  std::string Active() {
    std::string active;
    Eventually(kPatience, [&] {
      const auto group = cluster_.TercetJson("meta list");
      if (!group.is_object() || group["active"].is_null()) return false;
      for (const auto& member : group["members"]) {
        if (member["id"] == group["active"]) active = NodeAt(member["address"]);
      }
      return !active.empty();
    });
    return active;
  }
  std::string NodeAt(const std::string& address) {
    for (const auto& node : cluster_.Nodes()) {
      if (node["address"].is_string() && node["address"] == address) return node["name"];
    }
    return "";
  }
  /// All members take part again, and nobody is behind by much.
  bool AwaitWholeGroup() {
    return Eventually(kPatience, [&] {
      const auto group = cluster_.TercetJson("meta list");
      if (!group.is_object() || group["active"].is_null()) return false;
      size_t fit = 0;
      for (const auto& member : group["members"]) {
        const std::string role = member["role"];
        const bool expected =
            member["kind"] == "witness" ? role == "witness" : role == "active" || role == "standby";
        fit += expected && member["answered"] && member["lag_records"] < 1000 ? 1 : 0;
      }
      return fit == 3;
    });
  }
  bool AllServersAlive() {
    return Eventually(kPatience, [&] {
      const auto status = cluster_.TercetJson("status");
      int alive = 0;
      if (!status.is_object()) return false;
      for (const auto& server : status["servers"]) alive += server["alive"].get<bool>() ? 1 : 0;
      return alive == 3;
    });
  }

  Cluster cluster_;
};

TEST_F(FailoverTest, TheDeathOfTheActiveIsAPauseOnly) {
  Programs programs(cluster_.mount() + "/work");
  for (int round = 0; round < 3; ++round) {
    const std::string active = Active();
    ASSERT_FALSE(active.empty());
    ASSERT_TRUE(cluster_.Kill(active));
    programs.AwaitProgress();
    EXPECT_NE(Active(), active);
    ASSERT_TRUE(cluster_.Start(active));
    ASSERT_TRUE(AwaitWholeGroup());
  }
  EXPECT_TRUE(AllServersAlive());
  programs.FinishAndVerify();
}

TEST_F(FailoverTest, APausedActiveIsLeftAndStaysHarmlessWhenItGoesOn) {
  Programs programs(cluster_.mount() + "/work");
  for (int round = 0; round < 2; ++round) {
    const std::string active = Active();
    ASSERT_FALSE(active.empty());
    ASSERT_TRUE(cluster_.Kill(active, "STOP"));
    programs.AwaitProgress();
    EXPECT_TRUE(AllServersAlive()) << "the chunk servers follow";
    ASSERT_TRUE(cluster_.Kill(active, "CONT"));
    programs.AwaitProgress();
    EXPECT_NE(Active(), active);
    ASSERT_TRUE(AwaitWholeGroup());
  }
  programs.FinishAndVerify();
}

TEST_F(FailoverTest, SwitchoversUnderLoadCauseNoErrors) {
  Programs programs(cluster_.mount() + "/work");
  for (int round = 0; round < 4; ++round) {
    const std::string before = Active();
    const ShellResult switched = cluster_.Tercet("meta switchover");
    ASSERT_TRUE(switched.ok()) << switched.output;
    EXPECT_NE(Active(), before);
    programs.AwaitProgress();
  }
  programs.FinishAndVerify();
}

TEST_F(FailoverTest, ALockIsHeldOverAFailover) {
  const std::string path = cluster_.mount() + "/lock";
  const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  ASSERT_GE(fd, 0) << strerror(errno);
  ASSERT_EQ(flock(fd, LOCK_EX), 0) << strerror(errno);
  ASSERT_TRUE(cluster_.Kill(Active()));
  EXPECT_FALSE(Shell("flock -n " + path + " true").ok()) << "another process gets the lock";
  EXPECT_EQ(write(fd, "held", 4), 4) << strerror(errno);
  EXPECT_EQ(fsync(fd), 0) << strerror(errno);
  EXPECT_FALSE(Shell("flock -n " + path + " true").ok());
  ASSERT_EQ(flock(fd, LOCK_UN), 0);
  EXPECT_TRUE(Shell("flock -n " + path + " true").ok());
  EXPECT_EQ(close(fd), 0);
}

TEST_F(FailoverTest, WhatTheNewActiveDeletesAndKeepsIsNotUndoneByTheOldOne) {
  const std::string directory = cluster_.mount() + "/d";
  ASSERT_EQ(mkdir(directory.c_str(), 0755), 0);
  for (uint64_t i = 0; i < 20; ++i) {
    WriteFile(directory + "/old" + std::to_string(i), Pattern(100'000, i));
  }
  const std::string old_active = Active();
  ASSERT_TRUE(cluster_.Kill(old_active, "STOP"));
  for (uint64_t i = 0; i < 20; ++i) {
    WriteFile(directory + "/new" + std::to_string(i), Pattern(100'000, 100 + i));
    if (i % 2 == 0) {
      EXPECT_TRUE(std::filesystem::remove(directory + "/old" + std::to_string(i))) << i;
    }
  }
  ASSERT_TRUE(cluster_.Kill(old_active, "CONT"));
  ASSERT_TRUE(AwaitWholeGroup());
  EXPECT_TRUE(Eventually(kPatience, [&] {
    const auto status = cluster_.TercetJson("status");
    if (!status.is_object()) return false;
    int64_t pending = status["orphans"].get<int64_t>();
    for (const auto& server : status["servers"])
      pending += server["pending_deletes"].get<int64_t>();
    return pending == 0;
  })) << "deleted files' space is freed";
  Shell("echo 3 > /proc/sys/vm/drop_caches");
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_TRUE(ReadFile(directory + "/new" + std::to_string(i)) == Pattern(100'000, 100 + i)) << i;
    const std::string old = directory + "/old" + std::to_string(i);
    EXPECT_EQ(std::filesystem::exists(old), i % 2 != 0) << i;
    if (i % 2 != 0) {
      EXPECT_TRUE(ReadFile(old) == Pattern(100'000, i)) << i;
    }
  }
}

TEST_F(FailoverTest, DataIsReadAndWrittenAgainAfterAllMetaserversDiedAtOnce) {
  std::vector<int> members;
  for (const char* node : {"meta1", "meta2", "witness1"}) members.push_back(cluster_.PidOf(node));
  const std::string trigger = cluster_.directory() + "/all-dead";
  std::thread starter([&] {
    const ShellResult started =
        Shell("until [ -e " + trigger + " ]; do sleep 0.1; done; " + Binary("tercet") +
              " dev up --dir " + cluster_.directory() + " --mount " + cluster_.mount() +
              " --chunkservers 3 --metaservers 2 --witnesses 1");
    EXPECT_TRUE(started.ok()) << started.output;
  });
  Programs programs(cluster_.mount() + "/work");
  for (int member : members) EXPECT_EQ(kill(member, SIGKILL), 0) << strerror(errno);
  WriteFile(trigger, "");
  starter.join();
  programs.AwaitProgress();
  EXPECT_TRUE(AllServersAlive());
  programs.FinishAndVerify();
}

}  // namespace
}  // namespace tercet
