// Who belongs to a metadata group. A membership is a journal record of its own kind
// (metaserver/raft/format.md); a member acts on the newest one in its log, committed or not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"

namespace tercet {

/// A member of a metadata group; never used again in the group, 0 is none.
using MemberId = StrongId<struct MemberIdTag, uint32_t>;

enum class MemberKind : uint8_t {
  kMetaserver = 1,  // has the namespace and can be active
  kWitness = 2,     // keeps the journal and votes
};

/// "metaserver", "witness".
std::string_view MemberKindName(MemberKind kind);

struct Member {
  MemberId id;
  MemberKind kind = MemberKind::kMetaserver;
  bool voter = false;   // false: it is being caught up and does not count
  std::string address;  // "HOST:PORT" of its services

  friend bool operator==(const Member&, const Member&) = default;
};

/// A value. Two memberships that follow each other differ by at most one voter, so that any two
/// majorities of them share a member.
struct Membership {
  static constexpr size_t kMaxMembers = 15;
  static constexpr size_t kMaxAddressBytes = 261;  // a host name of 255, a colon, a port

  std::vector<Member> members;  // by ascending id
  MemberId next_id{1};          // for the next one that is added

  const Member* Find(MemberId id) const;
  const Member* FindByAddress(std::string_view address) const;
  bool IsVoter(MemberId id) const;
  size_t voter_count() const;
  /// So many voters are a majority.
  size_t quorum() const { return voter_count() / 2 + 1; }

  /// kInvalidArgument unless it can be encoded: ids ascend, none is 0 or next_id or above, and the
  /// bounds are kept. A membership of nobody is valid.
  Status Validate() const;
  /// Of a valid membership.
  std::string Encode() const;
  /// kCorruption when `bytes` is not exactly one valid membership, kVersionTooNew.
  static Result<Membership> Decode(std::string_view bytes);

  friend bool operator==(const Membership&, const Membership&) = default;
};

}  // namespace tercet
