#include "common/metrics/metrics.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tercet {
namespace {

std::string Fetch(uint16_t port, const std::string& path) {
  int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  EXPECT_EQ(::send(socket, request.data(), request.size(), 0),
            static_cast<ssize_t>(request.size()));
  std::string reply;
  char buffer[4096];
  for (ssize_t count; (count = ::recv(socket, buffer, sizeof(buffer), 0)) > 0;) {
    reply.append(buffer, static_cast<size_t>(count));
  }
  ::close(socket);
  return reply;
}

TEST(MetricsTest, TheSameNameAndLabelsAreTheSameMetric) {
  Counter& a = GetCounter("tercet_test_same_total", "A test.", {{"op", "x"}});
  Counter& b = GetCounter("tercet_test_same_total", "A test.", {{"op", "x"}});
  Counter& other = GetCounter("tercet_test_same_total", "A test.", {{"op", "y"}});
  EXPECT_EQ(&a, &b);
  EXPECT_NE(&a, &other);
  a.Increment(3);
  other.Increment();
  std::string text = MetricsText();
  EXPECT_NE(text.find("tercet_test_same_total{op=\"x\"} 3\n"), std::string::npos) << text;
  EXPECT_NE(text.find("tercet_test_same_total{op=\"y\"} 1\n"), std::string::npos) << text;
}

TEST(MetricsTest, ATimerObservesIntoTheHistogram) {
  Histogram& histogram = GetLatencyHistogram("tercet_test_latency_seconds", "A test.");
  { LatencyTimer timer(histogram); }
  EXPECT_NE(MetricsText().find("tercet_test_latency_seconds_count 1\n"), std::string::npos);
}

TEST(MetricsDeathTest, ANameWithTwoTypesIsABug) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  GetCounter("tercet_test_two_types", "A test.");
  EXPECT_DEATH(GetGauge("tercet_test_two_types", "A test."), "tercet_test_two_types");
}

TEST(MetricsServerTest, ServesMetricsOfTheProgramAndTheProcessOnAFreePort) {
  GetGauge("tercet_test_served", "A test.").Set(42);
  auto server = MetricsServer::Start("127.0.0.1", 0);
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  ASSERT_NE((*server)->port(), 0);
  std::string reply = Fetch((*server)->port(), "/metrics");
  EXPECT_NE(reply.find("200 OK"), std::string::npos) << reply;
  EXPECT_NE(reply.find("tercet_test_served 42\n"), std::string::npos) << reply;
  EXPECT_NE(reply.find("process_resident_memory_bytes"), std::string::npos) << reply;
}

TEST(MetricsServerTest, APortInUseIsAClearError) {
  auto first = MetricsServer::Start("127.0.0.1", 0);
  ASSERT_TRUE(first.ok());
  auto second = MetricsServer::Start("127.0.0.1", (*first)->port());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.code(), StatusCode::kBusy);
  std::string address = "127.0.0.1:" + std::to_string((*first)->port());
  EXPECT_NE(second.status().message().find(address), std::string::npos);
}

}  // namespace
}  // namespace tercet
