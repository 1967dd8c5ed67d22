// The proposer as repair sees it.
#pragma once

#include "metaserver/repair/repair_journal.h"
#include "metaserver/service/proposer.h"

namespace tercet {

/// Thread-safe.
class ProposerJournal final : public RepairJournal {
 public:
  /// `proposer` must outlive the object.
  explicit ProposerJournal(Proposer& proposer) : proposer_(proposer) {}

  Status Propose(Epoch epoch, const char* name,
                 const std::function<Status(OperationContext&)>& evaluate) override {
    return proposer_.Propose(epoch, name, evaluate);
  }
  bool Serves(Epoch epoch) const override { return proposer_.Serves(epoch); }
  const View& committed() const override { return proposer_.committed(); }

 private:
  Proposer& proposer_;
};

}  // namespace tercet
