// What several operations do with repair rows, delete tasks and stale replicas
// (replica_operations.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/operation.h"

namespace tercet {

/// A block with the file it is part of.
struct OwnedBlock {
  InodeId inode;
  uint64_t index = 0;
  InodeRecord file;
  FileBlockRecord block;
};
/// Nothing when the block is not part of a file, or was cut off by a truncation that the reclaimer
/// has not come to yet. kCorruption: rows that cannot be read, or contradict each other also when
/// they are looked at again, so that a view may change meanwhile.
Result<std::optional<OwnedBlock>> FindOwnedBlock(const Tables& tables, BlockId block);

bool ContainsServer(std::span<const ServerId> servers, ServerId server);

/// The highest generation that a replica of the block may have anywhere.
Generation HighestGeneration(const FileBlockRecord& block,
                             const std::optional<RepairRecord>& repair);

/// Lets the servers in block.stale delete what they have, and empties the list. The caller writes
/// the block.
void LiftHolds(MutableTables& tables, FileBlockRecord& block, Generation generation);

/// Brings the reasons of `repair` up to date with the block and writes it as the block's row, or
/// removes the row when nothing is the matter. `before` is the row as it was. The caller sets
/// sealing, bad, targets and kRepairMisplaced. True when something was written.
bool SettleRepair(MutableTables& tables, const InodeRecord& file, const FileBlockRecord& block,
                  const std::optional<RepairRecord>& before, RepairRecord repair, int64_t now_ns);

/// After a change of the file's policy or the block's chain that was not a reconfiguration's: the
/// repair row, and holds that are not needed any more. `misplaced`: nothing leaves it as it is.
/// True when something was written.
Result<bool> ReviewBlock(MutableTables& tables, const OwnedBlock& owned,
                         std::optional<bool> misplaced, int64_t now_ns);

}  // namespace tercet
