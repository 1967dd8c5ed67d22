#include "metaserver/service/sessions.h"

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/service/service_metrics.h"

namespace tercet {
namespace {

Status NotActive() { return Status(StatusCode::kNotActive, "not the active metaserver"); }

}  // namespace

Sessions::Sessions(SessionOptions options, Proposer& proposer, const Clock& clock)
    : options_(options), proposer_(proposer), clock_(clock), window_(options.orphan_window) {}

Status Sessions::BecomeActive(Epoch epoch) {
  std::lock_guard lock(mutex_);
  renewed_ms_.clear();
  ending_.clear();
  window_.Clear();
  epoch_ = epoch;
  const int64_t now_ms = clock_.MonotonicMillis();
  return Tables(proposer_.committed())
      .ScanSessions([&](SessionId session, const SessionRecord& record) {
        if (record.closing) {
          ending_.insert(session);
        } else {
          renewed_ms_.emplace(session, now_ms);
          window_.AddSession(session);
        }
        return true;
      });
}

void Sessions::BecomeStandby() {
  std::lock_guard lock(mutex_);
  epoch_ = Epoch();
  renewed_ms_.clear();
  ending_.clear();
  window_.Clear();
}

void Sessions::Open(const wire::OpenSessionRequest& request, wire::OpenSessionResponse* response) {
  const Epoch epoch = proposer_.epoch();
  const Status status = OpenChecked(epoch, request, response);
  proposer_.FillInfo({epoch, proposer_.Basis().index}, status, &response->info);
}

Status Sessions::OpenChecked(Epoch epoch, const wire::OpenSessionRequest& request,
                             wire::OpenSessionResponse* response) {
  if (epoch.value() == 0) return NotActive();
  if (count() >= options_.max_sessions) {
    return Status(StatusCode::kUnavailable,
                  "there are " + std::to_string(options_.max_sessions) + " sessions already");
  }
  RETURN_IF_ERROR(
      proposer_.Propose(epoch, "open session", [&](OperationContext& context) -> Status {
        ASSIGN_OR_RETURN(*response, EvaluateOpenSession(context, request));
        return Status::Ok();
      }));
  response->ttl_ms = static_cast<int32_t>(options_.ttl.count());
  response->slot_count = static_cast<int32_t>(proposer_.slot_count());
  const SessionId session(static_cast<uint64_t>(response->session_id));
  std::lock_guard lock(mutex_);
  if (epoch_ != epoch) return NotActive();
  // It may have been silent for so long that it was ended while this call was under way.
  ASSIGN_OR_RETURN(const bool open, Tables(proposer_.committed()).IsSessionOpen(session));
  if (!open || ending_.contains(session)) {
    return Status(StatusCode::kConflict, "the session has just expired: open a new one");
  }
  const bool is_new = renewed_ms_.insert_or_assign(session, clock_.MonotonicMillis()).second;
  window_.AddSession(session);
  if (is_new) {
    LOG_INFO("session opened session={} host={} mount={} version={}", session, request.host_name,
             request.mount_point, request.client_version);
  }
  return Status::Ok();
}

void Sessions::Renew(const wire::RenewSessionRequest& request,
                     wire::RenewSessionResponse* response) {
  const AnswerBasis basis = proposer_.Basis();
  proposer_.FillInfo(basis, RenewChecked(basis.epoch, request, response), &response->info);
}

Status Sessions::RenewChecked(Epoch epoch, const wire::RenewSessionRequest& request,
                              wire::RenewSessionResponse* response) {
  const SessionId session(static_cast<uint64_t>(request.session_id));
  std::vector<InodeId> released;
  const size_t released_count = std::min(request.released.size(), options_.max_condemned_per_reply);
  released.reserve(released_count);
  for (size_t i = 0; i < released_count; ++i) {
    released.emplace_back(static_cast<uint64_t>(request.released[i]));
  }
  std::lock_guard lock(mutex_);
  if (epoch.value() == 0 || epoch_ != epoch) return NotActive();
  auto it = renewed_ms_.find(session);
  if (it == renewed_ms_.end()) {
    return Status(StatusCode::kStaleHandle,
                  "session " + std::to_string(session.value()) + " is not open: it expired");
  }
  it->second = clock_.MonotonicMillis();
  window_.Release(session, released);
  for (InodeId orphan : window_.Condemned(session, options_.max_condemned_per_reply)) {
    response->condemned.push_back(static_cast<int64_t>(orphan.value()));
  }
  return Status::Ok();
}

void Sessions::Close(const wire::CloseSessionRequest& request,
                     wire::CloseSessionResponse* response) {
  const SessionId session(static_cast<uint64_t>(request.session_id));
  const Epoch epoch = proposer_.epoch();
  bool known = false;
  {
    std::lock_guard lock(mutex_);
    if (epoch_ == epoch) known = renewed_ms_.erase(session) > 0;
    if (known) ending_.insert(session);
  }
  // A session that is not there is closed: a retry is answered like the first call.
  Status status = End(epoch, session);
  if (known && status.ok()) LOG_INFO("session closed session={}", session);
  proposer_.FillInfo({epoch, proposer_.Basis().index}, status, &response->info);
}

Status Sessions::End(Epoch epoch, SessionId session) {
  RETURN_IF_ERROR(proposer_.EndSession(epoch, session));
  std::lock_guard lock(mutex_);
  if (epoch_ != epoch) return NotActive();
  ending_.erase(session);
  window_.RemoveSession(session);
  return Status::Ok();
}

void Sessions::RenewAll() {
  std::lock_guard lock(mutex_);
  const int64_t now_ms = clock_.MonotonicMillis();
  for (auto& [session, renewed_ms] : renewed_ms_) renewed_ms = now_ms;
}

void Sessions::ExpireSilent() {
  std::vector<SessionId> to_end;
  Epoch epoch;
  {
    std::lock_guard lock(mutex_);
    epoch = epoch_;
    const int64_t oldest_ms = clock_.MonotonicMillis() - options_.ttl.count();
    for (auto it = renewed_ms_.begin(); it != renewed_ms_.end();) {
      if (it->second > oldest_ms) {
        ++it;
        continue;
      }
      LOG_WARN("session expired: it was not renewed for {} ms session={}", options_.ttl.count(),
               it->first);
      ServiceCounters::Get().sessions_expired.Increment();
      ending_.insert(it->first);
      it = renewed_ms_.erase(it);
    }
    to_end.assign(ending_.begin(), ending_.end());
  }
  for (SessionId session : to_end) {
    const Status status = End(epoch, session);
    if (status.code() == StatusCode::kNotActive) return;
    if (!status.ok()) {
      LOG_WARN_LIMITED("a session could not be ended yet session={}: {}", session, status);
    }
  }
}

size_t Sessions::OrphanRoom() const {
  std::lock_guard lock(mutex_);
  return window_.room();
}

size_t Sessions::OrphansInWindow() const {
  std::lock_guard lock(mutex_);
  return window_.size();
}

size_t Sessions::Condemn(std::span<const InodeId> orphans) {
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  size_t count = 0;
  while (count < orphans.size() && window_.Add(orphans[count], now_ms)) ++count;
  return count;
}

std::vector<InodeId> Sessions::TakeReclaimable(size_t max) {
  std::lock_guard lock(mutex_);
  return window_.TakeReady(max);
}

void Sessions::PutBack(InodeId orphan) {
  std::lock_guard lock(mutex_);
  window_.PutBack(orphan);
}

void Sessions::Reclaimed(InodeId orphan) {
  std::lock_guard lock(mutex_);
  window_.Remove(orphan);
}

void Sessions::RotateWindow() {
  std::lock_guard lock(mutex_);
  window_.Rotate(clock_.MonotonicMillis(), options_.orphan_patience.count());
}

size_t Sessions::count() const {
  std::lock_guard lock(mutex_);
  return renewed_ms_.size() + ending_.size();
}

}  // namespace tercet
