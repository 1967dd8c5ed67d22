// The end of a session, in batches:
//  1. the first batch marks it closing and takes its uuid row: from then on it counts as gone, so
//  no
//     mutation of it can be done again after its stored reply went;
//  2. its slot replies go, a bounded number per batch;
//  3. the batch that finds no more than that removes its row.
// A crash between any two leaves a closing session, which the caller finds by Tables::ScanSessions.
#include <vector>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Result<BatchResult> EvaluateExpireSession(OperationContext& context, SessionId session,
                                          int max_slots) {
  if (max_slots <= 0) return Status(StatusCode::kInvalidArgument, "max_slots must be positive");
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(std::optional<SessionRecord> record, tables.FindSession(session));
  if (!record) return BatchResult{.done = true, .removed = 0};

  // Keys only: the replies may be large.
  BatchResult result{.done = true, .removed = 0};
  std::vector<uint32_t> slots;
  const KeyRange range = SlotReplyRange(session);
  RETURN_IF_ERROR(
      tables.view().Scan(range.from, range.to, [&](std::string_view key, std::string_view) {
        std::optional<ParsedKey> parsed = ParseKey(key);
        if (slots.size() == static_cast<size_t>(max_slots)) {
          result.done = false;
          return false;
        }
        if (parsed) slots.push_back(static_cast<uint32_t>(parsed->second));
        return true;
      }));
  for (uint32_t slot : slots) tables.DeleteSlotReply(session, slot);
  result.removed = static_cast<int>(slots.size());

  if (!record->closing) tables.DeleteSessionByUuid(record->client_uuid);
  if (result.done) {
    tables.DeleteSession(session);
  } else if (!record->closing) {
    record->closing = true;
    tables.PutSession(session, *record);
  }
  Summary(context, "session ended")
      .Add("session", session.value())
      .Add("slots", slots.size())
      .Add("done", result.done ? 1 : 0);
  return result;
}

}  // namespace tercet
