// A scan over changed rows laid over a base view. Internal to tercet_state.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "metaserver/namespace/view.h"

namespace tercet {

/// Visits the rows of `base` in [from, to) merged, in key order, with the changes [change, end),
/// which are pairs of a key in [from, to) and an optional value, in key order: a change hides the
/// base's row of the same key, and without a value it deletes it. `row` may add changes to a
/// container with stable iterators; whether this scan visits them is not defined.
template <typename Iterator>
Status MergeScan(const View& base, std::string_view from, std::string_view to, Iterator change,
                 Iterator end, const View::RowFunction& row) {
  bool stopped = false;
  // Visits the changed rows before `key`, or all that are left when there is no key.
  auto visit_changes_before = [&](std::optional<std::string_view> key) {
    while (!stopped && change != end && (!key || change->first < *key)) {
      if (change->second && !row(change->first, *change->second)) stopped = true;
      ++change;
    }
  };
  RETURN_IF_ERROR(base.Scan(from, to, [&](std::string_view key, std::string_view value) {
    visit_changes_before(key);
    if (stopped) return false;
    if (change != end && change->first == key) {
      const std::optional<std::string>& changed = change->second;
      ++change;
      if (changed && !row(key, *changed)) stopped = true;
    } else if (!row(key, value)) {
      stopped = true;
    }
    return !stopped;
  }));
  visit_changes_before(std::nullopt);
  return Status::Ok();
}

}  // namespace tercet
