#include "metaserver/ops/labels.h"

#include <algorithm>

#include "metaserver/namespace/records.h"

namespace tercet {

bool IsLabelWord(std::string_view word) {
  return !word.empty() && word.size() <= kMaxServerLabelBytes &&
         std::ranges::all_of(word, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

Status CheckLabels(const std::map<std::string, std::string>& labels) {
  if (labels.size() > kMaxServerLabels) {
    return Status(StatusCode::kInvalidArgument, "more than 16 labels");
  }
  for (const auto& [key, value] : labels) {
    if (IsLabelWord(key) && IsLabelWord(value)) continue;
    return Status(StatusCode::kInvalidArgument,
                  "labels have 1 to 64 letters, digits, '-', '_' or '.' on each side of the '='");
  }
  return Status::Ok();
}

}  // namespace tercet
