// The "group" service of a member.
#pragma once

#include <memory>
#include <shared_mutex>

#include "metaserver/group/member_driver.h"
#include "tercet_thrift/GroupService.h"

namespace tercet {

/// Thread-safe. Outlives the driver: after Detach calls are refused.
class GroupHandler final : public wire::GroupServiceIf {
 public:
  explicit GroupHandler(MemberDriver& driver) : driver_(&driver) {}
  /// Returns when no call uses the driver any more.
  void Detach();

  void Hello(wire::HelloResponse& response, const wire::HelloRequest& request) override;
  void Join(wire::JoinResponse& response, const wire::JoinRequest& request) override;
  void Deliver(const wire::GroupMessage& message) override;

 private:
  Status CheckHello(const wire::HelloRequest& request);
  Status CheckJoin(const wire::JoinRequest& request);

  std::shared_mutex mutex_;
  MemberDriver* driver_;  // guarded by mutex_; null after Detach
};

}  // namespace tercet
