// A write, sync or truncation on its way through this server.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {

class ChainOperation;

/// Whoever gets to know how an operation ended.
class OperationOwner {
 public:
  virtual ~OperationOwner() = default;
  /// Called once, by the thread that finished the last part. Must not wait.
  virtual void OperationDone(ChainOperation& operation) = 0;
};

/// Has one or two parts, the local one and the one downstream, which end in any order and in any
/// thread. The thread that ends the last one tells the owner.
class ChainOperation {
 public:
  ChainOperation(std::shared_ptr<OperationOwner> owner, wire::FrameKind::type kind, BlockId block,
                 Generation generation, uint64_t request_id, size_t payload_bytes, ServerId self,
                 int64_t arrived_nanos, int64_t taken_nanos)
      : kind_(kind),
        block_(block),
        generation_(generation),
        request_id_(request_id),
        payload_bytes_(payload_bytes),
        self_(self),
        arrived_nanos_(arrived_nanos),
        taken_nanos_(taken_nanos),
        owner_(std::move(owner)) {}

  /// From here on a failure leaves it open which replicas have the change. By the thread that will
  /// finish the local part, before anything is changed or passed on.
  void BeginChange() { change_begun_ = true; }
  /// Before the operation is given to a link, by the thread that will finish the local part.
  void AddDownstreamPart() { parts_left_.fetch_add(1, std::memory_order_relaxed); }

  void FinishLocal(Status status) {
    local_ = std::move(status);
    local_done_.store(true, std::memory_order_relaxed);
    FinishPart();
  }
  void FinishDownstream(Status status, ServerId failed) {
    downstream_ = std::move(status);
    downstream_failed_ = failed;
    FinishPart();
  }

  /// For the owner, when the operation is done. What happened farthest down the chain comes first.
  const Status& status() const { return downstream_.ok() ? local_ : downstream_; }
  ServerId failed_server() const {
    if (!downstream_.ok()) return downstream_failed_;
    return local_.ok() ? ServerId() : self_;
  }

  /// It failed after BeginChange.
  bool leaves_doubt() const { return change_begun_ && !status().ok(); }
  wire::FrameKind::type kind() const { return kind_; }
  BlockId block() const { return block_; }
  Generation generation() const { return generation_; }
  uint64_t request_id() const { return request_id_; }
  size_t payload_bytes() const { return payload_bytes_; }
  int64_t arrived_nanos() const { return arrived_nanos_; }
  /// There was memory for it: from then on it is the disk's and the next server's turn.
  int64_t taken_nanos() const { return taken_nanos_; }
  /// A hint for those who watch: the local part has ended, what is left to wait for is downstream.
  bool local_done() const { return local_done_.load(std::memory_order_relaxed); }

  /// The owner's list of operations that are not done, in the order in which they came. Guarded by
  /// a mutex of the owner's.
  ChainOperation* older = nullptr;
  ChainOperation* newer = nullptr;

 private:
  void FinishPart() {
    if (parts_left_.fetch_sub(1, std::memory_order_acq_rel) == 1) owner_->OperationDone(*this);
  }

  // Constant after construction.
  const wire::FrameKind::type kind_;
  const BlockId block_;
  const Generation generation_;
  const uint64_t request_id_;
  const size_t payload_bytes_;
  const ServerId self_;
  const int64_t arrived_nanos_;  // monotonic, as the next one
  const int64_t taken_nanos_;
  const std::shared_ptr<OperationOwner> owner_;

  bool change_begun_ = false;  // written before there is a second part
  // Each written by the one thread that ends its part, before parts_left_ goes down.
  Status local_;
  Status downstream_;
  ServerId downstream_failed_;
  std::atomic<int> parts_left_{1};
  std::atomic<bool> local_done_{false};
};

}  // namespace tercet
