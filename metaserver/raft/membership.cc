#include "metaserver/raft/membership.h"

#include <algorithm>
#include <utility>

#include "common/base/coding.h"

namespace tercet {
namespace {

constexpr uint8_t kFormatVersion = 1;
constexpr uint8_t kVoterFlag = 1;

bool KnownKind(uint8_t kind) {
  return kind == static_cast<uint8_t>(MemberKind::kMetaserver) ||
         kind == static_cast<uint8_t>(MemberKind::kWitness);
}

}  // namespace

std::string_view MemberKindName(MemberKind kind) {
  switch (kind) {
    case MemberKind::kMetaserver:
      return "metaserver";
    case MemberKind::kWitness:
      return "witness";
  }
  return "unknown";
}

const Member* Membership::Find(MemberId id) const {
  for (const Member& member : members) {
    if (member.id == id) return &member;
  }
  return nullptr;
}

const Member* Membership::FindByAddress(std::string_view address) const {
  for (const Member& member : members) {
    if (member.address == address) return &member;
  }
  return nullptr;
}

bool Membership::IsVoter(MemberId id) const {
  const Member* member = Find(id);
  return member != nullptr && member->voter;
}

size_t Membership::voter_count() const {
  return static_cast<size_t>(
      std::count_if(members.begin(), members.end(), [](const Member& m) { return m.voter; }));
}

Status Membership::Validate() const {
  const auto invalid = [](std::string what) {
    return Status(StatusCode::kInvalidArgument, "membership: " + std::move(what));
  };
  if (members.size() > kMaxMembers) {
    return invalid(std::to_string(members.size()) + " members, at most " +
                   std::to_string(kMaxMembers) + " are possible");
  }
  MemberId previous;
  for (const Member& member : members) {
    const std::string name = "member " + std::to_string(member.id.value());
    if (member.id <= previous) return invalid(name + " is not in ascending order");
    if (member.id >= next_id) return invalid(name + " has an id that was not given out yet");
    if (!KnownKind(static_cast<uint8_t>(member.kind))) return invalid(name + " has no known kind");
    if (member.address.size() > kMaxAddressBytes) return invalid(name + " has too long an address");
    previous = member.id;
  }
  return Status::Ok();
}

std::string Membership::Encode() const {
  std::string out;
  PutFixed8(&out, kFormatVersion);
  PutFixed32(&out, next_id.value());
  PutFixed8(&out, static_cast<uint8_t>(members.size()));
  for (const Member& member : members) {
    PutFixed32(&out, member.id.value());
    PutFixed8(&out, static_cast<uint8_t>(member.kind));
    PutFixed8(&out, member.voter ? kVoterFlag : 0);
    PutLengthPrefixed(&out, member.address);
  }
  return out;
}

Result<Membership> Membership::Decode(std::string_view bytes) {
  Decoder in(bytes);
  const uint8_t version = in.Fixed8();
  if (in.failed() || version == 0) {
    return Status(StatusCode::kCorruption, "membership: no format version");
  }
  if (version > kFormatVersion) {
    return Status(StatusCode::kVersionTooNew,
                  "membership: format version " + std::to_string(version) +
                      ", this program knows " + std::to_string(kFormatVersion));
  }
  Membership membership;
  membership.next_id = MemberId(in.Fixed32());
  const uint8_t count = in.Fixed8();
  if (count > kMaxMembers) return Status(StatusCode::kCorruption, "membership: too many members");
  for (uint8_t i = 0; i < count && !in.failed(); ++i) {
    Member member;
    member.id = MemberId(in.Fixed32());
    const uint8_t kind = in.Fixed8();
    const uint8_t flags = in.Fixed8();
    member.address = in.LengthPrefixed();
    if (in.failed()) break;
    if (!KnownKind(kind) || (flags & ~kVoterFlag) != 0) {
      return Status(StatusCode::kCorruption, "membership: unknown kind or flag of a member");
    }
    member.kind = static_cast<MemberKind>(kind);
    member.voter = (flags & kVoterFlag) != 0;
    membership.members.push_back(std::move(member));
  }
  RETURN_IF_ERROR(in.Finish("membership"));
  if (Status valid = membership.Validate(); !valid.ok()) {
    return Status(StatusCode::kCorruption, valid.message());
  }
  return membership;
}

}  // namespace tercet
