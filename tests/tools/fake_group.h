// Members of a metadata group that say what a test tells them to.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/rpc/thrift_server.h"
#include "tercet_thrift/AdminService.h"

namespace tercet {

/// The state that all fake members share. Guarded by `mutex`.
struct FakeGroupState {
  std::mutex mutex;
  std::string cluster_id = std::string(16, '\x07');
  int64_t group_id = 77;
  int32_t active_id = 0;
  int64_t epoch = 3;
  std::vector<wire::GroupMember> members;
  std::vector<HostPort> alive_servers;
  int32_t next_id = 1;
  int transfers = 0;
  int additions = 0;
};

/// The admin service of one member; its id is looked up by its address at each call.
class FakeMember final : public wire::AdminServiceNull {
 public:
  explicit FakeMember(std::shared_ptr<FakeGroupState> state) : state_(std::move(state)) {}
  /// Before anybody knows it.
  void SetAddress(const std::string& address) { address_ = address; }

  void GetStatus(wire::GetStatusResponse& response, const wire::GetStatusRequest&) override {
    std::lock_guard lock(state_->mutex);
    if (!Active(&response.info)) return;
    for (const HostPort& address : state_->alive_servers) {
      wire::ServerStatus server;
      server.host = address.host;
      server.port = address.port;
      server.alive = true;
      server.last_heartbeat_ms = 0;
      response.servers.push_back(server);
    }
  }

  void GetGroupStatus(wire::GetGroupStatusResponse& response,
                      const wire::GetGroupStatusRequest&) override {
    std::lock_guard lock(state_->mutex);
    response.version = "test";
    const wire::GroupMember* own = Own();
    if (own == nullptr) return;
    response.cluster_id = state_->cluster_id;
    response.group_id = state_->group_id;
    response.member_id = own->member_id;
    response.leader_id = state_->active_id;
    response.members = state_->members;
    response.commit_index = response.last_index = 10;
    response.election_timeout_ms = 400;
    if (own->member_id == state_->active_id) response.lease_ms = 250;
  }

  void AddMember(wire::AddMemberResponse& response,
                 const wire::AddMemberRequest& request) override {
    std::lock_guard lock(state_->mutex);
    if (!Active(&response.info)) return;
    ++state_->additions;
    response.member_id = Add(state_.get(), request.address, request.witness);
  }

  void TransferActive(wire::TransferActiveResponse& response,
                      const wire::TransferActiveRequest& request) override {
    std::lock_guard lock(state_->mutex);
    if (!Active(&response.info)) return;
    ++state_->transfers;
    for (wire::GroupMember& member : state_->members) {
      if (member.witness || member.member_id == state_->active_id) continue;
      if (request.member_id != 0 && request.member_id != member.member_id) continue;
      response.target_id = member.member_id;
    }
    MakeActive(state_.get(), response.target_id);
  }

  /// The members' lines as they are when all is well.
  static int32_t Add(FakeGroupState* state, const std::string& address, bool witness) {
    wire::GroupMember member;
    member.member_id = state->next_id++;
    member.address = address;
    member.witness = witness;
    member.voter = true;
    member.role = witness ? "witness" : "standby";
    member.epoch = state->epoch;
    member.journal_index = member.applied_index = 10;
    member.last_contact_ms = 5;
    state->members.push_back(member);
    return member.member_id;
  }
  static void MakeActive(FakeGroupState* state, int32_t id) {
    state->active_id = id;
    ++state->epoch;
    for (wire::GroupMember& member : state->members) {
      member.epoch = state->epoch;
      if (!member.witness) member.role = member.member_id == id ? "active" : "standby";
    }
  }

 private:
  const wire::GroupMember* Own() const {
    for (const wire::GroupMember& member : state_->members) {
      if (member.address == address_) return &member;
    }
    return nullptr;
  }
  bool Active(wire::ReplyInfo* info) const {
    const wire::GroupMember* own = Own();
    if (own != nullptr && own->member_id == state_->active_id) return true;
    info->status.code = static_cast<int32_t>(StatusCode::kNotActive);
    info->status.message = "not the active one";
    for (const wire::GroupMember& member : state_->members) {
      if (member.member_id == state_->active_id) info->__set_active_hint(member.address);
    }
    return false;
  }

  const std::shared_ptr<FakeGroupState> state_;
  std::string address_;
};

/// Serves a member at `address` (port 0: any free one, which `address` then gets).
inline std::unique_ptr<ThriftServer> ServeFakeMember(std::shared_ptr<FakeGroupState> state,
                                                     HostPort* address) {
  ThriftServerOptions options;
  options.listen = *address;
  auto handler = std::make_shared<FakeMember>(std::move(state));
  auto server = ThriftServer::Start(
      options, {{"admin", std::make_shared<wire::AdminServiceProcessor>(handler)}});
  EXPECT_TRUE(server.ok()) << server.status().ToString();
  if (!server.ok()) return nullptr;
  address->port = (*server)->port();
  handler->SetAddress(address->ToString());
  return std::move(*server);
}

}  // namespace tercet
