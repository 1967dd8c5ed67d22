#include "fuse_client/core/file_writer.h"

#include <algorithm>
#include <vector>

#include "common/env/clock.h"
#include "common/log/log.h"
#include "fuse_client/core/flusher.h"

namespace tercet {
namespace {

/// What the metaserver allows; checked here so that the write itself fails, not its flush.
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 50;
/// Of one file: more is sent although pieces are not full.
constexpr uint64_t kMaxUnsentBytes = 8 << 20;
constexpr size_t kMaxUnsentPieces = 1'024;
/// With so much unsent a file is no longer a small one that is closed at once: its block is asked
/// for while the program goes on writing.
constexpr uint64_t kAllocateEarlyBytes = 128 << 10;
/// Per file; idle writers beyond are ended.
constexpr size_t kMaxWriters = 64;
/// A commit is one journal record, which should stay small.
constexpr size_t kMaxBlocksPerCommit = 256;
constexpr int kMaxConflicts = 3;
/// Blocks that are looked at, and synced at the same time, where it is not known whether they are
/// durable.
constexpr uint64_t kBlocksPerLook = 4'096;
constexpr size_t kBlocksPerSync = 64;

Status FirstError(Status first, Status second) { return first.ok() ? second : first; }

}  // namespace

Status FileWriter::Write(const InodeStatePtr& inode, uint64_t offset, std::string_view data) {
  if (offset > kMaxFileBytes || data.size() > kMaxFileBytes - offset) {
    return Status(StatusCode::kFileTooLarge, "a file has at most 2^50 bytes");
  }
  while (!data.empty()) {
    const std::string_view part = data.substr(0, kMaxPieceBytes);
    RETURN_IF_ERROR(WritePart(inode, offset, part));
    offset += part.size();
    data.remove_prefix(part.size());
  }
  return Status::Ok();
}

Status FileWriter::WritePart(const InodeStatePtr& inode, uint64_t offset, std::string_view data) {
  // Before any lock: whoever gives memory back may need the inode's.
  const bool admitted =
      context_->write_budget.Acquire(data.size(), [this] { context_->flusher->FlushSoon(); });
  if (!admitted) return Status(StatusCode::kCancelled, "the mount is ending");
  std::lock_guard write_lock(inode->write_mutex);
  bool send = false;
  uint64_t growth = 0;
  {
    std::lock_guard lock(inode->mutex);
    const uint64_t before = inode->unsent->bytes();
    std::vector<Piece> full;
    inode->unsent->Write(offset, data, &full);
    growth = inode->unsent->bytes() - before;
    for (Piece& piece : full) {
      growth += piece.size;
      inode->in_flight[piece.offset / inode->block_size()].push_back(std::move(piece));
    }
    send = !full.empty();
    if (inode->unsent->bytes() > kMaxUnsentBytes ||
        inode->unsent->piece_count() > kMaxUnsentPieces) {
      QueueUnsentLocked(*inode);
      send = true;
    }
    inode->pending_end = std::max(inode->pending_end, offset + data.size());
    inode->pending_mtime = RealClock().WallNanos();
    if (!inode->dirty_since) inode->dirty_since = InodeState::Clock::now();
    inode->data_version.fetch_add(1);
  }
  // What was overwritten in the buffer takes no more room. (Modulo 2^64: bytes() may have shrunk.)
  context_->write_budget.Release(data.size() - growth);
  if (!inode->flush_registered.exchange(true)) context_->flusher->NoteDirty(inode);
  if (send) return SendQueued(*inode);
  AllocateEarly(inode, offset / inode->block_size());
  return Status::Ok();
}

/// Asks for the block at `index` in the background if it will be wanted.
void FileWriter::AllocateEarly(const InodeStatePtr& inode, uint64_t index) {
  // The writer will ask for a block that avoids the servers that failed.
  if (context_->connections->AnyRecentlyFailed()) return;
  {
    std::lock_guard lock(inode->mutex);
    if (inode->unsent->bytes() < kAllocateEarlyBytes) return;
    const FileBlock* known = inode->blocks.Find(index);
    if (known != nullptr && !known->is_hole()) return;
    const bool may_exist =
        index * inode->block_size() < static_cast<uint64_t>(inode->attributes.size_bytes);
    if (known == nullptr && may_exist) return;
    if (!inode->allocating.insert(index).second) return;
  }
  auto task = [context = context_, inode, index] {
    wire::AllocateBlockRequest request;
    request.inode = static_cast<int64_t>(inode->id.value());
    request.block_index = static_cast<int64_t>(index);
    auto response = context->metadata->Mutate(
        "allocate block", &wire::MetadataServiceClient::AllocateBlock, std::move(request));
    if (response.ok()) context->servers.Learn(response->servers);
    std::lock_guard lock(inode->mutex);
    // After an error whoever needs the block asks again, and reports what it is told.
    if (response.ok()) inode->blocks.Put(index, BlockFromWire(response->block));
    inode->allocating.erase(index);
    inode->allocated.notify_all();
  };
  if (!context_->allocate_pool.TrySubmit(std::move(task))) {
    std::lock_guard lock(inode->mutex);
    inode->allocating.erase(index);
    inode->allocated.notify_all();
  }
}

void FileWriter::QueueUnsentLocked(InodeState& inode) {
  for (Piece& piece : inode.unsent->TakeAll()) {
    inode.in_flight[piece.offset / inode.block_size()].push_back(std::move(piece));
  }
}

BlockWriter& FileWriter::WriterFor(InodeState& inode, uint64_t index) {
  std::unique_ptr<BlockWriter>& writer = inode.writers[index];
  if (writer == nullptr) writer = std::make_unique<BlockWriter>(context_, &inode, index);
  return *writer;
}

Status FileWriter::SendQueued(InodeState& inode) {
  std::vector<uint64_t> indexes;
  {
    std::lock_guard lock(inode.mutex);
    for (const auto& [index, pieces] : inode.in_flight) indexes.push_back(index);
  }
  Status result;
  for (uint64_t index : indexes) {
    result = FirstError(std::move(result), WriterFor(inode, index).Send());
  }
  if (inode.writers.size() > kMaxWriters) {
    result = FirstError(std::move(result), PruneWriters(inode));
  }
  return result;
}

Status FileWriter::DrainAll(InodeState& inode, bool durable) {
  {
    std::lock_guard lock(inode.mutex);
    for (const auto& [index, pieces] : inode.in_flight) WriterFor(inode, index);
  }
  std::vector<BlockWriter*> busy;
  for (const auto& [index, writer] : inode.writers) {
    if (!writer->idle() || (durable && writer->unsynced())) busy.push_back(writer.get());
  }
  // A first round gets all chains going; then each is waited for.
  Status result;
  if (busy.size() > 1) {
    for (BlockWriter* writer : busy) result = FirstError(std::move(result), writer->Send());
  }
  if (!durable) {
    for (BlockWriter* writer : busy) result = FirstError(std::move(result), writer->Drain());
    return result;
  }
  std::vector<Status> synced(busy.size());
  context_->read_pool.RunAll(busy.size(), [&](size_t i) { synced[i] = busy[i]->Sync(); });
  for (Status& status : synced) result = FirstError(std::move(result), std::move(status));
  return result;
}

Status FileWriter::Flush(const InodeStatePtr& inode, FlushGoal goal) {
  // A file that was only read: the common close.
  if (goal == FlushGoal::kCommitted && !inode->IsDirty()) return Status::Ok();
  std::lock_guard write_lock(inode->write_mutex);
  {
    std::lock_guard lock(inode->mutex);
    if (inode->unsent == nullptr) return Status::Ok();
    QueueUnsentLocked(*inode);
  }
  Status result = DrainAll(*inode, goal != FlushGoal::kCommitted);
  result = FirstError(std::move(result), Commit(*inode, goal == FlushGoal::kDurableData));
  if (goal != FlushGoal::kCommitted && result.ok()) result = MakeDurable(*inode);
  if (result.ok()) NoteDurable(*inode);
  if (inode->writers.size() > kMaxWriters) {
    result = FirstError(std::move(result), PruneWriters(*inode));
  }
  return result;
}

/// What DrainAll with `durable` cannot know of: what the commit had to move to other blocks, and
/// what others wrote.
Status FileWriter::MakeDurable(InodeState& inode) {
  const bool moved = std::any_of(inode.writers.begin(), inode.writers.end(),
                                 [](const auto& entry) { return entry.second->unsynced(); });
  if (moved) RETURN_IF_ERROR(DrainAll(inode, /*durable=*/true));
  return SyncOthers(inode);
}

/// Data that was written before this mount opened the file, or by another mount, is on all
/// replicas, but on their disks only if somebody synced it or some time has passed. Nobody here
/// knows: all blocks are synced, once.
Status FileWriter::SyncOthers(InodeState& inode) {
  uint64_t index_end = 0;
  int64_t version = 0;
  {
    std::lock_guard lock(inode.mutex);
    if (!inode.others_unsynced) return Status::Ok();
    version = inode.others_version;
    const auto size = static_cast<uint64_t>(inode.attributes.size_bytes);
    index_end = (size + inode.block_size() - 1) / inode.block_size();
  }
  if (context_->durable_versions.Has(inode.id, version)) index_end = 0;
  for (uint64_t first = 0; first < index_end; first += kBlocksPerLook) {
    wire::GetBlocksRequest request;
    request.inode = static_cast<int64_t>(inode.id.value());
    request.first_index = static_cast<int64_t>(first);
    request.count = static_cast<int32_t>(std::min(kBlocksPerLook, index_end - first));
    ASSIGN_OR_RETURN(
        const auto response,
        context_->metadata->Read("get blocks", &wire::MetadataServiceClient::GetBlocks, request));
    context_->servers.Learn(response.servers);
    for (size_t begin = 0; begin < response.blocks.size(); begin += kBlocksPerSync) {
      const size_t count = std::min(kBlocksPerSync, response.blocks.size() - begin);
      std::vector<Status> synced(count);
      context_->read_pool.RunAll(count, [&](size_t i) {
        const wire::BlockInfo& block = response.blocks[begin + i];
        BlockWriter writer(context_, &inode, static_cast<uint64_t>(block.block_index));
        synced[i] = writer.SyncExisting(BlockFromWire(block));
      });
      for (Status& status : synced) RETURN_IF_ERROR(status);
    }
  }
  std::lock_guard lock(inode.mutex);
  if (inode.others_version == version) inode.others_unsynced = false;
  return Status::Ok();
}

/// Remembers beyond the life of `inode` when there is nothing that would have to be synced.
void FileWriter::NoteDurable(InodeState& inode) {
  for (const auto& [index, writer] : inode.writers) {
    if (writer->unsynced()) return;
  }
  std::lock_guard lock(inode.mutex);
  if (inode.others_unsynced || inode.IsDirtyLocked()) return;
  context_->durable_versions.Note(inode.id, inode.attributes.change_version);
}

Status FileWriter::Commit(InodeState& inode, bool mtime_may_wait) {
  Status status;
  for (int conflicts = 0;; ++conflicts) {
    bool more = true;
    while (more && status.ok()) status = CommitOnce(inode, mtime_may_wait, &more);
    if (status.code() != StatusCode::kConflict) break;
    if (conflicts == kMaxConflicts) {
      status = Status(StatusCode::kUnavailable, "other clients truncate the file all the time");
      break;
    }
    status = ResolveConflict(inode);
    if (!status.ok()) return status;  // it is noted
  }
  if (status.ok()) return status;
  inode.NoteError(status);
  if (status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kDeadlineExceeded) {
    // The data is on its replicas: the next flush, at the latest the one in the background, tries
    // again.
    LOG_ERROR("inode {}: written data could not be committed yet: {}", inode.id.value(),
              status.ToString());
    return status;
  }
  LOG_ERROR("inode {}: written data is lost, it could not be committed: {}", inode.id.value(),
            status.ToString());
  for (auto& [index, writer] : inode.writers) writer->NoteTruncated();
  std::lock_guard lock(inode.mutex);
  inode.blocks.ForgetFrom(0);
  inode.acknowledged_end = 0;
  inode.pending_mtime.reset();
  inode.dirty_since.reset();
  inode.RecomputePendingEndLocked();
  inode.data_version.fetch_add(1);
  return status;
}

/// One commit of at most kMaxBlocksPerCommit blocks; `more`: there are others.
Status FileWriter::CommitOnce(InodeState& inode, bool mtime_may_wait, bool* more) {
  wire::CommitWriteRequest request;
  request.inode = static_cast<int64_t>(inode.id.value());
  std::vector<BlockWriter*> named;
  *more = false;
  for (auto& [index, writer] : inode.writers) {
    const int64_t written = writer->block_to_commit();
    const int64_t trimmed = writer->block_to_trim();
    if (written == 0 && trimmed == 0) continue;
    if (named.size() == kMaxBlocksPerCommit) {
      *more = true;
      break;
    }
    named.push_back(writer.get());
    if (written != 0) request.written_blocks.push_back(written);
    if (trimmed != 0) request.trimmed_blocks.push_back(trimmed);
  }
  {
    std::lock_guard lock(inode.mutex);
    if (named.empty() && inode.pending_end == 0 && !inode.pending_mtime) return Status::Ok();
    const bool grows = inode.pending_end > static_cast<uint64_t>(inode.attributes.size_bytes);
    if (named.empty() && !grows && mtime_may_wait) return Status::Ok();
    request.end_offset = static_cast<int64_t>(inode.acknowledged_end);
    if (inode.pending_mtime) request.__set_mtime_ns(*inode.pending_mtime);
  }
  ASSIGN_OR_RETURN(
      const auto response,
      context_->metadata->Mutate("commit write", &wire::MetadataServiceClient::CommitWrite,
                                 std::move(request)));
  context_->counters.commits.fetch_add(1);
  context_->Merge(response.attributes, /*own_change=*/true);
  for (BlockWriter* writer : named) writer->NoteCommitted();
  if (*more) return Status::Ok();
  for (auto& [index, writer] : inode.writers) writer->NoteCommitted();
  std::lock_guard lock(inode.mutex);
  inode.acknowledged_end = 0;
  inode.pending_end = 0;
  inode.pending_mtime.reset();
  inode.dirty_since.reset();
  return Status::Ok();
}

/// Somebody else's truncation took a block out of the file that we wrote to: our data goes into the
/// block that is there now, as if it had been written after the truncation.
Status FileWriter::ResolveConflict(InodeState& inode) {
  LOG_WARN("inode {}: it was truncated by another client while it was written", inode.id.value());
  Status result;
  for (auto& [index, writer] : inode.writers) {
    if (writer->block_to_commit() == 0 && writer->block_to_trim() == 0) continue;
    result = FirstError(std::move(result), writer->Reallocate());
  }
  return result;
}

/// Ends writers that have nothing left to do, after making what they wrote durable: only they know
/// that it may not be.
Status FileWriter::PruneWriters(InodeState& inode) {
  Status result;
  for (auto it = inode.writers.begin();
       it != inode.writers.end() && inode.writers.size() > kMaxWriters / 2;) {
    if (!it->second->idle()) {
      ++it;
      continue;
    }
    if (it->second->unsynced()) {
      result = FirstError(std::move(result), it->second->Sync());
    }
    it = inode.writers.erase(it);
  }
  return result;
}

Result<wire::Attributes> FileWriter::SetAttributes(const InodeStatePtr& inode,
                                                   wire::SetAttributesRequest request) {
  std::lock_guard write_lock(inode->write_mutex);
  return SetAttributesLocked(*inode, std::move(request));
}

Result<wire::Attributes> FileWriter::SetAttributesLocked(InodeState& inode,
                                                         wire::SetAttributesRequest request) {
  const bool sets_size = request.__isset.size_bytes;
  const bool sets_mtime = request.__isset.mtime_ns || request.mtime_now;
  const auto size = static_cast<uint64_t>(request.size_bytes);
  if (sets_size) RETURN_IF_ERROR(PrepareTruncation(inode, size));
  const auto response = context_->metadata->Mutate(
      "set attributes", &wire::MetadataServiceClient::SetAttributes, std::move(request));
  // Also after an error: it may have been done.
  if (sets_size) FinishTruncation(inode, size, response.ok());
  if (!response.ok()) return response.status();
  if (sets_mtime) {
    // The commit of what was written before must not bring another time back.
    std::lock_guard lock(inode.mutex);
    if (inode.pending_mtime) inode.pending_mtime = response->attributes.mtime_ns;
  }
  return context_->Merge(response->attributes, /*own_change=*/true);
}

Status FileWriter::Extend(const InodeStatePtr& inode, uint64_t size) {
  std::lock_guard write_lock(inode->write_mutex);
  {
    std::lock_guard lock(inode->mutex);
    if (inode->VisibleSizeLocked() >= size) return Status::Ok();
  }
  wire::SetAttributesRequest request;
  request.inode = static_cast<int64_t>(inode->id.value());
  request.__set_size_bytes(static_cast<int64_t>(size));
  return SetAttributesLocked(*inode, std::move(request)).status();
}

/// Drops what is cut off anyway; the rest of what was written is committed, so that the metaserver
/// sees it before the truncation.
Status FileWriter::PrepareTruncation(InodeState& inode, uint64_t size) {
  uint64_t dropped = 0;
  {
    std::unique_lock lock(inode.mutex);
    if (inode.unsent == nullptr) return Status::Ok();
    inode.allocated.wait(lock, [&] { return inode.allocating.empty(); });
    dropped = inode.unsent->bytes();
    inode.unsent->Cut(size);
    dropped -= inode.unsent->bytes();
    QueueUnsentLocked(inode);
    inode.RecomputePendingEndLocked();
  }
  context_->write_budget.Release(dropped);
  const Status drained = DrainAll(inode, /*durable=*/false);
  const Status committed = Commit(inode, /*mtime_may_wait=*/false);
  // Lost data that is cut off is no loss for this caller (handles hear of it all the same).
  if (size > 0) RETURN_IF_ERROR(drained);
  return size > 0 ? committed : Status::Ok();
}

void FileWriter::FinishTruncation(InodeState& inode, uint64_t size, bool done) {
  if (inode.block_size() == 0) return;
  std::lock_guard lock(inode.mutex);
  if (done) {
    // What could not be committed before is cut off with the rest.
    inode.acknowledged_end = std::min(inode.acknowledged_end, size);
    inode.RecomputePendingEndLocked();
    if (size == 0) inode.others_unsynced = false;
  }
  const uint64_t old_size = static_cast<uint64_t>(inode.attributes.size_bytes);
  const uint64_t first = std::min(size, old_size) / inode.block_size();
  inode.blocks.ForgetFrom(first);
  inode.data_version.fetch_add(1);
  for (auto it = inode.writers.lower_bound(first); it != inode.writers.end();) {
    const bool keeps_data = it->first * inode.block_size() < size;
    if (keeps_data) {
      it->second->NoteTruncated();
      ++it;
    } else {
      it = inode.writers.erase(it);
    }
  }
}

}  // namespace tercet
