// What a member of a metadata group must never forget beside its journal: who it is, in which epoch
// it is and for whom it voted. One small file, written whole at each change
// (metaserver/journal/format.md, "Member state").
#pragma once

#include <cstdint>
#include <string>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/disk.h"
#include "metaserver/raft/membership.h"

namespace tercet {

struct MemberState {
  /// Random, of this life of the group; a restored group has a new one.
  uint64_t group_id = 0;
  MemberId self;
  MemberKind kind = MemberKind::kMetaserver;
  // The newest epoch it took part in, and its vote there.
  Epoch epoch;
  MemberId voted_for;
  /// The newest membership in the part of the journal that is released, and its record's index.
  Membership base_membership;
  JournalIndex base_membership_index;

  friend bool operator==(const MemberState&, const MemberState&) = default;
};

/// kNotFound when there is none, kVersionTooNew, kCorruption.
Result<MemberState> LoadMemberState(Disk& disk, const std::string& path);
/// Durable when it returns OK; after a crash the file holds the old or the new state.
Status SaveMemberState(Disk& disk, const std::string& path, const MemberState& state);

}  // namespace tercet
