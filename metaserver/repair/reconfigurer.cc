#include "metaserver/repair/reconfigurer.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "common/log/log.h"
#include "common/rpc/wire_status.h"
#include "metaserver/ops/paths.h"
#include "metaserver/ops/repairs.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/repair/repair_metrics.h"

namespace tercet {
namespace {

/// Beyond any that attempts could use up.
constexpr int64_t kMaxGeneration = int64_t{1} << 62;
constexpr size_t kMaxTold = 100'000;

std::string ServerList(const std::vector<ServerId>& servers) {
  std::string text;
  for (const ServerId server : servers) {
    if (!text.empty()) text += ',';
    text += std::to_string(server.value());
  }
  return text;
}

int64_t ToWireId(BlockId id) { return static_cast<int64_t>(id.value()); }
int64_t ToWireId(Generation id) { return static_cast<int64_t>(id.value()); }
int64_t ToWireId(Epoch id) { return static_cast<int64_t>(id.value()); }

}  // namespace

// ---- locks ----

std::optional<BlockLocks::Hold> BlockLocks::Acquire(BlockId block, std::chrono::milliseconds wait) {
  std::unique_lock lock(mutex_);
  if (!released_.wait_for(lock, wait, [&] { return !held_.contains(block); })) return std::nullopt;
  held_.insert(block);
  return std::optional<Hold>(std::in_place, this, block);
}

void BlockLocks::Release(BlockId block) {
  std::lock_guard lock(mutex_);
  held_.erase(block);
  released_.notify_all();
}

// ---- one attempt ----

/// The effects of one Reconfiguration, carried out.
class Reconfigurer::Attempt {
 public:
  Attempt(Reconfigurer& owner, Epoch epoch, const ReconfigurationGoal& goal,
          wire::PullClass::type pull_class)
      : owner_(owner), epoch_(epoch), goal_(goal), pull_class_(pull_class), machine_(goal) {}

  ReconfigurationResult Run() {
    const auto start = std::chrono::steady_clock::now();
    Take(machine_.Start());
    while (!machine_.done()) {
      if (!effects_.empty()) {
        const ReconfigurationEffect effect = std::move(effects_.front());
        effects_.pop_front();
        Carry(effect);
      } else {
        AwaitCommands();
      }
    }
    for (auto& [command, pull] : commands_) ChunkCommander::Cancel(command.get());
    ReconfigurationResult result;
    result.status = machine_.outcome();
    result.failed = machine_.failed();
    result.only_suspects = machine_.only_suspects();
    result.newer = machine_.newer();
    result.begun = machine_.begun();
    result.copied_bytes = copied_bytes_;
    result.lost_pages = lost_pages_;
    if (result.status.ok()) {
      result.generation = machine_.generation();
      result.chain = machine_.chain();
    } else {
      Discard();
    }
    result.took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - start);
    return result;
  }

 private:
  struct Running {
    std::unique_ptr<ChunkCommand> command;
    bool pull = false;
  };

  void Take(ReconfigurationEffects effects) {
    for (ReconfigurationEffect& effect : effects) effects_.push_back(std::move(effect));
  }

  void Carry(const ReconfigurationEffect& effect) {
    if (const auto* begin = std::get_if<BeginEffect>(&effect)) return Begin(*begin);
    if (const auto* seal = std::get_if<SealEffect>(&effect)) return Seal(*seal);
    if (const auto* pull = std::get_if<PullEffect>(&effect)) return Pull(*pull);
    Commit(std::get<CommitEffect>(effect));
  }

  void Begin(const BeginEffect& begin) {
    BegunReconfiguration begun;
    const Status status = owner_.journal_.Propose(
        epoch_, "begin reconfiguration", [&](OperationContext& context) -> Status {
          ASSIGN_OR_RETURN(begun, EvaluateBeginReconfiguration(context, begin.block, begin.from,
                                                               begin.targets, begin.above));
          return Status::Ok();
        });
    Take(machine_.OnBegun(status.ok() ? Result<BegunReconfiguration>(begun)
                                      : Result<BegunReconfiguration>(status)));
  }

