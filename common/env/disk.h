// The disk as an interface, so that everything durable can run on a simulated twin that drops what
// was not synced (common/env/sim_disk.h). The real one is common/env/posix_disk.h.
//
// What an implementation promises:
//  - Data written to a file is durable after File::Sync on it; before, any part of it may be lost
//    or torn at page granularity by a power cut. It survives a crash of the process.
//  - A created, renamed or removed name is durable after Disk::SyncDirectory on its folder. A
//    rename is one step: a power cut leaves both its names as before or both as after.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace tercet {

/// An open file. Thread-safe as pread/pwrite are; closed by the destructor.
class File {
 public:
  virtual ~File() = default;

  /// Reads up to out.size() bytes at `offset`; fewer only at the end of the file.
  virtual Result<size_t> ReadAt(uint64_t offset, std::span<char> out) const = 0;
  /// Writes all of `data` at `offset`, extending the file as needed. kNoSpace when the disk is
  /// full.
  virtual Status WriteAt(uint64_t offset, std::string_view data) = 0;
  /// Writes the pieces one behind the other at `offset`.
  virtual Status WriteVectorAt(uint64_t offset, std::span<const iovec> pieces) = 0;
  /// fdatasync: data and size are on the platter when it returns OK. After an error the state of
  /// unsynced data is unknown: the caller must not treat a later success as covering it.
  virtual Status Sync() = 0;
  virtual Status Truncate(uint64_t size) = 0;
  /// Reserves space so that writes within [0, size) cannot fail for want of it; extends the file.
  virtual Status Allocate(uint64_t size) = 0;
  virtual Result<uint64_t> Size() const = 0;
  /// What the system caches of [offset, offset + size) and is on the platter need not be kept: the
  /// next read comes from there.
  virtual void DropCache(uint64_t /*offset*/, uint64_t /*size*/) const {}
  /// Begins to bring what was written to [offset, offset + size) to the platter, without waiting
  /// for it and without any promise: so that a later Sync has less left to do.
  virtual void StartWriteback(uint64_t /*offset*/, uint64_t /*size*/) {}
  /// The file descriptor for sendfile and the like; -1 when there is none (simulated disk).
  virtual int descriptor() const { return -1; }
};

enum class OpenMode {
  kReadOnly,         // kNotFound when it is not there
  kReadWrite,        // kNotFound when it is not there
  kCreate,           // made when it is not there
  kCreateExclusive,  // kExists when it is there
};

struct DiskSpace {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;  // to this process
};

/// Keeps an advisory lock until destroyed.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

/// A file system that is to be synced as a whole.
class DiskFileSystem {
 public:
  virtual ~DiskFileSystem() = default;
  /// Everything that was written to any of its files, and all changes of names, are on the platter
  /// when it returns OK. After an error: as with File::Sync.
  virtual Status Sync() = 0;
};

/// The files of one machine. Thread-safe. Paths are as for open(2).
class Disk {
 public:
  virtual ~Disk() = default;

  virtual Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) = 0;
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  virtual Status Remove(const std::string& path) = 0;
  /// Makes the folder and those above it, durably; OK when it is there.
  virtual Status MakeDirectories(const std::string& path) = 0;
  virtual Status SyncDirectory(const std::string& path) = 0;
  /// Names in the folder without "." and "..", in no order.
  virtual Result<std::vector<std::string>> List(const std::string& path) = 0;
  virtual Result<bool> Exists(const std::string& path) = 0;
  virtual Result<DiskSpace> Space(const std::string& path) = 0;
  /// The file system that the folder is on. kNotSupported where there is no such thing.
  virtual Result<std::unique_ptr<DiskFileSystem>> OpenFileSystem(const std::string& path);
  /// Takes the lock on `path` (made when it is not there); kBusy when another process holds it.
  virtual Result<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;
};

/// The whole file, at most `max_bytes` (kCorruption when it is larger).
Result<std::string> ReadWholeFile(Disk& disk, const std::string& path, size_t max_bytes);

/// Replaces `path` by `data` so that a crash at any time leaves the old or the new content:
/// temporary file, sync, rename, sync of the folder.
Status WriteFileAtomically(Disk& disk, const std::string& path, std::string_view data);

/// The folder part of a path; "." when there is none.
std::string DirectoryOf(const std::string& path);

}  // namespace tercet
