#include "metaserver/raft/raft_peer.h"

#include <algorithm>

namespace tercet {

std::optional<JournalIndex> RaftPeer::needs() const {
  if (!heard_match_) return std::nullopt;
  return match_.Next();
}

PeerProgress RaftPeer::Progress() const {
  PeerProgress progress;
  progress.id = id_;
  progress.match_index = match_;
  progress.applied_index = applied_;
  progress.last_contact_ns = last_contact_ns_;
  progress.clock_skew_ns = clock_skew_ns_;
  progress.lacks_state = lacks_state_;
  progress.short_of_space = short_of_space_;
  progress.amnesia = amnesia_;
  return progress;
}

std::optional<AppendPlan> RaftPeer::NextAppend(const RaftLogIndex& log, Epoch epoch,
                                               const RaftOptions& options, int64_t now_ns) const {
  // Of a member behind the log's first record only heartbeats are possible. It refuses them, and
  // gets a state offer.
  const JournalIndex next = std::clamp(next_, log.first(), log.last().Next());
  const bool heartbeat_due = now_ns >= next_heartbeat_ns_;
  const size_t window = probing_ ? 1 : static_cast<size_t>(std::max(options.max_in_flight, 1));
  const bool takes_records = next == next_ && next <= log.last() && in_flight_.size() < window &&
                             !short_of_space_ && !amnesia_;
  // Heartbeats come first: the answer to one does not wait for the member's disk.
  if (!heartbeat_due && !takes_records) return std::nullopt;
  AppendPlan plan;
  plan.epoch = epoch;
  plan.previous_index = Before(next);
  plan.previous_epoch = *log.EpochAt(plan.previous_index);
  plan.first = next;
  plan.last = heartbeat_due ? plan.previous_index : log.last();
  return plan;
}

void RaftPeer::Sent(const AppendPlan& plan, JournalIndex last, int64_t heartbeat_interval_ns,
                    int64_t now_ns) {
  if (last < plan.first) {
    next_heartbeat_ns_ = now_ns + heartbeat_interval_ns;
    return;
  }
  // The flow began anew at an earlier record meanwhile: these records go out once more.
  if (next_ < plan.first) return;
  next_ = std::max(next_, last.Next());
  in_flight_.push_back(last);
}

void RaftPeer::LinkReset(int64_t now_ns) {
  BeginAnew(heard_match_ ? match_.Next() : next_, now_ns);
  next_heartbeat_ns_ = now_ns;
}

void RaftPeer::BeginAnew(JournalIndex next, int64_t now_ns) {
  next_ = next;
  probing_ = true;
  in_flight_.clear();
  anew_ns_ = now_ns;
}

void RaftPeer::Answered(const AppendResponse& response, const RaftLogIndex& log, int64_t now_ns,
                        int64_t wall_ns) {
  // Of two answers that overtook each other the newer one tells how the member is.
  const bool newest = response.echoed_sent_ns >= echoed_ns_;
  const bool had_room = !short_of_space_;
  // What it acknowledged before this request was even sent is not there any more.
  if (response.echoed_sent_ns > match_noted_ns_ && response.durable_index < match_) amnesia_ = true;
  last_contact_ns_ = now_ns;
  echoed_ns_ = std::max(echoed_ns_, response.echoed_sent_ns);
  if (newest) {
    lacks_state_ = response.lacks_state;
    short_of_space_ = response.short_of_space;
    NoteClock(response, now_ns, wall_ns);
  }
  applied_ = std::max(applied_, response.applied_index);
  if (amnesia_) return;
  if (response.accepted) {
    Accepted(response, now_ns);
  } else {
    Refused(response, log, now_ns);
  }
  // It dropped what was under way.
  if (had_room && short_of_space_ && heard_match_) BeginAnew(match_.Next(), now_ns);
}

void RaftPeer::NoteClock(const AppendResponse& response, int64_t now_ns, int64_t wall_ns) {
  if (wall_ns == 0 || response.wall_ns == 0) return;
  // As if the member had looked at its clock half-way between request and answer.
  const int64_t round_trip_ns = now_ns - response.echoed_sent_ns;
  clock_skew_ns_ = response.wall_ns - (wall_ns - round_trip_ns / 2);
}

void RaftPeer::Accepted(const AppendResponse& response, int64_t now_ns) {
  heard_match_ = true;
  probing_ = false;
  if (response.match_index > match_) {
    match_ = response.match_index;
    match_noted_ns_ = now_ns;
  }
  next_ = std::max(next_, match_.Next());
  while (!in_flight_.empty() && in_flight_.front() <= match_) in_flight_.pop_front();
}

void RaftPeer::Refused(const AppendResponse& response, const RaftLogIndex& log, int64_t now_ns) {
  if (response.echoed_sent_ns < anew_ns_) return;
  const JournalIndex hint = std::min(response.hint_index, log.last());
  JournalIndex agreed = hint;
  if (hint.Next() >= log.first()) {
    // Without any such record the logs part before the first one, which the member needs then.
    agreed = log.NewestUpTo(hint, response.hint_epoch).value_or(JournalIndex(0));
  }
  BeginAnew(std::max(match_, agreed).Next(), now_ns);
}

bool RaftPeer::TakeOfferTurn(const RaftLogIndex& log, int64_t interval_ns, int64_t now_ns) {
  if (next_ >= log.first()) return false;
  if (last_offer_ns_ && now_ns - *last_offer_ns_ < interval_ns) return false;
  last_offer_ns_ = now_ns;
  return true;
}

}  // namespace tercet
