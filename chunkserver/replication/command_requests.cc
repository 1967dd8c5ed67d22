// The active metaserver's part of ServerConnection: SEAL, TABLE, PULL and PING; and the signs of
// life that whoever waits for an answer gets.
#include <sys/uio.h>

#include <utility>

#include "chunkserver/replication/server_connection.h"
#include "chunkserver/replication/working.h"
#include "common/log/log.h"
#include "common/rpc/wire_status.h"

namespace tercet {

Status NoSuchGeneration(int64_t block_id, int64_t generation) {
  return Status(StatusCode::kInvalidArgument,
                fmt::format("block {}: there is no generation {}", block_id, generation));
}

Status ServerConnection::HandlePing(const FramePrelude& prelude, std::string_view header) {
  wire::PingHeader request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  Respond(wire::FrameKind::PING_RESPONSE, prelude.request_id, wire::PingResponseHeader());
  return Status::Ok();
}

Status ServerConnection::HandleTable(const FramePrelude& prelude, std::string_view header) {
  wire::TableHeader request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  auto table = request.generation <= 0
                   ? Result<PageTable>(NoSuchGeneration(request.block_id, request.generation))
                   : context_.store.Table(BlockId(static_cast<uint64_t>(request.block_id)),
                                          Generation(static_cast<uint64_t>(request.generation)));
  wire::TableResponseHeader response;
  response.status = ToWire(table.status());
  if (!table.ok()) {
    CountFailure(table.status());
    Respond(wire::FrameKind::TABLE_RESPONSE, prelude.request_id, response);
    return Status::Ok();
  }
  response.length = static_cast<int32_t>(table->length);
  std::string encoded;
  EncodeFrameHeader(response, &encoded);
  FramePrelude answer;
  answer.kind = wire::FrameKind::TABLE_RESPONSE;
  answer.request_id = prelude.request_id;
  const iovec payload{table->page_crcs.data(), table->page_crcs.size()};
  return sender_.SendExclusively([&](FrameConnection& connection) {
    return connection.Send(answer, encoded, std::span(&payload, 1));
  });
}

// ---- SEAL ----

Status ServerConnection::HandleSeal(const FramePrelude& prelude, std::string_view header) {
  wire::SealHeader request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  Status verdict;
  if (request.epoch <= 0) {
    verdict = Status(StatusCode::kInvalidArgument, "a SEAL without an epoch");
  } else if (request.generation <= 0) {
    verdict = NoSuchGeneration(request.block_id, request.generation);
  } else {
    verdict = context_.store.ObserveEpoch(Epoch(static_cast<uint64_t>(request.epoch)));
  }
  if (!verdict.ok()) {
    wire::SealResponseHeader response;
    response.status = ToWire(verdict);
    Respond(wire::FrameKind::SEAL_RESPONSE, prelude.request_id, response);
    return Status::Ok();
  }
  const uint64_t command = BeginCommand();
  if (command == 0) return Status(StatusCode::kCancelled, "closed by this server");
  auto seal = [self = shared_from_this(), id = prelude.request_id, request, command] {
    self->AnswerSeal(id, request);
    self->EndCommand(command);
  };
  if (IsAloneAndIdle()) {
    seal();
  } else {
    context_.syncs.Submit(std::move(seal));
  }
  return Status::Ok();
}

void ServerConnection::AnswerSeal(uint64_t request_id, const wire::SealHeader& request) {
  const BlockId block(static_cast<uint64_t>(request.block_id));
  auto sealed = [&] {
    // No write of the block is between being passed on and being applied here when it is sealed.
    BlockOrder::Guard guard(context_.order, block);
    return context_.store.Seal(block, Generation(static_cast<uint64_t>(request.generation)),
                               request.create_if_absent, request.verify, request.accept_suspect);
  }();
  wire::SealResponseHeader response;
  response.status = ToWire(sealed.status());
  if (sealed.ok()) {
    context_.counters.seals.fetch_add(1, std::memory_order_relaxed);
    response.absent = sealed->absent;
    response.generation_before = static_cast<int64_t>(sealed->before.value());
    response.length = static_cast<int32_t>(sealed->length);
    response.table_crc = static_cast<int32_t>(sealed->table_crc);
    response.suspect = sealed->suspect;
    response.damaged_pages = static_cast<int32_t>(sealed->damaged_pages);
  } else {
    CountFailure(sealed.status());
    // So that the active's next attempt is above it.
    const auto stat = context_.store.Stat(block);
    if (stat.ok()) response.generation_before = static_cast<int64_t>(stat->generation.value());
  }
  Respond(wire::FrameKind::SEAL_RESPONSE, request_id, response);
}

// ---- PULL ----

Status ServerConnection::CheckPull(const wire::PullHeader& request) {
  if (request.epoch <= 0) return Status(StatusCode::kInvalidArgument, "a PULL without an epoch");
  if (request.source_generation <= 0) {
    return NoSuchGeneration(request.block_id, request.source_generation);
  }
  if (request.generation != 0 && request.generation != request.source_generation) {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("block {}: a copy of generation {} cannot be of generation {}",
                              request.block_id, request.source_generation, request.generation));
  }
  if (request.pull_class < wire::PullClass::URGENT || request.pull_class > wire::PullClass::MOVE) {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("there is no class {} of pulls", request.pull_class));
  }
  RETURN_IF_ERROR(CheckChain({request.source}));
  return context_.store.ObserveEpoch(Epoch(static_cast<uint64_t>(request.epoch)));
}

