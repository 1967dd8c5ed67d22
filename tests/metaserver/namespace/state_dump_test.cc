// Rows as text: exact, stable, one line each, whatever is in them.
#include "metaserver/namespace/state_dump.h"

#include <set>

#include "tests/metaserver/namespace/backup_test_util.h"

namespace tercet {
namespace {

TEST(StateDumpTest, EveryTableIsReadable) {
  std::string dump;
  for (const auto& [key, value] : SomeState().rows) dump += DumpStateRow(key, value) + "\n";
  EXPECT_EQ(dump, R"(cluster format_version: 1
cluster id: 434c55535445522d434c55535445522d
cluster time_floor: 2026-01-01T00:00:01.000000000Z(1767225601000000000)
cluster balance: state=done started=1970-01-01T00:00:00.000000005Z(5) changed=1970-01-01T00:00:00.000000006Z(6) threshold_permille=50 moved_bytes=7 moved_blocks=8
cluster limits: repair_bytes_per_second=1 move_bytes_per_second=2 scrub_period_s=3 repair_delay_ms=4
counter next_inode: 1000
counter next_block: 50
counter next_server: 4
counter inodes: 3
inode 1: directory mode=0000 uid=0 gid=0 nlink=2 size=0 blocks=0 atime=1970-01-01T00:00:00.000000000Z(0) mtime=1970-01-01T00:00:00.000000000Z(0) ctime=1970-01-01T00:00:00.000000000Z(0) block_size=67108864 replicas=3 min_replicas=2 change=1 xattrs=0 parent=1
inode 2: regular mode=0644 uid=0 gid=0 nlink=1 size=100 blocks=1 atime=1970-01-01T00:00:00.000000000Z(0) mtime=1970-01-01T00:00:00.000000000Z(0) ctime=1970-01-01T00:00:00.000000000Z(0) block_size=67108864 replicas=3 min_replicas=2 change=1 xattrs=0
dentry 1 "file": inode=2 type=regular
xattr 2 "user.colour": value="blue"
file_block 2/0: block=7 generation=1 chain=1,2,3
file_block 2/1: block=8 generation=1 chain=1,2,3 reserved reservers=9
block_owner 7: inode=2 index=0
block_owner 8: inode=2 index=1
replica 1/7: generation=1
replica 2/7: generation=1
replica 3/7: generation=1
orphan 3: since=1970-01-01T00:00:00.000000077Z(77)
truncation 2: next_index=0 cuts=2:20
delete_task 1/5: generation=2
repair 7: short since=1970-01-01T00:00:00.000000005Z(5)
policy_walk 2: replicas=2 after="" next_index=0 since=1970-01-01T00:00:00.000000000Z(0)
session 9: uuid=75757575757575757575757575757575 host="client" mount="" version="" opened=1970-01-01T00:00:00.000000000Z(0)
session_by_uuid 75757575757575757575757575757575: 9
slot_reply 9/0: sequence=3 reply_bytes=5 reply_crc32c=40c4c984
server 1: uuid=62626262626262626262626262626262 host="host" port=7000 incarnation=1 registered=1970-01-01T00:00:00.000000005Z(5) version="0.1.0"
server 2: uuid=63636363636363636363636363636363 host="host" port=7000 incarnation=1 registered=1970-01-01T00:00:00.000000005Z(5) version="0.1.0"
server 3: uuid=64646464646464646464646464646464 host="host" port=7000 incarnation=1 registered=1970-01-01T00:00:00.000000005Z(5) version="0.1.0"
server_by_uuid 62626262626262626262626262626262: 1
server_by_uuid 63636363636363636363636363636363: 2
server_by_uuid 64646464646464646464646464646464: 3
disk 1 64646464646464646464646464646464: state=draining since=1970-01-01T00:00:00.000000005Z(5)
placement_rule 1: domain="rack" require="medium":"ssd"
)");
}

std::string DumpName(const std::string& name) {
  return DumpStateRow(DentryKey(kRootInode, name),
                      DentryRecord{InodeId(2), InodeType::kFifo}.Encode());
}

TEST(StateDumpTest, NamesAreEscaped) {
  EXPECT_EQ(DumpName("a b"), "dentry 1 \"a b\": inode=2 type=fifo");
  EXPECT_EQ(DumpName("\"\\\n\t\r\x1b[2J"), R"(dentry 1 "\"\\\n\t\r\x1b[2J": inode=2 type=fifo)");
  EXPECT_EQ(DumpName("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
            "dentry 1 \"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\": inode=2 type=fifo");
  // Not UTF-8: a lone byte, an overlong form, a surrogate, one that is cut, one above the last.
  EXPECT_EQ(DumpName("\xff"), R"(dentry 1 "\xff": inode=2 type=fifo)");
  EXPECT_EQ(DumpName("\xc0\xaf"), R"(dentry 1 "\xc0\xaf": inode=2 type=fifo)");
  EXPECT_EQ(DumpName("\xed\xa0\x80"), R"(dentry 1 "\xed\xa0\x80": inode=2 type=fifo)");
  EXPECT_EQ(DumpName("\xe2\x82"), R"(dentry 1 "\xe2\x82": inode=2 type=fifo)");
  EXPECT_EQ(DumpName("\xf4\x90\x80\x80"), R"(dentry 1 "\xf4\x90\x80\x80": inode=2 type=fifo)");
  // A mark that turns the direction of writing, and a line separator.
  EXPECT_EQ(DumpName("\xe2\x80\xae"), R"(dentry 1 "\xe2\x80\xae": inode=2 type=fifo)");
  EXPECT_EQ(DumpName("\xe2\x80\xa8"), R"(dentry 1 "\xe2\x80\xa8": inode=2 type=fifo)");
}

TEST(StateDumpTest, NoTwoNamesLookTheSame) {
  SeededRandom random(3);
  std::set<std::string> names;
  std::set<std::string> lines;
  const std::string alphabet("ab\\x\"nt\n\t\xc3\xbc\xe2\x80\xae\x7f", 15);
  for (int round = 0; round < 20000; ++round) {
    std::string name;
    for (uint64_t size = 1 + random.Below(5); size > 0; --size) {
      name += alphabet[random.Below(alphabet.size())];
    }
    names.insert(name);
    const std::string line = DumpName(name);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    lines.insert(line);
  }
  EXPECT_EQ(names.size(), lines.size());
}

TEST(StateDumpTest, TimesBefore1970AreExactToo) {
  EXPECT_EQ(DumpStateRow(OrphanKey(InodeId(3)), OrphanRecord{-1}.Encode()),
            "orphan 3: since=1969-12-31T23:59:59.999999999Z(-1)");
}

TEST(StateDumpTest, WhatChangesOfChainsLeaveIsReadable) {
  RepairRecord repair;
  repair.reasons = kRepairBad | kRepairSealing;
  repair.sealing = Generation(4);
  repair.bad = {{ServerId(2), BadReplica::kMissing},
                {ServerId(3), BadReplica::kSuspect},
                {ServerId(4), BadReplica::kDoubtful}};
  repair.targets = {ServerId(5)};
  EXPECT_EQ(DumpStateRow(RepairKey(BlockId(7)), repair.Encode()),
            "repair 7: bad sealing generation=4 since=1970-01-01T00:00:00.000000000Z(0) "
            "replicas=2:missing,3:suspect,4:doubtful targets=5");
  EXPECT_EQ(DumpStateRow(DeleteTaskKey(ServerId(1), BlockId(7)),
                         DeleteTaskRecord{Generation(3), true}.Encode()),
            "delete_task 1/7: generation=3 hold");
  EXPECT_EQ(DumpStateRow(TrashKey(5, InodeId(9)), TrashRecord{InodeId(1), "a b", 0}.Encode()),
            "trash 5/9: directory=1 name=\"a b\" deleted=1970-01-01T00:00:00.000000000Z(0)");
  EXPECT_EQ(DumpStateRow(ClusterKey(ClusterField::kRestores),
                         RestoresRecord{{{BlockId(5), BlockId(9)}}}.Encode()),
            "cluster restores: lost_blocks=5-9");
}

TEST(StateDumpTest, RowsOfOlderVersionsAreNothingSpecial) {
  const std::string task = DeleteTaskRecord{Generation(3)}.Encode();
  EXPECT_EQ(DumpStateRow(DeleteTaskKey(ServerId(1), BlockId(7)), task.substr(0, task.size() - 1)),
            "delete_task 1/7: generation=3");
}

TEST(StateDumpTest, WhatANewerVersionAppendedIsShown) {
  EXPECT_EQ(DumpStateRow(OrphanKey(InodeId(3)), OrphanRecord{0}.Encode() + "\x01\x02"),
            "orphan 3: since=1970-01-01T00:00:00.000000000Z(0) more=0102");
}

TEST(StateDumpTest, WhatCannotBeUnderstoodIsShownInHex) {
  EXPECT_EQ(DumpStateRow("\x7fx", "ab"), "unknown 7f78 = 6162 (no table has such a key)");
  const std::string line = DumpStateRow(OrphanKey(InodeId(3)), "\x09");
  EXPECT_TRUE(line.starts_with("unknown 160000000000000003 = 09 (")) << line;
  EXPECT_TRUE(DumpStateRow(std::string("\x02\x63", 2), NumberRecord{1}.Encode())
                  .starts_with("unknown 0263 = "));
  SeededRandom random(5);
  for (int round = 0; round < 5000; ++round) {
    const std::string some =
        DumpStateRow(random.Bytes(random.Below(20)), random.Bytes(random.Below(60)));
    EXPECT_EQ(some.find('\n'), std::string::npos);
  }
  // Damaged values of real rows.
  for (const auto& [key, value] : SomeState().rows) {
    for (size_t size = 0; size < value.size(); ++size) {
      EXPECT_EQ(DumpStateRow(key, value.substr(0, size)).find('\n'), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace tercet
