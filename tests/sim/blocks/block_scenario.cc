#include <fmt/format.h>

#include "tests/sim/blocks/block_world.h"

namespace tercet::sim {

BlockScenario BlockScenario::FromSeed(uint64_t seed) {
  SeededRandom random(seed * 0x9e3779b97f4a7c15u + 3);
  auto one_in = [&](uint64_t n) { return random.Below(n) == 0; };
  auto mean = [&](SimTime low, SimTime high) {
    return low + static_cast<SimTime>(random.Below(static_cast<uint64_t>(high - low)));
  };
  BlockScenario scenario;
  scenario.servers = 3 + static_cast<int>(random.Below(3));
  scenario.writers = 1 + static_cast<int>(random.Below(3));
  scenario.files = 1 + static_cast<int>(random.Below(2));
  scenario.cells_per_block = one_in(3) ? 32 : 16;
  scenario.duration = mean(3 * kSecond, 9 * kSecond);
  if (one_in(2)) scenario.kill_process = mean(300 * kMillisecond, 3 * kSecond);
  if (one_in(3)) scenario.cut_power = mean(500 * kMillisecond, 4 * kSecond);
  if (one_in(6)) scenario.cut_all_power = mean(kSecond, 6 * kSecond);
  if (one_in(3)) scenario.pause = mean(500 * kMillisecond, 3 * kSecond);
  if (one_in(3)) scenario.partition = mean(500 * kMillisecond, 3 * kSecond);
  if (one_in(8) && scenario.cut_all_power == 0) scenario.lose_disk = mean(2 * kSecond, 5 * kSecond);
  if (one_in(6) && scenario.cut_all_power == 0 && scenario.lose_disk == 0) {
    scenario.flip_bytes = mean(500 * kMillisecond, 2 * kSecond);
  }
  if (one_in(3)) scenario.depose_active = mean(500 * kMillisecond, 4 * kSecond);
  if (one_in(2) && scenario.servers > 3) {
    scenario.move_replica = mean(200 * kMillisecond, 2 * kSecond);
  }
  if (one_in(3)) scenario.kill_writer = mean(500 * kMillisecond, 4 * kSecond);
  if (one_in(3)) scenario.message_loss = 30 + random.Below(400);
  if (one_in(2)) scenario.commit_delay = mean(kMillisecond, 2 * kSecond);
  // Unsynced replicas of reserved blocks, which a power cut takes away, and writers that come then.
  if (one_in(3)) scenario.commit_delay = scenario.duration;
  if (one_in(2)) scenario.start_delay = scenario.duration;
  // A doubt about a write under way relies on eras being longer (README.md).
  scenario.slow_settle = one_in(2) || scenario.kill_writer != 0;
  if (one_in(2)) scenario.sync_one_in = 200;
  // Only one kind of fault may take what three servers have.
  const bool loses =
      scenario.cut_all_power != 0 || scenario.lose_disk != 0 || scenario.flip_bytes != 0;
  if (one_in(8) && !loses) {
    scenario.disks = 2;
    scenario.fail_disk = mean(kSecond, 4 * kSecond);
  } else if (one_in(8) && !loses) {
    scenario.lose_file = mean(500 * kMillisecond, 3 * kSecond);
  }
  return scenario;
}

std::string BlockScenario::ToString() const {
  std::string text = fmt::format("{} servers, {} writers, {} files, {} cells, {} ms", servers,
                                 writers, files, cells_per_block, duration / kMillisecond);
  auto add = [&](const char* name, SimTime every) {
    if (every != 0) text += fmt::format(", {} each {} ms", name, every / kMillisecond);
  };
  add("kill", kill_process);
  add("power cut", cut_power);
  add("power cut of all", cut_all_power);
  add("pause", pause);
  add("partition", partition);
  add("lost disk", lose_disk);
  add("flipped byte", flip_bytes);
  add("deposed active", depose_active);
  add("move", move_replica);
  add("killed writer", kill_writer);
  add("failing disk", fail_disk);
  add("lost file", lose_file);
  if (commit_delay != 0) text += fmt::format(", commits {} ms late", commit_delay / kMillisecond);
  if (start_delay != 0) text += ", late writers";
  if (slow_settle) text += ", slow settling";
  if (sync_one_in > 6) text += ", few syncs";
  if (message_loss != 0) text += fmt::format(", one message in {} lost", message_loss);
  return text;
}

}  // namespace tercet::sim
