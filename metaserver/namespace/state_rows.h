// Rows of the state in bulk, as they travel between metaservers and lie in backups: of each row in
// key order a varint length and the key, a varint length and the value. The database's own rows
// (keys that begin with a zero byte) are never among them.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "metaserver/namespace/view.h"

namespace tercet {

struct StateRows {
  std::string rows;
  std::string last_key;  // of them; empty when there are none
  bool end = false;      // nothing is behind them
};

/// Rows of `view` behind `after_key` (empty: from the first); at least one when there is one, no
/// more once they exceed `max_bytes`.
Result<StateRows> ReadStateRows(const View& view, std::string_view after_key, size_t max_bytes);

void AppendStateRow(std::string* rows, std::string_view key, std::string_view value);

/// Calls `row` for each row; a status of it ends the visit. kCorruption when the bytes are
/// malformed (rows before the bad place were visited then). The views are valid as long as the
/// bytes.
using StateRowFunction = std::function<Status(std::string_view key, std::string_view value)>;
Status VisitStateRows(std::string_view rows, const StateRowFunction& row);

struct StateRowsSummary {
  size_t count = 0;
  std::string_view last_key;  // points into the rows
};
/// Checks that the rows are well-formed, in order, all behind `after_key`, and none is the
/// database's own: kCorruption.
Result<StateRowsSummary> CheckStateRows(std::string_view rows, std::string_view after_key);

}  // namespace tercet
