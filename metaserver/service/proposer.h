// Runs mutations: exactly-once check, evaluation, journal, wait (docs/architecture.md, "A mutation,
// step by step").
//
// Invariants:
//  - Evaluation and Append happen under one lock, so the order of the records is the order of
//    evaluation, and each evaluation sees the effects of all records before its own.
//  - A reply leaves only after everything it was evaluated against is applied: a success after its
//  own
//    record, a failure after all that was proposed when it was evaluated.
//  - After leadership is lost nothing proposed but unapplied is seen by anybody: overlay and slot
//  cache
//    are dropped before the next evaluation.
//  - Times handed to operations never go back, even when the wall clock does.
//
// What a crash between two steps leaves: before the record is durable nothing; after it the record
// with its reply, which the client's retry finds by session, slot and sequence number.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "metaserver/namespace/database.h"
#include "metaserver/ops/operation.h"
#include "metaserver/raft/consensus.h"
#include "metaserver/service/reply_codec.h"
#include "metaserver/service/slot_table.h"
#include "tercet_thrift/common_types.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

/// Largest reply that is stored with a slot.
inline constexpr size_t kMaxStoredReplyBytes = 256 << 10;

/// Thread-safe.
class Proposer {
 public:
  /// All must outlive the proposer.
  Proposer(Consensus& consensus, Database& database, ReplicaChooser& chooser, const Clock& clock,
           uint32_t slot_count);

  /// The consensus became active under `epoch`: mutations are accepted from now on.
  void Activate(Epoch epoch);
  bool active() const { return active_epoch_.load(std::memory_order_acquire) != 0; }

  template <typename Request, typename Response>
  using Evaluate = Result<Response> (*)(OperationContext&, const Request&);

  /// A client's mutation. Fills `response`, info included.
  template <typename Request, typename Response>
  void Mutate(const char* name, Evaluate<Request, Response> evaluate, const Request& request,
              Response* response) {
    Response fresh;
    Outcome outcome =
        Run(name, request.context, [&](OperationContext& context) -> Result<std::string> {
          ASSIGN_OR_RETURN(fresh, evaluate(context, request));
          return EncodeReply(fresh);
        });
    if (outcome.status.ok() && outcome.stored_reply) {
      outcome.status = DecodeReply(*outcome.stored_reply, &fresh);
    }
    if (outcome.status.ok()) *response = std::move(fresh);
    FillInfo(outcome.status, &response->info);
  }

  /// The metaserver's own change, without exactly-once: `evaluate` must be harmless when called
  /// again. An evaluation that changes nothing is not journaled, but what it saw is committed on
  /// return.
  Status Propose(const char* name, const std::function<Status(OperationContext&)>& evaluate);

  /// Ends a session for good, in batches. OK when it is gone.
  Status EndSession(SessionId session);

  template <typename Request, typename Response>
  using ReadFunction = Result<Response> (*)(const View&, const Request&);

  /// A read of the committed state. Fills `response`, info included.
  template <typename Request, typename Response>
  void Read(ReadFunction<Request, Response> read, const Request& request, Response* response) {
    // Taken first: the state that is read includes at least this much.
    wire::ReplyInfo info;
    FillInfo(Status::Ok(), &info);
    if (info.status.code == 0) {
      auto result = read(database_.committed(), request);
      if (result.ok()) {
        *response = std::move(result).value();
      } else {
        SetStatus(result.status(), &info);
      }
    }
    response->info = std::move(info);
  }

  /// `status` with the indexes and epoch of now; kNotActive instead of OK when this is not the
  /// active.
  void FillInfo(const Status& status, wire::ReplyInfo* info) const;
  static void SetStatus(const Status& status, wire::ReplyInfo* info);

  uint32_t slot_count() const { return slots_.slot_count(); }
  const View& committed() const { return database_.committed(); }

 private:
  struct Outcome {
    Status status;
    std::optional<std::string> stored_reply;  // of an earlier call with the same sequence number
  };
  using EvaluateFunction = std::function<Result<std::string>(OperationContext&)>;

  Outcome Run(const char* name, const wire::MutationContext& context,
              const EvaluateFunction& evaluate);
  /// Appends what the transaction holds; 0 when it holds nothing. Needs mutex_.
  Result<JournalIndex> Append(Transaction* transaction, std::string summary);
  /// Waits until the record is applied; 0 waits for nothing. Not under mutex_.
  Status WaitApplied(Epoch epoch, JournalIndex index);
  /// Leadership under `epoch` was lost.
  void Deactivate(Epoch epoch);
  void DeactivateLocked(Epoch epoch);
  Status CheckActive() const;  // needs mutex_
  int64_t NowNanos();          // needs mutex_

  Consensus& consensus_;
  Database& database_;
  ReplicaChooser& chooser_;
  const Clock& clock_;

  std::atomic<uint64_t> active_epoch_{0};  // written under mutex_; 0: not active

  std::mutex mutex_;
  // Guarded by mutex_:
  SlotTable slots_;
  int64_t last_now_ns_ = 0;
};

}  // namespace tercet
