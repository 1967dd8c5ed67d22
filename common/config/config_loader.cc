#include <toml++/toml.h>

#include <algorithm>
#include <set>

#include "common/config/config.h"
#include "common/env/posix_disk.h"

namespace tercet {

/// One loading of a configuration: the file, then the overrides.
class ConfigLoader {
 public:
  using Field = ConfigSchema::Field;
  using Kind = ConfigSchema::Kind;

  explicit ConfigLoader(const ConfigSchema& schema) : schema_(schema) {}

  Status LoadText(std::string_view text, const std::string& name) {
    toml::table table;
    try {
      table = toml::parse(text, name);
    } catch (const toml::parse_error& error) {
      return Bad(At(name, error.source()), std::string(error.description()));
    }
    return LoadTable(table, "", name);
  }

  Status Override(const std::string& setting) {
    const std::string where = "--set " + setting;
    size_t equals = setting.find('=');
    if (equals == std::string::npos) return Bad(where, "is not of the form key=value");
    const std::string key = setting.substr(0, equals);
    const std::string value = setting.substr(equals + 1);
    const Field* field = FindField(key);
    if (field == nullptr) return Bad(where, UnknownKey(key));
    toml::table table;
    try {
      table = toml::parse("v = " + (TakesBareText(field->kind, value) ? Quote(value) : value));
    } catch (const toml::parse_error&) {
      return Bad(where, "must be " + ConfigSchema::Allowed(*field));
    }
    return Set(*field, *table.get("v"), where);
  }

  Status Finish(const std::string& name) {
    for (const Field& field : schema_.fields_) {
      if (field.options.required && !seen_.contains(field.key)) {
        return Bad(name, field.key + " is missing (" + field.description + "): must be " +
                             ConfigSchema::Allowed(field));
      }
    }
    for (const auto& check : schema_.checks_) {
      if (Status status = check(); !status.ok()) return Bad(name, status.message());
    }
    return Status::Ok();
  }

 private:
  static Status Bad(const std::string& where, const std::string& what) {
    return Status(StatusCode::kInvalidArgument, where + ": " + what);
  }

  static std::string At(const std::string& name, const toml::source_region& source) {
    return name + ":" + std::to_string(source.begin.line);
  }

  static bool TakesBareText(Kind kind, const std::string& value) {
    if (value.starts_with('"') || value.starts_with('\'')) return false;
    if (kind == Kind::kStringList) return !value.starts_with('[');
    if (kind == Kind::kStringMap) return !value.starts_with('{');
    return kind == Kind::kString || kind == Kind::kChoice || kind == Kind::kSize ||
           kind == Kind::kDuration;
  }

  static std::string Quote(const std::string& value) {
    return value.find('\'') == std::string::npos ? "'" + value + "'" : "'''" + value + "'''";
  }

  Status LoadTable(const toml::table& table, const std::string& prefix, const std::string& name) {
    for (const auto& [key, node] : table) {
      const std::string path = prefix + std::string(key.str());
      const Field* field = FindField(path);
      if (field != nullptr) {
        RETURN_IF_ERROR(Set(*field, node, At(name, node.source())));
      } else if (node.is_table() && IsTable(path)) {
        RETURN_IF_ERROR(LoadTable(*node.as_table(), path + ".", name));
      } else {
        return Bad(At(name, node.source()), UnknownKey(path));
      }
    }
    return Status::Ok();
  }

  const Field* FindField(const std::string& key) const {
    for (const Field& field : schema_.fields_) {
      if (field.key == key) return &field;
    }
    return nullptr;
  }

  bool IsTable(const std::string& path) const {
    return std::any_of(schema_.fields_.begin(), schema_.fields_.end(),
                       [&](const Field& field) { return field.key.starts_with(path + "."); });
  }

  std::string UnknownKey(const std::string& key) const {
    std::string text = "unknown key '" + key + "'";
    const Field* nearest = nullptr;
    size_t least = 4;  // further away is not a typing error
    for (const Field& field : schema_.fields_) {
      size_t distance = EditDistance(key, field.key);
      if (distance < least) {
        least = distance;
        nearest = &field;
      }
    }
    if (nearest != nullptr) return text + "; did you mean '" + nearest->key + "'?";
    return text + "; --print-config lists all keys";
  }

  static size_t EditDistance(const std::string& a, const std::string& b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
      size_t diagonal = std::exchange(row[0], i);
      for (size_t j = 1; j <= b.size(); ++j) {
        size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
      }
    }
    return row.back();
  }

  Status Set(const Field& field, const toml::node& node, const std::string& where) {
    if (!TrySet(field, node)) {
      return Bad(where, field.key + " must be " + ConfigSchema::Allowed(field));
    }
    seen_.insert(field.key);
    return Status::Ok();
  }

