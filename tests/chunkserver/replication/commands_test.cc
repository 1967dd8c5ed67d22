// SEAL, TABLE, PULL and PING, as the active metaserver sends them.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "common/base/crc32c.h"
#include "common/env/posix_disk.h"
#include "common/env/sim_disk.h"
#include "tercet_thrift/registry_types.h"
#include "tests/chunkserver/replication/fake_server.h"
#include "tests/chunkserver/replication/held_disk.h"
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers
using std::chrono::milliseconds;

constexpr BlockId kBlock{77};
constexpr Generation kFirst{1};
constexpr Generation kSecond{2};

class CommandsTest : public ChainTest {
 protected:
  void Store(size_t server, BlockId block, Generation generation, const std::string& data) {
    RawClient client(*servers_[server]);
    const Answer answer = client.Write({.block = block, .generation = generation, .data = data});
    ASSERT_TRUE(answer.status.ok()) << answer.status.ToString();
  }
  void ExpectAlike(size_t a, size_t b, BlockId block, Generation generation) {
    auto first = servers_[a]->store().Table(block, generation);
    auto second = servers_[b]->store().Table(block, generation);
    ASSERT_TRUE(first.ok()) << first.status().ToString();
    ASSERT_TRUE(second.ok()) << second.status().ToString();
    EXPECT_EQ(first->length, second->length);
    EXPECT_EQ(first->page_crcs, second->page_crcs);
    EXPECT_TRUE(servers_[a]->Contents(block, generation) ==
                servers_[b]->Contents(block, generation));
  }
  const DataPlaneCounters& Counters(size_t server) {
    return servers_[server]->data_plane().counters();
  }
};

TEST_F(CommandsTest, PingIsAnswered) {
  RawClient active(*servers_[0]);
  const Answer answer = active.Ping();
  EXPECT_EQ(answer.kind, wire::FrameKind::PING_RESPONSE);
  EXPECT_TRUE(answer.status.ok());
}

