#include "chunkserver/service/digest_reporter.h"

#include <algorithm>
#include <utility>

#include "common/log/log.h"

namespace tercet {
namespace {

/// How long a report waits until bad replicas that were found are told.
constexpr std::chrono::milliseconds kTellInterval{100};
constexpr int kTellTries = 30;
/// Replicas that are looked for before it is asked whether to go on.
constexpr size_t kComparedAtOnce = 1'000;

}  // namespace

DigestReporter::DigestReporter(BlockStore& store, RegistryLink& link,
                               std::chrono::milliseconds interval)
    : store_(store), link_(link), interval_(interval), thread_([this] { Run(); }) {}

DigestReporter::~DigestReporter() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void DigestReporter::SetServer(int32_t server_id, int64_t incarnation) {
  std::lock_guard lock(mutex_);
  sender_ = Sender{server_id, incarnation};
  triggered_ = true;
  wake_.notify_all();
}

void DigestReporter::Trigger() {
  std::lock_guard lock(mutex_);
  triggered_ = true;
  inventory_wanted_ = true;
  wake_.notify_all();
}

bool DigestReporter::stopping() const {
  std::lock_guard lock(mutex_);
  return stopping_;
}

void DigestReporter::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait_for(lock, interval_, [this] { return stopping_ || (triggered_ && sender_); });
    if (stopping_) return;
    if (!sender_) continue;
    triggered_ = false;
    const bool inventory = std::exchange(inventory_wanted_, false);
    const Sender sender = *sender_;
    lock.unlock();
    if (inventory) FindLost();
    // A failed report needs no retry here: the active asks again, and the interval comes round.
    if (Status status = Report(sender); !status.ok()) {
      LOG_WARN_LIMITED("the report of replicas failed: {}", status);
    }
    lock.lock();
  }
}

uint64_t DigestReporter::FindLostOn(const StoreDiskStatus& disk) {
  uint64_t lost = 0;
  for (LostFilesFound step; !step.disk_end && !stopping();) {
    auto found = store_.FindLostFiles(disk.disk_uuid, step.last, kComparedAtOnce);
    if (!found.ok()) {
      LOG_WARN_LIMITED("the files of a disk were not compared with its index disk={}: {}",
                       disk.path, found.status());
      return lost;
    }
    step = *found;
    lost += step.lost;
  }
  return lost;
}

void DigestReporter::FindLost() {
  uint64_t lost = 0;
  for (const StoreDiskStatus& disk : store_.Disks()) {
    if (disk.healthy) lost += FindLostOn(disk);
  }
  if (lost == 0) return;
  // Heartbeats tell the active which were lost; who asked for this report is to find them noted.
  std::unique_lock lock(mutex_);
  for (int waited = 0; waited < kTellTries && !stopping_; ++waited) {
    lock.unlock();
    const bool told = store_.TakeBadReplicas(1).empty();
    lock.lock();
    if (told) return;
    wake_.wait_for(lock, kTellInterval, [this] { return stopping_; });
  }
}

Status DigestReporter::Report(const Sender& sender) {
  wire::ReportDigestsRequest request;
  request.server_id = sender.server_id;
  request.incarnation = sender.incarnation;
  for (const ReplicaRangeDigest& digest : store_.RangeDigests()) {
    wire::RangeDigest range;
    range.range = static_cast<int64_t>(digest.range);
    range.replica_count = static_cast<int64_t>(digest.replica_count);
    range.digest = static_cast<int64_t>(digest.digest);
    request.ranges.push_back(range);
  }
  wire::ReportDigestsResponse response;
  RETURN_IF_ERROR(link_.Call(&RegistryLink::Client::ReportDigests, request, &response));
  reports_sent_.fetch_add(1, std::memory_order_relaxed);
  for (int64_t range : response.differing_ranges) {
    if (stopping()) return Status::Ok();
    RETURN_IF_ERROR(ReportRange(sender, range));
  }
  return Status::Ok();
}

Status DigestReporter::ReportRange(const Sender& sender, int64_t range) {
  wire::ReportReplicasRequest request;
  request.server_id = sender.server_id;
  request.incarnation = sender.incarnation;
  request.range = range;
  ASSIGN_OR_RETURN(std::vector<ReplicaInfo> replicas,
                   store_.ListReplicas(static_cast<uint64_t>(range)));
  request.replicas.reserve(replicas.size());
  for (const ReplicaInfo& replica : replicas) {
    wire::ReplicaReport report;
    report.block_id = static_cast<int64_t>(replica.block.value());
    report.generation = static_cast<int64_t>(replica.generation.value());
    request.replicas.push_back(report);
  }
  wire::ReportReplicasResponse response;
  RETURN_IF_ERROR(link_.Call(&RegistryLink::Client::ReportReplicas, request, &response));
  if (response.quarantine.empty()) return Status::Ok();
  RETURN_IF_ERROR(store_.ObserveEpoch(Epoch(static_cast<uint64_t>(response.info.epoch))));
  return QuarantineUnknown(replicas, response.quarantine);
}

Status DigestReporter::QuarantineUnknown(const std::vector<ReplicaInfo>& reported,
                                         const std::vector<int64_t>& unknown) {
  for (int64_t id : unknown) {
    const BlockId block(static_cast<uint64_t>(id));
    const auto then =
        std::find_if(reported.begin(), reported.end(),
                     [block](const ReplicaInfo& replica) { return replica.block == block; });
    if (then == reported.end()) continue;
    // The verdict is about what was reported. What has another generation by now is part of a chain
    // that is being made.
    Status moved = store_.Quarantine(block, then->generation);
    if (moved.ok()) {
      LOG_WARN("quarantined a replica that the journal does not know block={} generation={}", block,
               then->generation);
    } else if (moved.code() != StatusCode::kNotFound && moved.code() != StatusCode::kConflict) {
      LOG_WARN_LIMITED("a replica could not be quarantined block={}: {}", block, moved);
    }
  }
  return store_.SyncDeletions();
}

}  // namespace tercet
