// Helpers for the tests of the state database.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "metaserver/namespace/database.h"

namespace tercet {

using Rows = std::map<std::string, std::string>;

/// A folder that is removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = testing::TempDir() + "/tercet-state-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline WriteSet Put(const std::string& key, const std::string& value) {
  WriteSet set;
  set.entries.push_back({key, value});
  return set;
}

inline WriteSet Delete(const std::string& key) {
  WriteSet set;
  set.entries.push_back({key, std::nullopt});
  return set;
}

inline CommittedRecord Record(uint64_t index, const WriteSet& set) {
  return {JournalIndex(index), Epoch(1), set.Encode()};
}

inline Status ApplyOne(Database& database, uint64_t index, const WriteSet& set) {
  const CommittedRecord record = Record(index, set);
  return database.Apply({&record, 1});
}

inline std::optional<std::string> MustGet(const View& view, std::string_view key) {
  Result<std::optional<std::string>> value = view.Get(key);
  EXPECT_TRUE(value.ok()) << value.status().ToString();
  return value.ok() ? *value : std::nullopt;
}

/// All rows but the database's own.
inline Rows ScanAll(const View& view, std::string_view from = "\x01",
                    std::string_view to = "\xff") {
  Rows rows;
  Status status = view.Scan(from, to, [&](std::string_view key, std::string_view value) {
    EXPECT_TRUE(rows.empty() || rows.rbegin()->first < key) << "rows out of order";
    rows.emplace(key, value);
    return true;
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  return rows;
}

inline Result<std::unique_ptr<Database>> TryOpen(const std::string& path) {
  DatabaseOptions options;
  options.path = path;
  options.write_buffer_bytes = 256 << 10;  // small: logs and tables change often
  options.table_bytes = 1 << 20;
  options.block_cache_bytes = 1 << 20;
  return Database::Open(options);
}

inline std::unique_ptr<Database> MustOpenDatabase(const std::string& path) {
  Result<std::unique_ptr<Database>> database = TryOpen(path);
  EXPECT_TRUE(database.ok()) << database.status().ToString();
  return database.ok() ? std::move(database).value() : nullptr;
}

}  // namespace tercet
