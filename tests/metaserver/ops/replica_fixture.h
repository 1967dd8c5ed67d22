// Short ways to change chains, and to look at what is journaled of blocks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "metaserver/ops/policy_operations.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/trash_operations.h"
#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {

class ReplicaTest : public OpsTest {
 protected:
  static std::vector<ServerId> Servers(std::vector<uint32_t> ids) {
    std::vector<ServerId> servers;
    for (uint32_t id : ids) servers.push_back(ServerId(id));
    return servers;
  }
  static BlockId Block(int64_t id) { return BlockId(static_cast<uint64_t>(id)); }
  static InodeId Inode(int64_t id) { return InodeId(static_cast<uint64_t>(id)); }

  Result<BegunReconfiguration> Begin(int64_t block, uint64_t from,
                                     std::vector<uint32_t> targets = {}) {
    return Do([&](OperationContext& context) {
      return EvaluateBeginReconfiguration(context, Block(block), Generation(from),
                                          Servers(targets));
    });
  }
  Result<FileBlockRecord> CommitChain(int64_t block, uint64_t from, uint64_t sealing,
                                      std::vector<uint32_t> chain,
                                      std::vector<uint32_t> verified = {}) {
    CommitReconfigurationArguments arguments;
    arguments.block = Block(block);
    arguments.from = Generation(from);
    arguments.sealing = Generation(sealing);
    arguments.chain = Servers(chain);
    arguments.verified = Servers(verified);
    return Do([&](OperationContext& context) {
      return EvaluateCommitReconfiguration(context, arguments);
    });
  }
  /// Begin and commit; the new generation, 0 after an error.
  uint64_t Reconfigure(int64_t block, uint64_t from, std::vector<uint32_t> chain,
                       std::vector<uint32_t> verified = {}) {
    auto begun = Begin(block, from);
    EXPECT_TRUE(begun.ok()) << begun.status().ToString();
    if (!begun.ok()) return 0;
    auto committed = CommitChain(block, from, begun->sealing.value(), chain, verified);
    EXPECT_TRUE(committed.ok()) << committed.status().ToString();
    return committed.ok() ? committed->generation.value() : 0;
  }
  Status Discard(int64_t block, uint64_t sealing, std::vector<uint32_t> targets) {
    return Do([&](OperationContext& context) {
      return EvaluateDiscardTargets(context, Block(block), Generation(sealing), Servers(targets));
    });
  }
  /// How many were noted; -1 after an error.
  int Note(std::vector<BadReplicaNote> notes) {
    auto noted =
        Do([&](OperationContext& context) { return EvaluateNoteBadReplicas(context, notes); });
    EXPECT_TRUE(noted.ok()) << noted.status().ToString();
    return noted.ok() ? *noted : -1;
  }
  int Note(int64_t block, uint64_t generation, uint32_t server, BadReplica reason) {
    return Note(
        {{Block(block), Generation(generation), ServerId(server), static_cast<uint8_t>(reason)}});
  }
  Status ClearDoubts(int64_t block, uint64_t generation) {
    return Do([&](OperationContext& context) {
      return EvaluateClearDoubts(context, Block(block), Generation(generation));
    });
  }
  Status Review(int64_t block, bool misplaced = false) {
    return Do([&](OperationContext& context) {
      return EvaluateReviewBlock(context, Block(block), misplaced);
    });
  }
  Status SetServerState(uint32_t server, ServiceState state, int64_t until_ns = 0,
                        uint64_t replicas = 0) {
    return Do([&](OperationContext& context) {
      return EvaluateSetServerState(context, ServerId(server), state, until_ns, replicas);
    });
  }
  Result<BatchResult> FinishDeletions(uint32_t server, int64_t block, int64_t generation) {
    wire::DeleteReplicaTask task;
    task.block_id = block;
    task.generation = generation;
    return Do([&](OperationContext& context) {
      return EvaluateFinishDeleteTasks(context, ServerId(server), std::vector{task});
    });
  }

  // ---- policies and trash ----

