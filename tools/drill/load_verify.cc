#include "tools/drill/load_verify.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <set>

namespace tercet {
namespace {

constexpr size_t kMaxFindings = 20;
constexpr uint32_t kPermissionBits = 07777;

void Report(LoadVerdict* verdict, const std::string& finding) {
  if (verdict->findings.size() < kMaxFindings) verdict->findings.push_back(finding);
}

/// Empty when the file is as it must be.
Result<std::string> CheckFile(FileSystem& file_system, const LedgerFile& file) {
  ASSIGN_OR_RETURN(const wire::Attributes attributes, file_system.GetAttributes(file.inode));
  const std::string difference = DifferenceOf(file, attributes);
  if (!difference.empty()) return difference;
  if (file.xattr) {
    auto value = file_system.GetXattr(file.inode, kDrillXattr);
    if (value.code() == StatusCode::kNoAttribute)
      return std::string("its extended attribute is lost");
    if (!value.ok()) return value.status();
    if (*value != std::to_string(*file.xattr))
      return std::string("its extended attribute is older");
  }
  ASSIGN_OR_RETURN(const std::string data, ReadAll(file_system, file.inode, file.size_bytes + 1));
  if (data != DrillPattern(file.data_seed, file.size_bytes)) {
    return std::string("its data is not what was synced");
  }
  return std::string();
}

}  // namespace

Result<std::vector<DirectoryContent>> ListDirectory(FileSystem& file_system, InodeId directory) {
  ASSIGN_OR_RETURN(const OpenDirectoryPtr handle, file_system.OpenDirectoryHandle(directory));
  std::vector<DirectoryContent> entries;
  // Each call visits what it likes; the end is a call that visits nothing.
  uint64_t offset = 0;
  for (bool more = true; more;) {
    more = false;
    RETURN_IF_ERROR(
        file_system.ReadDirectory(handle, offset, false, [&](const DirectoryItem& item) {
          more = true;
          offset = item.next_offset;
          if (item.name != "." && item.name != "..") {
            entries.push_back(
                {std::string(item.name), item.inode, item.type == wire::FileType::DIRECTORY});
          }
          return true;
        }));
  }
  return entries;
}

std::string DifferenceOf(const LedgerFile& file, const wire::Attributes& attributes) {
  const uint32_t mode = static_cast<uint32_t>(attributes.mode) & kPermissionBits;
  if (mode != file.mode) return fmt::format("mode {:o} where {:o} was set", mode, file.mode);
  if (attributes.nlink != 1) return fmt::format("{} links", attributes.nlink);
  if (static_cast<uint64_t>(attributes.size_bytes) != file.size_bytes) {
    return fmt::format("{} bytes where {} were synced", attributes.size_bytes, file.size_bytes);
  }
  return "";
}

Result<std::string> ReadAll(FileSystem& file_system, InodeId inode, size_t max_bytes) {
  ASSIGN_OR_RETURN(const OpenResult opened, file_system.Open(inode, O_RDONLY));
  std::string data(max_bytes, '\0');
  auto count = file_system.Read(opened.file, 0, data);
  file_system.Release(opened.file);
  if (!count.ok()) return count.status();
  data.resize(*count);
  return data;
}

Status VerifyLedger(FileSystem& file_system, InodeId directory, const Ledger& ledger,
                    const std::string& prefix, LoadVerdict* verdict) {
  ASSIGN_OR_RETURN(const std::vector<DirectoryContent> entries,
                   ListDirectory(file_system, directory));
  std::set<std::string> found;
  for (const DirectoryContent& entry : entries) {
    if (!found.insert(entry.name).second) {
      ++verdict->extra;
      Report(verdict, prefix + entry.name + " is listed twice");
    }
    const auto expected = ledger.find(entry.name);
    if (expected == ledger.end()) {
      ++verdict->extra;
      Report(verdict, prefix + entry.name + " is there, but was removed or never made");
    } else if (!expected->second.doubtful && entry.inode != expected->second.inode) {
      ++verdict->lost;
      Report(verdict, prefix + entry.name + " is another file than the one that was made");
    }
  }
  for (const auto& [name, file] : ledger) {
    if (file.doubtful) {
      ++verdict->doubtful;
      continue;
    }
    ++verdict->files;
    if (!found.contains(name)) {
      ++verdict->lost;
      Report(verdict, prefix + name + " was acknowledged and is not there");
      continue;
    }
    auto difference = CheckFile(file_system, file);
    if (!difference.ok() && difference.code() != StatusCode::kNotFound &&
        difference.code() != StatusCode::kStaleHandle) {
      return difference.status().WithContext(prefix + name);
    }
    const std::string wrong = difference.ok() ? *difference : difference.status().message();
    if (wrong.empty()) continue;
    ++verdict->lost;
    Report(verdict, prefix + name + ": " + wrong);
  }
  return Status::Ok();
}

Status RemoveTree(FileSystem& file_system, InodeId parent, const std::string& name) {
  auto found = file_system.Lookup(parent, name);
  if (found.code() == StatusCode::kNotFound) return Status::Ok();
  if (!found.ok()) return found.status();
  const InodeId inode(static_cast<uint64_t>(found->inode));
  ASSIGN_OR_RETURN(const std::vector<DirectoryContent> entries, ListDirectory(file_system, inode));
  for (const DirectoryContent& entry : entries) {
    // The load makes two levels: this does not go deep.
    RETURN_IF_ERROR(entry.directory ? RemoveTree(file_system, inode, entry.name)
                                    : file_system.Unlink(inode, entry.name));
  }
  return file_system.RemoveDirectory(parent, name);
}

}  // namespace tercet
