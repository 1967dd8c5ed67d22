// Looking at blocks by the servers that hold them: what exposure, drains and fsck have in common.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/tables.h"
#include "tercet_thrift/admin_types.h"

namespace tercet {

/// A committed, living block of a file that is there.
struct PlacedBlock {
  BlockId block;
  InodeId inode;
  uint64_t index = 0;
  FileBlockRecord record;
  const InodeRecord* file = nullptr;  // valid until the next look-up
};

/// Looks blocks up by id. Keeps the last file, because blocks that follow one another mostly belong
/// to one. Not thread-safe.
class BlockLookup {
 public:
  /// `view` must outlive this object.
  explicit BlockLookup(const View& view) : tables_(view) {}

  /// Nothing when the block is gone, dead or reserved.
  Result<std::optional<PlacedBlock>> Find(BlockId block);
  const Tables& tables() const { return tables_; }

 private:
  const Tables tables_;
  InodeId inode_;
  std::optional<InodeRecord> file_;
  std::optional<TruncationRecord> truncation_;
};

/// Servers of the block's chain whose replica is noted as bad. Doubtful ones are not: they have all
/// that was acknowledged.
Result<std::set<ServerId>> BadMembers(const Tables& tables, BlockId block);

/// Names files, each once, up to a limit.
class FileNames {
 public:
  FileNames(const View& view, size_t max) : view_(view), max_(max) {}

  Status Add(const PlacedBlock& block);
  std::vector<wire::FileName> Take() { return std::move(names_); }

 private:
  const View& view_;
  const size_t max_;
  std::set<InodeId> named_;
  std::vector<wire::FileName> names_;
};

/// The block as reports name it.
Result<wire::FileName> NameOf(const View& view, InodeId inode, BlockId block, uint64_t index);

}  // namespace tercet
