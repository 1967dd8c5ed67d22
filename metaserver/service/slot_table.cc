#include "metaserver/service/slot_table.h"

#include "metaserver/namespace/tables.h"

namespace tercet {

Result<SlotTable::Outcome> SlotTable::Look(const View& view, SessionId session, uint32_t slot,
                                           uint64_t sequence) {
  auto it = sessions_.find(session);
  if (it == sessions_.end()) {
    ASSIGN_OR_RETURN(const bool open, Tables(view).IsSessionOpen(session));
    if (!open) {
      return Status(StatusCode::kStaleHandle,
                    "session " + std::to_string(session.value()) + " is not open");
    }
    it = sessions_.emplace(session, std::vector<Slot>(slot_count_)).first;
  }
  if (slot >= slot_count_ || sequence == 0) {
    return Status(StatusCode::kInvalidArgument, "slot " + std::to_string(slot) + ", sequence " +
                                                    std::to_string(sequence) + ": slots are 0 to " +
                                                    std::to_string(slot_count_ - 1) +
                                                    ", sequence numbers start at 1");
  }
  Slot& state = it->second[slot];
  std::optional<std::string> reply;
  if (!state.loaded || sequence == state.sequence) {
    ASSIGN_OR_RETURN(auto row, Tables(view).FindSlotReply(session, slot));
    if (!state.loaded && row) state.sequence = row->sequence;
    state.loaded = true;
    if (row && row->sequence == sequence) reply = std::move(row->reply);
  }
  if (sequence < state.sequence) {
    return Status(StatusCode::kInvalidArgument,
                  "sequence " + std::to_string(sequence) + " of slot " + std::to_string(slot) +
                      " is stale: " + std::to_string(state.sequence) + " was seen");
  }
  Outcome outcome;
  if (sequence > state.sequence) {
    outcome.fresh = true;
  } else if (state.failure != nullptr) {
    outcome.failure = *state.failure;
  } else if (reply) {
    outcome.reply = std::move(reply);
    outcome.index = state.index;
  } else {
    return Status(StatusCode::kInternal, "the reply of session " + std::to_string(session.value()) +
                                             " slot " + std::to_string(slot) + " is missing");
  }
  return outcome;
}

void SlotTable::RecordProposed(SessionId session, uint32_t slot, uint64_t sequence,
                               JournalIndex index) {
  auto it = sessions_.find(session);
  // The mutation itself may have ended the session.
  if (it == sessions_.end()) return;
  it->second[slot] = Slot{true, sequence, index, nullptr};
}

void SlotTable::RecordFailure(SessionId session, uint32_t slot, uint64_t sequence, Status failure) {
  auto it = sessions_.find(session);
  if (it == sessions_.end()) return;
  it->second[slot] =
      Slot{true, sequence, JournalIndex(), std::make_unique<Status>(std::move(failure))};
}

}  // namespace tercet
