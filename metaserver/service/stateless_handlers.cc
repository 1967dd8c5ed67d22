#include "common/rpc/wire_status.h"
#include "metaserver/service/handlers.h"

namespace tercet {

void RefuseNotActive(const Consensus* consensus, wire::ReplyInfo* info) {
  info->status =
      ToWire(Status(StatusCode::kNotActive, "this member of the metadata group has no namespace"));
  if (consensus == nullptr) return;
  const ConsensusState state = consensus->state();
  info->epoch = static_cast<int64_t>(state.epoch.value());
  if (!state.active_hint.empty()) info->__set_active_hint(state.active_hint);
}

namespace {

class StatelessMetadataHandler final : public wire::MetadataServiceIf {
 public:
  explicit StatelessMetadataHandler(const Consensus* consensus) : consensus_(consensus) {}

  void FindActive(wire::FindActiveResponse& response, const wire::FindActiveRequest&) override {
    Refuse(&response);
  }
  void OpenSession(wire::OpenSessionResponse& response, const wire::OpenSessionRequest&) override {
    Refuse(&response);
  }
  void RenewSession(wire::RenewSessionResponse& response,
                    const wire::RenewSessionRequest&) override {
    Refuse(&response);
  }
  void CloseSession(wire::CloseSessionResponse& response,
                    const wire::CloseSessionRequest&) override {
    Refuse(&response);
  }
  void Lookup(wire::LookupResponse& response, const wire::LookupRequest&) override {
    Refuse(&response);
  }
  void GetAttributes(wire::GetAttributesResponse& response,
                     const wire::GetAttributesRequest&) override {
    Refuse(&response);
  }
  void ReadLink(wire::ReadLinkResponse& response, const wire::ReadLinkRequest&) override {
    Refuse(&response);
  }
  void ReadDirectory(wire::ReadDirectoryResponse& response,
                     const wire::ReadDirectoryRequest&) override {
    Refuse(&response);
  }
  void StatFileSystem(wire::StatFileSystemResponse& response,
                      const wire::StatFileSystemRequest&) override {
    Refuse(&response);
  }
  void OpenFile(wire::OpenFileResponse& response, const wire::OpenFileRequest&) override {
    Refuse(&response);
  }
  void GetBlocks(wire::GetBlocksResponse& response, const wire::GetBlocksRequest&) override {
    Refuse(&response);
  }
  void GetXattr(wire::GetXattrResponse& response, const wire::GetXattrRequest&) override {
    Refuse(&response);
  }
  void ListXattr(wire::ListXattrResponse& response, const wire::ListXattrRequest&) override {
    Refuse(&response);
  }
  void CreateFile(wire::CreateFileResponse& response, const wire::CreateFileRequest&) override {
    Refuse(&response);
  }
  void MakeNode(wire::MakeNodeResponse& response, const wire::MakeNodeRequest&) override {
    Refuse(&response);
  }
  void Link(wire::LinkResponse& response, const wire::LinkRequest&) override { Refuse(&response); }
  void Unlink(wire::UnlinkResponse& response, const wire::UnlinkRequest&) override {
    Refuse(&response);
  }
  void RemoveDirectory(wire::RemoveDirectoryResponse& response,
                       const wire::RemoveDirectoryRequest&) override {
    Refuse(&response);
  }
  void Rename(wire::RenameResponse& response, const wire::RenameRequest&) override {
    Refuse(&response);
  }
  void SetAttributes(wire::SetAttributesResponse& response,
                     const wire::SetAttributesRequest&) override {
    Refuse(&response);
  }
  void SetXattr(wire::SetXattrResponse& response, const wire::SetXattrRequest&) override {
    Refuse(&response);
  }
  void RemoveXattr(wire::RemoveXattrResponse& response, const wire::RemoveXattrRequest&) override {
    Refuse(&response);
  }
  void AllocateBlock(wire::AllocateBlockResponse& response,
                     const wire::AllocateBlockRequest&) override {
    Refuse(&response);
  }
  void CommitWrite(wire::CommitWriteResponse& response, const wire::CommitWriteRequest&) override {
    Refuse(&response);
  }
  void RecoverBlock(wire::RecoverBlockResponse& response,
                    const wire::RecoverBlockRequest&) override {
    Refuse(&response);
  }
  void ReportBadReplicas(wire::ReportBadReplicasResponse& response,
                         const wire::ReportBadReplicasRequest&) override {
    Refuse(&response);
  }

 private:
  template <typename Response>
  void Refuse(Response* response) {
    RefuseNotActive(consensus_, &response->info);
  }

  const Consensus* const consensus_;
};

class StatelessRegistryHandler final : public wire::RegistryServiceIf {
 public:
  explicit StatelessRegistryHandler(const Consensus* consensus) : consensus_(consensus) {}

  void RegisterServer(wire::RegisterServerResponse& response,
                      const wire::RegisterServerRequest&) override {
    RefuseNotActive(consensus_, &response.info);
  }
  void Heartbeat(wire::HeartbeatResponse& response, const wire::HeartbeatRequest&) override {
    RefuseNotActive(consensus_, &response.info);
  }
  void ReportDigests(wire::ReportDigestsResponse& response,
                     const wire::ReportDigestsRequest&) override {
    RefuseNotActive(consensus_, &response.info);
  }
  void ReportReplicas(wire::ReportReplicasResponse& response,
                      const wire::ReportReplicasRequest&) override {
    RefuseNotActive(consensus_, &response.info);
  }
  void FetchDeleteTasks(wire::FetchDeleteTasksResponse& response,
                        const wire::FetchDeleteTasksRequest&) override {
    RefuseNotActive(consensus_, &response.info);
  }

 private:
  const Consensus* const consensus_;
};

}  // namespace

std::shared_ptr<wire::MetadataServiceIf> MakeStatelessMetadataHandler(const Consensus* consensus) {
  return std::make_shared<StatelessMetadataHandler>(consensus);
}

std::shared_ptr<wire::RegistryServiceIf> MakeStatelessRegistryHandler(const Consensus* consensus) {
  return std::make_shared<StatelessRegistryHandler>(consensus);
}

}  // namespace tercet
