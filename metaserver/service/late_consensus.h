// A consensus that is there before its member is: the services are made first, because the member
// calls them as soon as it starts.
#pragma once

#include <atomic>
#include <string>
#include <utility>

#include "metaserver/raft/consensus.h"

namespace tercet {

/// Not active until Bind. Thread-safe.
class LateConsensus final : public Consensus {
 public:
  /// `consensus` must outlive all calls that come after. Once.
  void Bind(Consensus& consensus) { target_.store(&consensus, std::memory_order_release); }

  Result<JournalIndex> Append(Epoch epoch, std::string payload) override {
    Consensus* const target = Target();
    if (target == nullptr) return NotActive();
    return target->Append(epoch, std::move(payload));
  }
  Status WaitApplied(JournalIndex index) override {
    Consensus* const target = Target();
    return target == nullptr ? NotActive() : target->WaitApplied(index);
  }
  Status WaitApplied(Epoch epoch, JournalIndex index) override {
    Consensus* const target = Target();
    return target == nullptr ? NotActive() : target->WaitApplied(epoch, index);
  }
  bool HoldsLease(Epoch epoch) const override {
    const Consensus* const target = Target();
    return target != nullptr && target->HoldsLease(epoch);
  }
  ConsensusState state() const override {
    const Consensus* const target = Target();
    return target == nullptr ? ConsensusState() : target->state();
  }

 private:
  Consensus* Target() const { return target_.load(std::memory_order_acquire); }
  static Status NotActive() {
    return Status(StatusCode::kNotActive, "this metaserver is starting");
  }

  std::atomic<Consensus*> target_{nullptr};
};

}  // namespace tercet
