#include "fuse_client/core/inode_state.h"

#include <algorithm>

#include "fuse_client/core/block_writer.h"

namespace tercet {

InodeState::InodeState(InodeId inode, std::shared_ptr<PieceBufferPool> pool)
    : id(inode), buffer_pool(std::move(pool)) {}

InodeState::~InodeState() = default;

wire::Attributes InodeState::Learn(const wire::Attributes& fresh, bool own_change) {
  std::lock_guard lock(mutex);
  if (fresh.change_version < attributes.change_version) return OverlaidLocked();
  const bool first = attributes.inode == 0;
  const int64_t expected = attributes.change_version + (own_change ? 1 : 0);
  if (!first && fresh.change_version > expected) {
    blocks.ForgetCommitted();
    data_version.fetch_add(1);
    foreign_changes.fetch_add(1);
  }
  if (first || fresh.change_version > expected) {
    others_unsynced = fresh.size_bytes > 0;
    others_version = fresh.change_version;
  }
  attributes = fresh;
  if (first && fresh.type == wire::FileType::REGULAR && fresh.block_size_bytes > 0) {
    const auto size = static_cast<uint64_t>(fresh.block_size_bytes);
    block_size_ = size;
    unsent = std::make_unique<WriteBuffer>(std::min<uint64_t>(size, kMaxPieceBytes), buffer_pool);
  }
  return OverlaidLocked();
}

wire::Attributes InodeState::Current() const {
  std::lock_guard lock(mutex);
  return OverlaidLocked();
}

wire::Attributes InodeState::OverlaidLocked() const {
  wire::Attributes merged = attributes;
  merged.size_bytes = static_cast<int64_t>(VisibleSizeLocked());
  if (pending_mtime) {
    merged.mtime_ns = *pending_mtime;
    merged.ctime_ns = std::max(merged.ctime_ns, *pending_mtime);
  }
  return merged;
}

uint64_t InodeState::VisibleSizeLocked() const {
  return std::max(static_cast<uint64_t>(attributes.size_bytes), pending_end);
}

void InodeState::RecomputePendingEndLocked() {
  pending_end = acknowledged_end;
  for (const auto& [index, pieces] : in_flight) {
    for (const Piece& piece : pieces) pending_end = std::max(pending_end, piece.end());
  }
  if (unsent != nullptr) pending_end = std::max(pending_end, unsent->end());
}

bool InodeState::IsDirty() const {
  std::lock_guard lock(mutex);
  return IsDirtyLocked();
}

bool InodeState::IsDirtyLocked() const {
  return pending_end != 0 || pending_mtime || !in_flight.empty() ||
         (unsent != nullptr && !unsent->empty());
}

void InodeState::NoteError(const Status& status) {
  std::lock_guard lock(mutex);
  error_ = status;
  ++error_count_;
}

Status InodeState::TakeError(uint64_t* seen) const {
  std::lock_guard lock(mutex);
  if (*seen == error_count_) return Status::Ok();
  *seen = error_count_;
  return error_;
}

uint64_t InodeState::error_count() const {
  std::lock_guard lock(mutex);
  return error_count_;
}

}  // namespace tercet
