#include "common/config/daemon_options.h"

#include "common/base/version.h"
#include "common/config/command_line.h"

namespace tercet {

std::optional<int> LoadDaemonConfig(int argc, char** argv, const std::string& program,
                                    const std::string& description, const ConfigSchema& schema) {
  constexpr int kUsageError = 2;
  CommandLine command_line(program, description);
  Command root = command_line.root();
  std::string file;
  std::vector<std::string> overrides;
  bool print_config = false;
  root.AddOption("--config", file, "configuration file (TOML)").TypeName("FILE");
  root.AddOption("--set", overrides, "override one setting; may be given several times")
      .TypeName("KEY=VALUE")
      .Repeatable();
  root.AddFlag("--print-config", print_config, "print all settings with defaults and bounds");
  command_line.AddVersion(program + " " + std::string(kVersion));
  if (const std::optional<int> ended = command_line.Parse(argc, argv)) return ended;
  if (print_config) {
    schema.PrintReference();
    return 0;
  }
  if (Status status = schema.Load(file, overrides); !status.ok()) {
    std::fprintf(stderr, "%s: %s\n", program.c_str(), status.message().c_str());
    return kUsageError;
  }
  return std::nullopt;
}

}  // namespace tercet
