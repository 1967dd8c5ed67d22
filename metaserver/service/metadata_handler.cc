#include "metaserver/namespace/tables.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/reads.h"
#include "metaserver/service/handlers.h"
#include "metaserver/service/timed_call.h"

namespace tercet {
namespace {

class MetadataHandler final : public wire::MetadataServiceNull {
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
  }

 private:
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
