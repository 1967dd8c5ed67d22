#include "metaserver/ops/misplaced_blocks.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/blocks.h"
#include "metaserver/ops/operation.h"

namespace tercet {
namespace {

class MisplacedWalk {
 public:
  MisplacedWalk(const View& view, int max_rows, const MisplacedFunction& is_misplaced)
      : view_(view), tables_(view), is_misplaced_(is_misplaced), rows_left_(max_rows) {}

  Result<MisplacedPage> Run(MisplacedPosition position) {
    const KeyRange range = IdRangeFrom(TableId::kInode, position.inode.value());
    page_.done = true;
    Status status;
    RETURN_IF_ERROR(
        view_.Scan(range.from, range.to, [&](std::string_view key, std::string_view value) {
          const auto parsed = ParseKey(key);
          const InodeId inode(parsed ? parsed->first : 0);
          const uint64_t first = inode == position.inode ? position.index : 0;
          if (rows_left_ <= 0) {
            page_.next = {inode, first};
            page_.done = false;
            return false;
          }
          --rows_left_;
          status = LookAtInode(inode, value, first);
          if (IsBadRow(status)) {
            LOG_WARN_LIMITED("a file's places cannot be judged inode={}: {}", inode, status);
            status = Status::Ok();
          }
          return status.ok() && page_.done;
        }));
    RETURN_IF_ERROR(status);
    return std::move(page_);
  }

 private:
  Status LookAtInode(InodeId inode, std::string_view value, uint64_t first) {
    ASSIGN_OR_RETURN(const InodeRecord file, InodeRecord::Decode(value));
    if (!file.is_regular() || file.rule_id == 0) return Status::Ok();
    ASSIGN_OR_RETURN(const PlacementRule* rule, RuleOf(file.rule_id));
    ASSIGN_OR_RETURN(const std::optional<TruncationRecord> truncation,
                     FindPendingTruncation(tables_, inode, file));
    Status status;
    bool any = false;
    RETURN_IF_ERROR(tables_.ScanFileBlocks(
        inode, first, std::numeric_limits<uint64_t>::max(),
        [&](uint64_t index, const FileBlockRecord& block) {
          // The first one always has its turn: so each page gets further.
          if (any && rows_left_ <= 0) {
            page_.next = {inode, index};
            page_.done = false;
            return false;
          }
          any = true;
          --rows_left_;
          if (block.reserved || (truncation && truncation->IsDead(index, block.block))) return true;
          status = LookAtBlock(file, index, block, *rule);
          return status.ok();
        }));
    return status;
  }

  Status LookAtBlock(const InodeRecord& file, uint64_t index, const FileBlockRecord& block,
                     const PlacementRule& rule) {
    const uint64_t start = index * file.block_size_bytes;
    const uint64_t behind = file.size_bytes > start ? file.size_bytes - start : 0;
    const uint64_t bytes = std::min<uint64_t>(file.block_size_bytes, behind);
    if (!is_misplaced_(block.chain, rule, bytes)) return Status::Ok();
    ASSIGN_OR_RETURN(const std::optional<RepairRecord> repair, tables_.FindRepair(block.block));
    constexpr uint8_t kTakenCareOf = kRepairMisplaced | kRepairSealing;
    if (!repair || (repair->reasons & kTakenCareOf) == 0) page_.blocks.push_back(block.block);
    return Status::Ok();
  }

  Result<const PlacementRule*> RuleOf(uint32_t id) {
    const auto [it, is_new] = rules_.try_emplace(id);
    if (is_new) {
      ASSIGN_OR_RETURN(it->second, tables_.GetPlacementRule(id));
    }
    return static_cast<const PlacementRule*>(&it->second);
  }

  const View& view_;
  const Tables tables_;
  const MisplacedFunction& is_misplaced_;
  int rows_left_;
  std::map<uint32_t, PlacementRule> rules_;
  MisplacedPage page_;
};

}  // namespace

Result<MisplacedPage> FindMisplacedBlocks(const View& view, MisplacedPosition position,
                                          int max_rows, const MisplacedFunction& is_misplaced) {
  if (max_rows <= 0) return Status(StatusCode::kInvalidArgument, "max_rows must be positive");
  return MisplacedWalk(view, max_rows, is_misplaced).Run(position);
}

}  // namespace tercet
