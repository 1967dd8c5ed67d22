// Which server of which cluster this is, for people and tools: a small text file on each disk
// (format.md). Nothing depends on it: the disks' identity files and the metadata group say who a
// server is.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "chunkserver/store/block_store.h"
#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/disk.h"

namespace tercet {

struct ServerNote {
  ServerId server;
  std::string cluster_id;
  friend bool operator==(const ServerNote&, const ServerNote&) = default;
};

std::string EncodeServerNote(const ServerNote& note);
/// kCorruption when it is no such note.
Result<ServerNote> DecodeServerNote(std::string_view text);

/// Thread-safe.
class ServerNotes {
 public:
  /// Reads what an earlier registration left on the store's disks. The references must outlive it.
  ServerNotes(BlockStore& store, Disk& disk);

  /// nullopt when this server was never registered, as far as is known.
  std::optional<ServerNote> last() const;
  /// Writes it to all disks that do not have it yet; failures are logged.
  void Write(const ServerNote& note);

 private:
  BlockStore& store_;
  Disk& disk_;

  mutable std::mutex mutex_;
  std::optional<ServerNote> last_;  // guarded by mutex_
};

}  // namespace tercet
