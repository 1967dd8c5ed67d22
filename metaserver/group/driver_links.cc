// What goes to the other members and what comes from them.
#include <algorithm>
#include <utility>

#include "common/log/log.h"
#include "common/rpc/host_port.h"
#include "metaserver/group/member_driver.h"

namespace tercet {
namespace {

constexpr uint64_t kMaxMessageBytes = 1 << 20;  // of payloads
/// By a thread that has something else to do.
constexpr uint64_t kMaxBytesOnBehalf = 64 << 10;
/// A plan may be overtaken while its records are read.
constexpr int kMaxReadAttempts = 3;
/// Of members that are in no membership; who was removed is told so while it asks.
constexpr size_t kMaxHeard = 64;
constexpr int64_t kForgetHeardNs = 30'000'000'000;
/// A follower waits so long for a segment file before it drops records.
constexpr std::chrono::milliseconds kRoomPatience{100};

/// 0.0.0.0 and the like, which name no machine.
bool NamesNoMachine(const std::string& address) {
  const Result<HostPort> parsed = ParseHostPort(address);
  return !parsed.ok() || parsed->host.empty() || parsed->host == "0.0.0.0" || parsed->host == "::";
}

}  // namespace

Status MemberDriver::Hello(MemberId from, const std::string& address) {
  if (from == MemberId() || from == self_) {
    return Status(StatusCode::kFailedPrecondition,
                  "member " + std::to_string(self_.value()) + " is this one; the caller, " +
                      address +
                      ", must not have the same id: is its data_dir a copy of this one's?");
  }
  bool changed = false;
  {
    Lock lock(mutex_);
    if (stop_threads_) return Status(StatusCode::kUnavailable, "this metaserver is stopping");
    if (NamesNoMachine(address)) return Status::Ok();  // the membership has to know a better one
    if (heard_.size() >= kMaxHeard && !heard_.contains(from)) {
      return Status(StatusCode::kBusy, "too many members were heard of");
    }
    HeardAddress& heard = heard_[from];
    heard.heard_ns = Now();
    heard.address = address;
    const auto peer = peers_.find(from);
    changed = peer == peers_.end() || peer->second.link->address() != address;
  }
  if (changed) UpdateLinks();
  return Status::Ok();
}

void MemberDriver::Receive(RaftMessage message) {
  Lock lock(mutex_);
  ++counters_.messages_received;
  if (Ended()) return;
  if (auto heard = heard_.find(message.from); heard != heard_.end()) {
    heard->second.heard_ns = Now();
  }
  if (auto* request = std::get_if<AppendRequest>(&message.body);
      request != nullptr && !request->records.empty()) {
    DropWhatHasNoRoom(lock, request);
    if (Ended()) return;
  }
  const auto peer = peers_.find(message.from);
  const bool answer = std::holds_alternative<AppendResponse>(message.body);
  core_->Receive(std::move(message), Now());
  Settle();
  // Room in the flow of records to it.
  if (answer && peer != peers_.end() && lead_epoch_ != Epoch()) MarkLink(peer->second.link);
  RunDeferred(lock);
}

void MemberDriver::DropWhatHasNoRoom(Lock& lock, AppendRequest* request) {
  if (!space_status_.ok()) {
    request->records.clear();
    return;
  }
  size_t count = journal_->CountThatFit(request->records);
  if (count < request->records.size()) {
    const uint64_t attempt = ++spares_wanted_;
    maintenance_wakeup_.notify_all();
    spare_tried_.wait_for(lock, kRoomPatience,
                          [&] { return spares_tried_ >= attempt || Ended() || stop_threads_; });
    count = journal_->CountThatFit(request->records);
  }
  request->records.resize(count);
}

void MemberDriver::MarkLink(const LinkPtr& link) {
  if (std::find(dirty_links_.begin(), dirty_links_.end(), link) == dirty_links_.end()) {
    dirty_links_.push_back(link);
  }
}

void MemberDriver::MarkLinks() {
  for (const auto& [id, peer] : peers_) MarkLink(peer.link);
}

void MemberDriver::RunDeferred(Lock& lock) {
  if (dirty_links_.empty() && wakes_.empty()) return;
  std::vector<LinkPtr> links;
  links.swap(dirty_links_);
  std::vector<Waiter*> wakes;
  wakes.swap(wakes_);
  lock.unlock();
  for (const LinkPtr& link : links) link->Kick();
  links.clear();  // the last reference waits for a thread that may need the lock
  PostWakes(std::move(wakes));
  lock.lock();
}

LinkSource::Next MemberDriver::NextFor(MemberId to, bool may_wait) {
  Lock lock(mutex_);
  for (int attempt = 0; attempt < kMaxReadAttempts; ++attempt) {
    if (Ended() || lead_epoch_ == Epoch()) return {};
    int64_t now_ns = Now();
    const std::optional<AppendPlan> plan = core_->NextAppend(to, now_ns);
    if (!plan) {
      RunEffects();  // perhaps a StateOffer
      return {};
    }
    const JournalIndex limit = core_->transferring() ? core_->last_index() : send_limit_;
    const JournalIndex last = std::min(plan->last, limit);
    std::vector<CommittedRecord> records;
    if (last < plan->first) {
      // A heartbeat; or records of the next sync here, which go out with that.
      if (plan->last >= plan->first) return {};
    } else if (tail_.Has(plan->first)) {
      records = tail_.Copy(plan->first, last, may_wait ? kMaxMessageBytes : kMaxBytesOnBehalf);
    } else if (!may_wait) {
      return {std::nullopt, true};
    } else {
      lock.unlock();
      auto read = journal_->ReadRecords(plan->first, kMaxMessageBytes);
      lock.lock();
      now_ns = Now();
      if (Ended() || lead_epoch_ != plan->epoch) return {};  // the log may be another one
      if (read.code() == StatusCode::kNotFound) continue;    // released: a StateOffer comes next
      if (!read.ok()) {
        Fail(read.status());
        return {};
      }
      const std::optional<AppendPlan> again = core_->NextAppend(to, now_ns);
      if (!again || again->epoch != plan->epoch || again->first != plan->first) continue;
      records = std::move(read).value();
      while (!records.empty() && records.back().index > last) records.pop_back();
    }
    const JournalIndex sent = records.empty() ? plan->previous_index : records.back().index;
    core_->AppendSent(to, *plan, sent, now_ns);
    return {MakeAppend(to, *plan, std::move(records), now_ns), false};
  }
  return {};
}

RaftMessage MemberDriver::MakeAppend(MemberId to, const AppendPlan& plan,
                                     std::vector<CommittedRecord> records, int64_t now_ns) {
  AppendRequest request;
  request.previous_index = plan.previous_index;
  request.previous_epoch = plan.previous_epoch;
  request.records = std::move(records);
  request.commit_index = core_->commit_index();
  request.sent_ns = now_ns;
  request.wall_ns = clock_.WallNanos();
  return {self_, to, plan.epoch, std::move(request)};
}

void MemberDriver::LinkConnected(MemberId to) {
  Lock lock(mutex_);
  if (!Ended()) core_->LinkReset(to);
  // A request that was under way is known to be lost: what comes next may go at once.
}

void MemberDriver::CountSent() { messages_sent_.fetch_add(1, std::memory_order_relaxed); }

void MemberDriver::CountDropped() { messages_dropped_.fetch_add(1, std::memory_order_relaxed); }

std::map<MemberId, std::string> MemberDriver::WantedLinks() const {
  std::map<MemberId, std::string> wanted;
  for (const Member& member : core_->membership().members) {
    if (member.id != self_) wanted[member.id] = AddressOf(member.id);
  }
  const int64_t now_ns = clock_.MonotonicNanos();
  for (const auto& [id, heard] : heard_) {
    if (now_ns - heard.heard_ns < kForgetHeardNs) wanted.emplace(id, heard.address);
  }
  return wanted;
}

void MemberDriver::UpdateLinks() {
  std::vector<LinkPtr> ended;
  std::lock_guard links_lock(links_mutex_);
  Lock lock(mutex_);
  if (stop_threads_) return;
  const std::map<MemberId, std::string> wanted = WantedLinks();
  std::erase_if(heard_, [&](const auto& entry) { return !wanted.contains(entry.first); });
  for (auto it = peers_.begin(); it != peers_.end();) {
    const auto found = wanted.find(it->first);
    if (found != wanted.end() && found->second == it->second.link->address()) {
      ++it;
      continue;
    }
    it->second.link->Stop();
    ended.push_back(std::move(it->second.link));
    it = peers_.erase(it);
  }
  for (const auto& [id, address] : wanted) {
    if (peers_.contains(id)) continue;
    PeerLinkOptions link_options;
    link_options.cluster_id = journal_->identity().cluster_id;
    link_options.group_id = group_id_;
    link_options.self = self_;
    link_options.self_address = options_.address;
    link_options.version = options_.version;
    link_options.bind_host = options_.bind_host;
    link_options.peer = id;
    link_options.address = address;
    peers_[id].link = std::make_shared<PeerLink>(std::move(link_options), *this);
  }
  lock.unlock();
}

bool MemberDriver::LinksAreCurrent() const {
  const std::map<MemberId, std::string> wanted = WantedLinks();
  return std::equal(wanted.begin(), wanted.end(), peers_.begin(), peers_.end(),
                    [](const auto& want, const auto& peer) {
                      return want.first == peer.first && want.second == peer.second.link->address();
                    });
}

}  // namespace tercet
