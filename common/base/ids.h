// Strong identifier types: an inode number can never be passed where a block number is meant.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>

namespace tercet {

template <typename Tag, typename Rep>
class StrongId {
 public:
  using rep_type = Rep;
  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  constexpr StrongId Next() const { return StrongId(value_ + 1); }
  friend constexpr auto operator<=>(StrongId, StrongId) = default;

 private:
  Rep value_ = 0;
};

template <typename Tag, typename Rep>
std::ostream& operator<<(std::ostream& out, StrongId<Tag, Rep> id) {
  return out << id.value();
}

using InodeId = StrongId<struct InodeIdTag, uint64_t>;        // 0 is never an inode; 1 is the root
using BlockId = StrongId<struct BlockIdTag, uint64_t>;        // never reused in a cluster; 0 is none
using Generation = StrongId<struct GenerationTag, uint64_t>;  // of one block, starts at 1, only grows
using ServerId = StrongId<struct ServerIdTag, uint32_t>;      // a chunk server; 0 is none
using SessionId = StrongId<struct SessionIdTag, uint64_t>;    // a mounted client; 0 is none
using Epoch = StrongId<struct EpochTag, uint64_t>;            // Raft term, the fencing token
using JournalIndex = StrongId<struct JournalIndexTag, uint64_t>;  // 1 is the first record; 0 is none

inline constexpr InodeId kRootInode{1};

}  // namespace tercet

template <typename Tag, typename Rep>
struct std::hash<tercet::StrongId<Tag, Rep>> {
  size_t operator()(tercet::StrongId<Tag, Rep> id) const noexcept {
    return std::hash<Rep>()(id.value());
  }
};
