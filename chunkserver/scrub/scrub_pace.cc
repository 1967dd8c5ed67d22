#include "chunkserver/scrub/scrub_pace.h"

#include <algorithm>

namespace tercet {

std::chrono::nanoseconds ScrubWait(const ScrubSituation& situation) {
  using Seconds = std::chrono::duration<double>;
  const double planned_s = Seconds(situation.period).count() * 0.9;
  const double elapsed_s = std::max(0.0, Seconds(situation.elapsed).count());
  const auto done = static_cast<double>(situation.done_cost);
  const double total = std::max(static_cast<double>(situation.total_cost), done);
  // A round that is late, because the server was down or the period was made shorter, goes faster
  // the more is left, and in the end at the even rate: all in all a third of the period.
  const double left_s = std::max(planned_s - elapsed_s, planned_s / 9);
  double rate = std::max((total - done) / left_s, total / planned_s);
  if (situation.clients_active) {
    const bool is_ahead = done * planned_s > total * elapsed_s;
    if (is_ahead) return kScrubClientPause;
  } else {
    rate = std::max(2 * rate, static_cast<double>(kScrubLeastRate));
  }
  // The estimate may say that nothing is left: then the end is near at any rate.
  rate = std::max(rate, 1.0);
  const double wait_s =
      static_cast<double>(situation.last_cost) / rate - Seconds(situation.since_last).count();
  if (wait_s <= 0) return std::chrono::nanoseconds(0);
  // Not for long at once: clients may go, and the period may change.
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Seconds(std::min(wait_s, 1.0)));
}

}  // namespace tercet
