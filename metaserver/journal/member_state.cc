#include "metaserver/journal/member_state.h"

#include <limits>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "metaserver/journal/rebuild_advice.h"

namespace tercet {
namespace {

// Part of the format (format.md, "Member state"): never change.
constexpr std::string_view kMemberMagic("TRCTMEMB", 8);
constexpr uint32_t kMemberVersion = 1;
constexpr size_t kMaxFileBytes = 64 << 10;

std::string Encode(const MemberState& state) {
  std::string out(kMemberMagic);
  PutFixed32(&out, kMemberVersion);
  PutFixed64(&out, state.group_id);
  PutFixed32(&out, state.self.value());
  PutFixed8(&out, static_cast<uint8_t>(state.kind));
  PutFixed64(&out, state.epoch.value());
  PutFixed32(&out, state.voted_for.value());
  PutFixed64(&out, state.base_membership_index.value());
  const bool empty = state.base_membership == Membership();
  PutLengthPrefixed(&out, empty ? std::string() : state.base_membership.Encode());
  PutFixed32(&out, Crc32c(out));
  return out;
}

Result<MemberState> Decode(std::string_view bytes) {
  Decoder in(bytes);
  if (in.Bytes(kMemberMagic.size()) != kMemberMagic) {
    return Status(StatusCode::kCorruption, "it holds no member state");
  }
  const uint32_t version = in.Fixed32();
  if (!in.failed() && version > kMemberVersion) {
    return Status(StatusCode::kVersionTooNew, "it was made by a newer Tercet (format " +
                                                  std::to_string(version) +
                                                  "). Start the newer version on it");
  }
  MemberState state;
  state.group_id = in.Fixed64();
  state.self = MemberId(in.Fixed32());
  const uint8_t kind = in.Fixed8();
  state.kind = static_cast<MemberKind>(kind);
  state.epoch = Epoch(in.Fixed64());
  state.voted_for = MemberId(in.Fixed32());
  state.base_membership_index = JournalIndex(in.Fixed64());
  const std::string_view membership = in.LengthPrefixed();
  const size_t checked_bytes = bytes.size() - in.rest().size();
  const uint32_t crc = in.Fixed32();
  RETURN_IF_ERROR(in.Finish("member state"));
  if (crc != Crc32c(bytes.substr(0, checked_bytes))) {
    return Status(StatusCode::kCorruption, "its checksum is wrong");
  }
  const bool known_kind = kind == static_cast<uint8_t>(MemberKind::kMetaserver) ||
                          kind == static_cast<uint8_t>(MemberKind::kWitness);
  if (version == 0 || !known_kind || state.self == MemberId()) {
    return Status(StatusCode::kCorruption, "it makes no sense");
  }
  if (!membership.empty()) {
    ASSIGN_OR_RETURN(state.base_membership, Membership::Decode(membership));
  }
  return state;
}

}  // namespace

Result<MemberState> LoadMemberState(Disk& disk, const std::string& path) {
  Result<std::string> bytes = ReadWholeFile(disk, path, kMaxFileBytes);
  Result<MemberState> state = bytes.ok() ? Decode(*bytes) : Result<MemberState>(bytes.status());
  if (state.code() == StatusCode::kCorruption) {
    return Status(StatusCode::kCorruption, path + " is damaged: " + state.status().message() +
                                               ". " + std::string(kRebuildAdvice));
  }
  if (state.code() == StatusCode::kVersionTooNew) return state.status().WithContext(path);
  // A process that was killed within SaveMemberState may have left the name in the cache only: what
  // this member does from now on relies on it.
  if (state.ok()) RETURN_IF_ERROR(disk.SyncDirectory(DirectoryOf(path)));
  return state;
}

Status SaveMemberState(Disk& disk, const std::string& path, const MemberState& state) {
  return WriteFileAtomically(disk, path, Encode(state));
}

}  // namespace tercet
