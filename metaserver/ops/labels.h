// Labels of chunk servers ("rack" = "r1").
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tercet {

/// 1 to 64 letters, digits, '-', '_' and '.': what keys and values may be.
bool IsLabelWord(std::string_view word);

/// kInvalidArgument: more than 16, or a key or value that is no label word.
Status CheckLabels(const std::map<std::string, std::string>& labels);

}  // namespace tercet
