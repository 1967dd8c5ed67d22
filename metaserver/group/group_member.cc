#include "metaserver/group/group_member.h"

#include <utility>

#include "metaserver/group/group_handler.h"
#include "metaserver/group/member_driver.h"

namespace tercet {

struct GroupMember::Impl {
  explicit Impl(std::unique_ptr<MemberDriver> member_driver)
      : driver(std::move(member_driver)), handler(std::make_shared<GroupHandler>(*driver)) {}

  const std::unique_ptr<MemberDriver> driver;
  const std::shared_ptr<GroupHandler> handler;
};

Result<std::unique_ptr<GroupMember>> GroupMember::Start(GroupMemberOptions options,
                                                        std::unique_ptr<Journal> journal,
                                                        MemberState state, Applier* applier,
                                                        ActiveRole* active_role, Disk& disk,
                                                        const Clock& clock, Random& random) {
  auto driver =
      std::make_unique<MemberDriver>(std::move(options), std::move(journal), std::move(state),
                                     applier, active_role, disk, clock, random);
  RETURN_IF_ERROR(driver->Start());
  return std::unique_ptr<GroupMember>(new GroupMember(std::make_unique<Impl>(std::move(driver))));
}

GroupMember::GroupMember(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

GroupMember::~GroupMember() { Stop(std::chrono::milliseconds(0)); }

void GroupMember::Stop(std::chrono::milliseconds patience) {
  impl_->driver->Stop(patience);
  impl_->handler->Detach();
}

Result<JournalIndex> GroupMember::Append(Epoch epoch, std::string payload) {
  return impl_->driver->Append(epoch, std::move(payload));
}
Status GroupMember::WaitApplied(JournalIndex index) { return impl_->driver->WaitApplied(index); }
Status GroupMember::WaitApplied(Epoch epoch, JournalIndex index) {
  return impl_->driver->WaitApplied(epoch, index);
}
bool GroupMember::HoldsLease(Epoch epoch) const { return impl_->driver->HoldsLease(epoch); }
ConsensusState GroupMember::state() const { return impl_->driver->state(); }

std::shared_ptr<wire::GroupServiceIf> GroupMember::Handler() { return impl_->handler; }

void GroupMember::AwaitActive(std::chrono::milliseconds timeout) {
  impl_->driver->AwaitActive(timeout);
}
Result<MemberId> GroupMember::AddMember(const std::string& address, MemberKind kind) {
  return impl_->driver->AddMember(address, kind);
}
Status GroupMember::RemoveMember(MemberId member, bool force) {
  return impl_->driver->RemoveMember(member, force);
}
Status GroupMember::PromoteWitness(MemberId member) {
  return impl_->driver->PromoteWitness(member);
}
Result<MemberId> GroupMember::TransferActive(MemberId target) {
  return impl_->driver->TransferActive(target);
}

GroupStatus GroupMember::status() const { return impl_->driver->status(); }
GroupMemberCounters GroupMember::counters() const { return impl_->driver->counters(); }
Status GroupMember::failure() const { return impl_->driver->failure(); }
std::optional<StateOffer> GroupMember::pending_offer() const {
  return impl_->driver->pending_offer();
}
MemberKind GroupMember::kind() const { return impl_->driver->kind(); }
const NodeIdentity& GroupMember::identity() const { return impl_->driver->identity(); }
std::pair<JournalIndex, Membership> GroupMember::MembershipAt(JournalIndex index) const {
  return impl_->driver->MembershipAt(index);
}

}  // namespace tercet
