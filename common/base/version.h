// The version of this build, as --version, logs and the wire show it.
#pragma once

#include <string_view>

namespace tercet {

inline constexpr std::string_view kVersion = TERCET_VERSION;

}  // namespace tercet