  static wire::SetPolicyRequest PolicyRequest(const std::string& path) {
    wire::SetPolicyRequest request;
    request.path = path;
    return request;
  }
  Result<wire::SetPolicyResponse> SetReplicas(const std::string& path, int32_t replicas) {
    wire::SetPolicyRequest request = PolicyRequest(path);
    request.__set_replicas(replicas);
    return Do(EvaluateSetPolicy, request);
  }
  Result<wire::SetPolicyResponse> SetDomain(const std::string& path, const std::string& domain) {
    wire::SetPolicyRequest request = PolicyRequest(path);
    request.__set_domain(domain);
    return Do(EvaluateSetPolicy, request);
  }
  Result<wire::SetPolicyResponse> SetRetention(const std::string& path, int64_t seconds) {
    wire::SetPolicyRequest request = PolicyRequest(path);
    request.__set_trash_retention_s(seconds);
    return Do(EvaluateSetPolicy, request);
  }
  Result<BatchResult> WalkPolicies(int max_rows) {
    return Do([&](OperationContext& context) { return EvaluatePolicyWalkStep(context, max_rows); });
  }
  /// Until all are done; how many steps it took.
  int WalkPoliciesToTheEnd(int max_rows = 100) {
    for (int step = 1; step < 10'000; ++step) {
      auto walked = WalkPolicies(max_rows);
      EXPECT_TRUE(walked.ok()) << walked.status().ToString();
      if (!walked.ok() || walked->done) return step;
    }
    ADD_FAILURE() << "the walk does not end";
    return -1;
  }
  Result<wire::RestoreTrashResponse> RestoreTrash(int64_t inode, const std::string& to = "") {
    wire::RestoreTrashRequest request;
    request.inode = inode;
    request.to_path = to;
    return Do(EvaluateRestoreTrash, request);
  }
  Result<int> PurgeTrash(std::vector<int64_t> ids) {
    std::vector<InodeId> inodes;
    for (int64_t id : ids) inodes.push_back(Inode(id));
    return Do([&](OperationContext& context) { return EvaluatePurgeTrash(context, inodes); });
  }
  Result<BatchResult> ExpireTrash(int max_files = 1000) {
    return Do([&](OperationContext& context) { return EvaluateExpireTrash(context, max_files); });
  }

  // ---- what is journaled ----

  Tables tables() const { return Tables(view); }
  InodeRecord InodeRow(int64_t inode) const {
    auto record = tables().GetInode(Inode(inode));
    EXPECT_TRUE(record.ok()) << record.status().ToString();
    return record.ok() ? *record : InodeRecord();
  }
  FileBlockRecord BlockRow(int64_t inode, uint64_t index) const {
    auto row = tables().FindFileBlock(Inode(inode), index);
    EXPECT_TRUE(row.ok() && *row);
    return row.ok() && *row ? **row : FileBlockRecord();
  }
  std::optional<RepairRecord> Repair(int64_t block) const {
    auto row = tables().FindRepair(Block(block));
    EXPECT_TRUE(row.ok());
    return row.ok() ? *row : std::nullopt;
  }
  /// The reasons of the block's repair row; 0: there is none.
  int Reasons(int64_t block) const {
    const auto repair = Repair(block);
    return repair ? repair->reasons : 0;
  }
  /// "server:generation" of all delete tasks of the block, held ones with a 'h' behind.
  std::string Tasks(int64_t block) const {
    std::string all;
    for (const auto& [server, id] : DeleteTasks()) {
      if (id != static_cast<uint64_t>(block)) continue;
      auto task = tables().FindDeleteTask(ServerId(static_cast<uint32_t>(server)), BlockId(id));
      all += (all.empty() ? "" : " ") + std::to_string(server) + ':' +
             std::to_string((*task)->generation.value()) + ((*task)->hold ? "h" : "");
    }
    return all;
  }
  /// "server:generation" of all replica rows of the block.
  std::string Replicas(int64_t block) const {
    std::string all;
    EXPECT_TRUE(tables()
                    .ScanAllReplicas([&](ServerId server, BlockId id, const ReplicaRecord& record) {
                      if (id == Block(block)) {
                        all += (all.empty() ? "" : " ") + std::to_string(server.value()) + ':' +
                               std::to_string(record.generation.value());
                      }
                      return true;
                    })
                    .ok());
    return all;
  }

  /// A file `name` in the root with `blocks` committed blocks; sets `file` and `blocks`.
  void MakeFile(const std::string& name, int64_t block_count = 1) {
    file = Create(kRoot, name);
    blocks = WriteBlocks(file, 0, block_count);
  }

  int64_t file = 0;
  std::vector<int64_t> blocks;
};

}  // namespace tercet
