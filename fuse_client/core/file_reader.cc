#include "fuse_client/core/file_reader.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace tercet {
namespace {

/// Locations are fetched in aligned groups of so many blocks.
constexpr uint64_t kBlocksPerFetch = 32;
/// Damage does not heal by waiting: a few tries are for a block that is being repaired or replaced.
constexpr int kMaxDamagedTries = 3;
constexpr int kMaxBlockMapTries = 16;
/// Locations that are known for long are still good while the active does not answer.
constexpr std::chrono::milliseconds kLocationPatience{200};
constexpr std::chrono::milliseconds kLocationLimit{2'000};

}  // namespace

uint64_t FileReader::SizeOf(const InodeState& inode) {
  std::lock_guard lock(inode.mutex);
  return inode.VisibleSizeLocked();
}

Status FileReader::Fill(InodeState& inode, uint64_t offset, std::span<char> out) {
  IntervalSet covered;
  {
    std::lock_guard lock(inode.mutex);
    // The newest data last. What was acknowledged meanwhile is on the replicas, which are asked
    // below.
    if (!inode.in_flight.empty()) {
      const uint64_t first = offset / inode.block_size();
      const uint64_t last = (offset + out.size() - 1) / inode.block_size();
      for (auto it = inode.in_flight.lower_bound(first);
           it != inode.in_flight.end() && it->first <= last; ++it) {
        for (const Piece& piece : it->second) piece.CopyTo(offset, out, &covered);
      }
    }
    if (inode.unsent != nullptr) inode.unsent->CopyTo(offset, out, &covered);
  }
  const uint64_t block_size = inode.block_size();
  if (block_size == 0) return Status(StatusCode::kInvalidArgument, "not a regular file");
  std::vector<Part> parts;
  for (auto [begin, end] : covered.Gaps(offset, offset + out.size())) {
    while (begin < end) {
      const uint64_t index = begin / block_size;
      const uint64_t stop = std::min(end, (index + 1) * block_size);
      parts.push_back({index, static_cast<uint32_t>(begin - index * block_size),
                       out.subspan(begin - offset, stop - begin)});
      begin = stop;
    }
  }
  if (parts.empty()) return Status::Ok();
  if (parts.size() == 1) return FillPart(inode, parts[0]);
  std::vector<Status> filled(parts.size());
  context_->read_pool.RunAll(parts.size(),
                             [&](size_t i) { filled[i] = FillPart(inode, parts[i]); });
  for (Status& status : filled) RETURN_IF_ERROR(std::move(status));
  return Status::Ok();
}

Status FileReader::FillPart(InodeState& inode, const Part& part) {
  RetryTimer timer(context_->DataLimit());
  int damaged = 0;
  bool looked_again = false;
  for (;;) {
    bool asked = false;
    const Status status = TryPart(inode, part, &asked);
    if (status.ok()) return status;
    // The metaserver's answer is final; a replica's may be about to change.
    if (!asked && status.code() != StatusCode::kUnavailable) return status;
    if (status.code() == StatusCode::kCorruption && ++damaged >= kMaxDamagedTries) return status;
    // Most often the block has just got a new chain, and the metaserver says at once which one.
    const bool moved =
        status.code() == StatusCode::kStaleGeneration || status.code() == StatusCode::kNotFound;
    if (moved && !std::exchange(looked_again, true)) continue;
    if (!timer.Wait(context_->stop)) return status;
  }
}

/// `asked`: replicas were asked for the data.
Status FileReader::TryPart(InodeState& inode, const Part& part, bool* asked) {
  ASSIGN_OR_RETURN(const FileBlock block, BlockAt(inode, part.index));
  size_t wanted = part.out.size();
  if (block.is_hole() || (block.reserved && !block.has_data)) {
    wanted = 0;
  } else if (block.valid_bytes) {
    const uint32_t valid = *block.valid_bytes;
    wanted = part.offset >= valid ? 0 : std::min<size_t>(wanted, valid - part.offset);
  }
  std::memset(part.out.data() + wanted, 0, part.out.size() - wanted);
  if (wanted == 0) return Status::Ok();
  Status status;
  auto target = context_->TargetOf(block);
  if (target.ok()) {
    *asked = true;
    status = context_->reader->Read(*target, part.offset, part.out.first(wanted));
    if (status.ok()) return status;
  } else {
    status = target.status();
  }
  // The next try asks the metaserver where the block is now, unless that was found out meanwhile.
  std::lock_guard lock(inode.mutex);
  const FileBlock* known = inode.blocks.Find(part.index);
  if (known != nullptr && !known->reserved && known->id == block.id &&
      known->generation == block.generation) {
    if (known->trimmed) {
      // That is not to be forgotten.
      inode.blocks.NoteAsked(part.index, 1, {});
    } else {
      inode.blocks.Forget(part.index);
    }
  }
  return status;
}

/// Of reserved blocks the metaserver tells readers nothing.
bool FileReader::IsOutdated(const FileBlock& block) const {
  if (block.reserved) return false;
  return std::chrono::steady_clock::now() - block.learned_at > context_->options.location_max_age;
}

/// Asks in another thread: who has waited long enough goes on, and the call, which would look like
/// a failure of the active if it were cut short, takes its time.
Result<wire::GetBlocksResponse> FileReader::AskForAMoment(const wire::GetBlocksRequest& request) {
  struct Answer {
    std::mutex mutex;
    std::condition_variable arrived;
    std::optional<Result<wire::GetBlocksResponse>> response;  // guarded by mutex
  };
  auto answer = std::make_shared<Answer>();
  auto task = [context = context_, request, answer] {
    auto response = context->metadata->Read("get blocks", &wire::MetadataServiceClient::GetBlocks,
                                            request, kLocationLimit);
    std::lock_guard lock(answer->mutex);
    answer->response.emplace(std::move(response));
    answer->arrived.notify_all();
  };
  if (!context_->allocate_pool.TrySubmit(std::move(task))) {
    return Status(StatusCode::kUnavailable, "too many questions wait");
  }
  std::unique_lock lock(answer->mutex);
  const bool in_time = answer->arrived.wait_for(lock, kLocationPatience,
                                                [&] { return answer->response.has_value(); });
  if (!in_time) return Status(StatusCode::kDeadlineExceeded, "no answer in time");
  return std::move(*answer->response);
}

Result<FileBlock> FileReader::BlockAt(InodeState& inode, uint64_t index) {
  wire::GetBlocksRequest request;
  request.inode = static_cast<int64_t>(inode.id.value());
  request.first_index = static_cast<int64_t>(index / kBlocksPerFetch * kBlocksPerFetch);
  request.count = kBlocksPerFetch;
  const auto first = static_cast<uint64_t>(request.first_index);
  for (int tries = 0; tries < kMaxBlockMapTries; ++tries) {
    uint64_t changes = 0;
    std::optional<FileBlock> old;
    {
      std::lock_guard lock(inode.mutex);
      if (const FileBlock* known = inode.blocks.Find(index)) {
        if (!IsOutdated(*known)) return *known;
        old = *known;
        // One reader asks; the others go on with what is known.
        inode.blocks.NoteAsked(first, kBlocksPerFetch, std::chrono::steady_clock::now());
      }
      changes = inode.blocks.changes();
    }
    auto response = old ? AskForAMoment(request)
                        : context_->metadata->Read(
                              "get blocks", &wire::MetadataServiceClient::GetBlocks, request);
    // An open file whose inode is gone was without a name, and its session was lost.
    if (response.code() == StatusCode::kNotFound) {
      return Status(StatusCode::kStaleHandle, response.status().message());
    }
    if (!response.ok() && old) return *old;
    if (!response.ok()) return response.status();
    context_->servers.Learn(response->servers);
    std::lock_guard lock(inode.mutex);
    if (inode.blocks.changes() != changes) continue;  // this answer may be the older one
    inode.blocks.Learn(first, kBlocksPerFetch, response->blocks);
    const FileBlock* known = inode.blocks.Find(index);
    return known == nullptr ? FileBlock() : *known;
  }
  return Status(StatusCode::kUnavailable, "the file's blocks change all the time");
}

}  // namespace tercet
