#include "metaserver/service/group_metrics.h"

#include <algorithm>
#include <limits>

#include "common/metrics/metrics.h"

namespace tercet {
namespace {

constexpr double kSecondsPerNano = 1e-9;

void SetGauge(const std::string& name, const std::string& help, double value,
              const MetricLabels& labels = {}) {
  GetGauge("tercet_metaserver_" + name, help, labels).Set(value);
}

void AddToCounter(const std::string& name, const std::string& help, uint64_t before,
                  uint64_t after) {
  GetCounter("tercet_metaserver_" + name, help).Increment(static_cast<double>(after - before));
}

double RoleNumber(RaftRole role) {
  switch (role) {
    case RaftRole::kFollower:
      return 0;
    case RaftRole::kPreCandidate:
    case RaftRole::kCandidate:
      return 1;
    case RaftRole::kLeader:
      break;
  }
  return 2;
}

void SetPeer(const std::string& member, double lag, double contact, double skew) {
  const MetricLabels labels{{"member", member}};
  SetGauge("member_lag_records", "Records that a member lacks, as the leader knows", lag, labels);
  SetGauge("member_last_contact_seconds", "Since the leader heard of a member", contact, labels);
  SetGauge("member_clock_skew_seconds", "A member's wall clock minus the leader's", skew, labels);
}

}  // namespace

void GroupMetrics::UpdatePeers(const GroupStatus& status) {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  std::set<std::string> peers;
  for (const PeerProgress& peer : status.peers) {
    const std::string member = std::to_string(peer.id.value());
    peers.insert(member);
    const double lag =
        peer.match_index > status.last_index
            ? 0
            : static_cast<double>(status.last_index.value() - peer.match_index.value());
    const double contact =
        peer.last_contact_ns == 0
            ? kUnknown
            : static_cast<double>(status.now_ns - peer.last_contact_ns) * kSecondsPerNano;
    SetPeer(member, lag, contact, static_cast<double>(peer.clock_skew_ns) * kSecondsPerNano);
  }
  // Members that are gone, or everybody when this is no leader any more.
  for (const std::string& member : peers_) {
    if (!peers.contains(member)) SetPeer(member, kUnknown, kUnknown, kUnknown);
  }
  peers_ = std::move(peers);
}

void GroupMetrics::Update(const GroupStatus& status, const GroupMemberCounters& counters) {
  SetGauge("active", "1 on the active metaserver", status.active ? 1 : 0);
  SetGauge("epoch", "Epoch of the journal", static_cast<double>(status.epoch.value()));
  SetGauge("group_role", "0 follower, 1 candidate, 2 leader", RoleNumber(status.role));
  SetGauge("group_members", "Members of the metadata group",
           static_cast<double>(status.membership.members.size()));
  SetGauge("group_voters", "Members of the metadata group that vote",
           static_cast<double>(status.membership.voter_count()));
  SetGauge("group_has_leader", "1 while a leader is known", status.leader.value() != 0 ? 1 : 0);
  const bool endless = status.lease_ms == std::numeric_limits<int64_t>::max();
  SetGauge("lease_seconds", "What is left of the active's lease; -1: none",
           endless               ? std::numeric_limits<double>::infinity()
           : status.lease_ms < 0 ? -1
                                 : static_cast<double>(status.lease_ms) / 1000);
  SetGauge("journal_last_index", "Newest journal record here",
           static_cast<double>(status.last_index.value()));
  SetGauge("journal_commit_index", "Newest record known to be committed",
           static_cast<double>(status.commit_index.value()));
  const uint64_t applied = std::min(status.applied_index, status.commit_index).value();
  SetGauge("apply_lag_records", "Committed records that are not applied here",
           status.kind == MemberKind::kWitness || status.lacks_state
               ? 0
               : static_cast<double>(status.commit_index.value() - applied));
  SetGauge("lacks_state", "1 while a metaserver fetches the namespace",
           status.lacks_state && status.kind == MemberKind::kMetaserver ? 1 : 0);
  SetGauge("short_of_space", "1 while the disk is short of room", status.short_of_space ? 1 : 0);
  UpdatePeers(status);
  AddToCounter("elections_total", "Elections that this member began", last_.elections,
               counters.elections);
  AddToCounter("group_messages_sent_total", "Messages to other members", last_.messages_sent,
               counters.messages_sent);
  AddToCounter("group_messages_received_total", "Messages of other members",
               last_.messages_received, counters.messages_received);
  AddToCounter("group_messages_dropped_total", "Messages that found a full queue, or not for us",
               last_.messages_dropped, counters.messages_dropped);
  last_ = counters;
}

}  // namespace tercet
