// The active's services over a real database, a fake consensus and a clock that stands still. No
// threads but the test's own.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/env/clock.h"
#include "common/env/random.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/service/active_services.h"
#include "metaserver/service/handlers.h"
#include "tests/metaserver/service/fake_consensus.h"

namespace tercet {

inline const std::string kClusterId = "cluster-id-16byt";

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    path_ = testing::TempDir() + "tercet-" + info->test_suite_name() + "-" + info->name() + "-" +
            std::to_string(getpid());
    std::filesystem::remove_all(path_);
    options_.registry.max_tasks_per_heartbeat = 3;
    Open();
    ASSERT_TRUE(services_->BecomeActive(consensus_->state().epoch).ok());
    ASSERT_TRUE(services_->Format(kClusterId, 1 << 20, 3, 2).ok());
  }
  void TearDown() override {
    Close();
    std::filesystem::remove_all(path_);
  }

  void Open() {
    DatabaseOptions options;
    options.path = path_;
    auto database = Database::Open(options);
    ASSERT_TRUE(database.ok()) << database.status().ToString();
    database_ = std::move(database).value();
    consensus_ = std::make_unique<FakeConsensus>(*database_);
    services_ =
        std::make_unique<ActiveServices>(options_, *consensus_, *database_, clock_, random_);
    parts_ = std::make_unique<HandlerParts>(services_->Parts());
    metadata_ = MakeMetadataHandler(*parts_);
    registry_ = MakeRegistryHandler(*parts_);
    snapshots_ = std::make_unique<StateSnapshots>(
        *database_, clock_, random_, /*group_id=*/7,
        [](JournalIndex) { return std::pair(JournalIndex(), Membership()); });
    AdminParts admin(clock_);
    admin.state = parts_.get();
    admin.snapshots = snapshots_.get();
    admin.address = "meta:9400";
    admin.version = "test";
    admin_ = MakeAdminHandler(admin);
  }
  void Close() {
    metadata_.reset();
    registry_.reset();
    admin_.reset();
    snapshots_.reset();
    parts_.reset();
    services_.reset();
    consensus_.reset();
    database_.reset();
  }
  /// A new process on the same state: nothing that was not committed is left.
  void Restart() {
    Close();
    Open();
    ASSERT_TRUE(services_->BecomeActive(consensus_->state().epoch).ok());
  }
  void Advance(int64_t ms) { clock_.Advance(std::chrono::milliseconds(ms)); }

  int64_t OpenSession(const std::string& uuid = "client-uuid-0001") {
    wire::OpenSessionRequest request;
    request.client_uuid = uuid;
    request.host_name = "host";
    request.mount_point = "/mnt";
    wire::OpenSessionResponse response;
    metadata_->OpenSession(response, request);
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return response.session_id;
  }

  wire::MutationContext Context(int64_t session, int32_t slot = 0) {
    wire::MutationContext context;
    context.session_id = session;
    context.slot = slot;
    context.sequence = ++sequence_;
    return context;
  }

  wire::CreateFileRequest CreateRequest(int64_t session, const std::string& name) {
    wire::CreateFileRequest request;
    request.context = Context(session);
    request.parent = 1;
    request.name = name;
    request.mode = 0644;
    request.exclusive = true;
    return request;
  }
  wire::CreateFileResponse Create(const wire::CreateFileRequest& request) {
    wire::CreateFileResponse response;
    metadata_->CreateFile(response, request);
    return response;
  }
  int64_t CreateOk(int64_t session, const std::string& name) {
    auto response = Create(CreateRequest(session, name));
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return response.attributes.inode;
  }
  int32_t Unlink(int64_t session, const std::string& name) {
    wire::UnlinkRequest request;
    request.context = Context(session);
    request.parent = 1;
    request.name = name;
    wire::UnlinkResponse response;
    metadata_->Unlink(response, request);
    return response.info.status.code;
  }
  int32_t LookupCode(const std::string& name) {
    wire::LookupRequest request;
    request.parent = 1;
    request.name = name;
    wire::LookupResponse response;
    metadata_->Lookup(response, request);
    return response.info.status.code;
  }
  wire::RenewSessionResponse Renew(int64_t session, std::vector<int64_t> released = {}) {
    wire::RenewSessionRequest request;
    request.session_id = session;
    request.released = std::move(released);
    wire::RenewSessionResponse response;
    metadata_->RenewSession(response, request);
    return response;
  }

  wire::RegisterServerRequest RegisterRequest(int number, int64_t incarnation = 1, int port = 0) {
    wire::RegisterServerRequest request;
    request.server_uuid = "server-uuid-000" + std::to_string(number);
    request.cluster_id = kClusterId;
    request.incarnation = incarnation;
    request.host = "127.0.0.1";
    request.port = port != 0 ? port : 7000 + number;
    request.version = "test";
    request.disks.emplace_back();
    request.disks[0].total_bytes = int64_t{100} << 30;
    request.disks[0].available_bytes = int64_t{50} << 30;
    return request;
  }
  wire::RegisterServerResponse Register(const wire::RegisterServerRequest& request) {
    wire::RegisterServerResponse response;
    registry_->RegisterServer(response, request);
    return response;
  }
  int32_t RegisterOk(int number, int64_t incarnation = 1) {
    auto response = Register(RegisterRequest(number, incarnation));
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return response.server_id;
  }
  wire::HeartbeatResponse Heartbeat(int32_t server, int64_t incarnation = 1,
                                    std::vector<wire::DeleteReplicaTask> deleted = {}) {
    wire::HeartbeatRequest request;
    request.server_id = server;
    request.incarnation = incarnation;
    request.disks = RegisterRequest(1).disks;
    request.deleted = std::move(deleted);
    wire::HeartbeatResponse response;
    registry_->Heartbeat(response, request);
    return response;
  }

  /// A file of `blocks` committed blocks; returns their ids.
  std::vector<int64_t> WriteFile(int64_t session, int64_t inode, int blocks) {
    wire::CommitWriteRequest commit;
    for (int i = 0; i < blocks; ++i) {
      wire::AllocateBlockRequest request;
      request.context = Context(session);
      request.inode = inode;
      request.block_index = i;
      wire::AllocateBlockResponse response;
      metadata_->AllocateBlock(response, request);
      EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
      commit.written_blocks.push_back(response.block.block_id);
    }
    commit.context = Context(session);
    commit.inode = inode;
    commit.end_offset = int64_t{blocks} << 20;
    wire::CommitWriteResponse response;
    metadata_->CommitWrite(response, commit);
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return commit.written_blocks;
  }

  Tables tables() const { return Tables(database_->committed()); }

  std::string path_;
  ServiceOptions options_;
  SimClock clock_;
  SeededRandom random_{1};
  int64_t sequence_ = 0;
  std::unique_ptr<Database> database_;
  std::unique_ptr<FakeConsensus> consensus_;
  std::unique_ptr<ActiveServices> services_;
  std::unique_ptr<HandlerParts> parts_;
  std::unique_ptr<StateSnapshots> snapshots_;
  std::shared_ptr<wire::MetadataServiceIf> metadata_;
  std::shared_ptr<wire::RegistryServiceIf> registry_;
  std::shared_ptr<wire::AdminServiceIf> admin_;
};

inline int32_t Code(StatusCode code) { return static_cast<int32_t>(code); }

}  // namespace tercet
