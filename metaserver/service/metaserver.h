// A metaserver within this process: data folder, journal, state, services and listening port.
//
// It lives one life after the other in the same data folder and at the same port, each in one mode:
//  - joining: the folder is empty and group.join is set: waits to be added to a group
//  - witness: a member that keeps the journal and votes
//  - fetching: a metaserver that lacks the namespace: as a witness, and fetches it
//  - serving: a metaserver with the namespace, active or standby
// Poll finds out that the mode has to change (added, fetched, left too far behind, promoted), ends
// the life and begins the next; what the new mode is, is read from the folder, as after a crash.
//
// The first start, and what a crash between two steps leaves:
//  1. The port is taken: a second start with the same settings ends here.
//  2. The data folder is made, the journal in it opened: identity and lock. → a journal without
//     records
//  3. The member state is written: a group of one. → a member without a file system
//  4. It becomes active, and the empty state is formatted: one journaled record. → formatted or
//     not; the next start sees
//  5. The port is listened on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/disk.h"
#include "common/env/random.h"
#include "common/rpc/socket.h"
#include "common/rpc/thrift_server.h"
#include "metaserver/group/group_member.h"
#include "metaserver/group/join_waiter.h"
#include "metaserver/namespace/database.h"
#include "metaserver/service/active_services.h"
#include "metaserver/service/data_folder.h"
#include "metaserver/service/group_metrics.h"
#include "metaserver/service/handlers.h"
#include "metaserver/service/late_consensus.h"
#include "metaserver/service/metaserver_config.h"
#include "metaserver/service/service_metrics.h"

namespace tercet {

enum class MetaserverMode { kJoining, kWitness, kFetching, kServing };

/// "joining", "witness", "fetching", "serving".
std::string_view MetaserverModeName(MetaserverMode mode);

/// Not thread-safe.
class Metaserver {
 public:
  /// Answers requests when it returns; one that is alone in its group is active then. `disk`,
  /// `clock` and `random` must outlive the metaserver. Errors are one sentence for people: kBusy
  /// (port or data folder in use), kWrongCluster, kVersionTooNew, kCorruption, kFailedPrecondition
  /// (the folder holds something else), kAccessDenied, kNoSpace, …
  static Result<std::unique_ptr<Metaserver>> Start(const MetaserverConfig& config, Disk& disk,
                                                   const Clock& clock, Random& random);
  /// Hands over when it is active (half a second at most), stops serving, answers what is in
  /// progress, and leaves a synced state behind.
  ~Metaserver();

  uint16_t port() const { return port_.port; }
  MetaserverMode mode() const { return mode_; }
  /// 16 bytes; empty while joining.
  const std::string& cluster_id() const { return cluster_id_; }
  /// Null while joining.
  GroupMember* member() { return member_.get(); }
  /// Null unless serving.
  ActiveServices* services() { return services_.get(); }

  /// To be called several times a second: brings metrics up to date, and begins the next life when
  /// the mode has to change. Not OK when this metaserver cannot go on and has to be restarted.
  Status Poll();

 private:
  Metaserver(const MetaserverConfig& config, Disk& disk, const Clock& clock, Random& random);

  // Lives.
  Status Enter();
  void Leave();
  /// What has to be done before the next life begins, if one has to.
  Result<bool> PrepareChange();
  Status EnterJoining();
  Status EnterMember(std::unique_ptr<Journal> journal, MemberState state);
  Result<MemberState> LoadOrFormGroup(const Journal& journal);
  Status OpenDatabase(const Journal& journal, bool fetch_begun);
  Status StartMember(std::unique_ptr<Journal> journal, MemberState state);
  void StartFetcher(const MemberState& state);
  /// A group of one: waits until it is active, and formats an empty state.
  Status BringUpAlone();
  Status CheckStateCluster();
  Status Serve();
  AdminParts MakeAdminParts();
  FetchSources KnownSources() const;
  std::string Address() const;

  // Constant after construction.
  const MetaserverConfig config_;
  const DataFolder folder_;
  Disk& disk_;
  const Clock& clock_;
  Random& random_;
  const int64_t started_ms_;
  ReservedPort port_;

  JournalMetrics journal_metrics_;
  GroupMetrics group_metrics_;

  // Of the present life, in the order in which they are made; ended by Leave in the reverse order,
  // but the member is stopped first.
  MetaserverMode mode_ = MetaserverMode::kJoining;
  std::string cluster_id_;
  MemberKind kind_ = MemberKind::kMetaserver;
  std::unique_ptr<LateConsensus> consensus_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<ActiveServices> services_;
  std::unique_ptr<GroupMember> member_;
  std::unique_ptr<StateFetcher> fetcher_;
  std::unique_ptr<StateSnapshots> snapshots_;
  std::unique_ptr<HandlerParts> parts_;
  std::shared_ptr<JoinWaiter> waiter_;
  std::unique_ptr<ThriftServer> server_;
};

}  // namespace tercet
