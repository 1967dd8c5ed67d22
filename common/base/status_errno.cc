#include "common/base/status_errno.h"

#include <cerrno>

namespace tercet {

namespace {

struct Row {
  StatusCode code;
  int error;
};

// Codes that a system call can also answer come in both directions from these rows.
constexpr Row kTable[] = {
    {StatusCode::kOk, 0},
    {StatusCode::kNotFound, ENOENT},
    {StatusCode::kExists, EEXIST},
    {StatusCode::kNotDirectory, ENOTDIR},
    {StatusCode::kIsDirectory, EISDIR},
    {StatusCode::kNotEmpty, ENOTEMPTY},
    {StatusCode::kInvalidArgument, EINVAL},
    {StatusCode::kNameTooLong, ENAMETOOLONG},
    {StatusCode::kNotPermitted, EPERM},
    {StatusCode::kAccessDenied, EACCES},
    {StatusCode::kNoSpace, ENOSPC},
    {StatusCode::kFileTooLarge, EFBIG},
    {StatusCode::kTooManyLinks, EMLINK},
    {StatusCode::kNoAttribute, ENODATA},
    {StatusCode::kRangeTooSmall, ERANGE},
    {StatusCode::kReadOnly, EROFS},
    {StatusCode::kNotSupported, EOPNOTSUPP},
    {StatusCode::kBusy, EBUSY},
    {StatusCode::kStaleHandle, ESTALE},
    {StatusCode::kArgumentTooBig, E2BIG},
    {StatusCode::kDeadlock, EDEADLK},
    {StatusCode::kWouldBlock, EAGAIN},
    {StatusCode::kQuotaExceeded, EDQUOT},
    {StatusCode::kDeadlineExceeded, ETIMEDOUT},
    {StatusCode::kCancelled, EINTR},
};

}  // namespace

int ErrnoFromCode(StatusCode code) {
  // A program that reads a file knows EIO, not ETIMEDOUT.
  if (code == StatusCode::kDeadlineExceeded) return EIO;
  for (const Row& row : kTable) {
    if (row.code == code) return row.error;
  }
  return EIO;
}

StatusCode CodeFromErrno(int error) {
  for (const Row& row : kTable) {
    if (row.error == error) return row.code;
  }
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOTCONN: return StatusCode::kUnavailable;
    // This process or machine is short of something: no disk or socket failed.
    case EMFILE:
    case ENFILE:
    case ENOMEM: return StatusCode::kUnavailable;
    default: return StatusCode::kIo;
  }
}

}  // namespace tercet
