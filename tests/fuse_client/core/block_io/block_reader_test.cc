#include "fuse_client/core/block_io/block_reader.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/fuse_client/core/block_io/fake_chunk_server.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;
constexpr BlockId kBlock{300};

std::string RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

/// A chain of the servers 1, 2, 3; 3 is the tail and is asked first.
class BlockReaderTest : public testing::Test {
 protected:
  BlockReaderTest() {
    DataConnectionOptions connection_options;
    connection_options.cluster_id = "cluster";
    connection_options.connect_timeout = milliseconds(20'000);
    connections_ = std::make_unique<DataConnections>(connection_options, &clock_);
    MakeReader(milliseconds(20'000));
    for (FakeChunkServer* server : servers_) {
      server->PutBlock(kBlock, {Generation(4), data_});
      target_.chain.push_back(server->replica());
    }
    target_.id = kBlock;
    target_.generation = Generation(4);
  }

  void MakeReader(milliseconds progress_timeout,
                  milliseconds last_progress_timeout = milliseconds(20'000),
                  milliseconds answer_timeout = milliseconds(20'000)) {
    BlockReaderOptions options;
    options.answer_timeout = answer_timeout;
    options.progress_timeout = progress_timeout;
    options.last_progress_timeout = last_progress_timeout;
    reader_ = std::make_unique<BlockReader>(connections_.get(), options,
                                            [this](const BadReplica& bad) { bad_.push_back(bad); });
  }

  /// What a read should deliver: the data, then zeros.
  std::string Expected(uint32_t offset, size_t size) const {
    std::string expected = offset < data_.size() ? data_.substr(offset, size) : "";
    expected.resize(size, '\0');
    return expected;
  }

  void ExpectGoodRead(uint32_t offset, size_t size) {
    std::string out(size, 'x');
    const Status status = reader_->Read(target_, offset, out);
    ASSERT_TRUE(status.ok()) << status.ToString();
    EXPECT_TRUE(out == Expected(offset, size)) << "offset " << offset << " size " << size;
  }

  Status ReadSome() {
    std::string out(8192, 'x');
    return reader_->Read(target_, 4096, out);
  }

  SimClock clock_;
  const std::string data_ = RandomBytes(3'000'001, 1);
  FakeChunkServer head_{ServerId(1)}, middle_{ServerId(2)}, tail_{ServerId(3)};
  const std::vector<FakeChunkServer*> servers_ = {&head_, &middle_, &tail_};
  std::unique_ptr<DataConnections> connections_;
  std::vector<BadReplica> bad_;  // of the test's thread
  std::unique_ptr<BlockReader> reader_;
  BlockTarget target_;
};

TEST_F(BlockReaderTest, AnyOffsetAndSize) {
  const uint32_t end = static_cast<uint32_t>(data_.size());
  for (uint32_t offset : {0u, 1u, 4095u, 4096u, 4097u, 8192u, 12'345u, end - 5000, end - 1, end,
                          end + 1, end + 100'000}) {
    for (size_t size : {1, 10, 4095, 4096, 4097, 8191, 8192, 8193, 100'000, 131'072}) {
      ExpectGoodRead(offset, size);
    }
  }
  EXPECT_TRUE(bad_.empty());
  EXPECT_EQ(head_.counts().read + middle_.counts().read, 0) << "the tail serves";
}

TEST_F(BlockReaderTest, ReadsLongerThanAFrame) {
  ExpectGoodRead(0, 1 << 20);
  ExpectGoodRead(1, 1 << 20);
  ExpectGoodRead(4095, 3 << 20);
  ExpectGoodRead(0, 4 << 20);
  ExpectGoodRead(0, 0);
}

TEST_F(BlockReaderTest, RandomReadsMatch) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 300; ++i) {
    ExpectGoodRead(static_cast<uint32_t>(random() % 3'100'000), 1 + random() % 300'000);
  }
}

TEST_F(BlockReaderTest, PageInMidWriteIsAskedForAgainVerified) {
  tail_.DamagePage(kBlock, 1, /*verified_too=*/false);
  ExpectGoodRead(4096, 8192);
  EXPECT_TRUE(bad_.empty());
  EXPECT_EQ(tail_.counts().verified_read, 1);
  EXPECT_EQ(reader_->counters().checksum_mismatches, 1u);
}

TEST_F(BlockReaderTest, FlippedByteIsNeverReturnedWhereverItLies) {
  // In the page received in place, and in those at an unaligned beginning and end.
  for (const uint32_t page : {10u, 11u, 12u}) {
    tail_.DamagePage(kBlock, page, /*verified_too=*/true);
    MakeReader(milliseconds(20'000));  // one that knows of no damage yet
    ExpectGoodRead(10 * 4096 + 5, 2 * 4096);
    ASSERT_EQ(bad_.size(), 1u) << page;
    EXPECT_EQ(bad_[0].server, ServerId(3));
    EXPECT_EQ(bad_[0].block, kBlock);
    EXPECT_EQ(bad_[0].reason.code(), StatusCode::kCorruption);
    EXPECT_NE(bad_[0].reason.message().find(std::to_string(page * 4096)), std::string::npos)
        << bad_[0].reason.ToString();
    bad_.clear();
  }
}

TEST_F(BlockReaderTest, DamagedReplicaIsAvoidedFromThenOn) {
  tail_.DamagePage(kBlock, 1, /*verified_too=*/true);
  ExpectGoodRead(4096, 8192);
  const int reads = tail_.counts().read;
  ExpectGoodRead(4096, 8192);
  ExpectGoodRead(0, 100);
  EXPECT_EQ(tail_.counts().read, reads);
  EXPECT_EQ(bad_.size(), 1u);
  EXPECT_FALSE(connections_->RecentlyFailed(ServerId(3))) << "its other blocks may be fine";
  target_.generation = Generation(5);  // healed
  for (FakeChunkServer* server : servers_) server->PutBlock(kBlock, {Generation(5), data_});
  ExpectGoodRead(100'000, 10);
  EXPECT_EQ(tail_.counts().read, reads + 1);
}

TEST_F(BlockReaderTest, AllReplicasDamagedIsCorruption) {
  for (FakeChunkServer* server : servers_) server->DamagePage(kBlock, 1, true);
  const Status status = ReadSome();
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  for (const char* text : {"block 300", "server 1", "server 2", "server 3"}) {
    EXPECT_NE(status.message().find(text), std::string::npos) << status.ToString();
  }
}

TEST_F(BlockReaderTest, ReplicasThatAreDamagedInDifferentPagesAreAWholeOneTogether) {
  uint32_t page = 10;
  for (FakeChunkServer* server : servers_) server->DamagePage(kBlock, page++, true);
  ExpectGoodRead(0, 1 << 20);
  ExpectGoodRead(10 * 4096 + 5, 3 * 4096);
  // Damaged everywhere in one page more: only that one is lost.
  for (FakeChunkServer* server : servers_) server->DamagePage(kBlock, 40, true);
  ExpectGoodRead(0, 40 * 4096);
  std::string out(1 << 20, '\0');
  EXPECT_EQ(reader_->Read(target_, 0, out).code(), StatusCode::kCorruption);
}

TEST_F(BlockReaderTest, DeadServersAreSkippedAndNotAskedAgainForAWhile) {
  tail_.Stop();
  middle_.Stop();
  ExpectGoodRead(4096, 8192);
  EXPECT_EQ(bad_.size(), 2u);
  ExpectGoodRead(4096, 8192);
  EXPECT_EQ(bad_.size(), 2u);
  tail_.Restart();
  clock_.Advance(std::chrono::seconds(2));
  ExpectGoodRead(4096, 8192);
  EXPECT_EQ(tail_.counts().read, 1);
}

TEST_F(BlockReaderTest, RecentlyFailedServerIsAskedWhenNoneElseIsLeft) {
  connections_->NoteFailure(ServerId(3));
  ExpectGoodRead(0, 100);
  EXPECT_EQ(tail_.counts().read, 0);
  head_.Stop();
  middle_.Stop();
  ExpectGoodRead(0, 100);
  EXPECT_EQ(tail_.counts().read, 1);
}

TEST_F(BlockReaderTest, AllServersDeadIsUnavailable) {
  for (FakeChunkServer* server : servers_) server->Stop();
  EXPECT_EQ(ReadSome().code(), StatusCode::kUnavailable);
}

TEST_F(BlockReaderTest, NoReplicasIsUnavailable) {
  target_.chain.clear();
  EXPECT_EQ(ReadSome().code(), StatusCode::kUnavailable);
}

TEST_F(BlockReaderTest, ServerThatStopsAnsweringIsLeftByTheDeadline) {
  MakeReader(milliseconds(50));
  ExpectGoodRead(0, 100);
  tail_.StallOn(wire::FrameKind::READ);
  ExpectGoodRead(4096, 8192);
  ASSERT_EQ(bad_.size(), 1u);
  EXPECT_EQ(bad_[0].reason.code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(connections_->RecentlyFailed(ServerId(3)));
  tail_.Resume();
}

TEST_F(BlockReaderTest, LastReplicaThatIsLeftHasMoreTime) {
  MakeReader(milliseconds(30), milliseconds(20'000));
  tail_.Stop();
  middle_.StallOn(wire::FrameKind::READ);
  head_.StallOn(wire::FrameKind::READ);
  std::thread slow([&] {
    middle_.AwaitStalled(1);
    head_.AwaitStalled(1);
    const auto later = std::chrono::steady_clock::now() + milliseconds(100);
    while (std::chrono::steady_clock::now() < later) std::this_thread::yield();
    head_.Resume();
  });
  ExpectGoodRead(4096, 8192);
  slow.join();
  EXPECT_EQ(bad_.size(), 2u);
  middle_.Resume();
}

TEST_F(BlockReaderTest, WorkingFramesAreProgress) {
  MakeReader(milliseconds(800));
  tail_.WorkOn(wire::FrameKind::READ);
  std::thread disk([&] {
    tail_.AwaitWorking(100);  // 1 s at least
    tail_.Resume();
  });
  ExpectGoodRead(4096, 8192);
  disk.join();
  EXPECT_TRUE(bad_.empty());
}

TEST_F(BlockReaderTest, ReplicaThatOnlyWorksIsLeftForAnother) {
  MakeReader(milliseconds(20'000), milliseconds(20'000), milliseconds(30));
  tail_.WorkOn(wire::FrameKind::READ);
  ExpectGoodRead(4096, 8192);
  ASSERT_EQ(bad_.size(), 1u);
  EXPECT_EQ(bad_[0].reason.code(), StatusCode::kDeadlineExceeded);
  tail_.Resume();
}

TEST_F(BlockReaderTest, ConnectionThatBreaksInUseIsReplacedOnce) {
  ExpectGoodRead(0, 100);
  tail_.DropOn(wire::FrameKind::READ, 1);
  ExpectGoodRead(0, 100);
  EXPECT_TRUE(bad_.empty()) << "an idle connection may have been closed by the server just then";
  tail_.DropOn(wire::FrameKind::READ, 2);
  ExpectGoodRead(0, 100);
  EXPECT_EQ(bad_.size(), 1u);
}

TEST_F(BlockReaderTest, StaleReplicaFailsOver) {
  tail_.PutBlock(kBlock, {Generation(3), "old bytes"});
  ExpectGoodRead(0, 100);
  ASSERT_EQ(bad_.size(), 1u);
  EXPECT_EQ(bad_[0].reason.code(), StatusCode::kStaleGeneration);
  EXPECT_FALSE(connections_->RecentlyFailed(ServerId(3))) << "its other blocks may be fine";
  const int reads = tail_.counts().read;
  ExpectGoodRead(0, 100);
  EXPECT_EQ(tail_.counts().read, reads) << "it stays stale in this generation";
}

TEST_F(BlockReaderTest, StaleGenerationIsWhatTheCallerHearsWhenAllFail) {
  head_.Stop();
  tail_.AnswerWith(wire::FrameKind::READ, Status(StatusCode::kIo, "bad disk"));
  middle_.PutBlock(kBlock, {Generation(5), data_});
  EXPECT_EQ(ReadSome().code(), StatusCode::kStaleGeneration);
}

TEST_F(BlockReaderTest, AnswersThatBreakTheProtocolFailOver) {
  tail_.SendTooMuch(true);
  middle_.SendTooFewCrcs(true);
  ExpectGoodRead(4096, 8192);
  ASSERT_EQ(bad_.size(), 2u);
  EXPECT_EQ(bad_[0].reason.code(), StatusCode::kCorruption);
  EXPECT_EQ(bad_[1].reason.code(), StatusCode::kCorruption);
}

TEST_F(BlockReaderTest, ManyThreadsReadAtOnce) {
  std::vector<std::thread> threads;
  for (uint32_t thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(thread);
      for (int i = 0; i < 50; ++i) {
        ExpectGoodRead(static_cast<uint32_t>(random() % 3'000'000), 1 + random() % 50'000);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(connections_->idle_count(ServerId(3)), 16u);
}

}  // namespace
}  // namespace tercet
