#include "tests/sim/process.h"

#include <algorithm>
#include <utility>

#include "metaserver/group/group_wire.h"

namespace tercet::sim {
namespace {

/// Below so much free room a member says that it is short of it.
constexpr uint64_t kMinFreeBytes = 96 << 10;
constexpr uint64_t kTailBytes = 8 << 10;
constexpr uint64_t kCaughtUpRecords = 10;

}  // namespace

Process::Process(Machine& machine)
    : machine_(machine), world_(machine.world()), tail_(kTailBytes) {}

Process::~Process() = default;

Result<std::unique_ptr<Process>> Process::Start(Machine& machine) {
  std::unique_ptr<Process> process(new Process(machine));
  RETURN_IF_ERROR(process->Open());
  RETURN_IF_ERROR(process->MakeCore());
  process->ScheduleTick();
  if (process->state_.kind == MemberKind::kMetaserver && process->database_ == nullptr) {
    ASSIGN_OR_RETURN(process->fetch_, StateFetch::Begin(*process));
    process->fetch_->AskForSnapshot();
  }
  return process;
}

Status Process::Open() {
  SimDisk& disk = machine_.disk();
  ASSIGN_OR_RETURN(state_, LoadMemberState(disk, kMemberFile));
  JournalOptions options;
  options.folder = kJournalFolder;
  options.identity.cluster_id = world_.cluster_id;
  options.segment_bytes = world_.scenario.segment_bytes;
  ASSIGN_OR_RETURN(journal_, Journal::Open(disk, machine_.random(), options));
  if (std::string wrong = machine_.shadow().Recovered(*journal_); !wrong.empty()) {
    return Status(StatusCode::kCorruption, wrong);
  }
  return state_.kind == MemberKind::kMetaserver ? OpenState() : Status::Ok();
}

Status Process::MakeCore() {
  ASSIGN_OR_RETURN(LogSummary summary,
                   journal_->Summary(state_.base_membership, state_.base_membership_index));
  const JournalRange range = journal_->range();
  const JournalIndex applied = database_ != nullptr ? database_->applied_index() : JournalIndex();
  core_ = std::make_unique<RaftCore>(world_.scenario.raft, machine_.id(),
                                     HardState{state_.epoch, state_.voted_for}, std::move(summary),
                                     applied, machine_.random(), Now());
  UpdateLacksState();
  tail_.Reset(range.last.Next());
  durable_ = range.durable;
  noted_commit_ = core_->commit_index();
  return Status::Ok();
}

void Process::UpdateLacksState() {
  core_->SetLacksState(
      state_.kind == MemberKind::kMetaserver &&
      (database_ == nullptr || database_->applied_index() < database_->consistent_from()));
}

void Process::ScheduleTick() {
  const SimTime delay = machine_.clock().TrueTime(world_.scenario.raft.heartbeat_interval_ns / 2);
  machine_.Post(delay, [](Process& process) { process.Tick(); });
}

void Process::Tick() {
  ScheduleTick();
  WatchSpace();
  if (end_ != ProcessEnd::kNone) return;
  core_->Tick(Now());
  PromoteCaughtUp();
}

void Process::End(ProcessEnd end, const std::string& reason) {
  if (end_ != ProcessEnd::kNone) return;
  end_ = end;
  end_reason_ = reason;
}

void Process::Receive(RaftMessage message) { core_->Receive(std::move(message), Now()); }

void Process::LinkReset(MemberId member) { core_->LinkReset(member); }

Status Process::Transfer(MemberId target) { return core_->Transfer(target, Now()); }

void Process::Pump() {
  for (int round = 0; round < 1000 && end_ == ProcessEnd::kNone; ++round) {
    bool moved = false;
    if (RaftEffects effects = core_->TakeEffects(); !effects.empty()) {
      moved = true;
      if (!CarryOut(std::move(effects))) return;
    }
    if (core_->is_leader()) {
      OpenEpoch();
      if (end_ != ProcessEnd::kNone) return;
      moved = SendAppends() || moved;
    }
    NoteCommits();
    StartApply();
    if (end_ != ProcessEnd::kNone) return;
    UpdateRole();
    FinishCalls();
    if (!moved) {
      StartSync();
      FollowKind();
      return;
    }
  }
  if (end_ == ProcessEnd::kNone) world_.checker.Fail("a member never comes to rest");
}

bool Process::CarryOut(RaftEffects effects) {
  if (!effects.fatal.empty()) {
    End(ProcessEnd::kFatal, effects.fatal);
    return false;
  }
  Status status;
  if (effects.hard_state) {
    state_.epoch = effects.hard_state->epoch;
    state_.voted_for = effects.hard_state->voted_for;
    status = SaveState();
  }
  if (status.ok() && effects.truncate_after) status = TruncateAfter(*effects.truncate_after);
  for (const CommittedRecord& record : effects.append) {
    if (!status.ok()) break;
    status = AppendToJournal(record);
    if (status.code() == StatusCode::kNoSpace) {
      short_of_space_ = true;
      core_->AppendRefused(JournalIndex(record.index.value() - 1));
      status = Status::Ok();
      break;
    }
  }
  if (!status.ok()) {
    Fault(status);
    return false;
  }
  for (RaftMessage& message : effects.messages) Send(std::move(message));
  if (effects.state_offer) OnOffer(*effects.state_offer);
  return end_ == ProcessEnd::kNone;
}

Status Process::SaveState() { return SaveMemberState(machine_.disk(), kMemberFile, state_); }

Status Process::TruncateAfter(JournalIndex index) {
  SIM_TRACE(world_.trace, "m{} takes back what is behind record {}", machine_.number(), index);
  if (index < noted_commit_) {
    world_.checker.Fail(
        fmt::format("machine {} takes back committed records behind {}", machine_.number(), index));
  }
  RETURN_IF_ERROR(SyncJournal());
  machine_.shadow().Truncating(index);
  Status status = journal_->TruncateAfter(index);
  if (status.code() == StatusCode::kNoSpace) {
    RETURN_IF_ERROR(journal_->PrepareSpare());
    status = journal_->TruncateAfter(index);
  }
  RETURN_IF_ERROR(status);
  machine_.shadow().Truncated();
  ++world_.counts.truncations;
  if (index.Next() < tail_.first()) {
    tail_.Reset(index.Next());
  } else {
    tail_.TruncateAfter(index);
  }
  durable_ = std::min(durable_, index);
  return Status::Ok();
}

Status Process::AppendToJournal(const CommittedRecord& record) {
  Result<JournalIndex> index = journal_->Append(record.epoch, record.payload, record.kind);
  if (index.code() == StatusCode::kNoSpace) {
    RETURN_IF_ERROR(journal_->PrepareSpare());
    index = journal_->Append(record.epoch, record.payload, record.kind);
  }
  RETURN_IF_ERROR(index.status());
  if (*index != record.index) {
    world_.checker.Fail(fmt::format("machine {}: the core appends record {}, the journal {}",
                                    machine_.number(), record.index, *index));
    return Status(StatusCode::kInternal, "core and journal disagree");
  }
  LogShadow& shadow = machine_.shadow();
  world_.checker.NoteAppended(machine_.number(), record, shadow.EpochAt(shadow.last()));
  shadow.Append(record);
  tail_.Push(record);
  return Status::Ok();
}

Status Process::SyncJournal() {
  RETURN_IF_ERROR(journal_->Sync());
  machine_.shadow().SetDurable(journal_->range().durable);
  tail_.Trim(journal_->range().durable);
  return Status::Ok();
}

void Process::StartSync() {
  const JournalRange range = journal_->range();
  if (syncing_ || range.last <= durable_) return;
  syncing_ = true;
  const Scenario& scenario = world_.scenario;
  SimTime delay = world_.Between(scenario.min_sync, scenario.max_sync);
  if (machine_.slow_sync > 0) delay += world_.Between(0, machine_.slow_sync);
  if (!scenario.early_syncs) {
    machine_.Post(delay, [](Process& process) {
      if (Status status = process.SyncJournal(); !status.ok()) {
        process.Fault(status);
        return;
      }
      const JournalRange synced = process.journal_->range();
      process.OnSynced(synced.durable, synced.last_epoch);
    });
    return;
  }
  if (Status status = SyncJournal(); !status.ok()) {
    Fault(status);
    return;
  }
  machine_.Post(delay, [index = range.last, epoch = range.last_epoch](Process& process) {
    process.OnSynced(index, epoch);
  });
}

void Process::OnSynced(JournalIndex index, Epoch epoch) {
  syncing_ = false;
  const LogEntry* entry = machine_.shadow().Find(index);
  // Unless it was taken back meanwhile.
  if (entry != nullptr && entry->epoch == epoch) durable_ = std::max(durable_, index);
  core_->LogDurable(index, epoch, Now());
}

void Process::OpenEpoch() {
  if (opened_epoch_ == core_->epoch()) return;
  opened_epoch_ = core_->epoch();
  world_.checker.NoteLeader(machine_.number(), core_->epoch(), core_->last_index(),
                            [this](JournalIndex index) { return machine_.shadow().Find(index); });
  world_.on_elected(machine_);
  const CommittedRecord record{core_->last_index().Next(), core_->epoch(),
                               WriteSet{"epoch", {}}.Encode()};
  if (Status status = AppendToJournal(record); !status.ok()) {
    if (status.code() == StatusCode::kNoSpace) {
      opened_epoch_ = Epoch();
      core_->Resign(Now());
    } else {
      Fault(status);
    }
    return;
  }
  epoch_record_ = record.index;
  Result<JournalIndex> index = core_->Propose(RecordKind::kData, nullptr, Now());
  if (!index.ok() || *index != record.index) {
    world_.checker.Fail("the core refuses the first record of its epoch: " +
                        index.status().ToString());
  }
}

Result<JournalIndex> Process::Append(Epoch epoch, std::string payload) {
  if (epoch != active_epoch_ || !core_->is_leader() || core_->epoch() != epoch) {
    return Status(StatusCode::kNotActive, "not the active of that epoch");
  }
  RETURN_IF_ERROR(core_->CanPropose(RecordKind::kData, nullptr));
  if (short_of_space_) return Status(StatusCode::kNoSpace, "the disk is short of room");
  const CommittedRecord record{core_->last_index().Next(), epoch, std::move(payload)};
  if (Status status = AppendToJournal(record); !status.ok()) {
    if (status.code() != StatusCode::kNoSpace) Fault(status);
    return status;
  }
  return core_->Propose(RecordKind::kData, nullptr, Now());
}

Status Process::ProposeMembership(const Membership& membership) {
  RETURN_IF_ERROR(core_->CanPropose(RecordKind::kMembership, &membership));
  if (opened_epoch_ != core_->epoch()) return Status(StatusCode::kBusy, "the epoch is not open");
  if (short_of_space_) return Status(StatusCode::kNoSpace, "the disk is short of room");
  world_.on_elected(machine_);
  const CommittedRecord record{core_->last_index().Next(), core_->epoch(), membership.Encode(),
                               RecordKind::kMembership};
  if (Status status = AppendToJournal(record); !status.ok()) {
    if (status.code() != StatusCode::kNoSpace) Fault(status);
    return status;
  }
  SIM_TRACE(world_.trace, "m{} proposes a membership of {} with {} voters as record {}",
            machine_.number(), membership.members.size(), membership.voter_count(), record.index);
  return core_->Propose(RecordKind::kMembership, &membership, Now()).status();
}

void Process::PromoteCaughtUp() {
  if (!core_->is_leader()) return;
  for (const PeerProgress& peer : core_->progress()) {
    const Member* member = core_->membership().Find(peer.id);
    if (member == nullptr || member->voter || peer.lacks_state || peer.amnesia) continue;
    if (peer.match_index.value() + kCaughtUpRecords < core_->last_index().value()) continue;
    Membership next = core_->membership();
    for (Member& candidate : next.members) {
      if (candidate.id == peer.id) candidate.voter = true;
    }
    if (ProposeMembership(next).ok()) return;
  }
}

bool Process::SendAppends() {
  bool sent = false;
  for (const Member& member : Membership(core_->membership()).members) {
    if (member.id == machine_.id()) continue;
    for (int i = 0; i < 64; ++i) {
      std::optional<AppendPlan> plan = core_->NextAppend(member.id, Now());
      if (!plan) break;
      RaftMessage message{machine_.id(), member.id, plan->epoch, {}};
      AppendRequest request;
      request.previous_index = plan->previous_index;
      request.previous_epoch = plan->previous_epoch;
      request.commit_index = core_->commit_index();
      request.sent_ns = Now();
      request.wall_ns = machine_.clock().WallNanos();
      JournalIndex last = plan->previous_index;
      if (plan->last >= plan->first) {
        const auto limit = static_cast<uint64_t>(world_.scenario.append_batch);
        last = std::min(plan->last, JournalIndex(plan->first.value() + limit - 1));
        request.records = Records(plan->first, last);
        if (end_ != ProcessEnd::kNone) return false;
      }
      message.body = std::move(request);
      core_->AppendSent(member.id, *plan, last, Now());
      Send(std::move(message));
      sent = true;
    }
  }
  return sent;
}

std::vector<CommittedRecord> Process::Records(JournalIndex from, JournalIndex to) {
  std::vector<CommittedRecord> records;
  if (from < tail_.first()) {
    // All that is not in the tail is durable.
    Result<std::vector<CommittedRecord>> read = journal_->ReadRecords(from, 4096);
    if (!read.ok() || read->empty()) {
      Fault(read.ok() ? Status(StatusCode::kIo, "no records") : read.status());
      return {};
    }
    records = std::move(read).value();
    while (!records.empty() && records.back().index > to) records.pop_back();
    if (records.empty() || records.back().index == to) return records;
    std::vector<CommittedRecord> rest = Records(records.back().index.Next(), to);
    std::move(rest.begin(), rest.end(), std::back_inserter(records));
    return records;
  }
  return tail_.Copy(from, to, UINT64_MAX);
}

void Process::NoteCommits() {
  const LogShadow& shadow = machine_.shadow();
  while (noted_commit_ < core_->commit_index()) {
    const JournalIndex index = noted_commit_.Next();
    if (index > shadow.last()) {
      world_.checker.Fail(fmt::format("machine {} commits record {}, but its log ends with {}",
                                      machine_.number(), index, shadow.last()));
      return;
    }
    if (const LogEntry* entry = shadow.Find(index)) {
      world_.checker.NoteCommitted(machine_.number(), core_->epoch(), index, *entry, [&] {
        std::vector<CommittedRecord> records = Records(index, index);
        return records.empty() ? CommittedRecord{} : std::move(records.front());
      });
      if (end_ != ProcessEnd::kNone) return;
    }
    noted_commit_ = index;
  }
}

void Process::Send(RaftMessage message) {
  Machine* target = world_.Find(static_cast<int>(message.to.value()));
  if (target == nullptr) return;
  if (world_.scenario.over_the_wire) {
    Result<RaftMessage> read = FromWire(ToWire(world_.group_id, message));
    if (!read.ok()) {
      world_.checker.Fail("a message does not come through: " + read.status().ToString());
      return;
    }
    message = std::move(read).value();
  }
  // Shared: it may be delivered twice, and wait for a process that is paused.
  auto shared = std::make_shared<const RaftMessage>(std::move(message));
  world_.network.Send(machine_.number(), target->number(), [target, shared] {
    target->Deliver([shared](Process& process) { process.Receive(*shared); });
  });
}

void Process::WatchSpace() {
  bool is_short = false;
  if (!journal_->has_spare()) {
    Status status = journal_->PrepareSpare();
    if (!status.ok() && status.code() != StatusCode::kNoSpace) {
      Fault(status);
      return;
    }
    is_short = !status.ok();
  }
  Result<DiskSpace> space = machine_.disk().Space("/");
  if (!space.ok()) {
    Fault(space.status());
    return;
  }
  is_short = is_short || space->available_bytes < kMinFreeBytes;
  if (is_short == short_of_space_) return;
  SIM_TRACE(world_.trace, "m{} is {} of room", machine_.number(), is_short ? "short" : "not short");
  short_of_space_ = is_short;
  core_->SetShortOfSpace(is_short);
}

// A witness that became a metaserver starts anew as one, when that is sure to be in its log then.
void Process::FollowKind() {
  if (state_.kind == MemberKind::kMetaserver) return;
  if (std::min(core_->commit_index(), durable_) < core_->membership_index()) return;
  const Member* self = core_->membership().Find(machine_.id());
  if (self == nullptr || self->kind != MemberKind::kMetaserver) return;
  state_.kind = MemberKind::kMetaserver;
  if (Status status = SaveState(); !status.ok()) {
    Fault(status);
    return;
  }
  End(ProcessEnd::kRestart, "its kind is another one now");
}

}  // namespace tercet::sim
