// Files whose last name is gone and that are kept for a while (docs/decisions/0021-file-trash.md).
//
// Invariants:
//  - A file in the trash has nlink 0, one trash row, whose key has the expiry that its inode names,
//    and no orphan row. Only regular files get there.
//  - It leaves the trash with a name (restore), or as an orphan (purge, expiry): from then on what
//    holds for orphans holds for it, open handles included.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/namespace/view.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/operation.h"
#include "tercet_thrift/admin_types.h"

namespace tercet {

inline constexpr int kMaxTrashEntriesPerReply = 10'000;

/// kNotFound: not in the trash (any more), or its directory is gone; kExists; kInvalidArgument
/// (path); kNotDirectory.
Result<wire::RestoreTrashResponse> EvaluateRestoreTrash(OperationContext& context,
                                                        const wire::RestoreTrashRequest& request);

/// Makes orphans of those that are in the trash (others are skipped). Returns how many.
Result<int> EvaluatePurgeTrash(OperationContext& context, std::span<const InodeId> inodes);

/// Makes orphans of at most `max_files` whose time is over. Done when no such file is left.
Result<BatchResult> EvaluateExpireTrash(OperationContext& context, int max_files);

/// In order of expiry. kInvalidArgument: cursor; errors of `path`. Bounded work: a page may be
/// empty and have a cursor.
Result<wire::ListTrashResponse> ListTrash(const View& view, const wire::ListTrashRequest& request);

/// A page of the files deleted before a time, for EvaluatePurgeTrash; bounded work: a page may be
/// empty although there is more.
struct TrashPage {
  std::vector<InodeId> inodes;
  std::string cursor;  // for the next page; empty: there is none
};
/// kInvalidArgument: cursor.
Result<TrashPage> FindTrashBefore(const View& view, int64_t deleted_before_ns,
                                  std::string_view cursor, int max_files);

}  // namespace tercet
