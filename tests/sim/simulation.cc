#include "tests/sim/simulation.h"

#include <utility>

#include "tests/sim/process.h"

namespace tercet::sim {

Machine& World::AddMachine(int number) {
  // Rates from 0.9 to 1.12: any two are alike within a quarter.
  const int64_t rate_ppm = scenario.skewed_clocks ? Between(900'000, 1'120'000) : 1'000'000;
  const int64_t wall_offset = scenario.skewed_clocks ? Between(-7200 * kSecond, 7200 * kSecond) : 0;
  auto machine = std::make_unique<Machine>(*this, number, rate_ppm, wall_offset, random.Next());
  return *(machines[number] = std::move(machine));
}

void World::CheckServing(Machine& machine) {
  Process* process = machine.process();
  if (process == nullptr || !process->MayServe()) return;
  for (const auto& [number, other] : machines) {
    if (other.get() == &machine || other->process() == nullptr || !other->process()->MayServe()) {
      continue;
    }
    checker.Fail(fmt::format(
        "lease safety: machine {} in epoch {} and machine {} in epoch {} may "
        "both serve",
        machine.number(), process->core().epoch(), number, other->process()->core().epoch()));
  }
}

Simulation::Simulation(uint64_t seed, Trace::Mode mode) : world_(seed, mode), faults_(world_) {}

Simulation::~Simulation() = default;

void Simulation::Form() {
  Membership membership;
  const std::vector<MemberKind>& kinds = world_.scenario.members;
  for (size_t i = 0; i < kinds.size(); ++i) {
    const int number = static_cast<int>(i) + 1;
    Member member;
    member.id = MemberId(static_cast<uint32_t>(number));
    member.kind = kinds[i];
    member.voter = true;
    member.address = Machine::AddressOf(number);
    membership.members.push_back(member);
  }
  membership.next_id = MemberId(static_cast<uint32_t>(kinds.size() + 1));
  for (const Member& member : membership.members) {
    Machine& machine = world_.AddMachine(static_cast<int>(member.id.value()));
    machine.Form(membership, member.kind);
    machine.StartLater(world_.Between(0, 50 * kMillisecond));
  }
  for (int i = 1; i <= world_.scenario.sessions; ++i) {
    clients_.push_back(std::make_unique<Client>(world_, static_cast<uint64_t>(i), &history_));
    clients_.back()->Begin();
  }
}

Outcome Simulation::Run() {
  SIM_TRACE(world_.trace, "{}", world_.scenario.Describe());
  Form();
  faults_.Begin();
  const SimTime deadline = world_.scenario.fault_end + kMaxRecovery;
  uint64_t events = 0;
  bool at_rest = false;
  bool ending = false;
  while (world_.checker.failure().empty() && !at_rest) {
    if (!world_.queue.RunNext(deadline)) {
      world_.checker.Fail("liveness: " + WhyNotAtRest());
      break;
    }
    if (++events > kMaxEvents) world_.checker.Fail("it never ends: " + WhyNotAtRest());
    if (world_.calm && !ending) {
      ending = true;
      for (auto& client : clients_) client->EndLoad();
    }
    at_rest = ending && events % 16 == 0 && AtRest();
  }
  if (world_.checker.failure().empty()) FinalChecks();
  Outcome outcome;
  outcome.failure = world_.checker.failure();
  outcome.hash = world_.trace.hash();
  outcome.scenario = world_.scenario.Describe();
  outcome.last_lines.assign(world_.trace.lines().begin(), world_.trace.lines().end());
  outcome.calls = history_.size();
  outcome.records = world_.checker.committed().value();
  outcome.leaders = world_.checker.leaders();
  outcome.counts = world_.counts;
  outcome.counts.memberships = world_.checker.memberships();
  outcome.time = world_.queue.now();
  outcome.recovery = world_.queue.now() - world_.scenario.fault_end;
  return outcome;
}

bool Simulation::AtRest() const { return WhyNotAtRest().empty(); }

std::string Simulation::WhyNotAtRest() const {
  for (const auto& client : clients_) {
    if (!client->Finished()) return "a client's call is not answered";
  }
  Process* leader = nullptr;
  for (const auto& [number, machine] : world_.machines) {
    Process* process = machine->process();
    if (process != nullptr && process->active() && process->HoldsLease(process->core().epoch())) {
      leader = process;
    }
  }
  if (leader == nullptr) return "nobody is active";
  const JournalIndex last = leader->core().last_index();
  if (leader->core().commit_index() != last) return "the active's records are not all committed";
  for (const Member& member : leader->core().membership().members) {
    auto it = world_.machines.find(static_cast<int>(member.id.value()));
    Process* process = it == world_.machines.end() ? nullptr : it->second->process();
    if (process == nullptr) return fmt::format("member {} does not run", member.id);
    if (process->durable() != last) {
      return fmt::format("member {} has records up to {} instead of {}", member.id,
                         process->durable(), last);
    }
    if (member.kind == MemberKind::kWitness) continue;
    if (process->database() == nullptr) return fmt::format("member {} has no state", member.id);
    if (process->database()->applied_index() != last) {
      return fmt::format("member {} has not applied all", member.id);
    }
    if (!member.voter) return fmt::format("member {} has caught up but does not vote", member.id);
  }
  return {};
}

void Simulation::FinalChecks() {
  for (const auto& [number, machine] : world_.machines) {
    Process* process = machine->process();
    if (process == nullptr || process->database() == nullptr) continue;
    Database& database = *process->database();
    if (database.applied_index() < database.consistent_from()) continue;
    world_.checker.CheckState(number, database.committed(), database.applied_index());
  }
  const std::string wrong =
      CheckHistory(history_, static_cast<uint32_t>(world_.scenario.registers));
  if (!wrong.empty()) world_.checker.Fail("linearizability: " + wrong);
}

}  // namespace tercet::sim
