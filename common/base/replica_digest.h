// The digest by which a chunk server and the active compare what replicas there are.
#pragma once

#include <cstdint>

#include "common/base/ids.h"

namespace tercet {

/// Replicas are compared in ranges of block ids: range = block id >> kReplicaRangeBits.
inline constexpr int kReplicaRangeBits = 16;

/// A 64-bit mix of one replica's identity; a range's digest is the XOR over its replicas.
/// Part of the protocol. Source of the mixer: splitmix64 (S. Vigna).
constexpr uint64_t ReplicaDigest(BlockId block, Generation generation) {
  auto mix = [](uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  };
  return mix(mix(block.value()) + generation.value());
}

}  // namespace tercet
