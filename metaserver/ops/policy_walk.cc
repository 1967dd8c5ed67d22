// The walk that carries a change of policy down the tree. Each step takes the first row of the
// table:
//  - of a directory: its entries behind `after_name`. Files get the change, and rows where they
//    have blocks to be looked at; directories get the change and a row. The row goes with the last
//    entry.
//  - of a file: its blocks from `next_index` on get the repair rows that the new policy calls for.
//    The row goes with the last block.
// A crash between two steps leaves rows, from which whoever is active goes on. What cannot be read
// is passed over, and logged: it would keep the change from all others for ever.
#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "common/log/log.h"
#include "metaserver/ops/blocks.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/policies.h"
#include "metaserver/ops/policy_operations.h"
#include "metaserver/ops/repairs.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

class PolicyWalkStep {
 public:
  PolicyWalkStep(OperationContext& context, int max_rows)
      : context_(context), tables_(context.transaction), left_(max_rows) {}

  // False when there is no row.
  Result<bool> TakeOne() {
    std::optional<std::pair<InodeId, PolicyWalkRecord>> first;
    RETURN_IF_ERROR(
        tables_.ScanPolicyWalks(InodeId(), [&](InodeId inode, const PolicyWalkRecord& row) {
          first.emplace(inode, row);
          return false;
        }));
    if (!first) return false;
    auto& [inode, row] = *first;
    const Status status = TakeRow(inode, std::move(row));
    if (IsBadRow(status)) {
      LOG_WARN_LIMITED("a change of policy does not reach what is below inode={}: {}", inode,
                       status);
      Drop(inode);
      return true;
    }
    RETURN_IF_ERROR(status);
    return true;
  }

  int left() const { return left_; }
  int done() const { return done_; }

 private:
  Status TakeRow(InodeId inode, PolicyWalkRecord row) {
    ASSIGN_OR_RETURN(std::optional<InodeRecord> record, tables_.FindInode(inode));
    if (record && record->is_directory()) return Directory(inode, std::move(row));
    if (record && record->is_regular()) return File(inode, *record, std::move(row));
    Drop(inode);
    return Status::Ok();
  }

  void Drop(InodeId inode) {
    tables_.DeletePolicyWalk(inode);
    Count(0);
  }

  // A row with nothing in it is work too.
  void Count(size_t rows) {
    const int count = std::max(1, static_cast<int>(rows));
    left_ -= count;
    done_ += count;
  }

  Status Directory(InodeId directory, PolicyWalkRecord row) {
    std::vector<std::pair<std::string, InodeId>> entries;
    bool more = false;
    RETURN_IF_ERROR(tables_.ScanDentries(directory, row.after_name,
                                         [&](std::string_view name, const DentryRecord& entry) {
                                           more = static_cast<int>(entries.size()) >= left_;
                                           if (!more) entries.emplace_back(name, entry.inode);
                                           return !more;
                                         }));
    for (const auto& [name, inode] : entries) {
      const Status status = Entry(inode, row.change);
      if (!IsBadRow(status)) RETURN_IF_ERROR(status);
      if (!status.ok()) {
        LOG_WARN_LIMITED("a change of policy does not reach inode={} of directory={}: {}", inode,
                         directory, status);
      }
      row.after_name = name;
    }
    Count(entries.size());
    if (more) {
      tables_.PutPolicyWalk(directory, row);
    } else {
      tables_.DeletePolicyWalk(directory);
    }
    return Status::Ok();
  }

  Status Entry(InodeId inode, const PolicyChange& change) {
    ASSIGN_OR_RETURN(std::optional<InodeRecord> found, tables_.FindInode(inode));
    if (!found) return Status(StatusCode::kCorruption, "the entry's inode is not there");
    InodeRecord& record = *found;
    if (!record.is_directory() && !record.is_regular()) return Status::Ok();
    ASSIGN_OR_RETURN(const bool changed, ApplyPolicyChangeThatFits(tables_, change, record));
    if (changed) PutChangedInode(tables_, inode, record);
    const bool goes_on = record.is_directory() || (changed && ConcernsBlocks(change));
    if (!goes_on) return Status::Ok();
    return PutPolicyWalk(tables_, inode, change, context_.now_ns);
  }

  Status File(InodeId inode, const InodeRecord& record, PolicyWalkRecord row) {
    std::vector<std::pair<uint64_t, FileBlockRecord>> blocks;
    bool more = false;
    RETURN_IF_ERROR(tables_.ScanFileBlocks(inode, row.next_index,
                                           std::numeric_limits<uint64_t>::max(),
                                           [&](uint64_t index, const FileBlockRecord& block) {
                                             more = static_cast<int>(blocks.size()) >= left_;
                                             if (more) {
                                               row.next_index = index;
                                             } else {
                                               blocks.emplace_back(index, block);
                                             }
                                             return !more;
                                           }));
    ASSIGN_OR_RETURN(std::optional<TruncationRecord> truncation,
                     FindPendingTruncation(tables_, inode, record));
    // Whether other servers are really wanted is for placement to say.
    const std::optional<bool> misplaced =
        row.change.changes_rule() ? std::optional<bool>(true) : std::nullopt;
    for (auto& [index, block] : blocks) {
      if (truncation && truncation->IsDead(index, block.block)) continue;
      const OwnedBlock owned{inode, index, record, std::move(block)};
      const Status status = ReviewBlock(tables_, owned, misplaced, context_.now_ns).status();
      if (!IsBadRow(status)) RETURN_IF_ERROR(status);
      if (!status.ok()) {
        LOG_WARN_LIMITED("a block was not looked at for its new policy inode={} block={}: {}",
                         inode, owned.block.block, status);
      }
    }
    Count(blocks.size());
    if (more) {
      tables_.PutPolicyWalk(inode, row);
    } else {
      tables_.DeletePolicyWalk(inode);
    }
    return Status::Ok();
  }

  OperationContext& context_;
  MutableTables tables_;
  int left_;
  int done_ = 0;
};

}  // namespace

Result<BatchResult> EvaluatePolicyWalkStep(OperationContext& context, int max_rows) {
  if (max_rows <= 0) return Status(StatusCode::kInvalidArgument, "max_rows must be positive");
  PolicyWalkStep step(context, max_rows);
  BatchResult result;
  while (!result.done && step.left() > 0) {
    ASSIGN_OR_RETURN(const bool took, step.TakeOne());
    result.done = !took;
  }
  result.removed = step.done();
  Summary(context, "policy walk")
      .Add("rows", static_cast<uint64_t>(step.done()))
      .Add("done", result.done ? 1 : 0);
  return result;
}

}  // namespace tercet
