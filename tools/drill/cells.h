// The contents of a drill's data files: cells of 4,000 bytes, so that most pages hold parts of two,
// each of which has versions. What a cell holds in a version is computed, not kept.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace tercet {

inline constexpr uint64_t kCellBytes = 4'000;

/// Writes what the cell holds: version 0 is zeros, as if never written.
void FillCell(uint64_t file_seed, uint64_t cell, uint64_t version, std::span<char> out);

/// How many bytes of the cell are of none of the versions [lowest, highest]. While it is being
/// written a reader may see it half old and half new, by pages.
uint64_t WrongBytes(uint64_t file_seed, uint64_t cell, uint64_t lowest, uint64_t highest,
                    std::span<const char> data);

/// What a file holds by what its writers were told. Thread-safe, as long as each cell has one
/// writer.
class CellFile {
 public:
  CellFile(uint64_t seed, uint64_t cells)
      : seed_(seed),
        cells_(cells),
        submitted_(std::make_unique<std::atomic<uint64_t>[]>(cells)),
        visible_(std::make_unique<std::atomic<uint64_t>[]>(cells)) {}

  uint64_t seed() const { return seed_; }
  uint64_t cells() const { return cells_; }
  /// The version that was given to a write last, and the one that all readers must see at least.
  uint64_t submitted(uint64_t cell) const { return submitted_[cell]; }
  uint64_t visible(uint64_t cell) const { return visible_[cell]; }
  /// Before it is written.
  uint64_t NextVersion(uint64_t cell) { return ++submitted_[cell]; }
  /// After a close or sync: what was submitted is seen by all who open the file from now on.
  void MakeVisible(uint64_t cell) { visible_[cell] = submitted_[cell].load(); }
  /// An operation on it failed: it is not checked any more.
  std::atomic<bool> doubtful{false};

 private:
  const uint64_t seed_;
  const uint64_t cells_;
  const std::unique_ptr<std::atomic<uint64_t>[]> submitted_;
  const std::unique_ptr<std::atomic<uint64_t>[]> visible_;
};

}  // namespace tercet
