#include "chunkserver/scrub/scrub_state.h"

#include <gtest/gtest.h>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/base/hex.h"

namespace tercet {
namespace {

ScrubState Example() {
  return {.disk_uuid = std::string(16, 'D'),
          .round_started_ns = 1'700'000'000'000'000'000,
          .position = BlockId(0x1234),
          .verified_cost = 262'144,
          .verified_bytes = 131'072,
          .bad_replicas = 1,
          .completed_started_ns = 1'698'000'000'000'000'000,
          .completed_ended_ns = 1'699'000'000'000'000'000};
}

TEST(ScrubState, IsTheBytesOfTheFormatDocument) {
  EXPECT_EQ(HexOf(EncodeScrubState(Example())),
            "5452435453435231"
            "01000000"
            "44444444444444444444444444444444"
            "00002a36fe9c9717"
            "3412000000000000"
            "0000040000000000"
            "0000020000000000"
            "0100000000000000"
            "00009dec00829017"
            "008063917f0f9417"
            "abdc88ea");
}

TEST(ScrubState, ComesBackAsItWent) {
  EXPECT_EQ(DecodeScrubState(EncodeScrubState(Example())).value(), Example());
}

TEST(ScrubState, EveryFlippedByteAndEveryCutIsNoticed) {
  const std::string bytes = EncodeScrubState(Example());
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(~flipped[i]);
    EXPECT_EQ(DecodeScrubState(flipped).code(), StatusCode::kCorruption) << i;
    EXPECT_EQ(DecodeScrubState(bytes.substr(0, i)).code(), StatusCode::kCorruption) << i;
  }
  EXPECT_EQ(DecodeScrubState(bytes + "x").code(), StatusCode::kCorruption);
}

TEST(ScrubState, AnotherVersionIsToldFromDamage) {
  std::string bytes = EncodeScrubState(Example());
  bytes.resize(bytes.size() - 4);
  bytes[8] = 2;
  PutFixed32(&bytes, Crc32c(bytes));
  EXPECT_EQ(DecodeScrubState(bytes).code(), StatusCode::kVersionTooNew);
}

}  // namespace
}  // namespace tercet
