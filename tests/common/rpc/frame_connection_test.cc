#include "common/rpc/frame_connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <random>
#include <thread>
#include <vector>

#include "common/base/crc32c.h"
#include "common/rpc/frame_listener.h"
#include "common/rpc/socket.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

std::string RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

iovec Piece(std::string& bytes) { return {bytes.data(), bytes.size()}; }

FramePrelude Prelude(uint8_t kind, uint64_t request_id) {
  FramePrelude prelude;
  prelude.kind = kind;
  prelude.request_id = request_id;
  return prelude;
}

/// Two connected ends over TCP, so that timeouts and sendfile are those of real sockets.
class FrameConnectionTest : public testing::Test {
 protected:
  FrameConnectionTest() {
    auto listening = ListenOn(HostPort{"127.0.0.1", 0});
    auto connected = FrameConnection::Connect({"127.0.0.1", listening->port}, milliseconds(5000));
    client_ = std::move(connected).value();
    int accepted = -1;
    while (accepted < 0) accepted = ::accept(listening->socket.get(), nullptr, nullptr);
    server_ = std::make_unique<FrameConnection>(accepted, "the client");
  }

  void SendRaw(const std::string& bytes) {
    ASSERT_EQ(::send(client_->socket(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  /// A valid frame's bytes.
  static std::string Frame(const std::string& header, const std::string& payload) {
    FramePrelude prelude = Prelude(4, 1);
    prelude.header_bytes = static_cast<uint32_t>(header.size());
    prelude.payload_bytes = static_cast<uint32_t>(payload.size());
    prelude.header_crc = Crc32c(header);
    std::string bytes(kFramePreludeBytes, '\0');
    prelude.Encode(bytes.data());
    return bytes + header + payload;
  }

  std::unique_ptr<FrameConnection> client_;
  std::unique_ptr<FrameConnection> server_;
};

TEST_F(FrameConnectionTest, FramesOfAllSizesArriveWhole) {
  const std::vector<std::pair<size_t, size_t>> sizes = {{0, 0},
                                                        {1, 0},
                                                        {0, 1},
                                                        {20, 4096},
                                                        {300, 4095},
                                                        {4576, 0},
                                                        {4577, 10},
                                                        {1060, 1 << 20},
                                                        {60, 70000},
                                                        {65536, 4097},
                                                        {65536, kMaxFramePayloadBytes}};
  std::thread sender([&] {
    for (size_t i = 0; i < sizes.size(); ++i) {
      std::string header = RandomBytes(sizes[i].first, i);
      std::string payload = RandomBytes(sizes[i].second, 100 + i);
      const iovec piece = Piece(payload);
      const Status sent =
          client_->Send(Prelude(static_cast<uint8_t>(i), 1000 + i), header, {&piece, 1});
      EXPECT_TRUE(sent.ok()) << sent.ToString();
    }
  });
  for (size_t i = 0; i < sizes.size(); ++i) {
    std::string header;
    auto prelude = server_->Receive(&header);
    ASSERT_TRUE(prelude.ok()) << prelude.status().ToString();
    EXPECT_EQ(prelude->kind, i);
    EXPECT_EQ(prelude->request_id, 1000 + i);
    EXPECT_EQ(header, RandomBytes(sizes[i].first, i));
    ASSERT_EQ(prelude->payload_bytes, sizes[i].second);
    std::string payload(prelude->payload_bytes, '\0');
    ASSERT_TRUE(server_->ReceivePayload(payload.data(), payload.size()).ok());
    EXPECT_EQ(payload, RandomBytes(sizes[i].second, 100 + i));
  }
  sender.join();
}

TEST_F(FrameConnectionTest, PayloadOfManyPieces) {
  std::vector<std::string> parts;
  std::string whole;
  for (int i = 0; i < 1500; ++i) {  // more than one system call takes
    parts.push_back(RandomBytes(static_cast<size_t>(i % 7) * 13, static_cast<uint64_t>(i)));
    whole += parts.back();
  }
  std::vector<iovec> pieces;
  for (std::string& part : parts) pieces.push_back(Piece(part));
  ASSERT_TRUE(client_->Send(Prelude(2, 1), "header", pieces).ok());
  std::string header;
  auto prelude = server_->Receive(&header);
  ASSERT_TRUE(prelude.ok());
  ASSERT_EQ(prelude->payload_bytes, whole.size());
  // Received into several places, one of them empty.
  std::string first(10, '\0'), none, second(whole.size() - 10, '\0');
  const std::array<iovec, 3> places = {Piece(first), Piece(none), Piece(second)};
  ASSERT_TRUE(server_->ReceivePayload(places).ok());
  EXPECT_EQ(first + second, whole);
}

TEST_F(FrameConnectionTest, SkippedPayloadLeavesTheNextFrameInPlace) {
  std::string payload = RandomBytes(300'000, 1);
  const iovec piece = Piece(payload);
  std::thread sender([&] {
    EXPECT_TRUE(client_->Send(Prelude(4, 1), "first", {&piece, 1}).ok());
    EXPECT_TRUE(client_->Send(Prelude(6, 2), "second", {}).ok());
  });
  std::string header;
  auto prelude = server_->Receive(&header);
  ASSERT_TRUE(prelude.ok());
  EXPECT_TRUE(server_->SkipPayload(prelude->payload_bytes).ok());
  auto next = server_->Receive(&header);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->request_id, 2u);
  EXPECT_EQ(header, "second");
  sender.join();
}

TEST_F(FrameConnectionTest, MisuseOfThePayloadIsAnInternalError) {
  std::string payload(100, 'x');
  const iovec piece = Piece(payload);
  ASSERT_TRUE(client_->Send(Prelude(4, 1), "h", {&piece, 1}).ok());
  std::string header;
  ASSERT_TRUE(server_->Receive(&header).ok());
  EXPECT_EQ(server_->Receive(&header).code(), StatusCode::kInternal);
  std::string large(101, '\0');
  EXPECT_EQ(server_->ReceivePayload(large.data(), large.size()).code(), StatusCode::kInternal);
}

TEST_F(FrameConnectionTest, FramesOverTheLimitsAreNotSent) {
  std::string payload(kMaxFramePayloadBytes + 1, 'x');
  const iovec piece = Piece(payload);
  EXPECT_EQ(client_->Send(Prelude(4, 1), "h", {&piece, 1}).code(), StatusCode::kInvalidArgument);
  const std::string header(kMaxFrameHeaderBytes + 1, 'h');
  EXPECT_EQ(client_->Send(Prelude(4, 1), header, {}).code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(client_->Send(Prelude(4, 5), "h", {}).ok()) << "the connection still works";
  std::string received;
  EXPECT_EQ(server_->Receive(&received)->request_id, 5u);
}

TEST_F(FrameConnectionTest, SendFileSendsTheRange) {
  const std::string path =
      testing::TempDir() + "/frame_connection_test_" + std::to_string(::getpid());
  const int file = ::open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR, 0600);
  ASSERT_GE(file, 0);
  ::unlink(path.c_str());
  const std::string content = RandomBytes(900'000, 1);
  ASSERT_EQ(::write(file, content.data(), content.size()), static_cast<ssize_t>(content.size()));

  const struct {
    uint64_t offset;
    uint32_t count;
  } cases[] = {{0, 4096},          {12345, 700'000},  {899'999, 1},
               {800'000, 1 << 20}, {2'000'000, 5000}, {5, 0}};
  std::thread sender([&] {
    for (const auto& c : cases) {
      const Status sent =
          client_->SendFile(Prelude(5, c.offset), "header", file, c.offset, c.count);
      EXPECT_TRUE(sent.ok()) << sent.ToString();
    }
  });
  for (const auto& c : cases) {
    std::string expected;
    if (c.offset < content.size()) expected = content.substr(c.offset, c.count);
    expected.resize(c.count, '\0');
    std::string header;
    auto prelude = server_->Receive(&header);
    ASSERT_TRUE(prelude.ok());
    EXPECT_EQ(prelude->request_id, c.offset);
    EXPECT_EQ(header, "header");
    ASSERT_EQ(prelude->payload_bytes, c.count);
    std::string payload(c.count, 'x');
    ASSERT_TRUE(server_->ReceivePayload(payload.data(), payload.size()).ok());
    EXPECT_TRUE(payload == expected) << "offset " << c.offset;
  }
  sender.join();
  ::close(file);
}

TEST_F(FrameConnectionTest, SendFileOfWhatCannotBeReadIsAnIoError) {
  const int directory = ::open("/tmp", O_RDONLY | O_DIRECTORY);
  ASSERT_GE(directory, 0);
  EXPECT_EQ(client_->SendFile(Prelude(5, 1), "h", directory, 0, 100).code(), StatusCode::kIo);
  ::close(directory);
}

TEST_F(FrameConnectionTest, ClosedBetweenFramesAndInMidFrame) {
  SendRaw(Frame("header", ""));
  client_.reset();
  std::string header;
  ASSERT_TRUE(server_->Receive(&header).ok());
  auto end = server_->Receive(&header);
  EXPECT_EQ(end.code(), StatusCode::kUnavailable);
  EXPECT_NE(end.status().message().find("closed"), std::string::npos);
  EXPECT_EQ(end.status().message().find("mid-frame"), std::string::npos);
}

TEST_F(FrameConnectionTest, EveryCutIsNoticed) {
  const std::string frame = Frame("a header", "and a payload");
  for (size_t size = 1; size < frame.size(); ++size) {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ASSERT_EQ(::send(pair[0], frame.data(), size, 0), static_cast<ssize_t>(size));
    ::close(pair[0]);
    FrameConnection connection(pair[1], "peer");
    std::string header;
    auto prelude = connection.Receive(&header);
    std::string payload(13, '\0');
    const Status status =
        prelude.ok() ? connection.ReceivePayload(payload.data(), payload.size()) : prelude.status();
    EXPECT_EQ(status.code(), StatusCode::kUnavailable) << size;
    EXPECT_NE(status.message().find("mid-frame"), std::string::npos) << size;
  }
}

TEST_F(FrameConnectionTest, BytesThatAreNoFrameAreCorruptionWithThePeersName) {
  SendRaw("GET / HTTP/1.1\r\nHost: somewhere.example\r\n\r\n");
  std::string header;
  auto received = server_->Receive(&header);
  EXPECT_EQ(received.code(), StatusCode::kCorruption);
  EXPECT_NE(received.status().message().find("the client"), std::string::npos);
  EXPECT_NE(received.status().message().find("magic"), std::string::npos);
}

TEST_F(FrameConnectionTest, AnyFlippedBitOfPreludeOrHeaderIsCorruption) {
  const std::string frame = Frame("a header", "");
  for (size_t bit = 0; bit < 8 * frame.size(); ++bit) {
    std::string bad = frame;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ASSERT_EQ(::send(pair[0], bad.data(), bad.size(), 0), static_cast<ssize_t>(bad.size()));
    ::close(pair[0]);
    FrameConnection connection(pair[1], "peer");
    std::string header;
    EXPECT_EQ(connection.Receive(&header).code(), StatusCode::kCorruption) << "bit " << bit;
  }
}

TEST_F(FrameConnectionTest, PeerThatSendsNothingIsFoundByTheDeadline) {
  server_->SetReceiveTimeout(milliseconds(20));
  std::string header;
  EXPECT_EQ(server_->Receive(&header).code(), StatusCode::kDeadlineExceeded);
}

TEST_F(FrameConnectionTest, PeerThatStopsInMidFrameIsFoundByTheDeadline) {
  server_->SetReceiveTimeout(milliseconds(20));
  const std::string frame = Frame("header", std::string(100'000, 'x'));
  SendRaw(frame.substr(0, 50'000));
  std::string header, payload(100'000, '\0');
  ASSERT_TRUE(server_->Receive(&header).ok());
  EXPECT_EQ(server_->ReceivePayload(payload.data(), payload.size()).code(),
            StatusCode::kDeadlineExceeded);
}

TEST_F(FrameConnectionTest, PeerThatReadsNothingIsFoundByTheDeadline) {
  client_->SetSendTimeout(milliseconds(20));
  std::string payload(1 << 20, 'x');
  const iovec piece = Piece(payload);
  Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) {
    status = client_->Send(Prelude(6, 1), "header", {&piece, 1});
  }
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
}

TEST_F(FrameConnectionTest, SendingToAClosedPeerIsAnErrorAndNoSignal) {
  server_.reset();
  const int file = ::open("/proc/self/exe", O_RDONLY);
  ASSERT_GE(file, 0);
  std::string payload(1 << 20, 'x');
  const iovec piece = Piece(payload);
  Status sent, sent_file;
  for (int i = 0; i < 1000 && sent.ok(); ++i) sent = client_->Send(Prelude(6, 1), "h", {&piece, 1});
  sent_file = client_->SendFile(Prelude(6, 1), "h", file, 0, 1 << 20);
  EXPECT_EQ(sent.code(), StatusCode::kUnavailable);
  EXPECT_EQ(sent_file.code(), StatusCode::kUnavailable);
  ::close(file);
}

TEST_F(FrameConnectionTest, ShutdownWakesBothDirections) {
  std::thread receiver([&] {
    std::string header;
    EXPECT_EQ(server_->Receive(&header).code(), StatusCode::kUnavailable);
  });
  std::thread sender([&] {
    std::string payload(1 << 20, 'x');
    const iovec piece = Piece(payload);
    Status status;
    while (status.ok()) status = server_->Send(Prelude(6, 1), "h", {&piece, 1});
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  });
  server_->Shutdown();
  receiver.join();
  sender.join();
}

TEST_F(FrameConnectionTest, LooksClosedTellsAnIdleConnectionFromABrokenOne) {
  EXPECT_FALSE(client_->LooksClosed());
  ASSERT_TRUE(client_->Send(Prelude(6, 1), "nobody asked for this", {}).ok());
  std::string header;
  char byte;
  ASSERT_EQ(::recv(server_->socket(), &byte, 1, MSG_PEEK), 1);
  EXPECT_TRUE(server_->LooksClosed()) << "stray bytes";
  ASSERT_TRUE(server_->Receive(&header).ok());
  EXPECT_FALSE(server_->LooksClosed());
  server_.reset();
  ASSERT_EQ(::recv(client_->socket(), &byte, 1, MSG_PEEK), 0);
  EXPECT_TRUE(client_->LooksClosed());
}

TEST(FrameConnectTest, NobodyListens) {
  auto listening = ListenOn(HostPort{"127.0.0.1", 0});
  const uint16_t port = listening->port;
  listening->socket.Close();
  auto connected = FrameConnection::Connect({"127.0.0.1", port}, milliseconds(2000));
  EXPECT_EQ(connected.code(), StatusCode::kUnavailable);
  EXPECT_NE(connected.status().message().find("127.0.0.1:" + std::to_string(port)),
            std::string::npos);
}

TEST(FrameConnectTest, NameThatDoesNotResolve) {
  auto connected = FrameConnection::Connect({"no-such-host.invalid", 1}, milliseconds(2000));
  EXPECT_EQ(connected.code(), StatusCode::kUnavailable);
  EXPECT_NE(connected.status().message().find("no-such-host.invalid:1"), std::string::npos);
}

TEST(FrameConnectTest, PeerThatNeverAnswersIsFoundByTheDeadline) {
  // A listener whose queue of connections is full ignores further ones.
  UniqueSocket listening(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listening.get(), 0), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const HostPort peer{"127.0.0.1", ntohs(address.sin_port)};
  std::vector<std::unique_ptr<FrameConnection>> connected;
  Status status;
  for (int i = 0; i < 10 && status.ok(); ++i) {
    auto connection = FrameConnection::Connect(peer, milliseconds(50));
    status = connection.status();
    if (connection.ok()) connected.push_back(std::move(connection).value());
  }
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_NE(status.message().find(peer.ToString()), std::string::npos);
}

// Valid streams of frames with random damage: whatever comes, Receive ends with a status, and the
// only frames it lets through have an intact prelude and header.
TEST(FrameFuzzTest, DamagedStreamsEndWithAStatus) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string stream;
    for (int frame = 0; frame < 3; ++frame) {
      const std::string header(random() % 64, 'h');
      const std::string payload(random() % 64, 'p');
      FramePrelude prelude = Prelude(static_cast<uint8_t>(random() % 20), random());
      prelude.header_bytes = static_cast<uint32_t>(header.size());
      prelude.payload_bytes = static_cast<uint32_t>(payload.size());
      prelude.header_crc = Crc32c(header);
      std::string bytes(kFramePreludeBytes, '\0');
      prelude.Encode(bytes.data());
      stream += bytes + header + payload;
    }
    for (uint64_t change = random() % 4; change > 0; --change) {
      const size_t at = random() % stream.size();
      if (random() % 2 == 0) {
        stream[at] = static_cast<char>(random());
      } else {
        stream.erase(at, random() % 40);
        if (stream.empty()) stream = "x";
      }
    }
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ASSERT_EQ(::send(pair[0], stream.data(), stream.size(), 0),
              static_cast<ssize_t>(stream.size()));
    ::close(pair[0]);
    FrameConnection connection(pair[1], "peer");
    Status status;
    int frames = 0;
    while (status.ok()) {
      std::string header;
      auto prelude = connection.Receive(&header);
      status = prelude.status();
      if (!status.ok()) break;
      ++frames;
      EXPECT_EQ(header, std::string(prelude->header_bytes, 'h'));
      status = connection.SkipPayload(prelude->payload_bytes);
    }
    EXPECT_LE(frames, 3);
    EXPECT_TRUE(status.code() == StatusCode::kUnavailable ||
                status.code() == StatusCode::kCorruption)
        << status.ToString();
  }
}

}  // namespace
}  // namespace tercet
