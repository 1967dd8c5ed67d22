// Mutations that clients ask for. Semantics are those of Linux on ext4 where the comment says
// nothing else; permissions were checked by the client's kernel.
//
// Invariants every mutation keeps (tests/metaserver/ops/invariants.h checks them):
//  - An inode's nlink is the number of its dentries (directories: 2 + subdirectories); nlink 0 if
//    and only if there is an orphan row. A directory's parent is the inode that holds its one
//    dentry.
//  - Every file block row has an owner row that names it, and the reverse. A committed block has a
//    replica row for each server of its chain with its generation, a reserved one has none; dead
//    blocks keep theirs.
//  - block_count is the number of committed block rows of the inode; the counters are the totals.
//  - A block leaves the state only together with a delete task for each server of its chain.
//  - Every inode row that is written gets a higher change_version.
//  - A record stays small: whatever may concern many rows is done in batches
//    (internal_operations.h).
//
// On an error the transaction's content is to be dropped. `info` of the responses is left to the
// service. Errors common to all: kStaleHandle when the inode is not there (any more), kIo and
// kCorruption from the database. For those that take a name: kNotDirectory, kNameTooLong (over 255
// bytes), kInvalidArgument (a '/' or NUL in it), kNotFound when the directory was removed.
#pragma once

#include <cstdint>

#include "common/base/status.h"
#include "metaserver/ops/operation.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

/// Names that a file other than a directory may have. Directories are not limited.
inline constexpr uint32_t kMaxLinks = 65000;
/// Blocks that one truncation removes at once; when there are more, all go to the reclaimer.
inline constexpr int kMaxBlocksCutAtOnce = 128;
/// Blocks that one commit may name in each of its lists; a writer with more sends several.
inline constexpr size_t kMaxBlocksPerCommit = 1024;
/// Per inode.
inline constexpr uint32_t kMaxXattrs = 1000;
/// Names and values of one inode's attributes together.
inline constexpr size_t kMaxXattrTotalBytes = 128 * 1024;
/// Names of one inode's attributes, each with a NUL: what listxattr(2) can return.
inline constexpr size_t kMaxXattrNamesBytes = 64 * 1024;
/// How far a rename looks upwards for a directory that would be moved into itself.
inline constexpr int kMaxDirectoryDepth = 65536;

/// kExists (exclusive, or what is there is not a regular file), kIsDirectory.
Result<wire::CreateFileResponse> EvaluateCreateFile(OperationContext& context,
                                                    const wire::CreateFileRequest& request);

/// kExists; kInvalidArgument for an empty or an unknown type; kNameTooLong for a symlink target
/// over 4095 bytes, kNotFound for an empty one.
Result<wire::MakeNodeResponse> EvaluateMakeNode(OperationContext& context,
                                                const wire::MakeNodeRequest& request);

/// kNotPermitted for a directory, kTooManyLinks, kExists, kNotFound for an inode without a name.
Result<wire::LinkResponse> EvaluateLink(OperationContext& context,
                                        const wire::LinkRequest& request);

/// kNotFound, kIsDirectory.
Result<wire::UnlinkResponse> EvaluateUnlink(OperationContext& context,
                                            const wire::UnlinkRequest& request);

/// kNotFound, kNotDirectory, kNotEmpty.
Result<wire::RemoveDirectoryResponse> EvaluateRemoveDirectory(
    OperationContext& context, const wire::RemoveDirectoryRequest& request);

/// kNotFound, kExists (no_replace), kNotDirectory, kIsDirectory, kNotEmpty, kInvalidArgument (into
/// its own subtree; both flags), kBusy ("." and "..").
Result<wire::RenameResponse> EvaluateRename(OperationContext& context,
                                            const wire::RenameRequest& request);

/// With a size: kIsDirectory, kInvalidArgument (negative, not a regular file), kFileTooLarge;
/// kUnavailable when too many large truncations of the file wait for the reclaimer (retry). A
/// change of owner clears set-uid and set-gid of non-directories as chown(2) does, unless the mode
/// is given too.
Result<wire::SetAttributesResponse> EvaluateSetAttributes(
    OperationContext& context, const wire::SetAttributesRequest& request);

/// kExists (create_only), kNoAttribute (replace_only), kRangeTooSmall (name), kArgumentTooBig
/// (value), kNoSpace (too many or too large together), kNotSupported (a namespace other than user,
/// trusted and security), kNotPermitted (user attributes of what is neither file nor directory).
Result<wire::SetXattrResponse> EvaluateSetXattr(OperationContext& context,
                                                const wire::SetXattrRequest& request);

/// kNoAttribute, kRangeTooSmall (name).
Result<wire::RemoveXattrResponse> EvaluateRemoveXattr(OperationContext& context,
                                                      const wire::RemoveXattrRequest& request);

/// kIsDirectory, kInvalidArgument, kFileTooLarge, and what the ReplicaChooser answers. A committed
/// block is returned as it is. So is a reserved one, except when replace_block_id names it or every
/// session it was given to has ended: a new block takes its place, the old one gets delete tasks.
Result<wire::AllocateBlockResponse> EvaluateAllocateBlock(
    OperationContext& context, const wire::AllocateBlockRequest& request);

/// kConflict when a named block is not part of the file any more (cut off by a truncation, or
/// replaced): allocate and write again. kInvalidArgument, kIsDirectory, kFileTooLarge. A named
/// block's valid_bytes is cleared when it was trimmed. It is also cleared, to never lose
/// acknowledged data to a truncation that the writer did not know of, when a block is committed
/// first with an end_offset behind it, and for the block with end_offset when that makes the file
/// longer.
Result<wire::CommitWriteResponse> EvaluateCommitWrite(OperationContext& context,
                                                      const wire::CommitWriteRequest& request);

}  // namespace tercet
