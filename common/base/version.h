// The version of this build, as --version, logs and the wire show it.
#pragma once

#include <string_view>

namespace tercet {

inline constexpr std::string_view kVersion = "0.1.0";  // as in the top CMakeLists.txt

}  // namespace tercet
