// Operations of the metaserver itself: formatting, sessions, servers, and the work that is done in
// batches behind mutations. Like those they are evaluated in a transaction and journaled; calling
// one again after its record was lost or applied is harmless.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/ops/operation.h"
#include "tercet_thrift/metadata_types.h"
#include "tercet_thrift/registry_types.h"

namespace tercet {

/// What a new cluster starts with.
struct FormatOptions {
  std::string_view cluster_id;  // kUuidBytes
  uint32_t block_size_bytes = 64 * 1024 * 1024;
  uint8_t replicas = 3;
  uint8_t min_replicas = 2;
  uint32_t root_mode = 0755;
};

/// Writes the rows of an empty file system: format version, cluster id, counters, root directory.
/// kFailedPrecondition when the state is formatted already; kInvalidArgument.
Status EvaluateFormat(OperationContext& context, const FormatOptions& options);

/// OK when this program can serve the state. kVersionTooNew, kFailedPrecondition (not formatted).
Status CheckFormat(const View& view);

/// Idempotent by client_uuid. Sets session_id, cluster_id and root_inode of the response; ttl_ms
/// and slot_count are the service's. kInvalidArgument for a malformed uuid or over-long strings.
Result<wire::OpenSessionResponse> EvaluateOpenSession(OperationContext& context,
                                                      const wire::OpenSessionRequest& request);

struct BatchResult {
  /// Nothing is left to do; otherwise call again (in a new transaction).
  bool done = false;
  /// Rows' subjects removed by this batch: blocks, slots, tasks.
  int removed = 0;
};

/// Ends a session (expired or closed). From the first batch on it is closing: it counts as dead and
/// its client_uuid may open a new session. At most `max_slots` slot replies go per batch, at the
/// end the session's row. Done at once when there is no such session.
Result<BatchResult> EvaluateExpireSession(OperationContext& context, SessionId session,
                                          int max_slots);

/// Removes at most `max_blocks` blocks of an orphan (delete tasks go in), at the end the inode
/// itself with its attributes. The caller made sure that no session has it open. Done at once when
/// there is no such orphan.
Result<BatchResult> EvaluateReclaimOrphan(OperationContext& context, InodeId inode, int max_blocks);

/// Removes dead blocks of a file whose truncation was too large for one record (TruncationRecord),
/// visiting at most `max_blocks` rows. Inodes with such work: Tables::ScanTruncations. Done at once
/// when there is none.
Result<BatchResult> EvaluateReclaimTruncation(OperationContext& context, InodeId inode,
                                              int max_blocks);

/// A server confirmed deletions. Tasks that are unknown or meanwhile name a higher generation are
/// skipped. `removed` counts the others; `done` is always true.
Result<BatchResult> EvaluateFinishDeleteTasks(OperationContext& context, ServerId server,
                                              std::span<const wire::DeleteReplicaTask> tasks);

/// A known server_uuid keeps its id; address, version and incarnation are brought up to date
/// (nothing is written when they are). Sets server_id and cluster_id of the response.
/// kWrongCluster, kInvalidArgument; kFailedPrecondition when it was removed. That no second live
/// server has this identity is for the caller to check.
Result<wire::RegisterServerResponse> EvaluateRegisterServer(
    OperationContext& context, const wire::RegisterServerRequest& request);

}  // namespace tercet
