#include "chunkserver/store/replica_format.h"

#include <gtest/gtest.h>

#include "chunkserver/store/disk_identity.h"
#include "chunkserver/store/replica_index.h"
#include "chunkserver/store/store_disk.h"
#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/base/hex.h"
#include "common/env/random.h"

namespace tercet {
namespace {

ReplicaHeader ExampleHeader() {
  return {.block = BlockId(0x1234),
          .generation = Generation(7),
          .length = 5000,
          .created_ns = 1'700'000'000'000'000'000,
          .era = Era(3)};
}

ReplicaIntent ExampleIntent() {
  return {.kind = ReplicaIntent::Kind::kWrite,
          .first_page = 1,
          .page_count = 1,
          .entries = {0xcafef00d}};
}

std::string ExampleHead() {
  std::string head;
  EncodeReplicaHead(ExampleHeader(), ExampleIntent(), &head);
  return head;
}

TEST(ReplicaFormat, ZeroPageChecksumIsThatOfAPageOfZeros) {
  const std::string zeros(kPageBytes, '\0');
  EXPECT_EQ(Crc32c(zeros), kZeroPageCrc);
}

TEST(ReplicaFormat, HeadComesBackAsWritten) {
  const std::string head = ExampleHead();
  ASSERT_EQ(head.size(), kTableOffset);
  auto header = DecodeReplicaHeader(head);
  ASSERT_TRUE(header.ok()) << header.status().ToString();
  EXPECT_EQ(header->block, BlockId(0x1234));
  EXPECT_EQ(header->generation, Generation(7));
  EXPECT_EQ(header->length, 5000u);
  EXPECT_EQ(header->created_ns, 1'700'000'000'000'000'000);
  EXPECT_EQ(header->era, Era(3));
  auto intent = DecodeReplicaIntent(std::string_view(head).substr(kIntentOffset));
  ASSERT_TRUE(intent.ok()) << intent.status().ToString();
  EXPECT_EQ(intent->kind, ReplicaIntent::Kind::kWrite);
  EXPECT_EQ(intent->first_page, 1u);
  EXPECT_EQ(intent->page_count, 1u);
  EXPECT_EQ(intent->entries, std::vector<uint32_t>{0xcafef00d});
}

// The example of format.md, byte for byte.
TEST(ReplicaFormat, MatchesTheDocumentedBytes) {
  const std::string head = ExampleHead();
  EXPECT_EQ(HexOf(head.substr(0, 48)),
            "54524354424c4b31"    // magic
            "02000000"            // version
            "00000000"            // flags
            "3412000000000000"    // block id
            "0700000000000000"    // generation
            "88130000"            // length
            "03000000"            // era
            "00002a36fe9c9717");  // made at
  EXPECT_EQ(HexOf(head.substr(252, 4)), "23d19578") << "header checksum";
  EXPECT_EQ(HexOf(head.substr(256, 20)),
            "0a55ae67"    // slot checksum
            "01000000"    // kind: write
            "01000000"    // first page
            "01000000"    // pages
            "01000000");  // entries
  EXPECT_EQ(HexOf(head.substr(288, 4)), "0df0feca") << "entry";
  EXPECT_EQ(head.find_first_not_of('\0', 292), std::string::npos);
}

TEST(ReplicaFormat, EveryFlippedBitOfTheHeadIsNoticed) {
  const std::string good = ExampleHead();
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    const bool header_ok = DecodeReplicaHeader(bad).ok();
    const bool intent_ok = DecodeReplicaIntent(std::string_view(bad).substr(kIntentOffset)).ok();
    ASSERT_FALSE(header_ok && intent_ok) << "bit " << bit;
    ASSERT_TRUE(bit / 8 >= kReplicaHeaderBytes ? header_ok : intent_ok) << "bit " << bit;
  }
}

TEST(ReplicaFormat, ANewerVersionIsToldFromDamage) {
  std::string head = ExampleHead();
  head[8] = 3;
  EXPECT_EQ(DecodeReplicaHeader(head).code(), StatusCode::kCorruption);
  const uint32_t crc = Crc32c(head.data(), kReplicaHeaderBytes - 4);
  EncodeFixed32(head.data() + kReplicaHeaderBytes - 4, crc);
  EXPECT_EQ(DecodeReplicaHeader(head).code(), StatusCode::kVersionTooNew);
}

TEST(ReplicaFormat, AHeaderOfTheFirstVersionHasNoEra) {
  std::string head = ExampleHead();
  head[8] = 1;
  EncodeFixed32(head.data() + 36, 0);
  EncodeFixed32(head.data() + kReplicaHeaderBytes - 4,
                Crc32c(head.data(), kReplicaHeaderBytes - 4));
  auto header = DecodeReplicaHeader(head);
  ASSERT_TRUE(header.ok()) << header.status().ToString();
  EXPECT_EQ(header->era, Era(0));
  EXPECT_EQ(header->length, 5000u);
}

/// Puts a right checksum on a slot with wrong values.
Result<ReplicaIntent> DecodeSlot(uint32_t kind, uint32_t first, uint32_t count, uint32_t entries) {
  std::string slot(kIntentBytes, '\0');
  EncodeFixed32(slot.data() + 4, kind);
  EncodeFixed32(slot.data() + 8, first);
  EncodeFixed32(slot.data() + 12, count);
  EncodeFixed32(slot.data() + 16, entries);
  EncodeFixed32(slot.data(), Crc32c(slot.data() + 4, kIntentBytes - 4));
  return DecodeReplicaIntent(slot);
}

TEST(ReplicaFormat, IntentValuesOutOfRangeAreRefused) {
  EXPECT_TRUE(DecodeSlot(1, 0, kMaxIntentPages, kMaxIntentPages).ok());
  EXPECT_FALSE(DecodeSlot(1, 0, kMaxIntentPages + 1, kMaxIntentPages + 1).ok());
  EXPECT_FALSE(DecodeSlot(1, 0, 5, 4).ok());
  EXPECT_TRUE(DecodeSlot(1, kMaxBlockPages - 1, 1, 1).ok());
  EXPECT_FALSE(DecodeSlot(1, kMaxBlockPages, 1, 1).ok());
  EXPECT_FALSE(DecodeSlot(1, 0xffffffff, 2, 2).ok());
  EXPECT_TRUE(DecodeSlot(2, 10, kMaxBlockPages, 1).ok());
  EXPECT_FALSE(DecodeSlot(2, 10, kMaxBlockPages + 1, 1).ok());
  EXPECT_FALSE(DecodeSlot(2, 10, 10, 1).ok());
  EXPECT_FALSE(DecodeSlot(2, 0xffffffff, 10, 1).ok());
  EXPECT_FALSE(DecodeSlot(0, 0, 0, 1).ok());
  EXPECT_FALSE(DecodeSlot(3, 0, 0, 0).ok());
}

TEST(DiskIdentity, ComesBackAndNoticesEveryFlippedBit) {
  const DiskIdentity identity{std::string(16, 'S'), std::string(16, 'D'), std::string(16, 'C')};
  const std::string good = EncodeDiskIdentity(identity);
  auto back = DecodeDiskIdentity(good);
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->server_uuid, identity.server_uuid);
  EXPECT_EQ(back->disk_uuid, identity.disk_uuid);
  EXPECT_EQ(back->cluster_id, identity.cluster_id);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(DecodeDiskIdentity(bad).ok()) << "bit " << bit;
  }
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(DecodeDiskIdentity(good.substr(0, size)).ok()) << "size " << size;
  }
}

