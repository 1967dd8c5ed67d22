#include "tests/sim/scenario.h"

#include <fmt/format.h>

#include <array>

#include "common/env/random.h"

namespace tercet::sim {
namespace {

constexpr MemberKind kMeta = MemberKind::kMetaserver;
constexpr MemberKind kWitness = MemberKind::kWitness;

std::vector<MemberKind> PickMembers(Random& random) {
  switch (random.Below(18)) {
    case 0:
      return {kMeta};
    case 1:
      return {kMeta, kMeta};
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
      return {kMeta, kMeta, kWitness};
    case 7:
    case 8:
    case 9:
    case 10:
      return {kMeta, kMeta, kMeta};
    case 11:
    case 12:
      return {kMeta, kMeta, kMeta, kMeta};
    case 13:
      return {kMeta, kMeta, kWitness, kWitness};
    case 14:
    case 15:
      return {kMeta, kMeta, kMeta, kWitness, kWitness};
    default:
      return {kMeta, kMeta, kMeta, kMeta, kMeta};
  }
}

SimTime Between(Random& random, SimTime low, SimTime high) {
  return low + static_cast<SimTime>(random.Below(static_cast<uint64_t>(high - low + 1)));
}

void PickNetwork(Random& random, Scenario* scenario) {
  scenario->min_delay = Between(random, kMillisecond / 20, kMillisecond);
  scenario->max_delay = scenario->min_delay + Between(random, 0, 5 * kMillisecond);
  if (random.Below(12) == 0) {
    // As slow as elections are: these are contested, and votes come late.
    scenario->min_delay = Between(random, 0, 30 * kMillisecond);
    scenario->max_delay = Between(random, 80 * kMillisecond, 500 * kMillisecond);
  }
  if (random.Below(3) == 0) {
    scenario->tail_permille = static_cast<uint32_t>(1 + random.Below(50));
    scenario->tail_delay = Between(random, 10 * kMillisecond, 1500 * kMillisecond);
  }
  if (random.Below(3) == 0) scenario->loss_permille = static_cast<uint32_t>(random.Below(100));
  if (random.Below(3) == 0) scenario->duplicate_permille = static_cast<uint32_t>(random.Below(100));
  scenario->in_order = random.Below(2) == 0;
  scenario->over_the_wire = random.Below(8) == 0;
}

void PickDisk(Random& random, Scenario* scenario) {
  scenario->min_sync = Between(random, kMillisecond / 20, kMillisecond);
  scenario->max_sync = scenario->min_sync + Between(random, 0, 10 * kMillisecond);
  scenario->segment_bytes = 16 << 10;
  scenario->early_syncs = random.Below(2) == 0;
  scenario->max_apply_delay = random.Below(2) == 0 ? 0 : Between(random, 1, 30 * kMillisecond);
  scenario->apply_batch = static_cast<int>(1 + random.Below(32));
  scenario->append_batch = random.Below(3) == 0 ? 1 : static_cast<int>(1 + random.Below(16));
  scenario->checkpoint_records = static_cast<uint32_t>(5 + random.Below(60));
  scenario->retain_records = random.Below(2) == 0 ? random.Below(20) : 20 + random.Below(400);
}

void PickLoad(Random& random, Scenario* scenario) {
  scenario->sessions = static_cast<int>(1 + random.Below(4));
  scenario->slots = static_cast<int>(1 + random.Below(3));
  scenario->registers = static_cast<int>(1 + random.Below(3));
  scenario->lists = static_cast<int>(random.Below(2));
  scenario->value_bytes = static_cast<int>(random.Below(300));
  scenario->think_time = Between(random, kMillisecond, 60 * kMillisecond);
  scenario->call_timeout = Between(random, 100 * kMillisecond, 900 * kMillisecond);
  scenario->read_percent = static_cast<uint32_t>(random.Below(70));
  scenario->stray_percent = static_cast<uint32_t>(random.Below(25));
}

void PickFaults(Random& random, Scenario* scenario) {
  constexpr uint64_t kKinds = static_cast<uint64_t>(Fault::kCount);
  // One seed in a dozen runs without any.
  if (random.Below(12) != 0) {
    const uint64_t wanted = random.Below(3) == 0 ? 5 + random.Below(8) : 1 + random.Below(6);
    for (uint64_t i = 0; i < wanted; ++i) {
      scenario->faults.push_back(static_cast<Fault>(random.Below(kKinds)));
    }
  }
  scenario->fault_interval = Between(random, 60 * kMillisecond, 700 * kMillisecond);
  scenario->fault_end = Between(random, 1500 * kMillisecond, 5000 * kMillisecond);
}

}  // namespace

std::string_view FaultName(Fault fault) {
  static constexpr std::array<std::string_view, static_cast<size_t>(Fault::kCount)> kNames = {
      "kill",        "power-cut",  "power-cut-in-work", "power-cut-all",
      "pause",       "partition",  "one-way",           "isolate-leader",
      "link-reset",  "slow-disk",  "failed-sync",       "failed-write",
      "full-disk",   "clock-jump", "bad-network",       "transfer",
      "add",         "remove",     "promote-witness",   "delete-state",
      "short-reigns"};
  return kNames[static_cast<size_t>(fault)];
}

Scenario Scenario::FromSeed(uint64_t seed) {
  SeededRandom random(seed * 0x9e3779b97f4a7c15u + 77);
  Scenario scenario;
  scenario.seed = seed;
  scenario.members = PickMembers(random);
  scenario.skewed_clocks = random.Below(2) == 0;
  PickNetwork(random, &scenario);
  PickDisk(random, &scenario);
  PickLoad(random, &scenario);
  PickFaults(random, &scenario);
  if (random.Below(4) == 0) scenario.raft.max_in_flight = static_cast<int>(1 + random.Below(4));
  return scenario;
}

std::string Scenario::Describe() const {
  std::string kinds;
  for (MemberKind kind : members) kinds += kind == kMeta ? 'm' : 'w';
  std::string fault_names;
  for (Fault fault : faults) fault_names += fmt::format(" {}", FaultName(fault));
  return fmt::format(
      "seed {}: group {}, delay {}-{} us ({} permille up to {} ms), loss {} permille, duplicates "
      "{} "
      "permille, {}, sync {}-{} us, {} sessions x {} slots, clocks {}, faults every {} ms until {} "
      "ms:{}",
      seed, kinds, min_delay / 1000, max_delay / 1000, tail_permille, tail_delay / kMillisecond,
      loss_permille, duplicate_permille, in_order ? "in order" : "any order", min_sync / 1000,
      max_sync / 1000, sessions, slots, skewed_clocks ? "skewed" : "alike",
      fault_interval / kMillisecond, fault_end / kMillisecond,
      fault_names.empty() ? " none" : fault_names);
}

}  // namespace tercet::sim
