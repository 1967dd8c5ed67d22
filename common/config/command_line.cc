#include "common/config/command_line.h"

#include <CLI/CLI.hpp>
#include <iostream>

namespace tercet {

namespace {
constexpr int kUsageError = 2;
}  // namespace

CommandOption CommandOption::Required() {
  option_->required();
  return *this;
}

CommandOption CommandOption::TypeName(const std::string& name) {
  option_->type_name(name);
  return *this;
}

CommandOption CommandOption::InRange(int min, int max) {
  option_->check(CLI::Range(min, max));
  return *this;
}

CommandOption CommandOption::InRange(double min, double max) {
  option_->check(CLI::Range(min, max));
  return *this;
}

CommandOption CommandOption::InRange(unsigned min, unsigned max) {
  option_->check(CLI::Range(min, max));
  return *this;
}

CommandOption CommandOption::InRange(uint64_t min, uint64_t max) {
  option_->check(CLI::Range(min, max));
  return *this;
}

CommandOption CommandOption::Positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}

CommandOption CommandOption::OneOf(std::initializer_list<const char*> values) {
  option_->check(CLI::IsMember(std::vector<std::string>(values.begin(), values.end())));
  return *this;
}

CommandOption CommandOption::ByteSize() {
  option_->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
  return *this;
}

CommandOption CommandOption::ShowDefault() {
  option_->capture_default_str();
  return *this;
}

CommandOption CommandOption::Excludes(CommandOption other) {
  option_->excludes(other.option_);
  return *this;
}

CommandOption CommandOption::Excludes(const std::string& other) {
  option_->excludes(other);
  return *this;
}

CommandOption CommandOption::OneValueEachTime() {
  option_->allow_extra_args(false);
  return *this;
}

CommandOption CommandOption::Repeatable() {
  option_->expected(1)->take_all();
  return *this;
}

CommandOption CommandOption::OneValueOnly() {
  option_->expected(1);
  return *this;
}

Command Command::AddSubcommand(const std::string& name, const std::string& help) {
  return Command(app_->add_subcommand(name, help));
}

Command Command::Subcommand(const std::string& name) const {
  return Command(app_->get_subcommand(name));
}

void Command::RequireSubcommand() { app_->require_subcommand(1); }

template <typename T>
CommandOption Command::AddOption(const std::string& names, T& variable, const std::string& help) {
  // Most likely a variable of a script that is not set: nothing is done on its word.
  const auto not_empty = [](const std::string& value) {
    return value.empty() ? std::string("an empty value was given") : std::string();
  };
  return CommandOption(app_->add_option(names, variable, help)->check(not_empty, ""));
}

template CommandOption Command::AddOption(const std::string&, std::string&, const std::string&);
template CommandOption Command::AddOption(const std::string&, std::optional<std::string>&,
                                          const std::string&);
template CommandOption Command::AddOption(const std::string&, std::vector<std::string>&,
                                          const std::string&);
template CommandOption Command::AddOption(const std::string&, int&, const std::string&);
template CommandOption Command::AddOption(const std::string&, int64_t&, const std::string&);
template CommandOption Command::AddOption(const std::string&, uint16_t&, const std::string&);
template CommandOption Command::AddOption(const std::string&, uint32_t&, const std::string&);
template CommandOption Command::AddOption(const std::string&, uint64_t&, const std::string&);
template CommandOption Command::AddOption(const std::string&, double&, const std::string&);

CommandOption Command::AddFlag(const std::string& names, bool& variable, const std::string& help) {
  return CommandOption(app_->add_flag(names, variable, help));
}

CommandOption Command::Option(const std::string& name) const {
  return CommandOption(app_->get_option(name));
}

void Command::Footer(const std::string& text) { app_->footer(text); }

void Command::OnRun(std::function<void()> run) { app_->callback(std::move(run)); }

CommandLine::CommandLine(const std::string& program, const std::string& description)
    : app_(std::make_unique<CLI::App>(description, program)) {}

CommandLine::~CommandLine() = default;

Command CommandLine::root() { return Command(app_.get()); }

void CommandLine::AddVersion(const std::string& text) { app_->set_version_flag("--version", text); }

std::optional<int> CommandLine::Parse(int argc, const char* const* argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::RequiredError& error) {
    const std::vector<std::string> unknown = app_->remaining(/*recurse=*/true);
    if (!unknown.empty() && std::string(error.what()).find("subcommand") != std::string::npos) {
      std::cerr << app_->get_name() << ": there is no command '" << unknown.front()
                << "' here; --help lists those there are\n";
      return kUsageError;
    }
    return app_->exit(error) == 0 ? 0 : kUsageError;
  } catch (const CLI::ParseError& error) {
    return app_->exit(error) == 0 ? 0 : kUsageError;
  }
  return std::nullopt;
}

}  // namespace tercet
