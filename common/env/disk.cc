#include "common/env/disk.h"

#include <algorithm>

namespace tercet {

Result<std::unique_ptr<DiskFileSystem>> Disk::OpenFileSystem(const std::string& path) {
  return Status(StatusCode::kNotSupported, path + ": this disk syncs files only one by one");
}

Result<std::string> ReadWholeFile(Disk& disk, const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk.Open(path, OpenMode::kReadOnly));
  ASSIGN_OR_RETURN(uint64_t size, file->Size());
  if (size > max_bytes) {
    return Status(StatusCode::kCorruption, "read " + path + ": has " + std::to_string(size) +
                                               " bytes, more than the " +
                                               std::to_string(max_bytes) + " expected at most");
  }
  std::string data(size, '\0');
  ASSIGN_OR_RETURN(size_t count, file->ReadAt(0, data));
  data.resize(count);
  return data;
}

Status WriteFileAtomically(Disk& disk, const std::string& path, std::string_view data) {
  const std::string temporary = path + ".tmp";
  {
    ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk.Open(temporary, OpenMode::kCreate));
    RETURN_IF_ERROR(file->Truncate(0));  // one may be left over from a crash
    RETURN_IF_ERROR(file->WriteAt(0, data));
    RETURN_IF_ERROR(file->Sync());
  }
  RETURN_IF_ERROR(disk.Rename(temporary, path));
  return disk.SyncDirectory(DirectoryOf(path));
}

std::string DirectoryOf(const std::string& path) {
  size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return path.empty() ? "." : "/";
  size_t slash = path.rfind('/', end);
  if (slash == std::string::npos) return ".";
  size_t last = path.find_last_not_of('/', slash);
  return last == std::string::npos ? "/" : path.substr(0, last + 1);
}

}  // namespace tercet
