// Changing a file's size.
#pragma once

#include <cstdint>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/operation.h"

namespace tercet {

/// Sets `record`.size_bytes (the inode itself is written by the caller) and takes away what is
/// behind the new end: up to kMaxBlocksCutAtOnce blocks at once, more by a cut for the reclaimer.
/// The block with the new end gets valid_bytes. Growing changes the size only. kUnavailable when
/// too many cuts are pending.
Status ResizeFile(OperationContext& context, InodeId inode, InodeRecord& record,
                  uint64_t size_bytes);

}  // namespace tercet
