// The part of the simulated process that has to do with the state: apply, checkpoints, the role of
// the active, and what happens to a member that is too far behind.
#include <algorithm>
#include <span>
#include <utility>

#include "metaserver/namespace/tables.h"
#include "tests/sim/process.h"

namespace tercet::sim {
namespace {

constexpr uint32_t kSlots = 8;

/// No operation of the simulation places blocks.
class NoServers final : public ReplicaChooser {
 public:
  Result<std::vector<ServerId>> Choose(const PlacementRequest&) override {
    return Status(StatusCode::kUnavailable, "no chunk servers");
  }
};

struct CallRequest {
  wire::MutationContext context;
  Call call;
};

Result<wire::GetXattrResponse> Evaluate(OperationContext& context, const CallRequest& request) {
  wire::GetXattrResponse response;
  ASSIGN_OR_RETURN(response.value, EvaluateCall(context.transaction, request.call));
  return response;
}

/// Clients' sessions, as the first active makes them.
WriteSet Sessions(int count) {
  WriteSet changes;
  changes.summary = "sessions";
  for (int i = 1; i <= count; ++i) {
    SessionRecord record;
    record.client_uuid = std::string(kUuidBytes, static_cast<char>(i));
    changes.entries.push_back({SessionKey(SessionId(static_cast<uint64_t>(i))), record.Encode()});
  }
  return changes;
}

}  // namespace

Status RemoveFolder(Disk& disk, const std::string& path) {
  ASSIGN_OR_RETURN(const bool exists, disk.Exists(path));
  if (!exists) return Status::Ok();
  ASSIGN_OR_RETURN(const std::vector<std::string> names, disk.List(path));
  for (const std::string& name : names) RETURN_IF_ERROR(disk.Remove(path + "/" + name));
  RETURN_IF_ERROR(disk.SyncDirectory(path));
  RETURN_IF_ERROR(disk.Remove(path));
  return disk.SyncDirectory("/");
}

DatabaseOptions Process::StateOptions(const char* folder) const {
  DatabaseOptions options;
  options.path = folder;
  options.disk = &machine_.disk();
  options.block_cache_bytes = 64 << 10;
  options.write_buffer_bytes = 64 << 10;
  options.table_bytes = 1 << 20;
  options.max_open_files = 100;
  return options;
}

Status Process::OpenState() {
  SimDisk& disk = machine_.disk();
  RETURN_IF_ERROR(RemoveFolder(disk, kOldStateFolder));
  ASSIGN_OR_RETURN(bool exists, disk.Exists(kStateFolder));
  const JournalRange range = journal_->range();
  if (!exists) {
    ASSIGN_OR_RETURN(const bool next_exists, disk.Exists(kNextStateFolder));
    if (next_exists) {
      // A fetched one that is whole was about to be put into place.
      Result<std::unique_ptr<Database>> next = Database::Open(StateOptions(kNextStateFolder));
      if (next.ok()) {
        next->reset();
        RETURN_IF_ERROR(disk.Rename(kNextStateFolder, kStateFolder));
        RETURN_IF_ERROR(disk.SyncDirectory("/"));
        exists = true;
      } else if (next.code() != StatusCode::kFailedPrecondition) {
        return next.status();
      }
    } else if (range.first == JournalIndex(1) && state_.base_membership.IsVoter(machine_.id())) {
      exists = true;  // a founder's: it begins empty
    }
  }
  if (!exists) return Status::Ok();
  ASSIGN_OR_RETURN(database_, Database::Open(StateOptions(kStateFolder)));
  const JournalIndex applied = database_->applied_index();
  if (applied > range.durable) {
    return Status(
        StatusCode::kCorruption,
        fmt::format("the state holds record {}, the journal ends with {}", applied, range.durable));
  }
  if (applied.Next() < range.first) {
    // The journal began anew behind what an offer said, the state is yet to be replaced.
    database_.reset();
    RETURN_IF_ERROR(disk.Rename(kStateFolder, kOldStateFolder));
    RETURN_IF_ERROR(disk.SyncDirectory("/"));
    return RemoveFolder(disk, kOldStateFolder);
  }
  if (applied >= database_->consistent_from()) {
    world_.checker.CheckState(machine_.number(), database_->committed(), applied);
  }
  static NoServers no_servers;
  proposer_ = std::make_unique<Proposer>(*this, *database_, no_servers, machine_.clock(), kSlots);
  return Status::Ok();
}

// ---- apply ----

void Process::StartApply() {
  while (database_ != nullptr && !applying_ && end_ == ProcessEnd::kNone &&
         database_->applied_index() < std::min(core_->commit_index(), durable_)) {
    if (world_.scenario.max_apply_delay == 0) {
      ApplyStep();
      continue;
    }
    applying_ = true;
    machine_.Post(world_.Between(0, world_.scenario.max_apply_delay), [](Process& process) {
      process.applying_ = false;
      process.ApplyStep();
    });
  }
  if (database_ == nullptr && end_ == ProcessEnd::kNone) Checkpoint();
}

void Process::ApplyStep() {
  const JournalIndex applied = database_->applied_index();
  const JournalIndex limit = std::min(core_->commit_index(), durable_);
  const JournalIndex to = std::min(
      limit,
      JournalIndex(applied.value() +
                   world_.random.Below(static_cast<uint64_t>(world_.scenario.apply_batch)) + 1));
  if (to <= applied) return;
  const std::vector<CommittedRecord> records = Records(applied.Next(), to);
  if (end_ != ProcessEnd::kNone) return;
  for (const CommittedRecord& record : records) {
    if (record.index > world_.checker.committed() ||
        world_.checker.CommittedEntry(record.index) != LogEntry::Of(record)) {
      world_.checker.Fail(
          fmt::format("machine {} applies record {}, which is not the committed one",
                      machine_.number(), record.index));
      return;
    }
  }
  if (Status status = database_->Apply(records); !status.ok()) {
    Fault(status);
    return;
  }
  core_->Applied(database_->applied_index());
  UpdateLacksState();
  since_checkpoint_ += static_cast<uint32_t>(records.size());
  if (world_.OneIn(24) && database_->applied_index() >= database_->consistent_from()) {
    world_.checker.CheckState(machine_.number(), database_->committed(),
                              database_->applied_index());
  }
  Checkpoint();
}

void Process::Checkpoint() {
  JournalIndex released;
  if (database_ != nullptr) {
    if (since_checkpoint_ < world_.scenario.checkpoint_records) return;
    since_checkpoint_ = 0;
    Result<JournalIndex> synced = database_->SyncApplied();
    if (!synced.ok()) {
      Fault(synced.status());
      return;
    }
    released = synced->Next();
  } else {
    // Of a witness, or with a fetch under way whose snapshot may be older than what is committed.
    if (fetch_ != nullptr) return;
    released = std::min(core_->commit_index(), durable_).Next();
    if (released.value() < core_->first_index().value() + world_.scenario.checkpoint_records) {
      return;
    }
  }
  const uint64_t retained = world_.scenario.retain_records;
  const uint64_t last = core_->last_index().value();
  const JournalIndex kept(last > retained ? last - retained : 1);
  const JournalIndex needed = core_->is_leader() ? core_->needed_from() : JournalIndex(last + 1);
  released = std::min(released, std::max(needed, kept));
  if (Status status = ReleaseBefore(released); !status.ok()) Fault(status);
}

Status Process::ReleaseBefore(JournalIndex index) {
  if (index <= core_->first_index()) return Status::Ok();
  const auto [membership_index, membership] = core_->MembershipAt(JournalIndex(index.value() - 1));
  if (membership_index > state_.base_membership_index) {
    state_.base_membership = membership;
    state_.base_membership_index = membership_index;
    RETURN_IF_ERROR(SaveState());
  }
  RETURN_IF_ERROR(journal_->ReleaseBefore(index));
  const JournalIndex first = journal_->range().first;
  if (first <= core_->first_index()) return Status::Ok();
  SIM_TRACE(world_.trace, "m{} releases its log before record {}", machine_.number(), first);
  machine_.shadow().Released(first);
  core_->LogReleased(first);
  return Status::Ok();
}

// ---- a member that is too far behind ----

void Process::OnOffer(const StateOffer& offer) {
  SIM_TRACE(world_.trace, "m{} is offered the state behind record {}", machine_.number(),
            offer.base_index);
  Result<Epoch> epoch = core_->EpochAt(offer.base_index);
  if (epoch.ok() && *epoch == offer.base_epoch) return;  // it has come up meanwhile
  if (offer.base_index < core_->commit_index()) return;
  ++world_.counts.offers;
  Status status;
  if (database_ != nullptr) {
    // What it has is too old: it starts anew without.
    status = machine_.disk().Rename(kStateFolder, kOldStateFolder);
    if (status.ok()) status = machine_.disk().SyncDirectory("/");
    if (status.ok()) End(ProcessEnd::kRestart, "its state is too old");
  }
  if (status.ok()) {
    status = ResetJournal(offer.base_index, offer.base_epoch, offer.membership, offer.base_index);
  }
  if (!status.ok()) Fault(status);
}

Status Process::ResetJournal(JournalIndex base, Epoch epoch, const Membership& membership,
                             JournalIndex membership_index) {
  if (base <= world_.checker.committed() && world_.checker.CommittedEntry(base).epoch != epoch) {
    world_.checker.Fail(
        fmt::format("machine {} begins behind record {} of epoch {}, which was of "
                    "epoch {}",
                    machine_.number(), base, epoch, world_.checker.CommittedEntry(base).epoch));
  }
  state_.base_membership = membership;
  state_.base_membership_index = membership_index;
  RETURN_IF_ERROR(SaveState());
  machine_.shadow().Resetting(base, epoch);
  Status status = journal_->ResetTo(base, epoch);
  if (status.code() == StatusCode::kNoSpace) {
    RETURN_IF_ERROR(journal_->PrepareSpare());
    status = journal_->ResetTo(base, epoch);
  }
  RETURN_IF_ERROR(status);
  machine_.shadow().Reset();
  tail_.Reset(base.Next());
  durable_ = base;
  noted_commit_ = std::max(noted_commit_, base);
  core_->LogReset(base, epoch, membership, Now());
  return Status::Ok();
}

Status Process::AlignJournal(const StateBase& base) {
  // What is not on the disk yet may not be there at the next start.
  RETURN_IF_ERROR(SyncJournal());
  Result<Epoch> epoch = core_->EpochAt(base.index);
  if (epoch.ok() && *epoch == base.epoch) return Status::Ok();
  // It ends before, or holds records there that were never committed.
  return ResetJournal(base.index, base.epoch, base.membership, base.membership_index);
}

void Process::InstallState(const StateBase& base) {
  fetch_.reset();
  Status status = machine_.disk().Rename(kNextStateFolder, kStateFolder);
  if (status.ok()) status = machine_.disk().SyncDirectory("/");
  if (!status.ok()) {
    Fault(status);
    return;
  }
  SIM_TRACE(world_.trace, "m{} has fetched the state at record {}, whole from {}",
            machine_.number(), base.index, base.consistent_from);
  ++world_.counts.fetches;
  End(ProcessEnd::kRestart, "it has a state now");
}

// ---- the active ----

bool Process::MayServe() const {
  return core_->is_leader() && core_->may_serve() && Now() < core_->lease_until_ns();
}

bool Process::HoldsLease(Epoch epoch) const {
  return epoch.value() != 0 && active_epoch_ == epoch && core_->epoch() == epoch && MayServe();
}

ConsensusState Process::state() const {
  ConsensusState state;
  state.active = active_epoch_.value() != 0 && HoldsLease(active_epoch_);
  state.epoch = core_->epoch();
  state.last_index = core_->last_index();
  state.commit_index = core_->commit_index();
  state.applied_index = database_ != nullptr ? database_->applied_index() : JournalIndex();
  if (core_->leader().value() != 0) {
    state.active_hint = Machine::AddressOf(static_cast<int>(core_->leader().value()));
  }
  return state;
}

Status Process::WaitApplied(JournalIndex) {
  return Status(StatusCode::kInternal, "nobody waits in a simulation");
}

void Process::UpdateRole() {
  const bool leads = core_->is_leader() && core_->epoch() == opened_epoch_;
  if (active_epoch_.value() != 0 && (!leads || core_->epoch() != active_epoch_)) Deactivate();
  if (active_epoch_.value() != 0) MakeSessions();
  if (active_epoch_.value() != 0 || !leads || database_ == nullptr || !core_->may_serve()) return;
  const JournalIndex applied = database_->applied_index();
  if (applied >= epoch_record_ && applied >= database_->consistent_from()) Activate();
}

void Process::Activate() {
  SIM_TRACE(world_.trace, "m{} is active in epoch {}", machine_.number(), core_->epoch());
  world_.trace.Mix(static_cast<uint64_t>(machine_.number()), core_->epoch().value());
  active_epoch_ = core_->epoch();
  if (Status status = proposer_->Activate(active_epoch_); !status.ok()) {
    Fault(status);
    return;
  }
  sessions_made_ = false;
}

// A new group's first active does it, or, when its disk had no room, a later one.
void Process::MakeSessions() {
  if (sessions_made_ || !HoldsLease(active_epoch_)) return;
  Result<bool> open = Tables(database_->committed()).IsSessionOpen(SessionId(1));
  if (!open.ok()) {
    Fault(open.status());
    return;
  }
  sessions_made_ = *open;
  if (sessions_made_) return;
  WriteSet changes = Sessions(world_.scenario.sessions);
  Result<JournalIndex> index = Append(active_epoch_, changes.Encode());
  if (!index.ok()) return;
  database_->AddProposed(*index, changes);
  sessions_made_ = true;
}

void Process::Deactivate() {
  SIM_TRACE(world_.trace, "m{} is not active any more", machine_.number());
  active_epoch_ = Epoch();
  if (proposer_ != nullptr) proposer_->Deactivate();
  for (PendingCall& call : pending_) call.lost = true;
}

// ---- calls ----

void Process::HandleCall(const Call& call, const Reply& reply) {
  if (proposer_ == nullptr) {
    Answer answer;
    answer.status = Status(StatusCode::kNotActive, "no namespace");
    answer.hint = Machine::NumberOf(state().active_hint);
    reply(std::move(answer));
    return;
  }
  if (call.kind == CallKind::kRead) {
    Read(call, reply);
    return;
  }
  CallRequest request;
  request.call = call;
  request.context.session_id = static_cast<int64_t>(call.session);
  request.context.slot = static_cast<int32_t>(call.slot);
  request.context.sequence = static_cast<int64_t>(call.sequence);
  PendingCall pending;
  pending.started =
      proposer_->StartMutation<CallRequest, wire::GetXattrResponse>("call", Evaluate, request);
  pending.reply = reply;
  pending_.push_back(std::move(pending));
  FinishCalls();
}

void Process::FinishCalls() {
  if (pending_.empty() || database_ == nullptr) return;
  const JournalIndex applied = database_->applied_index();
  std::deque<PendingCall> waiting;
  for (PendingCall& call : pending_) {
    const PendingMutation& pending = call.started.pending;
    if (pending.wait_for <= applied) {
      // When leadership was lost the index may be another record's.
      Result<Epoch> held = core_->EpochAt(pending.wait_for);
      const bool own =
          !call.lost || pending.wait_for == JournalIndex() || (held.ok() && *held == pending.epoch);
      Finish(std::move(call),
             own ? Status::Ok() : Status(StatusCode::kNotActive, "another record took its place"));
    } else if (call.lost && world_.OneIn(2)) {
      Finish(std::move(call), Status(StatusCode::kNotActive, "no longer active"));
    } else {
      waiting.push_back(std::move(call));
    }
  }
  pending_ = std::move(waiting);
}

void Process::Finish(PendingCall call, const Status& waited) {
  wire::GetXattrResponse response;
  proposer_->FinishMutation(std::move(call.started), waited, &response);
  const auto code = static_cast<StatusCode>(response.info.status.code);
  Answer answer;
  if (code == StatusCode::kOk) {
    answer = DecodeAnswer(response.value);
  } else {
    answer.status = Status(code, response.info.status.message);
    if (response.info.__isset.active_hint) {
      answer.hint = Machine::NumberOf(response.info.active_hint);
    }
  }
  call.reply(std::move(answer));
}

void Process::Read(const Call& call, const Reply& reply) {
  const AnswerBasis basis = proposer_->Basis();
  Answer answer;
  Status status;
  if (basis.epoch.value() != 0) {
    Result<RowContent> row = ReadRow(database_->committed(), call.row);
    if (row.ok()) {
      answer.version = row->version;
      answer.value = std::move(row->value);
    } else {
      status = row.status();
    }
  }
  // The process may lose the processor, or be stopped, in between.
  if (!world_.OneIn(4)) {
    AnswerRead(basis, status, std::move(answer), reply);
    return;
  }
  machine_.Post(world_.Between(0, 20 * kMillisecond),
                [basis, status, answer, reply](Process& process) {
                  process.AnswerRead(basis, status, answer, reply);
                });
}

void Process::AnswerRead(const AnswerBasis& basis, const Status& status, Answer answer,
                         const Reply& reply) {
  wire::ReplyInfo info;
  proposer_->FillInfo(basis, status, &info);
  answer.status = Status(static_cast<StatusCode>(info.status.code), info.status.message);
  if (info.__isset.active_hint) answer.hint = Machine::NumberOf(info.active_hint);
  reply(std::move(answer));
}

}  // namespace tercet::sim
