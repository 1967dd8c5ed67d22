// The effect of one operation on the namespace state: what the journal carries and standbys apply blindly.
#pragma once

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

/// Row changes plus one line for people who read the journal. Encoding: metaserver/journal/format.md.
struct WriteSet {
  std::string summary;  // "create parent=1 name=a inode=7", at most 200 bytes are stored
  std::vector<WriteSetEntry> entries;

  std::string Encode() const;
  static Result<WriteSet> Decode(std::string_view bytes);
};

}  // namespace tercet
