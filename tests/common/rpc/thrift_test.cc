#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "common/base/coding.h"
#include "common/rpc/socket.h"
#include "common/rpc/thrift_client.h"
#include "common/rpc/thrift_server.h"
#include "tercet_thrift/GroupService.h"
#include "tercet_thrift/RegistryService.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kLong{60'000};

/// Echoes the group id of Join; some mean something else. Hello echoes its address.
class FakeGroup : public wire::GroupServiceNull {
 public:
  static constexpr int64_t kThrow = -1;
  static constexpr int64_t kBlock = -2;
  static constexpr int64_t kTooLongReply = -3;

  void Join(wire::JoinResponse& response, const wire::JoinRequest& request) override {
    ++calls;
    if (request.group_id == kThrow) throw std::runtime_error("on purpose");
    if (request.group_id == kBlock) {
      std::unique_lock lock(mutex);
      ++blocked;
      changed.notify_all();
      changed.wait(lock, [&] { return released; });
    }
    response.status.message = request.group_id == kTooLongReply
                                  ? std::string(kMaxRpcMessageBytes, 'x')
                                  : std::to_string(request.group_id);
  }
  void Hello(wire::HelloResponse& response, const wire::HelloRequest& request) override {
    response.status.message = request.from_address;
  }

  void AwaitBlocked(int count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return blocked >= count; });
  }
  void Release() {
    std::lock_guard lock(mutex);
    released = true;
    changed.notify_all();
  }

  std::atomic<int> calls{0};
  std::mutex mutex;
  std::condition_variable changed;
  int blocked = 0;        // guarded by mutex
  bool released = false;  // guarded by mutex
};

class FakeRegistry : public wire::RegistryServiceNull {
 public:
  void Heartbeat(wire::HeartbeatResponse& response, const wire::HeartbeatRequest&) override {
    response.want_digests = true;
  }
};

using GroupPool = RpcClientPool<wire::GroupServiceClient>;

class ThriftTest : public testing::Test {
 protected:
  ThriftTest() { Start({}); }

  void Start(ThriftServerOptions options) {
    options.listen = {"127.0.0.1", port_};
    ThriftServer::Services services;
    services["group"] = std::make_shared<wire::GroupServiceProcessor>(group_);
    services["registry"] = std::make_shared<wire::RegistryServiceProcessor>(registry_);
    auto started = ThriftServer::Start(options, services);
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    server_ = std::move(started).value();
    port_ = server_->port();
  }

  HostPort address() const { return {"127.0.0.1", port_}; }

  static Status Echo(GroupPool& pool, int64_t number, milliseconds timeout = kLong) {
    return pool.Call(timeout, [&](wire::GroupServiceClient& client) {
      wire::JoinRequest request;
      request.group_id = number;
      wire::JoinResponse response;
      client.Join(response, request);
      EXPECT_EQ(response.status.message, std::to_string(number));
    });
  }

  static Status EchoBytes(GroupPool& pool, size_t size) {
    return pool.Call(kLong, [&](wire::GroupServiceClient& client) {
      wire::HelloRequest request;
      request.from_address = std::string(size, 'r');
      wire::HelloResponse response;
      client.Hello(response, request);
      EXPECT_EQ(response.status.message, request.from_address);
    });
  }

