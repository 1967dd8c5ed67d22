// Typed configuration from a TOML file.
//
// A module keeps its settings in one struct with defaults and describes each field to a
// ConfigSchema:
//
//   struct JournalConfig {
//     uint64_t segment_size_bytes = 64 << 20;
//     void Describe(ConfigSchema& schema) {
//       schema.AddSize("journal.segment_size", &segment_size_bytes, {.min = 1 << 20, .max = 1 <<
//       30},
//                      "size of one journal file");
//     }
//   };
//
// A value that is wrong in any way — unknown key, wrong type, out of bounds, bad syntax — is one
// line: file:line, key, what is allowed. Nothing is ignored. Not thread-safe: read at the start,
// before threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace tercet {

/// Inclusive bounds, in the field's own unit (bytes for sizes, characters for strings, items for
/// lists).
struct Bounds {
  int64_t min = 0;
  int64_t max = std::numeric_limits<int64_t>::max();
};

/// What a field is called and does. All fields take effect at a start, unless `live`.
struct FieldOptions {
  std::string unit = {};  // "servers", "percent"; sizes and durations need none
  bool required = false;  // there is no sensible default
  bool live = false;      // a change takes effect without a restart
};

/// The settings a program knows. Targets must outlive it; their values when added are the defaults.
class ConfigSchema {
 public:
  void AddBool(std::string key, bool* target, std::string description, FieldOptions options = {});
  /// Any integer type; the bounds are narrowed to what the type can hold.
  template <typename Integer>
  void AddInt(std::string key, Integer* target, Bounds bounds, std::string description,
              FieldOptions options = {}) {
    static_assert(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>);
    using Limits = std::numeric_limits<Integer>;
    if (std::cmp_less(bounds.min, Limits::min())) bounds.min = static_cast<int64_t>(Limits::min());
    if (std::cmp_greater(bounds.max, Limits::max())) {
      bounds.max = static_cast<int64_t>(Limits::max());
    }
    AddIntField(
        std::move(key), [target](int64_t value) { *target = static_cast<Integer>(value); },
        static_cast<int64_t>(*target), bounds, std::move(description), std::move(options));
  }
  /// Bytes: a number, or a string such as "64MiB" (KiB, MiB, GiB, TiB).
  void AddSize(std::string key, uint64_t* target, Bounds bounds, std::string description,
               FieldOptions options = {});
  /// A string such as "500ms", "10s", "5m", "2h", "1d". Bounds are in milliseconds.
  void AddDuration(std::string key, std::chrono::milliseconds* target, Bounds bounds_ms,
                   std::string description, FieldOptions options = {});
  void AddString(std::string key, std::string* target, Bounds length, std::string description,
                 FieldOptions options = {});
  /// One of `allowed`.
  void AddChoice(std::string key, std::string* target, std::vector<std::string> allowed,
                 std::string description, FieldOptions options = {});
  void AddStringList(std::string key, std::vector<std::string>* target, Bounds items,
                     std::string description, FieldOptions options = {});
  /// Names with values: a table of strings; on the command line also "rack=r1,zone=z1".
  void AddStringMap(std::string key, std::map<std::string, std::string>* target, Bounds items,
                    std::string description, FieldOptions options = {});
  /// Something that has to hold between fields; looked at after all are set.
  void AddCheck(std::function<Status()> check);

  /// Sets the targets from a TOML file, then from `overrides` ("key=value", the value in TOML or,
  /// for strings, sizes and durations, without quotes). `file` may be empty: overrides alone.
  /// kInvalidArgument with the one line for people; kNotFound when there is no such file.
  Status Load(const std::string& file, const std::vector<std::string>& overrides = {}) const;
  /// The same from text; `name` stands for the file in messages.
  Status LoadText(std::string_view text, const std::string& name,
                  const std::vector<std::string>& overrides = {}) const;

  /// All fields as commented TOML: description, unit, bounds, default, whether a restart is needed.
  std::string Reference() const;
  /// Writes Reference() to standard output.
  void PrintReference() const;

 private:
  friend class ConfigLoader;
  enum class Kind { kBool, kInt, kSize, kDuration, kString, kChoice, kStringList, kStringMap };
  struct Field {
    Kind kind = {};
    std::string key = {};
    std::string description = {};
    FieldOptions options = {};
    Bounds bounds = {};
    std::vector<std::string> allowed = {};
    std::string default_toml = {};
    std::function<void(bool)> set_bool = {};
    std::function<void(int64_t)> set_number = {};
    std::function<void(std::string)> set_string = {};
    std::function<void(std::vector<std::string>)> set_list = {};
    std::function<void(std::map<std::string, std::string>)> set_map = {};
  };
  void AddIntField(std::string key, std::function<void(int64_t)> set, int64_t value, Bounds bounds,
                   std::string description, FieldOptions options);
  void Add(Field field);
  static std::string Allowed(const Field& field);

  std::vector<Field> fields_;
  std::vector<std::function<Status()>> checks_;
};

/// "64MiB" → 67108864; also KiB, GiB, TiB, B and plain numbers. kInvalidArgument otherwise.
Result<uint64_t> ParseSize(std::string_view text);
/// "500ms" → 500 ms; also s, m, h, d. kInvalidArgument otherwise.
Result<std::chrono::milliseconds> ParseDuration(std::string_view text);
/// The shortest text that ParseSize and ParseDuration read as the same value.
std::string FormatSize(uint64_t bytes);
std::string FormatDuration(std::chrono::milliseconds duration);

}  // namespace tercet
