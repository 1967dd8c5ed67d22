// Backup files: what goes in comes out, and no damaged one is taken for good.
#include "metaserver/namespace/backup.h"

#include <fstream>
#include <sstream>

#include "common/base/coding.h"
#include "metaserver/namespace/backup_format.h"
#include "tests/metaserver/namespace/backup_test_util.h"

namespace tercet {
namespace {

class BackupTest : public testing::Test {
 protected:
  std::string Bytes() { return ReadWholeFile(disk_, kBackupPath, 100 << 20).value(); }
  Status VerifyBytes(const std::string& bytes) {
    EXPECT_TRUE(WriteFileAtomically(disk_, "/backups/changed", bytes).ok());
    return VerifyBackup(disk_, "/backups/changed").status();
  }

  SimDisk disk_;
  SeededRandom random_{1};
};

TEST_F(BackupTest, RowsComeBackAsTheyWere) {
  const MapView state = SomeState(/*files=*/16000);  // a few blocks
  const Result<BackupSummary> written = MakeBackup(disk_, state);
  ASSERT_TRUE(written.ok()) << written.status().ToString();
  EXPECT_EQ(written->row_count, state.rows.size());
  EXPECT_EQ(written->file_bytes, Bytes().size());
  EXPECT_GT(written->file_bytes, 2u << 20);
  EXPECT_EQ(written->rows_by_table[static_cast<size_t>(TableId::kServer)], 3u);
  EXPECT_EQ(ReadBackup(disk_).value().rows, state.rows);

  const Result<BackupSummary> verified = VerifyBackup(disk_, kBackupPath);
  ASSERT_TRUE(verified.ok()) << verified.status().ToString();
  EXPECT_EQ(verified->row_count, written->row_count);
  EXPECT_EQ(verified->file_bytes, written->file_bytes);
  EXPECT_EQ(verified->digest, written->digest);
  EXPECT_EQ(verified->rows_by_table, written->rows_by_table);
  const BackupHeader& header = verified->header;
  EXPECT_EQ(header.cluster_id, kClusterId);
  EXPECT_EQ(header.group_id, SomeBackupHeader().group_id);
  EXPECT_EQ(header.index, JournalIndex(258));
  EXPECT_EQ(header.epoch, Epoch(4));
  EXPECT_EQ(header.created_at_ns, SomeBackupHeader().created_at_ns);
  EXPECT_EQ(header.tercet_version, "0.1.0");
}

TEST_F(BackupTest, TheBytesDoNotDependOnTheSizeOfTheCalls) {
  const MapView state = SomeState(3000);
  ASSERT_TRUE(MakeBackup(disk_, state, 100).ok());
  ASSERT_TRUE(MakeBackup(disk_, state, 10 << 20, "/backups/two").ok());
  EXPECT_EQ(Bytes(), ReadWholeFile(disk_, "/backups/two", 100 << 20).value());
}

TEST_F(BackupTest, AnEmptyStateIsABackupToo) {
  ASSERT_TRUE(MakeBackup(disk_, MapView()).ok());
  EXPECT_TRUE(ReadBackup(disk_).value().rows.empty());
}

TEST_F(BackupTest, NothingIsOverwrittenAndNothingUnfinishedHasTheName) {
  ASSERT_TRUE(MakeBackup(disk_, SomeState()).ok());
  EXPECT_EQ(MakeBackup(disk_, SomeState()).code(), StatusCode::kExists);
  {
    auto writer = BackupWriter::Create(disk_, "/backups/two", SomeBackupHeader()).value();
    std::string rows;
    AppendStateRow(&rows, "k", "v");
    ASSERT_TRUE(writer->Append(rows).ok());
    EXPECT_FALSE(disk_.Exists("/backups/two").value());
  }
  EXPECT_EQ(disk_.List("/backups").value(), std::vector<std::string>{"one"});
}

TEST_F(BackupTest, RowsOutOfOrderAreRefused) {
  ASSERT_TRUE(disk_.MakeDirectories("/backups").ok());
  auto writer = BackupWriter::Create(disk_, kBackupPath, SomeBackupHeader()).value();
  std::string rows;
  AppendStateRow(&rows, "b", "1");
  ASSERT_TRUE(writer->Append(rows).ok());
  EXPECT_EQ(writer->Append(rows).code(), StatusCode::kCorruption);
  std::string own;
  AppendStateRow(&own, std::string("\0c", 2), "1");
  EXPECT_EQ(writer->Append(own).code(), StatusCode::kCorruption);
  EXPECT_EQ(writer->row_count(), 1u);
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_EQ(ReadBackup(disk_).value().rows.size(), 1u);
}

TEST_F(BackupTest, APowerCutLeavesAWholeBackupOrNone) {
  const MapView state = SomeState(300);
  int whole = 0;
  int none = 0;
  for (uint64_t cut = 0; cut < 16; ++cut) {
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      SimDisk disk;
      SeededRandom random(seed * 100 + cut);
      ASSERT_TRUE(disk.MakeDirectories("/backups").ok());
      disk.CutPowerAfter(cut);
      const bool made = MakeBackup(disk, state).ok();
      disk.Crash(random);
      const bool exists = disk.Exists(kBackupPath).value();
      ASSERT_TRUE(exists || !made);
      exists ? ++whole : ++none;
      if (exists) {
        const Result<MapView> read = ReadBackup(disk);
        ASSERT_TRUE(read.ok()) << read.status().ToString();
        EXPECT_EQ(read->rows, state.rows);
      } else {
        EXPECT_TRUE(MakeBackup(disk, state).ok());  // over what the first attempt left
      }
    }
  }
  EXPECT_GT(whole, 6);
  EXPECT_GT(none, 6);
}

TEST_F(BackupTest, AFullDiskIsTold) {
  disk_.SetCapacity(100 << 10);
  EXPECT_EQ(MakeBackup(disk_, SomeState(4000)).code(), StatusCode::kNoSpace);
  EXPECT_TRUE(disk_.List("/backups").value().empty());
}

TEST_F(BackupTest, EveryFlippedByteOfASmallBackupIsNoticed) {
  ASSERT_TRUE(MakeBackup(disk_, SomeState()).ok());
  const std::string bytes = Bytes();
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int flip : {0xff, 0x01}) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      const Status status = VerifyBytes(changed);
      ASSERT_FALSE(status.ok()) << "byte " << at;
      const bool version = at >= 8 && at < 12;
      EXPECT_EQ(status.code(), version ? status.code() : StatusCode::kCorruption) << "byte " << at;
      EXPECT_NE(status.message().find("/backups/changed"), std::string::npos);
    }
  }
}

