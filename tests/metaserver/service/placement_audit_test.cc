#include "metaserver/service/placement_audit.h"

#include "tests/metaserver/service/storage_admin_fixture.h"

namespace tercet {
namespace {

class PlacementAuditTest : public StorageAdminTest {
 protected:
  /// Servers 1 to 4 in racks a, b, c and c, and a file that wants to be in different racks.
  void Prepare() {
    const char* racks[] = {"a", "b", "c", "c"};
    for (int number : {1, 2, 3, 4}) AddServer(number, {{"rack", racks[number - 1]}});
    wire::SetPolicyRequest policy;
    policy.path = "/";
    policy.__set_domain("rack");
    ASSERT_TRUE(Ok(SetPolicy(policy)));
    blocks_ = MakeFile("a", 6);
    Renew();
    Audit();
  }
  void Renew() {
    audit_ = std::make_unique<PlacementAudit>(services_->proposer(), services_->servers(), repair_,
                                              clock_);
  }
  /// Steps until there is nothing more to do.
  void Audit() {
    for (int step = 0; step < 100; ++step) {
      const auto more = audit_->Step(services_->proposer().epoch());
      ASSERT_TRUE(more.ok()) << more.status().ToString();
      if (!*more) return;
    }
    FAIL() << "it does not end";
  }
  void PassTime(int64_t ms) {
    for (; ms > 0; ms -= 2000) {
      Advance(2000);
      for (const auto& [number, figures] : servers_) Beat(number);
    }
  }
  void Relabel(int number, const std::string& rack) {
    wire::RegisterServerRequest request = RegisterRequest(number);
    request.labels = {{"rack", rack}};
    request.disks = DisksOf(number);
    ASSERT_TRUE(Ok(Register(request)));
  }
  std::set<int64_t> Misplaced() const {
    std::set<int64_t> found;
    EXPECT_TRUE(tables()
                    .ScanRepairs(BlockId(),
                                 [&](BlockId block, const RepairRecord& record) {
                                   if ((record.reasons & kRepairMisplaced) != 0) {
                                     found.insert(static_cast<int64_t>(block.value()));
                                   }
                                   return true;
                                 })
                    .ok());
    return found;
  }
  std::set<int64_t> All() const { return {blocks_.begin(), blocks_.end()}; }

  std::vector<int64_t> blocks_;
  std::unique_ptr<PlacementAudit> audit_;
};

TEST_F(PlacementAuditTest, ChangedLabelsMakeBlocksMisplaced) {
  Prepare();
  EXPECT_TRUE(Misplaced().empty());
  // All in a, b and c: with 1 in rack b there are two in b, until 5 comes in rack a.
  Relabel(1, "b");
  PassTime(10'000);
  Audit();
  EXPECT_TRUE(Misplaced().empty()) << "there is no better place";
  AddServer(5, {{"rack", "a"}});
  Audit();
  EXPECT_TRUE(Misplaced().empty()) << "not so soon after the last look";
  PassTime(10'000);
  Audit();
  EXPECT_EQ(Misplaced(), All());
  EXPECT_EQ(std::set<BlockId>(repair_.noticed.begin(), repair_.noticed.end()).size(), 6u);
}

TEST_F(PlacementAuditTest, AnotherActiveLooksForWhatTheLastOneDidNotFind) {
  Prepare();
  Relabel(1, "b");
  AddServer(5, {{"rack", "a"}});
  Restart();
  PlugIn();
  Renew();
  Audit();
  EXPECT_TRUE(Misplaced().empty()) << "the servers were not heard of yet";
  for (int number : {1, 2, 3, 4, 5}) Beat(number);
  Audit();
  EXPECT_EQ(Misplaced(), All());
}

TEST_F(PlacementAuditTest, WhoComesBackIsAPlaceAgain) {
  Prepare();
  AddServer(5, {{"rack", "a"}});
  LetDie({1, 2, 3, 4});
  servers_.erase(5);
  for (int number : {1, 2, 3, 4}) Beat(number);
  Relabel(1, "b");
  PassTime(10'000);
  Audit();
  EXPECT_TRUE(Misplaced().empty());
  AddServer(5, {{"rack", "a"}});
  PassTime(10'000);
  Audit();
  EXPECT_EQ(Misplaced(), All());
}

TEST_F(PlacementAuditTest, NothingIsDoneWithoutARule) {
  for (int number : {1, 2, 3}) AddServer(number, {{"rack", "a"}});
  MakeFile("a", 3);
  Renew();
  Audit();
  AddServer(4, {{"rack", "b"}});
  PassTime(10'000);
  Audit();
  EXPECT_TRUE(Misplaced().empty());
  EXPECT_TRUE(repair_.noticed.empty());
}

}  // namespace
}  // namespace tercet
