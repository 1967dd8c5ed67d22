#include "tests/sim/blocks/block_simulation.h"

#include <algorithm>

namespace tercet::sim {
namespace {

constexpr SimTime kReadInterval = 15 * kMillisecond;
constexpr SimTime kScrubInterval = 700 * kMillisecond;
constexpr SimTime kRestWithin = 90 * kSecond;
/// What was damaged last is found by then, and doubts are told.
constexpr SimTime kRestAfter = 13 * kSecond;
static_assert(kRestAfter > 3 * kScrubInterval);
/// Also the doubts about writes of dead writers that come late, to a server that is paused.
constexpr SimTime kRestAfterDeaths = 24 * kSecond;

}  // namespace

BlockWorld::BlockWorld(uint64_t seed, Trace::Mode mode)
    : scenario(BlockScenario::FromSeed(seed)),
      trace(queue, mode),
      random(seed * 0xd1342543de82ef95u + 7),
      network(queue, random) {}

BlockWorld::~BlockWorld() = default;

BlockSimulation::BlockSimulation(uint64_t seed, Trace::Mode mode) : world_(seed, mode) {
  for (int i = 1; i <= world_.scenario.servers; ++i) {
    const ServerId id(static_cast<uint32_t>(i));
    world_.servers[id.value()] = std::make_unique<ChunkNode>(world_, id);
  }
  world_.active = std::make_unique<ActiveNode>(world_);
}

BlockSimulation::~BlockSimulation() = default;

ChunkNode* BlockSimulation::AnyServer() {
  auto it = world_.servers.begin();
  std::advance(it, world_.random.Below(world_.servers.size()));
  return it->second->up() ? it->second.get() : nullptr;
}

void BlockSimulation::Every(SimTime mean, std::function<void()> fault) {
  if (mean == 0) return;
  world_.queue.After(world_.Between(mean / 4, 2 * mean), [this, mean, fault = std::move(fault)] {
    if (world_.calm) return;
    ++world_.counts.faults;
    fault();
    Every(mean, fault);
  });
}

void BlockSimulation::StartFaults() {
  const BlockScenario& scenario = world_.scenario;
  Every(scenario.kill_process, [this] { KillSome(); });
  Every(scenario.cut_power, [this] { CutSomePower(); });
  Every(scenario.cut_all_power, [this] { CutAllPower(); });
  Every(scenario.pause, [this] { PauseSome(); });
  Every(scenario.partition, [this] { PartitionSome(); });
  Every(scenario.lose_disk, [this] { LoseSomeDisk(); });
  Every(scenario.flip_bytes, [this] { FlipSomeByte(); });
  Every(scenario.fail_disk, [this] { FailSomeDisk(); });
  Every(scenario.lose_file, [this] { LoseSomeFile(); });
  Every(scenario.depose_active,
        [this] { world_.active->Depose(world_.Between(10, 900) * kMillisecond); });
  Every(scenario.move_replica, [this] { world_.active->MoveSomething(); });
  Every(scenario.kill_writer, [this] { KillSomeWriter(); });
  world_.network.SetLoss(scenario.message_loss);
}

void BlockSimulation::KillSome() {
  ChunkNode* node = AnyServer();
  if (node == nullptr) return;
  if (world_.OneIn(4)) {
    node->StopProcess();
  } else {
    node->KillProcess();
  }
  world_.queue.After(world_.Between(30, 3000) * kMillisecond, [node] { node->Start(); });
}

void BlockSimulation::CutSomePower() {
  ChunkNode* node = AnyServer();
  if (node == nullptr) return;
  // Two suspect replicas and a damaged or lost one have more wrong than three can bear.
  const bool others = world_.scenario.flip_bytes != 0 || world_.scenario.lose_file != 0;
  if (others && !AllWhole()) return;
  auto cut = [this, node] {
    if (!node->up()) return;
    node->CutPower();
    world_.queue.After(world_.Between(100, 3000) * kMillisecond, [node] { node->Start(); });
  };
  if (world_.OneIn(2)) return cut();
  // In the middle of what it is doing to its disk.
  node->CutPowerAfter(1 + world_.random.Below(60), cut);
}

void BlockSimulation::CutAllPower() {
  world_.active->Depose(world_.Between(100, 900) * kMillisecond);
  for (auto& [number, server] : world_.servers) {
    ChunkNode* node = server.get();
    node->CutPower();
    world_.queue.After(world_.Between(100, 3000) * kMillisecond, [node] { node->Start(); });
  }
}

void BlockSimulation::PauseSome() {
  if (ChunkNode* node = AnyServer()) {
    node->PauseUntil(world_.queue.now() + world_.Between(300, 4000) * kMillisecond);
  }
}

void BlockSimulation::PartitionSome() {
  ChunkNode* node = AnyServer();
  if (node == nullptr) return;
  const auto party = static_cast<Party>(node->id().value());
  std::vector<Party> others = {kActiveParty};
  for (auto& [number, server] : world_.servers) {
    if (server.get() != node) others.push_back(static_cast<Party>(number));
  }
  for (Party writer = kFirstWriter; writer < next_party_; ++writer) others.push_back(writer);
  SIM_TRACE(world_.trace, "server {} is cut off from some", party);
  for (Party other : others) {
    if (world_.OneIn(2)) world_.network.Cut(party, other);
    if (world_.OneIn(2)) world_.network.Cut(other, party);
  }
  world_.queue.After(world_.Between(300, 4000) * kMillisecond,
                     [this] { world_.network.MendAll(); });
}

bool BlockSimulation::AllWhole() {
  for (auto& [number, server] : world_.servers) {
    if (!server->serving() || server->paused()) return false;
  }
  for (const BlockPlace& place : world_.active->Places()) {
    const bool unwritten =
        place.reserved && std::none_of(place.chain.begin(), place.chain.end(), [&](ServerId id) {
          return world_.Server(id).store()->Stat(place.block).ok();
        });
    if (unwritten) continue;
    if (place.chain.size() < 3) return false;
    for (ServerId server : place.chain) {
      ChunkNode& node = world_.Server(server);
      const auto content =
          node.Content(place.block, place.generation, world_.scenario.cells_per_block);
      if (!content.ok()) return false;
      // An open file that has lost its name is read, but ends with its process.
      const auto stat = node.store()->Stat(place.block);
      if (!stat.ok()) return false;
      const auto named = node.disk().Exists(stat->file_path);
      if (!named.ok() || !*named) return false;
    }
  }
  return world_.active->Unfinished().empty();
}

/// Only while everything else is whole: more than the replicas can bear is no test of them.
void BlockSimulation::LoseSomeDisk() {
  ChunkNode* node = AnyServer();
  if (node == nullptr || !AllWhole()) return;
  node->LoseDisk();
  world_.queue.After(world_.Between(30, 2000) * kMillisecond, [node] { node->Start(); });
}

/// One of the disks reports errors: what it holds is lost to the server until that starts again.
void BlockSimulation::FailSomeDisk() {
  ChunkNode* node = AnyServer();
  if (node == nullptr || !AllWhole()) return;
  const auto disks = node->store()->Disks();
  const bool healthy =
      std::all_of(disks.begin(), disks.end(), [](const auto& disk) { return disk.healthy; });
  if (!healthy) return;
  SIM_TRACE(world_.trace, "server {}: a disk fails", node->id());
  node->disk().FailSync(0);
  node->disk().FailWrite(0);
  if (world_.OneIn(2)) {
    node->disk().FailSync(1 + world_.random.Below(4));
  } else {
    node->disk().FailWrite(1 + world_.random.Below(10));
  }
}

/// Somebody removes a replica's file.
void BlockSimulation::LoseSomeFile() {
  ChunkNode* node = AnyServer();
  const std::vector<BlockPlace> places = world_.active->Places();
  if (node == nullptr || places.empty() || !AllWhole()) return;
  const BlockPlace& place = places[world_.random.Below(places.size())];
  const auto stat = node->store()->Stat(place.block);
  if (!stat.ok()) return;
  SIM_TRACE(world_.trace, "server {}: the file of block {} is gone", node->id(), place.block);
  (void)node->disk().Remove(stat->file_path).ok();
}

void BlockSimulation::FlipSomeByte() {
  ChunkNode* node = AnyServer();
  const std::vector<BlockPlace> places = world_.active->Places();
  // One flip at a time in each block: the others are its cure.
  if (node == nullptr || places.empty() || !AllWhole()) return;
  const BlockPlace& place = places[world_.random.Below(places.size())];
  const auto stat = node->store()->Stat(place.block);
  if (!stat.ok() || stat->length == 0) return;
  const uint64_t offset =
      world_.OneIn(3) ? world_.random.Below(4096) : kDataOffset + world_.random.Below(stat->length);
  SIM_TRACE(world_.trace, "server {}: byte {} of block {} flips", node->id(), offset, place.block);
  (void)node->disk().FlipByte(stat->file_path, offset).ok();
}

void BlockSimulation::KillSomeWriter() {
  // Behind those that live are the dead ones.
  const size_t number = world_.random.Below(static_cast<uint64_t>(world_.scenario.writers));
  SIM_TRACE(world_.trace, "writer {} dies", number);
  writers_[number]->Kill();
  // Together with a server that has half of what it was sent.
  if (world_.OneIn(3)) KillSome();
  if (world_.scenario.cut_power != 0 && world_.OneIn(3)) CutSomePower();
  const SimTime away = world_.OneIn(2) ? 500 : 20'000;
  world_.queue.After(world_.Between(1, away) * kMillisecond, [this, number] {
    if (!world_.calm && writers_[number]->dead()) StartWriter(number, false);
  });
}

void BlockSimulation::StartWriter(size_t number, bool first) {
  const auto& sessions = world_.active->sessions();
  const auto& files = world_.active->files();
  auto writer = std::make_unique<BlockWriterSim>(world_, next_party_++, sessions[number],
                                                 files[number % files.size()]);
  BlockWriterSim* started = writer.get();
  if (number < writers_.size()) {
    writers_.push_back(std::move(writers_[number]));  // events still refer to it
    writers_[number] = std::move(writer);
  } else {
    writers_.push_back(std::move(writer));
  }
  // Its first write may be long after that of others.
  const SimTime delay = first ? world_.Between(0, world_.scenario.start_delay) : 0;
  world_.queue.After(delay, [started] { started->Start(); });
}

void BlockSimulation::ReadSomething() {
  if (!world_.calm) {
    world_.queue.After(world_.Between(1, 2 * kReadInterval), [this] { ReadSomething(); });
  }
  const auto& files = world_.active->files();
  const auto place = world_.active->Locate(files[world_.random.Below(files.size())]);
  if (!place.ok()) return;
  const auto known = remembered_.try_emplace(place->inode, *place).first;
  if (world_.OneIn(4)) ReadFrom(known->second);
  if (world_.OneIn(60)) known->second = *place;
  ReadFrom(*place);
}

void BlockSimulation::ReadFrom(const BlockPlace& place) {
  ChunkNode& node = world_.Server(place.chain[world_.random.Below(place.chain.size())]);
  if (!node.serving() || node.paused()) return;
  const auto replaced = world_.replaced.find({place.block, place.generation});
  if (replaced == world_.replaced.end()) return CheckReplica(place, node);
  // A server that is cut off does not know yet. One that was told what left its chains does.
  if (node.orders_of() <= replaced->second) return;
  if (node.store()->Read(place.block, place.generation, 0, kPageBytes).ok()) {
    return world_.Fail(fmt::format("server {} serves block {} as of generation {}, which is over",
                                   node.id(), place.block, place.generation));
  }
  ++world_.counts.stale_refused;
}

void BlockSimulation::CheckReplica(const BlockPlace& place, ChunkNode& node) {
  const uint32_t cells = world_.scenario.cells_per_block;
  auto content = node.Content(place.block, place.generation, cells);
  if (!content.ok()) {
    if (content.code() == StatusCode::kInternal) world_.Fail(content.status().ToString());
    return;  // sealed just now, damaged, suspect, gone: a reader goes elsewhere
  }
  ++world_.counts.reads;
  const SimTime now = world_.queue.now();
  for (uint32_t cell = 0; cell < cells; ++cell) {
    if (world_.histories.at(place.inode).MayRead(cell, (*content)[cell], now, now)) continue;
    return world_.Fail(
        fmt::format("a read of block {} generation {} at server {} finds write {} in cell {}",
                    place.block, place.generation, node.id(), (*content)[cell], cell));
  }
}

void BlockSimulation::Scrub() {
  world_.queue.After(kScrubInterval, [this] { Scrub(); });
  for (auto& [number, server] : world_.servers) {
    if (!server->serving() || server->paused()) continue;
    for (const BlockPlace& place : world_.active->Places()) {
      (void)server->store()->VerifyPages(place.block, place.generation, 0, kMaxBlockPages).ok();
    }
  }
}

void BlockSimulation::MakePeace() {
  world_.calm = true;
  SIM_TRACE(world_.trace, "peace");
  world_.network.MendAll();
  world_.network.SetLoss(0);
  for (auto& [number, server] : world_.servers) {
    server->MendDisks();
    server->Start();
  }
  const bool die = world_.scenario.kill_writer != 0 && world_.OneIn(2);
  for (auto& writer : writers_) {
    if (die) {
      writer->Kill();
    } else {
      writer->Stop();
    }
  }
}

bool BlockSimulation::AtRest() {
  for (auto& writer : writers_) {
    if (!writer->idle()) return false;
  }
  for (auto& [number, server] : world_.servers) {
    if (!server->serving() || server->paused()) return false;
  }
  return world_.active->Unfinished().empty();
}

void BlockSimulation::CheckEnd() {
  const uint32_t cells = world_.scenario.cells_per_block;
  for (const BlockPlace& place : world_.active->Places()) {
    std::optional<std::vector<WriteId>> first;
    for (auto& [number, server] : world_.servers) {
      const ServerId id(number);
      const bool member =
          std::find(place.chain.begin(), place.chain.end(), id) != place.chain.end();
      if (!member) {
        const auto stat = server->store()->Stat(place.block);
        if (stat.ok() && stat->generation != Generation()) {
          world_.Fail(fmt::format("server {} keeps a replica of block {} that it should not have",
                                  id, place.block));
        }
        continue;
      }
      if (place.reserved) continue;
      auto content = server->Content(place.block, place.generation, cells);
      if (!content.ok()) {
        world_.Fail(fmt::format("in the end server {} cannot read block {}: {}", id, place.block,
                                content.status().ToString()));
        continue;
      }
      CheckReplica(place, *server);
      // Also what a writer that died had on its way is on all, or on none.
      if (first && *first != *content) {
        world_.Fail(fmt::format("in the end replicas of block {} differ", place.block));
      }
      first = *content;
    }
  }
}

BlockOutcome BlockSimulation::Run() {
  world_.active->Format();
  for (auto& [number, server] : world_.servers) server->Start();
  world_.active->StartTicking();
  for (int i = 0; i < world_.scenario.writers; ++i) StartWriter(static_cast<size_t>(i), true);
  ReadSomething();
  Scrub();
  StartFaults();
  const SimTime end = world_.scenario.duration;
  while (world_.failure.empty() && world_.queue.RunNext(end)) {
  }
  const SimTime peace = world_.queue.now();
  if (world_.failure.empty()) MakePeace();
  const SimTime rest = world_.scenario.kill_writer == 0 ? kRestAfter : kRestAfterDeaths;
  bool rested = false;
  while (world_.failure.empty() && !rested) {
    if (!world_.queue.RunNext(peace + kRestWithin)) break;
    rested = world_.queue.now() >= peace + rest && AtRest();
  }
  if (world_.failure.empty() && !rested) {
    std::string why = world_.active->Unfinished();
    if (why.empty()) why = "a writer or a server is not ready";
    world_.Fail("no rest: " + why);
  }
  if (world_.failure.empty()) CheckEnd();
  BlockOutcome outcome;
  outcome.failure = world_.failure;
  outcome.scenario = world_.scenario.ToString();
  outcome.counts = world_.counts;
  outcome.time = world_.queue.now();
  outcome.recovery = world_.queue.now() - peace;
  for (const auto& [inode, history] : world_.histories)
    outcome.acknowledged += history.acknowledged();
  world_.trace.Mix(outcome.acknowledged, world_.counts.commits);
  world_.trace.Mix(world_.counts.pulled_bytes, world_.counts.reads);
  outcome.hash = world_.trace.hash();
  outcome.last_lines.assign(world_.trace.lines().begin(), world_.trace.lines().end());
  return outcome;
}

}  // namespace tercet::sim
