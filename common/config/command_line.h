// Command lines: options, flags and subcommands, with help and the usual errors. A thin front of
// CLI11, which takes a compiler several seconds wherever it is included, so only command_line.cc is
// compiled with it.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace tercet {

/// One option, flag or positional argument. A handle: copies mean the same option, which the
/// CommandLine owns. Every setter returns the handle, so that they can be written in a row.
class CommandOption {
 public:
  explicit CommandOption(CLI::Option* option) : option_(option) {}

  CommandOption Required();
  /// What the help says in the place of its value, e.g. "TIME".
  CommandOption TypeName(const std::string& name);
  /// Limits the value, both ends included; the kind of number is named in the help.
  CommandOption InRange(int min, int max);
  CommandOption InRange(double min, double max);
  CommandOption InRange(unsigned min, unsigned max);
  CommandOption InRange(uint64_t min, uint64_t max);
  CommandOption Positive();
  CommandOption OneOf(std::initializer_list<const char*> values);
  /// A number of bytes, also with a unit of 1,024 (KiB, MiB, …). Before InRange.
  CommandOption ByteSize();
  /// The help shows what the variable holds now.
  CommandOption ShowDefault();
  /// Not together with the other, which must have been added before.
  CommandOption Excludes(CommandOption other);
  CommandOption Excludes(const std::string& other);
  /// A list takes one value each time that the option is given, not all words that follow.
  CommandOption OneValueEachTime();
  /// A list may be given several times, each with one value or more.
  CommandOption Repeatable();
  /// A list takes at most one value.
  CommandOption OneValueOnly();

 private:
  CLI::Option* option_;
};

/// A command, or the program itself. A handle like CommandOption.
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}

  Command AddSubcommand(const std::string& name, const std::string& help);
  /// A subcommand that was added before.
  Command Subcommand(const std::string& name) const;
  /// It does nothing by itself: exactly one of its subcommands must be named.
  void RequireSubcommand();

  /// `names` is "--name", "-n,--name", or "name" for a positional argument. The variable must live
  /// until parsing is done. T: std::string, std::optional<std::string>, std::vector<std::string>,
  /// int, int64_t, uint16_t, uint32_t, uint64_t, double.
  template <typename T>
  CommandOption AddOption(const std::string& names, T& variable, const std::string& help);
  CommandOption AddFlag(const std::string& names, bool& variable, const std::string& help);
  /// An option of this command that was added before.
  CommandOption Option(const std::string& name) const;

  /// Text at the end of its help.
  void Footer(const std::string& text);
  /// What runs, once all was parsed without an error, when the command was named.
  void OnRun(std::function<void()> run);

 private:
  CLI::App* app_;
};

/// A program's command line. Not thread-safe.
class CommandLine {
 public:
  CommandLine(const std::string& program, const std::string& description);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  Command root();
  /// Adds --version, which prints `text`.
  void AddVersion(const std::string& text);
  /// Fills the variables and runs what was named. The exit status when the process should end now:
  /// 0 after help or the version was printed, 2 after an error in the use, which is on standard
  /// error then.
  std::optional<int> Parse(int argc, const char* const* argv);

 private:
  const std::unique_ptr<CLI::App> app_;
};

}  // namespace tercet
