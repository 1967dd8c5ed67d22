#include "metaserver/service/placement_audit.h"

#include <utility>

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/replica_operations.h"

namespace tercet {
namespace {

constexpr int kRowsPerStep = 1000;
constexpr size_t kReviewsPerRecord = 100;

}  // namespace

bool PlacementAudit::ServersChanged() {
  std::map<ServerId, Seen> now;
  bool changed = false;
  for (const ServerState& server : servers_.All()) {
    Seen seen{server.labels, servers_.IsAlive(server) && server.takes_replicas()};
    const auto before = seen_.find(server.id);
    if (before == seen_.end()) {
      changed = changed || seen.usable;
    } else {
      changed = changed || before->second.labels != seen.labels ||
                (seen.usable && !before->second.usable);
    }
    now.emplace(server.id, std::move(seen));
  }
  seen_ = std::move(now);
  return changed;
}

Result<bool> PlacementAudit::Step(Epoch epoch) {
  if (epoch_ != epoch) {
    epoch_ = epoch;
    running_ = false;
    wanted_ = true;
    seen_.clear();
    began_ms_ = clock_.MonotonicMillis() - kMinPassIntervalMs;
  }
  // What is not heard of yet is no place to go to, and nothing is to be learned from that.
  if (servers_.WaitsForKnown()) return false;
  const int64_t now_ms = clock_.MonotonicMillis();
  if (ServersChanged() || now_ms >= began_ms_ + kMaxPassIntervalMs) wanted_ = true;
  if (!running_) {
    if (!wanted_ || now_ms < began_ms_ + kMinPassIntervalMs) return false;
    bool any_rule = false;
    RETURN_IF_ERROR(
        Tables(proposer_.committed()).ScanPlacementRules([&](uint32_t, const PlacementRule&) {
          any_rule = true;
          return false;
        }));
    // The walk of the policy that names the first one looks at what it concerns.
    wanted_ = false;
    began_ms_ = now_ms;
    if (!any_rule) return false;
    running_ = true;
    position_ = {};
    found_ = 0;
  }
  return Look(epoch);
}

Result<bool> PlacementAudit::Look(Epoch epoch) {
  const auto judge = [this](std::span<const ServerId> chain, const PlacementRule& rule,
                            uint64_t bytes) { return servers_.IsMisplaced(chain, rule, bytes); };
  ASSIGN_OR_RETURN(const MisplacedPage page,
                   FindMisplacedBlocks(proposer_.committed(), position_, kRowsPerStep, judge));
  const std::span<const BlockId> blocks(page.blocks);
  for (size_t at = 0; at < blocks.size(); at += kReviewsPerRecord) {
    const auto batch = blocks.subspan(at, std::min(kReviewsPerRecord, blocks.size() - at));
    RETURN_IF_ERROR(
        proposer_.Propose(epoch, "misplaced blocks", [&](OperationContext& context) -> Status {
          for (const BlockId block : batch) {
            const Status status = EvaluateReviewBlock(context, block, true);
            if (!IsBadRow(status)) RETURN_IF_ERROR(status);
            if (!status.ok()) {
              LOG_WARN_LIMITED("a misplaced block cannot be noted block={}: {}", block, status);
            }
          }
          return Status::Ok();
        }));
  }
  if (!page.blocks.empty()) repair_.NoticeBlocks(page.blocks);
  found_ += static_cast<int64_t>(page.blocks.size());
  if (!page.done) {
    position_ = page.next;
    return true;
  }
  running_ = false;
  if (found_ > 0) {
    LOG_INFO("blocks are where their policy does not want them since the servers changed blocks={}",
             found_);
  }
  return false;
}

}  // namespace tercet
