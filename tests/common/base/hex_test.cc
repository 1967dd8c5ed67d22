#include "common/base/hex.h"

#include <gtest/gtest.h>

namespace tercet {
namespace {

TEST(Hex, IsTwoLowerCaseDigitsForEachByte) {
  EXPECT_EQ(HexOf(""), "");
  EXPECT_EQ(HexOf(std::string_view("\x00\x7f\x80\xff\x0a", 5)), "007f80ff0a");
}

TEST(Hex, ComesBackAsItWent) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(BytesFromHex(HexOf(all)).value(), all);
  EXPECT_EQ(BytesFromHex("0aAF").value(), "\x0a\xaf");
  EXPECT_EQ(BytesFromHex("").value(), "");
}

TEST(Hex, AnythingElseIsRefused) {
  for (const char* text : {"0", "0g", "g0", "abc", "0x12", " 0", "+1", "12 34"}) {
    EXPECT_EQ(BytesFromHex(text).code(), StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace tercet
