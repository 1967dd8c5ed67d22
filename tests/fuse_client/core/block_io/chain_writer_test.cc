#include "fuse_client/core/block_io/chain_writer.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/fuse_client/core/block_io/fake_chunk_server.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;
constexpr BlockId kBlock{300};
constexpr Generation kGeneration{2};

std::string RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

WriteData Data(std::string bytes) {
  auto owner = std::make_shared<std::string>(std::move(bytes));
  const auto size = static_cast<uint32_t>(owner->size());
  return {std::shared_ptr<const char>(owner, owner->data()), size};
}

class ChainWriterTest : public testing::Test {
 protected:
  ChainWriterTest() {
    DataConnectionOptions connection_options;
    connection_options.cluster_id = "cluster";
    connection_options.connect_timeout = milliseconds(20'000);
    connections_ = std::make_unique<DataConnections>(connection_options, &clock_);
    target_ = {kBlock,
               kGeneration,
               {head_.replica(), {ServerId(2), {"10.0.0.2", 7102}}, {ServerId(3), {"h3", 7103}}}};
    options_.progress_timeout = milliseconds(20'000);
    MakeWriter();
  }

  void MakeWriter() {
    writer_ = std::make_unique<ChainWriter>(connections_.get(), target_, options_);
  }

  SimClock clock_;
  FakeChunkServer head_{ServerId(1)};
  std::unique_ptr<DataConnections> connections_;
  BlockTarget target_;
  ChainWriterOptions options_;
  std::unique_ptr<ChainWriter> writer_;
};

TEST_F(ChainWriterTest, SmallFileIsOneFrameAndOneRoundTrip) {
  ASSERT_TRUE(writer_->Submit(0, Data("hello"), /*create=*/true, /*sync=*/true).ok());
  EXPECT_TRUE(writer_->unsynced());
  ASSERT_TRUE(writer_->Drain().ok());
  EXPECT_FALSE(writer_->unsynced());
  ASSERT_TRUE(writer_->Sync().ok());
  EXPECT_EQ(head_.GetBlock(kBlock).data, "hello");
  EXPECT_EQ(head_.counts().write, 1);
  EXPECT_EQ(head_.counts().sync, 0) << "the write was synced already";
  EXPECT_EQ(connections_->idle_count(ServerId(1)), 1u) << "the connection is free for others";
}

TEST_F(ChainWriterTest, NamesTheServersBehindTheHeadInOrder) {
  ASSERT_TRUE(writer_->Submit(0, Data("x"), true, false).ok());
  ASSERT_TRUE(writer_->Sync().ok());
  for (const auto& downstream : {head_.last_write().downstream, head_.last_downstream()}) {
    ASSERT_EQ(downstream.size(), 2u);
    EXPECT_EQ(downstream[0].server_id, 2);
    EXPECT_EQ(downstream[0].host, "10.0.0.2");
    EXPECT_EQ(downstream[0].port, 7102);
    EXPECT_EQ(downstream[1].server_id, 3);
  }
}

TEST_F(ChainWriterTest, ManyWritesAtAnyOffsetWithinTheWindow) {
  std::mt19937_64 random(3);
  std::string expected(4 << 20, '\0');
  ASSERT_TRUE(writer_->Submit(0, Data("first"), true, false).ok());
  expected.replace(0, 5, "first");
  for (uint64_t i = 0; i < 200; ++i) {
    const std::string bytes = RandomBytes(1 + random() % (i % 10 == 0 ? 1 << 20 : 20'000), i);
    const auto offset = static_cast<uint32_t>(random() % (expected.size() - bytes.size()));
    ASSERT_TRUE(writer_->Submit(offset, Data(bytes), false, false).ok());
    EXPECT_LE(writer_->in_flight_frames(), options_.window_frames);
    EXPECT_LE(writer_->in_flight_bytes(), options_.window_bytes);
    expected.replace(offset, bytes.size(), bytes);
  }
  ASSERT_TRUE(writer_->Drain().ok());
  std::string written = head_.GetBlock(kBlock).data;
  written.resize(expected.size(), '\0');
  EXPECT_TRUE(written == expected);
  EXPECT_EQ(writer_->in_flight_bytes(), 0u);
}

TEST_F(ChainWriterTest, WindowOfBytesIsKept) {
  options_.window_bytes = 100'000;
  MakeWriter();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(writer_->Submit(0, Data(std::string(60'000, 'x')), true, false).ok());
    EXPECT_EQ(writer_->in_flight_frames(), 1u);
  }
  ASSERT_TRUE(writer_->Submit(0, Data(std::string(200'000, 'x')), true, false).ok())
      << "a write larger than the window goes alone";
  ASSERT_TRUE(writer_->Drain().ok());
}

TEST_F(ChainWriterTest, AcknowledgementsInAnyOrder) {
  head_.AcknowledgeInReversedGroups(4);
  for (uint32_t i = 0; i < 16; ++i) {
    ASSERT_TRUE(
        writer_->Submit(i * 100, Data(std::string(100, static_cast<char>('a' + i))), true, false)
            .ok());
  }
  ASSERT_TRUE(writer_->Drain().ok());
  for (uint32_t i = 0; i < 16; ++i) {
    EXPECT_EQ(head_.GetBlock(kBlock).data[i * 100], static_cast<char>('a' + i));
  }
}

TEST_F(ChainWriterTest, BufferIsLetGoWithItsAcknowledgement) {
  WriteData data = Data("hello");
  std::weak_ptr<const char> watched = data.bytes;
  ASSERT_TRUE(writer_->Submit(0, std::move(data), true, false).ok());
  EXPECT_FALSE(watched.expired());
  ASSERT_TRUE(writer_->Drain().ok());
  EXPECT_TRUE(watched.expired());
}

TEST_F(ChainWriterTest, PollTakesWhatHasArrivedAndDoesNotWait) {
  head_.StallOn(wire::FrameKind::WRITE, /*after=*/1);
  ASSERT_TRUE(writer_->Submit(0, Data("1"), true, false).ok());
  ASSERT_TRUE(writer_->Submit(1, Data("2"), true, false).ok());
  head_.AwaitStalled(1);  // the first one's acknowledgement has been sent by then
  while (writer_->in_flight_frames() > 1) ASSERT_TRUE(writer_->Poll().ok());
  ASSERT_TRUE(writer_->Poll().ok());
  EXPECT_EQ(writer_->in_flight_frames(), 1u);
  head_.Resume();
  ASSERT_TRUE(writer_->Drain().ok());
}

TEST_F(ChainWriterTest, SyncFrameCoversPlainWrites) {
  EXPECT_TRUE(writer_->Sync().ok()) << "nothing to do";
  EXPECT_EQ(head_.counts().sync, 0);
  ASSERT_TRUE(writer_->Submit(0, Data("1"), true, false).ok());
  ASSERT_TRUE(writer_->Submit(1, Data("2"), true, false).ok());
  ASSERT_TRUE(writer_->Drain().ok());
  EXPECT_TRUE(writer_->unsynced());
  ASSERT_TRUE(writer_->Sync().ok());
  EXPECT_FALSE(writer_->unsynced());
  EXPECT_EQ(head_.counts().sync, 1);
  ASSERT_TRUE(writer_->Sync().ok());
  EXPECT_EQ(head_.counts().sync, 1);
}

TEST_F(ChainWriterTest, SyncedWriteCoversOnlyWhatWasAcknowledgedBeforeIt) {
  ASSERT_TRUE(writer_->Submit(0, Data("1"), true, false).ok());
  ASSERT_TRUE(writer_->Drain().ok());
  ASSERT_TRUE(writer_->Submit(1, Data("2"), true, /*sync=*/true).ok());
  ASSERT_TRUE(writer_->Drain().ok());
  EXPECT_FALSE(writer_->unsynced());

  ASSERT_TRUE(writer_->Submit(2, Data("3"), true, false).ok());
  ASSERT_TRUE(writer_->Submit(3, Data("4"), true, /*sync=*/true).ok());  // 3 is still in flight
  ASSERT_TRUE(writer_->Drain().ok());
  EXPECT_TRUE(writer_->unsynced());
  ASSERT_TRUE(writer_->Sync().ok());
  EXPECT_EQ(head_.counts().sync, 1);
}

TEST_F(ChainWriterTest, PlainWriteAcknowledgedBeforeAnEarlierSyncedOneStaysUnsynced) {
  head_.AcknowledgeInReversedGroups(2);
  ASSERT_TRUE(writer_->Submit(0, Data("1"), true, /*sync=*/true).ok());
  ASSERT_TRUE(writer_->Submit(1, Data("2"), true, false).ok());
  ASSERT_TRUE(writer_->Drain().ok());
  EXPECT_TRUE(writer_->unsynced());
}

TEST_F(ChainWriterTest, WhatAnEarlierWriterLeftUnsyncedIsSyncedToo) {
  ASSERT_TRUE(writer_->Submit(0, Data("1"), true, false).ok());
  ASSERT_TRUE(writer_->Drain().ok());
  options_.earlier_unsynced = writer_->unsynced();
  MakeWriter();
  EXPECT_TRUE(writer_->unsynced());
  ASSERT_TRUE(writer_->Sync().ok());
  EXPECT_EQ(head_.counts().sync, 1);
  EXPECT_FALSE(writer_->unsynced());
}

TEST_F(ChainWriterTest, NumbersTellWhichWritesAreAcknowledged) {
  head_.AcknowledgeInReversedGroups(2);
  head_.StallOn(wire::FrameKind::WRITE, /*after=*/2);
  std::vector<uint64_t> numbers;
  for (uint32_t i = 0; i < 4; ++i) {
    numbers.push_back(writer_->next_number());
    ASSERT_TRUE(writer_->Submit(i, Data("x"), true, false).ok());
    EXPECT_EQ(writer_->oldest_unacknowledged(), numbers.front());
  }
  head_.AwaitStalled(1);  // the first two have been acknowledged by then, the second one first
  while (writer_->in_flight_frames() > 2) ASSERT_TRUE(writer_->Poll().ok());
  EXPECT_EQ(writer_->oldest_unacknowledged(), numbers[2]);
  head_.Resume();
  ASSERT_TRUE(writer_->Drain().ok());
  EXPECT_EQ(writer_->oldest_unacknowledged(), writer_->next_number());
}

TEST_F(ChainWriterTest, TruncateCutsAndNeedsASync) {
  ASSERT_TRUE(writer_->Submit(0, Data("0123456789"), true, true).ok());
  ASSERT_TRUE(writer_->Truncate(4).ok());
  EXPECT_EQ(head_.GetBlock(kBlock).data, "0123");
  EXPECT_TRUE(writer_->unsynced());
  ASSERT_TRUE(writer_->Sync().ok());
  EXPECT_EQ(head_.counts().sync, 1);
}

TEST_F(ChainWriterTest, BadArgumentsLeaveTheWriterAsItWas) {
  EXPECT_EQ(writer_->Submit(0, Data(""), true, false).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(writer_->Submit(0, Data(std::string(kMaxWriteBytes + 1, 'x')), true, false).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(writer_->Submit(0x7fffffff, Data("x"), true, false).code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(writer_->failure().ok());
  EXPECT_TRUE(writer_->Submit(0, Data(std::string(kMaxWriteBytes, 'x')), true, false).ok());
  EXPECT_TRUE(writer_->Drain().ok());
}

TEST_F(ChainWriterTest, ErrorOfAReplicaNamesItAndKeepsTheWrites) {
  head_.AnswerWith(wire::FrameKind::WRITE, Status(StatusCode::kStaleGeneration, "sealed"),
                   ServerId(3), /*after=*/2);
  for (uint32_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(
        writer_->Submit(i, Data(std::string(1, static_cast<char>('a' + i))), i == 0, i == 4).ok());
  }
  const Status status = writer_->Drain();
  EXPECT_EQ(status.code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(writer_->failed_server(), ServerId(3));
  EXPECT_FALSE(connections_->RecentlyFailed(ServerId(1))) << "the head is fine";
  EXPECT_TRUE(writer_->unsynced());

  auto writes = writer_->TakeUnacknowledged();
  ASSERT_EQ(writes.size(), 3u);
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(writes[i].offset, i + 2);
    EXPECT_EQ(*writes[i].data.bytes, static_cast<char>('c' + i));
    EXPECT_EQ(writes[i].sync, i == 2);
  }
  EXPECT_TRUE(writer_->TakeUnacknowledged().empty());
  EXPECT_EQ(writer_->Sync().code(), StatusCode::kStaleGeneration) << "it stays failed";
}

TEST_F(ChainWriterTest, ServerThatItsPredecessorFindsHungCountsAsFailed) {
  head_.AnswerWith(wire::FrameKind::WRITE, Status(StatusCode::kDeadlineExceeded, "no answer"),
                   ServerId(3), /*after=*/0);
  const uint64_t failures = connections_->failures();
  ASSERT_TRUE(writer_->Submit(0, Data("x"), true, false).ok());
  EXPECT_EQ(writer_->Drain().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(writer_->failed_server(), ServerId(3));
  EXPECT_TRUE(connections_->RecentlyFailed(ServerId(3))) << "the next block avoids it";
  EXPECT_FALSE(connections_->RecentlyFailed(ServerId(1)));
  EXPECT_GT(connections_->failures(), failures);
}

TEST_F(ChainWriterTest, WritesOfAFailedWriterGoOnElsewhere) {
  std::string expected;
  head_.DropOn(wire::FrameKind::WRITE, 1);
  for (uint32_t i = 0; i < 40; ++i) {
    const std::string bytes = RandomBytes(50'000, i);
    expected += bytes;
    // Fails somewhere on the way; what is submitted afterwards is kept as well.
    const Status submitted = writer_->Submit(i * 50'000, Data(bytes), true, false);
    EXPECT_TRUE(submitted.ok() || !writer_->failure().ok());
  }
  EXPECT_EQ(writer_->Drain().code(), StatusCode::kUnavailable);
  EXPECT_EQ(writer_->failed_server(), ServerId(1));
  auto writes = writer_->TakeUnacknowledged();
  EXPECT_EQ(writes.size(), 40u);

  FakeChunkServer other(ServerId(4));
  target_.chain = {other.replica()};
  MakeWriter();
  for (auto& write : writes) {
    ASSERT_TRUE(
        writer_->Submit(write.offset, std::move(write.data), write.create, write.sync).ok());
  }
  ASSERT_TRUE(writer_->Drain().ok());
  EXPECT_TRUE(other.GetBlock(kBlock).data == expected);
}

TEST_F(ChainWriterTest, HeadThatCannotBeReached) {
  head_.Stop();
  const Status status = writer_->Submit(0, Data("x"), true, false);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(writer_->failed_server(), ServerId(1));
  EXPECT_TRUE(connections_->RecentlyFailed(ServerId(1)));
  EXPECT_EQ(writer_->TakeUnacknowledged().size(), 1u);
}

TEST_F(ChainWriterTest, ChainThatMakesNoProgressIsGivenUpByTheDeadline) {
  options_.progress_timeout = milliseconds(50);
  MakeWriter();
  head_.StallOn(wire::FrameKind::WRITE);
  ASSERT_TRUE(writer_->Submit(0, Data("x"), true, false).ok());
  const Status status = writer_->Drain();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(writer_->failed_server(), ServerId(1));
  EXPECT_EQ(writer_->TakeUnacknowledged().size(), 1u);
  head_.Resume();
}

TEST_F(ChainWriterTest, HeadThatStopsReadingIsGivenUpByTheDeadline) {
  options_.progress_timeout = milliseconds(50);
  options_.window_frames = 1000;
  options_.window_bytes = 1 << 30;
  MakeWriter();
  head_.StallOn(wire::FrameKind::WRITE);
  const WriteData data = Data(std::string(1 << 20, 'x'));
  Status status;
  size_t submitted = 0;
  for (; submitted < 1000 && status.ok(); ++submitted) {
    status = writer_->Submit(0, data, true, false);
  }
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(writer_->TakeUnacknowledged().size(), submitted);
  head_.Resume();
}

TEST_F(ChainWriterTest, WorkingFramesKeepASlowChainAlive) {
  options_.progress_timeout = milliseconds(800);
  MakeWriter();
  head_.WorkOn(wire::FrameKind::WRITE, /*after=*/1);
  head_.WorkOn(wire::FrameKind::SYNC);
  ASSERT_TRUE(writer_->Submit(0, Data("1"), true, false).ok());
  ASSERT_TRUE(writer_->Submit(1, Data("2"), true, false).ok());
  std::thread disk([&] {
    head_.AwaitWorking(100);  // 1 s at least
    head_.Resume();
  });
  EXPECT_TRUE(writer_->Drain().ok()) << writer_->failure().ToString();
  disk.join();
  EXPECT_EQ(head_.GetBlock(kBlock).data, "12");
  head_.WorkOn(wire::FrameKind::SYNC);
  std::thread sync([&] {
    head_.AwaitWorking(200);
    head_.Resume();
  });
  EXPECT_TRUE(writer_->Sync().ok());
  sync.join();
}

TEST_F(ChainWriterTest, WorkingFramesAloneAreNotWaitedForWithoutEnd) {
  options_.progress_timeout = milliseconds(20'000);
  options_.answer_timeout = milliseconds(50);
  MakeWriter();
  head_.WorkOn(wire::FrameKind::WRITE);
  ASSERT_TRUE(writer_->Submit(0, Data("x"), true, false).ok());
  EXPECT_EQ(writer_->Drain().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(writer_->failed_server(), ServerId(1));
  head_.Resume();
}

TEST_F(ChainWriterTest, WriterThatLooksLateFindsAStoppedChainWithoutWaitingAgain) {
  options_.progress_timeout = milliseconds(1);
  MakeWriter();
  head_.StallOn(wire::FrameKind::WRITE);
  ASSERT_TRUE(writer_->Submit(0, Data("x"), true, false).ok());
  head_.AwaitStalled(1);
  Status status;
  while (status.ok()) status = writer_->Poll();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(writer_->TakeUnacknowledged().size(), 1u);
  head_.Resume();
}

TEST_F(ChainWriterTest, AcknowledgementsThatArrivedCountHoweverLateTheWriterLooks) {
  options_.progress_timeout = milliseconds(200);
  MakeWriter();
  head_.StallOn(wire::FrameKind::WRITE, /*after=*/1);
  ASSERT_TRUE(writer_->Submit(0, Data("1"), true, false).ok());
  ASSERT_TRUE(writer_->Submit(1, Data("2"), true, false).ok());
  head_.AwaitStalled(1);
  head_.Resume();
  // Longer than the timeout passes before the writer looks.
  const auto late = std::chrono::steady_clock::now() + milliseconds(250);
  while (head_.counts().write < 2 || std::chrono::steady_clock::now() < late) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(writer_->Drain().ok()) << writer_->failure().ToString();
}

TEST_F(ChainWriterTest, SlowHeadThatWorksMayStopReadingForAWhile) {
  options_.progress_timeout = milliseconds(800);
  options_.window_frames = 1000;
  options_.window_bytes = 1 << 30;
  MakeWriter();
  head_.WorkOn(wire::FrameKind::WRITE);
  std::thread disk([&] {
    head_.AwaitWorking(100);
    head_.Resume();
  });
  // More than the sockets hold.
  const WriteData data = Data(std::string(1 << 20, 'x'));
  for (uint32_t i = 0; i < 24; ++i) {
    const Status submitted = writer_->Submit(i << 20, data, true, false);
    ASSERT_TRUE(submitted.ok()) << submitted.ToString();
  }
  EXPECT_TRUE(writer_->Drain().ok());
  disk.join();
  EXPECT_EQ(head_.counts().write, 24);
}

TEST_F(ChainWriterTest, FailedSyncAndTruncateAreFailures) {
  head_.AnswerWith(wire::FrameKind::SYNC, Status(StatusCode::kIo, "bad disk"), ServerId(2));
  ASSERT_TRUE(writer_->Submit(0, Data("x"), true, false).ok());
  EXPECT_EQ(writer_->Sync().code(), StatusCode::kIo);
  EXPECT_EQ(writer_->failed_server(), ServerId(2));
  EXPECT_TRUE(writer_->unsynced());
  EXPECT_TRUE(writer_->TakeUnacknowledged().empty()) << "the write itself was acknowledged";

  MakeWriter();
  head_.DropOn(wire::FrameKind::TRUNCATE, 1);
  EXPECT_EQ(writer_->Truncate(0).code(), StatusCode::kUnavailable);
  EXPECT_EQ(writer_->failed_server(), ServerId(1));
  EXPECT_TRUE(writer_->unsynced());
}

TEST_F(ChainWriterTest, WriteToAReservedBlockNeedsCreate) {
  ASSERT_TRUE(writer_->Submit(0, Data("x"), /*create=*/false, false).ok());
  EXPECT_EQ(writer_->Drain().code(), StatusCode::kNotFound);
}

TEST_F(ChainWriterTest, IdleWritersHoldNoConnection) {
  std::vector<std::unique_ptr<ChainWriter>> writers;
  for (uint64_t i = 0; i < 50; ++i) {
    target_.id = BlockId(1000 + i);
    MakeWriter();
    ASSERT_TRUE(writer_->Submit(0, Data("x"), true, false).ok());
    ASSERT_TRUE(writer_->Drain().ok());
    writers.push_back(std::move(writer_));
  }
  EXPECT_EQ(head_.counts().hello, 1);
}

TEST_F(ChainWriterTest, WriterThatEndsWithWritesInFlightClosesItsConnection) {
  head_.StallOn(wire::FrameKind::WRITE);
  ASSERT_TRUE(writer_->Submit(0, Data("x"), true, false).ok());
  writer_.reset();
  EXPECT_EQ(connections_->idle_count(ServerId(1)), 0u);
  head_.Resume();
}

}  // namespace
}  // namespace tercet
