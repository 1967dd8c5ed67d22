#include "tests/sim/network.h"

#include <algorithm>

namespace tercet::sim {

void Network::Mend(Place from, Place to) {
  auto it = cuts_.find({from, to});
  if (it != cuts_.end() && --it->second == 0) cuts_.erase(it);
}

void Network::Reset(Place a, Place b) {
  ++links_[{a, b}].generation;
  ++links_[{b, a}].generation;
}

SimTime Network::Delay(const Link& link) {
  if (good_) return kMillisecond + static_cast<SimTime>(random_.Below(kMillisecond));
  const auto spread = static_cast<uint64_t>(scenario_.max_delay - scenario_.min_delay);
  SimTime delay = scenario_.min_delay + static_cast<SimTime>(random_.Below(spread + 1));
  if (random_.Below(1000) < scenario_.tail_permille) {
    delay += static_cast<SimTime>(random_.Below(static_cast<uint64_t>(scenario_.tail_delay)));
  }
  if (bad_ > 0) delay += static_cast<SimTime>(random_.Below(200 * kMillisecond));
  if (!scenario_.in_order) return delay;
  SimTime& newest = links_[link].newest_delivery;
  newest = std::max(newest, queue_.now() + delay);
  return newest - queue_.now();
}

void Network::Schedule(const Link& link, std::function<void()> deliver) {
  const SimTime delay = Delay(link);
  const uint64_t generation = links_[link].generation;
  queue_.After(delay, [this, link, generation, deliver = std::move(deliver)] {
    if (links_[link].generation != generation || cuts_.contains(link)) return;
    deliver();
  });
}

void Network::Send(Place from, Place to, std::function<void()> deliver) {
  const Link link{from, to};
  if (cuts_.contains(link)) return;
  if (!good_) {
    const uint32_t loss = scenario_.loss_permille + (bad_ > 0 ? 250 : 0);
    if (random_.Below(1000) < loss) return;
    if (random_.Below(1000) < scenario_.duplicate_permille) Schedule(link, deliver);
  }
  Schedule(link, std::move(deliver));
}

}  // namespace tercet::sim
