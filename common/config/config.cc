#include "common/config/config.h"

#include <cassert>
#include <cstdio>

namespace tercet {
namespace {

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string QuotedList(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : ", ") + Quoted(item);
  return out;
}

std::string QuotedMap(const std::map<std::string, std::string>& items) {
  std::string out;
  for (const auto& [name, value] : items) {
    out += (out.empty() ? " " : ", ") + Quoted(name) + " = " + Quoted(value);
  }
  return out.empty() ? "{}" : "{" + out + " }";
}

/// " from 1s to 10s", " of at least 1s", " of at most 10s" or nothing.
std::string Range(Bounds bounds, const std::function<std::string(int64_t)>& format) {
  using Limits = std::numeric_limits<int64_t>;
  bool has_min = bounds.min != Limits::min();
  bool has_max = bounds.max != Limits::max();
  if (has_min && has_max) return " from " + format(bounds.min) + " to " + format(bounds.max);
  if (has_min) return " of at least " + format(bounds.min);
  if (has_max) return " of at most " + format(bounds.max);
  return "";
}

/// " of 1 to 3 strings", " of at least 1 strings", …
std::string Count(Bounds bounds, const std::string& what) {
  const std::string max = std::to_string(bounds.max);
  bool has_max = bounds.max != Bounds{}.max;
  if (bounds.min <= 0) return has_max ? " of at most " + max + " " + what : "";
  const std::string min = std::to_string(bounds.min);
  return has_max ? " of " + min + " to " + max + " " + what : " of at least " + min + " " + what;
}

}  // namespace

void ConfigSchema::Add(Field field) {
  for ([[maybe_unused]] const Field& other : fields_) {
    assert(other.key != field.key && "two fields have the same key");
  }
  fields_.push_back(std::move(field));
}

void ConfigSchema::AddBool(std::string key, bool* target, std::string description,
                           FieldOptions options) {
  Add({.kind = Kind::kBool,
       .key = std::move(key),
       .description = std::move(description),
       .options = std::move(options),
       .default_toml = *target ? "true" : "false",
       .set_bool = [target](bool value) { *target = value; }});
}

void ConfigSchema::AddIntField(std::string key, std::function<void(int64_t)> set, int64_t value,
                               Bounds bounds, std::string description, FieldOptions options) {
  Add({.kind = Kind::kInt,
       .key = std::move(key),
       .description = std::move(description),
       .options = std::move(options),
       .bounds = bounds,
       .default_toml = std::to_string(value),
       .set_number = std::move(set)});
}

void ConfigSchema::AddSize(std::string key, uint64_t* target, Bounds bounds,
                           std::string description, FieldOptions options) {
  Add({.kind = Kind::kSize,
       .key = std::move(key),
       .description = std::move(description),
       .options = std::move(options),
       .bounds = bounds,
       .default_toml = Quoted(FormatSize(*target)),
       .set_number = [target](int64_t value) { *target = static_cast<uint64_t>(value); }});
}

void ConfigSchema::AddDuration(std::string key, std::chrono::milliseconds* target, Bounds bounds_ms,
                               std::string description, FieldOptions options) {
  Add({.kind = Kind::kDuration,
       .key = std::move(key),
       .description = std::move(description),
       .options = std::move(options),
       .bounds = bounds_ms,
       .default_toml = Quoted(FormatDuration(*target)),
       .set_number = [target](int64_t value) { *target = std::chrono::milliseconds(value); }});
}

void ConfigSchema::AddString(std::string key, std::string* target, Bounds length,
                             std::string description, FieldOptions options) {
  Add({.kind = Kind::kString,
       .key = std::move(key),
       .description = std::move(description),
       .options = std::move(options),
       .bounds = length,
       .default_toml = Quoted(*target),
       .set_string = [target](std::string value) { *target = std::move(value); }});
}

void ConfigSchema::AddChoice(std::string key, std::string* target, std::vector<std::string> allowed,
                             std::string description, FieldOptions options) {
  Add({.kind = Kind::kChoice,
       .key = std::move(key),
       .description = std::move(description),
       .options = std::move(options),
       .allowed = std::move(allowed),
       .default_toml = Quoted(*target),
       .set_string = [target](std::string value) { *target = std::move(value); }});
}

void ConfigSchema::AddStringList(std::string key, std::vector<std::string>* target, Bounds items,
                                 std::string description, FieldOptions options) {
  Add({.kind = Kind::kStringList,
       .key = std::move(key),
       .description = std::move(description),
       .options = std::move(options),
       .bounds = items,
       .default_toml = "[" + QuotedList(*target) + "]",
       .set_list = [target](std::vector<std::string> value) { *target = std::move(value); }});
}

void ConfigSchema::AddStringMap(std::string key, std::map<std::string, std::string>* target,
                                Bounds items, std::string description, FieldOptions options) {
  Add({.kind = Kind::kStringMap,
       .key = std::move(key),
       .description = std::move(description),
       .options = std::move(options),
       .bounds = items,
       .default_toml = QuotedMap(*target),
       .set_map = [target](std::map<std::string, std::string> value) {
         *target = std::move(value);
       }});
}

void ConfigSchema::AddCheck(std::function<Status()> check) { checks_.push_back(std::move(check)); }

std::string ConfigSchema::Allowed(const Field& field) {
  auto number = [](int64_t value) { return std::to_string(value); };
  const std::string unit = field.options.unit.empty() ? "" : " " + field.options.unit;
  switch (field.kind) {
    case Kind::kBool:
      return "true or false";
    case Kind::kInt:
      return "an integer" + Range(field.bounds, number) + unit;
    case Kind::kSize:
      return "a size" +
             Range(field.bounds,
                   [](int64_t value) { return FormatSize(static_cast<uint64_t>(value)); }) +
             ", such as \"64MiB\"";
    case Kind::kDuration:
      return "a duration" +
             Range(field.bounds,
                   [](int64_t value) { return FormatDuration(std::chrono::milliseconds(value)); }) +
             ", such as \"500ms\"";
    case Kind::kString:
      return "a string" + Count(field.bounds, "characters");
    case Kind::kChoice:
      return "one of " + QuotedList(field.allowed);
    case Kind::kStringList:
      return "a list" + Count(field.bounds, "strings");
    case Kind::kStringMap:
      return "a table" + Count(field.bounds, "strings") + ", such as { name = \"value\" }";
  }
  return "";
}

std::string ConfigSchema::Reference() const {
  std::string out;
  std::string table;
  // Keys without a table come first: TOML has no way back to the top.
  for (bool in_tables : {false, true}) {
    for (const Field& field : fields_) {
      size_t dot = field.key.rfind('.');
      if ((dot != std::string::npos) != in_tables) continue;
      std::string own_table = in_tables ? field.key.substr(0, dot) : "";
      if (own_table != table) out += "[" + own_table + "]\n\n";
      table = own_table;
      out += "# " + field.description + "\n# " + Allowed(field) + "; ";
      out += field.options.live ? "takes effect at once\n" : "takes effect at a restart\n";
      std::string name = in_tables ? field.key.substr(dot + 1) : field.key;
      if (field.options.required) {
        out += "# required\n# " + name + " =\n\n";
      } else {
        out += name + " = " + field.default_toml + "\n\n";
      }
    }
  }
  return out;
}

void ConfigSchema::PrintReference() const { std::fputs(Reference().c_str(), stdout); }

}  // namespace tercet
