#include "metaserver/namespace/state_rows.h"

#include <algorithm>

#include "common/base/coding.h"

namespace tercet {
namespace {

// All tables' keys are in between.
constexpr std::string_view kFirstKey("\x01", 1);
constexpr std::string_view kBehindAllKeys("\xff", 1);

}  // namespace

Result<StateRows> ReadStateRows(const View& view, std::string_view after_key, size_t max_bytes) {
  StateRows read;
  read.end = true;
  std::string from(after_key);
  from.push_back('\0');
  from = std::max(from, std::string(kFirstKey));
  RETURN_IF_ERROR(
      view.Scan(from, kBehindAllKeys, [&](std::string_view key, std::string_view value) {
        if (!read.rows.empty() && read.rows.size() > max_bytes) {
          read.end = false;
          return false;
        }
        AppendStateRow(&read.rows, key, value);
        read.last_key = key;
        return true;
      }));
  return read;
}

void AppendStateRow(std::string* rows, std::string_view key, std::string_view value) {
  PutLengthPrefixed(rows, key);
  PutLengthPrefixed(rows, value);
}

Status VisitStateRows(std::string_view rows, const StateRowFunction& row) {
  Decoder in(rows);
  while (!in.rest().empty()) {
    const std::string_view key = in.LengthPrefixed();
    const std::string_view value = in.LengthPrefixed();
    if (in.failed()) return in.Finish("rows of the state");
    RETURN_IF_ERROR(row(key, value));
  }
  return Status::Ok();
}

Result<StateRowsSummary> CheckStateRows(std::string_view rows, std::string_view after_key) {
  StateRowsSummary summary;
  summary.last_key = after_key;
  RETURN_IF_ERROR(VisitStateRows(rows, [&](std::string_view key, std::string_view) {
    if (key.empty() || key[0] == '\0') {
      return Status(StatusCode::kCorruption, "a row of the state has a key that no table has");
    }
    if (key <= summary.last_key) {
      return Status(StatusCode::kCorruption, "rows of the state are not in order");
    }
    summary.last_key = key;
    ++summary.count;
    return Status::Ok();
  }));
  if (summary.count == 0) summary.last_key = {};
  return summary;
}

}  // namespace tercet
