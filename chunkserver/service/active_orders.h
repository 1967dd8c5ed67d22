// What the active metaserver decides about this server, carried out.
//
// From a registration to serving. A server that was away cannot know which of its replicas left
// their chains meanwhile. So:
//  1. told to register (again): StopServing: requests for data wait, or are refused
//  2. the active registered it: BeginRegistration. Of blocks that had been given out by then the
//     store makes no replica for a late write any more: there may have been one that was lost
//  3. all delete tasks of this server are fetched from that active and TakeTasks: their replicas
//  are
//     not served any more from then on, whether they are to be deleted now or kept for a while
//  4. Serve: the data plane is open
// When another registration begins between 2 and 4, at another metaserver, the earlier one does not
// come to 4. Tasks that are journaled after 3 come with heartbeats, as at all times.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "chunkserver/replication/data_plane_server.h"
#include "chunkserver/scrub/evacuator.h"
#include "chunkserver/scrub/scrubber.h"
#include "chunkserver/service/deletion_worker.h"
#include "chunkserver/service/digest_reporter.h"
#include "chunkserver/service/server_note.h"
#include "chunkserver/store/block_store.h"
#include "common/base/ids.h"
#include "common/base/status.h"
#include "tercet_thrift/registry_types.h"

namespace tercet {

/// Thread-safe. Whoever calls it has checked that the order is an active's whose epoch is not over.
/// The references must outlive it.
class ActiveOrders {
 public:
  struct Parts {
    BlockStore& store;
    DataPlaneServer& data_plane;
    DeletionWorker& deletions;
    DigestReporter& reporter;
    Scrubber& scrubber;
    Evacuator& evacuator;
    ServerNotes& notes;
  };
  explicit ActiveOrders(const Parts& parts) : parts_(parts) {}

  // ---- registration ----

  void StopServing();
  /// Returns the registration's number. kWrongCluster when the disks belong to another cluster.
  Result<uint64_t> BeginRegistration(const wire::RegisterServerResponse& response);
  void TakeTasks(Epoch epoch, const std::vector<wire::DeleteReplicaTask>& tasks);
  /// kUnavailable when a later registration has begun.
  Status Serve(uint64_t registration, ServerId server, int64_t incarnation);

  // ---- heartbeats ----

  void CarryOut(const wire::HeartbeatResponse& response);

 private:
  void SetLimits(const wire::BackgroundLimits& limits);
  void SetDiskStates(const std::vector<wire::DiskCommand>& commands);

  const Parts parts_;

  std::mutex mutex_;
  // Guarded by mutex_.
  uint64_t registration_ = 0;  // the newest
  std::string cluster_id_;
  std::optional<wire::BackgroundLimits> limits_;  // in force, when an active gave any
};

}  // namespace tercet
