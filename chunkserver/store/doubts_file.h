// The file `doubts` of a disk: the doubtful replicas that the active did not know of yet
// (format.md). It has those of all disks of the server, so that none is forgotten with a disk.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chunkserver/store/block_store.h"
#include "common/base/status.h"

namespace tercet {

/// More cannot be in the file.
inline constexpr size_t kMaxSavedDoubts = 1'000'000;
inline constexpr size_t kMaxDoubtsFileBytes = 32 + 16 * kMaxSavedDoubts;

std::string EncodeDoubts(const std::vector<ReplicaInfo>& doubts);
/// kCorruption, or kVersionTooNew.
Result<std::vector<ReplicaInfo>> DecodeDoubts(std::string_view bytes);

}  // namespace tercet
