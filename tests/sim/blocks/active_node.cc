#include "tests/sim/blocks/active_node.h"

#include <algorithm>

#include "common/base/crc32c.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/repair/replica_comparison.h"

namespace tercet::sim {
namespace {

constexpr SimTime kTick = 300 * kMillisecond;
constexpr SimTime kSealDeadline = kSecond;
constexpr SimTime kPullDeadline = 8 * kSecond;
constexpr SimTime kTableDeadline = 3 * kSecond;
/// A comparison that began earlier says nothing any more (EvaluateClearDoubts).
constexpr SimTime kComparisonHolds = 5 * kSecond;
/// A server that was silent for so long is believed to be dead; its replicas are made again after
/// kRepairDelay.
constexpr SimTime kDeathTimeout = 1500 * kMillisecond;
constexpr SimTime kRepairDelay = 4 * kSecond;
constexpr int kReplicas = 3;
constexpr int kMinReplicas = 2;

bool Contains(const std::vector<ServerId>& ids, ServerId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

Status NotActive() { return Status(StatusCode::kNotActive, "not active any more"); }

std::string Names(const std::vector<ServerId>& ids) {
  std::string names;
  for (ServerId id : ids) names += (names.empty() ? "" : " ") + std::to_string(id.value());
  return names;
}

}  // namespace

struct ActiveNode::Attempt {
  explicit Attempt(const ReconfigurationGoal& goal) : goal(goal), machine(goal) {}
  const ReconfigurationGoal goal;
  Reconfiguration machine;
  Epoch epoch;
  bool accepted_suspect = false;
  std::function<void(const Attempt&)> ended;
};

/// A comparison of all members of a block, of which somebody said that it may differ.
struct ActiveNode::Compared {
  BlockPlace place;
  ReconfigurationGoal goal;
  Epoch epoch;
  SimTime begun = 0;
  size_t open = 0;
  std::vector<std::optional<Result<ReplicaContent>>> answers;
};

class ActiveNode::Chooser final : public ReplicaChooser {
 public:
  explicit Chooser(const ActiveNode& active) : active_(active) {}
  Result<std::vector<ServerId>> Choose(const PlacementRequest& request) override {
    std::vector<ServerId> all;
    for (const auto& [number, server] : active_.world_.servers) {
      const ServerId id(number);
      if (!active_.Believes(id)) continue;
      if (std::find(request.exclude.begin(), request.exclude.end(), id) != request.exclude.end()) {
        continue;
      }
      if (std::find(request.keep.begin(), request.keep.end(), id) != request.keep.end()) continue;
      all.push_back(id);
    }
    for (size_t i = all.size(); i > 1; --i) {
      std::swap(all[i - 1], all[active_.world_.random.Below(i)]);
    }
    if (all.size() > static_cast<size_t>(request.wanted)) all.resize(request.wanted);
    if (all.size() < static_cast<size_t>(request.minimum)) {
      return Status(StatusCode::kUnavailable, "too few servers are alive");
    }
    return all;
  }

