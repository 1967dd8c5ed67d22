// What this server tells the metadata group about itself.
#pragma once

#include <vector>

#include "chunkserver/replication/data_plane_server.h"
#include "chunkserver/scrub/evacuator.h"
#include "chunkserver/scrub/scrubber.h"
#include "chunkserver/store/block_store.h"
#include "tercet_thrift/registry_types.h"

namespace tercet {

/// Thread-safe. The references must outlive it.
class StatusReport {
 public:
  StatusReport(BlockStore& store, const DataPlaneServer& data_plane, const Scrubber& scrubber,
               const Evacuator& evacuator)
      : store_(store), data_plane_(data_plane), scrubber_(scrubber), evacuator_(evacuator) {}

  std::vector<wire::DiskReport> Disks() const;
  wire::ServerLoad Load() const;

 private:
  BlockStore& store_;
  const DataPlaneServer& data_plane_;
  const Scrubber& scrubber_;
  const Evacuator& evacuator_;
};

/// Bad replicas as a heartbeat names them.
std::vector<wire::BadReplica> ReportOf(const std::vector<BadReplicaFound>& found);

}  // namespace tercet
