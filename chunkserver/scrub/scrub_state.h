// What is remembered of the verification of a disk: the file `scrub` in its folder (format.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"

namespace tercet {

inline constexpr size_t kMaxScrubFileBytes = 256;

/// Times are nanoseconds since 1970-01-01 UTC.
struct ScrubState {
  std::string disk_uuid;  // 16 bytes
  /// The round under way; 0: none is.
  int64_t round_started_ns = 0;
  BlockId position;             // replicas up to this block have been verified in this round
  uint64_t verified_cost = 0;   // of the round, in the unit of scrub_pace.h
  uint64_t verified_bytes = 0;  // of the round
  uint64_t bad_replicas = 0;    // found in the round
  /// The round that was completed last; 0: none was.
  int64_t completed_started_ns = 0;
  int64_t completed_ended_ns = 0;
  friend bool operator==(const ScrubState&, const ScrubState&) = default;
};

std::string EncodeScrubState(const ScrubState& state);
/// kCorruption, or kVersionTooNew.
Result<ScrubState> DecodeScrubState(std::string_view bytes);

}  // namespace tercet