  /// Sends raw bytes and returns true when the server closes the connection.
  bool ServerClosesOn(const std::string& bytes) {
    auto socket = ConnectSocket(address(), kLong);
    SetSocketTimeout(socket->get(), SO_RCVTIMEO, kLong);
    EXPECT_EQ(::send(socket->get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    char buffer[1000];
    ssize_t got;
    do {
      got = ::recv(socket->get(), buffer, sizeof(buffer), 0);
    } while (got > 0);
    return got == 0 || errno == ECONNRESET;
  }

  uint16_t port_ = 0;
  std::shared_ptr<FakeGroup> group_ = std::make_shared<FakeGroup>();
  std::shared_ptr<FakeRegistry> registry_ = std::make_shared<FakeRegistry>();
  std::unique_ptr<ThriftServer> server_;
};

TEST_F(ThriftTest, SeveralServicesShareAPort) {
  GroupPool group(address(), "group");
  EXPECT_TRUE(Echo(group, 42).ok());
  RpcClientPool<wire::RegistryServiceClient> registry(address(), "registry");
  const Status status = registry.Call(kLong, [](wire::RegistryServiceClient& client) {
    wire::HeartbeatResponse response;
    client.Heartbeat(response, {});
    EXPECT_TRUE(response.want_digests);
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST_F(ThriftTest, CallsRunInParallelOnConnectionsOfTheirOwn) {
  GroupPool pool(address(), "group");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(Echo(pool, FakeGroup::kBlock).ok()); });
  }
  group_->AwaitBlocked(4);
  EXPECT_TRUE(Echo(pool, 1).ok());
  group_->Release();
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ThriftTest, OneConnectionCarriesMoreThanTheLimitOfOneMessage) {
  GroupPool pool(address(), "group", /*max_idle=*/1);
  for (int i = 0; i < 12; ++i) {
    const Status status = EchoBytes(pool, 5 << 20);
    ASSERT_TRUE(status.ok()) << "call " << i << ": " << status.ToString();
  }
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(Echo(pool, i).ok());
}

TEST_F(ThriftTest, MessagesUpToTheLimitPassAndLongerOnesAreRefused) {
  GroupPool pool(address(), "group");
  EXPECT_TRUE(EchoBytes(pool, kMaxRpcMessageBytes - 1000).ok());
  const Status status = EchoBytes(pool, kMaxRpcMessageBytes);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
  EXPECT_TRUE(Echo(pool, 1).ok());
}

TEST_F(ThriftTest, ReplyOverTheLimitEndsTheConnectionNotTheServer) {
  GroupPool pool(address(), "group");
  const Status status = Echo(pool, FakeGroup::kTooLongReply);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status.ToString();
  EXPECT_TRUE(Echo(pool, 1).ok());
}

TEST_F(ThriftTest, OversizedAndSenselessFramesEndTheConnectionOnly) {
  EXPECT_TRUE(ServerClosesOn("GET / HTTP/1.1\r\n\r\n"));
  std::string negative(
      "\xff\xff\xff\xff"
      "abc",
      7);
  EXPECT_TRUE(ServerClosesOn(negative));
  std::string garbage;
  PutBigEndian32(&garbage, 100);
  garbage += std::string(100, '\x5a');
  EXPECT_TRUE(ServerClosesOn(garbage));
  GroupPool pool(address(), "group");
  EXPECT_TRUE(Echo(pool, 1).ok());
}

TEST_F(ThriftTest, ListThatClaimsToBeHugeIsRefusedBeforeMemoryIsTaken) {
  std::string call;
  PutBigEndian32(&call, 0x80010001);  // binary protocol version 1, call
  const std::string name = "registry:ReportReplicas";
  PutBigEndian32(&call, static_cast<uint32_t>(name.size()));
  call += name;
  PutBigEndian32(&call, 1);                    // sequence id
  call += std::string("\x0c\x00\x01", 3);      // argument 1: a struct
  call += std::string("\x0f\x00\x04\x0c", 4);  // field 4: a list of structs
  PutBigEndian32(&call, 0x7fffffff);
  std::string message;
  PutBigEndian32(&message, static_cast<uint32_t>(call.size()));
  EXPECT_TRUE(ServerClosesOn(message + call));
}

TEST_F(ThriftTest, UnknownServiceIsAnError) {
  GroupPool pool(address(), "nonsense");
  const Status status = Echo(pool, 1);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("nonsense"), std::string::npos) << status.ToString();
}

TEST_F(ThriftTest, ExceptionOfAHandlerIsAnInternalErrorAndTheServerGoesOn) {
  GroupPool pool(address(), "group");
  const Status status = Echo(pool, FakeGroup::kThrow);
  EXPECT_EQ(status.code(), StatusCode::kInternal) << status.ToString();
  EXPECT_NE(status.message().find("on purpose"), std::string::npos);
  EXPECT_TRUE(Echo(pool, 1).ok());
}

TEST_F(ThriftTest, PeerThatDoesNotAnswerIsFoundByTheDeadline) {
  GroupPool pool(address(), "group");
  const Status status = Echo(pool, FakeGroup::kBlock, milliseconds(30));
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status.ToString();
  EXPECT_NE(status.message().find(address().ToString()), std::string::npos);
  group_->Release();
}

TEST_F(ThriftTest, CallsWithoutAnAnswerCanBeEndedAndOthersGoOn) {
  GroupPool pool(address(), "group");
  EXPECT_FALSE(pool.OldestCall());
  EXPECT_EQ(pool.AbortCalls(), 0u);
  const auto start = GroupPool::Clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back(
        [&] { EXPECT_EQ(Echo(pool, FakeGroup::kBlock).code(), StatusCode::kUnavailable); });
  }
  group_->AwaitBlocked(4);
  ASSERT_TRUE(pool.OldestCall());
  EXPECT_GE(*pool.OldestCall(), start);
  EXPECT_EQ(pool.AbortCalls(std::chrono::hours(1)), 0u) << "none is so old";
  EXPECT_EQ(pool.AbortCalls(), 4u);
  EXPECT_EQ(pool.AbortCalls(), 0u) << "each once";
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(pool.OldestCall());
  group_->Release();
  EXPECT_TRUE(Echo(pool, 1).ok());
}

