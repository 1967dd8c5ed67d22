// Paths of inodes, for people.
#pragma once

#include <string>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/view.h"

namespace tercet {

/// One of the absolute paths that lead to the inode now: by the hints in the inodes, each checked
/// against its directory. "inode N" when it has none or none is known; what is known of it,
/// "inode N/rest", when that is so of a directory above. Fails with errors of the database only.
Result<std::string> PathOf(const View& view, InodeId inode);

}  // namespace tercet
