#include "chunkserver/scrub/disk_scrub.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "chunkserver/scrub/scrub_pace.h"
#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/log/log.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr size_t kListed = 256;  // replicas at a time
/// Replicas whose names are compared in a step, of which there is at most one in kLookPause.
constexpr size_t kLookedFor = 1'000;
constexpr std::chrono::seconds kLookPause{1};
constexpr uint32_t kStepPages = kScrubStepBytes / kPageBytes;
constexpr int64_t kMeasureIntervalMs = 1000;
/// While there is nothing to do, or something fails.
constexpr std::chrono::seconds kPause{1};
/// However short the period is.
constexpr std::chrono::seconds kShortestRound{1};

uint32_t PagesOf(uint32_t length) {
  return static_cast<uint32_t>((uint64_t{length} + kPageBytes - 1) / kPageBytes);
}

}  // namespace

DiskScrub::DiskScrub(BlockStore& store, Disk& disk, Clock& clock, const StoreDiskStatus& status)
    : store_(store),
      disk_(disk),
      clock_(clock),
      disk_uuid_(status.disk_uuid),
      disk_path_(status.path) {
  state_.disk_uuid = disk_uuid_;
  progress_.disk_uuid = disk_uuid_;
  progress_.disk_path = disk_path_;
  replica_bytes_ = status.replica_bytes;
  replica_count_ = status.replica_count;
  healthy_ = status.healthy;
  if (status.healthy) Load();
}

ScrubProgress DiskScrub::progress() const {
  std::lock_guard lock(mutex_);
  ScrubProgress progress = progress_;
  progress.scrubbed_since_ns = state_.completed_started_ns;
  progress.round_started_ns = state_.round_started_ns;
  const uint64_t total = replica_bytes_ + replica_count_ * kScrubReplicaCost;
  if (state_.round_started_ns != 0 && total > 0) {
    progress.round_done =
        std::min(1.0, static_cast<double>(state_.verified_cost) / static_cast<double>(total));
  }
  return progress;
}

void DiskScrub::Load() {
  loaded_ = true;
  saved_ms_ = clock_.MonotonicMillis();
  auto bytes = ReadWholeFile(disk_, StatePath(), kMaxScrubFileBytes);
  if (bytes.code() == StatusCode::kNotFound) return;
  auto state = bytes.ok() ? DecodeScrubState(*bytes) : Result<ScrubState>(bytes.status());
  if (!state.ok()) {
    LOG_WARN("verification begins anew disk={}: {}", disk_path_, state.status());
    return;
  }
  if (state->disk_uuid != disk_uuid_) {
    LOG_WARN("verification begins anew disk={}: {} was written for another disk", disk_path_,
             StatePath());
    return;
  }
  std::lock_guard lock(mutex_);
  state_ = std::move(state).value();
}

void DiskScrub::Save() {
  if (!loaded_ || !healthy_) return;
  saved_ms_ = clock_.MonotonicMillis();
  Status saved = WriteFileAtomically(disk_, StatePath(), EncodeScrubState(state_));
  // Without it the round begins anew after the next start.
  if (!saved.ok()) {
    LOG_WARN_LIMITED("how far a disk was verified is not kept disk={}: {}", disk_path_, saved);
  }
}

bool DiskScrub::Measure() {
  const int64_t now_ms = clock_.MonotonicMillis();
  if (measured_ms_ >= 0 && now_ms - measured_ms_ < kMeasureIntervalMs) return healthy_;
  measured_ms_ = now_ms;
  healthy_ = false;
  for (const StoreDiskStatus& disk : store_.Disks()) {
    if (disk.disk_uuid != disk_uuid_) continue;
    healthy_ = disk.healthy;
    std::lock_guard lock(mutex_);
    replica_bytes_ = disk.replica_bytes;
    replica_count_ = disk.replica_count;
  }
  return healthy_;
}

