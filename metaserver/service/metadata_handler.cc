#include <algorithm>
#include <set>
#include <vector>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/attributes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/reads.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/repair/block_recovery.h"
#include "metaserver/repair/repair_metrics.h"
#include "metaserver/service/handlers.h"
#include "metaserver/service/timed_call.h"

namespace tercet {
namespace {

/// Bad replicas and servers that are looked at in one call.
constexpr size_t kMaxReportedReplicas = 256;
constexpr size_t kMaxNamedServers = 64;

std::vector<ServerId> ServersFromWire(const std::vector<int32_t>& ids) {
  std::vector<ServerId> servers;
  for (const int32_t id : ids) {
    if (servers.size() == kMaxNamedServers) break;
    servers.emplace_back(static_cast<uint32_t>(id));
  }
  return servers;
}

class MetadataHandler final : public wire::MetadataServiceIf {
 public:
  explicit MetadataHandler(const HandlerParts& parts) : parts_(parts) {}

  void FindActive(wire::FindActiveResponse& response, const wire::FindActiveRequest&) override {
    static OperationMetrics metrics("FindActive");
    TimedCall timed(metrics, response.info);
    parts_.proposer.FillInfo(parts_.proposer.Basis(), Status::Ok(), &response.info);
  }
  void OpenSession(wire::OpenSessionResponse& response,
                   const wire::OpenSessionRequest& request) override {
    static OperationMetrics metrics("OpenSession");
    TimedCall timed(metrics, response.info);
    parts_.sessions.Open(request, &response);
  }
  void RenewSession(wire::RenewSessionResponse& response,
                    const wire::RenewSessionRequest& request) override {
    static OperationMetrics metrics("RenewSession");
    TimedCall timed(metrics, response.info);
    parts_.sessions.Renew(request, &response);
  }
  void CloseSession(wire::CloseSessionResponse& response,
                    const wire::CloseSessionRequest& request) override {
    static OperationMetrics metrics("CloseSession");
    TimedCall timed(metrics, response.info);
    parts_.sessions.Close(request, &response);
  }

  void Lookup(wire::LookupResponse& response, const wire::LookupRequest& request) override {
    Read<tercet::Lookup>("Lookup", request, &response);
  }
  void GetAttributes(wire::GetAttributesResponse& response,
                     const wire::GetAttributesRequest& request) override {
    Read<tercet::GetAttributes>("GetAttributes", request, &response);
  }
  void ReadLink(wire::ReadLinkResponse& response, const wire::ReadLinkRequest& request) override {
    Read<tercet::ReadLink>("ReadLink", request, &response);
  }
  void ReadDirectory(wire::ReadDirectoryResponse& response,
                     const wire::ReadDirectoryRequest& request) override {
    Read<tercet::ReadDirectory>("ReadDirectory", request, &response);
  }
  void OpenFile(wire::OpenFileResponse& response, const wire::OpenFileRequest& request) override {
    Read<tercet::OpenFile>("OpenFile", request, &response);
  }
  void GetBlocks(wire::GetBlocksResponse& response,
                 const wire::GetBlocksRequest& request) override {
    Read<tercet::GetBlocks>("GetBlocks", request, &response);
  }
  void GetXattr(wire::GetXattrResponse& response, const wire::GetXattrRequest& request) override {
    Read<tercet::GetXattr>("GetXattr", request, &response);
  }
  void ListXattr(wire::ListXattrResponse& response,
                 const wire::ListXattrRequest& request) override {
    Read<tercet::ListXattr>("ListXattr", request, &response);
  }
  void StatFileSystem(wire::StatFileSystemResponse& response,
                      const wire::StatFileSystemRequest&) override {
    static OperationMetrics metrics("StatFileSystem");
    TimedCall timed(metrics, response.info);
    const AnswerBasis basis = parts_.proposer.Basis();
    parts_.proposer.FillInfo(basis, FillSpace(&response), &response.info);
  }

