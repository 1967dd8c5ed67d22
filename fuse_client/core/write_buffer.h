// Written data of one file that was not sent yet, and the buffers it is kept in.
//
// Invariants of WriteBuffer:
//  - Pieces never overlap and never cross an extent (1 MiB, or the block size if that is smaller),
//    so each can travel as one frame.
//  - A piece that reaches the end of its extent leaves at once: a sequential writer will not come
//    back.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "fuse_client/core/interval_set.h"

namespace tercet {

/// The largest piece: what one frame carries.
inline constexpr size_t kMaxPieceBytes = 1 << 20;

struct FreeMemory {
  void operator()(char* memory) const { std::free(memory); }
};
/// Page-aligned and not cleared.
using PageMemory = std::unique_ptr<char, FreeMemory>;

/// Memory for data; of full size it is recycled, since fresh pages cost a fault each.
class PieceBuffer;
using PieceBufferPtr = std::shared_ptr<PieceBuffer>;

/// Keeps a few buffers of kMaxPieceBytes for reuse. Thread-safe; must outlive its buffers' pool
/// pointer, so it is held by shared_ptr.
class PieceBufferPool : public std::enable_shared_from_this<PieceBufferPool> {
 public:
  explicit PieceBufferPool(size_t max_kept) : max_kept_(max_kept) {}
  PieceBufferPtr Make(size_t capacity);

 private:
  friend class PieceBuffer;
  void Recycle(PageMemory memory);

  const size_t max_kept_;
  std::mutex mutex_;
  std::vector<PageMemory> kept_;  // guarded by mutex_
};

class PieceBuffer {
 public:
  PieceBuffer(std::shared_ptr<PieceBufferPool> pool, PageMemory memory, size_t capacity)
      : pool_(std::move(pool)), memory_(std::move(memory)), capacity_(capacity) {}
  ~PieceBuffer();
  PieceBuffer(const PieceBuffer&) = delete;
  PieceBuffer& operator=(const PieceBuffer&) = delete;
  char* data() { return memory_.get(); }
  const char* data() const { return memory_.get(); }
  size_t capacity() const { return capacity_; }

 private:
  const std::shared_ptr<PieceBufferPool> pool_;
  PageMemory memory_;
  const size_t capacity_;
};

/// A contiguous part of a file.
struct Piece {
  uint64_t offset = 0;  // in the file
  PieceBufferPtr buffer;
  size_t start = 0;  // in the buffer
  size_t size = 0;

  uint64_t end() const { return offset + size; }
  std::string_view data() const { return {buffer->data() + start, size}; }
  /// Copies what overlaps [offset, offset + out.size()) to its place in `out` and notes it.
  void CopyTo(uint64_t out_offset, std::span<char> out, IntervalSet* covered) const;
};

/// Not thread-safe.
class WriteBuffer {
 public:
  WriteBuffer(uint64_t extent_bytes, std::shared_ptr<PieceBufferPool> pool);

  /// Copies `data` in. Pieces that became full are appended to `full` and are no longer here.
  void Write(uint64_t offset, std::string_view data, std::vector<Piece>* full);
  /// Takes the pieces that overlap [begin, end), in order.
  std::vector<Piece> Take(uint64_t begin, uint64_t end);
  std::vector<Piece> TakeAll() { return Take(0, UINT64_MAX); }
  /// Drops what is at and behind `size`.
  void Cut(uint64_t size);
  void CopyTo(uint64_t offset, std::span<char> out, IntervalSet* covered) const;
  bool Overlaps(uint64_t begin, uint64_t end) const;

  /// End of the last piece; 0 when there is none.
  uint64_t end() const { return pieces_.empty() ? 0 : pieces_.rbegin()->second.end(); }
  bool empty() const { return pieces_.empty(); }
  size_t piece_count() const { return pieces_.size(); }
  uint64_t bytes() const { return bytes_; }

 private:
  using Map = std::map<uint64_t, Piece>;
  void WriteWithinExtent(uint64_t offset, std::string_view data, std::vector<Piece>* full);
  Map::iterator PieceFor(uint64_t offset, size_t size, uint64_t extent_end);
  void Reserve(Piece* piece, size_t size, uint64_t extent_end);
  void DropFollowers(Map::iterator it);
  Map::const_iterator FirstOverlap(uint64_t begin) const;

  const uint64_t extent_bytes_;
  const std::shared_ptr<PieceBufferPool> pool_;
  Map pieces_;  // by offset
  uint64_t bytes_ = 0;
  uint64_t last_end_ = 0;  // of the last write: tells sequential ones
};

}  // namespace tercet
