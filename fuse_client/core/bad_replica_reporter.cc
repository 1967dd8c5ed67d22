#include "fuse_client/core/bad_replica_reporter.h"

#include <pthread.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "common/log/log.h"

namespace tercet {
namespace {

/// Nothing when the failure says nothing about the replica itself.
std::optional<wire::BadReplicaReason::type> ReasonOf(StatusCode code) {
  switch (code) {
    case StatusCode::kCorruption:
    case StatusCode::kIo:
      return wire::BadReplicaReason::DAMAGED;
    case StatusCode::kNotFound:
    case StatusCode::kStaleGeneration:
      return wire::BadReplicaReason::MISSING;
    default:
      return std::nullopt;
  }
}

}  // namespace

BadReplicaReporter::BadReplicaReporter(Send send, BadReplicaReporterOptions options)
    : send_(std::move(send)), options_(options) {
  thread_ = std::thread([this] { Loop(); });
  pthread_setname_np(thread_.native_handle(), "bad-replicas");
}

BadReplicaReporter::~BadReplicaReporter() { Stop(); }

void BadReplicaReporter::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

uint64_t BadReplicaReporter::reported() const {
  std::lock_guard lock(mutex_);
  return reported_;
}

void BadReplicaReporter::Note(const BadReplica& replica) {
  const auto reason = ReasonOf(replica.reason.code());
  if (!reason) return;
  const Clock::time_point now = Clock::now();
  const bool settles = *reason == wire::BadReplicaReason::MISSING;
  std::lock_guard lock(mutex_);
  const Key key{replica.block, replica.generation, replica.server};
  if (entries_.size() >= options_.max_kept && !entries_.contains(key)) return;
  const auto [it, added] = entries_.try_emplace(key);
  Entry& entry = it->second;
  // Damage is the graver news of a replica that was only stale.
  const bool graver = entry.reason == wire::BadReplicaReason::MISSING && !settles;
  if (!added && !graver) return;
  entry = {*reason, settles ? now + options_.settle_time : now, false};
  news_ = true;
  wake_.notify_all();
}

BadReplicaReporter::Replicas BadReplicaReporter::TakeDueLocked(Clock::time_point now,
                                                               Clock::time_point* next) {
  Replicas due;
  *next = Clock::time_point::max();
  std::erase_if(entries_,
                [&](const auto& entry) { return entry.second.told && entry.second.due <= now; });
  for (auto& [key, entry] : entries_) {
    if (entry.due > now || due.size() == options_.max_per_call) {
      *next = std::min(*next, entry.due);
      continue;
    }
    wire::BadReplicaReport& report = due.emplace_back();
    report.block_id = static_cast<int64_t>(std::get<BlockId>(key).value());
    report.generation = static_cast<int64_t>(std::get<Generation>(key).value());
    report.server_id = static_cast<int32_t>(std::get<ServerId>(key).value());
    report.reason = entry.reason;
    entry.told = true;
    entry.due = now + options_.repeat_after;
  }
  return due;
}

void BadReplicaReporter::Loop() {
  std::unique_lock lock(mutex_);
  Clock::time_point next = Clock::time_point::max();
  while (!stopping_) {
    const auto woken = [&] { return stopping_ || news_; };
    if (next == Clock::time_point::max()) {
      wake_.wait(lock, woken);
    } else {
      wake_.wait_until(lock, next, woken);
    }
    if (stopping_) return;
    news_ = false;
    Replicas due = TakeDueLocked(Clock::now(), &next);
    if (due.empty()) continue;
    const size_t count = due.size();
    lock.unlock();
    const Status sent = send_(std::move(due));
    if (!sent.ok() && sent.code() != StatusCode::kCancelled) {
      LOG_WARN_LIMITED("bad replicas could not be reported: {}", sent.ToString());
    }
    lock.lock();
    if (sent.ok()) reported_ += count;
    wake_.wait_for(lock, options_.interval, [&] { return stopping_; });
  }
}

}  // namespace tercet