TEST_F(BackupTest, FlippedBytesOfALargeBackupAreNoticedAndNeverGivenOut) {
  const MapView state = SomeState(16000);
  ASSERT_TRUE(MakeBackup(disk_, state).ok());
  const std::string bytes = Bytes();
  for (int round = 0; round < 60; ++round) {
    std::string changed = bytes;
    const size_t at = random_.Below(bytes.size());
    changed[at] = static_cast<char>(~changed[at]);
    ASSERT_TRUE(WriteFileAtomically(disk_, "/backups/changed", changed).ok());
    Result<std::unique_ptr<BackupReader>> reader = BackupReader::Open(disk_, "/backups/changed");
    Status status = reader.status();
    while (status.ok()) {
      Result<std::string_view> rows = (*reader)->Next();
      status = rows.status();
      ASSERT_FALSE(rows.ok() && rows->empty()) << "byte " << at << " was taken for good";
      if (!rows.ok()) break;
      ASSERT_TRUE(VisitStateRows(*rows, [&](std::string_view key, std::string_view value) {
                    auto row = state.rows.find(key);
                    EXPECT_TRUE(row != state.rows.end() && row->second == value);
                    return Status::Ok();
                  }).ok());
    }
  }
}

TEST_F(BackupTest, EveryCutIsNoticedWithItsPlace) {
  ASSERT_TRUE(MakeBackup(disk_, SomeState()).ok());
  const std::string bytes = Bytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const Status status = VerifyBytes(bytes.substr(0, size));
    ASSERT_EQ(status.code(), StatusCode::kCorruption) << size << " bytes";
  }
  const Status cut = VerifyBytes(bytes.substr(0, bytes.size() - 1));
  EXPECT_NE(cut.message().find("cut"), std::string::npos) << cut.message();
  EXPECT_NE(cut.message().find(std::to_string(bytes.size() - 1)), std::string::npos);
  EXPECT_NE(cut.message().find("offset " + std::to_string(bytes.size() - kBackupBlockHeaderBytes -
                                                          kBackupTrailerPayloadBytes)),
            std::string::npos)
      << cut.message();
  const Status longer = VerifyBytes(bytes + "x");
  EXPECT_EQ(longer.code(), StatusCode::kCorruption);
  EXPECT_NE(longer.message().find("follows"), std::string::npos);
}

