#include "metaserver/ops/replica_walk.h"

#include "metaserver/ops/blocks.h"
#include "metaserver/ops/paths.h"

namespace tercet {

Result<std::optional<PlacedBlock>> BlockLookup::Find(BlockId block) {
  ASSIGN_OR_RETURN(const std::optional<BlockOwnerRecord> owner, tables_.FindBlockOwner(block));
  if (!owner) return std::optional<PlacedBlock>();
  if (!file_ || inode_ != owner->inode) {
    inode_ = owner->inode;
    truncation_.reset();
    ASSIGN_OR_RETURN(file_, tables_.FindInode(inode_));
    if (file_) {
      ASSIGN_OR_RETURN(truncation_, FindPendingTruncation(tables_, inode_, *file_));
    }
  }
  if (!file_) return std::optional<PlacedBlock>();
  ASSIGN_OR_RETURN(std::optional<FileBlockRecord> record,
                   tables_.FindFileBlock(owner->inode, owner->index));
  if (!record || record->block != block || record->reserved) return std::optional<PlacedBlock>();
  if (truncation_ && truncation_->IsDead(owner->index, block)) return std::optional<PlacedBlock>();
  PlacedBlock placed;
  placed.block = block;
  placed.inode = owner->inode;
  placed.index = owner->index;
  placed.record = std::move(*record);
  placed.file = &*file_;
  return std::optional<PlacedBlock>(std::move(placed));
}

Result<std::set<ServerId>> BadMembers(const Tables& tables, BlockId block) {
  std::set<ServerId> bad;
  ASSIGN_OR_RETURN(const std::optional<RepairRecord> repair, tables.FindRepair(block));
  if (repair) {
    for (const RepairRecord::Bad& note : repair->bad) {
      if (note.reason != BadReplica::kDoubtful) bad.insert(note.server);
    }
  }
  return bad;
}

Result<wire::FileName> NameOf(const View& view, InodeId inode, BlockId block, uint64_t index) {
  wire::FileName name;
  name.inode = static_cast<int64_t>(inode.value());
  ASSIGN_OR_RETURN(name.path, PathOf(view, inode));
  name.block_id = static_cast<int64_t>(block.value());
  name.block_index = static_cast<int64_t>(index);
  return name;
}

Status FileNames::Add(const PlacedBlock& block) {
  if (names_.size() >= max_ || !named_.insert(block.inode).second) return Status::Ok();
  ASSIGN_OR_RETURN(wire::FileName name, NameOf(view_, block.inode, block.block, block.index));
  names_.push_back(std::move(name));
  return Status::Ok();
}

}  // namespace tercet