TEST(DiskIdentity, MatchesTheDocumentedBytes) {
  const DiskIdentity identity{std::string(16, 'S'), std::string(16, 'D'), std::string(16, 'C')};
  std::string wanted = "5452435444534b3101000000";
  for (int i = 0; i < 16; ++i) wanted += "53";
  for (int i = 0; i < 16; ++i) wanted += "44";
  wanted += "10";
  for (int i = 0; i < 16; ++i) wanted += "43";
  EXPECT_EQ(HexOf(EncodeDiskIdentity(identity)), wanted + "9189c076");
  EXPECT_EQ(HexOf(EncodeEpochFile(Epoch(5))), "5452435445504f3105000000000000000d3d6136");
  EXPECT_EQ(DecodeEpochFile(EncodeEpochFile(Epoch(5))).value(), Epoch(5));
}

TEST(StoreDecoders, RandomBytesNeverPassOrCrash) {
  SeededRandom random(20260701);
  for (int round = 0; round < 20000; ++round) {
    const std::string bytes = random.Bytes(random.Below(3000));
    EXPECT_FALSE(DecodeReplicaHeader(bytes).ok());
    EXPECT_FALSE(DecodeReplicaIntent(bytes).ok());
    EXPECT_FALSE(DecodeDiskIdentity(bytes).ok());
    EXPECT_FALSE(DecodeEpochFile(bytes).ok());
    (void)DecodeIndexState(bytes);
    (void)DecodeReplicaRow(bytes, bytes);
    EXPECT_FALSE(ParseReplicaFileName(bytes).ok());
    EXPECT_FALSE(ParseRemovedName(bytes).ok());
  }
}