bool DiskScrub::EnterRound(milliseconds period, nanoseconds* wait) {
  const int64_t now_ns = clock_.WallNanos();
  // Times in the future are those of a clock that was wrong then.
  const bool is_running = state_.round_started_ns != 0;
  if (is_running && state_.round_started_ns <= now_ns) return true;
  if (!is_running && state_.completed_started_ns != 0 && state_.completed_started_ns <= now_ns) {
    const nanoseconds since(now_ns - state_.completed_started_ns);
    const nanoseconds rest = std::max<nanoseconds>(period, kShortestRound) - since;
    if (rest.count() > 0) {
      *wait = std::min<nanoseconds>(rest, kPause);
      return false;
    }
  }
  std::lock_guard lock(mutex_);
  state_.round_started_ns = now_ns;
  if (is_running) return true;
  state_.position = BlockId();
  state_.verified_cost = 0;
  state_.verified_bytes = 0;
  state_.bad_replicas = 0;
  return true;
}

void DiskScrub::CompleteRound() {
  const int64_t now_ns = clock_.WallNanos();
  if (state_.verified_bytes > 0 || state_.bad_replicas > 0) {
    LOG_INFO("verified all replicas of a disk disk={} bytes={} bad_replicas={} took_s={}",
             disk_path_, state_.verified_bytes, state_.bad_replicas,
             (now_ns - state_.round_started_ns) / 1'000'000'000);
  }
  {
    std::lock_guard lock(mutex_);
    state_.completed_started_ns = std::exchange(state_.round_started_ns, 0);
    state_.completed_ended_ns = now_ns;
    state_.position = BlockId();
    ++progress_.rounds;
  }
  last_cost_ = 0;
  Save();
}

nanoseconds DiskScrub::Step(milliseconds period, bool clients_active) {
  if (!Measure()) return kPause;
  LookForLostFiles();
  if (period.count() <= 0) return kPause;
  if (!loaded_) Load();
  nanoseconds wait{};
  if (!EnterRound(period, &wait)) return wait;
  const int64_t now_nanos = clock_.MonotonicNanos();
  ScrubSituation situation;
  situation.period = period;
  situation.elapsed = nanoseconds(clock_.WallNanos() - state_.round_started_ns);
  situation.total_cost = replica_bytes_ + replica_count_ * kScrubReplicaCost;
  situation.done_cost = state_.verified_cost;
  situation.last_cost = last_cost_;
  situation.since_last = nanoseconds(now_nanos - last_step_nanos_);
  situation.clients_active = clients_active;
  wait = ScrubWait(situation);
  if (wait.count() > 0) return wait;
  last_step_nanos_ = now_nanos;
  last_cost_ = 0;
  if (!current_) {
    auto found = NextReplica();
    if (!found.ok()) {
      LOG_WARN_LIMITED("a disk is not verified just now disk={}: {}", disk_path_, found.status());
      measured_ms_ = -1;
      return kPause;
    }
    if (!*found) {
      CompleteRound();
      return nanoseconds(0);
    }
  }
  if (current_) VerifySome();
  if (clock_.MonotonicMillis() - saved_ms_ >= milliseconds(kSaveInterval).count()) Save();
  return nanoseconds(0);
}

void DiskScrub::LookForLostFiles() {
  const int64_t now_ms = clock_.MonotonicMillis();
  if (now_ms < next_look_ms_) return;
  next_look_ms_ = now_ms + milliseconds(kLookPause).count();
  auto found = store_.FindLostFiles(disk_uuid_, looked_to_, kLookedFor);
  if (!found.ok()) {
    LOG_WARN_LIMITED("the files of a disk were not compared with its index disk={}: {}", disk_path_,
                     found.status());
    return;
  }
  looked_to_ = found->last;
  if (!found->disk_end) return;
  looked_to_ = BlockId();
  next_look_ms_ = now_ms + milliseconds(kLookInterval).count();
}

Result<bool> DiskScrub::NextReplica() {
  if (ahead_.empty()) {
    ASSIGN_OR_RETURN(std::vector<ReplicaInfo> listed,
                     store_.ListDisk(disk_uuid_, state_.position, kListed));
    ahead_.assign(listed.begin(), listed.end());
  }
  if (ahead_.empty()) return false;
  const BlockId block = ahead_.front().block;
  ahead_.pop_front();
  current_ = Current{.replica = {block, Generation()}};
  Charge(kScrubReplicaCost, 0);
  auto stat = store_.Stat(block);
  if (stat.ok() && stat->disk_path == disk_path_) {
    current_->replica.generation = stat->generation;
    current_->pages = PagesOf(stat->length);
    if (current_->pages > 0) return true;
  } else if (stat.code() == StatusCode::kCorruption) {
    // The store has taken note of it.
    NoteDamage(0, 1, stat.status().message());
  }
  // Empty, suspect, or gone meanwhile: there is nothing here to verify.
  FinishCurrent();
  return true;
}

void DiskScrub::VerifySome() {
  const uint32_t count = std::min(kStepPages, current_->pages - current_->next_page);
  Charge(uint64_t{count} * kPageBytes, uint64_t{count} * kPageBytes);
  // At idle priority a read may take long: the block's lock is not held for it, except to come to a
  // verdict.
  Result<std::vector<uint32_t>> damaged = std::vector<uint32_t>();
  if (!LookRight(current_->next_page, count)) {
    damaged = store_.VerifyPages(current_->replica.block, current_->replica.generation,
                                 current_->next_page, count);
  }
  if (!damaged.ok()) {
    if (damaged.code() == StatusCode::kCorruption) NoteDamage(0, 1, damaged.status().message());
    // Anything else: it got another generation, left, or its disk failed, as the next round will
    // see.
    FinishCurrent();
    return;
  }
  if (!damaged->empty()) {
    NoteDamage(damaged->front(), static_cast<uint32_t>(damaged->size()), "");
  }
  current_->next_page += count;
  if (current_->next_page >= current_->pages) FinishCurrent();
}

bool DiskScrub::LookRight(uint32_t first_page, uint32_t count) {
  auto plan = store_.PrepareRead(current_->replica.block, current_->replica.generation,
                                 first_page * kPageBytes, count * kPageBytes);
  if (!plan.ok()) return false;
  // What the system's cache holds says nothing about the disk, and clients' data is to stay there.
  plan->file->DropCache(plan->file_offset, plan->length);
  buffer_.resize(plan->length);
  const auto read = plan->file->ReadAt(plan->file_offset, buffer_);
  plan->file->DropCache(plan->file_offset, plan->length);
  if (!read.ok()) return false;
  std::fill(buffer_.begin() + static_cast<ptrdiff_t>(*read), buffer_.end(), '\0');
  for (uint32_t i = 0; i < plan->length / kPageBytes; ++i) {
    const std::string_view page(buffer_.data() + size_t{i} * kPageBytes, kPageBytes);
    if (Crc32c(page) != DecodeFixed32(plan->page_crcs.data() + size_t{i} * 4)) return false;
  }
  return true;
}

void DiskScrub::FinishCurrent() {
  std::lock_guard lock(mutex_);
  state_.position = current_->replica.block;
  if (current_->damaged > 0) {
    ++state_.bad_replicas;
    ++progress_.bad_replicas;
  }
  current_.reset();
}

void DiskScrub::NoteDamage(uint32_t first_page, uint32_t count, const std::string& what) {
  current_->damaged += count;
  LOG_WARN(
      "verification found a damaged replica block={} generation={} disk={} page={} pages={} {}",
      current_->replica.block, current_->replica.generation, disk_path_, first_page, count, what);
  std::lock_guard lock(mutex_);
  progress_.damaged_pages += count;
}

void DiskScrub::Charge(uint64_t cost, uint64_t bytes) {
  last_cost_ += cost;
  std::lock_guard lock(mutex_);
  state_.verified_cost += cost;
  state_.verified_bytes += bytes;
  progress_.verified_bytes += bytes;
}

}  // namespace tercet
