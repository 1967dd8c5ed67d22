// Runs other programs (nft, mount, mkfs) and hears what they say.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tercet {

/// Runs the program, found in PATH, with `input` (at most 64 KiB) as its standard input. Its
/// standard output; kNotFound when there is no such program, kDeadlineExceeded when it was killed
/// after `timeout`, else kFailedPrecondition with what it wrote to standard error.
Result<std::string> RunProgram(const std::vector<std::string>& command,
                               const std::string& input = "",
                               std::chrono::milliseconds timeout = std::chrono::seconds(20));

}  // namespace tercet
