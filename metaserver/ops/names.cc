#include "metaserver/ops/names.h"

#include <string>

#include "metaserver/namespace/records.h"

namespace tercet {
namespace {

Status CheckDots(std::string_view name, NameUse use) {
  switch (use) {
    case NameUse::kLookUp:
      return Status::Ok();
    case NameUse::kCreate:
      return Status(StatusCode::kExists, "'.' and '..' are always there");
    case NameUse::kUnlink:
      return Status(StatusCode::kIsDirectory, "'.' and '..' are directories");
    case NameUse::kRemoveDirectory:
      if (name == "..") return Status(StatusCode::kNotEmpty, "'..' holds this directory");
      return Status(StatusCode::kInvalidArgument, "'.' cannot be removed");
    case NameUse::kRename:
      return Status(StatusCode::kBusy, "'.' and '..' cannot be renamed");
  }
  return Status(StatusCode::kInternal, "unknown use of a name");
}

}  // namespace

Status CheckName(std::string_view name, NameUse use) {
  if (name.empty()) return Status(StatusCode::kNotFound, "the name is empty");
  if (name.size() > kMaxNameBytes) {
    return Status(StatusCode::kNameTooLong, "the name has " + std::to_string(name.size()) +
                                                " bytes, " + std::to_string(kMaxNameBytes) +
                                                " are allowed");
  }
  if (name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
    return Status(StatusCode::kInvalidArgument, "the name contains a '/' or a NUL");
  }
  if (name == "." || name == "..") return CheckDots(name, use);
  return Status::Ok();
}

}  // namespace tercet
