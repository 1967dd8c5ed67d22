#include "chunkserver/scrub/evacuator.h"

#include <algorithm>
#include <utility>

#include "common/log/log.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr size_t kListed = 256;  // replicas at a time
constexpr std::chrono::seconds kPause{1};
constexpr int64_t kBlockedLogIntervalMs = 600'000;
/// What a replica takes beside its data.
constexpr uint64_t kReplicaOverheadBytes = 64 << 10;

size_t OthersInService(const std::vector<StoreDiskStatus>& disks) {
  return static_cast<size_t>(std::count_if(disks.begin(), disks.end(), [](const auto& disk) {
    return disk.healthy && disk.state == StoreDiskState::kInService;
  }));
}

}  // namespace

Evacuation::Evacuation(BlockStore& store, Clock& clock) : store_(store), clock_(clock) {}

Evacuation::Draining* Evacuation::Choose(const std::vector<StoreDiskStatus>& disks) {
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  Draining* chosen = nullptr;
  for (const StoreDiskStatus& disk : disks) {
    if (!disk.healthy || disk.state != StoreDiskState::kDraining) {
      if (draining_.erase(disk.disk_uuid) > 0) {
        LOG_INFO("a disk is not drained any more disk={}", disk.path);
      }
      continue;
    }
    auto [place, is_new] = draining_.try_emplace(disk.disk_uuid);
    Draining& draining = place->second;
    if (is_new) {
      draining.progress.disk_uuid = disk.disk_uuid;
      draining.progress.disk_path = disk.path;
      LOG_INFO("draining a disk: its replicas move to the server's other disks disk={} replicas={}",
               disk.path, disk.replica_count);
    }
    draining.progress.left_replicas = disk.replica_count;
    if (chosen == nullptr && now_ms >= draining.next_attempt_ms) chosen = &draining;
  }
  return chosen;
}

nanoseconds Evacuation::Step(uint64_t bytes_per_second, bool clients_active) {
  const std::vector<StoreDiskStatus> disks = store_.Disks();
  Draining* disk = Choose(disks);
  if (disk == nullptr) return kPause;
  if (OthersInService(disks) == 0) {
    NoteBlocked(*disk, Status(StatusCode::kNoSpace, "the server has no other disk in service"));
    return nanoseconds(0);
  }
  if (disk->ahead.empty() && !Refill(*disk)) return nanoseconds(0);
  return MoveNext(*disk, bytes_per_second, clients_active);
}

bool Evacuation::Refill(Draining& disk) {
  auto listed = store_.ListDisk(disk.progress.disk_uuid, disk.position, kListed);
  const int64_t later_ms = clock_.MonotonicMillis() + milliseconds(kRetryAfter).count();
  std::lock_guard lock(mutex_);
  if (!listed.ok()) {
    LOG_WARN_LIMITED("a draining disk's replicas are not known disk={}: {}",
                     disk.progress.disk_path, listed.status());
    disk.progress.blocked = listed.status();
    disk.next_attempt_ms = later_ms;
    return false;
  }
  disk.ahead.assign(listed->begin(), listed->end());
  if (!disk.ahead.empty()) {
    if (disk.position == BlockId()) disk.progress.failed_replicas = 0;
    disk.progress.done = false;
    return true;
  }
  if (disk.position == BlockId() && !std::exchange(disk.progress.done, true)) {
    LOG_INFO("a draining disk is empty disk={} moved_replicas={} moved_bytes={}",
             disk.progress.disk_path, disk.progress.moved_replicas, disk.progress.moved_bytes);
  }
  // Another pass: for what failed, and for copies that were unfinished.
  disk.next_attempt_ms =
      disk.progress.failed_replicas > 0 || disk.position == BlockId() ? later_ms : 0;
  disk.position = BlockId();
  return false;
}

nanoseconds Evacuation::MoveNext(Draining& disk, uint64_t bytes_per_second, bool clients_active) {
  const BlockId block = disk.ahead.front().block;
  uint64_t bytes = kReplicaOverheadBytes;
  if (auto stat = store_.Stat(block); stat.ok()) bytes += stat->length;
  const int64_t begin_nanos = clock_.MonotonicNanos();
  const Status moved = store_.MoveToDisk(block, "");
  const nanoseconds took(clock_.MonotonicNanos() - begin_nanos);
  if (moved.code() == StatusCode::kNoSpace) {
    NoteBlocked(disk, moved);
    return nanoseconds(0);
  }
  std::lock_guard lock(mutex_);
  disk.progress.blocked = Status::Ok();
  disk.position = block;
  disk.ahead.pop_front();
  if (moved.ok()) {
    ++disk.progress.moved_replicas;
    disk.progress.moved_bytes += bytes;
  } else if (moved.code() != StatusCode::kNotFound) {
    // Damaged or suspect: it is reported, and moves when it was healed, or goes.
    ++disk.progress.failed_replicas;
    LOG_WARN_LIMITED("a replica cannot be moved off a draining disk block={} disk={}: {}", block,
                     disk.progress.disk_path, moved);
  }
  // With clients at work, half of the time is theirs.
  nanoseconds wait = clients_active ? took : nanoseconds(0);
  if (bytes_per_second > 0) {
    const std::chrono::duration<double> due(static_cast<double>(bytes) /
                                            static_cast<double>(bytes_per_second));
    wait = std::max(wait, std::chrono::duration_cast<nanoseconds>(due) - took);
  }
  return wait;
}

void Evacuation::NoteBlocked(Draining& disk, const Status& why) {
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  disk.next_attempt_ms = now_ms + milliseconds(kRetryAfter).count();
  disk.progress.blocked = why;
  if (disk.blocked_logged_ms >= 0 && now_ms - disk.blocked_logged_ms < kBlockedLogIntervalMs)
    return;
  disk.blocked_logged_ms = now_ms;
  LOG_WARN(
      "a draining disk cannot be emptied: give the server another disk, make room on its disks, or "
      "drain the whole server disk={} left_replicas={}: {}",
      disk.progress.disk_path, disk.progress.left_replicas, why);
}

std::vector<EvacuationProgress> Evacuation::Progress() const {
  std::lock_guard lock(mutex_);
  std::vector<EvacuationProgress> all;
  for (const auto& [uuid, draining] : draining_) all.push_back(draining.progress);
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.disk_path < b.disk_path; });
  return all;
}

Evacuator::Evacuator(BlockStore& store, Clock& clock, uint64_t bytes_per_second,
                     std::function<bool()> clients_active)
    : clients_active_(std::move(clients_active)),
      bytes_per_second_(bytes_per_second),
      evacuation_(store, clock),
      thread_("evacuate", StepThread::Priority::kNormal,
              [this] { return evacuation_.Step(bytes_per_second_.load(), clients_active_()); }) {}

}  // namespace tercet
