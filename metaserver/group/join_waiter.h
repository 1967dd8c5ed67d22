// What an empty metaserver serves as "group" until a group takes it in.
//
// Join writes, in this order, each durably; in brackets what a crash behind it leaves:
//  1. the journal folder's identity with the group's cluster [the folder belongs to the cluster,
//  but
//     not to a group yet: it waits again, and only for this cluster]
//  2. the member state [a member: the next start goes on as that]
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>

#include "common/env/disk.h"
#include "common/env/random.h"
#include "metaserver/journal/member_state.h"
#include "tercet_thrift/GroupService.h"

namespace tercet {

struct JoinWaiterOptions {
  std::string journal_folder;
  std::string identity_path;  // of the journal's folder
  std::string member_state_path;
  /// The only cluster that may take it in, 16 bytes; empty: any.
  std::string cluster_id;
};

/// Thread-safe.
class JoinWaiter final : public wire::GroupServiceIf {
 public:
  /// `disk` and `random` must outlive the object.
  JoinWaiter(JoinWaiterOptions options, Disk& disk, Random& random);

  /// What this metaserver has become a member of; nothing when the time is over before.
  std::optional<MemberState> Await(std::chrono::milliseconds timeout);

  void Hello(wire::HelloResponse& response, const wire::HelloRequest& request) override;
  void Join(wire::JoinResponse& response, const wire::JoinRequest& request) override;
  void Deliver(const wire::GroupMessage& message) override;

 private:
  Status TakeIn(const wire::JoinRequest& request);

  const JoinWaiterOptions options_;
  Disk& disk_;
  Random& random_;

  std::mutex mutex_;
  // Guarded by mutex_:
  std::optional<MemberState> joined_;
  std::condition_variable changed_;
};

}  // namespace tercet
