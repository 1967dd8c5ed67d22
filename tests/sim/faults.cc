#include "tests/sim/faults.h"

#include <algorithm>

#include "tests/sim/process.h"

namespace tercet::sim {

void Faults::Begin() {
  world_.on_elected = [this](Machine& machine) { OnElected(machine); };
  world_.queue.At(world_.scenario.fault_end, [this] { MendAll(); });
  if (!world_.scenario.faults.empty()) Next();
}

void Faults::Next() {
  const SimTime mean = world_.scenario.fault_interval;
  world_.queue.After(world_.Between(mean / 4, mean * 7 / 4), [this] {
    if (world_.calm) return;
    const auto& faults = world_.scenario.faults;
    Happen(faults[world_.random.Below(faults.size())]);
    RetireRemoved();
    Next();
  });
}

void Faults::For(SimTime min, SimTime max, std::function<void()> undo) {
  const uint64_t id = next_undo_++;
  undos_.emplace(id, std::move(undo));
  // Short ones are more frequent.
  const SimTime time =
      world_.OneIn(3) ? world_.Between(min, max) : world_.Between(min, (min + max) / 4);
  world_.queue.After(time, [this, id] {
    auto it = undos_.find(id);
    if (it == undos_.end()) return;
    const std::function<void()> action = std::move(it->second);
    undos_.erase(it);
    action();
  });
}

void Faults::MendAll() {
  SIM_TRACE(world_.trace, "no more faults");
  world_.calm = true;
  world_.network.MakeGood();
  while (!undos_.empty()) {
    const std::function<void()> action = std::move(undos_.begin()->second);
    undos_.erase(undos_.begin());
    action();
  }
  for (Machine* machine : Machines()) {
    machine->disk().FailSync(0);
    machine->disk().FailWrite(0);
    if (machine->process() == nullptr) machine->StartLater(0);
  }
  RetireRemoved();
}

std::vector<Machine*> Faults::Machines() {
  std::vector<Machine*> machines;
  for (const auto& [number, machine] : world_.machines) {
    if (!machine->retired()) machines.push_back(machine.get());
  }
  return machines;
}

Machine* Faults::AnyMachine() {
  const std::vector<Machine*> machines = Machines();
  return machines.empty() ? nullptr : machines[world_.random.Below(machines.size())];
}

Machine* Faults::Leader() {
  Machine* leader = nullptr;
  for (Machine* machine : Machines()) {
    Process* process = machine->process();
    if (process == nullptr || machine->paused() || !process->core().is_leader()) continue;
    if (leader == nullptr || process->core().epoch() > leader->process()->core().epoch()) {
      leader = machine;
    }
  }
  return leader;
}

void Faults::Happen(Fault fault) {
  Machine* any = AnyMachine();
  if (any == nullptr) return;
  // What happens to a leader is more interesting.
  if (Machine* leader = Leader(); leader != nullptr && world_.OneIn(2)) any = leader;
  SIM_TRACE(world_.trace, "fault: {}", FaultName(fault));
  ++world_.counts.faults;
  world_.trace.Mix(static_cast<uint64_t>(fault), static_cast<uint64_t>(any->number()));
  switch (fault) {
    case Fault::kKill:
      StopProcess(*any);
      break;
    case Fault::kPowerCut:
      CutPower(*any);
      break;
    case Fault::kPowerCutInWork:
      any->disk().CutPowerAfter(world_.random.Below(12));
      break;
    case Fault::kPowerCutAll:
      for (Machine* machine : Machines()) CutPower(*machine);
      break;
    case Fault::kPause:
      Pause(*any);
      break;
    case Fault::kPartition:
      Partition();
      break;
    case Fault::kOneWayCut:
      if (Machine* other = AnyMachine(); other != any) CutLink(any->number(), other->number());
      break;
    case Fault::kIsolateLeader:
      Isolate(*any);
      break;
    case Fault::kLinkReset:
      ResetLink();
      break;
    case Fault::kSlowDisk:
      any->slow_sync = world_.Between(kMillisecond, 600 * kMillisecond);
      For(100 * kMillisecond, 2 * kSecond, [any] { any->slow_sync = 0; });
      break;
    case Fault::kFailedSync:
      any->disk().FailSync(1 + world_.random.Below(4));
      break;
    case Fault::kFailedWrite:
      any->disk().FailWrite(1 + world_.random.Below(4));
      break;
    case Fault::kFullDisk:
      FillDisk(*any);
      break;
    case Fault::kClockJump:
      any->clock().JumpWall(world_.Between(-3600 * kSecond, 3600 * kSecond));
      break;
    case Fault::kBadNetwork:
      world_.network.SetBad(true);
      For(100 * kMillisecond, 2 * kSecond, [this] { world_.network.SetBad(false); });
      break;
    case Fault::kTransfer:
      Transfer();
      break;
    case Fault::kAddMember:
    case Fault::kRemoveMember:
      ChangeMembers(fault);
      break;
    case Fault::kPromoteWitness:
      PromoteWitness();
      break;
    case Fault::kDeleteState:
      DeleteState(*any);
      break;
    case Fault::kShortReigns:
      if (world_.short_reigns) break;
      world_.short_reigns = true;
      For(kSecond, 4 * kSecond, [this] { world_.short_reigns = false; });
      break;
    case Fault::kCount:
      break;
  }
}

void Faults::StopProcess(Machine& machine) {
  machine.Kill();
  // Often it is back before anybody noticed.
  For(kMillisecond, world_.OneIn(2) ? 100 * kMillisecond : 2 * kSecond,
      [&machine] { machine.StartLater(0); });
}

void Faults::CutPower(Machine& machine) {
  machine.CutPower();
  For(10 * kMillisecond, 2 * kSecond, [&machine] { machine.StartLater(0); });
}

void Faults::Pause(Machine& machine) {
  machine.Pause();
  For(10 * kMillisecond, 3 * kSecond, [&machine] { machine.Resume(); });
}

void Faults::CutLink(Place from, Place to) {
  world_.network.Cut(from, to);
  For(50 * kMillisecond, 3 * kSecond, [this, from, to] { world_.network.Mend(from, to); });
}

void Faults::Partition() {
  std::vector<Place> places;
  for (Machine* machine : Machines()) places.push_back(machine->number());
  for (int i = 1; i <= world_.scenario.sessions; ++i) places.push_back(kFirstClient + i);
  std::vector<Place> left;
  std::vector<Place> right;
  for (Place place : places) (world_.OneIn(2) ? left : right).push_back(place);
  for (Place a : left) {
    for (Place b : right) {
      world_.network.Cut(a, b);
      world_.network.Cut(b, a);
    }
  }
  For(50 * kMillisecond, 3 * kSecond, [this, left, right] {
    for (Place a : left) {
      for (Place b : right) {
        world_.network.Mend(a, b);
        world_.network.Mend(b, a);
      }
    }
  });
}

void Faults::Isolate(Machine& machine) {
  const uint64_t directions = world_.random.Below(3);  // both, out, in
  for (Machine* other : Machines()) {
    if (other == &machine) continue;
    if (directions != 2) world_.network.Cut(machine.number(), other->number());
    if (directions != 1) world_.network.Cut(other->number(), machine.number());
  }
  const std::vector<Machine*> others = Machines();
  For(50 * kMillisecond, 3 * kSecond, [this, &machine, others, directions] {
    for (Machine* other : others) {
      if (other == &machine) continue;
      if (directions != 2) world_.network.Mend(machine.number(), other->number());
      if (directions != 1) world_.network.Mend(other->number(), machine.number());
    }
  });
}

void Faults::ResetLink() {
  Machine* a = AnyMachine();
  Machine* b = AnyMachine();
  if (a == b) return;
  world_.network.Reset(a->number(), b->number());
  a->Deliver([b](Process& process) { process.LinkReset(b->id()); });
  b->Deliver([a](Process& process) { process.LinkReset(a->id()); });
}

void Faults::FillDisk(Machine& machine) {
  Result<DiskSpace> space = machine.disk().Space("/");
  if (!space.ok()) return;
  const uint64_t used = space->total_bytes - space->available_bytes;
  machine.disk().SetCapacity(used + world_.random.Below(64 << 10));
  For(100 * kMillisecond, 2 * kSecond, [&machine] { machine.disk().SetCapacity(UINT64_MAX); });
}

void Faults::Transfer() {
  Machine* leader = Leader();
  if (leader == nullptr) return;
  const MemberId target = world_.OneIn(2) ? MemberId() : AnyMachine()->id();
  leader->Deliver([target](Process& process) { (void)process.Transfer(target); });
}

// Several in a row, of which the core is to refuse all but the first, and others beside a
// partition: what two majorities have in common is put to the test.
void Faults::ChangeMembers(Fault fault) {
  if (world_.OneIn(4)) Partition();
  const uint64_t times = world_.OneIn(2) ? 1 : 1 + world_.random.Below(3);
  for (uint64_t i = 0; i < times; ++i) {
    if (fault == Fault::kAddMember) {
      AddMember();
    } else {
      RemoveMember();
    }
  }
  if (world_.OneIn(4)) {
    world_.queue.After(world_.Between(0, 8 * kMillisecond), [this] {
      if (!world_.calm) Partition();
    });
  }
}

void Faults::AddMember() {
  Machine* leader = Leader();
  if (leader == nullptr) return;
  leader->Deliver([this](Process& process) {
    Membership next = process.core().membership();
    if (next.members.size() >= 7) return;
    Member member;
    member.id = next.next_id;
    const int number = static_cast<int>(member.id.value());
    Machine* machine = world_.Find(number);
    // One that was to join when the record of it was lost is there already.
    member.kind = machine != nullptr && machine->process() != nullptr
                      ? machine->process()->member_state().kind
                      : (world_.OneIn(3) ? MemberKind::kWitness : MemberKind::kMetaserver);
    if (machine != nullptr && (machine->retired() || machine->process() == nullptr)) return;
    member.address = Machine::AddressOf(number);
    next.members.push_back(member);
    next.next_id = member.id.Next();
    if (machine == nullptr) {
      machine = &world_.AddMachine(number);
      machine->Form(Membership(), member.kind);
      machine->StartLater(world_.Between(0, 100 * kMillisecond));
    }
    (void)process.ProposeMembership(next);
  });
}

// Somebody of the members but `without` has all that is known to be committed.
bool Faults::KeepsState(const Membership& membership, const Machine* without) {
  for (const Member& member : membership.members) {
    Machine* machine = world_.Find(static_cast<int>(member.id.value()));
    if (!member.voter || machine == nullptr || machine == without) continue;
    Process* process = machine->process();
    if (process != nullptr && process->database() != nullptr &&
        process->database()->applied_index() == world_.checker.committed()) {
      return true;
    }
  }
  return false;
}

void Faults::RemoveMember() {
  Machine* leader = Leader();
  if (leader == nullptr) return;
  leader->Deliver([this](Process& process) {
    Membership next = process.core().membership();
    if (next.members.size() < 2) return;
    const size_t at = world_.random.Below(next.members.size());
    if (next.members[at].id == process.core().self()) {
      (void)process.Transfer(MemberId());
      return;
    }
    next.members.erase(next.members.begin() + static_cast<ptrdiff_t>(at));
    if (KeepsState(next, nullptr)) (void)process.ProposeMembership(next);
  });
}

void Faults::PromoteWitness() {
  Machine* leader = Leader();
  if (leader == nullptr) return;
  leader->Deliver([](Process& process) {
    Membership next = process.core().membership();
    for (Member& member : next.members) {
      if (member.kind != MemberKind::kWitness) continue;
      member.kind = MemberKind::kMetaserver;
      (void)process.ProposeMembership(next);
      return;
    }
  });
}

// Somebody throws a standby's namespace away: it has to fetch it. Not when it may be the last one.
void Faults::DeleteState(Machine& machine) {
  Process* process = machine.process();
  if (process == nullptr || process->database() == nullptr || process->active()) return;
  Machine* leader = Leader();
  if (leader == nullptr || !KeepsState(leader->process()->core().membership(), &machine)) return;
  machine.Kill();
  Status status = machine.disk().Rename(Process::kStateFolder, Process::kOldStateFolder);
  if (status.ok()) status = machine.disk().SyncDirectory("/");
  SIM_TRACE(world_.trace, "m{} loses its state: {}", machine.number(), status);
  For(kMillisecond, 300 * kMillisecond, [&machine] { machine.StartLater(0); });
}

void Faults::OnElected(Machine& machine) {
  if (world_.calm) return;
  // Changes of the members are most delicate at once after an election.
  for (Fault fault : world_.scenario.faults) {
    const bool changes = fault == Fault::kAddMember || fault == Fault::kRemoveMember;
    if (!changes || !world_.OneIn(2)) continue;
    world_.queue.After(world_.Between(0, 8 * kMillisecond), [this, fault] {
      if (!world_.calm) Happen(fault);
    });
  }
  if (!world_.short_reigns) return;
  const SimTime reign =
      world_.OneIn(2) ? world_.Between(0, 10 * kMillisecond) : world_.Between(0, 60 * kMillisecond);
  world_.queue.After(reign, [this, &machine] {
    if (world_.calm || machine.retired() || machine.process() == nullptr) return;
    switch (world_.random.Below(4)) {
      case 0:
        Isolate(machine);
        break;
      case 1:
        CutPower(machine);
        break;
      default:
        StopProcess(machine);
        break;
    }
  });
}

void Faults::RetireRemoved() {
  // What the newest leader has committed counts.
  Machine* leader = Leader();
  if (leader == nullptr) return;
  const RaftCore& core = leader->process()->core();
  if (core.commit_index() < core.membership_index() ||
      core.commit_index() < world_.checker.committed()) {
    return;
  }
  const Membership& membership = core.membership();
  for (Machine* machine : Machines()) {
    // One that is yet to be added keeps its number.
    if (machine->id() >= membership.next_id || membership.Find(machine->id()) != nullptr) continue;
    if (world_.OneIn(2) || world_.calm) machine->Retire();
  }
}

}  // namespace tercet::sim
