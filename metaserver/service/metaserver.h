// A metaserver within this process: data folder, journal, state, services and listening port.
//
// Start, and what a crash between two steps leaves:
//  1. The data folder is made, the journal in it opened: identity and lock. → a journal without
//  records
//  2. The state database is opened and what it lacks replayed from the journal.
//  3. An empty state is formatted: one journaled record. → formatted or not; the next start sees
//  4. The sessions and servers are taken in, the port is opened.
//
// data_dir/journal/ and data_dir/state/ are described in metaserver/journal/format.md and
// metaserver/namespace/state_format.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/disk.h"
#include "common/env/random.h"
#include "common/rpc/thrift_server.h"
#include "metaserver/journal/single_voter.h"
#include "metaserver/namespace/database.h"
#include "metaserver/service/active_services.h"
#include "metaserver/service/metaserver_config.h"
#include "metaserver/service/service_metrics.h"

namespace tercet {

class Metaserver {
 public:
  /// Serves when it returns. `disk`, `clock` and `random` must outlive the metaserver. Errors are
  /// one sentence for people: kBusy (port or data folder in use), kWrongCluster, kVersionTooNew,
  /// kCorruption, kFailedPrecondition (the folder holds something else), kAccessDenied, kNoSpace, …
  static Result<std::unique_ptr<Metaserver>> Start(const MetaserverConfig& config, Disk& disk,
                                                   const Clock& clock, Random& random);
  /// Stops serving, answers what is in progress, and leaves a synced state behind.
  ~Metaserver();

  uint16_t port() const { return server_->port(); }
  const std::string& cluster_id() const { return voter_->identity().cluster_id; }
  ActiveServices& services() { return *services_; }

  /// To be called about once a second: brings the journal's metrics up to date. Not OK when this
  /// metaserver cannot serve any more and has to be restarted.
  Status Poll();

 private:
  Metaserver() = default;
  Status OpenState(const MetaserverConfig& config, Disk& disk, Random& random);
  Status FormatIfEmpty(const MetaserverConfig& config);

  // In the order in which they are made; destroyed in the reverse order.
  std::unique_ptr<Database> database_;
  std::unique_ptr<SingleVoter> voter_;
  std::unique_ptr<ActiveServices> services_;
  std::unique_ptr<ThriftServer> server_;
  JournalMetrics journal_metrics_;
};

}  // namespace tercet
