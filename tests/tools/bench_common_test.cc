// What the benchmarks count and print.
#include "tools/bench_common.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

namespace tercet {
namespace {

TEST(LatencyHistogramTest, PercentilesAreWithinTwoPercent) {
  LatencyHistogram histogram;
  for (int64_t nanos = 1; nanos <= 1'000'000; ++nanos) histogram.Record(nanos);
  EXPECT_EQ(histogram.count(), 1'000'000u);
  for (const double share : {0.001, 0.5, 0.9, 0.99, 0.999}) {
    const double exact = share * 1'000'000;
    const auto got = static_cast<double>(histogram.Percentile(share));
    EXPECT_GE(got, exact);
    EXPECT_LE(got, exact * 1.02);
  }
  EXPECT_EQ(histogram.Percentile(1.0), 1'000'000);
}

TEST(LatencyHistogramTest, HoldsFromNothingToYears) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Percentile(0.5), 0);
  histogram.Record(-5);
  EXPECT_EQ(histogram.Percentile(1.0), 0);
  histogram.Record(INT64_MAX);
  EXPECT_EQ(histogram.Percentile(1.0), INT64_MAX);
  EXPECT_EQ(histogram.Percentile(0.5), 0);
}

TEST(LatencyHistogramTest, AddIsAsIfOneHadRecordedAll) {
  std::mt19937_64 random(1);
  LatencyHistogram all;
  LatencyHistogram parts[2];
  for (int i = 0; i < 10'000; ++i) {
    const auto nanos = static_cast<int64_t>(random() >> random() % 60 >> 4);
    all.Record(nanos);
    parts[i % 2].Record(nanos);
  }
  parts[0].Add(parts[1]);
  for (const double share : {0.1, 0.5, 0.99, 1.0}) {
    EXPECT_EQ(parts[0].Percentile(share), all.Percentile(share));
  }
  EXPECT_EQ(parts[0].count(), all.count());
}

TEST(BenchTest, OpsAreSplitAndChecked) {
  const std::vector<std::string> known = {"read", "write"};
  auto ops = ParseOps("write,read,write", known);
  ASSERT_TRUE(ops.ok());
  EXPECT_EQ(*ops, (std::vector<std::string>{"write", "read", "write"}));
  for (const char* wrong : {"", "read,", ",read", "read,wrote", "read write"}) {
    EXPECT_EQ(ParseOps(wrong, known).code(), StatusCode::kInvalidArgument) << wrong;
  }
}

TEST(BenchTest, PhaseCountsWhatAllThreadsDid) {
  auto result = RunPhase("op", 4, 400, false, [](BenchWorker& worker) {
    for (int i = 0; i < 100; ++i) {
      const Status status = worker.Measure([] { return Status::Ok(); });
      if (!status.ok()) return status;
    }
    return Status::Ok();
  });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->count, 400u);
  const nlohmann::json json = ResultsJson({*result});
  EXPECT_EQ(json[0]["count"], 400);
  EXPECT_TRUE(json[0]["latency_us"].contains("p99.9"));
  EXPECT_NE(ResultsText({*result}).find("400"), std::string::npos);
}

TEST(BenchTest, OneFailureEndsThePhaseOfAll) {
  auto result = RunPhase("op", 3, 100, false, [](BenchWorker& worker) {
    if (worker.index() == 1) return Status(StatusCode::kNoSpace, "full");
    while (!worker.cancelled()) worker.Record(std::chrono::nanoseconds(1));
    return Status::Ok();
  });
  EXPECT_EQ(result.status().code(), StatusCode::kNoSpace);
  EXPECT_EQ(result.status().message(), "op: full");
}

}  // namespace
}  // namespace tercet
