#include <algorithm>

#include "metaserver/ops/inodes.h"
#include "metaserver/ops/repairs.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

Status CheckChain(std::span<const ServerId> chain) {
  bool good = !chain.empty() && chain.size() <= kMaxChainLength;
  for (size_t i = 0; good && i < chain.size(); ++i) {
    good = chain[i].value() != 0 && !ContainsServer(chain.subspan(0, i), chain[i]);
  }
  if (good) return Status::Ok();
  return Status(StatusCode::kInvalidArgument, "a chain has 1 to 16 different servers");
}

// Replica rows and delete tasks of the servers that come, stay and go. `block` has the new chain
// and generation already.
Status ChangeMembers(MutableTables& tables, std::span<const ServerId> old_chain,
                     std::span<const ServerId> targets, size_t wanted, FileBlockRecord& block) {
  for (ServerId server : block.chain) {
    if (!block.reserved) tables.PutReplica(server, block.block, {block.generation});
    if (ContainsServer(old_chain, server)) continue;
    // Of generations below the one that the server has now: void, held or not.
    ASSIGN_OR_RETURN(std::optional<DeleteTaskRecord> task,
                     tables.FindDeleteTask(server, block.block));
    if (task) tables.DeleteDeleteTask(server, block.block);
  }
  std::erase_if(block.stale, [&](ServerId server) { return ContainsServer(block.chain, server); });
  for (ServerId server : targets) {
    if (ContainsServer(block.chain, server)) continue;
    const bool hold = ContainsServer(block.stale, server);
    tables.PutDeleteTask(server, block.block, {.generation = block.generation, .hold = hold});
  }
  for (ServerId server : old_chain) {
    if (ContainsServer(block.chain, server)) continue;
    if (!block.reserved) tables.DeleteReplica(server, block.block);
    // It may have sealed with the new generation before it was left out.
    tables.PutDeleteTask(server, block.block, {.generation = block.generation, .hold = true});
    block.stale.push_back(server);
  }
  if (block.chain.size() >= wanted) {
    LiftHolds(tables, block, block.generation);
    return Status::Ok();
  }
  while (block.stale.size() > kMaxStaleServers) {
    tables.PutDeleteTask(block.stale.front(), block.block,
                         {.generation = block.generation, .hold = false});
    block.stale.erase(block.stale.begin());
  }
  return Status::Ok();
}

// A member of the new chain has what the others have. But pages that do not match their checksums
// are found by comparing only.
void SettleNotes(const CommitReconfigurationArguments& arguments, RepairRecord& repair) {
  std::erase_if(repair.bad, [&](const RepairRecord::Bad& bad) {
    return bad.reason != BadReplica::kDamaged || !ContainsServer(arguments.chain, bad.server) ||
           ContainsServer(arguments.verified, bad.server);
  });
}

}  // namespace

Result<FileBlockRecord> EvaluateCommitReconfiguration(
    OperationContext& context, const CommitReconfigurationArguments& arguments) {
  RETURN_IF_ERROR(CheckChain(arguments.chain));
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(std::optional<OwnedBlock> owned, FindOwnedBlock(tables, arguments.block));
  ASSIGN_OR_RETURN(std::optional<RepairRecord> repair, tables.FindRepair(arguments.block));
  if (!owned || !repair || owned->block.generation != arguments.from ||
      repair->sealing != arguments.sealing || (arguments.unwritten && !owned->block.reserved)) {
    return Status(StatusCode::kConflict, "the reconfiguration of block " +
                                             std::to_string(arguments.block.value()) +
                                             " was overtaken, or the block is gone");
  }
  FileBlockRecord& block = owned->block;
  const std::vector<ServerId> old_chain = std::exchange(block.chain, arguments.chain);
  block.generation = arguments.sealing;
  RETURN_IF_ERROR(ChangeMembers(tables, old_chain, repair->targets, owned->file.replicas, block));
  tables.PutFileBlock(owned->inode, owned->index, block);
  RepairRecord left = *repair;
  SettleNotes(arguments, left);
  left.sealing = Generation();
  left.targets.clear();
  SettleRepair(tables, owned->file, block, repair, std::move(left), context.now_ns);
  // Clients that know the old chain drop it. Nobody changed the file: its times stay.
  PutChangedInode(tables, owned->inode, owned->file);
  Summary(context, "commit reconfiguration")
      .Add("block", block.block.value())
      .Add("generation", block.generation.value())
      .Add("replicas", block.chain.size());
  return block;
}

}  // namespace tercet
