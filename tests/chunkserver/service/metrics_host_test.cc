// Where /metrics is served.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/chunkserver/service/service_fixture.h"

namespace tercet {
namespace {

class MetricsHostTest : public ServiceFixture {
 protected:
  /// A port that nobody uses on any address.
  static uint16_t FreePort() {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), 0);
    ::close(socket);
    return ntohs(address.sin_port);
  }
  static bool Connects(const std::string& host, uint16_t port) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    EXPECT_EQ(::inet_pton(AF_INET, host.c_str(), &address.sin_addr), 1);
    const bool connected =
        ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    ::close(socket);
    return connected;
  }
};

TEST_F(MetricsHostTest, IsTheConfiguredOneAndNoOther) {
  config_.metrics_host = "127.0.0.5";
  config_.metrics_port = FreePort();
  auto server = Start();
  ASSERT_NE(server, nullptr);
  EXPECT_EQ(server->metrics_port(), config_.metrics_port);
  EXPECT_TRUE(Connects("127.0.0.5", config_.metrics_port));
  EXPECT_FALSE(Connects("127.0.0.1", config_.metrics_port));
}

TEST_F(MetricsHostTest, MayBeAName) {
  config_.metrics_host = "localhost";
  config_.metrics_port = FreePort();
  auto server = Start();
  ASSERT_NE(server, nullptr);
  EXPECT_TRUE(Connects("127.0.0.1", config_.metrics_port));
  EXPECT_FALSE(Connects("127.0.0.5", config_.metrics_port));
}

TEST_F(MetricsHostTest, AnAddressOfAnotherMachineIsRefusedInOneLine) {
  config_.metrics_host = "192.0.2.1";
  config_.metrics_port = FreePort();
  auto server = Chunkserver::Start(config_, RealDisk(), RealClock(), SystemRandom());
  ASSERT_FALSE(server.ok());
  EXPECT_NE(server.status().message().find("192.0.2.1"), std::string::npos);
}

}  // namespace
}  // namespace tercet
