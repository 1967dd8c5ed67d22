// Bytes that no honest client sends: the server answers or closes, and serves all others as before.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <random>
#include <thread>

#include "chunkserver/replication/frame_sender.h"
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers

constexpr BlockId kBlock{77};

class BadFramesTest : public testing::Test {
 protected:
  BadFramesTest() {
    RawClient client(server_);
    EXPECT_TRUE(client.Write({.block = kBlock, .data = "precious"}).status.ok());
  }

  enum class End {
    kGarbage,   // no frame can begin with what follows: the server closes
    kHalfClose  // the bytes end here
  };

  /// Sends the bytes, after a proper HELLO if so wished, and reads until the server closes.
  void SendRaw(std::string bytes, bool greet, End end = End::kGarbage) {
    RawClient client(server_.port());
    if (greet) {
      ASSERT_TRUE(client.Hello(RawClient::HelloFor(server_.id())).ok());
    }
    const int socket = client.connection().socket();
    if (end == End::kGarbage) bytes.append(64 << 10, 'Z');
    (void)!::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (end == End::kHalfClose) ::shutdown(socket, SHUT_WR);
    char scratch[4096];
    for (;;) {
      pollfd entry{socket, POLLIN, 0};
      // A damaged length may make the server wait for more than there is.
      if (::poll(&entry, 1, 200) == 0) ::shutdown(socket, SHUT_WR);
      if (::recv(socket, scratch, sizeof(scratch), 0) <= 0) return;
    }
  }

  /// Valid frames of every kind that change no block but 1000 and up.
  std::vector<std::string> ValidFrames(std::mt19937& random) {
    std::vector<std::string> frames;
    const std::string data = Pattern(random(), 1 + random() % 9'000);
    wire::WriteHeader write;
    write.block_id = 1000 + static_cast<int64_t>(random() % 50);
    write.generation = 1;
    write.offset = static_cast<int32_t>(random() % 10'000);
    write.piece_crcs = PieceCrcs(static_cast<uint32_t>(write.offset), data);
    write.create = true;
    frames.push_back(EncodeFrameHead(wire::FrameKind::WRITE, 1, write, data.size()) + data);
    wire::ReadHeader read;
    read.block_id = write.block_id;
    read.generation = 1;
    read.length = 5'000;
    frames.push_back(EncodeFrameHead(wire::FrameKind::READ, 2, read, 0));
    wire::SyncHeader sync;
    sync.block_id = write.block_id;
    sync.generation = 1;
    frames.push_back(EncodeFrameHead(wire::FrameKind::SYNC, 3, sync, 0));
    wire::TruncateHeader truncate;
    truncate.block_id = write.block_id;
    truncate.generation = 1;
    truncate.length = 100;
    frames.push_back(EncodeFrameHead(wire::FrameKind::TRUNCATE, 4, truncate, 0));
    wire::StatHeader stat;
    stat.block_id = write.block_id;
    frames.push_back(EncodeFrameHead(wire::FrameKind::STAT, 5, stat, 0));
    return frames;
  }

  void ExpectAlive() {
    RawClient client(server_);
    EXPECT_EQ(client.Read(kBlock, Generation(1), 0, 8, true).payload.substr(0, 8), "precious");
  }

  TestServer server_{ServerId(4), {}};
};

TEST_F(BadFramesTest, RandomBytesEndTheConnectionOnly) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    SendRaw(Pattern(random(), random() % 3'000), round % 2 == 0);
  }
  EXPECT_GT(server_.data_plane().counters().bad_frames.load(), 100u);
  ExpectAlive();
}

TEST_F(BadFramesTest, DamagedFramesEndTheConnectionOrAreAnswered) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    std::string bytes;
    for (const std::string& frame : ValidFrames(random)) bytes += frame;
    const size_t hits = 1 + random() % 4;
    for (size_t i = 0; i < hits; ++i) bytes[random() % bytes.size()] ^= 1 << random() % 8;
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    SendRaw(bytes, true);
  }
  ExpectAlive();
}

TEST_F(BadFramesTest, ValidFramesOfTheFuzzerAreValid) {
  // Or else the test above would try nothing but the prelude's checksum.
  std::mt19937 random(3);
  const uint64_t before = server_.data_plane().counters().bad_frames.load();
  RawClient client(server_);
  std::string bytes;
  for (const std::string& frame : ValidFrames(random)) bytes += frame;
  ASSERT_EQ(::send(client.connection().socket(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
  for (int i = 0; i < 5; ++i) {
    auto answer = client.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
  }
  EXPECT_EQ(server_.data_plane().counters().bad_frames.load(), before);
}

/// The header's bytes are mutated and its checksum is made right again, so that they get to the
/// decoder.
TEST_F(BadFramesTest, NonsenseInHeadersWithRightChecksumsIsSurvived) {
  std::mt19937 random(4);
  for (int round = 0; round < 400; ++round) {
    std::string bytes;
    for (const std::string& frame : ValidFrames(random)) {
      auto prelude = FramePrelude::Decode(frame);
      ASSERT_TRUE(prelude.ok());
      std::string header = frame.substr(kFramePreludeBytes, prelude->header_bytes);
      const size_t hits = 1 + random() % 3;
      for (size_t i = 0; i < hits; ++i) header[random() % header.size()] = char(random());
      if (random() % 8 == 0) header.resize(random() % header.size());
      bytes += EncodeFrameHead(static_cast<wire::FrameKind::type>(prelude->kind), 7,
                               std::string_view(header), prelude->payload_bytes);
      bytes += frame.substr(kFramePreludeBytes + prelude->header_bytes);
    }
    SendRaw(bytes, true);
  }
  ExpectAlive();
}

TEST_F(BadFramesTest, FramesOfUnknownKindsEndTheConnection) {
  for (int kind : {0, 1, 3, 5, 7, 14, 15, 200, 255}) {
    wire::StatHeader stat;
    SendRaw(EncodeFrameHead(static_cast<wire::FrameKind::type>(kind), 1, stat, 0), true);
  }
  EXPECT_EQ(server_.data_plane().counters().bad_frames.load(), 9u);
  ExpectAlive();
}

TEST_F(BadFramesTest, OthersAreServedMeanwhile) {
  std::atomic<bool> stop{false};
  std::thread attacker([&] {
    std::mt19937 random(5);
    while (!stop) SendRaw(Pattern(random(), 500), true);
  });
  RawClient client(server_);
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(client.Write({.block = BlockId(5), .data = "still here"}).status.ok());
  }
  stop = true;
  attacker.join();
  EXPECT_EQ(server_.Contents(BlockId(5)), "still here");
}

TEST_F(BadFramesTest, ConnectionsThatEndInMidFrameLeaveNothingBehind) {
  std::mt19937 random(6);
  for (int round = 0; round < 50; ++round) {
    const std::string frame = ValidFrames(random)[0];
    SendRaw(frame.substr(0, random() % frame.size()), true, End::kHalfClose);
  }
  EXPECT_TRUE(
      Eventually([&] { return server_.data_plane().counters().connections_open.load() == 0; }));
  ExpectAlive();
}

}  // namespace
}  // namespace tercet
