// The one table between status codes and errno values.
#pragma once

#include "common/base/status.h"

namespace tercet {

/// The errno a program on the mount sees for `code`; 0 for kOk. Codes that only the parts of
/// Tercet exchange (and codes from a newer peer) end as EIO.
int ErrnoFromCode(StatusCode code);

/// The code for an errno value that a system call of ours returned; kIo when none fits better.
StatusCode CodeFromErrno(int error);

}  // namespace tercet
