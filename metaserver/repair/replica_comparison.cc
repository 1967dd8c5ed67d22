#include "metaserver/repair/replica_comparison.h"

#include <algorithm>

namespace tercet {
namespace {

bool IsSilence(StatusCode code) {
  return code == StatusCode::kUnavailable || code == StatusCode::kDeadlineExceeded ||
         code == StatusCode::kCancelled;
}

}  // namespace

Comparison CompareReplicas(std::span<const Result<ReplicaContent>> answers) {
  bool different = false;
  for (const Result<ReplicaContent>& answer : answers) {
    // An attempt now would leave it out, for a doubt that may be about nothing.
    if (!answer.ok() && IsSilence(answer.code())) return Comparison::kUnknown;
    different = different || !answer.ok() || !answers.front().ok() ||
                answer.value() != answers.front().value();
  }
  return different ? Comparison::kDifferent : Comparison::kEqual;
}

}  // namespace tercet
