// What simulated clients ask of the group: registers and lists, rows of the state of their own.
//
// A row holds a version, which each change raises by one, and a value; a list's value only grows.
// Every answer tells the version that it saw or made: that is what makes checking a history cheap
// (tests/sim/history.h).
#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "metaserver/namespace/view.h"

namespace tercet::sim {

enum class CallKind : uint8_t {
  kRead,
  kWrite,          // of a value
  kCompareAndSet,  // of a value, if the version is the expected one; else the answer says so
  kWriteIfOdd,     // of a value, if the version is odd; else it is an error, which is not journaled
  kAppend,         // to a list
};

struct Call {
  CallKind kind = CallKind::kRead;
  uint64_t session = 0;
  uint32_t slot = 0;
  uint64_t sequence = 0;  // of mutations, from 1
  uint32_t row = 0;
  uint64_t expected_version = 0;
  std::string value;  // unique over a simulation; of appends kTokenBytes long
};

struct Answer {
  Status status;
  int hint = -1;         // with kNotActive: the machine that may be
  bool done = true;      // false: a kCompareAndSet that did not apply
  uint64_t version = 0;  // seen (reads, failed ones) or made
  std::string value;     // of reads
};

inline constexpr size_t kTokenBytes = 8;

std::string RowKey(uint32_t row);
/// The version is 0 when there is no row.
struct RowContent {
  uint64_t version = 0;
  std::string value;
};
Result<RowContent> ReadRow(const View& view, uint32_t row);

/// What a mutation does; the answer as bytes. An error status may be a final answer (kExists: a
/// write-if-odd that did not apply, with the version as the message).
Result<std::string> EvaluateCall(Transaction& transaction, const Call& call);
std::string EncodeAnswer(const Answer& answer);
Answer DecodeAnswer(std::string_view bytes);

}  // namespace tercet::sim
