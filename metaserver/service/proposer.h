// Runs mutations: exactly-once check, evaluation, journal, wait (docs/architecture.md, "A mutation,
// step by step"), and reads.
//
// Invariants:
//  - Evaluation and Append happen under one lock, so the order of the records is the order of
//    evaluation, and each evaluation sees the effects of all records before its own.
//  - A reply leaves only after everything it was evaluated against is applied: a success after its
//    own record, a failure after all that was proposed when it was evaluated.
//  - An answer from the state is given only when the lease was still held after it was evaluated:
//    then nobody else can have committed anything before that moment. A mutation's success needs no
//    lease: its record is committed.
//  - What was proposed under one activation is never seen under the next: overlay and slot cache
//    are dropped in between.
//  - Times handed to operations never go back: not with the wall clock, and not when another
//    metaserver takes over (the time floor row).
//
// What a crash between two steps leaves: before the record is durable nothing; after it the record
// with its reply, which the client's retry finds by session, slot and sequence number.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
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
#include "metaserver/service/time_source.h"
#include "tercet_thrift/common_types.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

/// Largest reply that is stored with a slot.
inline constexpr size_t kMaxStoredReplyBytes = 256 << 10;

/// What a request is answered from; taken before anything else is looked at.
struct AnswerBasis {
  Epoch epoch;         // of this active; 0: it is none
  JournalIndex index;  // the state includes at least this
};

/// A mutation between its two halves.
struct PendingMutation {
  Epoch epoch;            // under which it was evaluated
  JournalIndex wait_for;  // to be applied before it is answered; 0: nothing
  Status status;
  std::optional<std::string> stored_reply;  // of an earlier call with the same sequence number
  // Whose it is.
  SessionId session;
  uint32_t slot = 0;
  uint64_t sequence = 0;
};

template <typename Response>
struct StartedMutation {
  PendingMutation pending;
  Response fresh;
};

/// Thread-safe.
class Proposer {
 public:
  /// All must outlive the proposer.
  Proposer(Consensus& consensus, Database& database, ReplicaChooser& chooser, const Clock& clock,
           uint32_t slot_count);

  /// The consensus is about to be active under `epoch`, and all that is committed is applied:
  /// mutations are accepted from now on. Fails when the state cannot be read.
  Status Activate(Epoch epoch);
  /// It is no longer.
  void Deactivate();
  /// Of the present activation; 0: none. What is decided under one must be proposed under it.
  Epoch epoch() const { return Epoch(active_epoch_.load(std::memory_order_acquire)); }
  bool active() const { return epoch().value() != 0; }
  /// This is the active of `epoch` and no other can have become it.
  bool Serves(Epoch epoch) const {
    return epoch.value() != 0 && this->epoch() == epoch && consensus_.HoldsLease(epoch);
  }

  template <typename Request, typename Response>
  using Evaluate = Result<Response> (*)(OperationContext&, const Request&);

  /// A client's mutation. Fills `response`, info included.
  template <typename Request, typename Response>
  void Mutate(const char* name, Evaluate<Request, Response> evaluate, const Request& request,
              Response* response) {
    auto started = StartMutation<Request, Response>(name, evaluate, request);
    const Status waited = WaitApplied(started.pending.epoch, started.pending.wait_for);
    FinishMutation(std::move(started), waited, response);
  }

  /// The first half of Mutate: all up to the record in the journal's buffer. Blocks only where
  /// Consensus::Append does.
  template <typename Request, typename Response>
  StartedMutation<Response> StartMutation(const char* name, Evaluate<Request, Response> evaluate,
                                          const Request& request) {
    StartedMutation<Response> started;
    started.pending =
        Start(name, request.context, [&](OperationContext& context) -> Result<std::string> {
          ASSIGN_OR_RETURN(started.fresh, evaluate(context, request));
          return EncodeReply(started.fresh);
        });
    return started;
  }

  /// The second half. `waited`: OK when `pending.wait_for` is applied, kNotActive when leadership
  /// was lost before.
  template <typename Response>
  void FinishMutation(StartedMutation<Response> started, const Status& waited, Response* response) {
    Status status = Settle(started.pending, waited);
    if (status.ok() && started.pending.stored_reply) {
      status = DecodeReply(*started.pending.stored_reply, &started.fresh);
      // It was refused.
      const wire::WireStatus& stored = started.fresh.info.status;
      if (status.ok() && stored.code != 0) {
        status = Status(static_cast<StatusCode>(stored.code), stored.message);
      }
    }
    if (status.ok()) *response = std::move(started.fresh);
    SetInfo(started.pending.epoch, database_.applied_index(), status, &response->info);
  }

  /// The metaserver's own change under `epoch`, without exactly-once: `evaluate` must be harmless
  /// when called again. An evaluation that changes nothing is not journaled, but what it saw is
  /// committed on return. kNotActive when this is not (any more) the active of `epoch`.
  Status Propose(Epoch epoch, const char* name,
                 const std::function<Status(OperationContext&)>& evaluate);

  /// Ends a session for good, in batches. OK when it is gone.
  Status EndSession(Epoch epoch, SessionId session);

  template <typename Request, typename Response>
  using ReadFunction = Result<Response> (*)(const View&, const Request&);

  /// A read of the committed state. Fills `response`, info included.
  template <typename Request, typename Response>
  void Read(ReadFunction<Request, Response> read, const Request& request, Response* response) {
    const AnswerBasis basis = Basis();
    Status status;
    if (basis.epoch.value() != 0) {
      auto result = read(database_.committed(), request);
      if (result.ok()) {
        *response = std::move(result).value();
      } else {
        status = result.status();
      }
    }
    FillInfo(basis, status, &response->info);
  }

  AnswerBasis Basis() const;
  /// The answer `status` to what was looked up since `basis` was taken; kNotActive instead when
  /// this did not serve under its epoch all the time. Takes no lock when it did.
  void FillInfo(const AnswerBasis& basis, const Status& status, wire::ReplyInfo* info) const;

  uint32_t slot_count() const { return slots_.slot_count(); }
  const View& committed() const { return database_.committed(); }
  /// The committed state of this moment. The proposer's database must outlive it.
  std::unique_ptr<const View> TakeSnapshot() const { return database_.TakeSnapshot(); }

 private:
  using EvaluateFunction = std::function<Result<std::string>(OperationContext&)>;

  PendingMutation Start(const char* name, const wire::MutationContext& context,
                        const EvaluateFunction& evaluate);
  /// What is answered: the mutation's own outcome, or kNotActive when that is not certain.
  Status Settle(const PendingMutation& pending, const Status& waited) const;
  /// Without asking whether this serves; a kNotActive gets the hint.
  void SetInfo(Epoch epoch, JournalIndex index, const Status& status, wire::ReplyInfo* info) const;
  /// The fresh mutation's outcome. Needs mutex_.
  void EvaluateFresh(const char* name, const EvaluateFunction& evaluate, PendingMutation* pending);
  /// Appends what the transaction holds; 0 when it holds nothing. Needs mutex_.
  Result<JournalIndex> Append(Epoch epoch, Transaction* transaction, std::string summary);
  /// Waits until the record is applied; 0 waits for nothing. Not under mutex_.
  Status WaitApplied(Epoch epoch, JournalIndex index);

  Consensus& consensus_;
  Database& database_;
  ReplicaChooser& chooser_;

  std::atomic<uint64_t> active_epoch_{0};  // written under mutex_; 0: not active

  std::mutex mutex_;
  // Guarded by mutex_:
  SlotTable slots_;
  TimeSource time_;
  int64_t time_floor_ns_ = 0;  // as proposed
};

}  // namespace tercet
