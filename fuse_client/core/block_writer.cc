#include "fuse_client/core/block_writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "common/log/log.h"

namespace tercet {
namespace {

/// A new block on other servers than those that failed is asked for so long.
constexpr std::chrono::milliseconds kAvoidLimit{2'000};
/// One RecoverBlock; the active may have to copy a whole block meanwhile.
constexpr std::chrono::milliseconds kRecoverLimit{10'000};
/// When servers are full and no others are to be had for so long, there will hardly be any later.
constexpr double kFullPatienceSeconds = 1;
/// The same as long as the old chain may be as good.
constexpr std::chrono::milliseconds kSuspicionLimit{3'000};
/// A recovery is worth a warning from here on, and another line while it lasts from there on.
constexpr double kUnremarkableSeconds = 1;
constexpr double kRemarkableSeconds = 10;
/// More pieces of written_ are joined to one interval.
constexpr size_t kMaxWrittenIntervals = 4'096;
constexpr size_t kMaxExcluded = 16;
constexpr int32_t kBlocksPerFetch = 32;

/// What the cluster may get over by itself.
bool MayPass(StatusCode code) {
  return code == StatusCode::kUnavailable || code == StatusCode::kDeadlineExceeded;
}

std::string Describe(const FileBlock& block) {
  return fmt::format("block {} generation {} on [{}]", block.id, block.generation,
                     fmt::join(block.chain, ","));
}

WriteData DataOf(const Piece& piece) {
  return {std::shared_ptr<const char>(piece.buffer, piece.data().data()),
          static_cast<uint32_t>(piece.size)};
}

}  // namespace

BlockWriter::BlockWriter(ClientContext* context, InodeState* inode, uint64_t index)
    : context_(context),
      inode_(inode),
      index_(index),
      seen_foreign_changes_(inode->foreign_changes.load()) {}

BlockWriter::~BlockWriter() = default;

Status BlockWriter::Send() { return Run(Goal::kSend); }
Status BlockWriter::Drain() { return Run(Goal::kDrain); }
Status BlockWriter::Sync() { return Run(Goal::kSync); }

Status BlockWriter::SyncExisting(FileBlock block) {
  only_syncs_ = true;
  unsynced_ = true;
  block_ = std::move(block);
  const Status status = Run(Goal::kSync);
  return left_file_ ? Status::Ok() : status;
}

Status BlockWriter::Run(Goal goal) {
  recovering_.reset();
  for (;;) {
    Status status = TryOnce(goal);
    if (status.ok()) {
      if (!recovering_) return status;
      LogRecovered();
      context_->counters.chain_recoveries.fetch_add(1);
      context_->recovery_times.Add(recovering_->timer.seconds());
      recovering_.reset();
      excluded_.clear();
      return status;
    }
    const bool first = !recovering_;
    if (first) {
      const ServerId server = chain_ == nullptr ? ServerId() : chain_->failed_server();
      recovering_.emplace(Recovery{RetryTimer(context_->DataLimit()), status, server, block_});
    }
    LogSlowness(status);
    const Status hopeless = PrepareRetry(status);
    // The active is told of a failed chain at once.
    if (hopeless.ok() && first && failure_ && !context_->stop.stopped()) continue;
    if (!hopeless.ok() || !recovering_->timer.Wait(context_->stop)) {
      if (!hopeless.ok()) status = hopeless;
      if (context_->stop.stopped()) status = Status(StatusCode::kCancelled, "the mount is ending");
      GiveUp(status, recovering_->timer.seconds());
      recovering_.reset();
      return status;
    }
  }
}

Status BlockWriter::TryOnce(Goal goal) {
  const std::deque<Piece>* waiting = pieces();
  const bool must_sync = goal == Goal::kSync && unsynced_;
  if (waiting == nullptr && !salvage_ && !must_sync) return Status::Ok();
  NoticeForeignChanges();
  NoticeFailedServers();
  RETURN_IF_ERROR(EnsureChain());
  RETURN_IF_ERROR(CopySalvage());
  RETURN_IF_ERROR(CutIfNeeded());
  if (waiting != nullptr) RETURN_IF_ERROR(SubmitPieces(*waiting, goal));
  if (goal == Goal::kSend) {
    RETURN_IF_ERROR(chain_->Poll());
  } else {
    RETURN_IF_ERROR(chain_->Drain());
  }
  CollectAcknowledged();
  if (goal == Goal::kSync) RETURN_IF_ERROR(chain_->Sync());
  unsynced_ = chain_->unsynced();
  return Status::Ok();
}

/// A truncation by somebody else may have taken a committed block out of the file. (A reserved one
/// is found out about by its commit.)
void BlockWriter::NoticeForeignChanges() {
  const uint64_t changes = inode_->foreign_changes.load();
  if (changes == seen_foreign_changes_ || !submitted_.empty()) return;
  seen_foreign_changes_ = changes;
  if (!block_ || block_->reserved) return;
  DropChain();
  refetch_ = true;
}

/// A chain that another writer or reader found a failed server in meanwhile is looked at again.
void BlockWriter::NoticeFailedServers() {
  if (chain_ == nullptr || !submitted_.empty()) return;
  if (context_->connections->failures() != seen_failures_) DropChain();
}

Status BlockWriter::SubmitPieces(const std::deque<Piece>& waiting, Goal goal) {
  // A lone piece on an otherwise durable block is made durable with its own frame.
  const bool lone = goal == Goal::kSync && !unsynced_ && submitted_.empty() && waiting.size() == 1;
  while (submitted_.size() < waiting.size()) {
    const Piece& piece = waiting[submitted_.size()];
    const bool create = block_->reserved && !block_->has_data && submitted_.empty();
    const auto offset = static_cast<uint32_t>(piece.offset - index_ * inode_->block_size());
    submitted_.push_back(chain_->next_number());
    unsynced_ = true;
    RETURN_IF_ERROR(chain_->Submit(offset, DataOf(piece), create, lone));
  }
  return Status::Ok();
}

Status BlockWriter::EnsureChain() {
  if (chain_ != nullptr) return Status::Ok();
  if (failure_) {
    RETURN_IF_ERROR(Recover());
  } else {
    RETURN_IF_ERROR(EnsureBlock());
    RETURN_IF_ERROR(LeaveGivenUpGeneration());
    RETURN_IF_ERROR(AskForMoreReplicas());
    RETURN_IF_ERROR(AskAgainIfSuspect());
  }
  auto target = context_->TargetOf(*block_);
  if (!target.ok()) {
    // The next try asks for the locations, and with them the addresses, again.
    refetch_ = true;
    return target.status();
  }
  ChainWriterOptions options;
  options.progress_timeout = context_->options.data_timeout;
  options.earlier_unsynced = unsynced_;
  chain_ = std::make_unique<ChainWriter>(context_->connections.get(), std::move(*target), options);
  submitted_.clear();
  return Status::Ok();
}

Status BlockWriter::EnsureBlock() {
  if (block_ && !refetch_) return Status::Ok();
  bool ask_for_existing = block_ && !block_->reserved;
  if (!block_) {
    std::unique_lock lock(inode_->mutex);
    inode_->allocated.wait(lock, [&] { return !inode_->allocating.contains(index_); });
    const FileBlock* known = inode_->blocks.Find(index_);
    if (known != nullptr && !known->is_hole()) {
      block_ = *known;
      return Status::Ok();
    }
    ask_for_existing = known == nullptr && index_ * inode_->block_size() <
                                               static_cast<uint64_t>(inode_->attributes.size_bytes);
  }
  if (ask_for_existing) {
    bool found = false;
    RETURN_IF_ERROR(FetchBlock(&found));
    if (found) return Status::Ok();
  }
  return AllocateAvoidingFailed();
}

/// The next try begins with a recovery when a writer gave up under the block's generation.
Status BlockWriter::LeaveGivenUpGeneration() {
  if (!context_->given_up_generations.Has(block_->id, block_->generation)) return Status::Ok();
  // It says nothing about servers: those that answer stay.
  failure_ =
      Failure{Status(StatusCode::kStaleGeneration, "writing under it was given up"), ServerId()};
  return Status(StatusCode::kUnavailable, "writing to " + Describe(*block_) + " was given up");
}

/// Makes the active replace the generation of a chain that failed. Only within a recovery.
Status BlockWriter::Recover() {
  assert(recovering_);
  const Failure failure = *failure_;
  const bool holds_nothing = block_->reserved && !block_->has_data;
  std::vector<ServerId> failed;
  if (failure.status.code() == StatusCode::kStaleGeneration) {
    // It says nothing about the servers. The active looks whether these answer.
    failed = RecentlyFailedMembers();
  } else if (failure.status.code() == StatusCode::kNotFound && holds_nothing) {
    // The server does not make a replica that it may have lost: it is as good as any for another.
  } else if (failure.server != ServerId()) {
    failed.push_back(failure.server);
  }
  const auto limit = std::min(kRecoverLimit, recovering_->timer.left().value_or(kRecoverLimit));
  const FileBlock before = *block_;
  Status status = AskForRecovery(failure.status, failed, limit);
  // It left the file: what is there now?
  if (status.code() == StatusCode::kConflict) status = AllocateAvoidingFailed();
  if (status.ok()) {
    NoteChange(before);
    return status;
  }
  const bool no_room = status.code() == StatusCode::kNoSpace;
  if (!MayPass(status.code()) && !no_room && status.code() != StatusCode::kBusy) return status;
  const bool full = no_room || failure.status.code() == StatusCode::kNoSpace;
  if (full && recovering_->timer.seconds() > kFullPatienceSeconds) {
    return no_room ? status : failure.status;
  }
  // Too few other servers: perhaps those that failed come back.
  excluded_.clear();
  return Status(StatusCode::kUnavailable, status.ToString());
}

/// A block that was left with fewer replicas than the policy demands is read, but not written to.
Status BlockWriter::AskForMoreReplicas() {
  if (!block_->below_minimum || only_syncs_) return Status::Ok();
  const FileBlock before = *block_;
  const Status status = AskForRecovery(Status::Ok(), RecentlyFailedMembers(), kRecoverLimit);
  if (status.code() == StatusCode::kConflict) return AllocateAvoidingFailed();
  if (status.ok()) NoteChange(before);
  return status;
}

/// A chain with a server that failed just now would most likely fail too. The active knows better,
/// and gives the block another one if so.
Status BlockWriter::AskAgainIfSuspect() {
  const uint64_t failures = context_->connections->failures();
  if (std::exchange(seen_failures_, failures) == failures) return Status::Ok();
  const std::vector<ServerId> failed = RecentlyFailedMembers();
  if (failed.empty()) return Status::Ok();
  const FileBlock before = *block_;
  const Status status = AskForRecovery(Status::Ok(), failed, kSuspicionLimit);
  if (status.code() == StatusCode::kConflict) return AllocateAvoidingFailed();
  if (status.ok() && NoteChange(before) && !recovering_) {
    LOG_INFO("inode {} index {}: {} became {} before it was written to, servers [{}] fail",
             inode_->id.value(), index_, Describe(before), Describe(*block_),
             fmt::join(failed, ","));
  }
  // It may serve all the same. If not, the failure of the chain says what is to be done.
  return status.code() == StatusCode::kCancelled ? status : Status::Ok();
}

Status BlockWriter::AskForRecovery(const Status& failure, const std::vector<ServerId>& failed,
                                   std::chrono::milliseconds limit) {
  wire::RecoverBlockRequest request;
  request.inode = static_cast<int64_t>(inode_->id.value());
  request.block_index = static_cast<int64_t>(index_);
  request.block_id = static_cast<int64_t>(block_->id.value());
  request.generation = static_cast<int64_t>(block_->generation.value());
  for (ServerId server : failed) {
    request.failed_servers.push_back(static_cast<int32_t>(server.value()));
  }
  request.failure = static_cast<int32_t>(failure.code());
  request.has_data = block_->has_data || !block_->reserved;
  for (ServerId server : ServersToAvoid()) {
    request.exclude_servers.push_back(static_cast<int32_t>(server.value()));
  }
  ASSIGN_OR_RETURN(
      const auto response,
      context_->metadata->Ask("recover block", &wire::MetadataServiceClient::RecoverBlock,
                              std::move(request), limit));
  context_->servers.Learn(response.servers);
  return Adopt(BlockFromWire(response.block));
}

bool BlockWriter::NoteChange(const FileBlock& before) const {
  if (before.id == block_->id && before.generation == block_->generation) return false;
  context_->counters.chain_changes.fetch_add(1);
  return true;
}

void BlockWriter::LogRecovered() const {
  const double seconds = recovering_->timer.seconds();
  const std::string line = fmt::format(
      "inode {} index {}: {} became {}, writing went on after {:.3f} s, failed server {}: {}",
      inode_->id.value(), index_, recovering_->before ? Describe(*recovering_->before) : "no block",
      block_ ? Describe(*block_) : "no block", seconds,
      recovering_->server == ServerId() ? "none" : std::to_string(recovering_->server.value()),
      recovering_->cause.ToString());
  if (seconds < kUnremarkableSeconds) {
    LOG_INFO("{}", line);
  } else {
    LOG_WARN("{}", line);
  }
}

void BlockWriter::LogSlowness(const Status& failure) {
  const double seconds = recovering_->timer.seconds();
  if (seconds < kRemarkableSeconds || std::exchange(recovering_->told, true)) return;
  LOG_WARN_LIMITED("{}: cannot be written for {:.1f} s, trying on: {}", Name(), seconds, failure);
}

std::vector<ServerId> BlockWriter::RecentlyFailedMembers() const {
  std::vector<ServerId> failed;
  for (ServerId server : block_->chain) {
    if (context_->connections->RecentlyFailed(server)) failed.push_back(server);
  }
  return failed;
}

/// Those that failed just now, or in the recovery under way.
std::vector<ServerId> BlockWriter::ServersToAvoid() const {
  std::vector<ServerId> avoid = excluded_;
  if (!context_->connections->AnyRecentlyFailed()) return avoid;
  for (ServerId server : context_->servers.All()) {
    if (avoid.size() >= kMaxExcluded) break;
    if (context_->connections->RecentlyFailed(server) &&
        std::ranges::find(avoid, server) == avoid.end()) {
      avoid.push_back(server);
    }
  }
  return avoid;
}

/// Servers that failed are avoided if there are enough others.
Status BlockWriter::AllocateAvoidingFailed() {
  if (only_syncs_) {
    left_file_ = true;
    return Status(StatusCode::kConflict, "the block left the file");
  }
  const std::vector<ServerId> avoid = ServersToAvoid();
  if (!avoid.empty()) {
    const Status avoided = Allocate(avoid, kAvoidLimit);
    if (avoided.ok() || (!MayPass(avoided.code()) && avoided.code() != StatusCode::kNoSpace)) {
      return avoided;
    }
  }
  return Allocate({}, std::nullopt);
}

/// Looks whether the file has a committed block here; neighbours come along.
Status BlockWriter::FetchBlock(bool* found) {
  wire::GetBlocksRequest request;
  request.inode = static_cast<int64_t>(inode_->id.value());
  request.first_index = static_cast<int64_t>(index_);
  request.count = kBlocksPerFetch;
  ASSIGN_OR_RETURN(
      const auto response,
      context_->metadata->Read("get blocks", &wire::MetadataServiceClient::GetBlocks, request));
  context_->servers.Learn(response.servers);
  std::optional<FileBlock> fresh;
  {
    std::lock_guard lock(inode_->mutex);
    inode_->blocks.Learn(index_, kBlocksPerFetch, response.blocks);
    const FileBlock* known = inode_->blocks.Find(index_);
    if (known != nullptr && !known->is_hole()) fresh = *known;
  }
  *found = fresh.has_value();
  return fresh ? Adopt(std::move(*fresh)) : Status::Ok();
}

Status BlockWriter::Allocate(const std::vector<ServerId>& exclude,
                             std::optional<std::chrono::milliseconds> limit) {
  wire::AllocateBlockRequest request;
  request.inode = static_cast<int64_t>(inode_->id.value());
  request.block_index = static_cast<int64_t>(index_);
  request.replace_block_id = static_cast<int64_t>(abandoned_.value());
  for (ServerId server : exclude) {
    request.exclude_servers.push_back(static_cast<int32_t>(server.value()));
  }
  ASSIGN_OR_RETURN(
      const auto response,
      context_->metadata->Mutate("allocate block", &wire::MetadataServiceClient::AllocateBlock,
                                 request, limit));
  context_->servers.Learn(response.servers);
  return Adopt(BlockFromWire(response.block));
}

/// Goes on with what the metaserver says the file's block is now.
Status BlockWriter::Adopt(FileBlock fresh) {
  if (block_ && block_->id == fresh.id) {
    if (failure_ && block_->generation == fresh.generation) {
      return Status(StatusCode::kUnavailable, "the block still has the chain that failed");
    }
    fresh.has_data = block_->has_data;
    fresh.trimmed = block_->trimmed;
    if (fresh.trimmed) fresh.valid_bytes.reset();
  } else if (block_ && !written_.empty() && !salvage_) {
    ASSIGN_OR_RETURN(BlockTarget source, context_->TargetOf(*block_));
    salvage_ = Salvage{std::move(source), std::move(written_)};
    written_.Clear();
  }
  DropChain();
  block_ = std::move(fresh);
  refetch_ = false;
  failure_.reset();
  // Until the copy is complete readers stay with the old block.
  if (!salvage_) Publish();
  return Status::Ok();
}

Status BlockWriter::CopySalvage() {
  if (!salvage_) return Status::Ok();
  bool create = block_->reserved;
  for (const auto& [begin, end] : salvage_->ranges.Intervals()) {
    for (uint64_t offset = begin; offset < end;) {
      const size_t size = std::min<uint64_t>(end - offset, kMaxPieceBytes);
      Piece copy{offset, context_->buffers->Make(size), 0, size};
      const Status read = context_->reader->Read(salvage_->source, static_cast<uint32_t>(offset),
                                                 {copy.buffer->data(), size});
      if (!read.ok()) {
        const bool gone =
            read.code() == StatusCode::kStaleGeneration || read.code() == StatusCode::kNotFound;
        return Status(gone ? StatusCode::kIo : StatusCode::kUnavailable,
                      "what was written cannot be read back: " + read.ToString());
      }
      RETURN_IF_ERROR(
          chain_->Submit(static_cast<uint32_t>(offset), DataOf(copy), create, /*sync=*/false));
      create = false;
      offset += size;
    }
  }
  RETURN_IF_ERROR(chain_->Drain());
  unsynced_ = true;
  written_ = std::move(salvage_->ranges);
  salvage_.reset();
  block_->has_data = true;
  Publish();
  return Status::Ok();
}

/// Before a write beyond the block's valid bytes, what the replicas hold behind them has to go.
Status BlockWriter::CutIfNeeded() {
  if (!block_->valid_bytes) return Status::Ok();
  const std::deque<Piece>* waiting = pieces();
  if (waiting == nullptr) return Status::Ok();
  const uint64_t valid_end = index_ * inode_->block_size() + *block_->valid_bytes;
  const bool beyond = std::any_of(waiting->begin(), waiting->end(),
                                  [&](const Piece& piece) { return piece.end() > valid_end; });
  if (!beyond) return Status::Ok();
  unsynced_ = true;
  RETURN_IF_ERROR(chain_->Truncate(*block_->valid_bytes));
  block_->valid_bytes.reset();
  block_->trimmed = true;
  Publish();
  return Status::Ok();
}

void BlockWriter::CollectAcknowledged() {
  std::deque<Piece>* waiting = pieces();
  if (waiting == nullptr) return;
  uint64_t bytes = 0;
  const uint64_t block_start = index_ * inode_->block_size();
  {
    std::lock_guard lock(inode_->mutex);
    while (!submitted_.empty() && submitted_.front() < chain_->oldest_unacknowledged()) {
      submitted_.pop_front();
      const Piece& piece = waiting->front();
      written_.Add(piece.offset - block_start, piece.end() - block_start);
      inode_->acknowledged_end = std::max(inode_->acknowledged_end, piece.end());
      bytes += piece.size;
      waiting->pop_front();
    }
    // The block map has to know of the data before it stops being served from here.
    if (bytes > 0 && !block_->has_data) {
      block_->has_data = true;
      inode_->blocks.Put(index_, *block_);
    }
    if (waiting->empty()) inode_->in_flight.erase(index_);
  }
  if (written_.size() > kMaxWrittenIntervals) {
    const auto intervals = written_.Intervals();
    written_.Add(intervals.front().first, intervals.back().second);
  }
  context_->write_budget.Release(bytes);
}

/// OK: it is worth another try, which begins with failure_ if the chain is to blame.
Status BlockWriter::PrepareRetry(const Status& failure) {
  if (chain_ == nullptr || chain_->failure().ok()) {
    // Not the chain: the metaserver's answer, or a copy that cannot be read.
    DropChain();
    return MayPass(failure.code()) ? Status::Ok() : failure;
  }
  const ServerId failed = chain_->failed_server();
  DropChain();
  // No server takes such a request.
  if (failure.code() == StatusCode::kInvalidArgument) return failure;
  const bool servers_are_good =
      failure.code() == StatusCode::kStaleGeneration || failure.code() == StatusCode::kNotFound;
  if (failed != ServerId() && !servers_are_good) {
    if (MayPass(failure.code())) context_->connections->NoteFailure(failed);
    if (excluded_.size() < kMaxExcluded &&
        std::ranges::find(excluded_, failed) == excluded_.end()) {
      excluded_.push_back(failed);
    }
  }
  failure_ = Failure{failure, failed};
  return Status::Ok();
}

Status BlockWriter::Reallocate() {
  RETURN_IF_ERROR(Allocate({}, std::nullopt));
  return Run(Goal::kDrain);
}

void BlockWriter::Publish() {
  std::lock_guard lock(inode_->mutex);
  inode_->blocks.Put(index_, *block_);
  inode_->data_version.fetch_add(1);
}

void BlockWriter::DropChain() {
  chain_.reset();
  submitted_.clear();
}

void BlockWriter::GiveUp(const Status& status, double seconds) {
  if (only_syncs_) {
    LOG_ERROR("{}: cannot be made durable, given up after {:.1f} s: {}", Name(), seconds, status);
    return;
  }
  if (failure_ && block_) context_->given_up_generations.Note(block_->id, block_->generation);
  uint64_t bytes = 0;
  {
    std::lock_guard lock(inode_->mutex);
    auto it = inode_->in_flight.find(index_);
    if (it != inode_->in_flight.end()) {
      for (const Piece& piece : it->second) bytes += piece.size;
      inode_->in_flight.erase(it);
    }
    if (!block_ || block_->reserved) {
      inode_->blocks.Forget(index_);
      if (block_) abandoned_ = block_->id;
    }
    inode_->RecomputePendingEndLocked();
    inode_->data_version.fetch_add(1);
    // Of what was committed before some may not be on the disks: another sync has to see to it.
    inode_->others_unsynced = inode_->others_unsynced || inode_->attributes.size_bytes > 0;
    inode_->others_version = 0;
  }
  LOG_ERROR("{}: {} written bytes are lost after {:.1f} s: {}", Name(), bytes, seconds,
            status.ToString());
  context_->write_budget.Release(bytes);
  inode_->NoteError(status);
  DropChain();
  block_.reset();
  refetch_ = false;
  failure_.reset();
  written_.Clear();
  salvage_.reset();
  excluded_.clear();
  unsynced_ = false;
}

int64_t BlockWriter::block_to_commit() const {
  if (!block_ || !block_->reserved || !block_->has_data) return 0;
  return static_cast<int64_t>(block_->id.value());
}

int64_t BlockWriter::block_to_trim() const {
  if (!block_ || !block_->trimmed) return 0;
  return static_cast<int64_t>(block_->id.value());
}

void BlockWriter::NoteCommitted() {
  written_.Clear();
  if (!block_ || (!block_->has_data && !block_->trimmed)) return;
  if (!block_->reserved && !block_->trimmed) return;
  block_->reserved = block_->reserved && !block_->has_data;
  block_->trimmed = false;
  std::lock_guard lock(inode_->mutex);
  inode_->blocks.NoteCommitted(index_, block_->id);
}

void BlockWriter::NoteTruncated() {
  DropChain();
  block_.reset();
  refetch_ = false;
  failure_.reset();
  written_.Clear();
}

bool BlockWriter::idle() const {
  if (salvage_ || block_to_commit() != 0 || block_to_trim() != 0) return false;
  std::lock_guard lock(inode_->mutex);
  return !inode_->in_flight.contains(index_);
}

std::deque<Piece>* BlockWriter::pieces() {
  // Only this writer changes its own queue now, but others may change the map around it.
  std::lock_guard lock(inode_->mutex);
  auto it = inode_->in_flight.find(index_);
  return it == inode_->in_flight.end() ? nullptr : &it->second;
}

std::string BlockWriter::Name() const {
  const uint64_t block = block_ ? block_->id.value() : 0;
  return fmt::format("inode {} block {} (index {})", inode_->id.value(), block, index_);
}

}  // namespace tercet
