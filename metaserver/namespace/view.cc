#include "metaserver/namespace/view.h"

#include <cassert>

#include "metaserver/namespace/merge_scan.h"

namespace tercet {

Result<std::optional<std::string>> Transaction::Get(std::string_view key) const {
  auto change = changes_.find(key);
  if (change != changes_.end()) return change->second;
  return base_.Get(key);
}

Status Transaction::Scan(std::string_view from, std::string_view to, const RowFunction& row) const {
  if (from >= to) return Status::Ok();
  return MergeScan(base_, from, to, changes_.lower_bound(from), changes_.lower_bound(to), row);
}

void Transaction::Put(std::string_view key, std::string_view value) {
  assert(!key.empty() && key[0] != '\0');  // those rows are the database's own
  auto change = changes_.find(key);
  if (change != changes_.end()) {
    change->second.emplace(value);
  } else {
    changes_.emplace(std::string(key), std::string(value));
  }
}

void Transaction::Delete(std::string_view key) {
  assert(!key.empty() && key[0] != '\0');
  auto change = changes_.find(key);
  if (change != changes_.end()) {
    change->second.reset();
  } else {
    changes_.emplace(std::string(key), std::nullopt);
  }
}

WriteSet Transaction::Take() {
  WriteSet set;
  set.entries.reserve(changes_.size());
  while (!changes_.empty()) {
    auto node = changes_.extract(changes_.begin());
    set.entries.push_back({std::move(node.key()), std::move(node.mapped())});
  }
  return set;
}

}  // namespace tercet
