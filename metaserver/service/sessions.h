// The mounted clients: who they are, when they were heard of last, and what they said about
// orphans.
//
// Life of a session, and what a crash of the metaserver leaves:
//  1. Open: journaled with the client's uuid. A retry finds the same session.
//  2. Alive: renewed from time to time; not journaled. A metaserver that becomes active gives every
//     journaled session a full time to live, because it cannot know when it was renewed last.
//  3. Silent for a time to live, or closed: ending. It is no longer renewed. A crash here makes it
//  alive
//     again, and it expires again.
//  4. Ended in batches (EndSession): from the first on, the journaled row says closing. After a
//  crash
//     the next active finishes the job. Only then are its orphans not waited for any more.
//
// What is remembered here is of one activation. Who works with it names the epoch, so that nothing
// that was found out under one is acted upon under another: meanwhile another metaserver may have
// been active and heard of the session.
//
// Invariant: an orphan is handed to the reclaimer only when every session whose row is not closing
// has released it since this metaserver became active.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "metaserver/service/orphan_window.h"
#include "metaserver/service/proposer.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

struct SessionOptions {
  std::chrono::milliseconds ttl{60'000};
  size_t max_sessions = 10'000;
  /// Orphans that sessions are being asked about at a time.
  size_t orphan_window = 20'000;
  /// Ids in one reply and in one request. A client that gets so many should renew again at once.
  size_t max_condemned_per_reply = 10'000;
  /// How long an orphan that somebody holds open may keep a place that others wait for.
  std::chrono::milliseconds orphan_patience{10'000};
};

/// Thread-safe.
class Sessions {
 public:
  /// `proposer` and `clock` must outlive the sessions.
  Sessions(SessionOptions options, Proposer& proposer, const Clock& clock);

  /// The metaserver becomes active under `epoch`: takes in what is journaled, and nothing else.
  Status BecomeActive(Epoch epoch);
  void BecomeStandby();

  // The RPCs.
  void Open(const wire::OpenSessionRequest& request, wire::OpenSessionResponse* response);
  void Renew(const wire::RenewSessionRequest& request, wire::RenewSessionResponse* response);
  void Close(const wire::CloseSessionRequest& request, wire::CloseSessionResponse* response);

  /// Ends the sessions that were silent for too long, and those whose end did not succeed before.
  void ExpireSilent();
  /// Gives every session its full time again: it could not renew for want of a metaserver.
  void RenewAll();

  // For the reclaimer.
  size_t OrphanRoom() const;
  size_t OrphansInWindow() const;
  /// Asks the sessions about these orphans; stops when the window is full. Returns how many are in.
  size_t Condemn(std::span<const InodeId> orphans);
  std::vector<InodeId> TakeReclaimable(size_t max);
  void PutBack(InodeId orphan);
  void Reclaimed(InodeId orphan);
  /// Makes room for others when orphans that are held open fill the window.
  void RotateWindow();

  size_t count() const;

 private:
  Status OpenChecked(Epoch epoch, const wire::OpenSessionRequest& request,
                     wire::OpenSessionResponse* response);
  Status RenewChecked(Epoch epoch, const wire::RenewSessionRequest& request,
                      wire::RenewSessionResponse* response);
  Status End(Epoch epoch, SessionId session);

  const SessionOptions options_;
  Proposer& proposer_;
  const Clock& clock_;

  mutable std::mutex mutex_;
  // Guarded by mutex_; all of one activation:
  Epoch epoch_;                              // 0: a standby
  std::map<SessionId, int64_t> renewed_ms_;  // alive sessions → monotonic time of the last renewal
  std::set<SessionId> ending_;               // not alive, but not known to be ended either
  OrphanWindow window_;                      // knows the sessions of both sets above
};

}  // namespace tercet
