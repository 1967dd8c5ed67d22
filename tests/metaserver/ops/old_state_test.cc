// A state as the versions before chains were changed wrote it: rows without the fields that were
// appended since. It is served as it is, and takes all the new operations.
#include "metaserver/ops/paths.h"
#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

std::string Bytes(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size();) {
    if (hex[i] == ' ') {
      ++i;
      continue;
    }
    bytes.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
    i += 2;
  }
  return bytes;
}

class OldStateTest : public ReplicaTest {
 protected:
  OldStateTest() {
    view.rows.clear();
    Put("01 01", "01 01 00 00 00 00 00 00 00");
    Put("01 02", "01 10 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66");
    Put("02 01", "01 03 00 00 00 00 00 00 00");
    Put("02 02", "01 02 00 00 00 00 00 00 00");
    Put("02 03", "01 01 00 00 00 00 00 00 00");
    Put("02 04", "01 06 00 00 00 00 00 00 00");
    Put("02 05", "01 02 00 00 00 00 00 00 00");
    Put("02 06", "01 01 00 00 00 00 00 00 00");
    Put("02 07", "01 00 00 00 00 00 00 00 00");
    Put("10 00 00 00 00 00 00 00 01",
        "01 02 00 1a 03 02 ed 01 00 00 2a 36 fe 9c 97 17 00 ca c4 71 fe 9c 97 17 00 ca c4 71 fe 9c "
        "97 17 00 00 02 80 20 00 01 00 00 02 00");
    Put("10 00 00 00 00 00 00 00 02",
        "01 01 00 1a 03 02 a4 01 00 ca c4 71 fe 9c 97 17 00 5e fa e8 fe 9c 97 17 00 5e fa e8 fe 9c "
        "97 17 e8 07 64 01 64 00 00 00 01 02 00");
    Put("11 00 00 00 00 00 00 00 01 61", "01 01 02");
    Put("13 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 00", "01 00 01 01 03 01 02 03 00");
    Put("14 00 00 00 00 00 00 00 01", "01 02 00");
    Put("15 00 00 00 01 00 00 00 00 00 00 00 01", "01 01");
    Put("15 00 00 00 02 00 00 00 00 00 00 00 01", "01 01");
    Put("15 00 00 00 03 00 00 00 00 00 00 00 01", "01 01");
    for (char server = '1'; server <= '5'; ++server) {
      const std::string uuid = std::string("server-uuid-000") + server;
      view.rows[ServerKey(ServerId(static_cast<uint32_t>(server - '0')))] =
          Bytes("01 10") + uuid + Bytes("08") + "10.0.0.1" +
          Bytes("58 1b 00 00 00 00 00 00 00 00 05 00 00 00 00 00 00 00 00");
      view.rows[ServerByUuidKey(uuid)] =
          Bytes("01") + std::string(1, static_cast<char>(server - '0')) + std::string(7, '\0');
    }
    session = OpenSession("session-uuid-009");
    now_ns = 1'700'000'010'000'000'000;
  }

  void Put(std::string_view key, std::string_view value) { view.rows[Bytes(key)] = Bytes(value); }
};

TEST_F(OldStateTest, IsWhole) {
  EXPECT_THAT(FindViolations(view), testing::IsEmpty());
  EXPECT_TRUE(CheckFormat(view).ok());
  const InodeRecord file = InodeRow(2);
  EXPECT_EQ(file.size_bytes, 100u);
  EXPECT_EQ(file.rule_id, 0u);
  EXPECT_EQ(file.trash_retention_s, 0u);
  EXPECT_FALSE(file.in_trash());
  EXPECT_TRUE(file.name_hint.empty());
  EXPECT_TRUE(BlockRow(2, 0).stale.empty());
  EXPECT_EQ((*tables().FindServer(ServerId(1)))->state, ServiceState::kInService);
  EXPECT_EQ(*PathOf(view, Inode(2)), "inode 2");
}

TEST_F(OldStateTest, AServerKeepsItsId) {
  EXPECT_EQ(RegisterServer("server-uuid-0003"), 3);
  ASSERT_OK(SetServerState(3, ServiceState::kDraining));
}

TEST_F(OldStateTest, ADeleteTaskIsCarriedOut) {
  Put("18 00 00 00 04 00 00 00 00 00 00 00 01", "01 01");
  auto task = tables().FindDeleteTask(ServerId(4), BlockId(1));
  EXPECT_FALSE((*task)->hold);
  EXPECT_EQ(FinishDeletions(4, 1, 1)->removed, 1);
}

TEST_F(OldStateTest, TheFileLivesOn) {
  ASSERT_OK(Allocate(2, 1));
  ASSERT_OK(Commit(2, {2}, 70 << 20));
  ASSERT_EQ(Reconfigure(1, 1, {1, 2}), 2u);
  EXPECT_EQ(Tasks(1), "3:2h");
  EXPECT_EQ(Note(1, 2, 1, BadReplica::kDamaged), 1);
  ASSERT_OK(SetRetention("/", 60));
  WalkPoliciesToTheEnd();
  ASSERT_OK(Rename(kRoot, "a", kRoot, "b"));
  EXPECT_EQ(*PathOf(view, Inode(2)), "/b");
  ASSERT_OK(Unlink(kRoot, "b"));
  EXPECT_TRUE(InodeRow(2).in_trash());
  ASSERT_OK(RestoreTrash(2));
  EXPECT_EQ(InodeOf(kRoot, "b"), 2);
}

}  // namespace
}  // namespace tercet
