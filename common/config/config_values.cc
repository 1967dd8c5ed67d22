#include <array>
#include <charconv>

#include "common/config/config.h"

namespace tercet {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

constexpr std::array kSizeUnits = {Unit{"TiB", int64_t{1} << 40}, Unit{"GiB", int64_t{1} << 30},
                                   Unit{"MiB", int64_t{1} << 20}, Unit{"KiB", int64_t{1} << 10},
                                   Unit{"B", 1}};
constexpr std::array kDurationUnits = {Unit{"d", 86'400'000}, Unit{"h", 3'600'000},
                                       Unit{"m", 60'000}, Unit{"s", 1000}, Unit{"ms", 1}};

/// A whole number and one of the units; a missing unit is `default_factor`, or an error if that is
/// 0.
template <size_t N>
Result<int64_t> ParseWithUnit(std::string_view text, const std::array<Unit, N>& units,
                              int64_t default_factor, std::string_view expected) {
  const Status bad(StatusCode::kInvalidArgument,
                   "'" + std::string(text) + "' is not " + std::string(expected));
  int64_t number = 0;
  auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return bad;
  std::string_view suffix(rest, static_cast<size_t>(text.data() + text.size() - rest));
  while (suffix.starts_with(' ')) suffix.remove_prefix(1);
  int64_t factor = suffix.empty() ? default_factor : 0;
  for (const Unit& unit : units) {
    if (suffix == unit.name) factor = unit.factor;
  }
  int64_t value = 0;
  if (factor == 0 || __builtin_mul_overflow(number, factor, &value)) return bad;
  return value;
}

template <size_t N>
std::string FormatWithUnit(int64_t value, const std::array<Unit, N>& units) {
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.factor == 0) {
      return std::to_string(value / unit.factor) + std::string(unit.name);
    }
  }
  return std::to_string(value) + std::string(units.back().name);
}

}  // namespace

Result<uint64_t> ParseSize(std::string_view text) {
  ASSIGN_OR_RETURN(int64_t bytes,
                   ParseWithUnit(text, kSizeUnits, 1, "a size such as \"64MiB\" or 4096"));
  return static_cast<uint64_t>(bytes);
}

Result<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  ASSIGN_OR_RETURN(int64_t milliseconds,
                   ParseWithUnit(text, kDurationUnits, text == "0" ? 1 : 0,
                                 "a duration such as \"500ms\", \"10s\" or \"5m\""));
  return std::chrono::milliseconds(milliseconds);
}

std::string FormatSize(uint64_t bytes) {
  return FormatWithUnit(static_cast<int64_t>(bytes), kSizeUnits);
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  return FormatWithUnit(duration.count(), kDurationUnits);
}

}  // namespace tercet
