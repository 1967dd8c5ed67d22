// The administrators' calls about chunk servers, disks, repair, balancing, what is lost or wrong,
// policies and the trash: checks against the live servers, then an operation. The calls themselves
// are described in thrift/admin.thrift.
//
// Invariants:
//  - A change of a server's or disk's state is checked and journaled under one lock, so that two
//    changes that are harmless each, but not together, do not both pass.
//  - What would break a policy, or take the last replica of a block, is done with `force` only; the
//    answer names files either way.
//  - Bounded: an examination of a server's replicas takes kMaxExaminationMs; when that was not
//    enough to tell that nothing speaks against a change, that speaks against it. Lists come in
//    pages.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/ops/exposure.h"
#include "metaserver/service/handlers.h"
#include "tercet_thrift/admin_types.h"

namespace tercet {

/// Thread-safe.
class StorageAdmin {
 public:
  /// What `parts` refers to must outlive the object.
  explicit StorageAdmin(const HandlerParts& parts) : parts_(parts) {}

  // storage_admin_servers.cc
  void SetServerState(const wire::SetServerStateRequest& request,
                      wire::SetServerStateResponse* response);
  void SetDiskState(const wire::SetDiskStateRequest& request, wire::SetDiskStateResponse* response);

  // storage_admin_balance.cc
  void SetLimits(const wire::SetLimitsRequest& request, wire::SetLimitsResponse* response);
  void GetRepairStatus(const wire::GetRepairStatusRequest& request,
                       wire::GetRepairStatusResponse* response);
  void PlanBalance(const wire::PlanBalanceRequest& request, wire::PlanBalanceResponse* response);
  void StartBalance(const wire::StartBalanceRequest& request, wire::StartBalanceResponse* response);
  void ControlBalance(const wire::ControlBalanceRequest& request,
                      wire::ControlBalanceResponse* response);
  void GetBalance(const wire::GetBalanceRequest& request, wire::GetBalanceResponse* response);

  // storage_admin_reports.cc
  void GetExposure(const wire::GetExposureRequest& request, wire::GetExposureResponse* response);
  void Fsck(const wire::FsckRequest& request, wire::FsckResponse* response);
  void StartInventory(const wire::StartInventoryRequest& request,
                      wire::StartInventoryResponse* response);
  void GetInventory(const wire::GetInventoryRequest& request, wire::GetInventoryResponse* response);

  // storage_admin_policy.cc
  void GetPolicy(const wire::GetPolicyRequest& request, wire::GetPolicyResponse* response);
  void SetPolicy(const wire::SetPolicyRequest& request, wire::SetPolicyResponse* response);
  void ListTrash(const wire::ListTrashRequest& request, wire::ListTrashResponse* response);
  void RestoreTrash(const wire::RestoreTrashRequest& request, wire::RestoreTrashResponse* response);
  void PurgeTrash(const wire::PurgeTrashRequest& request, wire::PurgeTrashResponse* response);

  /// What GetStatus says about a server beyond its disks: state, labels, load, drain, maintenance.
  /// `replicas`: as the journal counts them.
  void DescribeServer(const ServerState& server, int64_t replicas,
                      wire::ServerStatus* status) const;

  /// For one look at all replicas of a server.
  static constexpr int64_t kMaxExaminationMs = 1'500;
  /// Blocks after which it is enough to know that there are at least so many of them that object.
  static constexpr int64_t kEnoughBlocks = 100'000;
  /// Files that a warning names.
  static constexpr int kMaxWarningFiles = 20;
  /// Ten years.
  static constexpr int64_t kMaxMaintenanceSeconds = int64_t{10} * 366 * 24 * 3600;

 private:
  /// Runs `work`(epoch) and puts its Status and what goes with it into the response.
  template <typename Response, typename Function>
  void Answer(Response* response, const Function& work) {
    const AnswerBasis basis = parts_.proposer.Basis();
    Status status;
    if (basis.epoch.value() != 0) status = work(basis.epoch);
    parts_.proposer.FillInfo(basis, status, &response->info);
  }

  // ---- servers and disks ----
  /// kNotFound, and which there are. Removed ones are not found.
  Result<ServerState> FindServer(int32_t id) const;
  std::set<ServerId> DeadServers() const;
  Status ChangeServer(Epoch epoch, const wire::SetServerStateRequest& request,
                      wire::SetServerStateResponse* response);
  struct Examined {
    int64_t blocks = 0;
    int64_t affected = 0;
    std::vector<wire::FileName> files;  // of affected blocks, at most kMaxWarningFiles
    bool complete = true;               // false: there are more blocks, the counts are lower bounds
  };
  using LookAtRange = std::function<Result<ServerExamination>(const ExaminedRange&, int max_files)>;
  /// Looks at all replicas of a server, range by range.
  Result<Examined> Examine(const LookAtRange& look) const;
  /// Blocks of the server that have no other good replica on a live one.
  Result<Examined> ExamineLastReplicas(const View& view, ServerId server) const;
  static void AddFiles(Examined found, wire::SetServerStateResponse* response);
  /// What speaks against the change goes into the response. False: it may be done without force.
  Result<bool> Objects(const ServerState& server, ServiceState wanted,
                       wire::SetServerStateResponse* response) const;
  Result<bool> ObjectsToDrain(const ServerState& server,
                              wire::SetServerStateResponse* response) const;
  Result<bool> ObjectsToMaintenance(const ServerState& server,
                                    wire::SetServerStateResponse* response) const;
  Result<bool> ObjectsToRemoval(const ServerState& server,
                                wire::SetServerStateResponse* response) const;
  Status ChangeDisk(Epoch epoch, const wire::SetDiskStateRequest& request,
                    wire::SetDiskStateResponse* response);
  Result<bool> ObjectsToDisk(const ServerState& server, const DiskState& disk,
                             DiskCommandState wanted, std::vector<std::string>* warnings) const;
  /// The table takes over what is journaled, and the engine hears of it.
  Status NoticeStates();

  // ---- balance ----
  Status StartPlanned(Epoch epoch, const wire::StartBalanceRequest& request);
  Status ControlRun(Epoch epoch, wire::BalanceAction::type action);
  Status FillBalance(wire::GetBalanceResponse* response) const;

  // ---- reports ----
  Result<std::set<ServerId>> ResolveServers(const wire::GetExposureRequest& request) const;
  void DescribeDrain(const ServerState& server, int64_t replicas, int64_t now_ns,
                     wire::ServerStatus* status) const;
  Status QueueForRepair(Epoch epoch, const std::vector<std::pair<BlockId, bool>>& blocks);

  // ---- policies, trash ----
  Status CheckPolicyFits(const wire::SetPolicyRequest& request) const;
  Status Purge(Epoch epoch, const wire::PurgeTrashRequest& request,
               wire::PurgeTrashResponse* response);

  const HandlerParts parts_;
  std::mutex change_mutex_;  // held over checks and the operation that follows
};

}  // namespace tercet
