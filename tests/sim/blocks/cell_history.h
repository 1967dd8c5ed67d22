// What may be read from a block, by what its writers were told. The block is taken as cells of 1
// KiB; a write fills a run of cells with its number.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/event_queue.h"

namespace tercet::sim {

inline constexpr uint32_t kCellBytes = 1024;

/// Numbers the writes of one block; 0 is what nobody wrote: zeros.
using WriteId = uint32_t;
/// What a cell holds that is of no single write: a power cut tore one that was not synced.
inline constexpr WriteId kMixture = UINT32_MAX;

class CellHistory {
 public:
  WriteId Begin(uint32_t first_cell, uint32_t cells, SimTime now);
  /// The writer was told that all replicas have it.
  void Acknowledge(WriteId write, SimTime now);
  /// A sync was acknowledged that was sent at `sent`: it covers all that was acknowledged before.
  void Sync(SimTime sent);
  /// The writer died before a commit named the block: nobody counts on it any more.
  void Disown(WriteId write);
  /// All replicas may have lost what was not synced: it may be there or not, or torn.
  void ForgetUnsynced(SimTime now);

  /// Whether a read that went on from `begin` to `end` may find `value` in `cell`: the value was
  /// being written by then, and no write that was acknowledged before the read began had started
  /// after it was complete. kMixture: a write that was forgotten as unsynced may be torn there, and
  /// none that was acknowledged has begun since.
  bool MayRead(uint32_t cell, WriteId value, SimTime begin, SimTime end) const;

  size_t acknowledged() const { return acknowledged_; }

 private:
  struct Write {
    uint32_t first_cell = 0;
    uint32_t cells = 0;
    SimTime begun = 0;
    SimTime acknowledged = kNever;
    bool synced = false;
    bool forgotten = false;
  };
  static constexpr SimTime kNever = INT64_MAX;

  std::vector<Write> writes_;  // WriteId - 1
  size_t acknowledged_ = 0;
  SimTime forgot_ = -1;  // when unsynced writes were forgotten the last time
};

/// The bytes of cells [first, first + cells) as `write` fills them.
std::string CellBytes(WriteId write, uint32_t first_cell, uint32_t cells);
/// The write that filled a cell, or kMixture.
WriteId WriteOf(std::string_view bytes, uint32_t cell);

}  // namespace tercet::sim