TEST_F(CommandsTest, SealTellsWhatIsThereAndShutsOlderWritersOut) {
  const std::string data = Pattern(1, 10'000);
  Store(0, kBlock, kFirst, data);
  RawClient active(*servers_[0]);
  const Answer sealed = active.Seal(SealOf(kBlock, Generation(4)));
  ASSERT_TRUE(sealed.status.ok()) << sealed.status.ToString();
  EXPECT_FALSE(sealed.seal.absent);
  EXPECT_EQ(sealed.seal.generation_before, 1);
  EXPECT_EQ(sealed.seal.length, 10'000);
  const Answer table = active.Table(kBlock, Generation(4));
  EXPECT_EQ(table.table_length, 10'000);
  EXPECT_EQ(static_cast<uint32_t>(sealed.seal.table_crc), Crc32c(table.payload));
  EXPECT_EQ(table.payload.size(), 12u);

  RawClient writer(*servers_[0]);
  EXPECT_EQ(writer.Write({.block = kBlock, .data = "late"}).status.code(),
            StatusCode::kStaleGeneration);
  EXPECT_EQ(writer.Truncate(kBlock, kFirst, 0, {}).status.code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(writer.Sync(kBlock, kFirst, {}).status.code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(writer.Read(kBlock, kFirst, 0, 1).status.code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(active.Table(kBlock, kFirst).status.code(), StatusCode::kStaleGeneration);
  EXPECT_TRUE(servers_[0]->Contents(kBlock, Generation(4)) == data);
}

TEST_F(CommandsTest, RepeatedSealIsAnsweredAndAnOlderOneRefused) {
  Store(0, kBlock, kFirst, "x");
  RawClient active(*servers_[0]);
  ASSERT_TRUE(active.Seal(SealOf(kBlock, Generation(4))).status.ok());
  const Answer again = active.Seal(SealOf(kBlock, Generation(4)));
  EXPECT_TRUE(again.status.ok());
  EXPECT_EQ(again.seal.generation_before, 4);
  EXPECT_EQ(active.Seal(SealOf(kBlock, Generation(3))).status.code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(servers_[0]->store().Stat(kBlock)->generation, Generation(4));
}

TEST_F(CommandsTest, AbsentReplicaIsMadeOnlyWhenAskedFor) {
  RawClient active(*servers_[0]);
  EXPECT_TRUE(active.Seal(SealOf(kBlock, kSecond)).seal.absent);
  EXPECT_EQ(servers_[0]->store().Stat(kBlock).code(), StatusCode::kNotFound);
  wire::SealHeader make = SealOf(kBlock, kSecond);
  make.create_if_absent = true;
  const Answer made = active.Seal(make);
  ASSERT_TRUE(made.status.ok());
  EXPECT_FALSE(made.seal.absent);
  // A first write of the generation before comes late.
  RawClient writer(*servers_[0]);
  EXPECT_EQ(writer.Write({.block = kBlock, .data = "late"}).status.code(),
            StatusCode::kStaleGeneration);
  EXPECT_EQ(servers_[0]->Contents(kBlock, kSecond), "");
}

TEST_F(CommandsTest, SealWithVerifyCountsDamagedPages) {
  Store(0, kBlock, kFirst, Pattern(2, 100'000));
  servers_[0]->DamagePage(kBlock, 3);
  servers_[0]->DamagePage(kBlock, 7);
  RawClient active(*servers_[0]);
  wire::SealHeader seal = SealOf(kBlock, kSecond);
  seal.verify = true;
  EXPECT_EQ(active.Seal(seal).seal.damaged_pages, 2);
}

TEST_F(CommandsTest, CommandsOfADeposedActiveAreRefused) {
  Store(0, kBlock, kFirst, "x");
  RawClient active(*servers_[0]);
  wire::SealHeader seal = SealOf(kBlock, kSecond);
  seal.epoch = 7;
  ASSERT_TRUE(active.Seal(seal).status.ok());
  seal.epoch = 6;
  seal.generation = 9;
  EXPECT_EQ(active.Seal(seal).status.code(), StatusCode::kStaleEpoch);
  wire::PullHeader pull = PullOf(kBlock, servers_[1]->hop(), Generation(9), Generation(9));
  pull.epoch = 6;
  EXPECT_EQ(active.Pull(pull).status.code(), StatusCode::kStaleEpoch);
  for (const int64_t epoch : {int64_t{0}, int64_t{-1}}) {
    seal.epoch = epoch;
    pull.epoch = epoch;
    EXPECT_EQ(active.Seal(seal).status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(active.Pull(pull).status.code(), StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(servers_[0]->store().Stat(kBlock)->generation, kSecond);
}

TEST_F(CommandsTest, GenerationsBelowOneAreNobodys) {
  RawClient client(*servers_[0]);
  for (const Generation none : {Generation(0), Generation(static_cast<uint64_t>(-3))}) {
    const WriteSpec write{.block = kBlock, .generation = none, .data = "x"};
    EXPECT_EQ(client.Write(write).status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(client.Read(kBlock, none, 0, 1).status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(client.Read(kBlock, none, 0, 1, true).status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(client.Sync(kBlock, none, {}).status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(client.Truncate(kBlock, none, 0, {}).status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(client.Table(kBlock, none).status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(client.Seal(SealOf(kBlock, none)).status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(client.Pull(PullOf(kBlock, servers_[1]->hop(), none, none)).status.code(),
              StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(servers_[0]->store().Stat(kBlock).code(), StatusCode::kNotFound);
}

// ---- PULL ----

TEST_F(CommandsTest, PreparedThenFinishedReplicaIsTheSources) {
  const std::string data = Pattern(3, 9'000'000);
  for (size_t at = 0; at < data.size(); at += 1 << 20) {
    RawClient writer(*servers_[0]);
    ASSERT_TRUE(writer
                    .Write({.block = kBlock,
                            .offset = static_cast<uint32_t>(at),
                            .data = std::string_view(data).substr(at, 1 << 20)})
                    .status.ok());
  }
  RawClient target(*servers_[1]);
  const Answer prepared = target.Pull(PullOf(kBlock, servers_[0]->hop(), kFirst, Generation(0)));
  ASSERT_TRUE(prepared.status.ok()) << prepared.status.ToString();
  EXPECT_EQ(prepared.pull.copied_bytes, 9'000'000);
  EXPECT_EQ(prepared.pull.length, 9'000'000);
  // Nobody gets at it, and a write of the chain that it is in does not either.
  EXPECT_EQ(target.Read(kBlock, kFirst, 0, 1).status.code(), StatusCode::kNotFound);
  EXPECT_FALSE(target.Write({.block = kBlock, .data = "late"}).status.ok());

  RawClient source(*servers_[0]);
  ASSERT_TRUE(source.Write({.block = kBlock, .offset = 5'000'000, .data = "new"}).status.ok());
  ASSERT_TRUE(source.Seal(SealOf(kBlock, kSecond)).status.ok());
  const Answer finished = target.Pull(PullOf(kBlock, servers_[0]->hop(), kSecond, kSecond));
  ASSERT_TRUE(finished.status.ok()) << finished.status.ToString();
  EXPECT_EQ(finished.pull.copied_bytes, kPageBytes);
  ExpectAlike(0, 1, kBlock, kSecond);
  EXPECT_EQ(servers_[1]->data_plane().Load().pulled_bytes, 9'000'000 + kPageBytes);
  EXPECT_EQ(servers_[1]->data_plane().Load().pulls_running, 0);
  // It is not clients who read there.
  EXPECT_EQ(servers_[0]->data_plane().Load().read_p99_us, 0);
}

TEST_F(CommandsTest, ScatteredDifferencesAreCopied) {
  const std::string data = Pattern(4, 1 << 20);
  Store(0, kBlock, kFirst, data);
  Store(1, kBlock, kFirst, data);
  RawClient source(*servers_[0]);
  for (uint32_t page = 0; page < 256; page += 2) {
    source.SendWrite({.block = kBlock, .offset = page * kPageBytes, .data = "other"});
  }
  for (int i = 0; i < 128; ++i) ASSERT_TRUE(source.Receive()->status.ok());
  RawClient target(*servers_[1]);
  ASSERT_TRUE(source.Seal(SealOf(kBlock, kSecond)).status.ok());
  ASSERT_TRUE(target.Seal(SealOf(kBlock, kSecond)).status.ok());
  const Answer pulled = target.Pull(PullOf(kBlock, servers_[0]->hop(), kSecond, kSecond));
  ASSERT_TRUE(pulled.status.ok()) << pulled.status.ToString();
  EXPECT_EQ(pulled.pull.copied_bytes, 128 * kPageBytes);
  ExpectAlike(0, 1, kBlock, kSecond);
}

TEST_F(CommandsTest, DamageAtTheSourceIsNamedAndReported) {
  Store(0, kBlock, kFirst, Pattern(5, 3 << 20).substr(0, 1 << 20));
  servers_[0]->DamagePage(kBlock, 100);
  RawClient target(*servers_[1]);
  const Answer prepared = target.Pull(PullOf(kBlock, servers_[0]->hop(), kFirst, Generation(0)));
  EXPECT_EQ(prepared.status.code(), StatusCode::kCorruption) << prepared.status.ToString();
  EXPECT_EQ(prepared.failed_server, ServerId(1));
  const auto bad = servers_[0]->store().TakeBadReplicas(10);
  ASSERT_EQ(bad.size(), 1u);
  EXPECT_EQ(bad[0], (BadReplicaFound{kBlock, kFirst, ReplicaFault::kDamaged}));

  RawClient source(*servers_[0]);
  ASSERT_TRUE(source.Seal(SealOf(kBlock, kSecond)).status.ok());
  const Answer finished = target.Pull(PullOf(kBlock, servers_[0]->hop(), kSecond, kSecond));
  EXPECT_EQ(finished.status.code(), StatusCode::kCorruption) << finished.status.ToString();
  EXPECT_EQ(finished.failed_server, ServerId(1));
  EXPECT_EQ(servers_[1]->store().Table(kBlock, kSecond).code(), StatusCode::kNotFound);
}

TEST_F(CommandsTest, SourceThatIsAwayOrStaleIsNamed) {
  Store(0, kBlock, kFirst, "x");
  RawClient target(*servers_[1]);
  const Answer stale = target.Pull(PullOf(kBlock, servers_[0]->hop(), kSecond, kSecond));
  EXPECT_EQ(stale.status.code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(stale.failed_server, ServerId(1));
  wire::ChainHop wrong = servers_[0]->hop();
  wrong.server_id = 5;
  EXPECT_EQ(target.Pull(PullOf(kBlock, wrong, kFirst, Generation(0))).failed_server, ServerId(5));
  servers_[0]->StopAll();
  const Answer away = target.Pull(PullOf(kBlock, servers_[0]->hop(), kFirst, kFirst));
  EXPECT_EQ(away.status.code(), StatusCode::kUnavailable) << away.status.ToString();
  EXPECT_EQ(away.failed_server, ServerId(1));
}

TEST_F(CommandsTest, NonsenseInPullsIsRefused) {
  Store(0, kBlock, kFirst, "x");
  RawClient target(*servers_[1]);
  const auto refused = [&](const wire::PullHeader& pull) {
    const Answer answer = target.Pull(pull);
    EXPECT_EQ(answer.status.code(), StatusCode::kInvalidArgument) << answer.status.ToString();
    EXPECT_EQ(answer.failed_server, ServerId(2));
  };
  const wire::ChainHop source = servers_[0]->hop();
  refused(PullOf(kBlock, source, kFirst, kSecond));
  refused(PullOf(kBlock, servers_[1]->hop(), kFirst, kFirst));
  wire::PullHeader pull = PullOf(kBlock, source, kFirst, kFirst);
  pull.pull_class = 3;
  refused(pull);
  pull.pull_class = -1;
  refused(pull);
  pull = PullOf(kBlock, source, kFirst, kFirst);
  pull.source.port = 0;
  refused(pull);
}

TEST_F(CommandsTest, FullDiskAtTheTargetIsItsOwnFailure) {
  Store(0, kBlock, kFirst, "x");
  SimDisk full;
  TestServer target(ServerId(6), Options(), &full);
  full.SetCapacity(1);
  RawClient active(target);
  const Answer answer = active.Pull(PullOf(kBlock, servers_[0]->hop(), kFirst, Generation(0)));
  EXPECT_EQ(answer.status.code(), StatusCode::kNoSpace) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(6));
}

TEST_F(CommandsTest, PullsGoOnWhileTheSourceIsWrittenTo) {
  const std::string data = Pattern(6, 1 << 20);
  for (uint32_t i = 0; i < 8; ++i) {
    RawClient writer(*servers_[0]);
    ASSERT_TRUE(writer.Write({.block = kBlock, .offset = i << 20, .data = data}).status.ok());
  }
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    RawClient writer(*servers_[0]);
    std::mt19937 random(7);
    while (!stop) {
      const uint32_t offset = random() % ((8u << 20) - 5'000);
      ASSERT_TRUE(writer
                      .Write({.block = kBlock,
                              .offset = offset,
                              .data = std::string_view(data).substr(0, 1 + random() % 5'000)})
                      .status.ok());
    }
  });
  RawClient target(*servers_[1]);
  for (int i = 0; i < 5; ++i) {
    const Answer prepared = target.Pull(PullOf(kBlock, servers_[0]->hop(), kFirst, Generation(0)));
    EXPECT_TRUE(prepared.status.ok()) << prepared.status.ToString();
  }
  stop = true;
  busy.join();
  RawClient source(*servers_[0]);
  ASSERT_TRUE(source.Seal(SealOf(kBlock, kSecond)).status.ok());
  ASSERT_TRUE(target.Pull(PullOf(kBlock, servers_[0]->hop(), kSecond, kSecond)).status.ok());
  ExpectAlike(0, 1, kBlock, kSecond);
}

// ---- pulls that take long ----

class LongPullTest : public CommandsTest {
 protected:
  DataPlaneOptions Options() override {
    DataPlaneOptions options;
    options.max_prepares = 2;
    options.progress_deadline = milliseconds(600);
    options.disk_deadline = milliseconds(600'000);
    return options;
  }
  /// A source that never answers, without being found out during the test.
  static DataPlaneOptions Patient() {
    DataPlaneOptions options;
    options.progress_deadline = milliseconds(600'000);
    options.working_interval = milliseconds(10);
    options.max_prepares = 2;
    return options;
  }
};

TEST_F(LongPullTest, StoppedSourceIsFoundByTheDeadline) {
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  RawClient target(*servers_[1]);
  const Answer answer = target.Pull(PullOf(kBlock, fake.hop(), kFirst, kFirst));
  EXPECT_EQ(answer.status.code(), StatusCode::kDeadlineExceeded) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(9));
}

TEST_F(LongPullTest, SlowDiskOfTheSourceIsWaitedFor) {
  HeldDisk disk(RealDisk());
  TestServer source(ServerId(6), Options(), &disk);
  {
    RawClient writer(source);
    ASSERT_TRUE(writer.Write({.block = kBlock, .data = Pattern(8, 500'000)}).status.ok());
    ASSERT_TRUE(writer.Seal(SealOf(kBlock, kSecond)).status.ok());
  }
  disk.Hold();
  RawClient target(*servers_[1]);
  target.SendPull(PullOf(kBlock, source.hop(), kSecond, kSecond));
  target.AwaitWorking(10);  // 1.5 s
  EXPECT_EQ(disk.waiting(), 1);
  disk.Release();
  auto answer = target.Receive();
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
  EXPECT_TRUE(servers_[1]->Contents(kBlock, kSecond) == source.Contents(kBlock, kSecond));
}

TEST_F(LongPullTest, OnePullPerBlockAndSoManyPrepares) {
  TestServer busy(ServerId(6), Patient());
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  RawClient active(busy);
  active.SendPull(PullOf(BlockId(1), fake.hop(), kFirst, Generation(0)));
  active.SendPull(PullOf(BlockId(2), fake.hop(), kFirst, Generation(0)));
  RawClient other(busy);
  EXPECT_TRUE(Eventually([&] { return busy.data_plane().Load().pulls_running == 2; }));
  EXPECT_EQ(other.Pull(PullOf(BlockId(1), fake.hop(), kFirst, Generation(0))).status.code(),
            StatusCode::kBusy);
  EXPECT_EQ(other.Pull(PullOf(BlockId(3), fake.hop(), kFirst, Generation(0))).status.code(),
            StatusCode::kBusy);
  // Those that finish are not limited.
  Store(0, BlockId(4), kFirst, "x");
  EXPECT_TRUE(other.Pull(PullOf(BlockId(4), servers_[0]->hop(), kFirst, kFirst)).status.ok());
}

TEST_F(LongPullTest, ALaterAttemptTakesTheBlockOver) {
  TestServer target(ServerId(6), Patient());
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  RawClient earlier(target);
  earlier.SendPull(PullOf(kBlock, fake.hop(), kFirst, Generation(0)));
  EXPECT_TRUE(Eventually([&] { return fake.frames() == 1; }));
  RawClient second(target);
  second.SendPull(PullOf(kBlock, fake.hop(), kSecond, kSecond));
  EXPECT_TRUE(Eventually([&] { return fake.frames() == 2; }));
  Store(0, kBlock, Generation(3), Pattern(9, 50'000));
  RawClient third(target);
  EXPECT_TRUE(
      third.Pull(PullOf(kBlock, servers_[0]->hop(), Generation(3), Generation(3))).status.ok());
  for (RawClient* given_up : {&earlier, &second}) {
    auto answer = given_up->Receive();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_EQ(answer->status.code(), StatusCode::kCancelled) << answer->status.ToString();
  }
  EXPECT_TRUE(target.Contents(kBlock, Generation(3)) ==
              servers_[0]->Contents(kBlock, Generation(3)));
}

TEST_F(LongPullTest, PullEndsWithItsRequestersConnection) {
  TestServer target(ServerId(6), Patient());
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  {
    RawClient active(target);
    active.SendPull(PullOf(kBlock, fake.hop(), kFirst, Generation(0)));
    active.AwaitWorking(2);
    EXPECT_EQ(target.data_plane().Load().pulls_running, 1);
  }
  EXPECT_TRUE(Eventually([&] { return target.data_plane().Load().pulls_running == 0; }));
  EXPECT_TRUE(Eventually([&] { return target.data_plane().counters().connections_open == 0; }));
  EXPECT_EQ(target.data_plane().counters().pulls_failed.load(), 1u);
}

TEST_F(LongPullTest, StopEndsPulls) {
  TestServer target(ServerId(6), Patient());
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  RawClient active(target);
  active.SendPull(PullOf(kBlock, fake.hop(), kFirst, kFirst));
  EXPECT_TRUE(Eventually([&] { return fake.frames() == 1; }));
  target.StopAll();
}

TEST_F(LongPullTest, LimitsCountForTheirClassAtOnce) {
  TestServer target(ServerId(6), Patient());
  const std::string data = Pattern(10, 1 << 20);
  RawClient writer(*servers_[0]);
  for (uint32_t block = 1; block <= 4; ++block) {
    for (uint32_t i = 0; i < 3; ++i) {
      ASSERT_TRUE(
          writer.Write({.block = BlockId(block), .offset = i << 20, .data = data}).status.ok());
    }
  }
  wire::BackgroundLimits limits;
  limits.repair_bytes_per_second = 1;
  target.data_plane().SetLimits(limits);
  const auto pull = [&](uint64_t block, wire::PullClass::type pull_class, Generation finish = {}) {
    wire::PullHeader header = PullOf(BlockId(block), servers_[0]->hop(), kFirst, finish);
    header.pull_class = pull_class;
    return header;
  };
  RawClient active(target);
  active.SendPull(pull(1, wire::PullClass::REPAIR));
  EXPECT_TRUE(Eventually([&] { return target.data_plane().Load().pulled_bytes == 1 << 20; }));
  RawClient other(target);
  EXPECT_TRUE(other.Pull(pull(2, wire::PullClass::MOVE)).status.ok());
  EXPECT_TRUE(other.Pull(pull(3, wire::PullClass::URGENT)).status.ok());
  EXPECT_TRUE(other.Pull(pull(4, wire::PullClass::REPAIR, kFirst)).status.ok());
  EXPECT_EQ(target.data_plane().Load().pulled_bytes, 10 << 20);
  EXPECT_EQ(target.data_plane().Load().pulls_running, 1);
  limits.repair_bytes_per_second = 0;
  target.data_plane().SetLimits(limits);
  auto answer = active.Receive();
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
  EXPECT_EQ(answer->pull.copied_bytes, 3 << 20);
}

TEST_F(CommandsTest, ALimitedPreparationIsSyncedInSmallPortions) {
  const std::string data = Pattern(11, 1 << 20);
  RawClient writer(*servers_[0]);
  for (uint32_t i = 0; i < 12; ++i) {
    ASSERT_TRUE(writer.Write({.block = kBlock, .offset = i << 20, .data = data}).status.ok());
  }
  const auto syncs_of_a_pull = [&](ServerId id, int64_t rate) {
    TestServer target(id, {});
    wire::BackgroundLimits limits;
    limits.move_bytes_per_second = rate;
    target.data_plane().SetLimits(limits);
    wire::PullHeader header = PullOf(kBlock, servers_[0]->hop(), kFirst, Generation(0));
    header.pull_class = wire::PullClass::MOVE;
    RawClient active(target);
    EXPECT_TRUE(active.Pull(header).status.ok());
    return target.store().counters().syncs.load();
  };
  EXPECT_EQ(syncs_of_a_pull(ServerId(6), 0), 1u);
  EXPECT_EQ(syncs_of_a_pull(ServerId(7), int64_t{1} << 40), 4u) << "each 4 MiB, and at the end";
}

// ---- whatever comes late ----

/// SEALs, PULLs and WRITEs of random generations, most of them long overtaken, in random order: a
/// replica changes only by what has its own generation or a higher one.
TEST_F(CommandsTest, FramesOfOlderGenerationsChangeNothing) {
  std::mt19937 random(11);
  constexpr uint64_t kGenerations = 12;
  // Sources of all generations that a late PULL might name.
  for (uint64_t generation = 1; generation <= kGenerations; ++generation) {
    TestServer& server = *servers_[generation % 2];
    RawClient writer(server);
    ASSERT_TRUE(writer
                    .Write({.block = BlockId(1000 + generation),
                            .generation = Generation(generation),
                            .data = Pattern(generation, 30'000)})
                    .status.ok());
  }
  RawClient target(*servers_[2]);
  const auto look = [&](BlockId block) {
    const auto stat = servers_[2]->store().Stat(block);
    if (!stat.ok()) return std::pair(Generation(), std::string());
    return std::pair(stat->generation, servers_[2]->Contents(block, stat->generation));
  };
  int changes = 0;
  for (int step = 0; step < 400; ++step) {
    // The block is one of those that have a source, and is itself of another generation by now.
    const uint64_t base = 1 + random() % kGenerations;
    const BlockId block(1000 + base);
    const Generation generation(1 + random() % kGenerations);
    const auto before = look(block);
    Answer answer;
    switch (random() % 4) {
      case 0:
        answer = target.Seal(SealOf(block, generation));
        break;
      case 1:
        answer = target.Write({.block = block,
                               .generation = generation,
                               .data = Pattern(step, 1 + random() % 9'000)});
        break;
      case 2:
        answer = target.Truncate(block, generation, random() % 10'000, {});
        break;
      default:
        answer = target.Pull(PullOf(block, servers_[base % 2]->hop(), Generation(base),
                                    random() % 2 == 0 ? Generation(0) : Generation(base)));
    }
    const auto after = look(block);
    if (after != before) ++changes;
    const Generation named =
        answer.kind == wire::FrameKind::PULL_RESPONSE ? Generation(base) : generation;
    // A copy of a later generation may begin with what is here: then it is nobody's until it is
    // whole.
    EXPECT_TRUE(after.first >= before.first ||
                (after.first == Generation(0) && named > before.first));
    if (named < before.first) {
      EXPECT_FALSE(answer.status.ok());
      EXPECT_TRUE(after == before)
          << "step " << step << " block " << block << ": a frame of generation " << named
          << " changed a replica of " << before.first;
    }
  }
  EXPECT_GT(changes, 30);
}

}  // namespace
}  // namespace tercet
