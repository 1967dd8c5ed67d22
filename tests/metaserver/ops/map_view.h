// A View over rows in memory, and committing a transaction to it.
#pragma once

#include <map>
#include <string>

#include "metaserver/namespace/view.h"

namespace tercet {

class MapView final : public View {
 public:
  Result<std::optional<std::string>> Get(std::string_view key) const override {
    auto row = rows.find(key);
    if (row == rows.end()) return std::optional<std::string>();
    return std::optional<std::string>(row->second);
  }

  Status Scan(std::string_view from, std::string_view to, const RowFunction& row) const override {
    for (auto it = rows.lower_bound(from); it != rows.end() && it->first < to; ++it) {
      if (!row(it->first, it->second)) break;
    }
    return Status::Ok();
  }

  void Apply(const WriteSet& changes) {
    for (const WriteSetEntry& entry : changes.entries) {
      if (entry.value) {
        rows[entry.key] = *entry.value;
      } else {
        rows.erase(entry.key);
      }
    }
  }

  std::map<std::string, std::string, std::less<>> rows;
};

}  // namespace tercet
