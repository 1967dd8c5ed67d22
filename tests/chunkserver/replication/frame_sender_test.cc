// The ordered, non-waiting output of frames.
#include "chunkserver/replication/frame_sender.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "common/base/coding.h"
#include "common/rpc/frame_connection.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

/// Two ends of a connection; the buffers are as small as the kernel allows.
struct Pair {
  Pair() {
    int sockets[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    const int small = 1;
    ::setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    near = std::make_unique<FrameConnection>(sockets[0], "far");
    far = std::make_unique<FrameConnection>(sockets[1], "near");
  }
  std::unique_ptr<FrameConnection> near;
  std::unique_ptr<FrameConnection> far;
};

OutgoingFrame Frame(BufferPool& pool, uint64_t id, size_t payload_bytes) {
  OutgoingFrame frame;
  frame.head = EncodeFrameHead(wire::FrameKind::STAT, id, wire::StatHeader(), payload_bytes);
  if (payload_bytes > 0) {
    frame.payload = pool.Acquire(payload_bytes, 0);
    std::fill_n(frame.payload->data(), payload_bytes, static_cast<char>(id));
    frame.payload_bytes = payload_bytes;
  }
  return frame;
}

/// Request id and payload of the next frame.
std::pair<uint64_t, std::string> Receive(FrameConnection& connection) {
  std::string header;
  auto prelude = connection.Receive(&header);
  EXPECT_TRUE(prelude.ok()) << prelude.status().ToString();
  if (!prelude.ok()) return {};
  std::string payload(prelude->payload_bytes, '\0');
  EXPECT_TRUE(connection.ReceivePayload(payload.data(), payload.size()).ok());
  return {prelude->request_id, payload};
}

class FrameSenderTest : public testing::Test {
 protected:
  BufferPool pool_{64 << 20};
  Pair pair_;
  FrameSender sender_{milliseconds(60'000)};
};

TEST_F(FrameSenderTest, FramesOfManyThreadsArriveWholeAndInEachThreadsOrder) {
  sender_.Attach(pair_.near.get());
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kFrames = 300;
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint64_t i = 0; i < kFrames; ++i) {
        sender_.Send(Frame(pool_, thread * kFrames + i, i % 3 * 7'000));
      }
    });
  }
  std::map<uint64_t, uint64_t> next;
  for (uint64_t i = 0; i < kThreads * kFrames; ++i) {
    const auto [id, payload] = Receive(*pair_.far);
    EXPECT_EQ(id % kFrames, next[id / kFrames]++);
    EXPECT_EQ(payload, std::string(id % kFrames % 3 * 7'000, static_cast<char>(id)));
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(FrameSenderTest, SendDoesNotWaitForAPeerThatTakesNothing) {
  sender_.Attach(pair_.near.get());
  for (uint64_t id = 1; id <= 20; ++id) sender_.Send(Frame(pool_, id, 1 << 20));
  EXPECT_GT(pool_.bytes_in_use(), 10u << 20);
  // And all is there when it does.
  for (uint64_t id = 1; id <= 20; ++id) EXPECT_EQ(Receive(*pair_.far).first, id);
}

TEST_F(FrameSenderTest, WhatWasSentBeforeAttachGoesOutFirst) {
  for (uint64_t id = 1; id <= 5; ++id) sender_.Send(Frame(pool_, id, 10));
  sender_.Attach(pair_.near.get());
  sender_.Send(Frame(pool_, 6, 10));
  for (uint64_t id = 1; id <= 6; ++id) EXPECT_EQ(Receive(*pair_.far).first, id);
}

TEST_F(FrameSenderTest, ExclusiveUseComesBetweenFrames) {
  sender_.Attach(pair_.near.get());
  std::atomic<bool> stop{false};
  std::thread other([&] {
    for (uint64_t id = 0; !stop; ++id) {
      sender_.Send(Frame(pool_, 1, 5'000));
      EXPECT_TRUE(sender_.WaitForRoom(1 << 20, milliseconds(60'000)).ok());
    }
    sender_.Send(Frame(pool_, 99, 0));
  });
  std::thread exclusive([&] {
    const std::string payload(100'000, '\2');
    const iovec piece{const_cast<char*>(payload.data()), payload.size()};
    for (int i = 0; i < 50; ++i) {
      EXPECT_TRUE(sender_
                      .SendExclusively([&](FrameConnection& connection) {
                        FramePrelude prelude;
                        prelude.kind = wire::FrameKind::READ_RESPONSE;
                        prelude.request_id = 2;
                        return connection.Send(prelude, "", std::span(&piece, 1));
                      })
                      .ok());
    }
    stop = true;
  });
  int exclusive_frames = 0;
  for (;;) {
    const auto [id, payload] = Receive(*pair_.far);
    if (id == 99) break;
    ASSERT_TRUE(id == 1 || id == 2);
    EXPECT_EQ(payload, std::string(id == 1 ? 5'000 : 100'000, static_cast<char>(id)));
    exclusive_frames += id == 2;
  }
  EXPECT_EQ(exclusive_frames, 50);
  exclusive.join();
  other.join();
}

TEST_F(FrameSenderTest, FullQueueOfAPeerThatStandsStillIsRefused) {
  sender_.Attach(pair_.near.get());
  EXPECT_TRUE(sender_.WaitForRoom(1 << 20, milliseconds(1)).ok());
  for (uint64_t id = 1; id <= 3; ++id) sender_.Send(Frame(pool_, id, 1 << 20));
  EXPECT_EQ(sender_.WaitForRoom(1 << 20, milliseconds(1)).code(), StatusCode::kUnavailable);
  for (uint64_t id = 1; id <= 3; ++id) Receive(*pair_.far);
  EXPECT_TRUE(sender_.WaitForRoom(1 << 20, milliseconds(60'000)).ok());
}

TEST_F(FrameSenderTest, FailureReleasesTheQueueAndEndsWaiting) {
  sender_.Attach(pair_.near.get());
  for (uint64_t id = 1; id <= 5; ++id) sender_.Send(Frame(pool_, id, 1 << 20));
  std::thread waiter([&] {
    EXPECT_EQ(sender_.WaitForRoom(1 << 20, milliseconds(600'000)).code(), StatusCode::kIo);
  });
  sender_.Fail(Status(StatusCode::kIo, "test"));
  waiter.join();
  sender_.Send(Frame(pool_, 6, 1 << 20));
  sender_.Close();
  EXPECT_EQ(pool_.bytes_in_use(), 0u);
  EXPECT_EQ(sender_.status().code(), StatusCode::kIo);
}

TEST(FrameSenderStallTest, PeerThatTakesNothingForTheTimeoutHasFailed) {
  BufferPool pool(64 << 20);
  Pair pair;
  FrameSender sender(milliseconds(50));
  sender.Attach(pair.near.get());
  for (uint64_t id = 1; id <= 3; ++id) sender.Send(Frame(pool, id, 1 << 20));
  const Status status = sender.WaitForRoom(1, milliseconds(600'000));
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status.ToString();
}

TEST_F(FrameSenderTest, PeerThatIsGoneIsNoticed) {
  sender_.Attach(pair_.near.get());
  pair_.far.reset();
  sender_.Send(Frame(pool_, 1, 100));
  EXPECT_EQ(sender_.status().code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tercet
