// The line that says in the journal what a record does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "metaserver/ops/operation.h"

namespace tercet {

/// Writes "verb key=value key=value" into the context's summary; does nothing when it has none.
/// A name is shown with bytes other than printable ASCII as \xNN, and cut after 60 bytes.
class Summary {
 public:
  Summary(OperationContext& context, std::string_view verb);

  Summary& Add(std::string_view key, uint64_t value);
  Summary& AddName(std::string_view key, std::string_view name);

 private:
  std::string* const out_;  // the context's; may be null
};

}  // namespace tercet
