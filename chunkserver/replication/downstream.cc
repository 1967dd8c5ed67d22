#include "chunkserver/replication/downstream.h"

#include <algorithm>
#include <utility>

#include "common/env/clock.h"
#include "common/log/log.h"

namespace tercet {

namespace {

using SteadyClock = std::chrono::steady_clock;

/// Links without work for so long are closed.
constexpr std::chrono::seconds kIdleLimit{60};
/// Somebody wants a peer that was asked for within this time.
constexpr std::chrono::seconds kWantedFor{10};
/// Probes of a peer that nobody wants, and for how long.
constexpr std::chrono::seconds kUnwantedInterval{1};
constexpr std::chrono::seconds kForgetAfter{60};
/// Requests that name another address of a peer that is down are tried there as long as there are
/// not many failed links whose threads have not ended.
constexpr size_t kMaxRetiredForNewAddress = 32;

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

Result<std::shared_ptr<DownstreamLink>> Downstream::LinkFor(const wire::ChainHop& hop,
                                                            BlockId block, size_t hops_behind) {
  Links finished;  // destroyed without the lock
  std::shared_ptr<DownstreamLink> abandoned;
  auto link = [&]() -> Result<std::shared_ptr<DownstreamLink>> {
    std::lock_guard lock(mutex_);
    if (stopping_) return Status(StatusCode::kCancelled, "shutting down");
    Peer& peer = peers_[hop.server_id];
    const auto links_each = static_cast<size_t>(std::max(options_.links_per_peer, 1));
    hops_behind = std::min(hops_behind, BufferPool::kMaxHops);
    peer.links.resize(std::max(peer.links.size(), links_each * (hops_behind + 1)));
    // Block ids are given out one by one: mix, so that neighbours and strides spread.
    const size_t slot =
        links_each * hops_behind + ((block.value() * 0x9E3779B97F4A7C15ull) >> 32) % links_each;
    const std::shared_ptr<DownstreamLink>& current = peer.links[slot];
    if (!peer.down && current != nullptr && !current->failed()) {
      current->Touch();
      return current;
    }
    return NewLinkLocked(hop, peer, slot, &finished, &abandoned);
  }();
  if (abandoned != nullptr) {
    abandoned->Fail(Status(StatusCode::kCancelled, "the server has another address now"));
  }
  return link;
}

Result<std::shared_ptr<DownstreamLink>> Downstream::NewLinkLocked(
    const wire::ChainHop& hop, Peer& peer, size_t slot, Links* finished,
    std::shared_ptr<DownstreamLink>* abandoned) {
  const SteadyTime now = SteadyClock::now();
  const bool moved = peer.hop.host != hop.host || peer.hop.port != hop.port;
  peer.hop = hop;
  peer.wanted = now;
  ReviewLocked(peer, now);
  *finished = TakeFinishedLocked();
  if (peer.down && moved && retired_.size() < kMaxRetiredForNewAddress) {
    peer.down = false;
    *abandoned = std::move(peer.links[peer.probe_slot]);
    peer.links[peer.probe_slot] = nullptr;
    if (*abandoned != nullptr) retired_.push_back(*abandoned);
  }
  if (peer.down) {
    ProbeLocked(peer, now);
    counters_.refused_while_down.fetch_add(1, std::memory_order_relaxed);
    return Status(StatusCode::kUnavailable,
                  fmt::format("server {} is being connected to again after: {}", hop.server_id,
                              peer.why.message()));
  }
  std::shared_ptr<DownstreamLink>& link = peer.links[slot];
  if (link == nullptr) link = MakeLinkLocked(hop, slot);
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
  link.caller = fmt::format("{}{}", kChunkServerCaller, self_);
  link.name = fmt::format("server {} link {}", self_, slot);
  link.number = last_link_number_;
  link.progress_deadline = options_.progress_deadline;
  link.answer_deadline = 6 * options_.disk_deadline;
  link.stall_refusal = options_.stall_refusal;
  link.max_queued_bytes = options_.max_queued_bytes_per_link;
  link.on_change = [this] {  // Stop waits for all links' threads
    std::lock_guard lock(mutex_);
    link_changed_ = true;
    watch_changed_.notify_all();
  };
  return std::make_shared<DownstreamLink>(std::move(link), counters_);
}

void Downstream::ReviewLocked(Peer& peer, SteadyTime now) {
  if (peer.down) {
    const std::shared_ptr<DownstreamLink>& probe = peer.links[peer.probe_slot];
    if (probe != nullptr && probe->greeted() && !probe->failed()) {
      peer.down = false;
      LOG_INFO("downstream peer is back: server={}", peer.hop.server_id);
    }
  }
  for (size_t slot = 0; slot < peer.links.size(); ++slot) {
    std::shared_ptr<DownstreamLink>& link = peer.links[slot];
    if (link == nullptr || !link->failed()) continue;
    if (link->let_down()) {
      if (!peer.down) {
        peer.down = true;
        peer.wanted = now;
        peer.probe_slot = slot;
        peer.next_attempt = now;
      }
      if (peer.probe_slot == slot) peer.why = link->failure();
    }
    retired_.push_back(std::move(link));
    link = nullptr;
  }
}

void Downstream::ProbeLocked(Peer& peer, SteadyTime now) {
  std::shared_ptr<DownstreamLink>& probe = peer.links[peer.probe_slot];
  if (probe != nullptr || now < peer.next_attempt) return;
  const bool wanted = now - peer.wanted < kWantedFor;
  peer.next_attempt = now + (wanted ? options_.reconnect_interval
                                    : std::max<std::chrono::milliseconds>(
                                          kUnwantedInterval, options_.reconnect_interval));
  probe = MakeLinkLocked(peer.hop, peer.probe_slot);
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
  const auto interval =
      std::clamp(std::min(options_.progress_deadline / 10, options_.reconnect_interval),
                 std::chrono::milliseconds(10), std::chrono::milliseconds(250));
  SteadyTime last = SteadyClock::now();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    watch_changed_.wait_for(lock, interval, [&] { return stopping_ || link_changed_; });
    link_changed_ = false;
    lock.unlock();
    const SteadyTime now = SteadyClock::now();
    // Whoever was stopped itself cannot tell who else stood still meanwhile.
    const bool was_asleep = now - last > interval + options_.progress_deadline / 2;
    last = now;
    WatchOnce(was_asleep);
    lock.lock();
  }
}

void Downstream::WatchOnce(bool was_asleep) {
  Links open;
  Links idle;
  Links finished;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    const SteadyTime now = SteadyClock::now();
    for (auto entry = peers_.begin(); entry != peers_.end();) {
      Peer& peer = entry->second;
      ReviewLocked(peer, now);
      bool in_use = peer.down && now - peer.wanted < kForgetAfter;
      if (in_use) ProbeLocked(peer, now);
      for (std::shared_ptr<DownstreamLink>& link : peer.links) {
        if (link == nullptr) continue;
        if (link->IdleTime() > kIdleLimit) {
          idle.push_back(link);
          retired_.push_back(std::move(link));
          link = nullptr;
        } else {
          open.push_back(link);
          in_use = true;
        }
      }
      entry = in_use ? std::next(entry) : peers_.erase(entry);
    }
    finished = TakeFinishedLocked();
  }
  for (const auto& link : idle) link->Fail(Status(StatusCode::kCancelled, "it was idle"));
  for (const auto& link : open) {
    if (was_asleep) link->RestartDeadline();
    link->CheckDeadline();
  }
}

void Downstream::Stop() {
  Links links;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& [key, peer] : peers_) {
      for (auto& link : peer.links) {
        if (link != nullptr) links.push_back(std::move(link));
      }
    }
    peers_.clear();
    for (auto& link : retired_) links.push_back(std::move(link));
    retired_.clear();
  }
  watch_changed_.notify_all();
  for (const auto& link : links) link->Fail(Status(StatusCode::kCancelled, "shutting down"));
  links.clear();  // waits for the threads of those that nobody else holds
  if (watcher_.joinable()) watcher_.join();
}

}  // namespace tercet
