// Status and Result: how every fallible function of Tercet reports its outcome.
//
// Invariants:
//  - A code exists only where some caller reacts to it differently.
//  - Codes are numbered, travel on the wire and into journaled replies, and never change meaning.
//  - Each code maps to one errno (common/base/status_errno.h); the table is tested for every code.
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace tercet {

/// Outcome classes. The numbers are part of the wire and disk formats: append only, never renumber.
enum class StatusCode : int32_t {
  kOk = 0,
  // What a file system call answers; one errno each.
  kNotFound = 1,           // ENOENT
  kExists = 2,             // EEXIST
  kNotDirectory = 3,       // ENOTDIR
  kIsDirectory = 4,        // EISDIR
  kNotEmpty = 5,           // ENOTEMPTY
  kInvalidArgument = 6,    // EINVAL
  kNameTooLong = 7,        // ENAMETOOLONG
  kNotPermitted = 8,       // EPERM
  kAccessDenied = 9,       // EACCES
  kNoSpace = 10,           // ENOSPC
  kFileTooLarge = 11,      // EFBIG
  kTooManyLinks = 12,      // EMLINK
  kNoAttribute = 13,       // ENODATA
  kRangeTooSmall = 14,     // ERANGE
  kReadOnly = 15,          // EROFS
  kNotSupported = 16,      // EOPNOTSUPP
  kBusy = 17,              // EBUSY
  kStaleHandle = 18,       // ESTALE: the inode or the session is gone
  kArgumentTooBig = 19,    // E2BIG: an extended attribute over the limit
  kDeadlock = 20,          // EDEADLK
  kWouldBlock = 21,        // EAGAIN
  kQuotaExceeded = 22,     // EDQUOT
  // What the parts tell each other; a client retries, goes elsewhere, or ends with EIO.
  kIo = 64,                // a disk or socket failed
  kCorruption = 65,        // stored or received bytes fail their checksum or make no sense
  kUnavailable = 66,       // the peer cannot be reached or is not ready: retry, perhaps elsewhere
  kDeadlineExceeded = 67,  // no answer in time: the outcome is unknown
  kNotActive = 68,         // this metaserver is not the active one; the message holds a hint
  kStaleGeneration = 69,   // the block's generation is not the one that was named
  kStaleEpoch = 70,        // a command from a deposed active
  kConflict = 71,          // the state changed underneath: read again and retry
  kWrongCluster = 72,      // the peer or the disk belongs to another cluster
  kIdentityInUse = 73,     // another live server has this identity
  kFailedPrecondition = 74,  // the operator has to do something first; the message says what
  kVersionTooNew = 75,     // written by a newer version of Tercet
  kCancelled = 76,
  kInternal = 77,          // a bug: an invariant does not hold
};

/// The code's stable lower-case name, as logs and JSON print it ("not_found").
std::string_view StatusCodeName(StatusCode code);

/// An outcome: a code and, unless OK, a sentence that says what, where and what to do.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return Status(); }
  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  /// The same code with `context` put before the message ("context: message").
  Status WithContext(std::string_view context) const;
  /// "not_found: message", or "ok".
  std::string ToString() const;

  friend bool operator==(const Status& a, const Status& b) { return a.code_ == b.code_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

/// A Status from an errno value; `what` names the call and its object ("open /x/y").
Status StatusFromErrno(int error, std::string_view what);

/// A value, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                        // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) { assert(!status_.ok()); }  // NOLINT

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  StatusCode code() const { return status_.code(); }

  T& value() & { assert(ok()); return *value_; }
  const T& value() const& { assert(ok()); return *value_; }
  T&& value() && { assert(ok()); return *std::move(value_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace tercet

#define TERCET_CONCAT_INNER(a, b) a##b
#define TERCET_CONCAT(a, b) TERCET_CONCAT_INNER(a, b)

/// Returns from the calling function when `expr` (a Status) is not OK.
#define RETURN_IF_ERROR(expr)                         \
  do {                                                \
    if (::tercet::Status _status = (expr); !_status.ok()) return _status; \
  } while (false)

/// Evaluates `expr` (a Result); on error returns its Status, else assigns the value to `lhs`.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(TERCET_CONCAT(_result_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                          \
  if (!tmp.ok()) return tmp.status();         \
  lhs = std::move(tmp).value()
