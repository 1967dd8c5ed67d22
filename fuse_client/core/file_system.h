// The client's file system without libfuse: what the FUSE callbacks, tests and tools call.
//
// One FileSystem is one mount: one session at the metadata group, one pool of write buffers and one
// of read-ahead. Names and attributes are not cached here beyond what is said below (the kernel
// does that); file data is buffered per inode for writing and per handle for read-ahead.
//
// What a caller may rely on:
//  - A mutation that returned OK is journaled; one that was retried over a failover happened once.
//  - Write returns when the data is buffered. Flush returns when it is on all replicas and
//    committed, so that any mount that opens the file afterwards sees it; Sync when it is on their
//    disks as well.
//  - Reads, attributes and sizes include this mount's own buffered writes.
//  - An error of a buffered write is reported once by the next Write, Flush or Sync of each handle
//    that was open when it happened (as errseq_t in Linux).
//  - Calls wait for an unreachable cluster up to FileSystemOptions::metadata_deadline (for ever
//    with `hard`), then end with kUnavailable or kDeadlineExceeded (EIO). Unmount ends all waits.
//
// Thread safety: all methods of FileSystem may be called from any thread at any time after Mount.
// Handles are shared_ptr and may be used by several threads at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

struct FileSystemOptions {
  std::vector<HostPort> metaservers;
  std::string host_name;    // for the session list
  std::string mount_point;  // for the session list and the data-plane caller name
  std::string version;      // of this program
  bool read_only = false;   // mutations answer kReadOnly
  bool hard = false;        // wait for the cluster without end

