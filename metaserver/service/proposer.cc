#include "metaserver/service/proposer.h"

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"

namespace tercet {
namespace {

constexpr int kSlotsPerExpiryBatch = 64;
/// How far ahead of the times in the state their floor is put.
constexpr int64_t kTimeFloorAheadNs = 1'000'000'000;

/// As the reply of any mutation: all have `info` as their first field.
std::string EncodeRefusal(const Status& status) {
  wire::UnlinkResponse response;
  response.info.status.code = static_cast<int32_t>(status.code());
  response.info.status.message = status.message();
  return EncodeReply(response);
}

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
      slots_(slot_count),
      time_(clock) {}

Status Proposer::Activate(Epoch epoch) {
  ASSIGN_OR_RETURN(const int64_t floor_ns, Tables(database_.committed()).GetTimeFloor());
  std::lock_guard lock(mutex_);
  database_.DropProposed();
  slots_.Clear();
  time_.StartAt(floor_ns);
  time_floor_ns_ = floor_ns;
  active_epoch_.store(epoch.value(), std::memory_order_release);
  return Status::Ok();
}

void Proposer::Deactivate() {
  std::lock_guard lock(mutex_);
  active_epoch_.store(0, std::memory_order_release);
  database_.DropProposed();
  slots_.Clear();
}

Result<JournalIndex> Proposer::Append(Epoch epoch, Transaction* transaction, std::string summary) {
  if (transaction->empty()) return JournalIndex();
  int64_t floor_ns = time_floor_ns_;
  if (const int64_t now_ns = time_.Now(); now_ns > floor_ns) {
    floor_ns = now_ns + kTimeFloorAheadNs;
    MutableTables(*transaction).PutTimeFloor(floor_ns);
  }
  WriteSet changes = transaction->Take();
  changes.summary = std::move(summary);
  ASSIGN_OR_RETURN(const JournalIndex index, consensus_.Append(epoch, changes.Encode()));
  database_.AddProposed(index, changes);
  time_floor_ns_ = floor_ns;
  return index;
}

Status Proposer::WaitApplied(Epoch epoch, JournalIndex index) {
  if (index.value() == 0) return Status::Ok();
  Status status = consensus_.WaitApplied(epoch, index);
  if (status.ok() || status.code() == StatusCode::kNotActive) return status;
  LOG_WARN_LIMITED("a record could not be committed index={} epoch={}: {}", index, epoch, status);
  // For the client it is a metaserver that went away: it asks again, here or elsewhere.
  return Status(StatusCode::kUnavailable, status.message());
}

void Proposer::EvaluateFresh(const char* name, const EvaluateFunction& evaluate,
                             PendingMutation* pending) {
  Transaction transaction(database_.proposed());
  std::string summary;
  OperationContext context{transaction, pending->session, time_.Now(), chooser_, &summary};
  Result<std::string> reply = evaluate(context);
  if (reply.ok() && reply->size() > kMaxStoredReplyBytes) {
    reply = Status(StatusCode::kInternal, std::string(name) + ": the reply is too large");
  }
  if (!reply.ok()) {
    pending->status = reply.status();
    pending->wait_for = database_.newest_proposed();
    if (!IsFinalAnswer(reply.code())) return;
    // Journaled as well: an attempt that comes late, after a failover, must not be carried out once
    // the client was told that it failed.
    transaction.Take();
    summary = std::string(name) + " refused: " + std::string(StatusCodeName(reply.code()));
    reply = EncodeRefusal(reply.status());
  }
  MutableTables(transaction)
      .PutSlotReply(pending->session, pending->slot,
                    SlotReplyRecord{pending->sequence, std::move(reply).value()});
  auto index = Append(pending->epoch, &transaction, summary.empty() ? std::string(name) : summary);
  if (!index.ok()) {
    if (index.code() == StatusCode::kNoSpace && !pending->status.ok()) {
      slots_.RecordFailure(pending->session, pending->slot, pending->sequence, pending->status);
    } else {
      pending->status = index.status();
    }
    return;
  }
  pending->wait_for = *index;
  slots_.RecordProposed(pending->session, pending->slot, pending->sequence, *index);
}

PendingMutation Proposer::Start(const char* name, const wire::MutationContext& request,
                                const EvaluateFunction& evaluate) {
  PendingMutation pending;
  pending.session = SessionId(static_cast<uint64_t>(request.session_id));
  pending.slot = static_cast<uint32_t>(request.slot);
  pending.sequence = static_cast<uint64_t>(request.sequence);
  std::lock_guard lock(mutex_);
  pending.epoch = epoch();
  if (pending.epoch.value() == 0) {
    pending.status = NotActive();
    return pending;
  }
  auto known = slots_.Look(database_.proposed(), pending.session, pending.slot, pending.sequence);
  if (!known.ok()) {
    pending.status = known.status();
    pending.wait_for = database_.newest_proposed();
  } else if (!known->fresh) {
    pending.status = known->failure;
    pending.stored_reply = std::move(known->reply);
    pending.wait_for = known->failure.ok() ? known->index : database_.newest_proposed();
  } else {
    EvaluateFresh(name, evaluate, &pending);
  }
  return pending;
}

Status Proposer::Settle(const PendingMutation& pending, const Status& waited) const {
  RETURN_IF_ERROR(waited);
  // Its own record, or that of the earlier call, is committed.
  if (pending.status.ok()) return Status::Ok();
  // A refusal is an answer from the state like a read's.
  return Serves(pending.epoch) ? pending.status : NotActive();
}

Status Proposer::Propose(Epoch epoch, const char* name,
                         const std::function<Status(OperationContext&)>& evaluate) {
  JournalIndex own_record;
  JournalIndex wait_for;
  Status status;
  {
    std::lock_guard lock(mutex_);
    if (epoch.value() == 0 || this->epoch() != epoch) return NotActive();
    Transaction transaction(database_.proposed());
    std::string summary;
    OperationContext context{transaction, SessionId(), time_.Now(), chooser_, &summary};
    status = evaluate(context);
    if (status.ok()) {
      ASSIGN_OR_RETURN(own_record,
                       Append(epoch, &transaction, summary.empty() ? std::string(name) : summary));
    }
    wait_for = own_record.value() != 0 ? own_record : database_.newest_proposed();
  }
  RETURN_IF_ERROR(WaitApplied(epoch, wait_for));
  return own_record.value() != 0 || Serves(epoch) ? status : NotActive();
}

Status Proposer::EndSession(Epoch epoch, SessionId session) {
  for (bool done = false; !done;) {
    RETURN_IF_ERROR(Propose(epoch, "end session", [&](OperationContext& context) -> Status {
      ASSIGN_OR_RETURN(BatchResult batch,
                       EvaluateExpireSession(context, session, kSlotsPerExpiryBatch));
      slots_.Forget(session);
      done = batch.done;
      return Status::Ok();
    }));
  }
  return Status::Ok();
}

AnswerBasis Proposer::Basis() const { return {epoch(), database_.applied_index()}; }

void Proposer::FillInfo(const AnswerBasis& basis, const Status& status,
                        wire::ReplyInfo* info) const {
  SetInfo(basis.epoch, basis.index, Serves(basis.epoch) ? status : NotActive(), info);
}

void Proposer::SetInfo(Epoch epoch, JournalIndex index, const Status& status,
                       wire::ReplyInfo* info) const {
  info->status.code = static_cast<int32_t>(status.code());
  info->status.message = status.message();
  // The applied state is what is read, and nothing is applied that is not committed.
  info->journal_index = static_cast<int64_t>(index.value());
  info->commit_index = info->journal_index;
  if (status.code() != StatusCode::kNotActive) {
    info->epoch = static_cast<int64_t>(epoch.value());
    return;
  }
  const ConsensusState state = consensus_.state();
  info->epoch = static_cast<int64_t>(state.epoch.value());
  // Its own address is no hint: whoever asks is here already.
  if (!state.active && !state.active_hint.empty()) info->__set_active_hint(state.active_hint);
}

}  // namespace tercet
