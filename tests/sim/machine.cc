#include "tests/sim/machine.h"

#include <cstdlib>
#include <utility>

#include "metaserver/journal/member_state.h"
#include "tests/sim/process.h"
#include "tests/sim/world.h"

namespace tercet::sim {

Machine::Machine(World& world, int number, int64_t rate_ppm, int64_t wall_offset_ns, uint64_t seed)
    : world_(world),
      number_(number),
      clock_(world.queue, rate_ppm, wall_offset_ns),
      random_(seed) {}

Machine::~Machine() {
  disk_.KillProcess();
  process_.reset();
}

int Machine::NumberOf(const std::string& address) {
  return address.starts_with("m:") ? std::atoi(address.c_str() + 2) : -1;
}

void Machine::Form(const Membership& membership, MemberKind kind) {
  MemberState state;
  state.group_id = world_.group_id;
  state.self = id();
  state.kind = kind;
  state.base_membership = membership;
  Status status = SaveMemberState(disk_, Process::kMemberFile, state);
  if (!status.ok()) world_.checker.Fail("a new member's file cannot be written");
}

void Machine::Start() {
  if (process_ != nullptr || retired_) return;
  ++incarnation_;
  Result<std::unique_ptr<Process>> process = Process::Start(*this);
  if (process.ok()) {
    failed_starts_ = 0;
    ++world_.counts.starts;
    process_ = std::move(process).value();
    SIM_TRACE(world_.trace, "m{} starts: log {} to {}, applied {}, epoch {}", number_,
              process_->core().first_index(), process_->core().last_index(),
              process_->database()
                  ? static_cast<int64_t>(process_->database()->applied_index().value())
                  : -1,
              process_->core().epoch());
    Run([](Process&) {});
    return;
  }
  SIM_TRACE(world_.trace, "m{} cannot start: {}", number_, process.status());
  const bool power = disk_.power_is_cut();
  if (process.code() != StatusCode::kIo && process.code() != StatusCode::kNoSpace) {
    world_.checker.Fail(fmt::format("machine {} cannot start: {}", number_, process.status()));
    return;
  }
  if (++failed_starts_ > 200) {
    world_.checker.Fail(fmt::format("machine {} never starts: {}", number_, process.status()));
    return;
  }
  if (power) {
    CutPower();
  } else {
    disk_.KillProcess();
  }
  StartLater(20 * kMillisecond);
}

void Machine::StartLater(SimTime delay) {
  const uint64_t ticket = ++start_ticket_;
  world_.queue.After(delay, [this, ticket] {
    if (ticket == start_ticket_) Start();
  });
}

void Machine::EndProcess() {
  ++incarnation_;
  backlog_.clear();
  process_.reset();
}

void Machine::Kill() {
  SIM_TRACE(world_.trace, "m{} is killed", number_);
  disk_.KillProcess();
  EndProcess();
}

void Machine::CutPower() {
  SIM_TRACE(world_.trace, "m{} loses power", number_);
  disk_.KillProcess();
  EndProcess();
  disk_.Crash(random_);
  ++world_.counts.power_cuts;
  clock_.Reboot();
}

void Machine::Retire() {
  SIM_TRACE(world_.trace, "m{} is powered off for good", number_);
  disk_.KillProcess();
  EndProcess();
  retired_ = true;
}

void Machine::Pause() {
  if (pauses_++ == 0) SIM_TRACE(world_.trace, "m{} is paused", number_);
}

void Machine::Resume() {
  if (--pauses_ > 0) return;
  SIM_TRACE(world_.trace, "m{} goes on, {} events late", number_, backlog_.size());
  while (!backlog_.empty() && process_ != nullptr) {
    std::function<void(Process&)> action = std::move(backlog_.front());
    backlog_.pop_front();
    Run(action);
  }
}

void Machine::Post(SimTime delay, std::function<void(Process&)> action) {
  world_.queue.After(delay, [this, incarnation = incarnation_, action = std::move(action)] {
    if (incarnation != incarnation_ || process_ == nullptr) return;
    if (pauses_ > 0) {
      backlog_.push_back(action);
      return;
    }
    Run(action);
  });
}

void Machine::Deliver(std::function<void(Process&)> action) {
  if (process_ == nullptr) return;
  if (pauses_ > 0) {
    backlog_.push_back(std::move(action));
    return;
  }
  Run(action);
}

void Machine::Run(const std::function<void(Process&)>& action) {
  if (process_->end() == ProcessEnd::kNone) action(*process_);
  if (process_->end() == ProcessEnd::kNone) process_->Pump();
  const ProcessEnd end = process_->end();
  if (end == ProcessEnd::kNone) {
    world_.CheckServing(*this);
    return;
  }
  SIM_TRACE(world_.trace, "m{} ends: {}", number_, process_->end_reason());
  if (end == ProcessEnd::kFatal) {
    world_.checker.Fail(
        fmt::format("machine {} must not go on: {}", number_, process_->end_reason()));
    return;
  }
  if (disk_.power_is_cut()) {
    CutPower();
  } else {
    disk_.KillProcess();
    EndProcess();
  }
  StartLater(end == ProcessEnd::kRestart ? kMillisecond
                                         : world_.Between(kMillisecond, 300 * kMillisecond));
}

}  // namespace tercet::sim
