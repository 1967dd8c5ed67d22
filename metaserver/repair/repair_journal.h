// What changing chains needs of the active's journal. The service implements it over its proposer;
// tests over a state in memory.
#pragma once

#include <functional>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/view.h"
#include "metaserver/ops/operation.h"

namespace tercet {

/// Thread-safe.
class RepairJournal {
 public:
  virtual ~RepairJournal() = default;

  /// Evaluates and journals; returns when it is committed and applied. kNotActive when this is not
  /// (any more) the active of `epoch`.
  virtual Status Propose(Epoch epoch, const char* name,
                         const std::function<Status(OperationContext&)>& evaluate) = 0;
  /// This is the active of `epoch`, and no other can have become it. Costs next to nothing.
  virtual bool Serves(Epoch epoch) const = 0;
  /// What is committed and applied.
  virtual const View& committed() const = 0;
};

}  // namespace tercet
