// Identities and other bytes as hexadecimal digits, for people and for settings.
#pragma once

#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tercet {

/// Two lower-case digits for each byte.
std::string HexOf(std::string_view bytes);

/// The bytes of hexadecimal digits, two for each, in lower or upper case. kInvalidArgument for
/// anything else.
Result<std::string> BytesFromHex(std::string_view hex);

}  // namespace tercet
