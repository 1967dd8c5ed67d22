// The command line that all daemons share: --config FILE, --set KEY=VALUE, --print-config,
// --version, --help.
#pragma once

#include <optional>
#include <string>

#include "common/config/config.h"

namespace tercet {

/// Reads the command line and loads the configuration into the schema's targets. Returns the exit
/// status when the process should end now: 0 after --help, --version and --print-config, 2 after a
/// usage or configuration error, which is then on standard error as one line.
std::optional<int> LoadDaemonConfig(int argc, char** argv, const std::string& program,
                                    const std::string& description, const ConfigSchema& schema);

}  // namespace tercet
