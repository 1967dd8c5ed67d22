#include <algorithm>
#include <bit>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/attributes.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Status EvaluateFormat(OperationContext& context, const FormatOptions& options) {
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(std::optional<uint64_t> version, tables.FindFormatVersion());
  if (version) {
    return Status(StatusCode::kFailedPrecondition, "the namespace state is formatted already");
  }
  if (options.cluster_id.size() != kUuidBytes || !std::has_single_bit(options.block_size_bytes) ||
      options.block_size_bytes < kMinBlockSizeBytes ||
      options.block_size_bytes > kMaxBlockSizeBytes || options.min_replicas == 0 ||
      options.min_replicas > options.replicas || options.replicas > kMaxChainLength) {
    return Status(
        StatusCode::kInvalidArgument,
        "a cluster needs an id of 16 bytes, a block size that is a power of two from 4 KiB "
        "to 64 MiB, and 1 <= min_replicas <= replicas <= 16");
  }
  tables.PutFormatVersion(kNamespaceFormatVersion);
  tables.PutClusterId(options.cluster_id);
  tables.PutCounter(Counter::kNextInode, kRootInode.value() + 1);
  tables.PutCounter(Counter::kNextBlock, 1);
  tables.PutCounter(Counter::kNextSession, 1);
  tables.PutCounter(Counter::kNextServer, 1);
  tables.PutCounter(Counter::kInodeCount, 1);
  tables.PutCounter(Counter::kBlockCount, 0);
  tables.PutCounter(Counter::kOrphanCount, 0);
  InodeRecord root;
  root.type = InodeType::kDirectory;
  root.mode = options.root_mode & kModeMask;
  root.nlink = 2;
  root.size_bytes = kDirectorySizeBytes;
  root.atime_ns = root.mtime_ns = root.ctime_ns = context.now_ns;
  root.parent = kRootInode;
  root.block_size_bytes = options.block_size_bytes;
  root.replicas = options.replicas;
  root.min_replicas = options.min_replicas;
  tables.PutInode(kRootInode, root);
  Summary(context, "format").Add("version", kNamespaceFormatVersion);
  return Status::Ok();
}

Status CheckFormat(const View& view) {
  ASSIGN_OR_RETURN(std::optional<uint64_t> version, Tables(view).FindFormatVersion());
  if (!version) {
    return Status(StatusCode::kFailedPrecondition, "the namespace state was never formatted");
  }
  if (*version > kNamespaceFormatVersion) {
    return Status(StatusCode::kVersionTooNew,
                  "the namespace state has format version " + std::to_string(*version) +
                      ", this program knows " + std::to_string(kNamespaceFormatVersion) +
                      ": run a newer tercet-metaserver");
  }
  return Status::Ok();
}

}  // namespace tercet
