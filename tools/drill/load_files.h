// Where the data load of a drill reads and writes: a directory on a real mount, or one that a
// client of the drill's own has (the client's core without the kernel in between).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "fuse_client/core/file_system.h"

namespace tercet {

/// An open file. One thread at a time. Closed with Close; the destructor only gives it up.
class LoadFile {
 public:
  virtual ~LoadFile() = default;
  /// All of `data` or an error.
  virtual Status Write(uint64_t offset, std::string_view data) = 0;
  /// From the servers, not from the kernel's cache. Fewer bytes than out.size() only at the end.
  virtual Result<size_t> Read(uint64_t offset, std::span<char> out) = 0;
  virtual Status Sync() = 0;
  /// OK: everything that was written is on all replicas, and others that open the file see it.
  virtual Status Close() = 0;
};

/// Thread-safe.
class LoadFiles {
 public:
  virtual ~LoadFiles() = default;
  virtual Result<std::unique_ptr<LoadFile>> Create(const std::string& name) = 0;
  virtual Result<std::unique_ptr<LoadFile>> Open(const std::string& name) = 0;
  virtual Status Remove(const std::string& name) = 0;
};

/// `directory`: an absolute path on a mount.
std::unique_ptr<LoadFiles> FilesOnMount(const std::string& directory);
/// `file_system` must outlive the result.
std::unique_ptr<LoadFiles> FilesOfClient(FileSystem* file_system, InodeId directory);

}  // namespace tercet