/// Bytes that are nearly right reach further into the decoders than random ones; with the checksum
/// made right again they reach the value checks.
TEST(StoreDecoders, MutatedBytesNeverCrash) {
  SeededRandom random(20260702);
  const std::string head = ExampleHead();
  const std::string identity =
      EncodeDiskIdentity({std::string(16, 'S'), std::string(16, 'D'), std::string(16, 'C')});
  IndexState state;
  state.boot_id = "boot";
  const std::string row = EncodeIndexState(state);
  for (int round = 0; round < 20000; ++round) {
    std::string bad = head;
    for (uint64_t i = random.Below(4) + 1; i > 0; --i) {
      bad[random.Below(bad.size())] = static_cast<char>(random.Next());
      bad[kIntentOffset + 4 + random.Below(16)] = static_cast<char>(random.Next());
    }
    EncodeFixed32(bad.data() + kReplicaHeaderBytes - 4,
                  Crc32c(bad.data(), kReplicaHeaderBytes - 4));
    EncodeFixed32(bad.data() + kIntentOffset,
                  Crc32c(bad.data() + kIntentOffset + 4, kIntentBytes - 4));
    if (auto header = DecodeReplicaHeader(bad); header.ok()) {
      EXPECT_LE(header->length, kMaxBlockBytes);
    }
    if (auto intent = DecodeReplicaIntent(std::string_view(bad).substr(kIntentOffset));
        intent.ok()) {
      EXPECT_LE(intent->entries.size(), kMaxIntentPages);
    }
    std::string bad_identity = identity;
    bad_identity[random.Below(bad_identity.size())] = static_cast<char>(random.Next());
    EncodeFixed32(bad_identity.data() + bad_identity.size() - 4,
                  Crc32c(bad_identity.data(), bad_identity.size() - 4));
    (void)DecodeDiskIdentity(bad_identity);
    std::string bad_row = row;
    bad_row[random.Below(bad_row.size())] = static_cast<char>(random.Next());
    bad_row.resize(random.Below(bad_row.size() + 2));
    (void)DecodeIndexState(bad_row);
  }
}

TEST(ReplicaIndexRows, ComeBackAsWrittenAndSortByBlock) {
  const ReplicaRow row{.block = BlockId(77),
                       .generation = Generation(0x1'0000'0001),
                       .era = Era(9),
                       .length = 4711,
                       .suspect = true,
                       .changing = true};
  auto back = DecodeReplicaRow(EncodeReplicaKey(row.block), EncodeReplicaRow(row));
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(*back, row);
  EXPECT_LT(EncodeReplicaKey(BlockId(255)), EncodeReplicaKey(BlockId(256)));
  EXPECT_EQ(DecodeReplicaRow(EncodeReplicaKey(BlockId(1)), "short").code(),
            StatusCode::kVersionTooNew);
  EXPECT_EQ(DecodeReplicaRow("r123", EncodeReplicaRow(row)).code(), StatusCode::kCorruption);
}

TEST(ReplicaIndexRows, AnOlderStateRowIsKnownAsSuch) {
  IndexState state;
  state.clean = true;
  state.boot_id = "boot";
  std::string bytes = EncodeIndexState(state);
  EXPECT_FALSE(DecodeIndexState(bytes)->old_format);
  bytes[0] = 1;
  auto old = DecodeIndexState(bytes);
  ASSERT_TRUE(old.ok()) << old.status().ToString();
  EXPECT_TRUE(old->old_format);
  EXPECT_TRUE(old->clean);
  bytes[0] = 3;
  EXPECT_EQ(DecodeIndexState(bytes).code(), StatusCode::kVersionTooNew);
}

TEST(ReplicaNames, ParseBackOnlyWhenExact) {
  EXPECT_EQ(ReplicaFileName(BlockId(0xabc)), "0000000000000abc.blk");
  EXPECT_EQ(ParseReplicaFileName("0000000000000abc.blk").value(), BlockId(0xabc));
  for (const char* bad : {"0000000000000ABC.blk", "abc.blk", "0000000000000abc", "",
                          "0000000000000abc.blk2", "+000000000000abc.blk"}) {
    EXPECT_FALSE(ParseReplicaFileName(bad).ok()) << bad;
  }
  const RemovedName name{BlockId(5), Generation(3), 1'700'000'000};
  EXPECT_EQ(name.ToString(), "0000000000000005.3.1700000000.blk");
  auto back = ParseRemovedName(name.ToString());
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->block, name.block);
  EXPECT_EQ(back->generation, name.generation);
  EXPECT_EQ(back->removed_s, name.removed_s);
}

}  // namespace
}  // namespace tercet
