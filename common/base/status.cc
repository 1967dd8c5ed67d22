#include "common/base/status.h"

#include <cerrno>
#include <cstring>

#include "common/base/status_errno.h"

namespace tercet {

std::string_view StatusCodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk: return "ok";
    case StatusCode::kNotFound: return "not_found";
    case StatusCode::kExists: return "exists";
    case StatusCode::kNotDirectory: return "not_directory";
    case StatusCode::kIsDirectory: return "is_directory";
    case StatusCode::kNotEmpty: return "not_empty";
    case StatusCode::kInvalidArgument: return "invalid_argument";
    case StatusCode::kNameTooLong: return "name_too_long";
    case StatusCode::kNotPermitted: return "not_permitted";
    case StatusCode::kAccessDenied: return "access_denied";
    case StatusCode::kNoSpace: return "no_space";
    case StatusCode::kFileTooLarge: return "file_too_large";
    case StatusCode::kTooManyLinks: return "too_many_links";
    case StatusCode::kNoAttribute: return "no_attribute";
    case StatusCode::kRangeTooSmall: return "range_too_small";
    case StatusCode::kReadOnly: return "read_only";
    case StatusCode::kNotSupported: return "not_supported";
    case StatusCode::kBusy: return "busy";
    case StatusCode::kStaleHandle: return "stale_handle";
    case StatusCode::kArgumentTooBig: return "argument_too_big";
    case StatusCode::kDeadlock: return "deadlock";
    case StatusCode::kWouldBlock: return "would_block";
    case StatusCode::kQuotaExceeded: return "quota_exceeded";
    case StatusCode::kIo: return "io";
    case StatusCode::kCorruption: return "corruption";
    case StatusCode::kUnavailable: return "unavailable";
    case StatusCode::kDeadlineExceeded: return "deadline_exceeded";
    case StatusCode::kNotActive: return "not_active";
    case StatusCode::kStaleGeneration: return "stale_generation";
    case StatusCode::kStaleEpoch: return "stale_epoch";
    case StatusCode::kConflict: return "conflict";
    case StatusCode::kWrongCluster: return "wrong_cluster";
    case StatusCode::kIdentityInUse: return "identity_in_use";
    case StatusCode::kFailedPrecondition: return "failed_precondition";
    case StatusCode::kVersionTooNew: return "version_too_new";
    case StatusCode::kCancelled: return "cancelled";
    case StatusCode::kInternal: return "internal";
  }
  return "unknown";
}

Status Status::WithContext(std::string_view context) const {
  if (ok()) return *this;
  return Status(code_, std::string(context) + ": " + message_);
}

std::string Status::ToString() const {
  if (ok()) return "ok";
  return std::string(StatusCodeName(code_)) + ": " + message_;
}

Status StatusFromErrno(int error, std::string_view what) {
  char buffer[128];
  return Status(CodeFromErrno(error),
                std::string(what) + ": " + strerror_r(error, buffer, sizeof(buffer)));
}

}  // namespace tercet
