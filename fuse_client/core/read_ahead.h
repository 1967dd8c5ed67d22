// Read-ahead of one open file: notices sequential reading and fetches what comes next in chunks.
//
// Invariants:
//  - A chunk is used only while InodeState::data_version is what it was before the chunk was read.
//  - A reader never waits for a chunk that no thread has begun: it reads it itself.
//  - Chunks of all files together stay within ClientContext::read_ahead_budget, of one within the
//    window.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include "common/base/status.h"
#include "fuse_client/core/client_context.h"
#include "fuse_client/core/inode_state.h"

namespace tercet {

/// Thread-safe.
class ReadAhead {
 public:
  /// `context` must outlive it, and the threads of its read_pool.
  ReadAhead(ClientContext* context, InodeStatePtr inode);
  ~ReadAhead();

  /// Fills `out`, which ends at or before `file_size`.
  Status Read(uint64_t offset, std::span<char> out, uint64_t file_size);

 private:
  struct Chunk;
  using ChunkPtr = std::shared_ptr<Chunk>;
  using Chunks = std::map<uint64_t, ChunkPtr>;

  void NoteAccessLocked(uint64_t offset, size_t size);
  void ScheduleLocked(uint64_t file_size);
  void DropBehindLocked();
  /// The chunk that holds `offset`, if it is still good.
  ChunkPtr ChunkAtLocked(uint64_t offset);
  uint64_t NextChunkLocked(uint64_t offset) const;
  Status Serve(const ChunkPtr& chunk, uint64_t offset, std::span<char> out, size_t* served);

  ClientContext* const context_;
  const InodeStatePtr inode_;
  const uint64_t max_window_;

  std::mutex mutex_;
  // Guarded by mutex_.
  Chunks chunks_;                  // by offset, disjoint
  uint64_t next_ = 0;              // where a sequential reader goes on
  uint64_t sequential_bytes_ = 0;  // read in sequence up to there
  int sequential_reads_ = 0;
  uint64_t scheduled_end_ = 0;
};

}  // namespace tercet