// Each block is good, but blocks are missing, doubled or of another backup.
TEST_F(BackupTest, BlocksThatAreNotInTheirPlaceAreNoticed) {
  ASSERT_TRUE(MakeBackup(disk_, SomeState(16000)).ok());
  const std::string bytes = Bytes();
  uint64_t header_bytes = 0;
  ASSERT_TRUE(DecodeBackupHeader(bytes, &header_bytes).ok());
  std::vector<std::string> blocks;
  for (size_t at = header_bytes; at < bytes.size();) {
    const BackupBlockHeader header = DecodeBackupBlockHeader(bytes.substr(at));
    blocks.push_back(bytes.substr(at, kBackupBlockHeaderBytes + header.payload_bytes));
    at += blocks.back().size();
  }
  ASSERT_GE(blocks.size(), 4u);
  const auto join = [&](const std::vector<size_t>& order) {
    std::string joined = bytes.substr(0, header_bytes);
    for (size_t block : order) joined += blocks[block];
    return joined;
  };
  const size_t trailer = blocks.size() - 1;
  std::vector<size_t> all(blocks.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  EXPECT_TRUE(VerifyBytes(join(all)).ok());
  EXPECT_EQ(VerifyBytes(join({trailer})).code(), StatusCode::kCorruption);
  EXPECT_EQ(VerifyBytes(join({0, trailer})).code(), StatusCode::kCorruption);
  EXPECT_EQ(VerifyBytes(join({0, 0, 1, 2, trailer})).code(), StatusCode::kCorruption);
  EXPECT_EQ(VerifyBytes(join({1, 0, 2, trailer})).code(), StatusCode::kCorruption);
  EXPECT_EQ(VerifyBytes(join({})).code(), StatusCode::kCorruption);
}

TEST_F(BackupTest, NewerFormatsAndOtherFilesAreToldApart) {
  ASSERT_TRUE(MakeBackup(disk_, SomeState()).ok());
  std::string bytes = Bytes();
  EncodeFixed32(bytes.data() + 8, 2);
  EXPECT_EQ(VerifyBytes(bytes).code(), StatusCode::kVersionTooNew);
  EXPECT_EQ(VerifyBytes("#!/bin/sh\necho no backup at all\n").code(), StatusCode::kCorruption);
  EXPECT_EQ(VerifyBackup(disk_, "/backups/none").code(), StatusCode::kNotFound);
  for (int round = 0; round < 500; ++round) {
    EXPECT_FALSE(VerifyBytes(std::string(kBackupMagic) + random_.Bytes(random_.Below(300))).ok());
  }
}

// The bytes of the document's example: in each line what follows the offset, up to three blanks.
std::string DocumentBytes() {
  std::ifstream in(std::string(TERCET_SOURCE_DIR) + "/metaserver/namespace/backup_format.md");
  std::string line;
  bool inside = false;
  std::string bytes;
  while (std::getline(in, line)) {
    if (line.starts_with("```")) {
      inside = !inside;
    } else if (inside) {
      std::istringstream digits(line.substr(4, line.find("   ", 6) - 4));
      std::string byte;
      while (digits >> byte) bytes += static_cast<char>(std::stoi(byte, nullptr, 16));
    }
  }
  return bytes;
}

TEST_F(BackupTest, TheBytesAreThoseInTheDocument) {
  MapView state;
  state.rows = {{CounterKey(Counter::kNextInode), NumberRecord{3}.Encode()},
                {CounterKey(Counter::kInodeCount), NumberRecord{2}.Encode()}};
  ASSERT_TRUE(MakeBackup(disk_, state).ok());
  EXPECT_EQ(Bytes(), DocumentBytes());
}

}  // namespace
}  // namespace tercet
