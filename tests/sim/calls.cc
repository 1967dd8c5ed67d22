#include "tests/sim/calls.h"

#include <cstdlib>

#include "common/base/coding.h"

namespace tercet::sim {
namespace {

// Behind all tables of the namespace.
constexpr char kRowTable = 0x72;

}  // namespace

std::string RowKey(uint32_t row) {
  std::string key(1, kRowTable);
  PutFixed32(&key, row);
  return key;
}

Result<RowContent> ReadRow(const View& view, uint32_t row) {
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, view.Get(RowKey(row)));
  RowContent content;
  if (!bytes) return content;
  if (bytes->size() < 8) return Status(StatusCode::kCorruption, "a register's row is too short");
  content.version = DecodeFixed64(bytes->data());
  content.value = bytes->substr(8);
  return content;
}

Result<std::string> EvaluateCall(Transaction& transaction, const Call& call) {
  ASSIGN_OR_RETURN(RowContent row, ReadRow(transaction, call.row));
  Answer answer;
  if (call.kind == CallKind::kWriteIfOdd && row.version % 2 == 0) {
    return Status(StatusCode::kExists, std::to_string(row.version));
  }
  if (call.kind == CallKind::kCompareAndSet && row.version != call.expected_version) {
    answer.done = false;
    answer.version = row.version;
    return EncodeAnswer(answer);
  }
  answer.version = row.version + 1;
  std::string bytes;
  PutFixed64(&bytes, answer.version);
  if (call.kind == CallKind::kAppend) bytes += row.value;
  bytes += call.value;
  transaction.Put(RowKey(call.row), bytes);
  return EncodeAnswer(answer);
}

std::string EncodeAnswer(const Answer& answer) {
  std::string bytes(1, answer.done ? 1 : 0);
  PutFixed64(&bytes, answer.version);
  return bytes;
}

Answer DecodeAnswer(std::string_view bytes) {
  Answer answer;
  if (bytes.size() != 9) {
    answer.status = Status(StatusCode::kCorruption, "a stored answer has another length");
    return answer;
  }
  answer.done = bytes[0] != 0;
  answer.version = DecodeFixed64(bytes.data() + 1);
  return answer;
}

}  // namespace tercet::sim
