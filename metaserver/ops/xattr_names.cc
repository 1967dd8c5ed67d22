#include "metaserver/ops/xattr_names.h"

#include <array>
#include <string>

namespace tercet {
namespace {

constexpr std::string_view kUserNamespace = "user.";
constexpr std::array<std::string_view, 3> kNamespaces = {kUserNamespace, "trusted.", "security."};

}  // namespace

Status CheckXattrNameLength(std::string_view name) {
  if (name.empty() || name.size() > kMaxXattrNameBytes) {
    return Status(StatusCode::kRangeTooSmall,
                  "an attribute's name has 1 to " + std::to_string(kMaxXattrNameBytes) + " bytes");
  }
  if (name.find('\0') != std::string_view::npos) {
    return Status(StatusCode::kInvalidArgument, "the attribute's name contains a NUL");
  }
  return Status::Ok();
}

Status CheckXattrNamespace(std::string_view name, InodeType type) {
  for (std::string_view space : kNamespaces) {
    if (!name.starts_with(space)) continue;
    if (name.size() == space.size()) {
      return Status(StatusCode::kInvalidArgument, "the attribute's name is only a namespace");
    }
    if (space == kUserNamespace && type != InodeType::kRegular && type != InodeType::kDirectory) {
      return Status(StatusCode::kNotPermitted, "only files and directories have user attributes");
    }
    return Status::Ok();
  }
  return Status(StatusCode::kNotSupported,
                "attributes are kept in the namespaces user, trusted and security");
}

}  // namespace tercet
