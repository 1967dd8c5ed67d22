// The worked example of metaserver/journal/format.md, byte by byte.
#include "metaserver/journal/journal_format.h"

#include <fstream>
#include <sstream>
#include <vector>

#include "common/base/coding.h"
#include "common/env/sim_disk.h"
#include "metaserver/journal/member_state.h"
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

MemberState ExampleMember() {
  MemberState state;
  state.group_id = 0x0102030405060708;
  state.self = MemberId(2);
  state.epoch = Epoch(9);
  state.voted_for = MemberId(3);
  state.base_membership.members = {{MemberId(2), MemberKind::kMetaserver, true, "a:1"}};
  state.base_membership.next_id = MemberId(3);
  state.base_membership_index = JournalIndex(257);
  return state;
}

TEST(JournalFormatTest, TheMemberStateIsTheOneInTheDocument) {
  SimDisk disk;
  ASSERT_TRUE(SaveMemberState(disk, "/member", ExampleMember()).ok());
  EXPECT_EQ(ReadWholeFile(disk, "/member", 1000).value(), Example(4));
  Result<MemberState> loaded = LoadMemberState(disk, "/member");
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  EXPECT_EQ(*loaded, ExampleMember());
}

TEST(JournalFormatTest, ASegmentHeaderOfFormat1IsRead) {
  SegmentHeader header = ExampleHeader();
  header.version = 1;
  const std::string bytes = header.Encode();
  EXPECT_EQ(bytes.substr(8, 4), std::string("\1\0\0\0", 4));
  // As format 1 had it: the checksum at 72, then zeros.
  EXPECT_NE(bytes.substr(72, 4), std::string(4, '\0'));
  EXPECT_EQ(bytes.substr(76), std::string(kSegmentHeaderBytes - 76, '\0'));
  Result<SegmentHeader> decoded = SegmentHeader::Decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->version, 1u);
  EXPECT_FALSE(decoded->begins_journal);
  EXPECT_EQ(decoded->first_index, JournalIndex(258));
}

TEST(JournalFormatTest, EveryFlippedByteOfASegmentHeaderIsNoticed) {
  for (uint32_t version : {1u, 2u}) {
    SegmentHeader header = ExampleHeader();
    header.version = version;
    const size_t used = version == 1 ? 76 : kSegmentHeaderUsedBytes;
    for (size_t at = 0; at < used; ++at) {
      std::string bytes = header.Encode();
      bytes[at] = static_cast<char>(~bytes[at]);
      EXPECT_FALSE(SegmentHeader::Decode(bytes).ok()) << "byte " << at;
    }
  }
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
