#include "tools/output.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace tercet {
namespace {

bool UseColour() {
  static const bool use = ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  return use;
}

/// Characters as a terminal shows them: without colour sequences, UTF-8 counted once.
size_t Width(const std::string& text) {
  size_t width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\033') {
      i = std::min(text.find('m', i), text.size());
    } else if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) {
      ++width;
    }
  }
  return width;
}

}  // namespace

std::string HumanBytes(uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 1023.95 and up would round to "1024.0".
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string HumanMillis(int64_t milliseconds) {
  if (milliseconds < 0) return "-";
  if (milliseconds < 1000) return fmt::format("{} ms", milliseconds);
  int64_t seconds = milliseconds / 1000;
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 120 * 60) return fmt::format("{} min", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{} h", seconds / 3600);
  return fmt::format("{} d", seconds / 86'400);
}

std::string HumanSeconds(int64_t seconds) {
  if (seconds < 0) return "-";
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{}m {}s", seconds / 60, seconds % 60);
  if (seconds < 86'400) return fmt::format("{}h {}m", seconds / 3600, seconds % 3600 / 60);
  return fmt::format("{}d {}h", seconds / 86'400, seconds % 86'400 / 3600);
}

std::string HumanRate(int64_t bytes_per_second) {
  return HumanBytes(static_cast<uint64_t>(std::max<int64_t>(0, bytes_per_second))) + "/s";
}

std::string HumanTime(int64_t nanoseconds) {
  if (nanoseconds == 0) return "never";
  const time_t seconds = nanoseconds / 1'000'000'000;
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(seconds));
}

std::string Grouped(int64_t number) {
  std::string digits = std::to_string(number);
  size_t first = digits[0] == '-' ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

std::string Hex(const std::string& bytes) {
  std::string out;
  for (unsigned char byte : bytes) out += fmt::format("{:02x}", byte);
  return out;
}

std::string JsonText(const nlohmann::json& object, int indent) {
  return object.dump(indent, ' ', /*ensure_ascii=*/false,
                     nlohmann::json::error_handler_t::replace) +
         "\n";
}

namespace {

/// The length of the UTF-8 character that begins at `at`; 0: there is none.
size_t CharacterAt(const std::string& text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const size_t length = byte(at) < 0x80             ? 1
                        : (byte(at) & 0xe0) == 0xc0 ? 2
                        : (byte(at) & 0xf0) == 0xe0 ? 3
                        : (byte(at) & 0xf8) == 0xf0 ? 4
                                                    : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (size_t i = at + 1; i < at + length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

std::string Printable(const std::string& name) {
  std::string out;
  for (size_t at = 0; at < name.size();) {
    const size_t length = CharacterAt(name, at);
    const auto byte = static_cast<unsigned char>(name[at]);
    // C1 control characters, U+0080 to U+009F, are two bytes.
    const bool control =
        byte < 0x20 || byte == 0x7f ||
        (byte == 0xc2 && length == 2 && static_cast<unsigned char>(name[at + 1]) < 0xa0);
    if (length == 0 || control) {
      if (byte == '\n') {
        out += "\\n";
      } else if (byte == '\t') {
        out += "\\t";
      } else {
        for (size_t i = at; i < at + std::max<size_t>(length, 1); ++i) {
          out += fmt::format("\\x{:02x}", static_cast<unsigned char>(name[i]));
        }
      }
    } else if (byte == '\\') {
      out += "\\\\";
    } else {
      out.append(name, at, length);
    }
    at += std::max<size_t>(length, 1);
  }
  return out;
}

std::string Coloured(Colour colour, const std::string& text) {
  if (!UseColour()) return text;
  constexpr std::array kCodes = {"31", "32", "33", "1"};
  return fmt::format("\033[{}m{}\033[0m", kCodes[static_cast<size_t>(colour)], text);
}

std::string Table::ToString() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = Width(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, Width(row[i]));
    widths.push_back(width);
  }
  auto line = [&](auto cell, bool bold) {
    std::string out;
    for (size_t i = 0; i < columns_.size(); ++i) {
      std::string text = cell(i);
      const size_t padding = widths[i] - Width(text);
      if (bold) text = Coloured(Colour::kBold, text);
      if (i > 0) out.append(2, ' ');
      if (columns_[i].right) out.append(padding, ' ');
      out.append(text);
      if (!columns_[i].right) out.append(padding, ' ');
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out.push_back('\n');
    return out;
  };
  std::string out = line([&](size_t i) { return columns_[i].title; }, true);
  for (const auto& row : rows_) {
    out += line([&](size_t i) { return row[i]; }, false);
  }
  return out;
}

int ExitStatus(const Status& status) {
  if (status.ok()) return kExitOk;
  std::fprintf(stderr, "tercet: %s\n", status.message().c_str());
  return kExitFailure;
}

}  // namespace tercet
