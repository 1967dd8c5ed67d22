// Whether the members of a chain have equal content, by their answers to TABLE: asked when one of
// them may differ in what nobody acknowledged (BadReplica::kDoubtful). Pure.
#pragma once

#include <cstdint>
#include <span>

#include "common/base/status.h"

namespace tercet {

/// What a replica's answer to TABLE says of its content: equal for equal content.
struct ReplicaContent {
  int32_t length = 0;
  /// CRC-32C over the page checksums.
  uint32_t table_crc = 0;
  bool operator==(const ReplicaContent&) const = default;
};

enum class Comparison {
  kEqual,
  kDifferent,  // or one of them has no replica of this generation that could be compared
  kUnknown,    // one gave no answer: to be asked again
};

/// An error is the server's refusal, or why it gave no answer.
Comparison CompareReplicas(std::span<const Result<ReplicaContent>> answers);

}  // namespace tercet
