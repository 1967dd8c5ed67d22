#include <algorithm>

#include "common/log/log.h"
#include "metaserver/ops/repairs.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

bool IsReason(uint8_t reason) {
  return reason >= static_cast<uint8_t>(BadReplica::kDamaged) &&
         reason <= static_cast<uint8_t>(BadReplica::kDoubtful);
}

// Which of two notes of a replica is kept. What is not sound is more than doubtful, and what is
// missing is not damaged. That it is suspect must never be forgotten: an attempt that dies may have
// accepted it, and then this note alone says that it may lack acknowledged writes. What the others
// say is found again: a suspect is compared with its checksums whenever it is made equal, and one
// that is missing says so when it is sealed.
int Gravity(BadReplica reason) {
  switch (reason) {
    case BadReplica::kSuspect:
      return 3;
    case BadReplica::kMissing:
      return 2;
    case BadReplica::kDamaged:
      return 1;
    case BadReplica::kDoubtful:
      break;
  }
  return 0;
}

// True when it was not noted before. Of a replica that is noted already only graver news are kept:
// so reports that take turns do not make records for ever.
bool Note(RepairRecord& repair, ServerId server, BadReplica reason) {
  auto known = std::ranges::find(repair.bad, server, &RepairRecord::Bad::server);
  if (known != repair.bad.end()) {
    if (Gravity(reason) <= Gravity(known->reason)) return false;
    known->reason = reason;
    return true;
  }
  // The chain is not longer, so there is always room.
  if (repair.bad.size() == kMaxBadReplicas) return false;
  repair.bad.push_back({server, reason});
  return true;
}

// The replica was lost, or left behind by a crash, after the attempt that is under way had sealed
// it: the attempt counts on it, and its commit would take the note away, which is not told again.
bool Overtakes(const RepairRecord& repair, const BadReplicaNote& note) {
  const auto reason = static_cast<BadReplica>(note.reason);
  return repair.sealing != Generation() && note.generation == repair.sealing &&
         (reason == BadReplica::kSuspect || reason == BadReplica::kMissing);
}

// True when something was noted.
Result<bool> NoteOne(OperationContext& context, MutableTables& tables, const BadReplicaNote& note) {
  if (!IsReason(note.reason)) return false;
  ASSIGN_OR_RETURN(std::optional<OwnedBlock> owned, FindOwnedBlock(tables, note.block));
  if (!owned || !ContainsServer(owned->block.chain, note.server)) return false;
  ASSIGN_OR_RETURN(std::optional<RepairRecord> before, tables.FindRepair(note.block));
  // An attempt that is under way, or was given up, may have sealed it.
  if (note.generation < owned->block.generation ||
      note.generation > HighestGeneration(owned->block, before)) {
    return false;
  }
  RepairRecord repair = before.value_or(RepairRecord());
  const bool overtakes = Overtakes(repair, note);
  if (overtakes) repair.sealing = repair.sealing.Next();
  if (!Note(repair, note.server, static_cast<BadReplica>(note.reason)) && !overtakes) return false;
  SettleRepair(tables, owned->file, owned->block, before, std::move(repair), context.now_ns);
  return true;
}

}  // namespace

Result<int> EvaluateNoteBadReplicas(OperationContext& context,
                                    std::span<const BadReplicaNote> notes) {
  MutableTables tables(context.transaction);
  int noted = 0;
  for (const BadReplicaNote& note : notes) {
    const Result<bool> one = NoteOne(context, tables, note);
    // The server would report it for ever, and get no commands meanwhile.
    if (!one.ok() && IsBadRow(one.status())) {
      LOG_WARN_LIMITED("bad replica could not be noted server={} block={}: {}", note.server,
                       note.block, one.status());
      continue;
    }
    RETURN_IF_ERROR(one.status());
    if (*one) ++noted;
  }
  Summary(context, "bad replicas").Add("noted", static_cast<uint64_t>(noted));
  return noted;
}

}  // namespace tercet
