// Going into the background only once the outcome is known, so that `mount` reports errors and
// its exit status tells whether the mount is there.
#pragma once

#include <string>

#include "common/base/status.h"

namespace tercet {

/// Must be made before any thread is started. In the parent process the constructor does not
/// return: it waits for Report and exits with 0 or, after printing the error, 1.
class Daemonizer {
 public:
  /// With `foreground` nothing is forked and Report only prints errors.
  explicit Daemonizer(bool foreground);
  ~Daemonizer();
  Daemonizer(const Daemonizer&) = delete;
  Daemonizer& operator=(const Daemonizer&) = delete;

  /// Tells the waiting parent the outcome, once; with OK the process also lets go of the terminal.
  void Report(const Status& status);

 private:
  const bool foreground_;
  int pipe_ = -1;  // write end, to the parent
};

}  // namespace tercet
