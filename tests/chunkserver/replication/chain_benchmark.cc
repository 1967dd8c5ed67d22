// Measures a chain of three servers within one process, on real disks:
//   chain_benchmark [FOLDER]
// Prints latency of single 4 KiB writes with and without sync, and MB/s of 1 MiB frames, written
// and read.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <vector>

#include "common/env/clock.h"
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers

constexpr size_t kFrame = 1 << 20;
constexpr uint32_t kBlockBytes = 64 << 20;

double Seconds(int64_t since) {
  return static_cast<double>(RealClock().MonotonicNanos() - since) * 1e-9;
}

void Check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "chain_benchmark: %s\n", status.ToString().c_str());
  std::exit(1);
}

void PrintLatencies(const char* what, std::vector<int64_t> nanos) {
  std::sort(nanos.begin(), nanos.end());
  std::printf("%-28s p50 %6.0f us  p90 %6.0f us  p99 %6.0f us\n", what,
              static_cast<double>(nanos[nanos.size() / 2]) * 1e-3,
              static_cast<double>(nanos[nanos.size() * 9 / 10]) * 1e-3,
              static_cast<double>(nanos[nanos.size() * 99 / 100]) * 1e-3);
}

void MeasureLatency(const char* what, RawClient& client, const std::vector<wire::ChainHop>& chain,
                    bool sync, int rounds) {
  const std::string data = Pattern(1, 4096);
  std::vector<int64_t> nanos;
  for (int i = 0; i < rounds + 100; ++i) {
    const int64_t begin = RealClock().MonotonicNanos();
    Check(client
              .Write({.block = BlockId(1),
                      .offset = static_cast<uint32_t>(i % 1000) * 4096,
                      .data = data,
                      .downstream = chain,
                      .sync = sync})
              .status);
    if (i >= 100) nanos.push_back(RealClock().MonotonicNanos() - begin);
  }
  PrintLatencies(what, std::move(nanos));
}

void MeasureWrites(const char* what, RawClient& client, const std::vector<wire::ChainHop>& chain,
                   uint64_t first_block, uint64_t blocks, size_t in_flight, size_t frame) {
  const std::string data = Pattern(2, frame);
  const std::string crcs = PieceCrcs(0, data);
  const size_t frames = blocks * kBlockBytes / frame;
  size_t waiting = 0;
  const int64_t begin = RealClock().MonotonicNanos();
  for (size_t i = 0; i < frames || waiting > 0;) {
    if (i < frames && waiting < in_flight) {
      const size_t at = i * frame;
      client.SendWrite({.block = BlockId(first_block + at / kBlockBytes),
                        .offset = static_cast<uint32_t>(at % kBlockBytes),
                        .data = data,
                        .downstream = chain,
                        .piece_crcs = crcs});
      ++i;
      ++waiting;
      continue;
    }
    auto answer = client.Receive();
    Check(answer.status());
    Check(answer->status);
    --waiting;
  }
  const double seconds = Seconds(begin);
  std::printf("%-28s %6.0f MB/s  %6.0f frames/s\n", what,
              static_cast<double>(frames * frame) * 1e-6 / seconds,
              static_cast<double>(frames) / seconds);
}

void MeasureReads(const char* what, RawClient& client, uint64_t blocks, size_t in_flight) {
  const size_t frames = blocks * kBlockBytes / kFrame;
  std::vector<char> buffer(kFrame);
  std::string header;
  size_t asked = 0;
  const int64_t begin = RealClock().MonotonicNanos();
  for (size_t got = 0; got < frames; ++got) {
    for (; asked < frames && asked < got + in_flight; ++asked) {
      const size_t at = asked * kFrame;
      client.SendRead(BlockId(100 + at / kBlockBytes), Generation(1),
                      static_cast<uint32_t>(at % kBlockBytes), kFrame);
    }
    auto prelude = client.connection().Receive(&header);
    Check(prelude.status());
    if (prelude->payload_bytes != kFrame) Check(Status(StatusCode::kInternal, "a short read"));
    Check(client.connection().ReceivePayload(buffer.data(), buffer.size()));
  }
  const double seconds = Seconds(begin);
  std::printf("%-28s %6.0f MB/s\n", what, static_cast<double>(frames * kFrame) * 1e-6 / seconds);
}

int Run() {
  std::vector<std::unique_ptr<TestServer>> servers;
  for (uint32_t id = 1; id <= 3; ++id) {
    servers.push_back(std::make_unique<TestServer>(ServerId(id), DataPlaneOptions{}));
  }
  const std::vector<wire::ChainHop> chain = {servers[1]->hop(), servers[2]->hop()};
  RawClient head(*servers[0]);
  RawClient tail(*servers[2]);
  MeasureLatency("4 KiB write", head, chain, false, 5000);
  MeasureLatency("4 KiB write, 1 server", tail, {}, false, 5000);
  MeasureLatency("4 KiB write, sync", head, chain, true, 2000);
  MeasureWrites("1 MiB frames, 16 in flight", head, chain, 100, 8, 16, kFrame);
  MeasureWrites("the same, overwriting", head, chain, 100, 8, 16, kFrame);
  MeasureWrites("the same, 1 server", tail, {}, 200, 8, 16, kFrame);
  MeasureWrites("4 KiB frames, 64 in flight", head, chain, 300, 1, 64, 4096);
  MeasureReads("1 MiB reads, 1 in flight", tail, 8, 1);
  MeasureReads("1 MiB reads, 4 in flight", tail, 8, 4);
  return 0;
}

}  // namespace
}  // namespace tercet

int main(int argc, char** argv) {
  if (argc > 1) ::setenv("TEST_TMPDIR", argv[1], 1);
  return tercet::Run();
}
