// Read access to the namespace state as ordered key/value rows, and a transaction over it. The
// rows' keys and values are described in metaserver/namespace/format.md.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "metaserver/namespace/write_set.h"

namespace tercet {

/// Thread-safety is that of the implementation.
class View {
 public:
  virtual ~View() = default;

  /// The value of `key`, or nothing. Fails only when the database does.
  virtual Result<std::optional<std::string>> Get(std::string_view key) const = 0;

  /// Called for each row in key order; false ends the scan. The views are valid during the call
  /// only.
  using RowFunction = std::function<bool(std::string_view key, std::string_view value)>;
  /// Visits rows with from <= key < to. The function may read from the view, but must not end its
  /// life.
  virtual Status Scan(std::string_view from, std::string_view to, const RowFunction& row) const = 0;
};

/// What one operation reads and changes: its own changes over a base view. Not thread-safe.
class Transaction final : public View {
 public:
  /// `base` must outlive the transaction.
  explicit Transaction(const View& base) : base_(base) {}

  Result<std::optional<std::string>> Get(std::string_view key) const override;
  Status Scan(std::string_view from, std::string_view to, const RowFunction& row) const override;
  /// The key must not be empty nor begin with a zero byte: those rows are the database's own.
  void Put(std::string_view key, std::string_view value);
  void Delete(std::string_view key);

  bool empty() const { return changes_.empty(); }
  /// The changes, one per key, in key order. The transaction is empty afterwards.
  WriteSet Take();

 private:
  const View& base_;
  std::map<std::string, std::optional<std::string>, std::less<>> changes_;  // nothing: deleted
};

}  // namespace tercet
