// What one thread of a drill's load was told: the files that must be there now, exactly these, and
// what is in them. Each thread has a directory of its own, so that nobody else changes it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "common/base/ids.h"

namespace tercet {

struct LedgerFile {
  InodeId inode;
  uint32_t mode = 0600;
  std::optional<uint64_t> xattr;  // "user.n" as a decimal number
  /// What was written with an acknowledged fsync: DrillPattern(seed, size).
  uint64_t data_seed = 0;
  uint64_t size_bytes = 0;
  /// An operation on it failed with an outcome that is not known: it is not checked.
  bool doubtful = false;
};

/// By name.
using Ledger = std::map<std::string, LedgerFile>;

/// Bytes that are the same for the same seed and size.
std::string DrillPattern(uint64_t seed, size_t size_bytes);

}  // namespace tercet