  void CreateFile(wire::CreateFileResponse& response,
                  const wire::CreateFileRequest& request) override {
    Mutate<EvaluateCreateFile>("CreateFile", request, &response);
  }
  void MakeNode(wire::MakeNodeResponse& response, const wire::MakeNodeRequest& request) override {
    Mutate<EvaluateMakeNode>("MakeNode", request, &response);
  }
  void Link(wire::LinkResponse& response, const wire::LinkRequest& request) override {
    Mutate<EvaluateLink>("Link", request, &response);
  }
  void Unlink(wire::UnlinkResponse& response, const wire::UnlinkRequest& request) override {
    Mutate<EvaluateUnlink>("Unlink", request, &response);
  }
  void RemoveDirectory(wire::RemoveDirectoryResponse& response,
                       const wire::RemoveDirectoryRequest& request) override {
    Mutate<EvaluateRemoveDirectory>("RemoveDirectory", request, &response);
  }
  void Rename(wire::RenameResponse& response, const wire::RenameRequest& request) override {
    Mutate<EvaluateRename>("Rename", request, &response);
  }
  void SetAttributes(wire::SetAttributesResponse& response,
                     const wire::SetAttributesRequest& request) override {
    Mutate<EvaluateSetAttributes>("SetAttributes", request, &response);
  }
  void SetXattr(wire::SetXattrResponse& response, const wire::SetXattrRequest& request) override {
    Mutate<EvaluateSetXattr>("SetXattr", request, &response);
  }
  void RemoveXattr(wire::RemoveXattrResponse& response,
                   const wire::RemoveXattrRequest& request) override {
    Mutate<EvaluateRemoveXattr>("RemoveXattr", request, &response);
  }
  void AllocateBlock(wire::AllocateBlockResponse& response,
                     const wire::AllocateBlockRequest& request) override {
    Mutate<EvaluateAllocateBlock>("AllocateBlock", request, &response);
  }
  void CommitWrite(wire::CommitWriteResponse& response,
                   const wire::CommitWriteRequest& request) override {
    Mutate<EvaluateCommitWrite>("CommitWrite", request, &response);
    // What was allocated with fewer replicas than wanted gets the others now, not at the next scan.
    if (parts_.repair != nullptr && response.info.status.code == 0) {
      NoticeShortBlocks(request.written_blocks);
    }
  }
  void RecoverBlock(wire::RecoverBlockResponse& response,
                    const wire::RecoverBlockRequest& request) override {
    static OperationMetrics metrics("RecoverBlock");
    TimedCall timed(metrics, response.info);
    const AnswerBasis basis = parts_.proposer.Basis();
    Status status;
    if (basis.epoch.value() != 0) status = Recover(basis.epoch, request, &response);
    // The answer is of the state after the attempt, not of the one it began with.
    parts_.proposer.FillInfo({basis.epoch, parts_.proposer.Basis().index}, status, &response.info);
  }
  void ReportBadReplicas(wire::ReportBadReplicasResponse& response,
                         const wire::ReportBadReplicasRequest& request) override {
    static OperationMetrics metrics("ReportBadReplicas");
    TimedCall timed(metrics, response.info);
    const AnswerBasis basis = parts_.proposer.Basis();
    Status status;
    if (basis.epoch.value() != 0) status = NoteBadReplicas(basis.epoch, request);
    parts_.proposer.FillInfo({basis.epoch, parts_.proposer.Basis().index}, status, &response.info);
  }

 private:
  Status CheckSession(int64_t session) const {
    ASSIGN_OR_RETURN(const bool open,
                     Tables(parts_.proposer.committed())
                         .IsSessionOpen(SessionId(static_cast<uint64_t>(session))));
    if (open) return Status::Ok();
    return Status(StatusCode::kStaleHandle,
                  "there is no session " + std::to_string(session) + " (any more)");
  }

