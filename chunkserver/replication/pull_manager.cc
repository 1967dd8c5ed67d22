#include "chunkserver/replication/pull_manager.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/log/log.h"

namespace tercet {

PullManager::PullManager(const DataPlaneOptions& options, BlockStore& store,
                         DataPlaneCounters& counters)
    : options_(options),
      store_(store),
      counters_(counters),
      // Begin lets no more through than these hold, so their queues never refuse.
      prepares_(options.max_prepares, static_cast<size_t>(std::max(options.max_prepares, 1))),
      finishes_(options.max_finishes, options.max_queued_finishes +
                                          static_cast<size_t>(std::max(options.max_finishes, 1))) {}

PullManager::~PullManager() { Stop(); }

PullThrottle* PullManager::ThrottleFor(const PullJob& job) {
  if (!job.preparing()) return nullptr;
  switch (job.pull_class) {
    case wire::PullClass::REPAIR:
      return &repair_;
    case wire::PullClass::MOVE:
      return &move_;
    default:
      return nullptr;
  }
}

void PullManager::SetRates(uint64_t repair, uint64_t move) {
  repair_.SetRate(repair);
  move_.SetRate(move);
}

Result<std::shared_ptr<PullSession>> PullManager::Begin(const std::string& cluster_id,
                                                        ServerId self, PullJob job, Done done) {
  PullEnvironment environment{
      store_, counters_, options_.progress_deadline, options_.disk_deadline, cluster_id, self};
  PullThrottle* throttle = ThrottleFor(job);
  const bool preparing = job.preparing();
  std::lock_guard in_order(begin_mutex_);
  auto session = std::make_shared<PullSession>(std::move(environment), std::move(job), throttle);
  std::shared_ptr<PullSession> predecessor;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return Status(StatusCode::kCancelled, "shutting down");
    std::shared_ptr<PullSession>& current = current_[session->job().pull.block];
    if (current != nullptr && current->job().pull.finish >= session->job().pull.finish) {
      return Status(StatusCode::kBusy,
                    fmt::format("block {} is being pulled already", session->job().pull.block));
    }
    const size_t limit =
        preparing ? static_cast<size_t>(options_.max_prepares)
                  : static_cast<size_t>(options_.max_finishes) + options_.max_queued_finishes;
    size_t& count = preparing ? preparing_ : finishing_;
    if (count >= limit) {
      if (current == nullptr) current_.erase(session->job().pull.block);
      return Status(StatusCode::kBusy, fmt::format("{} blocks are being pulled already", count));
    }
    ++count;
    predecessor = std::exchange(current, session);
    running_[session.get()] = session;
    counters_.pulls_running.fetch_add(1, std::memory_order_relaxed);
  }
  if (predecessor != nullptr) predecessor->Cancel();
  // Whoever waits for its predecessor waits for one that was submitted before.
  (preparing ? prepares_ : finishes_)
      .Submit([this, session, predecessor = std::move(predecessor), done = std::move(done)] {
        Run(session, predecessor, done);
      });
  return session;
}

void PullManager::Run(const std::shared_ptr<PullSession>& session,
                      const std::shared_ptr<PullSession>& predecessor, const Done& done) {
  if (predecessor != nullptr) {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return !running_.contains(predecessor.get()); });
  }
  const PullOutcome outcome = session->Run();
  auto& counter = outcome.status.ok() ? counters_.pulls_done : counters_.pulls_failed;
  counter.fetch_add(1, std::memory_order_relaxed);
  counters_.pulls_running.fetch_sub(1, std::memory_order_relaxed);
  if (!outcome.status.ok()) {
    LOG_WARN_LIMITED("a pull failed: block={} generation={} source={} {}",
                     session->job().pull.block, session->job().pull.finish,
                     session->job().source.server_id, outcome.status);
  }
  {
    std::lock_guard lock(mutex_);
    const auto found = current_.find(session->job().pull.block);
    if (found != current_.end() && found->second == session) current_.erase(found);
    running_.erase(session.get());
    --(session->job().preparing() ? preparing_ : finishing_);
    ended_.notify_all();
  }
  // Last: whoever gets the answer may begin the next pull of this block at once.
  done(outcome);
}

void PullManager::Stop() {
  std::vector<std::shared_ptr<PullSession>> sessions;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& [key, session] : running_) sessions.push_back(session);
  }
  for (const auto& session : sessions) session->Cancel();
  prepares_.Stop();
  finishes_.Stop();
}

}  // namespace tercet