  /// False when the value has the wrong type or is out of bounds.
  static bool TrySet(const Field& field, const toml::node& node) {
    switch (field.kind) {
      case Kind::kBool: {
        auto value = node.value_exact<bool>();
        if (value) field.set_bool(*value);
        return value.has_value();
      }
      case Kind::kInt:
        return SetNumber(field, node.value_exact<int64_t>());
      case Kind::kSize:
        return SetNumber(field, SizeOf(node));
      case Kind::kDuration:
        return SetNumber(field, DurationOf(node));
      case Kind::kString:
      case Kind::kChoice:
        return SetString(field, node);
      case Kind::kStringList:
        return SetList(field, node);
      case Kind::kStringMap:
        return SetMap(field, node);
    }
    return false;
  }

  static bool InBounds(const Field& field, int64_t value) {
    return value >= field.bounds.min && value <= field.bounds.max;
  }

  static bool SetNumber(const Field& field, std::optional<int64_t> value) {
    if (!value || !InBounds(field, *value)) return false;
    field.set_number(*value);
    return true;
  }

  static std::optional<int64_t> SizeOf(const toml::node& node) {
    if (auto number = node.value_exact<int64_t>()) return number;
    auto text = node.value_exact<std::string>();
    if (!text) return std::nullopt;
    Result<uint64_t> size = ParseSize(*text);
    if (!size.ok()) return std::nullopt;
    return static_cast<int64_t>(*size);
  }

  static std::optional<int64_t> DurationOf(const toml::node& node) {
    auto text = node.value_exact<std::string>();
    if (!text) return std::nullopt;
    Result<std::chrono::milliseconds> duration = ParseDuration(*text);
    if (!duration.ok()) return std::nullopt;
    return duration->count();
  }

  static bool SetString(const Field& field, const toml::node& node) {
    auto text = node.value_exact<std::string>();
    if (!text) return false;
    if (field.kind == Kind::kChoice) {
      if (std::find(field.allowed.begin(), field.allowed.end(), *text) == field.allowed.end()) {
        return false;
      }
    } else if (!InBounds(field, static_cast<int64_t>(text->size()))) {
      return false;
    }
    field.set_string(*std::move(text));
    return true;
  }

  static std::vector<std::string> SplitAtCommas(const std::string& text) {
    std::vector<std::string> items;
    for (size_t begin = 0; begin <= text.size();) {
      size_t end = std::min(text.find(',', begin), text.size());
      if (end > begin) items.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    return items;
  }

  /// A list of strings, or (on the command line) one string with commas.
  static bool SetList(const Field& field, const toml::node& node) {
    std::vector<std::string> items;
    if (const toml::array* array = node.as_array()) {
      for (const toml::node& element : *array) {
        auto text = element.value_exact<std::string>();
        if (!text) return false;
        items.push_back(*std::move(text));
      }
    } else if (auto text = node.value_exact<std::string>()) {
      items = SplitAtCommas(*text);
    } else {
      return false;
    }
    if (!InBounds(field, static_cast<int64_t>(items.size()))) return false;
    field.set_list(std::move(items));
    return true;
  }

  /// A table of strings, or (on the command line) "name=value" with commas between.
  static bool SetMap(const Field& field, const toml::node& node) {
    std::map<std::string, std::string> items;
    if (const toml::table* table = node.as_table()) {
      for (const auto& [key, element] : *table) {
        auto text = element.value_exact<std::string>();
        if (!text) return false;
        items.emplace(key.str(), *std::move(text));
      }
    } else if (auto text = node.value_exact<std::string>()) {
      for (const std::string& item : SplitAtCommas(*text)) {
        const size_t equals = item.find('=');
        if (equals == std::string::npos) return false;
        if (!items.emplace(item.substr(0, equals), item.substr(equals + 1)).second) return false;
      }
    } else {
      return false;
    }
    if (!InBounds(field, static_cast<int64_t>(items.size()))) return false;
    field.set_map(std::move(items));
    return true;
  }

  const ConfigSchema& schema_;
  std::set<std::string> seen_;
};

Status ConfigSchema::LoadText(std::string_view text, const std::string& name,
                              const std::vector<std::string>& overrides) const {
  ConfigLoader loader(*this);
  RETURN_IF_ERROR(loader.LoadText(text, name));
  for (const std::string& setting : overrides) RETURN_IF_ERROR(loader.Override(setting));
  return loader.Finish(name);
}

Status ConfigSchema::Load(const std::string& file,
                          const std::vector<std::string>& overrides) const {
  constexpr size_t kMaxConfigBytes = 1 << 20;
  std::string text;
  if (!file.empty()) {
    Result<std::string> read = ReadWholeFile(RealDisk(), file, kMaxConfigBytes);
    if (!read.ok()) return read.status().WithContext("configuration");
    text = *std::move(read);
  }
  return LoadText(text, file.empty() ? "command line" : file, overrides);
}

}  // namespace tercet
