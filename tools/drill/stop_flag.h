// ^C and SIGTERM during a drill: noticed between two steps, so that all is put right before the
// end.
#pragma once

#include <chrono>

namespace tercet {

/// From now on the two signals only set a flag; a second one does no more. Once a process.
void CatchStopSignals();
bool StopRequested();

/// Sleeps; false, at once, when a stop was requested.
bool SleepUnlessStopped(std::chrono::milliseconds duration);

}  // namespace tercet
