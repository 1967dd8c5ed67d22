// CommitWrite: the point at which written data becomes part of the file.
#include <algorithm>
#include <map>

#include "metaserver/ops/attributes.h"
#include "metaserver/ops/blocks.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/repairs.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

// Reads and changes the blocks of one file that a commit names; each is written once, by Put.
class CommitBlocks {
 public:
  CommitBlocks(MutableTables& tables, InodeId inode, const InodeRecord& record,
               const std::optional<TruncationRecord>& truncation)
      : tables_(tables),
        inode_(inode),
        block_size_bytes_(record.block_size_bytes),
        truncation_(truncation) {}

  struct Entry {
    uint64_t index = 0;
    FileBlockRecord block;
    bool changed = false;
  };

  // The named block. kConflict when it is not part of the file any more.
  Result<Entry*> Named(BlockId block) {
    ASSIGN_OR_RETURN(std::optional<BlockOwnerRecord> owner, tables_.FindBlockOwner(block));
    if (!owner || owner->inode != inode_) return Gone(block);
    ASSIGN_OR_RETURN(Entry * entry, At(owner->index));
    if (entry == nullptr) return Gone(block);
    if (entry->block.block != block) {
      return Status(StatusCode::kCorruption,
                    "block " + std::to_string(block.value()) + " and its owner row disagree");
    }
    return entry;
  }

  // The living block at an index, or null.
  Result<Entry*> At(uint64_t index) {
    auto known = entries_.find(index);
    if (known != entries_.end()) return &known->second;
    ASSIGN_OR_RETURN(std::optional<FileBlockRecord> block, tables_.FindFileBlock(inode_, index));
    if (!block || (truncation_ && truncation_->IsDead(index, block->block))) {
      return static_cast<Entry*>(nullptr);
    }
    return &entries_.emplace(index, Entry{index, std::move(*block), false}).first->second;
  }

  // `end_offset` lies behind what the block was cut to.
  bool EndsBehindValid(const Entry& entry, uint64_t end_offset) const {
    return entry.block.valid_bytes.has_value() &&
           end_offset > entry.index * block_size_bytes_ + *entry.block.valid_bytes;
  }

  void Put() {
    for (const auto& [index, entry] : entries_) {
      if (entry.changed) tables_.PutFileBlock(inode_, index, entry.block);
    }
  }

 private:
  static Status Gone(BlockId block) {
    return Status(StatusCode::kConflict,
                  "block " + std::to_string(block.value()) +
                      " was cut off or replaced meanwhile: allocate and write again");
  }

  MutableTables& tables_;
  const InodeId inode_;
  const uint64_t block_size_bytes_;
  const std::optional<TruncationRecord>& truncation_;  // outlives this object
  std::map<uint64_t, Entry> entries_;
};

void ClearValidBytes(CommitBlocks::Entry& entry) {
  if (!entry.block.valid_bytes) return;
  entry.block.valid_bytes.reset();
  entry.changed = true;
}

Status CheckRequest(const wire::CommitWriteRequest& request) {
  if (request.end_offset < 0 || request.written_blocks.size() > kMaxBlocksPerCommit ||
      request.trimmed_blocks.size() > kMaxBlocksPerCommit) {
    return Status(StatusCode::kInvalidArgument, "end_offset is negative, or more than " +
                                                    std::to_string(kMaxBlocksPerCommit) +
                                                    " blocks are named");
  }
  if (static_cast<uint64_t>(request.end_offset) > kMaxFileSizeBytes) {
    return Status(StatusCode::kFileTooLarge, "a file has at most 2^50 bytes");
  }
  return Status::Ok();
}

// A reserved block becomes one that holds data and that its servers must have. When there were
// fewer servers for it than wanted it has a repair row from now on: only then is that row looked
// up.
Status Commit(OperationContext& context, MutableTables& tables, const InodeRecord& record,
              CommitBlocks::Entry& entry) {
  entry.block.reserved = false;
  entry.block.reservers.clear();
  entry.changed = true;
  for (ServerId server : entry.block.chain) {
    tables.PutReplica(server, entry.block.block, {entry.block.generation});
  }
  if (entry.block.chain.size() == record.replicas) return Status::Ok();
  ASSIGN_OR_RETURN(std::optional<RepairRecord> repair, tables.FindRepair(entry.block.block));
  SettleRepair(tables, record, entry.block, repair, repair.value_or(RepairRecord()),
               context.now_ns);
  return Status::Ok();
}

}  // namespace

Result<wire::CommitWriteResponse> EvaluateCommitWrite(OperationContext& context,
                                                      const wire::CommitWriteRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  MutableTables tables(context.transaction);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord record, GetRegularFile(tables, inode));
  const auto truncation = FindPendingTruncation(tables, inode, record);
  if (!truncation.ok()) return truncation.status();
  const auto end_offset = static_cast<uint64_t>(request.end_offset);
  const uint64_t old_size = record.size_bytes;
  record.size_bytes = std::max(old_size, end_offset);
  const uint64_t index_end = BlockIndexEnd(record.size_bytes, record.block_size_bytes);

  CommitBlocks blocks(tables, inode, record, *truncation);
  int64_t committed = 0;
  for (int64_t id : request.written_blocks) {
    ASSIGN_OR_RETURN(CommitBlocks::Entry * entry, blocks.Named(BlockId(id)));
    if (entry->index >= index_end) {
      return Status(StatusCode::kInvalidArgument, "a written block lies behind the file's end");
    }
    if (entry->block.reserved) {
      RETURN_IF_ERROR(Commit(context, tables, record, *entry));
      ++committed;
    }
    if (blocks.EndsBehindValid(*entry, end_offset)) ClearValidBytes(*entry);
  }
  for (int64_t id : request.trimmed_blocks) {
    ASSIGN_OR_RETURN(CommitBlocks::Entry * entry, blocks.Named(BlockId(id)));
    ClearValidBytes(*entry);
  }
  if (end_offset > old_size) {
    ASSIGN_OR_RETURN(CommitBlocks::Entry * entry,
                     blocks.At((end_offset - 1) / record.block_size_bytes));
    if (entry != nullptr && blocks.EndsBehindValid(*entry, end_offset)) ClearValidBytes(*entry);
  }
  blocks.Put();
  record.block_count += static_cast<uint64_t>(committed);
  RETURN_IF_ERROR(tables.AddToCounter(Counter::kBlockCount, committed));
  record.mtime_ns = request.__isset.mtime_ns ? request.mtime_ns : context.now_ns;
  record.ctime_ns = context.now_ns;
  PutChangedInode(tables, inode, record);
  Summary(context, "commit")
      .Add("inode", inode.value())
      .Add("blocks", request.written_blocks.size())
      .Add("size", record.size_bytes);
  wire::CommitWriteResponse response;
  response.attributes = MakeAttributes(inode, record);
  return response;
}

}  // namespace tercet