  void Seal(const SealEffect& seal) {
    const auto peer = owner_.Peer(seal.server);
    if (!peer.ok()) return Take(machine_.OnSealed(seal.server, peer.status()));
    wire::SealHeader header;
    header.epoch = ToWireId(epoch_);
    header.block_id = ToWireId(goal_.block);
    header.generation = ToWireId(seal.generation);
    header.create_if_absent = seal.create_if_absent;
    header.verify = seal.verify;
    header.accept_suspect = seal.accept_suspect;
    commands_.push_back(Running{
        owner_.commander_.Seal(*peer, header,
                               seal.verify ? owner_.options_.verifying_seal : owner_.options_.seal),
        false});
  }

  void Pull(const PullEffect& pull) {
    const auto target = owner_.Peer(pull.target);
    if (!target.ok()) return Take(machine_.OnPulled(pull.target, target.status(), pull.target));
    const auto source = owner_.Peer(pull.source);
    if (!source.ok()) return Take(machine_.OnPulled(pull.target, source.status(), pull.source));
    wire::PullHeader header;
    header.epoch = ToWireId(epoch_);
    header.block_id = ToWireId(goal_.block);
    header.source.server_id = static_cast<int32_t>(pull.source.value());
    header.source.host = source->address.host;
    header.source.port = source->address.port;
    header.source_generation = ToWireId(pull.generation);
    header.generation = ToWireId(pull.generation);
    header.verify_base = pull.verify_base;
    header.pull_class = pull_class_;
    commands_.push_back(
        Running{owner_.commander_.Pull(*target, header, owner_.options_.pull), true});
  }

  void Commit(const CommitEffect& commit) {
    CommitReconfigurationArguments arguments;
    arguments.block = commit.block;
    arguments.from = commit.from;
    arguments.sealing = commit.sealing;
    arguments.chain = commit.chain;
    arguments.verified = commit.verified;
    arguments.unwritten = commit.unwritten;
    lost_pages_ = commit.lost_pages;
    const Status status =
        owner_.journal_.Propose(epoch_, "commit reconfiguration", [&](OperationContext& context) {
          return EvaluateCommitReconfiguration(context, arguments).status();
        });
    if (status.ok() && owner_.on_dropped_) {
      for (const ServerId server : commit.dropped) {
        owner_.on_dropped_(commit.block, commit.sealing, server);
      }
    }
    Take(machine_.OnCommitted(status));
  }

  void AwaitCommands() {
    std::vector<ChunkCommand*> open;
    for (const Running& running : commands_) open.push_back(running.command.get());
    owner_.commander_.Await(open, [this] { return owner_.Wanted(epoch_); });
    std::vector<Running> finished;
    for (auto it = commands_.begin(); it != commands_.end();) {
      if (!it->command->done()) {
        ++it;
        continue;
      }
      finished.push_back(std::move(*it));
      it = commands_.erase(it);
    }
    for (const Running& running : finished) {
      if (machine_.done()) return;
      running.pull ? TakePull(*running.command) : TakeSeal(*running.command);
    }
  }

  void TakeSeal(const ChunkCommand& command) {
    const wire::SealResponseHeader& answer = command.seal();
    Status status = command.status().ok() ? FromWire(answer.status) : command.status();
    SealAnswer seal;
    if (status.code() == StatusCode::kStaleGeneration && answer.generation_before > 0 &&
        answer.generation_before < kMaxGeneration) {
      seal.newer = Generation(static_cast<uint64_t>(answer.generation_before));
      return Take(machine_.OnSealed(command.server(), seal));
    }
    if (!status.ok()) return Take(machine_.OnSealed(command.server(), Own(status)));
    seal.absent = answer.absent;
    seal.before = Generation(static_cast<uint64_t>(answer.generation_before));
    seal.length = static_cast<uint32_t>(answer.length);
    seal.table_crc = static_cast<uint32_t>(answer.table_crc);
    seal.suspect = answer.suspect;
    seal.damaged_pages = static_cast<uint32_t>(answer.damaged_pages);
    Take(machine_.OnSealed(command.server(), seal));
  }

  void TakePull(const ChunkCommand& command) {
    const wire::PullResponseHeader& answer = command.pull();
    if (!command.status().ok()) {
      return Take(machine_.OnPulled(command.server(), Own(command.status()), command.server()));
    }
    copied_bytes_ += answer.copied_bytes;
    Take(machine_.OnPulled(command.server(), Own(FromWire(answer.status)),
                           ServerId(static_cast<uint32_t>(answer.failed_server_id))));
  }

