// What several mutations do with inodes and directory entries.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/operation.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

inline InodeId InodeFromWire(int64_t id) { return InodeId(static_cast<uint64_t>(id)); }

/// kStaleHandle, kNotDirectory.
Result<InodeRecord> GetDirectory(const Tables& tables, InodeId inode);
/// A directory that accepts new entries: kNotFound when it was removed.
Result<InodeRecord> GetLinkedDirectory(const Tables& tables, InodeId inode);
/// kStaleHandle, kIsDirectory, kInvalidArgument for other types.
Result<InodeRecord> GetRegularFile(const Tables& tables, InodeId inode);

/// Writes an inode that changed, with the next change_version.
void PutChangedInode(MutableTables& tables, InodeId inode, InodeRecord& record);
/// mtime and ctime of a directory whose entries changed.
void TouchDirectory(InodeRecord& directory, int64_t now_ns);

/// A new inode with the policies of the directory it is made in, and its group when that is
/// set-gid.
InodeRecord MakeInode(const InodeRecord& parent, InodeType type, int32_t mode,
                      const wire::Owner& owner, int64_t now_ns);
/// Gives `record` an id, enters it as `name` (which must not be there), and writes it, the entry,
/// the parent and the counters. Returns the id.
Result<InodeId> InsertInode(OperationContext& context, InodeId parent_id, InodeRecord& parent,
                            std::string_view name, InodeRecord& record);

/// Takes the name `name` in `parent` from an inode, for a directory its only one, and writes it.
/// When none is left it goes to the trash (a regular file with a retention), or becomes an orphan.
Status DropName(OperationContext& context, InodeId inode, InodeRecord& record, InodeId parent,
                std::string_view name);

/// Makes an orphan of an inode without a name, which is written by the caller.
Status MakeOrphan(OperationContext& context, InodeId inode);

/// Whether `directory` is `ancestor` or below it; of a removed one, whether it was. kNotSupported
/// when it is too deep in the tree to tell.
Result<bool> IsWithin(const Tables& tables, InodeId directory, InodeId ancestor);

Result<bool> IsEmptyDirectory(const Tables& tables, InodeId directory);

}  // namespace tercet
