#include "metaserver/service/proposer.h"

#include <algorithm>

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"

namespace tercet {
namespace {

constexpr int kSlotsPerExpiryBatch = 64;

/// What the file system answered, in contrast to what only concerns this attempt.
bool IsFinalAnswer(StatusCode code) { return code < StatusCode::kIo; }

Status NotActive() {
  return Status(StatusCode::kNotActive, "this metaserver is not the active one");
}

}  // namespace

Proposer::Proposer(Consensus& consensus, Database& database, ReplicaChooser& chooser,
                   const Clock& clock, uint32_t slot_count)
    : consensus_(consensus),
      database_(database),
      chooser_(chooser),
      clock_(clock),
      slots_(slot_count) {}

void Proposer::Activate(Epoch epoch) {
  std::lock_guard lock(mutex_);
  database_.DropProposed();
  slots_.Clear();
  active_epoch_.store(epoch.value(), std::memory_order_release);
}

void Proposer::Deactivate(Epoch epoch) {
  std::lock_guard lock(mutex_);
  DeactivateLocked(epoch);
}

void Proposer::DeactivateLocked(Epoch epoch) {
  // Another thread may have noticed first, and a new epoch may have begun since.
  if (active_epoch_.load(std::memory_order_relaxed) != epoch.value()) return;
  active_epoch_.store(0, std::memory_order_release);
  database_.DropProposed();
  slots_.Clear();
  LOG_WARN("this metaserver is not active any more epoch={}", epoch);
}

Status Proposer::CheckActive() const { return active() ? Status::Ok() : NotActive(); }

int64_t Proposer::NowNanos() {
  last_now_ns_ = std::max(last_now_ns_, clock_.WallNanos());
  return last_now_ns_;
}

Result<JournalIndex> Proposer::Append(Transaction* transaction, std::string summary) {
  if (transaction->empty()) return JournalIndex();
  const Epoch epoch(active_epoch_.load(std::memory_order_relaxed));
  WriteSet changes = transaction->Take();
  changes.summary = std::move(summary);
  auto index = consensus_.Append(epoch, changes.Encode());
  if (!index.ok()) {
    if (index.code() == StatusCode::kNotActive) DeactivateLocked(epoch);
    return index.status();
  }
  database_.AddProposed(*index, changes);
  return index;
}

Status Proposer::WaitApplied(Epoch epoch, JournalIndex index) {
  if (index.value() == 0) return Status::Ok();
  Status status = consensus_.WaitApplied(index);
  if (status.ok()) return status;
  Deactivate(epoch);
  if (status.code() == StatusCode::kNotActive) return status;
  LOG_WARN_LIMITED("a record could not be committed index={}: {}", index, status);
  // For the client it is a metaserver that went away: it asks again, here or elsewhere.
  return Status(StatusCode::kUnavailable, status.message());
}

Proposer::Outcome Proposer::Run(const char* name, const wire::MutationContext& request,
                                const EvaluateFunction& evaluate) {
  const SessionId session(static_cast<uint64_t>(request.session_id));
  const auto slot = static_cast<uint32_t>(request.slot);
  const auto sequence = static_cast<uint64_t>(request.sequence);
  Outcome outcome;
  Epoch epoch;
  JournalIndex wait_for;
  {
    std::lock_guard lock(mutex_);
    if (outcome.status = CheckActive(); !outcome.status.ok()) return outcome;
    epoch = Epoch(active_epoch_.load(std::memory_order_relaxed));
    auto known = slots_.Look(database_.proposed(), session, slot, sequence);
    if (!known.ok()) {
      outcome.status = known.status();
      wait_for = database_.newest_proposed();
    } else if (!known->fresh) {
      outcome.status = known->failure;
      outcome.stored_reply = std::move(known->reply);
      wait_for = known->failure.ok() ? known->index : database_.newest_proposed();
    } else {
      Transaction transaction(database_.proposed());
      std::string summary;
      OperationContext context{transaction, session, NowNanos(), chooser_, &summary};
      Result<std::string> reply = evaluate(context);
      if (reply.ok() && reply->size() > kMaxStoredReplyBytes) {
        reply = Status(StatusCode::kInternal, std::string(name) + ": the reply is too large");
      }
      if (reply.ok()) {
        MutableTables(transaction)
            .PutSlotReply(session, slot, SlotReplyRecord{sequence, std::move(reply).value()});
        auto index = Append(&transaction, summary.empty() ? std::string(name) : summary);
        if (index.ok()) {
          wait_for = *index;
          slots_.RecordProposed(session, slot, sequence, *index);
        } else {
          outcome.status = index.status();
        }
      } else {
        outcome.status = reply.status();
        wait_for = database_.newest_proposed();
        if (IsFinalAnswer(outcome.status.code())) {
          slots_.RecordFailure(session, slot, sequence, outcome.status);
        }
      }
    }
  }
  if (Status waited = WaitApplied(epoch, wait_for); !waited.ok()) outcome = {waited, std::nullopt};
  return outcome;
}

Status Proposer::Propose(const char* name,
                         const std::function<Status(OperationContext&)>& evaluate) {
  Epoch epoch;
  JournalIndex wait_for;
  Status status;
  {
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(CheckActive());
    epoch = Epoch(active_epoch_.load(std::memory_order_relaxed));
    Transaction transaction(database_.proposed());
    std::string summary;
    OperationContext context{transaction, SessionId(), NowNanos(), chooser_, &summary};
    status = evaluate(context);
    if (status.ok()) {
      auto index = Append(&transaction, summary.empty() ? std::string(name) : summary);
      if (!index.ok()) return index.status();
      wait_for = *index;
    }
    if (wait_for.value() == 0) wait_for = database_.newest_proposed();
  }
  RETURN_IF_ERROR(WaitApplied(epoch, wait_for));
  return status;
}

Status Proposer::EndSession(SessionId session) {
  for (bool done = false; !done;) {
    RETURN_IF_ERROR(Propose("end session", [&](OperationContext& context) -> Status {
      ASSIGN_OR_RETURN(BatchResult batch,
                       EvaluateExpireSession(context, session, kSlotsPerExpiryBatch));
      slots_.Forget(session);
      done = batch.done;
      return Status::Ok();
    }));
  }
  return Status::Ok();
}

void Proposer::SetStatus(const Status& status, wire::ReplyInfo* info) {
  info->status.code = static_cast<int32_t>(status.code());
  info->status.message = status.message();
}

void Proposer::FillInfo(const Status& status, wire::ReplyInfo* info) const {
  const ConsensusState state = consensus_.state();
  SetStatus(status, info);
  if (status.ok() && !(state.active && active())) SetStatus(NotActive(), info);
  // The applied state is what is read, and nothing is applied that is not committed.
  info->journal_index = static_cast<int64_t>(database_.applied_index().value());
  info->commit_index = info->journal_index;
  info->epoch = static_cast<int64_t>(state.epoch.value());
  if (info->status.code == static_cast<int32_t>(StatusCode::kNotActive) &&
      !state.active_hint.empty()) {
    info->__set_active_hint(state.active_hint);
  }
}

}  // namespace tercet
