#include "metaserver/namespace/records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <random>
#include <vector>

namespace tercet {
namespace {

const std::string kUuid = "0123456789abcdef";

InodeRecord FullInode() {
  InodeRecord record;
  record.type = InodeType::kSymlink;
  record.truncation_pending = true;
  record.mode = 07777;
  record.uid = std::numeric_limits<uint32_t>::max();
  record.gid = 1000;
  record.nlink = 65000;
  record.size_bytes = kMaxFileSizeBytes;
  record.atime_ns = -1;
  record.mtime_ns = std::numeric_limits<int64_t>::min();
  record.ctime_ns = std::numeric_limits<int64_t>::max();
  record.rdev = std::numeric_limits<uint64_t>::max();
  record.block_size_bytes = 4096;
  record.parent = InodeId(77);
  record.xattr_count = 1000;
  record.block_count = uint64_t{1} << 38;
  record.change_version = 12345678901234;
  record.replicas = 16;
  record.min_replicas = 1;
  record.symlink_target = std::string(kMaxSymlinkTargetBytes, '\xfe');
  record.name_hint = "hint";
  record.rule_id = 300;
  record.trash_retention_s = 1 << 20;
  record.trash_expires_ns = int64_t{1} << 62;
  return record;
}
// What was appended to inodes since version 1, as in FullInode: a length and 4 bytes, then varints.
constexpr size_t kFullInodeTail = 5 + 2 + 3 + 9;
constexpr size_t kSmallInodeTail = 4;

ServerRecord FullServer() {
  ServerRecord record;
  record.uuid = kUuid;
  record.host = "host";
  record.port = 65535;
  record.incarnation = 9;
  record.registered_at_ns = 5;
  record.version = "0.1";
  record.state = ServiceState::kMaintenance;
  record.state_since_ns = 77;
  record.state_until_ns = -1;
  record.drain_replicas_at_start = 300;
  record.labels = {{"rack", "r1"}, {"zone", ""}};
  return record;
}
constexpr size_t kFullServerTail = 1 + 8 + 8 + 2 + 1 + 5 + 3 + 5 + 1;

RepairRecord FullRepair() {
  RepairRecord record;
  record.reasons = kRepairShort | kRepairBad | kRepairSealing;
  record.sealing = Generation(300);
  record.since_ns = -7;
  record.bad = {{ServerId(1), BadReplica::kDamaged}, {ServerId(300), BadReplica::kSuspect}};
  record.targets = {ServerId(4), ServerId(5)};
  return record;
}

PolicyWalkRecord FullWalk() {
  PolicyWalkRecord record;
  record.change = {.replicas = 16,
                   .min_replicas = 1,
                   .block_size_bytes = 8192,
                   .domain = "rack",
                   .require = std::map<std::string, std::string>{{"medium", "ssd"}},
                   .trash_retention_s = 1u << 31};
  record.after_name = std::string(255, 'n');
  record.next_index = 1 << 20;
  record.since_ns = 3;
  return record;
}

BalanceRecord FullBalance() {
  BalanceRecord record;
  record.state = BalanceState::kPaused;
  record.started_at_ns = 1;
  record.changed_at_ns = 2;
  record.threshold_permille = 1000;
  record.moved_bytes = uint64_t{1} << 60;
  record.moved_blocks = 300;
  return record;
}

FileBlockRecord FullBlock() {
  FileBlockRecord record;
  record.block = BlockId(9);
  record.generation = Generation(300);
  record.reserved = true;
  record.chain = {ServerId(3), ServerId(1), ServerId(200)};
  record.reservers = {SessionId(4), SessionId(5'000'000'000)};
  record.valid_bytes = kMaxBlockSizeBytes - 1;
  record.stale = {ServerId(7), ServerId(4)};
  return record;
}

TruncationRecord FullTruncation() {
  TruncationRecord record;
  record.cuts = {{5, BlockId(10)}, {7, BlockId(20)}};
  record.next_index = 6;
  return record;
}

// Decodes and encodes again: nothing when the bytes are refused.
template <typename Record>
std::optional<std::string> ThereAndBack(std::string_view bytes) {
  Result<Record> record = Record::Decode(bytes);
  if (!record.ok()) {
    EXPECT_TRUE(record.code() == StatusCode::kCorruption ||
                record.code() == StatusCode::kVersionTooNew)
        << record.status().ToString();
    return std::nullopt;
  }
  return record->Encode();
}

struct Kind {
  const char* name;
  std::string example;
  std::optional<std::string> (*there_and_back)(std::string_view);
  size_t tail = 0;  // bytes at the end that older versions did not write
};

std::vector<Kind> Kinds() {
  return {
      {"inode", FullInode().Encode(), ThereAndBack<InodeRecord>, kFullInodeTail},
      {"small inode", InodeRecord().Encode(), ThereAndBack<InodeRecord>, kSmallInodeTail},
      {"dentry", DentryRecord{InodeId(300), InodeType::kFifo}.Encode(), ThereAndBack<DentryRecord>},
      {"xattr", XattrRecord{std::string("\0value", 6)}.Encode(), ThereAndBack<XattrRecord>},
      {"file block", FullBlock().Encode(), ThereAndBack<FileBlockRecord>},
      {"block owner", BlockOwnerRecord{InodeId(1), 1u << 30}.Encode(),
       ThereAndBack<BlockOwnerRecord>},
      {"replica", ReplicaRecord{Generation(7)}.Encode(), ThereAndBack<ReplicaRecord>},
      {"orphan", OrphanRecord{-5}.Encode(), ThereAndBack<OrphanRecord>},
      {"truncation", FullTruncation().Encode(), ThereAndBack<TruncationRecord>},
      {"delete task", DeleteTaskRecord{Generation(7)}.Encode(), ThereAndBack<DeleteTaskRecord>, 1},
      {"held task", DeleteTaskRecord{Generation(7), true}.Encode(), ThereAndBack<DeleteTaskRecord>,
       1},
      {"repair", FullRepair().Encode(), ThereAndBack<RepairRecord>},
      {"trash", TrashRecord{InodeId(300), "name", 5}.Encode(), ThereAndBack<TrashRecord>},
      {"policy walk", FullWalk().Encode(), ThereAndBack<PolicyWalkRecord>},
      {"small walk", PolicyWalkRecord().Encode(), ThereAndBack<PolicyWalkRecord>},
      {"placement rule", PlacementRule{"rack", {{"a", "b"}, {"c", "d"}}}.Encode(),
       ThereAndBack<PlacementRule>},
      {"disk", DiskRecord{DiskCommandState::kEjected, 5}.Encode(), ThereAndBack<DiskRecord>},
      {"balance", FullBalance().Encode(), ThereAndBack<BalanceRecord>},
      {"limits", LimitsRecord{1, 300, 0, 1u << 20}.Encode(), ThereAndBack<LimitsRecord>},
      {"restores", RestoresRecord{{{BlockId(5), BlockId(9)}, {BlockId(9), BlockId(300)}}}.Encode(),
       ThereAndBack<RestoresRecord>},
      {"session", SessionRecord{kUuid, "host", "/mnt", "0.1", 5, true}.Encode(),
       ThereAndBack<SessionRecord>},
      {"slot reply", SlotReplyRecord{1u << 20, "reply"}.Encode(), ThereAndBack<SlotReplyRecord>},
      {"server", FullServer().Encode(), ThereAndBack<ServerRecord>, kFullServerTail},
      {"number", NumberRecord{42}.Encode(), ThereAndBack<NumberRecord>},
      {"cluster id", ClusterIdRecord{kUuid}.Encode(), ThereAndBack<ClusterIdRecord>},
  };
}

TEST(RecordsTest, EncodeAndDecodeToTheSame) {
  for (const Kind& kind : Kinds()) {
    EXPECT_EQ(kind.there_and_back(kind.example), kind.example) << kind.name;
  }
}

TEST(RecordsTest, KeepEveryFieldOfAnInode) {
  auto decoded = InodeRecord::Decode(FullInode().Encode());
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->type, InodeType::kSymlink);
  EXPECT_TRUE(decoded->truncation_pending);
  EXPECT_EQ(decoded->mode, 07777u);
  EXPECT_EQ(decoded->uid, std::numeric_limits<uint32_t>::max());
  EXPECT_EQ(decoded->gid, 1000u);
  EXPECT_EQ(decoded->nlink, 65000u);
  EXPECT_EQ(decoded->size_bytes, kMaxFileSizeBytes);
  EXPECT_EQ(decoded->atime_ns, -1);
  EXPECT_EQ(decoded->mtime_ns, std::numeric_limits<int64_t>::min());
  EXPECT_EQ(decoded->ctime_ns, std::numeric_limits<int64_t>::max());
  EXPECT_EQ(decoded->rdev, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(decoded->block_size_bytes, 4096u);
  EXPECT_EQ(decoded->parent, InodeId(77));
  EXPECT_EQ(decoded->xattr_count, 1000u);
  EXPECT_EQ(decoded->block_count, uint64_t{1} << 38);
  EXPECT_EQ(decoded->change_version, 12345678901234u);
  EXPECT_EQ(decoded->replicas, 16);
  EXPECT_EQ(decoded->min_replicas, 1);
  EXPECT_EQ(decoded->symlink_target, FullInode().symlink_target);
  EXPECT_EQ(decoded->name_hint, "hint");
  EXPECT_EQ(decoded->rule_id, 300u);
  EXPECT_EQ(decoded->trash_retention_s, 1u << 20);
  EXPECT_EQ(decoded->trash_expires_ns, int64_t{1} << 62);
}

TEST(RecordsTest, KeepEveryFieldOfTheOthers) {
  EXPECT_EQ(*RepairRecord::Decode(FullRepair().Encode()), FullRepair());
  const PolicyWalkRecord walk = *PolicyWalkRecord::Decode(FullWalk().Encode());
  EXPECT_EQ(walk.change, FullWalk().change);
  EXPECT_EQ(walk.after_name, FullWalk().after_name);
  EXPECT_EQ(walk.next_index, FullWalk().next_index);
  EXPECT_EQ(*BalanceRecord::Decode(FullBalance().Encode()), FullBalance());
  const ServerRecord server = *ServerRecord::Decode(FullServer().Encode());
  EXPECT_EQ(server.state, ServiceState::kMaintenance);
  EXPECT_EQ(server.state_since_ns, 77);
  EXPECT_EQ(server.state_until_ns, -1);
  EXPECT_EQ(server.drain_replicas_at_start, 300u);
  EXPECT_EQ(server.labels, FullServer().labels);
  EXPECT_TRUE(DeleteTaskRecord::Decode(DeleteTaskRecord{Generation(7), true}.Encode())->hold);
  const LimitsRecord limits{1, 300, 0, 1u << 20};
  EXPECT_EQ(*LimitsRecord::Decode(limits.Encode()), limits);
}

TEST(RecordsTest, RefuseWhatNoneOfTheirInvariantsAllows) {
  FileBlockRecord block = FullBlock();
  block.stale = {ServerId(1)};  // in the chain too
  EXPECT_EQ(FileBlockRecord::Decode(block.Encode()).code(), StatusCode::kCorruption);
  RepairRecord repair = FullRepair();
  repair.reasons = 0;
  EXPECT_EQ(RepairRecord::Decode(repair.Encode()).code(), StatusCode::kCorruption);
  repair.reasons = kRepairSealing;
  repair.sealing = Generation();
  EXPECT_EQ(RepairRecord::Decode(repair.Encode()).code(), StatusCode::kCorruption);
  repair = FullRepair();
  repair.bad[0].reason = static_cast<BadReplica>(9);
  EXPECT_EQ(RepairRecord::Decode(repair.Encode()).code(), StatusCode::kCorruption);
  RestoresRecord restores{{{BlockId(9), BlockId(300)}, {BlockId(5), BlockId(9)}}};
  EXPECT_EQ(RestoresRecord::Decode(restores.Encode()).code(), StatusCode::kCorruption);
  EXPECT_EQ(TrashRecord::Decode(TrashRecord{InodeId(1), "", 5}.Encode()).code(),
            StatusCode::kCorruption);
  ServerRecord server = FullServer();
  server.state = static_cast<ServiceState>(4);
  EXPECT_EQ(ServerRecord::Decode(server.Encode()).code(), StatusCode::kCorruption);
}

TEST(RecordsTest, KnowWhichBlocksMayBeNewerThanTheState) {
  const RestoresRecord record{{{BlockId(5), BlockId(9)}, {BlockId(20), BlockId(30)}}};
  for (uint64_t id : {5, 8, 20, 29}) EXPECT_TRUE(record.Contains(BlockId(id))) << id;
  for (uint64_t id : {4, 9, 19, 30}) EXPECT_FALSE(record.Contains(BlockId(id))) << id;
}

TEST(RecordsTest, KeepEveryFieldOfAFileBlock) {
  auto decoded = FileBlockRecord::Decode(FullBlock().Encode());
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->block, BlockId(9));
  EXPECT_EQ(decoded->generation, Generation(300));
  EXPECT_TRUE(decoded->reserved);
  EXPECT_EQ(decoded->chain, FullBlock().chain);
  EXPECT_EQ(decoded->reservers, FullBlock().reservers);
  EXPECT_EQ(decoded->valid_bytes, kMaxBlockSizeBytes - 1);
}

TEST(RecordsTest, TolerateFieldsThatANewerVersionAppended) {
  for (const Kind& kind : Kinds()) {
    EXPECT_EQ(kind.there_and_back(kind.example + "appended"), kind.example) << kind.name;
  }
}

TEST(RecordsTest, RefuseEveryTruncatedRecord) {
  for (const Kind& kind : Kinds()) {
    for (size_t length = 0; length < kind.example.size(); ++length) {
      const bool old = kind.tail != 0 && length == kind.example.size() - kind.tail;
      EXPECT_EQ(kind.there_and_back(kind.example.substr(0, length)).has_value(), old)
          << kind.name << " cut to " << length;
    }
  }
}

TEST(RecordsTest, TellANewerVersionFromDamage) {
  std::string bytes = InodeRecord().Encode();
  bytes[0] = 2;
  EXPECT_EQ(InodeRecord::Decode(bytes).code(), StatusCode::kVersionTooNew);
  bytes[0] = 0;
  EXPECT_EQ(InodeRecord::Decode(bytes).code(), StatusCode::kCorruption);
}

TEST(RecordsTest, SurviveFlippedAndRandomBytes) {
  std::mt19937_64 random(7);
  for (const Kind& kind : Kinds()) {
    for (int round = 0; round < 5000; ++round) {
      std::string bytes = kind.example;
      for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
        bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
      }
      std::optional<std::string> again = kind.there_and_back(bytes);
      // What is accepted is a record: it encodes to something that decodes to itself.
      if (again) {
        EXPECT_EQ(kind.there_and_back(*again), again) << kind.name;
      }

      std::string noise(random() % 64, '\0');
      for (char& c : noise) c = static_cast<char>(random());
      if (!noise.empty()) noise[0] = 1;
      again = kind.there_and_back(noise);
      if (again) {
        EXPECT_EQ(kind.there_and_back(*again), again) << kind.name;
      }
    }
  }
}

TEST(RecordsTest, RefuseInodesThatCannotBe) {
  const std::vector<std::function<void(InodeRecord&)>> faults = {
      [](InodeRecord& r) { r.type = static_cast<InodeType>(8); },
      [](InodeRecord& r) { r.type = static_cast<InodeType>(0); },
      [](InodeRecord& r) { r.mode = 010000; },
      [](InodeRecord& r) { r.size_bytes = kMaxFileSizeBytes + 1; },
      [](InodeRecord& r) { r.block_size_bytes = 2048; },
      [](InodeRecord& r) { r.block_size_bytes = 2 * kMaxBlockSizeBytes; },
      [](InodeRecord& r) { r.replicas = 0; },
      [](InodeRecord& r) { r.min_replicas = 0; },
      [](InodeRecord& r) { r.min_replicas = 4; },
      [](InodeRecord& r) { r.replicas = 17; },
      [](InodeRecord& r) { r.symlink_target = std::string(kMaxSymlinkTargetBytes + 1, 'x'); },
  };
  for (size_t i = 0; i < faults.size(); ++i) {
    InodeRecord record;
    faults[i](record);
    EXPECT_EQ(InodeRecord::Decode(record.Encode()).code(), StatusCode::kCorruption) << i;
  }
}

TEST(RecordsTest, RefuseBlocksThatCannotBe) {
  const std::vector<std::function<void(FileBlockRecord&)>> faults = {
      [](FileBlockRecord& r) { r.chain.clear(); },
      [](FileBlockRecord& r) { r.chain.push_back(r.chain[0]); },
      [](FileBlockRecord& r) {
        for (uint32_t i = 0; i < kMaxChainLength; ++i) r.chain.push_back(ServerId(1000 + i));
      },
      [](FileBlockRecord& r) { r.block = BlockId(0); },
      [](FileBlockRecord& r) { r.generation = Generation(0); },
      [](FileBlockRecord& r) { r.valid_bytes = kMaxBlockSizeBytes; },
      [](FileBlockRecord& r) { r.reservers.resize(kMaxReservers + 1); },
  };
  for (size_t i = 0; i < faults.size(); ++i) {
    FileBlockRecord record = FullBlock();
    faults[i](record);
    EXPECT_EQ(FileBlockRecord::Decode(record.Encode()).code(), StatusCode::kCorruption) << i;
  }
}

TEST(RecordsTest, ACommonFileBlockIsSmall) {
  InodeRecord inode;
  inode.mode = 0644;
  inode.uid = inode.gid = 1000;
  inode.nlink = 1;
  inode.atime_ns = inode.mtime_ns = inode.ctime_ns = 1'700'000'000'000'000'000;
  EXPECT_LE(inode.Encode().size(), 64u);
  FileBlockRecord block;
  block.block = BlockId(1'000'000);
  block.chain = {ServerId(1), ServerId(2), ServerId(3)};
  EXPECT_LE(block.Encode().size(), 16u);
}

TEST(TruncationRecordTest, KillsWhatExistedBehindACut) {
  const TruncationRecord record = FullTruncation();  // index 5: ids below 10, index 7: ids below 20
  EXPECT_FALSE(record.IsDead(4, BlockId(1)));
  EXPECT_TRUE(record.IsDead(5, BlockId(9)));
  EXPECT_FALSE(record.IsDead(5, BlockId(10)));
  EXPECT_FALSE(record.IsDead(6, BlockId(15)));
  EXPECT_TRUE(record.IsDead(7, BlockId(15)));
  EXPECT_TRUE(record.IsDead(1'000'000, BlockId(19)));
  EXPECT_FALSE(record.IsDead(1'000'000, BlockId(20)));
}

TEST(TruncationRecordTest, AgreesWithTheListOfAllCutsWhateverTheirOrder) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 300; ++round) {
    TruncationRecord record;
    record.next_index = 1000;
    std::vector<TruncationRecord::Cut> all;
    uint64_t limit = 1;
    for (int cuts = 0; cuts < 12; ++cuts) {
      limit += random() % 3;
      TruncationRecord::Cut cut{random() % 20, BlockId(limit)};
      all.push_back(cut);
      record.Add(cut);
      EXPECT_LE(record.next_index, record.cuts.front().first_index);
      auto decoded = TruncationRecord::Decode(record.Encode());
      ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
      for (uint64_t index = 0; index < 22; ++index) {
        for (uint64_t id = 0; id <= limit; ++id) {
          bool dead = false;
          for (const auto& c : all) dead |= c.first_index <= index && BlockId(id) < c.block_limit;
          ASSERT_EQ(decoded->IsDead(index, BlockId(id)), dead);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tercet
