// A folder that is a file system of its own in a file, so that a power cut can be played: what was
// not synced is dropped, as the real one would.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"

namespace tercet {

/// Makes `image` with an ext4 of that size unless it is there, and mounts it on `folder` unless
/// that was done. Needs root.
Status MountDataImage(const std::string& image, const std::string& folder, uint64_t size_bytes);

/// OK also when nothing is mounted there.
Status UnmountDataImage(const std::string& folder);

/// Waits until no loop device holds the image: a mount can outlive its unmounting for a moment.
Status AwaitImageFree(const std::string& image);

/// As if power failed: nothing in the page cache or in the file system's open transaction reaches
/// the image any more, and each access ends in EIO, until it was unmounted and mounted again (which
/// replays the file system's journal). kNotSupported when the folder is no file system of its own
/// that can do this.
Status CutPower(const std::string& folder);

}  // namespace tercet
