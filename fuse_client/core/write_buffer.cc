#include "fuse_client/core/write_buffer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

namespace tercet {
namespace {

constexpr size_t kPageBytes = 4096;

PageMemory AllocatePages(size_t size) {
  const size_t rounded = (size + kPageBytes - 1) / kPageBytes * kPageBytes;
  auto* memory = static_cast<char*>(std::aligned_alloc(kPageBytes, rounded));
  if (memory == nullptr) throw std::bad_alloc();  // as operator new does
  return PageMemory(memory);
}

}  // namespace

PieceBufferPtr PieceBufferPool::Make(size_t capacity) {
  PageMemory memory;
  if (capacity == kMaxPieceBytes) {
    std::lock_guard lock(mutex_);
    if (!kept_.empty()) {
      memory = std::move(kept_.back());
      kept_.pop_back();
    }
  }
  if (memory == nullptr) memory = AllocatePages(capacity);
  return std::make_shared<PieceBuffer>(shared_from_this(), std::move(memory), capacity);
}

void PieceBufferPool::Recycle(PageMemory memory) {
  std::lock_guard lock(mutex_);
  if (kept_.size() < max_kept_) kept_.push_back(std::move(memory));
}

PieceBuffer::~PieceBuffer() {
  if (capacity_ == kMaxPieceBytes) pool_->Recycle(std::move(memory_));
}

void Piece::CopyTo(uint64_t out_offset, std::span<char> out, IntervalSet* covered) const {
  const uint64_t begin = std::max(offset, out_offset);
  const uint64_t stop = std::min(end(), out_offset + out.size());
  if (begin >= stop) return;
  std::memcpy(out.data() + (begin - out_offset), buffer->data() + start + (begin - offset),
              stop - begin);
  covered->Add(begin, stop);
}

WriteBuffer::WriteBuffer(uint64_t extent_bytes, std::shared_ptr<PieceBufferPool> pool)
    : extent_bytes_(extent_bytes), pool_(std::move(pool)) {}

void WriteBuffer::Write(uint64_t offset, std::string_view data, std::vector<Piece>* full) {
  while (!data.empty()) {
    const uint64_t extent_end = (offset / extent_bytes_ + 1) * extent_bytes_;
    const size_t size = std::min<uint64_t>(data.size(), extent_end - offset);
    WriteWithinExtent(offset, data.substr(0, size), full);
    offset += size;
    data.remove_prefix(size);
    last_end_ = offset;
  }
}

void WriteBuffer::WriteWithinExtent(uint64_t offset, std::string_view data,
                                    std::vector<Piece>* full) {
  const uint64_t extent_end = (offset / extent_bytes_ + 1) * extent_bytes_;
  const Map::iterator it = PieceFor(offset, data.size(), extent_end);
  Piece& piece = it->second;
  const size_t at = offset - piece.offset;
  std::memcpy(piece.buffer->data() + piece.start + at, data.data(), data.size());
  if (at + data.size() > piece.size) {
    bytes_ += at + data.size() - piece.size;
    piece.size = at + data.size();
  }
  DropFollowers(it);
  if (piece.end() == extent_end) {
    bytes_ -= piece.size;
    full->push_back(std::move(piece));
    pieces_.erase(it);
  }
}

/// The piece that [offset, offset + size) goes into, with room for it: one it overlaps or touches
/// from behind, else a new one.
WriteBuffer::Map::iterator WriteBuffer::PieceFor(uint64_t offset, size_t size,
                                                 uint64_t extent_end) {
  auto next = pieces_.upper_bound(offset);
  if (next != pieces_.begin()) {
    auto before = std::prev(next);
    if (before->second.end() >= offset && before->second.offset + extent_bytes_ >= extent_end) {
      Reserve(&before->second, offset - before->second.offset + size, extent_end);
      return before;
    }
  }
  Piece piece;
  piece.offset = offset;
  // A sequential writer that begins its next extent will fill it.
  const bool sequential = offset != 0 && offset == last_end_ && offset % extent_bytes_ == 0;
  Reserve(&piece, sequential ? extent_bytes_ : size, extent_end);
  return pieces_.emplace_hint(next, offset, std::move(piece));
}

void WriteBuffer::Reserve(Piece* piece, size_t size, uint64_t extent_end) {
  if (piece->buffer != nullptr && piece->start + size <= piece->buffer->capacity()) return;
  const size_t most = extent_end - piece->offset;
  size_t capacity = std::bit_ceil(std::max(size, kPageBytes));
  if (piece->buffer != nullptr) capacity = std::max(capacity, 2 * piece->size);
  // The extent bounds it, but a piece of recyclable size is as good.
  capacity = std::min(capacity, std::max(most, size));
  if (capacity > kMaxPieceBytes / 2) capacity = std::max(capacity, kMaxPieceBytes);
  PieceBufferPtr buffer = pool_->Make(capacity);
  if (piece->buffer != nullptr) {
    std::memcpy(buffer->data(), piece->buffer->data() + piece->start, piece->size);
  }
  piece->buffer = std::move(buffer);
  piece->start = 0;
}

/// Cuts off the pieces behind `it` what it covers.
void WriteBuffer::DropFollowers(Map::iterator it) {
  const uint64_t end = it->second.end();
  auto next = std::next(it);
  while (next != pieces_.end() && next->second.offset < end) {
    if (next->second.end() <= end) {
      bytes_ -= next->second.size;
      next = pieces_.erase(next);
      continue;
    }
    const size_t cut = end - next->second.offset;
    auto node = pieces_.extract(next);
    node.key() = end;
    node.mapped().offset = end;
    node.mapped().start += cut;
    node.mapped().size -= cut;
    bytes_ -= cut;
    pieces_.insert(std::move(node));
    return;
  }
}

WriteBuffer::Map::const_iterator WriteBuffer::FirstOverlap(uint64_t begin) const {
  auto it = pieces_.upper_bound(begin);
  if (it != pieces_.begin() && std::prev(it)->second.end() > begin) --it;
  return it;
}

std::vector<Piece> WriteBuffer::Take(uint64_t begin, uint64_t end) {
  std::vector<Piece> taken;
  auto it = FirstOverlap(begin);
  while (it != pieces_.end() && it->second.offset < end) {
    bytes_ -= it->second.size;
    taken.push_back(it->second);
    it = pieces_.erase(it);
  }
  return taken;
}

void WriteBuffer::Cut(uint64_t size) {
  auto it = pieces_.lower_bound(size);
  while (it != pieces_.end()) {
    bytes_ -= it->second.size;
    it = pieces_.erase(it);
  }
  if (pieces_.empty()) return;
  Piece& last = std::prev(pieces_.end())->second;
  if (last.end() > size) {
    bytes_ -= last.end() - size;
    last.size = size - last.offset;
  }
}

void WriteBuffer::CopyTo(uint64_t offset, std::span<char> out, IntervalSet* covered) const {
  const uint64_t end = offset + out.size();
  for (auto it = FirstOverlap(offset); it != pieces_.end() && it->second.offset < end; ++it) {
    it->second.CopyTo(offset, out, covered);
  }
}

bool WriteBuffer::Overlaps(uint64_t begin, uint64_t end) const {
  auto it = FirstOverlap(begin);
  return it != pieces_.end() && it->second.offset < end;
}

}  // namespace tercet