 private:
  const ActiveNode& active_;
};

ActiveNode::ActiveNode(BlockWorld& world)
    : world_(world), chooser_(std::make_unique<Chooser>(*this)) {}
ActiveNode::~ActiveNode() = default;

template <typename Evaluate>
auto ActiveNode::Propose(const Evaluate& evaluate) {
  Transaction transaction(view_);
  now_ns_ = std::max(now_ns_ + 1, 1'700'000'000'000'000'000 + world_.queue.now());
  OperationContext context{transaction, SessionId(), now_ns_, *chooser_, nullptr};
  auto outcome = evaluate(context);
  if (outcome.code() == StatusCode::kOk) view_.Apply(transaction.Take());
  return outcome;
}

void ActiveNode::Format() {
  FormatOptions format;
  format.cluster_id = "cluster-0123456x";
  format.block_size_bytes = world_.scenario.cells_per_block * kCellBytes;
  format.replicas = kReplicas;
  format.min_replicas = kMinReplicas;
  auto check = [this](const Status& status) {
    if (!status.ok()) world_.Fail("setting up: " + status.ToString());
  };
  check(Propose([&](OperationContext& context) { return EvaluateFormat(context, format); }));
  for (const auto& [number, server] : world_.servers) {
    wire::RegisterServerRequest request;
    request.server_uuid = "server-uuid-" + std::to_string(1000 + number);
    request.host = "10.0.0.1";
    request.port = static_cast<int32_t>(7000 + number);
    check(Propose([&](OperationContext& context) {
            return EvaluateRegisterServer(context, request);
          }).status());
    heard_[ServerId(number)] = 0;
  }
  for (int i = 0; i < world_.scenario.writers; ++i) {
    wire::OpenSessionRequest request;
    request.client_uuid = "session-uuid-" + std::to_string(100 + i);
    request.host_name = "host";
    request.mount_point = "/mnt";
    auto opened =
        Propose([&](OperationContext& context) { return EvaluateOpenSession(context, request); });
    check(opened.status());
    sessions_.push_back(SessionId(static_cast<uint64_t>(opened->session_id)));
  }
  for (int i = 0; i < world_.scenario.files; ++i) {
    wire::CreateFileRequest request;
    request.parent = 1;
    request.name = "f" + std::to_string(i);
    request.mode = 0644;
    auto created =
        Propose([&](OperationContext& context) { return EvaluateCreateFile(context, request); });
    check(created.status());
    files_.push_back(InodeId(static_cast<uint64_t>(created->attributes.inode)));
    world_.histories[files_.back()];
  }
}

void ActiveNode::Depose(SimTime down) {
  ++world_.counts.depositions;
  epoch_ = epoch_.Next();
  down_until_ = world_.queue.now() + down;
  busy_.clear();
  only_suspects_.clear();
  waiting_.clear();
  // The new active heard heartbeats as standby.
  SIM_TRACE(world_.trace, "another active, epoch {}", epoch_);
}

Result<BlockPlace> ActiveNode::PlaceOf(BlockId block) const {
  const Tables tables(view_);
  ASSIGN_OR_RETURN(const auto owner, tables.FindBlockOwner(block));
  if (!owner) return Status(StatusCode::kConflict, "the block left the file");
  ASSIGN_OR_RETURN(const auto record, tables.FindFileBlock(owner->inode, owner->index));
  if (!record) return Status(StatusCode::kInternal, "an owner row without its block");
  return BlockPlace{owner->inode, block, record->generation, record->chain, record->reserved};
}

Result<BlockPlace> ActiveNode::Locate(InodeId inode) const {
  ASSIGN_OR_RETURN(const auto record, Tables(view_).FindFileBlock(inode, 0));
  if (!record || record->reserved) return Status(StatusCode::kNotFound, "nothing is committed");
  return BlockPlace{inode, record->block, record->generation, record->chain, false};
}

std::vector<BlockPlace> ActiveNode::Places() const {
  std::vector<BlockPlace> places;
  for (InodeId inode : files_) {
    const auto record = Tables(view_).FindFileBlock(inode, 0);
    if (!record.ok() || !*record) continue;
    places.push_back(
        {inode, (*record)->block, (*record)->generation, (*record)->chain, (*record)->reserved});
  }
  return places;
}

Result<BlockPlace> ActiveNode::Allocate(SessionId session, InodeId inode) {
  wire::AllocateBlockRequest request;
  request.inode = static_cast<int64_t>(inode.value());
  ASSIGN_OR_RETURN(const auto response, Propose([&](OperationContext& context) {
                     context.session = session;
                     return EvaluateAllocateBlock(context, request);
                   }));
  return PlaceOf(BlockId(static_cast<uint64_t>(response.block.block_id)));
}

Status ActiveNode::CommitWrite(SessionId session, const BlockPlace& place, uint64_t end_offset) {
  wire::CommitWriteRequest request;
  request.inode = static_cast<int64_t>(place.inode.value());
  request.written_blocks = {static_cast<int64_t>(place.block.value())};
  request.end_offset = static_cast<int64_t>(end_offset);
  return Propose([&](OperationContext& context) {
           context.session = session;
           return EvaluateCommitWrite(context, request);
         })
      .status();
}

/// It was heard of lately.
bool ActiveNode::Believes(ServerId server) const {
  auto it = heard_.find(server);
  return it != heard_.end() && world_.queue.now() - it->second < kDeathTimeout;
}

/// It is taken for dead for good: its replicas are to be made again.
bool ActiveNode::IsSure(ServerId server) const {
  auto it = heard_.find(server);
  return it == heard_.end() || world_.queue.now() - it->second > kRepairDelay;
}

std::vector<ServerId> ActiveNode::TargetsFor(const BlockPlace& place, size_t count) const {
  std::vector<ServerId> held;
  std::vector<ServerId> fresh;
  for (const auto& [number, server] : world_.servers) {
    const ServerId id(number);
    if (Contains(place.chain, id) || !Believes(id)) continue;
    const auto task = Tables(view_).FindDeleteTask(id, place.block);
    if (!task.ok()) continue;
    if (*task && !(*task)->hold) continue;
    (*task ? held : fresh).push_back(id);
  }
  for (size_t i = fresh.size(); i > 1; --i) std::swap(fresh[i - 1], fresh[world_.random.Below(i)]);
  held.insert(held.end(), fresh.begin(), fresh.end());
  if (held.size() > count) held.resize(count);
  return held;
}

// ---- attempts ----

void ActiveNode::StartAttempt(ReconfigurationGoal goal, std::function<void(const Attempt&)> ended) {
  const auto repair = Tables(view_).FindRepair(goal.block);
  if (repair.ok() && *repair) {
    for (const auto& note : (*repair)->bad) {
      if (note.reason == BadReplica::kSuspect) goal.suspects.push_back(note.server);
    }
  }
  const auto place = PlaceOf(goal.block);
  goal.has_data = goal.has_data || (place.ok() && !place->reserved);
  auto attempt = std::make_shared<Attempt>(goal);
  attempt->epoch = epoch_;
  attempt->ended = std::move(ended);
  busy_.insert(goal.block);
  SIM_TRACE(world_.trace, "attempt block {} from {} drop [{}] add [{}] verify [{}]{}", goal.block,
            goal.from, Names(goal.drop), Names(goal.add), Names(goal.verify),
            goal.accept_suspect ? " accepting suspects" : "");
  Carry(attempt, attempt->machine.Start());
}

void ActiveNode::Carry(const std::shared_ptr<Attempt>& attempt, ReconfigurationEffects effects) {
  for (const ReconfigurationEffect& effect : effects) {
    std::visit(
        [&](const auto& one) {
          using Effect = std::decay_t<decltype(one)>;
          if constexpr (std::is_same_v<Effect, BeginEffect>) CarryBegin(attempt, one);
          if constexpr (std::is_same_v<Effect, SealEffect>) CarrySeal(attempt, one);
          if constexpr (std::is_same_v<Effect, PullEffect>) CarryPull(attempt, one);
          if constexpr (std::is_same_v<Effect, CommitEffect>) CarryCommit(attempt, one);
        },
        effect);
  }
  if (!attempt->machine.done() || attempt->ended == nullptr) return;
  auto ended = std::exchange(attempt->ended, nullptr);
  const Status& outcome = attempt->machine.outcome();
  if (attempt->machine.only_suspects()) {
    only_suspects_.insert(attempt->goal.block);
  } else {
    only_suspects_.erase(attempt->goal.block);
  }
  SIM_TRACE(world_.trace, "attempt block {} ended: {}", attempt->goal.block, outcome.ToString());
  if (!outcome.ok()) ++world_.counts.failed_attempts;
  if (outcome.code() == StatusCode::kConflict) ++world_.counts.conflicts;
  if (attempt->epoch != epoch_) return;  // nobody is there any more who waited for it
  if (!outcome.ok() && attempt->machine.generation() != Generation() &&
      !attempt->goal.add.empty()) {
    Propose([&](OperationContext& context) {
      return EvaluateDiscardTargets(context, attempt->goal.block, attempt->machine.generation(),
                                    attempt->goal.add);
    }).code();
  }
  busy_.erase(attempt->goal.block);
  ended(*attempt);
  auto node = waiting_.extract(attempt->goal.block);
  if (node.empty()) return;
  for (auto& wait : node.mapped()) wait();
}

void ActiveNode::CarryBegin(const std::shared_ptr<Attempt>& attempt, const BeginEffect& effect) {
  world_.queue.After(world_.Between(100'000, 900'000), [this, attempt, effect] {
    if (attempt->epoch != epoch_) return Carry(attempt, attempt->machine.OnBegun(NotActive()));
    auto begun = Propose([&](OperationContext& context) {
      return EvaluateBeginReconfiguration(context, effect.block, effect.from, effect.targets,
                                          effect.above);
    });
    if (!world_.calm && world_.scenario.depose_active != 0 && world_.OneIn(40)) {
      Depose(world_.Between(50, 900) * kMillisecond);  // its record is there, nobody acts upon it
      return Carry(attempt, attempt->machine.OnBegun(NotActive()));
    }
    Carry(attempt, attempt->machine.OnBegun(begun));
  });
}

void ActiveNode::CarrySeal(const std::shared_ptr<Attempt>& attempt, const SealEffect& effect) {
  ChunkNode& node = world_.Server(effect.server);
  if (effect.accept_suspect) attempt->accepted_suspect = true;
  auto answered = std::make_shared<bool>(false);
  auto take = [this, attempt, effect, answered](const Result<SealAnswer>& answer) {
    if (std::exchange(*answered, true)) return;
    Carry(attempt, attempt->machine.OnSealed(effect.server, answer));
  };
  world_.queue.After(kSealDeadline,
                     [take] { take(Status(StatusCode::kDeadlineExceeded, "no answer to SEAL")); });
  const auto party = static_cast<Party>(effect.server.value());
  const ConnectionPtr connection = world_.network.Connect(kActiveParty, party);
  const uint64_t incarnation = node.incarnation();
  world_.network.Send(
      connection, [this, &node, connection, incarnation, attempt, effect, take, party] {
        if (!node.up()) {
          world_.network.Answer(party, kActiveParty,
                                [take] { take(Status(StatusCode::kUnavailable, "refused")); });
          return;
        }
        node.Receive(connection, incarnation, [this, &node, attempt, effect, take, party] {
          auto answer = node.OnSeal(attempt->epoch, effect, attempt->goal.block);
          world_.network.Answer(party, kActiveParty, [take, answer] { take(answer); });
        });
      });
}

void ActiveNode::SendPull(Epoch epoch, const PullCommand& command, ServerId target,
                          std::function<void(const Status&, ServerId)> answered) {
  ChunkNode& node = world_.Server(target);
  auto done = std::make_shared<bool>(false);
  auto take = [answered = std::move(answered), done](const Status& status, ServerId failed) {
    if (!std::exchange(*done, true)) answered(status, failed);
  };
  world_.queue.After(kPullDeadline, [take, target] {
    take(Status(StatusCode::kDeadlineExceeded, "no answer to PULL"), target);
  });
  const auto party = static_cast<Party>(target.value());
  const ConnectionPtr connection = world_.network.Connect(kActiveParty, party);
  const uint64_t incarnation = node.incarnation();
  PullCommand sent = command;
  sent.epoch = epoch;
  world_.network.Send(
      connection, [this, &node, connection, incarnation, sent, take, party, target] {
        if (!node.up()) {
          world_.network.Answer(party, kActiveParty, [take, target] {
            take(Status(StatusCode::kUnavailable, "refused"), target);
          });
          return;
        }
        node.Receive(connection, incarnation, [this, &node, sent, take, party] {
          node.OnPull(sent, [this, take, party](const Status& status, ServerId failed) {
            world_.network.Answer(party, kActiveParty,
                                  [take, status, failed] { take(status, failed); });
          });
        });
      });
}

void ActiveNode::CarryPull(const std::shared_ptr<Attempt>& attempt, const PullEffect& effect) {
  PullCommand command;
  command.block = attempt->goal.block;
  command.source = effect.source;
  command.source_generation = effect.generation;
  command.generation = effect.generation;
  command.verify_base = effect.verify_base;
  SendPull(attempt->epoch, command, effect.target,
           [this, attempt, target = effect.target](const Status& status, ServerId failed) {
             SIM_TRACE(world_.trace, "pull block {} to server {}: {} (server {})",
                       attempt->goal.block, target, status.ToString(), failed);
             Carry(attempt, attempt->machine.OnPulled(target, status, failed));
           });
}

void ActiveNode::CarryCommit(const std::shared_ptr<Attempt>& attempt, const CommitEffect& effect) {
  world_.queue.After(world_.Between(100'000, 900'000), [this, attempt, effect] {
    if (attempt->epoch != epoch_) return Carry(attempt, attempt->machine.OnCommitted(NotActive()));
    CommitReconfigurationArguments arguments;
    arguments.block = effect.block;
    arguments.from = effect.from;
    arguments.sealing = effect.sealing;
    arguments.chain = effect.chain;
    arguments.verified = effect.verified;
    arguments.unwritten = effect.unwritten;
    auto committed = Propose([&](OperationContext& context) {
      return EvaluateCommitReconfiguration(context, arguments);
    });
    if (committed.ok()) {
      ++world_.counts.commits;
      world_.replaced[{effect.block, effect.from}] = world_.queue.now();
      SIM_TRACE(world_.trace, "block {}: generation {} chain [{}]", effect.block, effect.sealing,
                Names(effect.chain));
      CheckCommitted(*committed, effect.block, attempt->accepted_suspect);
    }
    if (!world_.calm && world_.scenario.depose_active != 0 && world_.OneIn(40)) {
      Depose(world_.Between(50, 900) * kMillisecond);
      return Carry(attempt, attempt->machine.OnCommitted(NotActive()));
    }
    Carry(attempt, attempt->machine.OnCommitted(committed.status()));
  });
}

/// What a chain must be at the moment when it is journaled: all equal, with all that was
/// acknowledged.
void ActiveNode::CheckCommitted(const FileBlockRecord& record, BlockId block, bool accepted) {
  auto place = PlaceOf(block);
  if (!place.ok()) return world_.Fail("a committed block is gone: " + place.status().ToString());
  CellHistory& history = world_.histories.at(place->inode);
  if (accepted) {
    ++world_.counts.accepted_suspects;
    history.ForgetUnsynced(world_.queue.now());
  }
  const uint32_t cells = world_.scenario.cells_per_block;
  std::optional<std::vector<WriteId>> first;
  for (ServerId server : record.chain) {
    ChunkNode& node = world_.Server(server);
    if (!node.up()) continue;  // it died since; looked at when it is back
    auto content = node.Content(block, record.generation, cells);
    if (!content.ok()) {
      // Bit rot may strike between the copy and this look.
      if (content.code() == StatusCode::kCorruption && world_.scenario.flip_bytes != 0) continue;
      if (content.code() == StatusCode::kUnavailable) continue;  // it has crashed: suspect
      // Its disk failed since, or what it sealed was a file without a name and it started anew.
      if (content.code() == StatusCode::kIo) continue;
      if (content.code() == StatusCode::kNotFound && world_.scenario.lose_file != 0) continue;
      return world_.Fail(
          fmt::format("a member of a new chain cannot be read: block {} server {}: {}", block,
                      server, content.status().ToString()));
    }
    for (uint32_t cell = 0; cell < cells; ++cell) {
      if (!history.MayRead(cell, (*content)[cell], world_.queue.now(), world_.queue.now())) {
        return world_.Fail(fmt::format(
            "server {} lacks an acknowledged write: block {} generation {} cell {} has write {}",
            server, block, record.generation, cell, (*content)[cell]));
      }
    }
    if (first && *first != *content) {
      return world_.Fail(fmt::format("replicas of a new chain differ: block {} generation {}",
                                     block, record.generation));
    }
    first = *content;
  }
}

// ---- what writers ask for ----

void ActiveNode::Recover(const RecoverAsked& asked,
                         std::function<void(const Result<BlockPlace>&)> reply) {
  auto place = PlaceOf(asked.place.block);
  if (!place.ok()) {
    // A reserved block that was replaced meanwhile: the writer asks for the one that is there.
    return reply(Allocate(asked.session, asked.place.inode));
  }
  if (place->generation != asked.place.generation) return reply(*place);
  if (busy_.contains(place->block)) {
    waiting_[place->block].push_back([this, asked, reply] { Recover(asked, reply); });
    return;
  }
  if (place->reserved && !asked.has_data) {
    auto replaced = Propose([&](OperationContext& context) {
      context.session = asked.session;
      return EvaluateReplaceUnwritten(context, place->inode, 0, place->block, asked.failed);
    });
    if (replaced.ok()) return reply(PlaceOf(replaced->block));
    if (replaced.code() != StatusCode::kFailedPrecondition) return reply(replaced.status());
  }
  ReconfigurationGoal goal;
  goal.block = place->block;
  goal.from = place->generation;
  goal.minimum = kMinReplicas;
  goal.has_data = asked.has_data;
  size_t left = 0;
  for (ServerId server : place->chain) {
    if (Contains(asked.failed, server)) {
      goal.drop.push_back(server);
      if (!Believes(server)) goal.unreachable.push_back(server);
    } else if (!Believes(server)) {
      goal.drop.push_back(server);
      goal.unreachable.push_back(server);
    } else {
      ++left;
    }
  }
  // One that failed its writer may still be a source.
  if (goal.unreachable.size() == place->chain.size())
    return reply(Status(StatusCode::kUnavailable, "no replica is left"));
  if (left < kMinReplicas) goal.add = TargetsFor(*place, kMinReplicas - left);
  if (left + goal.add.size() < kMinReplicas) {
    return reply(Status(StatusCode::kUnavailable, "too few servers"));
  }
  StartAttempt(goal, [this, reply, block = place->block](const Attempt& attempt) {
    if (!attempt.machine.outcome().ok()) return reply(attempt.machine.outcome());
    reply(PlaceOf(block));
  });
}

void ActiveNode::NoteBad(ServerId server, const std::vector<BadReplicaNote>& notes) {
  heard_[server] = world_.queue.now();
  if (notes.empty()) return;
  Propose([&](OperationContext& context) {
    return EvaluateNoteBadReplicas(context, notes);
  }).code();
}

RegistrationAnswer ActiveNode::Register(ServerId server) {
  const auto next = Tables(view_).GetCounter(Counter::kNextBlock);
  if (!next.ok()) world_.Fail("the next block: " + next.status().ToString());
  return {epoch_, BlockId(next.ok() ? std::max<uint64_t>(*next, 1) : 1), OrdersFor(server)};
}

std::vector<DeleteOrder> ActiveNode::OrdersFor(ServerId server) const {
  std::vector<DeleteOrder> orders;
  const Status scanned = Tables(view_).ScanDeleteTasks(
      server, BlockId(), [&](BlockId block, const DeleteTaskRecord& record) {
        orders.push_back({block, record.generation, record.hold});
        return true;
      });
  if (!scanned.ok()) world_.Fail("delete tasks: " + scanned.ToString());
  return orders;
}

void ActiveNode::ConfirmDeleted(ServerId server, const std::vector<DeleteOrder>& done) {
  std::vector<wire::DeleteReplicaTask> tasks;
  for (const DeleteOrder& order : done) {
    wire::DeleteReplicaTask task;
    task.block_id = static_cast<int64_t>(order.block.value());
    task.generation = static_cast<int64_t>(order.generation.value());
    tasks.push_back(task);
  }
  if (tasks.empty()) return;
  const Status finished = Propose([&](OperationContext& context) {
                            return EvaluateFinishDeleteTasks(context, server, tasks);
                          }).status();
  if (!finished.ok()) world_.Fail("confirmed deletions: " + finished.ToString());
}

// ---- repair ----

void ActiveNode::Tick() {
  world_.queue.After(kTick, [this] { Tick(); });
  if (!serving()) return;
  for (const BlockPlace& place : Places()) {
    if (!busy_.contains(place.block)) Review(place);
  }
}

/// One step towards three good replicas, if the block has fewer.
void ActiveNode::Review(const BlockPlace& place) {
  const auto repair = Tables(view_).FindRepair(place.block);
  if (!repair.ok()) return world_.Fail("a repair row: " + repair.status().ToString());
  ReconfigurationGoal goal;
  goal.block = place.block;
  goal.from = place.generation;
  bool needed = *repair && (*repair)->sealing != Generation();
  std::vector<ServerId> bad;
  bool doubtful = false;
  if (*repair) {
    for (const auto& note : (*repair)->bad) {
      if (note.reason == BadReplica::kDoubtful) {
        doubtful = true;
      } else {
        bad.push_back(note.server);
      }
    }
  }
  size_t good = 0;
  size_t reachable = 0;
  for (ServerId server : place.chain) {
    if (IsSure(server)) {
      goal.drop.push_back(server);
      goal.unreachable.push_back(server);
      needed = true;
      continue;
    }
    if (Contains(bad, server)) {
      goal.verify.push_back(server);
      needed = true;
    } else {
      ++good;
    }
    if (!Believes(server)) {
      if (needed) return;  // soon it is either back or dead
      continue;
    }
    ++reachable;
  }
  const size_t staying = place.chain.size() - goal.drop.size();
  // Every replica that may still come is suspect or damaged: no better one is to be waited for.
  goal.accept_suspect =
      (good == 0 || only_suspects_.contains(place.block)) && staying == place.chain.size();
  // Members that are away for a moment only are not given up for what fewer can do.
  goal.minimum = std::max(1, std::min<int>(kMinReplicas, static_cast<int>(staying)));
  if (reachable == 0) return;
  if (staying > kReplicas) return;
  if (staying == kReplicas) {
    if (reachable < staying) return;
    if (needed) {
      StartAttempt(goal, [](const Attempt&) {});
    } else if (doubtful) {
      SettleDoubts(place, goal);
    }
    return;
  }
  if (place.reserved && !needed) return;
  goal.add = TargetsFor(place, kReplicas - staying);
  if (goal.add.empty() && !needed) {
    if (doubtful && reachable == staying) SettleDoubts(place, goal);
    return;
  }
  if (!goal.add.empty() && good > 0 && !world_.OneIn(4)) {
    const ServerId target = goal.add.front();
    busy_.insert(place.block);
    PrepareThen(place, target, [this, goal](bool) {
      busy_.erase(goal.block);
      StartAttempt(goal, [](const Attempt&) {});
    });
    return;
  }
  StartAttempt(goal, [](const Attempt&) {});
}

void ActiveNode::SettleDoubts(const BlockPlace& place, const ReconfigurationGoal& goal) {
  ++world_.counts.comparisons;
  SIM_TRACE(world_.trace, "members of block {} are compared", place.block);
  busy_.insert(place.block);
  auto compared = std::make_shared<Compared>();
  compared->place = place;
  compared->goal = goal;
  compared->epoch = epoch_;
  compared->begun = world_.queue.now();
  compared->open = place.chain.size();
  compared->answers.resize(place.chain.size());
  for (size_t i = 0; i < place.chain.size(); ++i) AskTable(compared, i);
}

void ActiveNode::AskTable(const std::shared_ptr<Compared>& compared, size_t which) {
  auto take = [this, compared, which](const Result<ReplicaContent>& answer) {
    if (compared->answers[which]) return;
    compared->answers[which] = answer;
    if (--compared->open == 0) EndComparison(compared);
  };
  world_.queue.After(kTableDeadline,
                     [take] { take(Status(StatusCode::kDeadlineExceeded, "no answer to TABLE")); });
  ChunkNode& node = world_.Server(compared->place.chain[which]);
  const auto party = static_cast<Party>(node.id().value());
  const ConnectionPtr connection = world_.network.Connect(kActiveParty, party);
  const uint64_t incarnation = node.incarnation();
  world_.network.Send(connection, [this, &node, connection, incarnation, compared, take, party] {
    node.Receive(connection, incarnation, [this, &node, compared, take, party] {
      const auto table = node.OnTable(compared->place.block, compared->place.generation);
      const Result<ReplicaContent> answer =
          table.ok() ? Result<ReplicaContent>({.length = static_cast<int32_t>(table->length),
                                               .table_crc = Crc32c(table->page_crcs)})
                     : Result<ReplicaContent>(table.status());
      world_.network.Answer(party, kActiveParty, [take, answer] { take(answer); });
    });
  });
}

void ActiveNode::EndComparison(const std::shared_ptr<Compared>& compared) {
  if (compared->epoch != epoch_) return;
  const BlockId block = compared->place.block;
  std::vector<Result<ReplicaContent>> answers;
  for (const auto& answer : compared->answers) answers.push_back(*answer);
  const Comparison comparison = CompareReplicas(answers);
  auto go_on = [this, block] {
    busy_.erase(block);
    auto node = waiting_.extract(block);
    if (node.empty()) return;
    for (auto& wait : node.mapped()) wait();
  };
  if (comparison == Comparison::kUnknown) return go_on();
  if (comparison == Comparison::kDifferent) {
    busy_.erase(block);
    return StartAttempt(compared->goal, [](const Attempt&) {});
  }
  // The record takes its time.
  world_.queue.After(world_.Between(100'000, 900'000), [this, compared, go_on] {
    if (compared->epoch != epoch_) return;
    if (world_.queue.now() - compared->begun <= kComparisonHolds) {
      ++world_.counts.settled_doubts;
      const Status cleared = Propose([&](OperationContext& context) {
        return EvaluateClearDoubts(context, compared->place.block, compared->place.generation);
      });
      if (!cleared.ok()) world_.Fail("clearing doubts: " + cleared.ToString());
    }
    go_on();
  });
}

/// The bulk of the copy, while the block is written to.
void ActiveNode::PrepareThen(const BlockPlace& place, ServerId target,
                             std::function<void(bool)> then) {
  PullCommand command;
  command.block = place.block;
  command.source_generation = place.generation;
  for (ServerId server : place.chain) {
    if (Believes(server) && server != target) command.source = server;
  }
  if (command.source == ServerId()) return then(false);
  SendPull(epoch_, command, target, [this, then, epoch = epoch_](const Status& status, ServerId) {
    if (epoch == epoch_) then(status.ok());
  });
}

void ActiveNode::MoveSomething() {
  const std::vector<BlockPlace> places = Places();
  if (places.empty() || !serving()) return;
  const BlockPlace& place = places[world_.random.Below(places.size())];
  if (busy_.contains(place.block) || place.chain.size() != kReplicas) return;
  const std::vector<ServerId> targets = TargetsFor(place, 1);
  if (targets.empty()) return;
  for (ServerId server : place.chain) {
    if (!Believes(server)) return;
  }
  ReconfigurationGoal goal;
  goal.block = place.block;
  goal.from = place.generation;
  goal.drop = {place.chain[world_.random.Below(place.chain.size())]};
  goal.add = targets;
  goal.minimum = kReplicas;
  busy_.insert(place.block);
  PrepareThen(place, targets.front(), [this, goal](bool) {
    busy_.erase(goal.block);
    StartAttempt(goal, [](const Attempt&) {});
  });
}

std::string ActiveNode::Unfinished() const {
  for (const BlockPlace& place : Places()) {
    if (busy_.contains(place.block)) return fmt::format("block {} is being worked on", place.block);
    if (place.reserved) continue;  // its writer is gone
    if (place.chain.size() != kReplicas) {
      return fmt::format("block {} has {} replicas", place.block, place.chain.size());
    }
    const auto repair = Tables(view_).FindRepair(place.block);
    if (!repair.ok() || *repair) return fmt::format("block {} waits for repair", place.block);
  }
  for (const auto& [number, server] : world_.servers) {
    for (const DeleteOrder& order : OrdersFor(ServerId(number))) {
      const auto place = PlaceOf(order.block);
      // Who left a block that no commit named keeps its replica: nobody makes another.
      if (order.hold && place.ok() && place->reserved) continue;
      return fmt::format("server {} has deletions to do", number);
    }
  }
  return "";
}

}  // namespace tercet::sim