  Status Recover(Epoch epoch, const wire::RecoverBlockRequest& request,
                 wire::RecoverBlockResponse* response) {
    if (parts_.recovery == nullptr) {
      return Status(StatusCode::kUnavailable, "this metaserver changes no chains");
    }
    RETURN_IF_ERROR(CheckSession(request.session_id));
    BlockRecoveryRequest recovery;
    recovery.session = SessionId(static_cast<uint64_t>(request.session_id));
    recovery.inode = InodeId(static_cast<uint64_t>(request.inode));
    recovery.index = static_cast<uint64_t>(request.block_index);
    recovery.block = BlockId(static_cast<uint64_t>(request.block_id));
    recovery.generation = Generation(static_cast<uint64_t>(request.generation));
    recovery.failed = ServersFromWire(request.failed_servers);
    recovery.failure = static_cast<StatusCode>(request.failure);
    recovery.has_data = request.has_data;
    recovery.exclude = ServersFromWire(request.exclude_servers);
    ASSIGN_OR_RETURN(const FileBlockRecord block, parts_.recovery->Recover(epoch, recovery));
    response->block = MakeBlockInfo(recovery.index, block);
    return AppendServers(Tables(parts_.proposer.committed()), {response->block},
                         &response->servers);
  }

  Status NoteBadReplicas(Epoch epoch, const wire::ReportBadReplicasRequest& request) {
    RETURN_IF_ERROR(CheckSession(request.session_id));
    std::vector<BadReplicaNote> notes;
    std::vector<BlockId> blocks;
    for (const wire::BadReplicaReport& report : request.replicas) {
      if (notes.size() == kMaxReportedReplicas) break;
      if (report.generation <= 0) continue;
      notes.push_back(BadReplicaNote{BlockId(static_cast<uint64_t>(report.block_id)),
                                     Generation(static_cast<uint64_t>(report.generation)),
                                     ServerId(static_cast<uint32_t>(report.server_id)),
                                     static_cast<uint8_t>(report.reason)});
      blocks.push_back(notes.back().block);
      BadReplicaCounter(report.reason).Increment();
    }
    if (notes.empty()) return Status::Ok();
    RETURN_IF_ERROR(parts_.proposer.Propose(epoch, "bad replicas", [&](OperationContext& context) {
      return EvaluateNoteBadReplicas(context, notes).status();
    }));
    if (parts_.repair != nullptr) parts_.repair->NoticeBlocks(blocks);
    return Status::Ok();
  }

  void NoticeShortBlocks(const std::vector<int64_t>& blocks) {
    const Tables tables(parts_.proposer.committed());
    std::vector<BlockId> noticed;
    for (const int64_t id : blocks) {
      const BlockId block(static_cast<uint64_t>(id));
      const auto row = tables.FindRepair(block);
      if (row.ok() && *row) noticed.push_back(block);
    }
    if (!noticed.empty()) parts_.repair->NoticeBlocks(noticed);
  }

  template <auto kEvaluate, typename Request, typename Response>
  void Mutate(const char* name, const Request& request, Response* response) {
    static OperationMetrics metrics(name);
    TimedCall timed(metrics, response->info);
    parts_.proposer.Mutate<Request, Response>(name, kEvaluate, request, response);
  }
  template <auto kRead, typename Request, typename Response>
  void Read(const char* name, const Request& request, Response* response) {
    static OperationMetrics metrics(name);
    TimedCall timed(metrics, response->info);
    parts_.proposer.Read<Request, Response>(kRead, request, response);
  }

  Status FillSpace(wire::StatFileSystemResponse* response) {
    const Tables tables(parts_.proposer.committed());
    // What users can store depends on how often it is stored: the root's policy speaks for all.
    ASSIGN_OR_RETURN(const InodeRecord root, tables.GetInode(kRootInode));
    ASSIGN_OR_RETURN(const uint64_t inodes, tables.GetCounter(Counter::kInodeCount));
    const ClusterSpace space = parts_.servers.Space();
    const uint64_t replicas = std::max<uint64_t>(root.replicas, 1);
    response->total_bytes = static_cast<int64_t>(space.total_bytes / replicas);
    response->available_bytes = static_cast<int64_t>(space.available_bytes / replicas);
    response->inode_count = static_cast<int64_t>(inodes);
    return Status::Ok();
  }

  const HandlerParts parts_;
};

}  // namespace

std::shared_ptr<wire::MetadataServiceIf> MakeMetadataHandler(const HandlerParts& parts) {
  return std::make_shared<MetadataHandler>(parts);
}

}  // namespace tercet
