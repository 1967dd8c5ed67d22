// Figures of what clients get, and the limit on what pulls may use.
#include "chunkserver/replication/load_meter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "chunkserver/replication/pull_throttle.h"
#include "tercet_thrift/registry_types.h"
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers

constexpr int64_t kMicros = 1'000;
constexpr int64_t kSecond = 1'000'000'000;

TEST(RecentLatenciesTest, P99IsThatOfTheSlowestHundredth) {
  RecentLatencies latencies;
  EXPECT_EQ(latencies.P99Micros(), 0);
  for (int i = 0; i < 990; ++i) latencies.Note(100 * kMicros);
  for (int i = 0; i < 10; ++i) latencies.Note(50'000 * kMicros);
  EXPECT_GE(latencies.P99Micros(), 100);
  EXPECT_LE(latencies.P99Micros(), 113);  // an eighth of an octave
  latencies.Note(50'000 * kMicros);
  EXPECT_GE(latencies.P99Micros(), 50'000);
  EXPECT_LE(latencies.P99Micros(), 56'500);
}

TEST(RecentLatenciesTest, EveryDurationIsRoundedUpByAtMostAnEighth) {
  for (int64_t micros = 1; micros < 3'600'000'000; micros += 1 + micros / 3) {
    RecentLatencies latencies;
    latencies.Note(micros * kMicros);
    EXPECT_GE(latencies.P99Micros(), micros);
    EXPECT_LE(latencies.P99Micros(), micros + micros / 8 + 1);
  }
}

TEST(RecentLatenciesTest, WhatIsOlderThanTwoRotationsIsForgotten) {
  RecentLatencies latencies;
  latencies.Note(1'000 * kMicros);
  latencies.Rotate();
  EXPECT_GE(latencies.P99Micros(), 1'000);
  latencies.Note(10 * kMicros);
  latencies.Rotate();
  EXPECT_LE(latencies.P99Micros(), 11);
  latencies.Rotate();
  EXPECT_EQ(latencies.P99Micros(), 0);
}

TEST(LoadMeterTest, RatesAreThoseOfTheLastSecond) {
  LoadMeter meter;
  meter.Tick(10 * kSecond);
  for (int i = 0; i < 100; ++i) meter.NoteRead(10 * kSecond, kMicros, 4096);
  meter.NoteWrite(10 * kSecond + 5, kMicros, 1 << 20);
  meter.Tick(10 * kSecond + kSecond / 2);  // too early
  EXPECT_EQ(meter.requests_per_second(), 0);
  meter.Tick(12 * kSecond);
  EXPECT_EQ(meter.requests_per_second(), 50);
  EXPECT_EQ(meter.bytes_per_second(), (100 * 4096 + (1 << 20)) / 2);
  EXPECT_EQ(meter.last_request_nanos(), 10 * kSecond + 5);
  meter.Tick(13 * kSecond);
  EXPECT_EQ(meter.requests_per_second(), 0);
}

TEST(LoadTest, OnlyClientsRequestsCount) {
  TestServer server(ServerId(1), {});
  RawClient peer(server.port());
  wire::HelloHeader hello = RawClient::HelloFor(ServerId(1));
  hello.caller = "chunk server 5";
  ASSERT_TRUE(peer.Hello(hello).ok());
  ASSERT_TRUE(peer.Write({.data = "x"}).status.ok());
  ASSERT_TRUE(peer.Read(BlockId(1), Generation(1), 0, 1).status.ok());
  EXPECT_EQ(server.data_plane().Load().write_p99_us, 0);
  EXPECT_EQ(server.data_plane().Load().read_p99_us, 0);
  EXPECT_EQ(server.data_plane().Load().last_client_request_nanos, 0);
  RawClient client(server);
  // What is counted may lag behind the answer: the figures change after it was sent.
  EXPECT_TRUE(Eventually([&] {
    EXPECT_TRUE(client.Write({.data = "x"}).status.ok());
    EXPECT_TRUE(client.Read(BlockId(1), Generation(1), 0, 1).status.ok());
    const DataPlaneLoad load = server.data_plane().Load();
    return load.write_p99_us > 0 && load.read_p99_us > 0 && load.last_client_request_nanos > 0 &&
           load.client_requests_per_second > 0 && load.client_bytes_per_second > 0;
  }));
}

constexpr auto kNever = [] { return false; };

TEST(PullThrottleTest, WithoutALimitNobodyWaits) {
  PullThrottle throttle;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(throttle.Take(1 << 20, false, kNever), PullThrottle::Outcome::kGranted);
  }
}

TEST(PullThrottleTest, ItIsOverdrawnByOneRequestAtMost) {
  PullThrottle throttle;
  throttle.SetRate(1);  // a byte per second
  EXPECT_EQ(throttle.Take(1 << 20, false, kNever), PullThrottle::Outcome::kGranted);
  EXPECT_EQ(throttle.Take(1, false, kNever), PullThrottle::Outcome::kNotYet);
}

TEST(PullThrottleTest, ANewRateCountsForThoseWhoWait) {
  for (const uint64_t new_rate : {1'000'000'000u, 0u}) {
    PullThrottle throttle;
    throttle.SetRate(1);
    EXPECT_EQ(throttle.Take(1 << 20, true, kNever), PullThrottle::Outcome::kGranted);
    std::thread waiter(
        [&] { EXPECT_EQ(throttle.Take(1 << 20, true, kNever), PullThrottle::Outcome::kGranted); });
    throttle.SetRate(new_rate);
    waiter.join();
  }
}

TEST(PullThrottleTest, CancellingEndsTheWaiting) {
  PullThrottle throttle;
  throttle.SetRate(1);
  EXPECT_EQ(throttle.Take(1 << 20, true, kNever), PullThrottle::Outcome::kGranted);
  std::atomic<bool> cancelled{false};
  std::thread waiter([&] {
    EXPECT_EQ(throttle.Take(1, true, [&] { return cancelled.load(); }),
              PullThrottle::Outcome::kCancelled);
  });
  cancelled = true;
  throttle.Wake();
  waiter.join();
}

}  // namespace
}  // namespace tercet
