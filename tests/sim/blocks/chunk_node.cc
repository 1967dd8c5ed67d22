#include "tests/sim/blocks/chunk_node.h"

#include <algorithm>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "tests/sim/blocks/active_node.h"

namespace tercet::sim {
namespace {

constexpr SimTime kLinkDeadline = 2 * kSecond;
constexpr SimTime kAskDeadline = 2 * kSecond;
constexpr SimTime kHeartbeat = 300 * kMillisecond;
constexpr SimTime kRetry = 200 * kMillisecond;
constexpr int64_t kSettleIntervalMs = 400;
constexpr int64_t kSlowSettleIntervalMs = 30'000;

std::string FolderOf(int disk) { return "/data" + std::to_string(disk); }

Status Refused() { return Status(StatusCode::kUnavailable, "the server does not answer"); }

std::string PieceCrcs(uint32_t offset, std::string_view data) {
  std::string crcs;
  while (!data.empty()) {
    const size_t piece = std::min<size_t>(kPageBytes - offset % kPageBytes, data.size());
    PutFixed32(&crcs, Crc32c(data.substr(0, piece)));
    data.remove_prefix(piece);
    offset += static_cast<uint32_t>(piece);
  }
  return crcs;
}

}  // namespace

/// A frame under way here: answered when the local part and the one downstream are done.
struct ChunkNode::Operation {
  BlockId block;
  Generation generation;
  bool change_begun = false;  // when it fails, some replicas may have it
  uint64_t incarnation = 0;   // of this server
  int parts = 1;
  Status status;
  ServerId failed;
  Reply reply;
};

/// The connection to the next server of chains. A new one has a higher number.
struct ChunkNode::Link {
  ConnectionPtr connection;
  uint64_t incarnation = 0;  // of the peer
  uint64_t next_operation = 0;
  std::map<uint64_t, std::shared_ptr<Operation>> owed;
};

struct ChunkNode::Pull {
  PullCommand command;
  std::unique_ptr<ReplicaPull> steps;
  Reply reply;
  uint64_t incarnation = 0;  // of this server
  bool started = false;
};

ChunkNode::ChunkNode(BlockWorld& world, ServerId id)
    : world_(world),
      id_(id),
      disk_(std::make_unique<SimDisk>()),
      clock_(world.queue, 1'000'000, 0) {
  MakeFolders();
}

void ChunkNode::MakeFolders() {
  for (int i = 0; i < world_.scenario.disks; ++i) {
    (void)disk_->MakeDirectories(FolderOf(i)).ok();
  }
}

ChunkNode::~ChunkNode() {
  pulls_.clear();
  store_.reset();
}

// ---- life ----

void ChunkNode::OpenStore() {
  BlockStoreOptions options;
  for (int i = 0; i < world_.scenario.disks; ++i) {
    StoreDiskOptions disk;
    disk.path = FolderOf(i);
    options.disks.push_back(disk);
  }
  options.reserve_bytes = 0;
  options.index_io = IndexIo::kDiskInSteps;
  options.settle_interval_ms =
      world_.scenario.slow_settle ? kSlowSettleIntervalMs : kSettleIntervalMs;
  options.incomplete_retention_ms = 20'000;
  options.max_open_replicas = 64;
  options.boot_id = fmt::format("boot-{}-{}", id_, boots_);
  auto opened = BlockStore::Open(*disk_, clock_, world_.random, options);
  if (!opened.ok()) {
    return world_.Fail(
        fmt::format("server {} cannot open its store: {}", id_, opened.status().ToString()));
  }
  store_ = std::move(*opened);
}

void ChunkNode::Start() {
  if (up()) return;
  ++incarnation_;
  serving_ = false;
  OpenStore();
  if (!up()) return;
  SIM_TRACE(world_.trace, "server {} starts", id_);
  FetchTasks();
  Heartbeat();
}

void ChunkNode::KillProcess() {
  if (!up()) return;
  SIM_TRACE(world_.trace, "server {} is killed", id_);
  disk_->KillProcess();  // before the store can close anything
  ForgetProcess();
}

void ChunkNode::StopProcess() {
  if (!up()) return;
  SIM_TRACE(world_.trace, "server {} is stopped", id_);
  while (!links_.empty()) {
    const auto& [next, link] = *links_.begin();
    FailLink(next, link->connection->number);
  }
  ForgetProcess();
}

void ChunkNode::ForgetProcess() {
  ++incarnation_;
  serving_ = false;
  pulls_.clear();
  links_.clear();
  newest_link_.clear();
  done_.clear();
  backlog_.clear();
  paused_until_ = 0;
  orders_of_ = -1;
  store_.reset();
  if (std::exchange(power_cut_, nullptr) == nullptr) return;
  // It was about to lose its power, or has lost it.
  disk_->Crash(world_.random);
  ++boots_;
}

void ChunkNode::CutPower() {
  power_cut_ = nullptr;
  KillProcess();
  SIM_TRACE(world_.trace, "server {} loses power", id_);
  disk_->Crash(world_.random);
  ++boots_;
}

void ChunkNode::CutPowerAfter(uint64_t changes, std::function<void()> cut) {
  disk_->CutPowerAfter(changes);
  power_cut_ = std::move(cut);
  AwaitPowerCut(incarnation_);
}

/// Whether or not it does anything more: soon it is over.
void ChunkNode::MendDisks() {
  if (!up()) return;
  disk_->FailSync(0);
  disk_->FailWrite(0);
  const auto disks = store_->Disks();
  const bool healthy =
      std::all_of(disks.begin(), disks.end(), [](const auto& disk) { return disk.healthy; });
  if (healthy) return;
  StopProcess();
  Start();
}

void ChunkNode::AwaitPowerCut(uint64_t incarnation) {
  world_.queue.After(300 * kMillisecond, [this, incarnation] {
    if (incarnation == incarnation_ && power_cut_ != nullptr) std::exchange(power_cut_, nullptr)();
  });
}

void ChunkNode::LoseDisk() {
  KillProcess();
  SIM_TRACE(world_.trace, "server {} gets an empty disk", id_);
  disk_ = std::make_unique<SimDisk>();
  MakeFolders();
}

void ChunkNode::PauseUntil(SimTime until) {
  if (!up()) return;
  SIM_TRACE(world_.trace, "server {} is paused", id_);
  paused_until_ = std::max(paused_until_, until);
  world_.queue.At(paused_until_, [this] {
    if (paused()) return;
    // What lay in its sockets, in order.
    std::deque<std::function<void()>> backlog;
    backlog.swap(backlog_);
    for (auto& handle : backlog) handle();
  });
}

void ChunkNode::Receive(const ConnectionPtr& connection, uint64_t incarnation,
                        std::function<void()> handle) {
  if (!up() || incarnation != incarnation_) return;
  if (paused()) {
    backlog_.push_back([this, connection, incarnation, handle = std::move(handle)] {
      Receive(connection, incarnation, handle);
    });
    return;
  }
  handle();
  if (power_cut_ != nullptr && disk_->power_is_cut()) std::exchange(power_cut_, nullptr)();
}

/// A server serves nothing before it knows what left its chains while it was away.
void ChunkNode::FetchTasks() {
  const uint64_t incarnation = incarnation_;
  auto again = [this, incarnation] {
    if (incarnation == incarnation_ && !serving_) FetchTasks();
  };
  world_.queue.After(kRetry + world_.Between(0, kRetry), again);
  const auto party = static_cast<Party>(id_.value());
  if (world_.network.IsCut(party, kActiveParty) || !world_.active->serving()) return;
  const RegistrationAnswer answer = world_.active->Register(id_);
  world_.network.Answer(kActiveParty, party,
                        [this, incarnation, answer, given_out = world_.queue.now()] {
                          if (incarnation != incarnation_ || serving_ || paused()) return;
                          if (!store_->ObserveEpoch(answer.epoch).ok()) return;
                          store_->RaiseCreateFloor(answer.next_block);
                          for (const DeleteOrder& order : answer.orders)
                            store_->Doom(order.block, order.generation);
                          serving_ = true;
                          TakeOrders(given_out, answer.orders);
                        });
}

/// What the next heartbeat reports as bad.
std::vector<BadReplicaNote> ChunkNode::NotesOf(const std::vector<BadReplicaFound>& found) {
  std::vector<BadReplicaNote> notes;
  for (const BadReplicaFound& bad : found) {
    if (bad.fault == ReplicaFault::kDoubtful) ++world_.counts.doubts;
    notes.push_back({bad.block, bad.generation, id_, static_cast<uint8_t>(bad.fault)});
  }
  // What comparing digests finds.
  for (const BlockPlace& place : world_.active->Places()) {
    const bool member = std::find(place.chain.begin(), place.chain.end(), id_) != place.chain.end();
    const StatusCode code = store_->Stat(place.block).code();
    const bool missing = code == StatusCode::kNotFound || code == StatusCode::kIo;
    if (member && !place.reserved && missing) {
      notes.push_back(
          {place.block, place.generation, id_, static_cast<uint8_t>(BadReplica::kMissing)});
    }
  }
  return notes;
}

void ChunkNode::Heartbeat() {
  const uint64_t incarnation = incarnation_;
  world_.queue.After(kHeartbeat + world_.Between(0, kMillisecond), [this, incarnation] {
    if (incarnation == incarnation_) Heartbeat();
  });
  const auto party = static_cast<Party>(id_.value());
  if (paused() || !serving_ || !world_.active->serving() ||
      world_.network.IsCut(party, kActiveParty)) {
    return;
  }
  store_->Maintain();
  const auto found = store_->TakeBadReplicas(100);
  world_.active->NoteBad(id_, NotesOf(found));
  world_.active->ConfirmDeleted(id_, done_);
  done_.clear();
  const Epoch epoch = world_.active->epoch();
  const std::vector<DeleteOrder> orders = world_.active->OrdersFor(id_);
  world_.network.Answer(kActiveParty, party,
                        [this, incarnation, epoch, orders, found, given_out = world_.queue.now()] {
                          if (incarnation != incarnation_ || paused()) return;
                          store_->AcknowledgeBadReplicas(found);
                          if (!store_->ObserveEpoch(epoch).ok()) return;
                          TakeOrders(given_out, orders);
                          QuarantineUnknown();
                        });
}

/// What an inventory finds: a replica that the journal does not know, of a disk that came back.
void ChunkNode::QuarantineUnknown() {
  for (const BlockPlace& place : world_.active->Places()) {
    const auto stat = store_->Stat(place.block);
    if (!stat.ok() || stat->generation >= place.generation) continue;
    if (std::find(place.chain.begin(), place.chain.end(), id_) != place.chain.end()) continue;
    if (store_->Quarantine(place.block, stat->generation).ok()) {
      SIM_TRACE(world_.trace, "server {} has a replica of block {} that nobody knows", id_,
                place.block);
    }
  }
}

void ChunkNode::TakeOrders(SimTime given_out, const std::vector<DeleteOrder>& orders) {
  orders_of_ = std::max(orders_of_, given_out);
  for (const DeleteOrder& order : orders) {
    store_->Doom(order.block, order.generation);
    if (order.hold) continue;
    const Status moved = store_->MoveToTrash(order.block, order.generation);
    // One with a higher generation is not meant any more.
    if (!moved.ok() && moved.code() != StatusCode::kConflict) continue;
    if (store_->SyncDeletions().ok()) done_.push_back(order);
  }
}

// ---- the chain ----

void ChunkNode::OnFrame(const ConnectionPtr& connection, const WriteFrame& frame, Reply reply) {
  if (!serving_) return reply(Refused(), id_);
  if (connection->from < kActiveParty) {
    // A link that has a successor is not listened to any more.
    uint64_t& newest = newest_link_[connection->from];
    if (connection->number < newest) return;
    newest = connection->number;
  } else if (connection->abandoned && !world_.network.IsCut(connection->from, connection->to) &&
             !world_.OneIn(4)) {
    return;  // the sender has closed the connection, and that has arrived
  }
  auto operation = std::make_shared<Operation>();
  operation->reply = std::move(reply);
  operation->block = frame.block;
  operation->generation = frame.generation;
  operation->incarnation = incarnation_;
  Status status = CheckBefore(frame);
  if (status.ok()) {
    operation->change_begun = frame.write != 0;
    if (!frame.downstream.empty()) Forward(frame, operation);
    status = Apply(frame);
  }
  FinishPart(operation, status, status.ok() ? ServerId() : id_);
}

/// Before a frame is passed on.
Status ChunkNode::CheckBefore(const WriteFrame& frame) {
  if (frame.write != 0) {
    return store_->BeginChange(frame.block, frame.generation, frame.create);
  }
  ASSIGN_OR_RETURN(const ReplicaStat stat, store_->Stat(frame.block));
  if (stat.generation == frame.generation) return Status::Ok();
  return Status(StatusCode::kStaleGeneration, "another generation here");
}

Status ChunkNode::Apply(const WriteFrame& frame) {
  if (frame.write == 0) return store_->Sync(frame.block, frame.generation);
  const std::string data = CellBytes(frame.write, frame.first_cell, frame.cells);
  WriteArguments arguments;
  arguments.block = frame.block;
  arguments.generation = frame.generation;
  arguments.offset = frame.first_cell * kCellBytes;
  arguments.data = data;
  const std::string crcs = PieceCrcs(arguments.offset, data);
  arguments.piece_crcs = crcs;
  arguments.create = frame.create;
  RETURN_IF_ERROR(store_->Write(arguments));
  return frame.sync ? store_->Sync(frame.block, frame.generation) : Status::Ok();
}

ChunkNode::Link& ChunkNode::LinkTo(ServerId next) {
  std::unique_ptr<Link>& link = links_[next];
  if (link == nullptr) {
    link = std::make_unique<Link>();
    link->connection =
        world_.network.Connect(static_cast<Party>(id_.value()), static_cast<Party>(next.value()));
    link->incarnation = world_.Server(next).incarnation();
  }
  return *link;
}

void ChunkNode::Forward(const WriteFrame& frame, const std::shared_ptr<Operation>& operation) {
  const ServerId next = frame.downstream.front();
  ChunkNode& peer = world_.Server(next);
  Link& link = LinkTo(next);
  ++operation->parts;
  const uint64_t number = ++link.next_operation;
  const uint64_t connection = link.connection->number;
  link.owed.emplace(number, operation);
  WriteFrame forwarded = frame;
  forwarded.downstream.erase(forwarded.downstream.begin());
  const auto party = static_cast<Party>(next.value());
  const auto own = static_cast<Party>(id_.value());
  auto answered = [this, next, number, connection, incarnation = incarnation_](const Status& status,
                                                                               ServerId failed) {
    if (incarnation != incarnation_) return;
    auto it = links_.find(next);
    if (it == links_.end() || it->second->connection->number != connection) return;
    auto owed = it->second->owed.extract(number);
    if (!owed.empty()) FinishPart(owed.mapped(), status, failed);
  };
  auto reply = [this, party, own, answered](const Status& status, ServerId failed) {
    world_.network.Answer(party, own, [answered, status, failed] { answered(status, failed); });
  };
  world_.network.Send(link.connection, [&peer, link_connection = link.connection,
                                        incarnation = link.incarnation, forwarded, reply] {
    peer.Receive(link_connection, incarnation, [&peer, link_connection, forwarded, reply] {
      peer.OnFrame(link_connection, forwarded, reply);
    });
  });
  world_.queue.After(kLinkDeadline, [this, next, number, connection, incarnation = incarnation_] {
    if (incarnation != incarnation_) return;
    auto it = links_.find(next);
    if (it == links_.end() || it->second->connection->number != connection) return;
    if (it->second->owed.contains(number)) FailLink(next, connection);
  });
}

void ChunkNode::FailLink(ServerId next, uint64_t number) {
  auto it = links_.find(next);
  if (it == links_.end() || it->second->connection->number != number) return;
  std::unique_ptr<Link> link = std::move(it->second);
  links_.erase(it);
  link->connection->abandoned = true;
  for (auto& [id, operation] : link->owed) FinishPart(operation, Refused(), next);
}

void ChunkNode::FinishPart(const std::shared_ptr<Operation>& operation, const Status& status,
                           ServerId failed) {
  if (operation->status.ok() && !status.ok()) {
    operation->status = status;
    operation->failed = failed;
  }
  if (--operation->parts > 0) return;
  if (operation->incarnation != incarnation_) return;  // of a process that is gone
  if (operation->change_begun && !operation->status.ok()) {
    store_->NoteDoubtful(operation->block, operation->generation);
  }
  operation->reply(operation->status, operation->failed);
}

// ---- commands ----

Result<SealAnswer> ChunkNode::OnSeal(Epoch epoch, const SealEffect& seal, BlockId block) {
  if (!serving_) return Refused();
  RETURN_IF_ERROR(store_->ObserveEpoch(epoch));
  const auto result =
      store_->Seal(block, seal.generation, seal.create_if_absent, seal.verify, seal.accept_suspect);
  SealAnswer answer;
  if (result.code() == StatusCode::kStaleGeneration) {
    ASSIGN_OR_RETURN(const ReplicaStat stat, store_->Stat(block));
    answer.newer = stat.generation;
    return answer;
  }
  RETURN_IF_ERROR(result.status());
  const SealResult& sealed = *result;
  answer.absent = sealed.absent;
  answer.before = sealed.before;
  answer.length = sealed.length;
  answer.table_crc = sealed.table_crc;
  answer.suspect = sealed.suspect;
  answer.damaged_pages = sealed.damaged_pages;
  return answer;
}

Result<PageTable> ChunkNode::OnTable(BlockId block, Generation generation) {
  if (!serving_) return Refused();
  return store_->Table(block, generation);
}

Result<VerifiedPages> ChunkNode::OnRead(BlockId block, Generation generation, uint32_t offset,
                                        uint32_t length) {
  if (!serving_) return Refused();
  return store_->Read(block, generation, offset, length);
}

void ChunkNode::OnPull(const PullCommand& command, Reply reply) {
  if (!serving_) return reply(Refused(), id_);
  if (Status observed = store_->ObserveEpoch(command.epoch); !observed.ok()) {
    return reply(observed, id_);
  }
  std::shared_ptr<Pull>& running = pulls_[command.block];
  if (running != nullptr) return reply(Status(StatusCode::kBusy, "one is under way"), id_);
  if (store_->Stat(command.block).ok()) ++world_.counts.held_bases;
  ReplicaPullOptions options;
  options.block = command.block;
  options.source_generation = command.source_generation;
  options.finish = command.generation;
  options.verify_base = command.verify_base;
  options.max_range_bytes = 2 * kPageBytes;
  running = std::make_shared<Pull>();
  running->command = command;
  running->steps = std::make_unique<ReplicaPull>(*store_, options);
  running->reply = std::move(reply);
  running->incarnation = incarnation_;
  PullStep(running);
}

void ChunkNode::EndPull(const std::shared_ptr<Pull>& pull, const Status& status, ServerId failed) {
  if (pull->reply == nullptr) return;
  if (pull->incarnation != incarnation_) {
    pull->reply = nullptr;  // this process is gone, and with it the connection
    return;
  }
  Reply reply = std::exchange(pull->reply, nullptr);
  auto it = pulls_.find(pull->command.block);
  if (it != pulls_.end() && it->second == pull) pulls_.erase(it);
  world_.counts.pulled_bytes += pull->steps->copied_bytes();
  reply(status, failed);
}

/// Has `ask` done at the source; without an answer in time the pull has failed.
void ChunkNode::AskSource(const std::shared_ptr<Pull>& pull, std::function<void(ChunkNode&)> ask) {
  ChunkNode& source = world_.Server(pull->command.source);
  const auto own = static_cast<Party>(id_.value());
  const ConnectionPtr connection =
      world_.network.Connect(own, static_cast<Party>(source.id().value()));
  const uint64_t incarnation = source.incarnation();
  world_.network.Send(connection, [&source, connection, incarnation, ask = std::move(ask)] {
    source.Receive(connection, incarnation, [&source, ask] { ask(source); });
  });
}

void ChunkNode::PullStep(const std::shared_ptr<Pull>& pull) {
  if (pull->reply == nullptr) return;
  if (pull->incarnation != incarnation_) return EndPull(pull, Status::Ok(), id_);
  const PullCommand& command = pull->command;
  const auto own = static_cast<Party>(id_.value());
  const auto party = static_cast<Party>(command.source.value());
  auto waiting = std::make_shared<bool>(true);
  world_.queue.After(kAskDeadline, [this, pull, waiting, source = command.source] {
    if (std::exchange(*waiting, false)) EndPull(pull, Refused(), source);
  });
  // The answer, which waits while this server is paused.
  auto here = [this, pull, waiting, party, own](std::function<void()> take) {
    world_.network.Answer(party, own, [this, pull, waiting, take = std::move(take)] {
      Receive(nullptr, pull->incarnation, [waiting, take] {
        if (std::exchange(*waiting, false)) take();
      });
    });
  };
  if (!pull->started) {
    pull->started = true;
    AskSource(pull, [this, pull, here](ChunkNode& source) {
      auto table = source.OnTable(pull->command.block, pull->command.source_generation);
      here([this, pull, table] {
        if (!table.ok()) return EndPull(pull, table.status(), pull->command.source);
        if (Status started = pull->steps->Start(*table); !started.ok()) {
          return EndPull(pull, started, id_);
        }
        PullStep(pull);
      });
    });
    return;
  }
  const auto range = pull->steps->NextRange();
  if (!range) {
    *waiting = false;
    return EndPull(pull, pull->steps->Finish(), id_);
  }
  AskSource(pull, [this, pull, here, range = *range](ChunkNode& source) {
    auto pages = source.OnRead(pull->command.block, pull->command.source_generation, range.offset,
                               range.length);
    here([this, pull, range, pages] {
      if (!pages.ok()) return EndPull(pull, pages.status(), pull->command.source);
      if (Status applied = pull->steps->Apply(range, pages->data, pages->page_crcs);
          !applied.ok()) {
        return EndPull(pull, applied, id_);
      }
      PullStep(pull);
    });
  });
}

// ---- checks ----

Result<std::vector<WriteId>> ChunkNode::Content(BlockId block, Generation generation,
                                                uint32_t cells) {
  ASSIGN_OR_RETURN(VerifiedPages pages, store_->Read(block, generation, 0, cells * kCellBytes));
  pages.data.resize(size_t{cells} * kCellBytes, '\0');
  std::vector<WriteId> writes(cells);
  for (uint32_t cell = 0; cell < cells; ++cell) {
    writes[cell] =
        WriteOf(std::string_view(pages.data).substr(size_t{cell} * kCellBytes, kCellBytes), cell);
  }
  return writes;
}

}  // namespace tercet::sim
