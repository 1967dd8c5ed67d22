// Changes of where the replicas of blocks are, and of the servers that hold them. Operations of the
// metaserver itself like those of internal_operations.h: evaluated in a transaction and journaled;
// calling one again after its record was lost or applied is harmless. The protocol they belong to:
// metaserver/repair/protocol.md.
//
// Invariants beside those of mutations.h:
//  - A block has a repair row while a reconfiguration is under way (sealing != 0) or something is
//    known to be wrong with it: fewer or more replicas than its inode's policy wants, a bad
//    replica, a place that breaks the policy. Blocks of which only a server is dead or draining
//    have none: those are found through the server's replica rows.
//  - A file block row's `stale` names exactly the servers that have a held delete task for the
//    block.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/records.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/operation.h"

namespace tercet {

/// The block as the begin record found it, and the generation of the attempt.
struct BegunReconfiguration {
  Generation sealing;
  std::vector<ServerId> chain;
  bool reserved = false;
};

/// Journals that an attempt uses the next generation. kConflict: the block is not of generation
/// `from` any more, or is gone (or was cut off). `targets`: servers that are not in the chain and
/// may get a replica from this attempt: they are remembered, so that whatever becomes of the
/// attempt or of the block they get delete tasks if they are not in the chain in the end. `above`:
/// a replica has this generation, which this state does not know: the attempt's is higher.
Result<BegunReconfiguration> EvaluateBeginReconfiguration(OperationContext& context, BlockId block,
                                                          Generation from,
                                                          std::span<const ServerId> targets = {},
                                                          Generation above = Generation());

struct CommitReconfigurationArguments {
  BlockId block;
  Generation from;
  Generation sealing;
  std::vector<ServerId> chain;  // new, 1 to kMaxChainLength
  /// Members of the new chain whose notes in the repair row are settled: their replica was compared
  /// with its own checksums, or made anew, in this attempt. Notes of damage of other members stay;
  /// members that were missing or suspect are neither any more when they are in the new chain.
  std::vector<ServerId> verified;
  /// The new chain holds nothing: right only while nothing is committed in the block.
  bool unwritten = false;
};
/// The new generation and chain: file block row, replica rows (none while reserved), change_version
/// of the inode; delete tasks for members of the old chain that left, held while there are fewer
/// replicas than the policy wants, holds lifted and `stale` emptied when there are enough; held
/// tasks of servers that are back in the chain go. The repair row goes, or says what is still
/// wanted. kConflict: the attempt was overtaken, also by a first commit where it has an empty chain
/// (`unwritten`), or the block is gone; then targets may hold
/// replicas: EvaluateDiscardTargets.
Result<FileBlockRecord> EvaluateCommitReconfiguration(
    OperationContext& context, const CommitReconfigurationArguments& arguments);

/// Delete tasks (not held) for servers that may hold a replica of a given-up attempt and are not in
/// the block's chain (or the block is gone), of generations up to `sealing`.
Status EvaluateDiscardTargets(OperationContext& context, BlockId block, Generation sealing,
                              std::span<const ServerId> targets);

struct BadReplicaNote {
  BlockId block;
  Generation generation;
  ServerId server;
  uint8_t reason = 0;  // wire::BadReplicaReason
};
/// Notes bad replicas in the blocks' repair rows. Those that the journal does not place there in
/// that generation, or one that an attempt has sealed it with, are skipped, and those of blocks
/// whose rows are bad. What was lost or became suspect after the present attempt had sealed it
/// overtakes the attempt. Returns how many were noted.
Result<int> EvaluateNoteBadReplicas(OperationContext& context,
                                    std::span<const BadReplicaNote> notes);

/// The block's members were compared and are equal in `generation`: their doubts go. Nothing
/// happens when the block has another generation by then, or an attempt is under way. A doubt is
/// reported 10 s after it arose, so one that arose after the comparison is not lost as long as this
/// is evaluated within 5 s of the comparison's first question: the caller sees to that.
Status EvaluateClearDoubts(OperationContext& context, BlockId block, Generation generation);

/// Looks at the block again: puts the repair row that its state calls for (too few, too many,
/// misplaced), or removes one that is not called for any more. `misplaced` is the placement's
/// judgement. Nothing happens while an attempt is under way.
Status EvaluateReviewBlock(OperationContext& context, BlockId block, bool misplaced);

/// A reserved block that holds nothing acknowledged is replaced by a new one on other servers (for
/// its only reserver). kFailedPrecondition when that is not so: then it must be recovered.
Result<FileBlockRecord> EvaluateReplaceUnwritten(OperationContext& context, InodeId inode,
                                                 uint64_t index, BlockId block,
                                                 std::span<const ServerId> exclude);

// ---- servers ----

/// kNotFound. kRemoved cannot be left again (kFailedPrecondition). `until_ns`: end of maintenance,
/// 0: none. `replicas`: how many the server has as draining begins, for showing progress.
Status EvaluateSetServerState(OperationContext& context, ServerId server, ServiceState state,
                              int64_t until_ns, uint64_t replicas = 0);
/// Puts the server back into service if it is in maintenance, and that is over; true then. What an
/// administrator commanded meanwhile stays.
Result<bool> EvaluateEndMaintenance(OperationContext& context, ServerId server);
/// A removed server never confirms anything: takes away at most `max_tasks` of its delete tasks.
/// Done at once for a server that is not removed. Held ones stay until their hold is lifted.
Result<BatchResult> EvaluateDropDeleteTasks(OperationContext& context, ServerId server,
                                            int max_tasks);
/// kNotFound: unknown server; kInvalidArgument. State: wire::DiskState; kInService removes the row.
Status EvaluateSetDiskState(OperationContext& context, ServerId server, std::string_view disk_uuid,
                            uint8_t state);

}  // namespace tercet
