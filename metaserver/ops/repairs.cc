#include "metaserver/ops/repairs.h"

#include <algorithm>

#include "metaserver/ops/blocks.h"

namespace tercet {

Result<std::optional<OwnedBlock>> FindOwnedBlock(const Tables& tables, BlockId block) {
  ASSIGN_OR_RETURN(std::optional<BlockOwnerRecord> owner, tables.FindBlockOwner(block));
  if (!owner) return std::optional<OwnedBlock>();
  ASSIGN_OR_RETURN(std::optional<FileBlockRecord> row,
                   tables.FindFileBlock(owner->inode, owner->index));
  ASSIGN_OR_RETURN(std::optional<InodeRecord> file, tables.FindInode(owner->inode));
  if (!row || row->block != block || !file) {
    // A view of what is committed moves on between two reads: the owner row goes with the block.
    ASSIGN_OR_RETURN(owner, tables.FindBlockOwner(block));
    if (!owner) return std::optional<OwnedBlock>();
    return Status(StatusCode::kCorruption,
                  "block " + std::to_string(block.value()) + " and its owner row disagree");
  }
  ASSIGN_OR_RETURN(std::optional<TruncationRecord> truncation,
                   FindPendingTruncation(tables, owner->inode, *file));
  if (truncation && truncation->IsDead(owner->index, block)) return std::optional<OwnedBlock>();
  return std::optional<OwnedBlock>(
      OwnedBlock{owner->inode, owner->index, std::move(*file), std::move(*row)});
}

bool ContainsServer(std::span<const ServerId> servers, ServerId server) {
  return std::ranges::find(servers, server) != servers.end();
}

Generation HighestGeneration(const FileBlockRecord& block,
                             const std::optional<RepairRecord>& repair) {
  return repair ? std::max(block.generation, repair->sealing) : block.generation;
}

void LiftHolds(MutableTables& tables, FileBlockRecord& block, Generation generation) {
  for (ServerId server : block.stale) {
    tables.PutDeleteTask(server, block.block, {.generation = generation, .hold = false});
  }
  block.stale.clear();
}

bool SettleRepair(MutableTables& tables, const InodeRecord& file, const FileBlockRecord& block,
                  const std::optional<RepairRecord>& before, RepairRecord repair, int64_t now_ns) {
  // How many replicas a reserved block has matters once something is committed in it.
  const bool counts = !block.reserved;
  repair.reasons &= kRepairMisplaced;
  if (counts && block.chain.size() < file.replicas) repair.reasons |= kRepairShort;
  if (counts && block.chain.size() > file.replicas) repair.reasons |= kRepairSurplus;
  if (!repair.bad.empty()) repair.reasons |= kRepairBad;
  if (repair.sealing.value() != 0) repair.reasons |= kRepairSealing;
  if (repair.reasons == 0) {
    if (before) tables.DeleteRepair(block.block);
    return before.has_value();
  }
  if (repair.since_ns == 0) repair.since_ns = now_ns;
  if (before == repair) return false;
  tables.PutRepair(block.block, repair);
  return true;
}

Result<bool> ReviewBlock(MutableTables& tables, const OwnedBlock& owned,
                         std::optional<bool> misplaced, int64_t now_ns) {
  FileBlockRecord block = owned.block;
  ASSIGN_OR_RETURN(std::optional<RepairRecord> before, tables.FindRepair(block.block));
  RepairRecord after = before.value_or(RepairRecord());
  if (misplaced) {
    after.reasons &= static_cast<uint8_t>(~kRepairMisplaced);
    if (*misplaced) after.reasons |= kRepairMisplaced;
  }
  bool changed = false;
  // An attempt under way may be making use of what is held, and its commit looks at the holds.
  if (after.sealing.value() == 0 && !block.stale.empty() &&
      block.chain.size() >= owned.file.replicas) {
    LiftHolds(tables, block, block.generation);
    tables.PutFileBlock(owned.inode, owned.index, block);
    changed = true;
  }
  return SettleRepair(tables, owned.file, block, before, std::move(after), now_ns) || changed;
}

}  // namespace tercet
