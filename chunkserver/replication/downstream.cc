#include "chunkserver/replication/downstream.h"

#include <algorithm>
#include <utility>

#include "common/env/clock.h"
#include "common/log/log.h"

namespace tercet {

namespace {

/// Links without work for so long are closed.
constexpr std::chrono::seconds kIdleLimit{60};

}  // namespace

Downstream::Downstream(const DataPlaneOptions& options, DataPlaneCounters& counters)
    : options_(options), counters_(counters) {
  watcher_ = std::thread([this] { Watch(); });
}

Downstream::~Downstream() { Stop(); }

void Downstream::SetIdentity(const std::string& cluster_id, ServerId self) {
  std::lock_guard lock(mutex_);
  cluster_id_ = cluster_id;
  self_ = self;
}

std::shared_ptr<DownstreamLink> Downstream::LinkFor(const wire::ChainHop& hop, BlockId block) {
  Links finished;  // destroyed without the lock
  std::lock_guard lock(mutex_);
  if (stopping_) return nullptr;
  Links& links = peers_[hop.server_id];
  links.resize(static_cast<size_t>(std::max(options_.links_per_peer, 1)));
  // Block ids are given out one by one: mix, so that neighbours and strides spread.
  const size_t slot = ((block.value() * 0x9E3779B97F4A7C15ull) >> 32) % links.size();
  std::shared_ptr<DownstreamLink>& link = links[slot];
  if (link != nullptr && link->failed()) {
    retired_.push_back(std::move(link));
    link = nullptr;
    finished = TakeFinishedLocked();
  }
  if (link == nullptr) {
    link = MakeLinkLocked(hop, slot);
  } else {
    link->Touch();
  }
  return link;
}

std::shared_ptr<DownstreamLink> Downstream::MakeLinkLocked(const wire::ChainHop& hop, size_t slot) {
  // Grows over restarts of the process too, unless the clock is set back: then the peer, which by
  // then has seen the old process's connection end, knows no number to compare with.
  last_link_number_ = std::max(last_link_number_ + 1, RealClock().WallNanos());
  LinkOptions link;
  link.peer = HostPort{hop.host, static_cast<uint16_t>(hop.port)};
  link.peer_id = ServerId(static_cast<uint32_t>(hop.server_id));
  link.cluster_id = cluster_id_;
  link.caller = fmt::format("chunk server {}", self_);
  link.name = fmt::format("server {} link {}", self_, slot);
  link.number = last_link_number_;
  link.progress_deadline = options_.progress_deadline;
  link.hop_allowance = options_.hop_allowance;
  link.stall_refusal = options_.stall_refusal;
  link.max_queued_bytes = options_.max_queued_bytes_per_link;
  return std::make_shared<DownstreamLink>(std::move(link), counters_);
}

Downstream::Links Downstream::TakeFinishedLocked() {
  Links finished;
  std::erase_if(retired_, [&](std::shared_ptr<DownstreamLink>& link) {
    if (!link->finished()) return false;
    finished.push_back(std::move(link));
    return true;
  });
  return finished;
}

void Downstream::Watch() {
  const auto interval = std::clamp(options_.progress_deadline / 10, std::chrono::milliseconds(10),
                                   std::chrono::milliseconds(250));
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    stop_changed_.wait_for(lock, interval, [&] { return stopping_; });
    lock.unlock();
    WatchOnce();
    lock.lock();
  }
}

void Downstream::WatchOnce() {
  Links open;
  Links idle;
  Links finished;
  {
    std::lock_guard lock(mutex_);
    finished = TakeFinishedLocked();
    for (auto peer = peers_.begin(); peer != peers_.end();) {
      bool in_use = false;
      for (std::shared_ptr<DownstreamLink>& link : peer->second) {
        if (link == nullptr) continue;
        if (link->failed() || link->IdleTime() > kIdleLimit) {
          if (!link->failed()) idle.push_back(link);
          retired_.push_back(std::move(link));
          link = nullptr;
        } else {
          open.push_back(link);
          in_use = true;
        }
      }
      peer = in_use ? std::next(peer) : peers_.erase(peer);
    }
  }
  for (const auto& link : idle) link->Fail(Status(StatusCode::kCancelled, "it was idle"));
  for (const auto& link : open) link->CheckDeadline();
}

void Downstream::Stop() {
  Links links;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& [key, slots] : peers_) {
      for (auto& link : slots) {
        if (link != nullptr) links.push_back(std::move(link));
      }
    }
    peers_.clear();
    for (auto& link : retired_) links.push_back(std::move(link));
    retired_.clear();
  }
  stop_changed_.notify_all();
  for (const auto& link : links) link->Fail(Status(StatusCode::kCancelled, "shutting down"));
  links.clear();  // waits for the threads of those that nobody else holds
  if (watcher_.joinable()) watcher_.join();
}

}  // namespace tercet
