// Names of extended attributes.
#pragma once

#include <string_view>

#include "common/base/status.h"
#include "metaserver/namespace/records.h"

namespace tercet {

/// As xattr(7): kRangeTooSmall when empty or over 255 bytes; kInvalidArgument with a NUL in it.
Status CheckXattrNameLength(std::string_view name);

/// Whether an inode of this type may get an attribute of this name. kNotSupported for namespaces
/// that are not kept (system: access control lists would be stored but not enforced),
/// kInvalidArgument for a bare namespace, kNotPermitted for user attributes of what is neither file
/// nor directory.
Status CheckXattrNamespace(std::string_view name, InodeType type);

}  // namespace tercet
