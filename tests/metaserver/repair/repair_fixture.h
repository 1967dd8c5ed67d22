// The active's services over a fake consensus, and chunk servers with real stores and data planes
// in this process. The repair manager's threads are the test's own: Step and WorkOnce.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "metaserver/ops/replica_operations.h"
#include "tests/chunkserver/replication/test_chain.h"
#include "tests/metaserver/service/service_fixture.h"

namespace tercet {

class RepairTest : public ServiceTest {
 protected:
  using TestServer = testing_support::TestServer;
  using RawClient = testing_support::RawClient;

  void TearDown() override {
    chunk_servers_.clear();
    ServiceTest::TearDown();
  }

  /// A heartbeat of a server with one disk of 1 MiB, of which replicas take so much.
  void ReportUsed(ServerId id, int64_t used, int64_t incarnation = 1) {
    wire::HeartbeatRequest request;
    request.server_id = static_cast<int32_t>(id.value());
    request.incarnation = incarnation;
    request.disks = RegisterRequest(1).disks;
    request.disks[0].total_bytes = 1 << 20;
    request.disks[0].available_bytes = 900 << 10;
    request.disks[0].replica_bytes = used;
    wire::HeartbeatResponse response;
    registry_->Heartbeat(response, request);
    ASSERT_EQ(response.info.status.code, 0);
  }

  /// Servers with the ids 1 to `count`; the first three hold block 0 of a new file.
  void MakeCluster(int count, size_t block_bytes = 64 << 10) {
    for (int i = 1; i <= 3; ++i) AddServer(i);
    session_ = OpenSession();
    ASSERT_NO_FATAL_FAILURE(MakeFile("f", block_bytes));
    for (int i = 4; i <= count; ++i) AddServer(i);
  }

  /// What inode_, block_ and contents_ say from now on.
  void MakeFile(const std::string& name, size_t block_bytes) {
    inode_ = CreateOk(session_, name);
    wire::AllocateBlockRequest request;
    request.context = Context(session_);
    request.inode = inode_;
    wire::AllocateBlockResponse response;
    metadata_->AllocateBlock(response, request);
    ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
    block_ = BlockId(static_cast<uint64_t>(response.block.block_id));
    contents_ = testing_support::Pattern(7, block_bytes);
    ASSERT_TRUE(Write(0, contents_, true).ok());
    wire::CommitWriteRequest commit;
    commit.context = Context(session_);
    commit.inode = inode_;
    commit.written_blocks = {response.block.block_id};
    commit.end_offset = static_cast<int64_t>(block_bytes);
    wire::CommitWriteResponse committed;
    metadata_->CommitWrite(committed, commit);
    ASSERT_EQ(committed.info.status.code, 0) << committed.info.status.message;
  }

  void AddServer(int number) {
    const ServerId id(static_cast<uint32_t>(number));
    chunk_servers_[id] = std::make_unique<TestServer>(id, DataPlaneOptions());
    RegisterServer(id, chunk_servers_[id]->port());
  }
  void RegisterServer(ServerId id, uint16_t port, int64_t incarnation = 1) {
    auto response = Register(RegisterRequest(static_cast<int>(id.value()), incarnation, port));
    ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
    ASSERT_EQ(response.server_id, static_cast<int32_t>(id.value()));
  }
  TestServer& Server(ServerId id) { return *chunk_servers_.at(id); }

  FileBlockRecord Row() {
    auto row = tables().FindFileBlock(InodeId(static_cast<uint64_t>(inode_)), 0);
    EXPECT_TRUE(row.ok() && *row);
    return row.ok() && *row ? **row : FileBlockRecord();
  }

  /// Through the chain that the journal names, `create` while it is reserved.
  Status Write(uint32_t offset, std::string_view data, bool create = false) {
    const FileBlockRecord row = Row();
    testing_support::WriteSpec spec;
    spec.block = row.block;
    spec.generation = row.generation;
    spec.create = create;
    for (size_t i = 1; i < row.chain.size(); ++i) {
      spec.downstream.push_back(Server(row.chain[i]).hop());
    }
    RawClient client(Server(row.chain[0]));
    Status status;
    for (size_t at = 0; at < data.size() && status.ok(); at += 1 << 20) {
      spec.offset = offset + static_cast<uint32_t>(at);
      spec.data = data.substr(at, 1 << 20);
      status = client.Write(spec).status;
    }
    return status;
  }

