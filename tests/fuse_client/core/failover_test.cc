// A metadata group that fails over while a mount uses it. The doors of one fake metaserver are its
// members, so every member that serves has the committed state. Calls may take ten minutes here:
// what ends them earlier is what is tested.
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "common/rpc/socket.h"
#include "tests/fuse_client/core/client_fixture.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;
using Role = FakeMetaserver::Role;

constexpr size_t kA = 0;
constexpr int kManyThreads = 64;

class FailoverTest : public ClientTest {
 protected:
  FailoverTest() : b_(metaserver_.AddDoor(Role::kStandby, 1)) {
    metaserver_.SetRole(kA, Role::kActive, 1);
    metaserver_.SetRole(b_, Role::kStandby, 1, Address(kA));
  }

  std::string Address(size_t door) const { return metaserver_.address(door).ToString(); }
  FileSystemOptions GroupOptions() {
    FileSystemOptions options = Options();
    options.metaservers = {metaserver_.address(kA), metaserver_.address(b_)};
    options.call_timeout = std::chrono::minutes(10);
    options.metadata_deadline = std::chrono::minutes(10);
    options.data_deadline = std::chrono::minutes(10);
    return options;
  }
  void MountGroup() {
    Mount(GroupOptions());
    // Every test begins with A as the known active.
    EXPECT_EQ(fs_->Lookup(fs_->root(), "none").code(), StatusCode::kNotFound);
  }
  void MakeActive(size_t door, int64_t epoch) { metaserver_.SetRole(door, Role::kActive, epoch); }
  /// Waits until the door was asked whether it is active `count` times more.
  void AwaitFinds(size_t door, int count) {
    metaserver_.AwaitFinds(door, metaserver_.finds(door) + count);
  }
  /// What a door answered but questions for the active.
  int Calls(size_t door) const { return metaserver_.answered(door); }

  /// Threads that make directories all the time, until Finish; each must succeed.
  void StartMakers(int threads) {
    for (int t = 0; t < threads; ++t) {
      makers_.emplace_back([this, t] {
        for (int i = 0; !finish_; ++i) {
          const std::string name = std::to_string(t) + "-" + std::to_string(i);
          const auto made = fs_->MakeDirectory(fs_->root(), name, 0755, 1, 1);
          EXPECT_TRUE(made.ok()) << made.status().ToString();
          ++made_;
        }
      });
    }
  }
  void AwaitProgress() {
    const int before = made_;
    while (made_ < before + 2 * static_cast<int>(makers_.size())) std::this_thread::yield();
  }
  void FinishMakers() {
    AwaitProgress();
    finish_ = true;
    for (std::thread& maker : makers_) maker.join();
    makers_.clear();
    EXPECT_EQ(metaserver_.evaluated("MakeNode"), made_) << "each happened once";
  }

  const size_t b_;
  std::vector<std::thread> makers_;
  std::atomic<bool> finish_{false};
  std::atomic<int> made_{0};
};

TEST_F(FailoverTest, CallsOutliveTheDeathOfTheActive) {
  MountGroup();
  StartMakers(8);
  AwaitProgress();
  metaserver_.StopDoor(kA);
  AwaitFinds(b_, 3);  // the standby does not serve yet, and names the dead one
  MakeActive(b_, 2);
  FinishMakers();
}

TEST_F(FailoverTest, CallsAtAPausedActiveAreRepeatedAtItsSuccessor) {
  MountGroup();
  StartMakers(8);
  AwaitProgress();
  metaserver_.SetRole(kA, Role::kFrozen, 1);
  AwaitFinds(b_, 3);
  MakeActive(b_, 2);
  AwaitProgress();
  // It goes on, and does not know yet that it was deposed: nobody may believe it.
  metaserver_.SetRole(kA, Role::kActive, 1);
  AwaitProgress();
  EXPECT_GT(metaserver_.requests(b_), 0);
  FinishMakers();
}

TEST_F(FailoverTest, AMutationThatThePausedActiveHadCarriedOutHappensOnce) {
  MountGroup();
  metaserver_.StallReplies("MakeNode", 1);
  std::thread maker([&] {
    const auto made = fs_->MakeDirectory(fs_->root(), "d", 0755, 1, 1);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
  });
  metaserver_.AwaitCalls("MakeNode", 1);
  metaserver_.SetRole(kA, Role::kFrozen, 1);
  MakeActive(b_, 2);
  maker.join();
  const auto contexts = metaserver_.contexts("MakeNode");
  ASSERT_EQ(contexts.size(), 2u);
  EXPECT_EQ(contexts[0].slot, contexts[1].slot);
  EXPECT_EQ(contexts[0].sequence, contexts[1].sequence);
  EXPECT_EQ(metaserver_.evaluated("MakeNode"), 1);
  metaserver_.ResumeReplies();
}