Status ServerConnection::HandlePull(const FramePrelude& prelude, std::string_view header) {
  wire::PullHeader request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  if (Status verdict = CheckPull(request); !verdict.ok()) {
    RefusePull(prelude.request_id, verdict);
    return Status::Ok();
  }
  PullJob job;
  job.pull.block = BlockId(static_cast<uint64_t>(request.block_id));
  job.pull.source_generation = Generation(static_cast<uint64_t>(request.source_generation));
  job.pull.finish = Generation(static_cast<uint64_t>(request.generation));
  job.pull.verify_base = request.verify_base;
  job.source = request.source;
  job.pull_class = static_cast<wire::PullClass::type>(request.pull_class);
  const uint64_t command = BeginCommand();
  if (command == 0) return Status(StatusCode::kCancelled, "closed by this server");
  auto begun = context_.pulls.Begin(
      context_.identity().cluster_id, self_, std::move(job),
      [self = shared_from_this(), id = prelude.request_id, command](const PullOutcome& outcome) {
        self->AnswerPull(id, outcome);
        self->EndCommand(command);
      });
  if (!begun.ok()) {
    EndCommand(command);
    RefusePull(prelude.request_id, begun.status());
    return Status::Ok();
  }
  std::lock_guard lock(pending_mutex_);
  const auto pending = commands_.find(command);  // gone when the pull has ended already
  if (pending != commands_.end()) pending->second.pull = std::move(begun).value();
  return Status::Ok();
}

void ServerConnection::RefusePull(uint64_t request_id, const Status& status) {
  AnswerPull(request_id, PullOutcome{.status = status, .failed_server = self_});
}

void ServerConnection::AnswerPull(uint64_t request_id, const PullOutcome& outcome) {
  CountFailure(outcome.status);
  wire::PullResponseHeader response;
  response.status = ToWire(outcome.status);
  response.copied_bytes = static_cast<int64_t>(outcome.copied_bytes);
  response.length = static_cast<int32_t>(outcome.length);
  response.failed_server_id = static_cast<int32_t>(outcome.failed_server.value());
  Respond(wire::FrameKind::PULL_RESPONSE, request_id, response);
}

void ServerConnection::CancelPulls() {
  std::lock_guard lock(pending_mutex_);
  for (const auto& [number, command] : commands_) {
    if (command.pull != nullptr) command.pull->Cancel();
  }
}

// ---- what is owed ----

uint64_t ServerConnection::BeginCommand() {
  std::unique_lock lock(pending_mutex_);
  if (!BeginPendingLocked(lock)) return 0;
  commands_[++last_command_] = Command{arrived_nanos_, nullptr};
  return last_command_;
}

void ServerConnection::EndCommand(uint64_t number) {
  std::lock_guard lock(pending_mutex_);
  commands_.erase(number);
  EndPendingLocked();
}

bool ServerConnection::DelayIsExplained(int64_t now_nanos, int64_t* owed_since) {
  const int64_t disk_deadline = std::chrono::nanoseconds(context_.options.disk_deadline).count();
  const auto on_time = [&](int64_t since) { return now_nanos - since < disk_deadline; };
  const int64_t busy = busy_since_.load(std::memory_order_relaxed);
  *owed_since = busy;
  // Who waits for memory waits for other requests, each of which is watched itself: as long as
  // somebody gets some, it is a question of time.
  const int64_t since = awaits_memory_.load(std::memory_order_relaxed)
                            ? std::max(busy, context_.buffers.last_wait_ended_nanos())
                            : busy;
  bool explained = busy == 0 || on_time(since);
  const auto add = [&](int64_t since, bool good) {
    if (*owed_since == 0 || since < *owed_since) *owed_since = since;
    explained = explained && good;
  };
  std::lock_guard lock(pending_mutex_);
  if (oldest_ != nullptr) {
    // When only the part downstream is left its link watches it, and fails if it gets no sign of
    // life.
    add(oldest_->arrived_nanos(), oldest_->local_done() || on_time(oldest_->taken_nanos()));
  }
  for (const auto& [number, command] : commands_) {
    add(command.arrived_nanos, command.pull != nullptr ? command.pull->DelayIsExplained(now_nanos)
                                                       : on_time(command.arrived_nanos));
  }
  return explained;
}

void ServerConnection::Watch(int64_t now_nanos) {
  int64_t owed_since = 0;
  if (!DelayIsExplained(now_nanos, &owed_since) || owed_since == 0) return;
  // What came just now will be answered before anybody worries.
  const int64_t patience = std::chrono::nanoseconds(context_.options.working_interval).count() / 2;
  if (now_nanos - owed_since < patience) return;
  context_.counters.working_sent.fetch_add(1, std::memory_order_relaxed);
  sender_.SendIfIdle(WorkingFrame());
}

}  // namespace tercet
