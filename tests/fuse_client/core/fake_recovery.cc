// RecoverBlock of the fake metaserver: the real records, and seals and copies in memory.
#include <gtest/gtest.h>

#include <algorithm>

#include "metaserver/ops/attributes.h"
#include "metaserver/ops/blocks.h"
#include "metaserver/ops/replica_operations.h"
#include "tests/fuse_client/core/fake_metaserver.h"

namespace tercet {
namespace {

std::vector<ServerId> ServersOf(const std::vector<int32_t>& ids) {
  std::vector<ServerId> servers;
  for (int32_t id : ids) servers.emplace_back(static_cast<uint32_t>(id));
  return servers;
}

bool Contains(const std::vector<ServerId>& servers, ServerId server) {
  return std::ranges::find(servers, server) != servers.end();
}

Status LeftTheFile() { return Status(StatusCode::kConflict, "the block is not in the file"); }

}  // namespace

void FakeMetaserver::SetReplicaHost(ReplicaHost* host) {
  std::lock_guard lock(mutex_);
  host_ = host;
}

void FakeMetaserver::DuringNextRecovery(std::function<void()> action) {
  std::lock_guard lock(mutex_);
  during_recovery_ = std::move(action);
}

void FakeMetaserver::LeaveChainsAsTheyAre(int count) {
  std::lock_guard lock(mutex_);
  unchanged_recoveries_ = count;
}

std::vector<wire::RecoverBlockRequest> FakeMetaserver::recoveries() const {
  std::lock_guard lock(mutex_);
  return recoveries_;
}

std::vector<wire::BadReplicaReport> FakeMetaserver::bad_replicas() const {
  std::lock_guard lock(mutex_);
  return bad_replicas_;
}

void FakeMetaserver::AwaitBadReplicas(size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return bad_replicas_.size() >= count; });
}

void FakeMetaserver::RecoverBlock(const wire::RecoverBlockRequest& request,
                                  wire::RecoverBlockResponse* response) {
  {
    std::unique_lock lock(mutex_);
    if (!BeginLocked("RecoverBlock", &response->info)) return;
    recoveries_.push_back(request);
    const Result<FileBlockRecord> block = Recover(request, lock);
    Status status = block.status();
    if (block.ok()) {
      response->block = MakeBlockInfo(static_cast<uint64_t>(request.block_index), *block);
      status = AppendServers(Tables(view_), {response->block}, &response->servers);
    }
    SetStatusLocked(status, &response->info);
  }
  FinishCall("RecoverBlock");
}

Result<FileBlockRecord> FakeMetaserver::Recover(const wire::RecoverBlockRequest& request,
                                                std::unique_lock<std::mutex>& lock) {
  const Tables tables(view_);
  const InodeId inode(static_cast<uint64_t>(request.inode));
  const auto index = static_cast<uint64_t>(request.block_index);
  const BlockId id(static_cast<uint64_t>(request.block_id));
  ASSIGN_OR_RETURN(const InodeRecord record, tables.GetInode(inode));
  ASSIGN_OR_RETURN(const auto block, tables.FindFileBlock(inode, index));
  ASSIGN_OR_RETURN(const auto truncation, FindPendingTruncation(tables, inode, record));
  if (!block || block->block != id || (truncation && truncation->IsDead(index, id))) {
    return LeftTheFile();
  }
  if (block->generation.value() != static_cast<uint64_t>(request.generation)) return *block;
  if (unchanged_recoveries_ > 0) {
    --unchanged_recoveries_;
    return *block;
  }
  const std::vector<ServerId> failed = ServersOf(request.failed_servers);
  const bool suspicion = request.failure == static_cast<int32_t>(StatusCode::kOk);
  if (suspicion && std::ranges::all_of(failed, [&](ServerId s) { return host_->Answers(s); })) {
    return *block;
  }
  if (block->reserved && !request.has_data) {
    std::vector<ServerId> exclude = ServersOf(request.exclude_servers);
    exclude.insert(exclude.end(), failed.begin(), failed.end());
    const SessionId session(static_cast<uint64_t>(request.session_id));
    auto replaced = ChangeLocked(session, [&](OperationContext& context) {
      return EvaluateReplaceUnwritten(context, inode, index, id, exclude);
    });
    if (replaced.code() != StatusCode::kFailedPrecondition) return replaced;
  }
  return ChangeChain(request, *block, lock);
}

Result<FileBlockRecord> FakeMetaserver::ChangeChain(const wire::RecoverBlockRequest& request,
                                                    const FileBlockRecord& before,
                                                    std::unique_lock<std::mutex>& lock) {
  const InodeId inode(static_cast<uint64_t>(request.inode));
  ASSIGN_OR_RETURN(const InodeRecord record, Tables(view_).GetInode(inode));
  const std::vector<ServerId> failed = ServersOf(request.failed_servers);
  const auto failure = static_cast<StatusCode>(request.failure);
  const bool refused = failure != StatusCode::kUnavailable &&
                       failure != StatusCode::kDeadlineExceeded &&
                       failure != StatusCode::kStaleGeneration && failure != StatusCode::kOk;
  std::vector<ServerId> members, targets;
  for (ServerId server : before.chain) {
    if (Contains(failed, server) && refused) continue;
    if (host_->Answers(server)) members.push_back(server);
  }
  if (members.empty()) return Status(StatusCode::kUnavailable, "no member answers");
  if (members.size() < record.min_replicas) {
    std::vector<ServerId> exclude = ServersOf(request.exclude_servers);
    exclude.insert(exclude.end(), before.chain.begin(), before.chain.end());
    PlacementRequest placement;
    placement.wanted = static_cast<int>(record.min_replicas - members.size());
    placement.minimum = placement.wanted;
    placement.exclude = exclude;
    ASSIGN_OR_RETURN(targets, chooser_->Choose(placement));
  }
  ASSIGN_OR_RETURN(
      const BegunReconfiguration begun, ChangeLocked(SessionId(), [&](OperationContext& context) {
        return EvaluateBeginReconfiguration(context, before.block, before.generation, targets);
      }));
  if (auto action = std::exchange(during_recovery_, nullptr)) {
    lock.unlock();
    action();
    lock.lock();
  }
  CommitReconfigurationArguments commit;
  commit.block = before.block;
  commit.from = before.generation;
  commit.sealing = begun.sealing;
  commit.chain = host_->Reconfigure(before.block, begun.sealing, members, targets);
  if (commit.chain.size() < record.min_replicas) {
    return Status(StatusCode::kUnavailable, "too few replicas sealed");
  }
  return ChangeLocked(SessionId(), [&](OperationContext& context) {
    return EvaluateCommitReconfiguration(context, commit);
  });
}

}  // namespace tercet