TEST_F(ThriftTest, ACallThatIsStillConnectingCanBeEnded) {
  // Nobody accepts, and the queue of connections is full.
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
  GroupPool pool(full, "group");
  std::thread caller([&] { EXPECT_EQ(Echo(pool, 1).code(), StatusCode::kUnavailable); });
  while (pool.AbortCalls() == 0) std::this_thread::yield();
  caller.join();
}

TEST_F(ThriftTest, AnAbortThatComesBeforeTheConnectionEndsIt) {
  SocketAborter aborter;
  aborter.Abort();
  EXPECT_EQ(ConnectSocket(address(), kLong, {}, &aborter).code(), StatusCode::kUnavailable);
}

TEST_F(ThriftTest, NobodyListens) {
  server_.reset();
  GroupPool pool(address(), "group");
  const Status status = Echo(pool, 1);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find(address().ToString()), std::string::npos);
}

TEST_F(ThriftTest, PortInUseIsBusyAndNamesTheAddress) {
  ThriftServerOptions options;
  options.listen = address();
  auto second = ThriftServer::Start(options, {});
  EXPECT_EQ(second.code(), StatusCode::kBusy);
  EXPECT_NE(second.status().message().find(address().ToString()), std::string::npos);
}

TEST_F(ThriftTest, StopsWithIdleConnectionsOpenAndComesBackOnTheSamePort) {
  GroupPool pool(address(), "group");
  EXPECT_TRUE(Echo(pool, 1).ok());
  auto silent = ConnectSocket(address(), kLong);  // never sends anything
  ASSERT_TRUE(silent.ok());
  server_.reset();
  EXPECT_EQ(Echo(pool, 2).code(), StatusCode::kUnavailable);
  Start({});
  EXPECT_TRUE(Echo(pool, 3).ok());
}

TEST_F(ThriftTest, IdleConnectionThatTheServerClosedIsNotUsedAgain) {
  GroupPool pool(address(), "group");
  EXPECT_TRUE(Echo(pool, 1).ok());
  server_.reset();
  Start({});
  EXPECT_TRUE(Echo(pool, 2).ok()) << "without a failed attempt in between";
}

TEST_F(ThriftTest, StopWaitsForTheCallUnderWay) {
  GroupPool pool(address(), "group");
  std::thread caller(
      [&] { EXPECT_EQ(Echo(pool, FakeGroup::kBlock).code(), StatusCode::kUnavailable); });
  group_->AwaitBlocked(1);
  std::thread stopper([&] { server_.reset(); });
  caller.join();  // the connection is shut down while the handler still runs
  group_->Release();
  stopper.join();
}

TEST_F(ThriftTest, ConnectionsOverTheLimitAreClosed) {
  server_.reset();
  ThriftServerOptions options;
  options.max_connections = 1;
  Start(options);
  GroupPool first(address(), "group");
  ASSERT_TRUE(Echo(first, 1).ok());
  GroupPool second(address(), "group");
  EXPECT_EQ(Echo(second, 1).code(), StatusCode::kUnavailable);
  EXPECT_TRUE(Echo(first, 2).ok());
}

TEST_F(ThriftTest, IdleTimeoutClosesConnections) {
  server_.reset();
  ThriftServerOptions options;
  options.idle_timeout = milliseconds(10);
  Start(options);
  EXPECT_TRUE(ServerClosesOn(""));
}

}  // namespace
}  // namespace tercet