TEST_F(FailoverTest, AnActiveThatLostItsLeaseIsLeft) {
  MountGroup();
  StartMakers(8);
  AwaitProgress();
  metaserver_.SetRole(kA, Role::kStandby, 1);  // no hint: it knows of nobody else
  AwaitFinds(kA, 3);
  MakeActive(b_, 2);
  FinishMakers();
}

TEST_F(FailoverTest, ManySwitchoversUnderManyThreadsLoseAndRepeatNothing) {
  MountGroup();
  StartMakers(kManyThreads);
  size_t active = kA;
  size_t standby = b_;
  for (int64_t epoch = 2; epoch < 12; ++epoch) {
    AwaitProgress();
    metaserver_.SetRole(active, Role::kStandby, epoch - 1);  // the transfer has begun
    if (epoch % 2 == 0) AwaitFinds(standby, 1);
    MakeActive(standby, epoch);
    metaserver_.SetRole(active, Role::kStandby, epoch, Address(standby));
    std::swap(active, standby);
  }
  FinishMakers();
}

TEST_F(FailoverTest, MountsWhenTheFirstMetaserverIsPaused) {
  metaserver_.SetRole(kA, Role::kFrozen, 1);
  MakeActive(b_, 2);
  MountGroup();
  EXPECT_TRUE(fs_->StatFileSystem().ok());
}

TEST_F(FailoverTest, MountsWhenConnectionsToTheFirstMetaserverHang) {
  // Nobody accepts, and there is room for no more in the queue: as behind a cut link.
  auto listening = ListenOn(HostPort{"127.0.0.1", 0});
  ASSERT_TRUE(listening.ok());
  ASSERT_EQ(::listen(listening->socket.get(), 0), 0);
  const HostPort full{"127.0.0.1", listening->port};
  std::vector<UniqueSocket> queue;
  while (true) {
    auto socket = ConnectSocket(full, milliseconds(200));
    if (!socket.ok()) break;
    queue.push_back(std::move(*socket));
  }
  FileSystemOptions options = GroupOptions();
  options.metaservers = {full, metaserver_.address(kA)};
  Mount(options);
  EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kNotFound);
}

TEST_F(FailoverTest, AnOutageCostsTheGroupFewQuestionsHoweverManyCallsWait) {
  MountGroup();
  // Each names the other: neither is believed twice.
  metaserver_.SetRole(b_, Role::kStandby, 1, Address(kA));
  metaserver_.SetRole(kA, Role::kStandby, 1, Address(b_));
  const auto start = std::chrono::steady_clock::now();
  const int calls = Calls(kA) + Calls(b_);
  StartMakers(kManyThreads);
  AwaitFinds(kA, 25);
  // A round each 2, 4, 8, 16, 32 ms and then each 40 ms at the soonest.
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(19 * 40));
  EXPECT_LE(Calls(kA) + Calls(b_) - calls, 4 * kManyThreads);
  MakeActive(b_, 2);
  FinishMakers();
}

TEST_F(FailoverTest, AStaleAnswerOfADeposedActiveIsNotUsed) {
  MountGroup();
  MakeActive(kA, 5);
  EXPECT_TRUE(fs_->MakeDirectory(fs_->root(), "new", 0755, 1, 1).ok());
  // A serves, but under an epoch below one that has served: what it says may be of the past.
  MakeActive(kA, 4);
  std::atomic<bool> answered{false};
  std::thread reader([&] {
    EXPECT_TRUE(fs_->Lookup(fs_->root(), "new").ok());
    answered = true;
  });
  AwaitFinds(kA, 5);
  EXPECT_FALSE(answered);
  MakeActive(b_, 6);
  reader.join();
  const int calls = Calls(kA);
  EXPECT_TRUE(fs_->Lookup(fs_->root(), "new").ok());
  EXPECT_EQ(Calls(kA), calls);
}

TEST_F(FailoverTest, AnEpochThatNobodyServesUnderStopsNobody) {
  MountGroup();
  metaserver_.SetRole(b_, Role::kStandby, 99);  // it was thrown out, and counts on by itself
  metaserver_.StopDoor(kA);
  std::thread reader(
      [&] { EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kNotFound); });
  AwaitFinds(b_, 3);
  metaserver_.RestartDoor(kA);
  reader.join();
}

