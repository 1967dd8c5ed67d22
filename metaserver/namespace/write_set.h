// The effect of one operation on the namespace state: what the journal carries and standbys apply
// blindly.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace tercet {

struct WriteSetEntry {
  std::string key;
  std::optional<std::string> value;  // nothing: the row is deleted
};

/// Row changes plus one line for people who read the journal. Encoding:
/// metaserver/journal/format.md.
struct WriteSet {
  std::string summary;  // "create parent=1 name=a inode=7", at most 200 bytes are stored
  std::vector<WriteSetEntry> entries;

  static constexpr size_t kMaxSummaryBytes = 200;

  std::string Encode() const;
  /// kCorruption when `bytes` is not exactly one write set, kVersionTooNew when a newer Tercet
  /// wrote it.
  static Result<WriteSet> Decode(std::string_view bytes);

  /// `value` is nothing for a deleted row. The views are valid as long as the visited bytes.
  using EntryFunction =
      std::function<void(std::string_view key, std::optional<std::string_view> value)>;
  /// Decode without copies: calls `entry` for each entry in order. On an error some entries may
  /// have been visited already. `summary` may be null.
  static Status Visit(std::string_view bytes, const EntryFunction& entry,
                      std::string_view* summary = nullptr);
};

}  // namespace tercet
