// Read operations. They look at a view of the state and change nothing; `info` of the responses is
// left to the service. Thread-safety is the view's.
//
// A view of the live database may change between two rows that one operation reads. Every function
// here tolerates that: an entry whose inode went away meanwhile is skipped or answered with
// kNotFound.
//
// Errors common to all: kStaleHandle when the inode is not there (any more), kIo and kCorruption
// from the database.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/view.h"
#include "tercet_thrift/admin_types.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

// Bounds of one reply; a request for more gets as much.
inline constexpr int kMaxDirectoryEntries = 10000;
inline constexpr size_t kMaxDirectoryReplyBytes = 1024 * 1024;
inline constexpr int kMaxBlocksPerReply = 4096;

/// kNotFound, kNotDirectory, kNameTooLong, kInvalidArgument (a '/' or NUL in the name). "." is the
/// directory itself, ".." the one that holds it.
Result<wire::LookupResponse> Lookup(const View& view, const wire::LookupRequest& request);

Result<wire::GetAttributesResponse> GetAttributes(const View& view,
                                                  const wire::GetAttributesRequest& request);

/// kInvalidArgument when it is not a symbolic link.
Result<wire::ReadLinkResponse> ReadLink(const View& view, const wire::ReadLinkRequest& request);

/// kNotDirectory. A reply holds at most kMaxDirectoryEntries entries and about
/// kMaxDirectoryReplyBytes.
Result<wire::ReadDirectoryResponse> ReadDirectory(const View& view,
                                                  const wire::ReadDirectoryRequest& request);

/// kIsDirectory; kInvalidArgument for a symbolic link. Other types have no blocks.
Result<wire::OpenFileResponse> OpenFile(const View& view, const wire::OpenFileRequest& request);

/// kIsDirectory; kInvalidArgument for other types or a negative range. At most kMaxBlocksPerReply
/// indexes are looked at.
Result<wire::GetBlocksResponse> GetBlocks(const View& view, const wire::GetBlocksRequest& request);

/// kNoAttribute, kRangeTooSmall (name too long).
Result<wire::GetXattrResponse> GetXattr(const View& view, const wire::GetXattrRequest& request);
Result<wire::ListXattrResponse> ListXattr(const View& view, const wire::ListXattrRequest& request);

/// The inode at an absolute path within the file system; symbolic links are not followed.
/// kNotFound, kNotDirectory, kNameTooLong, kInvalidArgument (not absolute).
Result<InodeId> ResolvePath(const View& view, std::string_view path);

/// Everything but `alive_servers`, which the service knows. kNotFound when there is no such inode
/// or path; kInvalidArgument when both or neither of path and inode are given. Reserved blocks are
/// left out.
Result<wire::GetFileInfoResponse> FileInfo(const View& view,
                                           const wire::GetFileInfoRequest& request);

}  // namespace tercet
