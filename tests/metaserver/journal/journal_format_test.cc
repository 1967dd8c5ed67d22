// The worked example of metaserver/journal/format.md, byte by byte.
#include "metaserver/journal/journal_format.h"

#include <fstream>
#include <sstream>
#include <vector>

#include "common/base/coding.h"
#include "common/env/sim_disk.h"
#include "metaserver/journal/node_identity.h"
#include "tests/metaserver/journal/journal_test_util.h"

namespace tercet {
namespace {

// The bytes of the `number`th example in the document: in each line what follows the offset, up to
// a gap of three blanks.
std::string Example(size_t number) {
  std::ifstream in(std::string(TERCET_SOURCE_DIR) + "/metaserver/journal/format.md");
  std::string line;
  size_t fences = 0;
  std::string bytes;
  while (std::getline(in, line)) {
    if (line.starts_with("```")) {
      ++fences;
    } else if (fences == 2 * number + 1) {
      std::istringstream digits(line.substr(4, line.find("   ", 6) - 4));
      std::string byte;
      while (digits >> byte) bytes += static_cast<char>(std::stoi(byte, nullptr, 16));
    }
  }
  return bytes;
}

SegmentHeader ExampleHeader() {
  SegmentHeader header;
  header.cluster_id = kTestIdentity.cluster_id;
  header.sequence = 2;
  header.first_index = JournalIndex(258);
  header.previous_epoch = Epoch(3);
  header.salt = 0x1122334455667788;
  header.size_bytes = 64 << 20;
  return header;
}

TEST(JournalFormatTest, TheSegmentHeaderIsTheOneInTheDocument) {
  const std::string bytes = ExampleHeader().Encode();
  EXPECT_EQ(bytes.size(), kSegmentHeaderBytes);
  EXPECT_EQ(bytes.substr(0, kSegmentHeaderUsedBytes), Example(0));
  Result<SegmentHeader> decoded = SegmentHeader::Decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->Encode(), bytes);
}

TEST(JournalFormatTest, RecordsAreThoseInTheDocument) {
  const RecordCodec codec(ExampleHeader().salt);
  RecordHeader header;
  header.index = JournalIndex(258);
  header.epoch = Epoch(4);
  header.batch_offset = 4096;
  std::string bytes;
  codec.Append(&bytes, header, Example(1).substr(kRecordHeaderBytes));
  EXPECT_EQ(bytes, Example(1));

  header.index = JournalIndex(257);
  header.epoch = Epoch(3);
  header.batch_offset = 4144;
  header.type = RecordType::kTruncate;
  bytes.clear();
  codec.Append(&bytes, header, {});
  EXPECT_EQ(bytes, Example(2));
}

TEST(JournalFormatTest, TheIdentityIsTheOneInTheDocument) {
  SimDisk disk;
  SeededRandom random(1);
  ASSERT_TRUE(CheckOrCreateIdentity(disk, "/identity", kTestIdentity, random).ok());
  EXPECT_EQ(ReadWholeFile(disk, "/identity", 100).value(), Example(3));
}

TEST(JournalFormatTest, ARecordIsReadWithItsOwnSaltOnly) {
  const RecordCodec codec(ExampleHeader().salt);
  const std::string bytes = Example(1);
  std::optional<RecordHeader> header = codec.Peek(bytes.data());
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->index, JournalIndex(258));
  EXPECT_EQ(header->payload_bytes, 16u);
  EXPECT_TRUE(codec.Verify(*header, bytes));
  EXPECT_FALSE(RecordCodec(ExampleHeader().salt + 1).Peek(bytes.data()).has_value());
  // The same low 24 bits, so that only the checksum is left to notice.
  const RecordCodec other(ExampleHeader().salt ^ (uint64_t{1} << 40));
  ASSERT_TRUE(other.Peek(bytes.data()).has_value());
  EXPECT_FALSE(other.Verify(*header, bytes));
}

}  // namespace
}  // namespace tercet
