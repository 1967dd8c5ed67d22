#include "common/base/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "common/base/status_errno.h"

namespace tercet {
namespace {

TEST(StatusErrno, EveryCodeHasTheErrnoThatTheTableNames) {
  const struct {
    StatusCode code;
    int error;
  } kExpected[] = {
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
      {StatusCode::kIo, EIO},
      {StatusCode::kCorruption, EIO},
      {StatusCode::kUnavailable, EIO},
      {StatusCode::kDeadlineExceeded, EIO},
      {StatusCode::kNotActive, EIO},
      {StatusCode::kStaleGeneration, EIO},
      {StatusCode::kStaleEpoch, EIO},
      {StatusCode::kConflict, EIO},
      {StatusCode::kWrongCluster, EIO},
      {StatusCode::kIdentityInUse, EIO},
      {StatusCode::kFailedPrecondition, EIO},
      {StatusCode::kVersionTooNew, EIO},
      {StatusCode::kCancelled, EINTR},
      {StatusCode::kInternal, EIO},
  };
  std::set<std::string_view> names;
  for (const auto& row : kExpected) {
    EXPECT_EQ(ErrnoFromCode(row.code), row.error) << StatusCodeName(row.code);
    EXPECT_NE(StatusCodeName(row.code), "unknown");
    EXPECT_TRUE(names.insert(StatusCodeName(row.code)).second) << StatusCodeName(row.code);
  }
  EXPECT_EQ(ErrnoFromCode(static_cast<StatusCode>(9999)), EIO);
}

TEST(StatusErrno, SystemCallErrorsComeBackAsTheSameErrno) {
  for (int error : {ENOENT, EEXIST, ENOTDIR, EISDIR, ENOSPC, EACCES, EROFS, ENAMETOOLONG}) {
    EXPECT_EQ(ErrnoFromCode(CodeFromErrno(error)), error);
  }
  EXPECT_EQ(CodeFromErrno(ECONNREFUSED), StatusCode::kUnavailable);
  EXPECT_EQ(CodeFromErrno(EIO), StatusCode::kIo);
  EXPECT_EQ(CodeFromErrno(123456), StatusCode::kIo);
}

Result<int> Half(int value) {
  if (value % 2 != 0) return Status(StatusCode::kInvalidArgument, "odd");
  return value / 2;
}
Result<int> Quarter(int value) {
  ASSIGN_OR_RETURN(const int half, Half(value));
  ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

TEST(Result, MacrosPassErrorsOnAndValuesThrough) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Quarter(6).status().WithContext("quarter of 6").ToString(),
            "invalid_argument: quarter of 6: odd");
}

}  // namespace
}  // namespace tercet
