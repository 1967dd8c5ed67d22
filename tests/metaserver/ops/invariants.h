// Whether a whole namespace state is consistent: the invariants of metaserver/ops/mutations.h.
#pragma once

#include <string>
#include <vector>

#include "metaserver/namespace/view.h"

namespace tercet {

/// One sentence per violation; empty when the state is consistent.
std::vector<std::string> FindViolations(const View& view);

}  // namespace tercet
