#include "tests/sim/blocks/block_writer.h"

#include <algorithm>

namespace tercet::sim {
namespace {

constexpr size_t kMaxInFlight = 3;
constexpr SimTime kDeadline = 2 * kSecond;
constexpr SimTime kCallDeadline = 3 * kSecond;

}  // namespace

BlockWriterSim::BlockWriterSim(BlockWorld& world, Party party, SessionId session, InodeId inode)
    : world_(world), party_(party), session_(session), inode_(inode) {}

void BlockWriterSim::StepSoon(SimTime delay) {
  world_.queue.After(delay, [this, life = life_] {
    if (life == life_) Step();
  });
}

void BlockWriterSim::Step() {
  if (dead_) return;
  StepSoon(world_.Between(kMillisecond, 40 * kMillisecond));
  if (recovering_ || syncing_) return;
  if (!place_) return EnsurePlace();
  CommitIfNeeded();
  if (!stopping_ && pending_.size() < kMaxInFlight && !world_.OneIn(4)) {
    const uint32_t cells = 1 + static_cast<uint32_t>(world_.random.Below(6));
    const uint32_t first = static_cast<uint32_t>(
        world_.random.Below(world_.scenario.cells_per_block - std::min(cells, 15u)));
    const bool overlaps = std::any_of(pending_.begin(), pending_.end(), [&](const Pending& other) {
      return first < other.first_cell + other.cells && other.first_cell < first + cells;
    });
    // Frames of one client that overlap are never in flight together.
    if (!overlaps) {
      ++world_.counts.writes;
      pending_.push_back({history().Begin(first, cells, world_.queue.now()), first, cells, false});
    }
  }
  SendAll();
  if (pending_.empty() && has_data_ && world_.OneIn(world_.scenario.sync_one_in + 2)) {
    SendSync();
  }
}

/// The file's block, given out by the active.
void BlockWriterSim::EnsurePlace() {
  if (!world_.active->serving() || world_.network.IsCut(party_, kActiveParty)) return;
  auto place = world_.active->Allocate(session_, inode_);
  if (!place.ok()) return;
  place_ = *place;
  commit_at_ = world_.queue.now() + world_.Between(0, world_.scenario.commit_delay);
  connection_ = nullptr;
}

void BlockWriterSim::CommitIfNeeded() {
  if (!place_->reserved || !has_data_ || world_.queue.now() < commit_at_) return;
  if (!world_.active->serving() || world_.network.IsCut(party_, kActiveParty)) return;
  const Status committed = world_.active->CommitWrite(
      session_, *place_, uint64_t{world_.scenario.cells_per_block} * kCellBytes);
  if (!committed.ok()) return;
  place_->reserved = false;
  uncommitted_.clear();
}

void BlockWriterSim::SendAll() {
  if (connection_ == nullptr) {
    connection_ = world_.network.Connect(party_, static_cast<Party>(place_->chain.front().value()));
    head_incarnation_ = world_.Server(place_->chain.front()).incarnation();
    for (Pending& pending : pending_) pending.sent = false;
  }
  for (Pending& pending : pending_) {
    if (pending.sent) continue;
    pending.sent = true;
    SendFrame(pending);
  }
}

void BlockWriterSim::SendFrame(const Pending& pending) {
  WriteFrame frame;
  frame.block = place_->block;
  frame.generation = place_->generation;
  frame.write = pending.write;
  frame.first_cell = pending.first_cell;
  frame.cells = pending.cells;
  frame.create = place_->reserved && !has_data_;
  frame.sync = world_.OneIn(world_.scenario.sync_one_in);
  frame.downstream.assign(place_->chain.begin() + 1, place_->chain.end());
  ChunkNode& head = world_.Server(place_->chain.front());
  const SimTime sent = world_.queue.now();
  auto reply = [this, &head, life = life_, chain = chain_number_, write = pending.write, sent](
                   const Status& status, ServerId failed) {
    world_.network.Answer(static_cast<Party>(head.id().value()), party_,
                          [this, life, chain, write, sent, status, failed] {
                            if (life == life_) OnAnswer(chain, write, sent, status, failed);
                          });
  };
  world_.network.Send(connection_, [&head, connection = connection_,
                                    incarnation = head_incarnation_, frame, reply] {
    head.Receive(connection, incarnation,
                 [&head, connection, frame, reply] { head.OnFrame(connection, frame, reply); });
  });
  Watch(pending.write);
}

/// A chain on which something waits for too long has failed. `write` 0: the sync.
void BlockWriterSim::Watch(WriteId write) {
  auto look = [this, life = life_, chain = chain_number_, write, sent = world_.queue.now()] {
    if (life != life_ || chain != chain_number_ || recovering_) return;
    const bool waits =
        write == 0 ? syncing_ && sync_sent_ == sent
                   : std::any_of(pending_.begin(), pending_.end(),
                                 [&](const Pending& pending) { return pending.write == write; });
    if (!waits) return;
    FailChain(Status(StatusCode::kDeadlineExceeded, "no answer"), place_->chain.front());
  };
  world_.queue.After(kDeadline, look);
}

void BlockWriterSim::SendSync() {
  syncing_ = true;
  sync_sent_ = world_.queue.now();
  SendAll();
  WriteFrame frame;
  frame.block = place_->block;
  frame.generation = place_->generation;
  frame.downstream.assign(place_->chain.begin() + 1, place_->chain.end());
  ChunkNode& head = world_.Server(place_->chain.front());
  auto reply = [this, &head, life = life_, chain = chain_number_, sent = sync_sent_](
                   const Status& status, ServerId failed) {
    world_.network.Answer(static_cast<Party>(head.id().value()), party_,
                          [this, life, chain, sent, status, failed] {
                            if (life == life_) OnAnswer(chain, 0, sent, status, failed);
                          });
  };
  world_.network.Send(connection_, [&head, connection = connection_,
                                    incarnation = head_incarnation_, frame, reply] {
    head.Receive(connection, incarnation,
                 [&head, connection, frame, reply] { head.OnFrame(connection, frame, reply); });
  });
  Watch(0);
}

void BlockWriterSim::OnAnswer(uint64_t chain, WriteId write, SimTime sent, const Status& status,
                              ServerId failed) {
  if (chain != chain_number_ || recovering_) return;
  if (!status.ok()) return FailChain(status, failed);
  has_data_ = true;
  if (write == 0) {
    syncing_ = false;
    history().Sync(sent);
    return;
  }
  auto found = std::find_if(pending_.begin(), pending_.end(),
                            [&](const Pending& pending) { return pending.write == write; });
  if (found == pending_.end()) return;
  history().Acknowledge(write, world_.queue.now());
  if (place_->reserved) uncommitted_.push_back(write);
  pending_.erase(found);
}

void BlockWriterSim::FailChain(const Status& status, ServerId failed) {
  SIM_TRACE(world_.trace, "writer {} failed at server {}: {}", party_, failed, status.ToString());
  std::vector<ServerId> servers;
  if (status.code() != StatusCode::kStaleGeneration && failed != ServerId()) {
    servers.push_back(failed);
  }
  Recover(std::move(servers));
}

void BlockWriterSim::Recover(std::vector<ServerId> failed) {
  ++chain_number_;
  if (connection_ != nullptr) connection_->abandoned = true;
  connection_ = nullptr;
  recovering_ = true;
  ++world_.counts.recoveries;
  const uint64_t round = chain_number_;
  // Without an answer, or with a refusal, it is asked again.
  auto again = [this, life = life_, round, failed] {
    if (life == life_ && recovering_ && round == chain_number_) Recover(failed);
  };
  world_.queue.After(kCallDeadline, again);
  auto answered = [this, life = life_, round, again](const Result<BlockPlace>& place) {
    world_.network.Answer(kActiveParty, party_, [this, life, round, place, again] {
      if (life != life_ || !recovering_ || round != chain_number_) return;
      if (!place.ok()) {
        world_.queue.After(world_.Between(5, 80) * kMillisecond, again);
        return;
      }
      if (place->block != place_->block) has_data_ = false;
      place_ = *place;
      recovering_ = false;
      // A sync that was not answered is asked for anew by a later step.
      syncing_ = false;
    });
  };
  RecoverAsked asked{session_, *place_, std::move(failed), has_data_};
  world_.queue.After(world_.Between(20'000, 300'000), [this, asked, answered] {
    if (world_.network.IsCut(party_, kActiveParty) || !world_.active->serving()) return;
    world_.active->Recover(asked, answered);
  });
}

}  // namespace tercet::sim