  /// A write that reached the head only; what the head has then.
  std::string WriteToHeadOnly() {
    const FileBlockRecord row = Row();
    testing_support::WriteSpec spec;
    spec.block = block_;
    spec.generation = row.generation;
    spec.offset = 4096;
    const std::string more = testing_support::Pattern(9, 8192);
    spec.data = more;
    EXPECT_TRUE(RawClient(Server(row.chain[0])).Write(spec).status.ok());
    std::string torn = contents_;
    torn.replace(4096, more.size(), more);
    return torn;
  }

  /// As a heartbeat would.
  void NoteBad(ServerId server, BadReplica reason) {
    const BadReplicaNote note{block_, Row().generation, server, static_cast<uint8_t>(reason)};
    ASSERT_TRUE(
        services_->proposer()
            .Propose(services_->proposer().epoch(), "note",
                     [&](OperationContext& context) {
                       return EvaluateNoteBadReplicas(context, std::span(&note, 1)).status();
                     })
            .ok());
  }

  wire::RecoverBlockResponse Recover(std::vector<ServerId> failed, StatusCode failure,
                                     bool has_data = true) {
    const FileBlockRecord row = Row();
    wire::RecoverBlockRequest request;
    request.session_id = session_;
    request.inode = inode_;
    request.block_id = static_cast<int64_t>(row.block.value());
    request.generation = static_cast<int64_t>(row.generation.value());
    for (const ServerId server : failed) {
      request.failed_servers.push_back(static_cast<int32_t>(server.value()));
    }
    request.failure = static_cast<int32_t>(failure);
    request.has_data = has_data;
    wire::RecoverBlockResponse response;
    metadata_->RecoverBlock(response, request);
    return response;
  }

  void Kill(ServerId id) {
    Server(id).StopAll();
    killed_.insert(id);
  }
  /// All that were not killed send heartbeats meanwhile.
  void PassTime(int64_t ms) {
    while (ms > 0) {
      Advance(std::min<int64_t>(ms, 1000));
      ms -= 1000;
      for (const auto& [id, server] : chunk_servers_) {
        if (!killed_.contains(id)) Beat(id);
      }
    }
  }
  wire::HeartbeatResponse Beat(ServerId id) {
    return Heartbeat(static_cast<int32_t>(id.value()),
                     incarnations_.contains(id) ? incarnations_[id] : 1);
  }
  /// Scans and works until nothing can be done now.
  void Repair() {
    for (int i = 0; i < 50; ++i) {
      PassTime(100);
      services_->repair().NoticeStates();
      while (services_->repair().Step()) {
      }
      while (services_->repair().WorkOnce()) {
      }
    }
  }

  void Change(const char* what, const std::function<Status(OperationContext&)>& change) {
    const Status status =
        services_->proposer().Propose(services_->proposer().epoch(), what, change);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void SetState(ServerId server, ServiceState state) {
    Change("server state", [&](OperationContext& context) {
      const int64_t until_ns = context.now_ns + int64_t{3'600'000} * 1'000'000;
      return EvaluateSetServerState(context, server, state,
                                    state == ServiceState::kMaintenance ? until_ns : 0, 1);
    });
    ASSERT_TRUE(services_->registry().RefreshKnown().ok());
  }
  /// Scans, and does nothing.
  void Look() {
    PassTime(1000);
    services_->repair().NoticeStates();
    while (services_->repair().Step()) {
    }
  }
  /// Blocks of the class in the queue.
  int64_t Queued(const std::string& repair_class) {
    for (const RepairClassReport& entry : services_->repair().Report().queue) {
      if (entry.name == repair_class) return entry.blocks;
    }
    return 0;
  }

  void ExpectWhole(size_t replicas, const std::string& contents) {
    const FileBlockRecord row = Row();
    ASSERT_EQ(row.chain.size(), replicas);
    for (const ServerId server : row.chain) {
      EXPECT_EQ(Server(server).Contents(block_, row.generation), contents)
          << "server " << server.value();
      const auto replica = tables().FindReplica(server, block_);
      EXPECT_TRUE(replica.ok() && *replica && (*replica)->generation == row.generation);
    }
    const auto repair = tables().FindRepair(block_);
    ASSERT_TRUE(repair.ok());
    EXPECT_FALSE(*repair) << "reasons " << static_cast<int>((*repair)->reasons);
  }

  std::map<ServerId, std::unique_ptr<TestServer>> chunk_servers_;
  std::map<ServerId, int64_t> incarnations_;
  std::set<ServerId> killed_;
  int64_t session_ = 0;
  int64_t inode_ = 0;
  BlockId block_;
  std::string contents_;
};

}  // namespace tercet
