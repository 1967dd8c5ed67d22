#include "common/base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace tercet {
namespace {

TEST(Crc32c, KnownValues) {
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720, B.4
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(Crc32c, ExtendsOverAnySplit) {
  const std::string text = "a block is made of pages of 4096 bytes";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(Crc32cExtend(Crc32c(text.substr(0, cut)), text.data() + cut, text.size() - cut),
              Crc32c(text));
  }
}

TEST(Crc32c, ExtendsByZeros) {
  EXPECT_EQ(Crc32cExtendZeros(Crc32c("abc"), 10000), Crc32c("abc" + std::string(10000, '\0')));
}

}  // namespace
}  // namespace tercet
