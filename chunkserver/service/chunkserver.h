// One chunk server: its store, its data plane and its tie to the metadata group.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "chunkserver/replication/data_plane_server.h"
#include "chunkserver/scrub/evacuator.h"
#include "chunkserver/scrub/scrubber.h"
#include "chunkserver/service/active_orders.h"
#include "chunkserver/service/chunkserver_config.h"
#include "chunkserver/service/deletion_worker.h"
#include "chunkserver/service/digest_reporter.h"
#include "chunkserver/service/registry_agent.h"
#include "chunkserver/service/registry_link.h"
#include "chunkserver/service/server_note.h"
#include "chunkserver/service/service_metrics.h"
#include "chunkserver/service/status_report.h"
#include "chunkserver/store/block_store.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/disk.h"
#include "common/env/random.h"
#include "common/metrics/metrics.h"

namespace tercet {

/// Thread-safe after Start.
class Chunkserver {
 public:
  /// Opens the disks, binds the ports and begins to register. Errors are one line that says what to
  /// do. The references must outlive the server.
  static Result<std::unique_ptr<Chunkserver>> Start(const ChunkserverConfig& config, Disk& disk,
                                                    Clock& clock, Random& random);
  /// Stops serving, then closes the disks.
  ~Chunkserver();

  /// Waits for RequestStop (OK) or for something that this server must not survive: a refused
  /// registration, or the loss of all disks.
  Status Wait();
  void RequestStop() { End(Status::Ok()); }

  uint16_t data_port() const { return data_plane_->port(); }
  /// 0 when there is none.
  uint16_t metrics_port() const { return metrics_server_ ? metrics_server_->port() : 0; }
  BlockStore& store() { return *store_; }
  bool registered() const { return agent_->registered(); }

 private:
  Chunkserver(const ChunkserverConfig& config, Clock& clock);
  Status Open(Disk& disk, Random& random);
  Status OpenDataPlane();
  /// Begins to register, and to work in the background.
  Status StartService(Disk& disk, Random& random);
  /// The outcome of a registration that was refused for good.
  Status RefusedFor(const Status& why) const;
  bool ClientsActive() const;
  void End(const Status& why);
  /// Looks after the disks, empties the trash, updates the metrics.
  void KeepHouse();
  void CheckDisks();

  // Constant after Start; destroyed from the last to the first.
  const ChunkserverConfig config_;
  Clock& clock_;
  std::unique_ptr<BlockStore> store_;
  std::unique_ptr<DataPlaneServer> data_plane_;
  std::unique_ptr<MetricsServer> metrics_server_;
  std::unique_ptr<RegistryLink> link_;
  std::unique_ptr<DeletionWorker> deletions_;
  std::unique_ptr<DigestReporter> reporter_;
  std::unique_ptr<Scrubber> scrubber_;
  std::unique_ptr<Evacuator> evacuator_;
  std::unique_ptr<ServerNotes> notes_;
  std::unique_ptr<StatusReport> report_;
  std::unique_ptr<ActiveOrders> orders_;
  std::unique_ptr<RegistryAgent> agent_;

  std::mutex mutex_;
  std::condition_variable ended_changed_;
  std::optional<Status> ended_;  // guarded by mutex_; why the server has to end

  size_t healthy_disks_ = 0;  // of the housekeeper
  std::thread housekeeper_;
};

}  // namespace tercet
