#include "common/config/daemon_options.h"

#include <CLI/CLI.hpp>

#include "common/base/version.h"

namespace tercet {

std::optional<int> LoadDaemonConfig(int argc, char** argv, const std::string& program,
                                    const std::string& description, const ConfigSchema& schema) {
  constexpr int kUsageError = 2;
  CLI::App app(description, program);
  std::string file;
  std::vector<std::string> overrides;
  bool print_config = false;
  app.add_option("--config", file, "configuration file (TOML)")->type_name("FILE");
  app.add_option("--set", overrides, "override one setting; may be given several times")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  app.add_flag("--print-config", print_config, "print all settings with defaults and bounds");
  app.set_version_flag("--version", program + " " + std::string(kVersion));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageError;
  }
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
