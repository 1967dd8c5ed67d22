// The machine's file systems behind the Disk interface.
#pragma once

#include "common/env/disk.h"

namespace tercet {

/// The disk of this machine. Never destroyed. Locks are flock(2) locks: they also exclude a second
/// Lock in the same process, and end with the process.
Disk& RealDisk();

}  // namespace tercet
