// The faults of a drill, done for real.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "tools/drill/drill.h"
#include "tools/group_survey.h"

namespace tercet {

/// One kind of fault, done once a round. Not thread-safe.
class Fault {
 public:
  virtual ~Fault() = default;

  /// Does it; the survey is of the moment before. What was done, for the table. After a failure
  /// Restore is called as well.
  virtual Result<std::string> Inject(int round, const GroupSurvey& before) = 0;
  /// Undoes it; OK when there is nothing to undo.
  virtual Status Restore() = 0;

  /// Another member must become active while the fault lasts.
  virtual bool MovesActive() const { return true; }
  /// The load can go on while the fault lasts.
  virtual bool LeavesService() const { return true; }
  virtual std::chrono::milliseconds hold() const { return std::chrono::milliseconds(0); }
  /// What the environment did not allow, if anything.
  virtual std::string note() const { return ""; }
};

/// Called when a metaserver was paused that goes on after so long.
using PauseObserver = std::function<void(const HostPort&, std::chrono::milliseconds)>;

/// kNotSupported, kNotPermitted, kNotFound, kFailedPrecondition with the reason when this kind is
/// not possible here. What `place` points to must outlive the fault.
Result<std::unique_ptr<Fault>> MakeFault(const DrillOptions& options, const DrillPlace& place,
                                         PauseObserver paused);

}  // namespace tercet
