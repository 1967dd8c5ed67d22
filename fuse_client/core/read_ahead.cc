#include "fuse_client/core/read_ahead.h"

#include <algorithm>
#include <cstring>

#include "fuse_client/core/file_reader.h"

namespace tercet {
namespace {

constexpr uint64_t kChunkBytes = 1 << 20;
/// The kernel reads ahead itself, with several large requests that may overtake one another; they
/// still count as sequential. Smaller reads have to be in sequence exactly.
constexpr uint64_t kReorderBytes = 512 << 10;
constexpr size_t kLargeRead = 64 << 10;
/// So much has to be read in sequence before anything is fetched ahead.
constexpr uint64_t kStartBytes = 128 << 10;

}  // namespace

/// A part of the file that is read ahead. Its memory is counted as long as it lives.
struct ReadAhead::Chunk {
  enum class State { kQueued, kRunning, kDone, kFailed };

  Chunk(ClientContext* owner, InodeStatePtr file, uint64_t chunk_offset, size_t chunk_size)
      : context(owner),
        inode(std::move(file)),
        offset(chunk_offset),
        size(chunk_size),
        version(inode->data_version.load()),
        buffer(context->buffers->Make(chunk_size)) {}
  ~Chunk() { context->read_ahead_budget.Release(size); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  bool valid() const { return inode->data_version.load() == version; }

  /// Reads it, in whichever thread comes first.
  void Run() {
    {
      std::lock_guard lock(mutex);
      if (state != State::kQueued) return;
      state = State::kRunning;
    }
    const bool ok =
        valid() && FileReader(context).Fill(*inode, offset, {buffer->data(), size}).ok();
    std::lock_guard lock(mutex);
    state = ok ? State::kDone : State::kFailed;
    finished.notify_all();
  }

  /// Runs it or waits until it has run; false when it failed.
  bool Await() {
    Run();
    std::unique_lock lock(mutex);
    finished.wait(lock, [&] { return state == State::kDone || state == State::kFailed; });
    return state == State::kDone;
  }

  ClientContext* const context;
  const InodeStatePtr inode;
  const uint64_t offset;
  const size_t size;
  const uint64_t version;
  const PieceBufferPtr buffer;
  std::atomic<size_t> consumed{0};

  std::mutex mutex;
  std::condition_variable finished;
  State state = State::kQueued;  // guarded by mutex
};

ReadAhead::ReadAhead(ClientContext* context, InodeStatePtr inode)
    : context_(context),
      inode_(std::move(inode)),
      max_window_(
          std::min(context->options.read_ahead_bytes, context->options.read_ahead_total_bytes)) {}

ReadAhead::~ReadAhead() = default;

Status ReadAhead::Read(uint64_t offset, std::span<char> out, uint64_t file_size) {
  if (max_window_ == 0) return FileReader(context_).Fill(*inode_, offset, out);
  {
    std::lock_guard lock(mutex_);
    NoteAccessLocked(offset, out.size());
    ScheduleLocked(file_size);
  }
  while (!out.empty()) {
    ChunkPtr chunk;
    uint64_t next = 0;
    {
      std::lock_guard lock(mutex_);
      chunk = ChunkAtLocked(offset);
      if (chunk == nullptr) next = NextChunkLocked(offset);
    }
    size_t served = 0;
    if (chunk != nullptr) {
      RETURN_IF_ERROR(Serve(chunk, offset, out, &served));
    } else {
      served = std::min<uint64_t>(out.size(), next - offset);
      RETURN_IF_ERROR(FileReader(context_).Fill(*inode_, offset, out.first(served)));
    }
    offset += served;
    out = out.subspan(served);
  }
  return Status::Ok();
}

Status ReadAhead::Serve(const ChunkPtr& chunk, uint64_t offset, std::span<char> out,
                        size_t* served) {
  const size_t at = offset - chunk->offset;
  const size_t size = std::min(out.size(), chunk->size - at);
  *served = size;
  const bool good = chunk->Await() && chunk->valid();
  if (good) {
    std::memcpy(out.data(), chunk->buffer->data() + at, size);
    context_->counters.read_ahead_hits.fetch_add(size, std::memory_order_relaxed);
  }
  if (!good || chunk->consumed.fetch_add(size) + size >= chunk->size) {
    std::lock_guard lock(mutex_);
    auto it = chunks_.find(chunk->offset);
    if (it != chunks_.end() && it->second == chunk) chunks_.erase(it);
  }
  if (good) return Status::Ok();
  // An error is the reader's only if it happens to the reader's own request too.
  return FileReader(context_).Fill(*inode_, offset, out.first(size));
}

void ReadAhead::NoteAccessLocked(uint64_t offset, size_t size) {
  const uint64_t slack = size >= kLargeRead ? kReorderBytes : 0;
  const bool sequential = offset + slack >= next_ && offset <= next_ + slack;
  const uint64_t end = offset + size;
  if (sequential) {
    next_ = std::max(next_, end);
    sequential_bytes_ += size;
    ++sequential_reads_;
    return;
  }
  chunks_.clear();
  next_ = end;
  scheduled_end_ = 0;
  sequential_bytes_ = size;
  sequential_reads_ = 1;
}

void ReadAhead::ScheduleLocked(uint64_t file_size) {
  DropBehindLocked();
  if (sequential_bytes_ < kStartBytes || (sequential_reads_ < 2 && next_ != sequential_bytes_)) {
    return;
  }
  // As far ahead as was read already, in whole chunks.
  const uint64_t window =
      std::min(max_window_, std::max(kChunkBytes, sequential_bytes_ / kChunkBytes * kChunkBytes));
  const uint64_t end = std::min(file_size, next_ + window);
  uint64_t from = std::max(next_, scheduled_end_);
  while (from < end) {
    const uint64_t stop = std::min(file_size, (from / kChunkBytes + 1) * kChunkBytes);
    const size_t size = stop - from;
    if (!context_->read_ahead_budget.TryAcquire(size)) return;
    auto chunk = std::make_shared<Chunk>(context_, inode_, from, size);
    if (!context_->read_pool.TrySubmit([chunk] { chunk->Run(); })) return;
    chunks_[from] = std::move(chunk);
    from = stop;
    scheduled_end_ = stop;
  }
}

/// What a sequential reader has left behind, or what was changed since, will not be asked for.
void ReadAhead::DropBehindLocked() {
  std::erase_if(chunks_, [&](const auto& entry) {
    const Chunk& chunk = *entry.second;
    return chunk.offset + chunk.size + kReorderBytes <= next_ || !chunk.valid();
  });
  if (chunks_.empty()) scheduled_end_ = 0;
}

ReadAhead::ChunkPtr ReadAhead::ChunkAtLocked(uint64_t offset) {
  auto it = chunks_.upper_bound(offset);
  if (it == chunks_.begin()) return nullptr;
  --it;
  if (it->second->offset + it->second->size <= offset) return nullptr;
  return it->second;
}

uint64_t ReadAhead::NextChunkLocked(uint64_t offset) const {
  auto it = chunks_.upper_bound(offset);
  return it == chunks_.end() ? UINT64_MAX : it->first;
}

}  // namespace tercet
