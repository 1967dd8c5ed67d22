// The administrators' calls over the active's services, with a repair engine and inventories that
// only note what they are told.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "metaserver/repair/control.h"
#include "tests/metaserver/service/service_fixture.h"

namespace tercet {

class NotingRepair final : public RepairControl {
 public:
  RepairReport Report() const override { return report; }
  DrainReport Drain(ServerId) const override { return {drain_bytes_per_second}; }
  BalanceRunReport Balance() const override { return balance; }
  void NoticeBlocks(const std::vector<BlockId>& blocks) override {
    noticed.insert(noticed.end(), blocks.begin(), blocks.end());
  }
  void NoticeStates() override { ++state_notices; }

  RepairReport report;
  int64_t drain_bytes_per_second = 0;
  BalanceRunReport balance;
  std::vector<BlockId> noticed;
  int state_notices = 0;
};

class NotingInventory final : public InventoryControl {
 public:
  Result<int64_t> StartInventory() override { return int64_t{77}; }
  Result<InventoryReport> GetInventory(int64_t id) const override {
    if (id != 77) return Status(StatusCode::kNotFound, "no such inventory");
    return InventoryReport{{ServerId(1)}, {ServerId(2), ServerId(3)}};
  }
  std::vector<UnknownReplica> UnknownReplicas(size_t max) const override {
    return {unknown.begin(), unknown.begin() + static_cast<long>(std::min(max, unknown.size()))};
  }

  std::vector<UnknownReplica> unknown;
};

class StorageAdminTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    PlugIn();
  }
  /// After Open: the admin handler with what notes.
  void PlugIn() {
    storage_parts_ = std::make_unique<HandlerParts>(*parts_);
    storage_parts_->repair = &repair_;
    storage_parts_->inventory = &inventory_;
    AdminParts admin(clock_);
    admin.state = storage_parts_.get();
    admin.address = "meta:9400";
    admin.version = "test";
    admin_ = MakeAdminHandler(admin);
  }

  /// A server with one disk of 100 GiB, identity "disk-NUMBER".
  void AddServer(int number, std::map<std::string, std::string> labels = {},
                 int64_t replica_bytes = 0) {
    servers_[number] = {std::move(labels), replica_bytes, int64_t{50} << 30};
    wire::RegisterServerRequest request = RegisterRequest(number);
    request.labels = servers_[number].labels;
    request.disks = DisksOf(number);
    const auto response = Register(request);
    ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
    ASSERT_EQ(response.server_id, number) << "the tests count on ids in order";
  }
  std::vector<wire::DiskReport> DisksOf(int number) {
    wire::DiskReport disk;
    disk.disk_uuid = "disk-uuid-0000-" + std::to_string(number);
    disk.path = "/disks/" + std::to_string(number);
    disk.total_bytes = int64_t{100} << 30;
    disk.available_bytes = servers_[number].available_bytes;
    disk.replica_bytes = servers_[number].replica_bytes;
    disk.replica_count = servers_[number].replica_bytes >> 20;
    return {disk};
  }
  void Beat(int number) { Beat(number, DisksOf(number)); }
  void BeatWithSecondDisk(int number) {
    std::vector<wire::DiskReport> disks = DisksOf(number);
    disks.push_back(disks[0]);
    disks[1].disk_uuid = "another-disk-16b";
    disks[1].path += "b";
    Beat(number, disks);
  }
  void Beat(int number, const std::vector<wire::DiskReport>& disks) {
    wire::HeartbeatRequest request;
    request.server_id = number;
    request.incarnation = 1;
    request.disks = disks;
    wire::HeartbeatResponse response;
    registry_->Heartbeat(response, request);
    ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
    ASSERT_FALSE(response.register_again);
  }
  /// These live on, the others die.
  void LetDie(std::vector<int> living) {
    Advance(3000);
    for (int number : living) Beat(number);
    Advance(3000);
  }

  /// A file with blocks on the servers that are there.
  std::vector<int64_t> MakeFile(const std::string& name, int blocks) {
    if (session_ == 0) session_ = OpenSession();
    return WriteFile(session_, CreateOk(session_, name), blocks);
  }

  wire::SetServerStateResponse SetState(int32_t server, wire::ServiceState::type state,
                                        bool force = false, int64_t maintenance_s = 0) {
    wire::SetServerStateRequest request;
    request.server_id = server;
    request.state = state;
    request.force = force;
    request.maintenance_s = maintenance_s;
    wire::SetServerStateResponse response;
    admin_->SetServerState(response, request);
    return response;
  }
  wire::SetDiskStateResponse SetDisk(int32_t server, const std::string& path,
                                     wire::DiskState::type state, bool force = false) {
    wire::SetDiskStateRequest request;
    request.server_id = server;
    request.path = path;
    request.state = state;
    request.force = force;
    wire::SetDiskStateResponse response;
    admin_->SetDiskState(response, request);
    return response;
  }
  wire::ServerStatus StatusOf(int32_t server) {
    wire::GetStatusResponse response;
    admin_->GetStatus(response, {});
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    for (const auto& status : response.servers) {
      if (status.server_id == server) return status;
    }
    ADD_FAILURE() << "no server " << server;
    return {};
  }
  wire::SetPolicyResponse SetPolicy(const wire::SetPolicyRequest& request) {
    wire::SetPolicyResponse response;
    admin_->SetPolicy(response, request);
    return response;
  }

  /// The call failed like this, and says that.
  template <typename Response>
  static testing::AssertionResult Refused(const Response& response, StatusCode code,
                                          const std::string& text) {
    const wire::WireStatus& status = response.info.status;
    if (status.code == Code(code) && status.message.find(text) != std::string::npos) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << "code " << status.code << ": " << status.message;
  }
  template <typename Response>
  static testing::AssertionResult Ok(const Response& response) {
    if (response.info.status.code == 0) return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << "code " << response.info.status.code << ": " << response.info.status.message;
  }

  struct ServerFigures {
    std::map<std::string, std::string> labels;
    int64_t replica_bytes = 0;
    int64_t available_bytes = 0;
  };
  std::map<int, ServerFigures> servers_;
  NotingRepair repair_;
  NotingInventory inventory_;
  std::unique_ptr<HandlerParts> storage_parts_;
  int64_t session_ = 0;
};

}  // namespace tercet
