// What a leader knows of one other member, and what is under way to it.
//
// Invariants, within one epoch of the leader:
//  - match <= last of the leader's log; records up to match are durable at the member and the same
//    as the leader's. It never goes back.
//  - match < next. Records from `next` on were not sent since the flow last began anew.
//  - Until an answer shows where the logs agree (`probing`) at most one request with records is
//    under way, so that a wrong guess costs one request.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "metaserver/raft/raft_core.h"
#include "metaserver/raft/raft_log_index.h"

namespace tercet {

/// Not thread-safe.
class RaftPeer {
 public:
  /// The first request says that the log ends with `last`, the leader's last record.
  RaftPeer(MemberId id, JournalIndex last, int64_t now_ns)
      : id_(id), next_(last.Next()), next_heartbeat_ns_(now_ns), since_ns_(now_ns) {}

  MemberId id() const { return id_; }
  JournalIndex match() const { return match_; }
  JournalIndex next() const { return next_; }
  bool amnesia() const { return amnesia_; }
  bool lacks_state() const { return lacks_state_; }
  bool short_of_space() const { return short_of_space_; }
  /// The leader's clock when the newest request that was answered was sent; 0: none was.
  int64_t echoed_ns() const { return echoed_ns_; }
  /// Of the newest answer; 0: none.
  int64_t last_contact_ns() const { return last_contact_ns_; }
  /// As last_contact_ns, or when it became known before that.
  int64_t quorum_contact_ns() const { return last_contact_ns_ == 0 ? since_ns_ : last_contact_ns_; }
  /// The oldest record it may still need; nothing when that is unknown.
  std::optional<JournalIndex> needs() const;
  PeerProgress Progress() const;

  /// What goes out next: records, or nothing but a heartbeat when one is due.
  std::optional<AppendPlan> NextAppend(const RaftLogIndex& log, Epoch epoch,
                                       const RaftOptions& options, int64_t now_ns) const;
  void Sent(const AppendPlan& plan, JournalIndex last, int64_t heartbeat_interval_ns,
            int64_t now_ns);
  /// What is under way is lost.
  void LinkReset(int64_t now_ns);

  /// Takes note of an answer of this epoch, which was checked to be well-formed. `wall_ns`: the
  /// leader's wall clock now, 0 when unknown.
  void Answered(const AppendResponse& response, const RaftLogIndex& log, int64_t now_ns,
                int64_t wall_ns);
  /// The member needs records from before the log's first; true at most once per `interval_ns`.
  bool TakeOfferTurn(const RaftLogIndex& log, int64_t interval_ns, int64_t now_ns);

 private:
  void BeginAnew(JournalIndex next, int64_t now_ns);
  void Accepted(const AppendResponse& response, int64_t now_ns);
  void Refused(const AppendResponse& response, const RaftLogIndex& log, int64_t now_ns);
  void NoteClock(const AppendResponse& response, int64_t now_ns, int64_t wall_ns);

  const MemberId id_;
  JournalIndex next_;
  JournalIndex match_;
  int64_t match_noted_ns_ = 0;  // when match_ last grew
  bool heard_match_ = false;    // an answer of this epoch said where the logs agree
  bool probing_ = true;
  std::deque<JournalIndex> in_flight_;  // last records of the requests under way
  int64_t anew_ns_ = INT64_MIN;         // refusals of requests sent before are of no interest
  int64_t next_heartbeat_ns_;
  std::optional<int64_t> last_offer_ns_;
  int64_t since_ns_;
  int64_t echoed_ns_ = 0;
  int64_t last_contact_ns_ = 0;
  int64_t clock_skew_ns_ = 0;
  JournalIndex applied_;
  bool lacks_state_ = false;
  bool short_of_space_ = false;
  bool amnesia_ = false;
};

}  // namespace tercet
