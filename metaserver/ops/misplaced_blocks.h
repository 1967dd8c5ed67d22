// Blocks that their placement rule would have elsewhere, found by looking at all files: for when
// not the policy changed, but the servers did (labels, new servers).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/records.h"
#include "metaserver/namespace/view.h"

namespace tercet {

/// Placement's judgement of a chain of a block that holds at most `bytes`.
using MisplacedFunction =
    std::function<bool(std::span<const ServerId> chain, const PlacementRule& rule, uint64_t bytes)>;

/// Where a page begins.
struct MisplacedPosition {
  InodeId inode;
  uint64_t index = 0;  // of a block of this inode
};

struct MisplacedPage {
  /// Without those that are noted as misplaced already, or whose chain is being changed.
  std::vector<BlockId> blocks;
  MisplacedPosition next;
  bool done = false;  // all files were looked at; `next` says nothing then
};

/// Looks at about `max_rows` inodes and blocks from `position` on. Files without a rule cost their
/// inode only. Reads only. Files whose rows cannot be read are passed over
/// and logged.
Result<MisplacedPage> FindMisplacedBlocks(const View& view, MisplacedPosition position,
                                          int max_rows, const MisplacedFunction& is_misplaced);

}  // namespace tercet
