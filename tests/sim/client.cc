#include "tests/sim/client.h"

#include <cstdlib>
#include <utility>

#include "tests/sim/process.h"

namespace tercet::sim {
namespace {

// Each append writes the list anew, and it must fit into a record.
constexpr uint64_t kMaxListLength = 200;

}  // namespace

Client::Client(World& world, uint64_t session, std::vector<HistoryEntry>* history)
    : world_(world),
      session_(session),
      history_(*history),
      slots_(static_cast<size_t>(world.scenario.slots)) {
  for (Slot& slot : slots_) {
    slot.seen_versions.resize(static_cast<size_t>(world.scenario.registers + world.scenario.lists));
  }
}

void Client::Begin() {
  for (size_t slot = 0; slot < slots_.size(); ++slot) Think(slot);
}

bool Client::Finished() const {
  for (const Slot& slot : slots_) {
    if (!slot.finished) return false;
  }
  return true;
}

void Client::Think(size_t slot) {
  world_.queue.After(world_.Between(0, 2 * world_.scenario.think_time),
                     [this, slot] { StartCall(slot); });
}

Call Client::MakeCall(size_t index) {
  Slot& slot = slots_[index];
  Call call;
  call.session = session_;
  call.slot = static_cast<uint32_t>(index);
  const auto registers = static_cast<uint32_t>(world_.scenario.registers);
  call.row = static_cast<uint32_t>(world_.random.Below(slot.seen_versions.size()));
  const bool full = call.row >= registers && slot.seen_versions[call.row] >= kMaxListLength;
  if (full || (!ending_ && world_.random.Below(100) < world_.scenario.read_percent)) return call;
  call.sequence = ++slot.sequence;
  call.value = fmt::format("{:02}{:06}", session_, next_value_++);
  if (call.row >= registers) {
    call.kind = CallKind::kAppend;
    return call;
  }
  call.value += std::string(static_cast<size_t>(world_.scenario.value_bytes), '.');
  call.kind = static_cast<CallKind>(1 + world_.random.Below(3));
  call.expected_version = slot.seen_versions[call.row];
  return call;
}

void Client::StartCall(size_t index) {
  Slot& slot = slots_[index];
  if (slot.finished) return;
  slot.last = ending_;
  slot.entry = history_.size();
  HistoryEntry entry;
  entry.call = MakeCall(index);
  entry.began = world_.queue.now();
  history_.push_back(std::move(entry));
  slot.give_up_at = world_.queue.now() + world_.Between(2 * kSecond, 8 * kSecond);
  Attempt(index);
}

int Client::AnyMachine() {
  std::vector<int> numbers;
  for (const auto& [number, machine] : world_.machines) {
    if (!machine->retired()) numbers.push_back(number);
  }
  return numbers.empty() ? 1 : numbers[world_.random.Below(numbers.size())];
}

SimTime Client::Patience() const { return world_.scenario.call_timeout; }

void Client::Attempt(size_t index) {
  Slot& slot = slots_[index];
  const uint64_t ticket = ++slot.ticket;
  int number = target_;
  if (number == 0 || world_.random.Below(100) < world_.scenario.stray_percent) {
    number = AnyMachine();
  }
  Machine* machine = world_.Find(number);
  world_.network.Send(
      place(), number, [this, index, ticket, machine, call = history_[slot.entry].call] {
        machine->Deliver([this, index, ticket, machine, call](Process& process) {
          process.HandleCall(call, [this, index, ticket,
                                    number = machine->number()](Answer answer) {
            world_.network.Send(number, place(), [this, index, ticket, answer = std::move(answer)] {
              OnAnswer(index, ticket, answer);
            });
          });
        });
      });
  world_.queue.After(Patience(), [this, index, ticket] {
    if (slots_[index].ticket != ticket) return;
    target_ = 0;
    if (world_.queue.now() < slots_[index].give_up_at || slots_[index].last) {
      Attempt(index);
      return;
    }
    // Its outcome stays unknown; whatever is under way of it is overtaken by the next one.
    ++slots_[index].ticket;
    Think(index);
  });
}

void Client::OnAnswer(size_t index, uint64_t ticket, const Answer& answer) {
  Slot& slot = slots_[index];
  if (slot.ticket != ticket) return;
  const StatusCode code = answer.status.code();
  if (code == StatusCode::kOk || code == StatusCode::kExists) {
    Settle(index, answer);
    return;
  }
  const bool elsewhere = code == StatusCode::kNotActive || code == StatusCode::kUnavailable;
  // kStaleHandle: before the first active has made the sessions.
  if (!elsewhere && code != StatusCode::kNoSpace && code != StatusCode::kStaleHandle &&
      code != StatusCode::kBusy) {
    world_.checker.Fail(fmt::format("session {} slot {} sequence {} is answered with {}", session_,
                                    index, history_[slot.entry].call.sequence, answer.status));
    return;
  }
  if (elsewhere) target_ = answer.hint > 0 && world_.Find(answer.hint) ? answer.hint : 0;
  ++slot.ticket;
  world_.queue.After(world_.Between(5 * kMillisecond, 50 * kMillisecond),
                     [this, index, expected = slot.ticket] {
                       if (slots_[index].ticket == expected) Attempt(index);
                     });
}

void Client::Settle(size_t index, const Answer& answer) {
  Slot& slot = slots_[index];
  ++slot.ticket;
  HistoryEntry& entry = history_[slot.entry];
  entry.answered = world_.queue.now();
  entry.done = answer.status.ok() && answer.done;
  entry.version = answer.status.ok() ? answer.version
                                     : std::strtoull(answer.status.message().c_str(), nullptr, 10);
  entry.value = answer.value;
  slot.seen_versions[entry.call.row] = entry.version;
  world_.trace.Mix(session_ << 8 | index, entry.version);
  SIM_TRACE(world_.trace, "session {} slot {} sequence {} row {}: version {}{}", session_, index,
            entry.call.sequence, entry.call.row, entry.version, entry.done ? "" : ", not applied");
  if (slot.last) {
    slot.finished = true;
  } else {
    Think(index);
  }
}

}  // namespace tercet::sim
