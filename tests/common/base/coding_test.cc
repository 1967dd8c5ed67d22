#include "common/base/coding.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace tercet {
namespace {

TEST(Coding, FixedIntegersAreLittleEndianAndComeBack) {
  std::string bytes;
  PutFixed8(&bytes, 0xab);
  PutFixed16(&bytes, 0x0102);
  PutFixed32(&bytes, 0x01020304);
  PutFixed64(&bytes, 0x0102030405060708);
  EXPECT_EQ(bytes, std::string("\xab\x02\x01\x04\x03\x02\x01\x08\x07\x06\x05\x04\x03\x02\x01", 15));
  Decoder in(bytes);
  EXPECT_EQ(in.Fixed8(), 0xab);
  EXPECT_EQ(in.Fixed16(), 0x0102);
  EXPECT_EQ(in.Fixed32(), 0x01020304u);
  EXPECT_EQ(in.Fixed64(), 0x0102030405060708u);
  EXPECT_TRUE(in.Finish("test").ok());
}

TEST(Coding, KeysSortByNumber) {
  std::string small, large;
  PutBigEndian64(&small, 255);
  PutBigEndian64(&large, 256);
  EXPECT_LT(small, large);
  EXPECT_EQ(DecodeBigEndian64(large.data()), 256u);
}

TEST(Coding, VarintsComeBackAtEveryLength) {
  for (int bit = 0; bit < 64; ++bit) {
    for (uint64_t value : {(uint64_t{1} << bit) - 1, uint64_t{1} << bit, ~uint64_t{0} >> bit}) {
      std::string bytes;
      PutVarint64(&bytes, value);
      Decoder in(bytes);
      EXPECT_EQ(in.Varint64(), value);
      EXPECT_TRUE(in.Finish("varint").ok());
      Decoder cut(std::string_view(bytes).substr(0, bytes.size() - 1));
      cut.Varint64();
      EXPECT_TRUE(cut.failed());
    }
  }
}

TEST(Coding, AnOverlongVarintFails) {
  Decoder in(std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10));
  in.Varint64();
  EXPECT_TRUE(in.failed());
  const std::string endless(20, '\x80');
  Decoder longer(endless);
  longer.Varint64();
  EXPECT_TRUE(longer.failed());
}

TEST(Decoder, ALengthBeyondTheInputFailsAndStaysFailed) {
  std::string bytes;
  PutVarint64(&bytes, ~uint64_t{0});
  bytes += "abc";
  Decoder in(bytes);
  EXPECT_EQ(in.LengthPrefixed(), "");
  EXPECT_TRUE(in.failed());
  EXPECT_EQ(in.Fixed8(), 0);
  EXPECT_EQ(in.Finish("record").code(), StatusCode::kCorruption);
}

TEST(Decoder, LeftoverBytesAreAnErrorOnlyForFinish) {
  Decoder in("ab");
  in.Fixed8();
  EXPECT_FALSE(in.Finish("x").ok());
  EXPECT_TRUE(in.FinishAllowingMore("x").ok());
}

}  // namespace
}  // namespace tercet