  /// A command that was given up because this is not the active any more says nothing of the
  /// server.
  Status Own(const Status& status) const {
    if (status.code() != StatusCode::kCancelled) return status;
    return Status(StatusCode::kStaleEpoch, "this metaserver is not the active any more");
  }

  /// The journal remembers the targets of a begun attempt for the next one; those of one that was
  /// overtaken are no one's.
  void Discard() {
    if (machine_.outcome().code() != StatusCode::kConflict || machine_.targets().empty()) return;
    const Status status =
        owner_.journal_.Propose(epoch_, "discard targets", [&](OperationContext& context) {
          return EvaluateDiscardTargets(context, goal_.block, machine_.generation(),
                                        machine_.targets());
        });
    if (!status.ok() && status.code() != StatusCode::kNotActive) {
      LOG_WARN("copies of a given-up attempt may stay block={} servers={}: {}", goal_.block,
               ServerList(machine_.targets()), status);
    }
  }

  Reconfigurer& owner_;
  const Epoch epoch_;
  const ReconfigurationGoal& goal_;
  const wire::PullClass::type pull_class_;
  Reconfiguration machine_;
  std::deque<ReconfigurationEffect> effects_;
  std::vector<Running> commands_;
  int64_t copied_bytes_ = 0;
  uint32_t lost_pages_ = 0;
};

namespace {

/// "PATH (block 7 of it)" for the one log line that tells people what they lost.
std::string FileOf(const View& view, BlockId block) {
  const auto owned = FindOwnedBlock(Tables(view), block);
  if (!owned.ok() || !*owned) return "a file that is gone";
  const auto path = PathOf(view, (*owned)->inode);
  return (path.ok() ? *path : "inode " + std::to_string((*owned)->inode.value())) + " (block " +
         std::to_string((*owned)->index) + " of it)";
}

}  // namespace

ReconfigurationResult Reconfigurer::Run(Epoch epoch, const ReconfigurationGoal& goal,
                                        wire::PullClass::type pull_class, const std::string& why) {
  ReconfigurationResult result = Attempt(*this, epoch, goal, pull_class).Run();
  if (!result.status.ok() && result.newer.value() != 0) {
    LOG_WARN_LIMITED("going on above what the journal knows block={}: {}", goal.block,
                     result.status);
    ReconfigurationGoal higher = goal;
    higher.above = result.newer;
    result = Attempt(*this, epoch, higher, pull_class).Run();
  }
  if (!result.status.ok()) {
    RepairCounters::Get().failed_attempts.Increment();
    if (result.status.code() != StatusCode::kConflict &&
        result.status.code() != StatusCode::kStaleEpoch) {
      LOG_WARN_LIMITED("chain not changed reason=\"{}\" block={} from={} took_ms={}: {}", why,
                       goal.block, goal.from, result.took.count(), result.status);
    }
    return result;
  }
  LOG_INFO(
      "chain changed reason=\"{}\" block={} generation={} servers={} copied_bytes={} took_ms={}",
      why, goal.block, result.generation, ServerList(result.chain), result.copied_bytes,
      result.took.count());
  TellOfLoss(goal, result);
  return result;
}

void Reconfigurer::TellOfLoss(const ReconfigurationGoal& goal,
                              const ReconfigurationResult& result) {
  uint32_t told = 0;
  {
    std::lock_guard lock(told_mutex_);
    if (const auto found = told_.find(goal.block); found != told_.end()) told = found->second;
    if (result.lost_pages == 0) {
      told_.erase(goal.block);
    } else if (told_.contains(goal.block) || told_.size() < kMaxTold) {
      told_[goal.block] = std::max(told, result.lost_pages);
    }
  }
  if (result.lost_pages > told) {
    RepairCounters::Get().lost_pages.Increment(result.lost_pages - told);
    LOG_ERROR(
        "data is lost or may be: the best replica that is left was kept pages={} block={} "
        "generation={} file={}",
        result.lost_pages, goal.block, result.generation, FileOf(journal_.committed(), goal.block));
  } else if (result.lost_pages == 0 && goal.accept_suspect) {
    LOG_ERROR(
        "acknowledged writes may be lost: all replicas were of servers whose machines crashed; the "
        "best was kept block={} generation={} file={}",
        goal.block, result.generation, FileOf(journal_.committed(), goal.block));
  }
}

