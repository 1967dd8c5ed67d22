#include "common/rpc/host_port.h"

#include <charconv>

namespace tercet {
namespace {

Status Invalid(std::string_view text, std::string_view why) {
  return Status(StatusCode::kInvalidArgument,
                "address '" + std::string(text) + "': " + std::string(why));
}

}  // namespace

std::string HostPort::ToString() const {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<HostPort> ParseHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return Invalid(text, "expected HOST:PORT");
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  if (!host.empty() && host.front() == '[') {
    if (host.back() != ']') return Invalid(text, "the bracket is not closed");
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return Invalid(text, "an IPv6 address goes in brackets: [ADDRESS]:PORT");
  }
  if (host.empty()) return Invalid(text, "the host is missing");
  if (host.find_first_of(" \t\r\n[]") != std::string_view::npos) {
    return Invalid(text, "the host has a space or bracket in it");
  }
  uint16_t port = 0;
  const auto [end, error] =
      std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (error != std::errc() || end != port_text.data() + port_text.size()) {
    return Invalid(text, "the port must be a number from 0 to 65535");
  }
  return HostPort{std::string(host), port};
}

Result<std::vector<HostPort>> ParseHostPorts(std::string_view text) {
  std::vector<HostPort> addresses;
  while (true) {
    const size_t comma = text.find(',');
    std::string_view item = text.substr(0, comma);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    ASSIGN_OR_RETURN(HostPort address, ParseHostPort(item));
    addresses.push_back(std::move(address));
    if (comma == std::string_view::npos) return addresses;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace tercet
