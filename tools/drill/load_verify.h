// Compares what is in the file system with what a drill's load was told.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "fuse_client/core/file_system.h"
#include "tools/drill/ledger.h"
#include "tools/drill/load.h"

namespace tercet {

inline constexpr const char* kDrillXattr = "user.n";

/// Empty when the attributes are as they must be, else what is not.
std::string DifferenceOf(const LedgerFile& file, const wire::Attributes& attributes);

struct DirectoryContent {
  std::string name;
  InodeId inode;
  bool directory = false;
};
/// All entries but "." and "..".
Result<std::vector<DirectoryContent>> ListDirectory(FileSystem& file_system, InodeId directory);

/// At most `max_bytes` from the beginning.
Result<std::string> ReadAll(FileSystem& file_system, InodeId inode, size_t max_bytes);

/// Adds to the verdict. Fails only when the file system does not answer.
Status VerifyLedger(FileSystem& file_system, InodeId directory, const Ledger& ledger,
                    const std::string& prefix, LoadVerdict* verdict);

/// OK also when it is not there.
Status RemoveTree(FileSystem& file_system, InodeId parent, const std::string& name);

}  // namespace tercet