// ---- bulk copies, comparisons and pings ----

Reconfigurer::Prepared Reconfigurer::Prepare(Epoch epoch, BlockId block, ServerId source,
                                             Generation generation,
                                             const std::vector<ServerId>& targets,
                                             wire::PullClass::type pull_class) {
  Prepared prepared;
  const auto from = Peer(source);
  std::vector<std::unique_ptr<ChunkCommand>> commands;
  std::vector<ChunkCommand*> open;
  for (const ServerId target : targets) {
    const auto to = Peer(target);
    if (!from.ok() || !to.ok()) {
      prepared.failed[target] =
          from.ok() ? std::pair(to.status(), target) : std::pair(from.status(), source);
      continue;
    }
    wire::PullHeader header;
    header.epoch = ToWireId(epoch);
    header.block_id = ToWireId(block);
    header.source.server_id = static_cast<int32_t>(source.value());
    header.source.host = from->address.host;
    header.source.port = from->address.port;
    header.source_generation = ToWireId(generation);
    header.pull_class = pull_class;
    commands.push_back(commander_.Pull(*to, header, options_.prepare));
    open.push_back(commands.back().get());
  }
  commander_.AwaitAll(open, [&] { return Wanted(epoch); });
  for (const ChunkCommand* command : open) {
    const Status status =
        command->status().ok() ? FromWire(command->pull().status) : command->status();
    if (status.ok()) {
      prepared.copied_bytes += command->pull().copied_bytes;
      continue;
    }
    const ServerId failed = command->status().ok() && command->pull().failed_server_id != 0
                                ? ServerId(static_cast<uint32_t>(command->pull().failed_server_id))
                                : command->server();
    prepared.failed[command->server()] = std::pair(status, failed);
  }
  return prepared;
}

Comparison Reconfigurer::Compare(Epoch epoch, BlockId block, Generation generation,
                                 const std::vector<ServerId>& servers) {
  wire::TableHeader header;
  header.block_id = ToWireId(block);
  header.generation = ToWireId(generation);
  std::vector<std::unique_ptr<ChunkCommand>> commands;
  std::vector<ChunkCommand*> open;
  for (const ServerId server : servers) {
    const auto peer = Peer(server);
    if (!peer.ok()) return Comparison::kUnknown;
    commands.push_back(commander_.Table(*peer, header, options_.table));
    open.push_back(commands.back().get());
  }
  commander_.AwaitAll(open, [&] { return Wanted(epoch); });
  std::vector<Result<ReplicaContent>> answers;
  for (const ChunkCommand* command : open) {
    const Status status =
        command->status().ok() ? FromWire(command->table().status) : command->status();
    answers.push_back(status.ok() ? Result<ReplicaContent>(command->content())
                                  : Result<ReplicaContent>(status));
  }
  return CompareReplicas(answers);
}

std::set<ServerId> Reconfigurer::Ping(const std::vector<ServerId>& servers,
                                      std::chrono::milliseconds wait, Epoch epoch) {
  std::vector<std::unique_ptr<ChunkCommand>> commands;
  std::vector<ChunkCommand*> open;
  for (const ServerId server : servers) {
    const auto peer = Peer(server);
    if (!peer.ok()) continue;
    commands.push_back(commander_.Ping(*peer, CommandDeadlines{wait, wait}));
    open.push_back(commands.back().get());
  }
  commander_.AwaitAll(open, [&] { return Wanted(epoch); });
  std::set<ServerId> answered;
  for (const ChunkCommand* command : open) {
    if (command->status().ok()) answered.insert(command->server());
  }
  return answered;
}

Result<ChunkPeer> Reconfigurer::Peer(ServerId server) const {
  const auto state = servers_.Find(server);
  if (!state || state->service == ServiceState::kRemoved) {
    return Status(StatusCode::kUnavailable,
                  "there is no chunk server " + std::to_string(server.value()));
  }
  return ChunkPeer{server, state->address};
}

}  // namespace tercet