TEST_F(FailoverTest, HintsOfThePastAreNotFollowed) {
  MountGroup();
  MakeActive(b_, 3);
  metaserver_.SetRole(kA, Role::kStandby, 3, Address(b_));
  EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kNotFound);
  const int calls = Calls(kA);
  // B lost its lease and remembers an active of before.
  metaserver_.SetRole(b_, Role::kStandby, 2, Address(kA));
  std::thread reader(
      [&] { EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kNotFound); });
  AwaitFinds(b_, 3);
  EXPECT_EQ(Calls(kA), calls);
  MakeActive(b_, 4);
  reader.join();
}

TEST_F(FailoverTest, FindsAnActiveThatOnlyTheOthersKnow) {
  MountGroup();
  const size_t c = metaserver_.AddDoor(Role::kStandby, 1);
  metaserver_.StopDoor(kA);
  std::thread reader(
      [&] { EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kNotFound); });
  AwaitFinds(b_, 2);
  MakeActive(c, 2);
  metaserver_.SetRole(b_, Role::kStandby, 2, Address(c));
  reader.join();
}

TEST_F(FailoverTest, ASlowAnswerOfAHealthyActiveIsWaitedFor) {
  MountGroup();
  metaserver_.StallReplies("Lookup", 1);
  const int calls = metaserver_.calls("Lookup");
  std::thread reader(
      [&] { EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kNotFound); });
  AwaitFinds(kA, 4);
  EXPECT_EQ(metaserver_.calls("Lookup"), calls + 1);
  metaserver_.ResumeReplies();
  reader.join();
  EXPECT_EQ(metaserver_.calls("Lookup"), calls + 1);
}

TEST_F(FailoverTest, AnInterruptEndsCallsAtAPausedActive) {
  MountGroup();
  metaserver_.SetRole(kA, Role::kFrozen, 1);
  const int requests = metaserver_.requests(kA);
  std::thread reader(
      [&] { EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kCancelled); });
  metaserver_.AwaitRequests(kA, requests + 1);
  fs_->Interrupt();
  reader.join();
  metaserver_.SetRole(kA, Role::kActive, 1);
}

TEST_F(FailoverTest, CallsEndAtTheirDeadlineWhileThereIsNoActive) {
  FileSystemOptions options = GroupOptions();
  options.metadata_deadline = milliseconds(200);
  Mount(options);
  metaserver_.SetRole(kA, Role::kStandby, 1);
  EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kUnavailable);
  EXPECT_EQ(fs_->Lookup(fs_->root(), "y").code(), StatusCode::kUnavailable);
  // What umount and df ask is answered from what was known.
  EXPECT_TRUE(fs_->GetAttributes(fs_->root()).ok());
  EXPECT_TRUE(fs_->StatFileSystem().ok());
}

TEST_F(FailoverTest, AnOpenHalfWrittenFileGoesOn) {
  MountGroup();
  OpenFilePtr file = Create("f");
  const std::string data = RandomBytes(3 * kBlockSize, 1);
  const std::string_view view = data;
  ASSERT_TRUE(fs_->Write(file, 0, view.substr(0, kBlockSize + 100)).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  ASSERT_TRUE(fs_->Write(file, kBlockSize + 100, view.substr(kBlockSize + 100)).ok());
  metaserver_.SetRole(kA, Role::kFrozen, 1);
  std::thread flusher([&] { EXPECT_TRUE(fs_->Flush(file).ok()); });
  AwaitFinds(b_, 2);
  // The new active is not ready for everything at once.
  metaserver_.FailNext("AllocateBlock", StatusCode::kUnavailable, 3);
  metaserver_.FailNext("CommitWrite", StatusCode::kUnavailable, 3);
  MakeActive(b_, 2);
  flusher.join();
  EXPECT_EQ(ReadAll(*fs_, file, 0, data.size()), data);
  FileSystemOptions other = GroupOptions();
  other.metaservers = {metaserver_.address(b_)};
  auto reader = MountAnother(other);
  EXPECT_EQ(ReadAll(*reader, OpenAgain(*reader, file, O_RDONLY), 0, data.size()), data);
  EXPECT_EQ(metaserver_.open_sessions(), 2) << "the first mount's session lived through it";
}

TEST_F(FailoverTest, UnmountsWhileThereIsNoActive) {
  MountGroup();
  metaserver_.StopDoor(kA);
  EXPECT_TRUE(fs_->Unmount().ok());
}

}  // namespace
}  // namespace tercet