  /// One exchange with a metaserver.
  std::chrono::milliseconds call_timeout{10'000};
  /// All attempts of one metadata operation together, unless `hard`.
  std::chrono::milliseconds metadata_deadline{60'000};
  /// All attempts to read or write one block together, unless `hard`.
  std::chrono::milliseconds data_deadline{30'000};
  /// A chain that gives no sign of life for so long while it is written to has failed.
  std::chrono::milliseconds data_timeout{2'000};
  /// A replica that gives none for so long while it is read is left for the next one; the last one
  /// that is left to try has more time.
  std::chrono::milliseconds read_timeout{1'000};
  std::chrono::milliseconds last_read_timeout{5'000};
  std::chrono::milliseconds data_connect_timeout{1'000};
  /// Where the replicas of a block are is asked again by readers when it is known for so long.
  std::chrono::milliseconds location_max_age{3'000};

  /// Copies of written data that is not on all replicas yet; writers wait beyond it. At least 4
  /// MiB.
  uint64_t write_buffer_bytes = 64 << 20;
  /// Written data is sent and committed in the background at this age.
  std::chrono::milliseconds dirty_age{1'000};
  /// The largest read-ahead window of one handle; 0 turns read-ahead off.
  uint64_t read_ahead_bytes = 8 << 20;
  /// Read-ahead of all handles together.
  uint64_t read_ahead_total_bytes = 64 << 20;
  /// Threads for read-ahead and parallel reads, and for background flushes.
  int read_threads = 4;
  int flush_threads = 4;
};

/// An open file; ends with FileSystem::Release (or, without one, with the last shared_ptr).
class OpenFile;
using OpenFilePtr = std::shared_ptr<OpenFile>;

/// An open directory; keeps its place. Ends with the last shared_ptr.
class OpenDirectory;
using OpenDirectoryPtr = std::shared_ptr<OpenDirectory>;

/// One entry as ReadDirectory hands it out; valid during the call of the visitor only.
struct DirectoryItem {
  std::string_view name;  // "." and ".." come first
  InodeId inode;
  wire::FileType::type type;
  /// Fresh attributes for readdirplus; null for "." and ".." and where the cached ones may be out
  /// of date.
  const wire::Attributes* attributes;
  /// The offset that continues behind this entry.
  uint64_t next_offset;
};

struct CreateResult {
  wire::Attributes attributes;
  OpenFilePtr file;
  bool created = false;  // false: it existed (without `exclusive`)
};

struct OpenResult {
  wire::Attributes attributes;
  OpenFilePtr file;
};

/// What to change; only what is present changes.
struct AttributeChange {
  std::optional<uint32_t> mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size_bytes;
  std::optional<int64_t> atime_ns;
  std::optional<int64_t> mtime_ns;
  bool atime_now = false;
  bool mtime_now = false;
};

struct FileSystemSpace {
  uint64_t total_bytes = 0;  // divided by the number of replicas
  uint64_t available_bytes = 0;
  uint64_t inode_count = 0;
};

/// Figures for logs and metrics.
struct FileSystemCounters {
  uint64_t metadata_calls = 0;
  uint64_t metadata_retries = 0;
  uint64_t bytes_written = 0;    // by Write
  uint64_t bytes_read = 0;       // returned by Read
  uint64_t read_ahead_hits = 0;  // bytes of Read served from read-ahead
  uint64_t commits = 0;
  uint64_t chain_recoveries = 0;  // writes that went on after a failure of their chain
  uint64_t chain_changes = 0;     // new generations or blocks that the active gave to writers
  uint64_t bad_replicas_reported = 0;
  uint64_t dirty_bytes = 0;  // buffered now
};

class FileSystem {
 public:
  /// Opens a session. Waits for the cluster at most metadata_deadline (also with `hard`: a mount
  /// that never comes about helps nobody).
  static Result<std::unique_ptr<FileSystem>> Mount(FileSystemOptions options);
  /// Unmount, if that was not done.
  ~FileSystem();
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;

  /// Sends and commits what is buffered (waiting at most data_deadline), closes the session and
  /// makes all later calls fail with kCancelled. OK when nothing was lost. Once.
  Status Unmount();
  /// Ends all waits for an unreachable cluster with kCancelled, from any thread: for a forced
  /// unmount.
  void Interrupt();

  /// How long writes paused for recoveries, in seconds, since the last call: the latest 1,024.
  std::vector<double> TakeRecoverySeconds();

  // ---- names ----
  Result<wire::Attributes> Lookup(InodeId parent, const std::string& name);
  Result<wire::Attributes> MakeDirectory(InodeId parent, const std::string& name, uint32_t mode,
                                         uint32_t uid, uint32_t gid);
  /// Any type but a directory or a symlink. `mode` holds permission bits only.
  Result<wire::Attributes> MakeNode(InodeId parent, const std::string& name,
                                    wire::FileType::type type, uint32_t mode, uint64_t rdev,
                                    uint32_t uid, uint32_t gid);
  Result<wire::Attributes> MakeSymlink(InodeId parent, const std::string& name,
                                       const std::string& target, uint32_t uid, uint32_t gid);
  Result<std::string> ReadLink(InodeId inode);
  Result<wire::Attributes> Link(InodeId inode, InodeId new_parent, const std::string& new_name);
  Status Unlink(InodeId parent, const std::string& name);
  Status RemoveDirectory(InodeId parent, const std::string& name);
  /// `flags` as for renameat2(2): RENAME_NOREPLACE, RENAME_EXCHANGE; others are kInvalidArgument.
  Status Rename(InodeId parent, const std::string& name, InodeId new_parent,
                const std::string& new_name, uint32_t flags);

  // ---- attributes ----
  Result<wire::Attributes> GetAttributes(InodeId inode);
  Result<wire::Attributes> SetAttributes(InodeId inode, const AttributeChange& change);
  Result<std::string> GetXattr(InodeId inode, const std::string& name);
  Result<std::vector<std::string>> ListXattr(InodeId inode);
  /// `flags` as for setxattr(2): XATTR_CREATE, XATTR_REPLACE.
  Status SetXattr(InodeId inode, const std::string& name, std::string_view value, uint32_t flags);
  Status RemoveXattr(InodeId inode, const std::string& name);
  Result<FileSystemSpace> StatFileSystem();

  // ---- files ----
  /// `flags` as for open(2): O_EXCL, O_TRUNC and the access mode count here.
  Result<CreateResult> Create(InodeId parent, const std::string& name, uint32_t mode, uint32_t uid,
                              uint32_t gid, int flags);
  /// `flags` as for open(2): O_TRUNC and the access mode count here. kStaleHandle for a file
  /// without a name that this mount gave up.
  Result<OpenResult> Open(InodeId inode, int flags);
  /// Fewer bytes than out.size() only at the end of the file.
  Result<size_t> Read(const OpenFilePtr& file, uint64_t offset, std::span<char> out);
  /// All of `data` or an error.
  Status Write(const OpenFilePtr& file, uint64_t offset, std::string_view data);
  /// For close(2): see above. May be called several times.
  Status Flush(const OpenFilePtr& file);
  Status Sync(const OpenFilePtr& file, bool data_only);
  /// The handle is not used any more. Buffered data left (from a mapping) is flushed in the
  /// background.
  void Release(const OpenFilePtr& file);
  /// `mode` 0 makes the file at least offset + length long, without reserving space; other modes
  /// are kNotSupported.
  Status Fallocate(const OpenFilePtr& file, uint32_t mode, uint64_t offset, uint64_t length);
  InodeId InodeOf(const OpenFilePtr& file) const;

  // ---- directories ----
  Result<OpenDirectoryPtr> OpenDirectoryHandle(InodeId inode);
  /// Gets each entry in turn and says whether it took it; false ends the call.
  using DirectoryVisitor = std::function<bool(const DirectoryItem&)>;
  /// Visits entries from `offset` on: 0 is the beginning (and reads it anew), else a next_offset
  /// that this handle gave out. `with_attributes` is a hint for readdirplus.
  Status ReadDirectory(const OpenDirectoryPtr& directory, uint64_t offset, bool with_attributes,
                       const DirectoryVisitor& visitor);

  InodeId root() const;
  FileSystemCounters counters() const;

 private:
  struct Impl;
  explicit FileSystem(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace tercet
