// How the commands print: figures for people, tables, colour only on a terminal.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tercet {

/// "1.5 GiB", "17 B".
std::string HumanBytes(uint64_t bytes);
/// "350 ms", "12 s", "3 min", "5 h", "2 d"; "-" when negative.
std::string HumanMillis(int64_t milliseconds);
/// "0 s", "45 s", "2m 10s", "3h 5m", "4d 2h"; "-" when negative.
std::string HumanSeconds(int64_t seconds);
/// "12.5 MiB/s".
std::string HumanRate(int64_t bytes_per_second);
/// "2026-11-23 09:15:02 UTC"; "never" for 0.
std::string HumanTime(int64_t nanoseconds);
/// "1,234,567".
std::string Grouped(int64_t number);
/// The bytes as lower-case hexadecimal.
std::string Hex(const std::string& bytes);

/// As JSON of UTF-8, with a newline at the end. Names of files need not be UTF-8: bytes that are
/// not become U+FFFD. `indent` -1: on one line.
std::string JsonText(const nlohmann::json& object, int indent = 2);
/// A name as people can read it on a line of its own: control characters and bytes that are not
/// UTF-8 as \n, \t, \xNN, a backslash as two.
std::string Printable(const std::string& name);

enum class Colour { kRed, kGreen, kYellow, kBold };
/// The text in that colour when standard output is a terminal and NO_COLOR is not set.
std::string Coloured(Colour colour, const std::string& text);

/// Columns as wide as their widest cell; figures should be right-aligned.
class Table {
 public:
  struct Column {
    std::string title;
    bool right = false;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// Must have as many cells as there are columns.
  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string ToString() const;

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// Exit statuses of every command.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

/// 0, or prints "tercet: MESSAGE" to standard error and returns 1.
int ExitStatus(const Status& status);

}  // namespace tercet
