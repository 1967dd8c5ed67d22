#include "metaserver/repair/reconfiguration.h"

#include <algorithm>
#include <cassert>
#include <tuple>
#include <utility>

namespace tercet {
namespace {

bool Contains(const std::vector<ServerId>& servers, ServerId server) {
  return std::find(servers.begin(), servers.end(), server) != servers.end();
}

}  // namespace

Reconfiguration::Reconfiguration(ReconfigurationGoal goal) : goal_(std::move(goal)) {}

ReconfigurationEffects Reconfiguration::Start() {
  assert(phase_ == Phase::kNew);
  phase_ = Phase::kBeginning;
  return {BeginEffect{goal_.block, goal_.from, goal_.add, goal_.above}};
}

ReconfigurationEffects Reconfiguration::OnBegun(const Result<BegunReconfiguration>& begun) {
  assert(phase_ == Phase::kBeginning);
  if (!begun.ok()) return Finish(begun.status());
  begun_ = begun.value();
  for (const ServerId server : begun_.chain) {
    Member& member = members_[server];
    member.was = true;
    member.wanted = !Contains(goal_.drop, server);
    member.verify = Contains(goal_.verify, server);
    member.noted_suspect = Contains(goal_.suspects, server);
    order_.push_back(server);
  }
  for (const ServerId server : goal_.add) {
    if (members_.contains(server) || Contains(goal_.drop, server)) continue;
    if (order_.size() >= kMaxChainLength) break;
    members_[server].wanted = true;
    order_.push_back(server);
  }
  return SealAll();
}

ReconfigurationEffects Reconfiguration::SealAll() {
  phase_ = Phase::kSealing;
  ReconfigurationEffects effects;
  for (const ServerId server : order_) {
    Member& member = members_[server];
    if (!member.was) continue;
    if (Contains(goal_.unreachable, server)) {
      Exclude(server, Status(StatusCode::kUnavailable, "known not to answer"));
      continue;
    }
    member.sealing = true;
    ++seals_open_;
    // What all of them are needed for when none is above suspicion: how damaged each is.
    const bool verify = member.verify || goal_.accept_suspect;
    effects.push_back(SealEffect{server, begun_.sealing, begun_.reserved, verify, false});
  }
  if (seals_open_ == 0) return TakeRoot();
  return effects;
}

ReconfigurationEffects Reconfiguration::OnSealed(ServerId server,
                                                 const Result<SealAnswer>& answer) {
  if (phase_ == Phase::kDone) return {};
  Member& member = members_.at(server);
  if (!member.sealing) return {};
  member.sealing = false;
  --seals_open_;
  // Another active was elected, or the block was taken over by a later attempt: what this one does
  // from here on is void.
  if (!answer.ok() && answer.code() == StatusCode::kStaleEpoch) return Finish(answer.status());
  if (!answer.ok()) {
    Exclude(server, answer.status());
  } else if (answer.value().newer.value() != 0) {
    newer_ = std::max(newer_, answer.value().newer);
    Exclude(server, Status(StatusCode::kStaleGeneration, "its replica has a higher generation"));
  } else if (phase_ == Phase::kAccepting) {
    member.suspect = false;
    member.damaged = false;
    member.verified = true;
    accepted_damage_ = member.sealed->damaged_pages;
  } else if (const Generation before = answer.value().before;
             !answer.value().absent && before.value() != 0 && before < goal_.from) {
    // Members had at least that generation when the chain was journaled: this is another replica,
    // made by a late write after the right one was lost.
    Exclude(server, Status(StatusCode::kCorruption, "it lost its replica and has an older one"));
  } else {
    member.sealed = answer.value();
    member.suspect = answer.value().suspect || member.noted_suspect;
    member.damaged = answer.value().damaged_pages > 0;
    member.verified = member.verify && !member.damaged;
  }
  if (seals_open_ > 0) return {};
  if (newer_ > begun_.sealing) {
    return Finish(
        Status(StatusCode::kConflict, "a replica of block " + std::to_string(goal_.block.value()) +
                                          " has generation " + std::to_string(newer_.value()) +
                                          ", which the journal does not know"));
  }
  return TakeRoot();
}

std::optional<ServerId> Reconfiguration::BestRoot() const {
  const bool data_somewhere =
      goal_.has_data || std::any_of(members_.begin(), members_.end(), [](const auto& entry) {
        return entry.second.has_replica() && entry.second.sealed->length > 0;
      });
  std::optional<ServerId> best;
  std::tuple<uint64_t, bool, bool> best_rank;
  for (const ServerId server : order_) {
    const Member& member = members_.at(server);
    if (!member.has_replica() || member.out || member.suspect || roots_tried_.contains(server)) {
      continue;
    }
    // It may be one that this or an earlier attempt's seal made, where the real one was lost.
    if (member.sealed->length == 0 && data_somewhere) continue;
    // Generations that the journal does not know are chains that it does not know: the newest has
    // most of what was written.
    const uint64_t age = goal_.above.value() == 0 ? 0 : ~member.sealed->before.value();
    // The first of equal rank: the most upstream.
    const std::tuple<uint64_t, bool, bool> rank{age, member.damaged, !member.wanted};
    if (!best || rank < best_rank) {
      best = server;
      best_rank = rank;
    }
  }
  return best;
}

std::optional<ServerId> Reconfiguration::BestSuspect() const {
  std::optional<ServerId> best;
  std::tuple<bool, bool, uint32_t, uint32_t> best_rank;
  for (const ServerId server : order_) {
    const Member& member = members_.at(server);
    if (!member.has_replica() || member.out || !member.suspect || roots_tried_.contains(server)) {
      continue;
    }
    const SealAnswer& sealed = *member.sealed;
    // One that an earlier attempt accepted goes first: others may have pulled half of it.
    const std::tuple<bool, bool, uint32_t, uint32_t> rank{sealed.length == 0, sealed.suspect,
                                                          sealed.damaged_pages, ~sealed.length};
    if (!best || rank < best_rank) {
      best = server;
      best_rank = rank;
    }
  }
  return best;
}

ReconfigurationEffects Reconfiguration::TakeRoot() {
  if (phase_ == Phase::kAccepting) {
    const Member& accepted = members_.at(root_);
    if (!accepted.out) {
      SetRoot(root_);
      return Equalize();
    }
    root_ = ServerId();
  }
  if (const auto root = BestRoot()) {
    SetRoot(*root);
    return Equalize();
  }
  // Not while one that is above suspicion was sealed, whatever became of it since: it will be back.
  const bool clean_one = std::any_of(members_.begin(), members_.end(), [](const auto& entry) {
    return entry.second.above_suspicion();
  });
  const bool accept = goal_.accept_suspect && !clean_one && !AnySilent();
  const auto suspect = accept ? BestSuspect() : std::nullopt;
  if (!suspect) return CommitOrFail();
  phase_ = Phase::kAccepting;
  root_ = *suspect;
  roots_tried_.insert(root_);
  members_.at(root_).sealing = true;
  ++seals_open_;
  return {SealEffect{root_, begun_.sealing, false, false, true}};
}

void Reconfiguration::SetRoot(ServerId root) {
  phase_ = Phase::kEqualizing;
  root_ = root;
  roots_tried_.insert(root);
  const SealAnswer& content = *members_.at(root).sealed;
  empty_ = !goal_.has_data && content.length == 0;
  for (auto& [server, member] : members_) {
    member.tried.clear();
    // A suspect's checksums may be newer than its pages, and what was pulled to since it was sealed
    // is not what its answer says.
    const bool comparable = member.has_replica() && !member.suspect && !member.pulled;
    member.equal = server == root || (comparable && !members_.at(root).pulled &&
                                      member.sealed->length == content.length &&
                                      member.sealed->table_crc == content.table_crc);
  }
}

ReconfigurationEffects Reconfiguration::OnPulled(ServerId target, const Status& status,
                                                 ServerId failed) {
  if (phase_ == Phase::kDone) return {};
  Member& member = members_.at(target);
  if (!member.pulling) return {};
  member.pulling = false;
  Member& source = members_.at(member.source);
  if (status.ok()) {
    member.equal = true;
    member.suspect = false;
    member.damaged = false;
    member.verified = member.verified || member.verifying || !member.has_replica();
    source.gave = true;
  } else if (status.code() == StatusCode::kStaleEpoch) {
    return Finish(status);
  } else if (failed != member.source) {
    Exclude(target, status);
  } else {
    member.tried.insert(member.source);
    if (status.code() == StatusCode::kCorruption) {
      source.damaged = true;
    } else {
      source.blamed_by.insert(target);
    }
  }
  return Equalize();
}

ReconfigurationEffects Reconfiguration::Equalize() {
  for (;;) {
    // Some are lost already: who waits for the block waits no longer.
    if (Hopeful() < Minimum()) return CommitOrFail();
    ReconfigurationEffects effects = StartPulls();
    if (!effects.empty() || AnyPulling()) return effects;
    // Nothing is under way, and nothing can be started with things as they are.
    if (!ExcludeUnreachable()) break;
  }
  const std::vector<ServerId> present = PresentChain();
  const bool whole = std::any_of(present.begin(), present.end(),
                                 [this](ServerId server) { return members_.at(server).whole(); });
  if (present.size() >= Minimum() && whole) return CommitOrFail();
  return TakeRoot();
}

ReconfigurationEffects Reconfiguration::StartPulls() {
  ReconfigurationEffects effects;
  for (const ServerId server : order_) {
    Member& member = members_.at(server);
    if (!member.wanted || member.out || member.pulling || member.whole()) continue;
    const auto source = SourceFor(server);
    if (!source) continue;
    const bool verify = member.verify || member.damaged || member.suspect ||
                        member.sealed.value_or(SealAnswer()).suspect;
    member.pulling = true;
    member.pulled = true;
    member.source = *source;
    member.verifying = verify;
    if (!member.was && !Contains(targets_, server)) targets_.push_back(server);
    effects.push_back(PullEffect{server, *source, begun_.sealing, verify});
  }
  return effects;
}

std::optional<ServerId> Reconfiguration::SourceFor(ServerId target) const {
  std::optional<ServerId> best;
  std::tuple<bool, bool> best_rank;
  for (const ServerId server : order_) {
    const Member& source = members_.at(server);
    if (server == target || !source.equal || source.out || source.pulling ||
        members_.at(target).tried.contains(server)) {
      continue;
    }
    const std::tuple<bool, bool> rank{source.damaged, !source.blamed_by.empty()};
    if (!best || rank < best_rank) {
      best = server;
      best_rank = rank;
    }
  }
  return best;
}

bool Reconfiguration::ExcludeUnreachable() {
  bool changed = false;
  const Status unreachable(StatusCode::kUnavailable, "others could not pull from it");
  for (const ServerId server : order_) {
    size_t blames = 0;
    for (const auto& [other, member] : members_) blames += member.blamed_by.contains(server);
    Member& member = members_.at(server);
    // Whoever reaches none of several is the one that is cut off.
    if (blames >= 2 && !member.whole() && !member.out) {
      Exclude(server, Status(StatusCode::kUnavailable, "it could not pull from any other"));
      for (auto& [other, blamed] : members_) blamed.blamed_by.erase(server);
      changed = true;
    }
  }
  for (const ServerId server : order_) {
    Member& member = members_.at(server);
    if (member.blamed_by.empty() || member.gave || member.out) continue;
    const bool another = std::any_of(members_.begin(), members_.end(), [&](const auto& entry) {
      return entry.first != server && entry.second.equal && !entry.second.out;
    });
    // The only one that has the content stays: then it is the others that are left out.
    if (!another && !BestRoot()) continue;
    Exclude(server, unreachable);
    changed = true;
  }
  return changed;
}

std::vector<ServerId> Reconfiguration::PresentChain() const {
  std::vector<ServerId> whole;
  std::vector<ServerId> all;
  for (const ServerId server : order_) {
    const Member& member = members_.at(server);
    if (!member.wanted || !member.equal || member.out) continue;
    all.push_back(server);
    if (member.whole()) whole.push_back(server);
  }
  return whole.size() >= Minimum() ? whole : all;
}

ReconfigurationEffects Reconfiguration::CommitOrFail() {
  chain_ = PresentChain();
  const Status no_source(StatusCode::kUnavailable, "there is none to pull from");
  for (auto& [server, member] : members_) {
    if (member.wanted && !member.out && !Contains(chain_, server)) {
      failed_.emplace(server, no_source);
    }
  }
  if (chain_.size() < Minimum()) {
    const Status status = TooFew(chain_.size());
    chain_.clear();
    return Finish(status);
  }
  phase_ = Phase::kCommitting;
  CommitEffect commit;
  commit.block = goal_.block;
  commit.from = goal_.from;
  commit.sealing = begun_.sealing;
  commit.chain = chain_;
  commit.unwritten = empty_;
  commit.lost_pages = accepted_damage_;
  for (const ServerId server : begun_.chain) {
    if (!Contains(chain_, server)) commit.dropped.push_back(server);
  }
  for (const ServerId server : chain_) {
    const Member& member = members_.at(server);
    if (member.verified && !member.damaged) commit.verified.push_back(server);
    if (!member.damaged) continue;
    commit.lost_pages += std::max(1u, member.sealed ? member.sealed->damaged_pages : 0u);
  }
  return {std::move(commit)};
}

ReconfigurationEffects Reconfiguration::OnCommitted(const Status& status) {
  assert(phase_ == Phase::kCommitting);
  return Finish(status);
}

ReconfigurationEffects Reconfiguration::Finish(Status status) {
  phase_ = Phase::kDone;
  outcome_ = std::move(status);
  return {};
}

bool Reconfiguration::OnlySuspects() const {
  bool suspect = false;
  for (const auto& [server, member] : members_) {
    if (!member.has_replica()) continue;
    if (member.above_suspicion()) return false;
    suspect = suspect || member.sealed->suspect || member.noted_suspect;
  }
  return suspect;
}

size_t Reconfiguration::Minimum() const { return static_cast<size_t>(std::max(goal_.minimum, 1)); }

size_t Reconfiguration::Hopeful() const {
  return static_cast<size_t>(std::count_if(members_.begin(), members_.end(), [](const auto& entry) {
    return entry.second.wanted && !entry.second.out;
  }));
}

bool Reconfiguration::AnySilent() const {
  return std::any_of(failed_.begin(), failed_.end(), [this](const auto& entry) {
    const auto& [server, status] = entry;
    const bool silent =
        status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kDeadlineExceeded;
    return silent && members_.at(server).was && !members_.at(server).sealed &&
           !Contains(goal_.unreachable, server);
  });
}

bool Reconfiguration::AnyPulling() const {
  return std::any_of(members_.begin(), members_.end(),
                     [](const auto& entry) { return entry.second.pulling; });
}

void Reconfiguration::Exclude(ServerId server, const Status& status) {
  members_.at(server).out = true;
  failed_.insert_or_assign(server, status);
}

Status Reconfiguration::TooFew(size_t got) const {
  std::string why;
  bool no_space = false;
  for (const auto& [server, status] : failed_) {
    why += "; server " + std::to_string(server.value()) + ": " + status.ToString();
    no_space = no_space || status.code() == StatusCode::kNoSpace;
  }
  const bool all_answered =
      std::all_of(begun_.chain.begin(), begun_.chain.end(),
                  [this](ServerId id) { return members_.at(id).sealed.has_value(); });
  const bool any_usable = std::any_of(members_.begin(), members_.end(), [](const auto& entry) {
    const Member& member = entry.second;
    return member.has_replica() && !member.suspect && !member.damaged;
  });
  StatusCode code = StatusCode::kUnavailable;
  if (no_space) {
    code = StatusCode::kNoSpace;
  } else if (all_answered && !any_usable && !OnlySuspects()) {
    code = StatusCode::kCorruption;
  }
  return Status(code, "block " + std::to_string(goal_.block.value()) + ": " + std::to_string(got) +
                          " of at least " + std::to_string(Minimum()) +
                          " replicas could be made equal" + why);
}

}  // namespace tercet
