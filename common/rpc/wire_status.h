// Outcomes as they travel: in the headers of frames and in the replies of metaservers.
#pragma once

#include <string>

#include "common/base/status.h"
#include "tercet_thrift/common_types.h"

namespace tercet {

/// Longest message that goes into a header; one that grew over many servers is cut.
inline constexpr size_t kMaxWireMessageBytes = 4096;

inline wire::WireStatus ToWire(const Status& status) {
  wire::WireStatus out;
  out.code = static_cast<int32_t>(status.code());
  out.message = status.message().substr(0, kMaxWireMessageBytes);
  return out;
}

/// A code that this version does not know counts as kInternal.
inline Status FromWire(const wire::WireStatus& status) {
  if (status.code == 0) return Status::Ok();
  const auto code = static_cast<StatusCode>(status.code);
  if (StatusCodeName(code) == StatusCodeName(static_cast<StatusCode>(-1))) {
    return Status(StatusCode::kInternal,
                  "unknown code " + std::to_string(status.code) + ": " + status.message);
  }
  return Status(code, status.message);
}

}  // namespace tercet
