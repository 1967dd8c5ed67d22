// Names of directory entries.
#pragma once

#include <string_view>

#include "common/base/status.h"

namespace tercet {

/// What an operation wants with a name; it decides what "." and ".." answer.
enum class NameUse {
  kLookUp,           // both are allowed
  kCreate,           // kExists
  kUnlink,           // kIsDirectory
  kRemoveDirectory,  // ".": kInvalidArgument, "..": kNotEmpty
  kRename,           // kBusy
};

/// kNotFound when empty, kNameTooLong over 255 bytes, kInvalidArgument with a '/' or NUL in it.
Status CheckName(std::string_view name, NameUse use);

}  // namespace tercet
