// "HOST:PORT" addresses and lists of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace tercet {

struct HostPort {
  std::string host;
  uint16_t port = 0;

  std::string ToString() const;  // IPv6 hosts come in brackets
  friend bool operator==(const HostPort&, const HostPort&) = default;
  friend auto operator<=>(const HostPort&, const HostPort&) = default;
};

/// "meta1:9400", "127.0.0.1:9400", "[::1]:9400". kInvalidArgument says what is wrong.
Result<HostPort> ParseHostPort(std::string_view text);
/// A comma-separated, non-empty list.
Result<std::vector<HostPort>> ParseHostPorts(std::string_view text);

}  // namespace tercet
