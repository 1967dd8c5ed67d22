#include "metaserver/namespace/write_set.h"

#include <gtest/gtest.h>

#include "common/base/coding.h"

namespace tercet {
namespace {

WriteSet Example() {
  WriteSet set;
  set.summary = "link inode=7";
  set.entries.push_back({std::string("k\0y", 3), std::string("\xff\0", 2)});
  set.entries.push_back({"gone", std::nullopt});
  set.entries.push_back({"empty", ""});
  return set;
}

TEST(WriteSetTest, DecodesToWhatWasEncoded) {
  const WriteSet set = Example();
  Result<WriteSet> decoded = WriteSet::Decode(set.Encode());
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->summary, set.summary);
  ASSERT_EQ(decoded->entries.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(decoded->entries[i].key, set.entries[i].key);
    EXPECT_EQ(decoded->entries[i].value, set.entries[i].value);
  }
}

TEST(WriteSetTest, TheEncodingIsTheOneInTheFormatDocument) {
  WriteSet set;
  set.summary = "rm";
  set.entries.push_back({"a", "xyz"});
  set.entries.push_back({"bc", std::nullopt});
  EXPECT_EQ(set.Encode(), std::string("\x01\x02rm\x02\x01\x01"
                                      "a\x03xyz\x02\x02"
                                      "bc",
                                      16));
}

TEST(WriteSetTest, AnEmptySetIsFine) {
  Result<WriteSet> decoded = WriteSet::Decode(WriteSet{}.Encode());
  ASSERT_TRUE(decoded.ok());
  EXPECT_TRUE(decoded->entries.empty());
}

TEST(WriteSetTest, LongSummariesAreCut) {
  WriteSet set;
  set.summary.assign(1000, 's');
  EXPECT_EQ(WriteSet::Decode(set.Encode())->summary, std::string(200, 's'));
}

TEST(WriteSetTest, EveryCutAndEveryAdditionIsCorruption) {
  const std::string bytes = Example().Encode();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(WriteSet::Decode(bytes.substr(0, size)).code(), StatusCode::kCorruption) << size;
  }
  EXPECT_EQ(WriteSet::Decode(bytes + "x").code(), StatusCode::kCorruption);
}

TEST(WriteSetTest, FlippedBytesNeverReadPastTheEnd) {
  const std::string bytes = Example().Encode();
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      Result<WriteSet> decoded = WriteSet::Decode(damaged);
      if (!decoded.ok()) {
        EXPECT_TRUE(decoded.code() == StatusCode::kCorruption ||
                    decoded.code() == StatusCode::kVersionTooNew);
      }
    }
  }
}

TEST(WriteSetTest, ANewerEncodingIsToldApart) {
  std::string bytes = Example().Encode();
  bytes[0] = 2;
  EXPECT_EQ(WriteSet::Decode(bytes).code(), StatusCode::kVersionTooNew);
}

}  // namespace
}  // namespace tercet
