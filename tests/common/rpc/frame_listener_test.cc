#include "common/rpc/frame_listener.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <future>
#include <stdexcept>
#include <thread>
#include <vector>

namespace tercet {
namespace {

using std::chrono::milliseconds;

/// Answers each frame with the same header and kind + 1.
void Echo(const std::shared_ptr<FrameConnection>& connection) {
  std::string header;
  while (true) {
    auto prelude = connection->Receive(&header);
    if (!prelude.ok() || !connection->SkipPayload(prelude->payload_bytes).ok()) return;
    FramePrelude answer;
    answer.kind = static_cast<uint8_t>(prelude->kind + 1);
    answer.request_id = prelude->request_id;
    if (!connection->Send(answer, header, {}).ok()) return;
  }
}

std::unique_ptr<FrameListener> StartEcho(int max_connections = 100) {
  FrameListenerOptions options;
  options.listen = {"127.0.0.1", 0};
  options.max_connections = max_connections;
  return FrameListener::Start(options, &Echo).value();
}

std::unique_ptr<FrameConnection> ConnectTo(const FrameListener& listener) {
  auto connection =
      FrameConnection::Connect({"127.0.0.1", listener.port()}, milliseconds(5000)).value();
  connection->SetReceiveTimeout(milliseconds(30'000));
  return connection;
}

Status Exchange(FrameConnection& connection, const std::string& text) {
  FramePrelude prelude;
  prelude.kind = 4;
  prelude.request_id = 77;
  RETURN_IF_ERROR(connection.Send(prelude, text, {}));
  std::string header;
  ASSIGN_OR_RETURN(const FramePrelude answer, connection.Receive(&header));
  EXPECT_EQ(answer.kind, 5);
  EXPECT_EQ(answer.request_id, 77u);
  EXPECT_EQ(header, text);
  return Status::Ok();
}

TEST(FrameListenerTest, ServesManyConnectionsAtOnce) {
  auto listener = StartEcho();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      auto connection = ConnectTo(*listener);
      for (int i = 0; i < 100; ++i) {
        const Status status = Exchange(*connection, std::to_string(thread * 1000 + i));
        ASSERT_TRUE(status.ok()) << status.ToString();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(FrameListenerTest, PortInUseIsBusyAndNamesTheAddress) {
  auto listener = StartEcho();
  FrameListenerOptions options;
  options.listen = {"127.0.0.1", listener->port()};
  auto second = FrameListener::Start(options, &Echo);
  EXPECT_EQ(second.code(), StatusCode::kBusy);
  EXPECT_NE(second.status().message().find("127.0.0.1:" + std::to_string(listener->port())),
            std::string::npos);
  listener->Stop();
  EXPECT_TRUE(FrameListener::Start(options, &Echo).ok()) << "the port is free after Stop";
}

TEST(FrameListenerTest, ForeignAddressIsAnInvalidArgument) {
  FrameListenerOptions options;
  options.listen = {"192.0.2.1", 0};  // of the documentation's network
  auto listener = FrameListener::Start(options, &Echo);
  EXPECT_EQ(listener.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(listener.status().message().find("192.0.2.1"), std::string::npos);
}

TEST(FrameListenerTest, StopEndsIdleAndBusyConnections) {
  auto listener = StartEcho();
  std::vector<std::unique_ptr<FrameConnection>> idle;
  for (int i = 0; i < 5; ++i) {
    idle.push_back(ConnectTo(*listener));
    ASSERT_TRUE(Exchange(*idle.back(), "hello").ok());
  }
  std::promise<void> busy;
  std::thread client([&] {
    auto connection = ConnectTo(*listener);
    Status status = Exchange(*connection, "first");
    busy.set_value();
    while (status.ok()) status = Exchange(*connection, "again");
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  });
  busy.get_future().wait();
  listener->Stop();
  client.join();
  for (auto& connection : idle) {
    EXPECT_EQ(Exchange(*connection, "anyone?").code(), StatusCode::kUnavailable);
  }
  EXPECT_EQ(listener->connection_count(), 0u);
}

TEST(FrameListenerTest, ConnectionsOverTheLimitAreClosedAndPlacesAreFreedAgain) {
  auto listener = StartEcho(/*max_connections=*/2);
  auto first = ConnectTo(*listener);
  auto second = ConnectTo(*listener);
  ASSERT_TRUE(Exchange(*first, "1").ok());
  ASSERT_TRUE(Exchange(*second, "2").ok());
  auto third = ConnectTo(*listener);
  EXPECT_EQ(Exchange(*third, "3").code(), StatusCode::kUnavailable);
  EXPECT_TRUE(Exchange(*first, "still served").ok());

  first.reset();
  // The server's thread needs a moment to see the end; a client just tries again.
  Status status(StatusCode::kUnavailable, "");
  for (int attempt = 0; attempt < 10'000 && !status.ok(); ++attempt) {
    status = Exchange(*ConnectTo(*listener), "4");
  }
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST(FrameListenerTest, ExceptionOfAHandlerEndsItsConnectionOnly) {
  FrameListenerOptions options;
  options.listen = {"127.0.0.1", 0};
  auto listener = FrameListener::Start(options, [](const auto& connection) {
                    std::string header;
                    auto prelude = connection->Receive(&header);
                    if (header == "throw") throw std::runtime_error("on purpose");
                    FramePrelude answer;
                    answer.kind = static_cast<uint8_t>(prelude->kind + 1);
                    answer.request_id = prelude->request_id;
                    const Status sent = connection->Send(answer, header, {});
                    EXPECT_TRUE(sent.ok());
                  }).value();
  EXPECT_EQ(Exchange(*ConnectTo(*listener), "throw").code(), StatusCode::kUnavailable);
  EXPECT_TRUE(Exchange(*ConnectTo(*listener), "fine").ok());
}

TEST(FrameListenerTest, ConnectionKeptByTheHandlerIsShutDownAllTheSame) {
  std::shared_ptr<FrameConnection> kept;
  FrameListenerOptions options;
  options.listen = {"127.0.0.1", 0};
  auto listener =
      FrameListener::Start(options, [&kept](const auto& connection) { kept = connection; }).value();
  auto connection = ConnectTo(*listener);
  std::string header;
  EXPECT_EQ(connection->Receive(&header).code(), StatusCode::kUnavailable);
  listener->Stop();
  EXPECT_FALSE(kept->Send(FramePrelude(), "too late", {}).ok());
}

}  // namespace
}  // namespace tercet
