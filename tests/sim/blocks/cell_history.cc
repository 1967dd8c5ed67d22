#include "tests/sim/blocks/cell_history.h"

#include <algorithm>

#include "common/base/coding.h"

namespace tercet::sim {

WriteId CellHistory::Begin(uint32_t first_cell, uint32_t cells, SimTime now) {
  Write write;
  write.first_cell = first_cell;
  write.cells = cells;
  write.begun = now;
  writes_.push_back(write);
  return static_cast<WriteId>(writes_.size());
}

void CellHistory::Acknowledge(WriteId write, SimTime now) {
  writes_[write - 1].acknowledged = now;
  ++acknowledged_;
}

void CellHistory::Sync(SimTime sent) {
  for (Write& write : writes_) {
    if (write.acknowledged <= sent) write.synced = true;
  }
}

void CellHistory::Disown(WriteId write) { writes_[write - 1].acknowledged = kNever; }

void CellHistory::ForgetUnsynced(SimTime now) {
  forgot_ = now;
  for (Write& write : writes_) {
    if (write.synced) continue;
    write.acknowledged = kNever;
    write.forgotten = true;
  }
}

bool CellHistory::MayRead(uint32_t cell, WriteId value, SimTime begin, SimTime end) const {
  SimTime complete = -1;  // of zeros
  if (value == kMixture) {
    const bool torn = std::any_of(writes_.begin(), writes_.end(), [&](const Write& write) {
      return write.forgotten && cell >= write.first_cell && cell < write.first_cell + write.cells;
    });
    if (!torn) return false;
    complete = forgot_;
  } else if (value != 0) {
    if (value > writes_.size()) return false;
    const Write& read = writes_[value - 1];
    if (read.begun > end || cell < read.first_cell || cell >= read.first_cell + read.cells) {
      return false;
    }
    complete = read.acknowledged;
  }
  for (const Write& other : writes_) {
    const bool covers = cell >= other.first_cell && cell < other.first_cell + other.cells;
    if (covers && other.acknowledged < begin && other.begun > complete) return false;
  }
  return true;
}

std::string CellBytes(WriteId write, uint32_t first_cell, uint32_t cells) {
  std::string bytes;
  bytes.reserve(size_t{cells} * kCellBytes);
  for (uint32_t cell = first_cell; cell < first_cell + cells; ++cell) {
    for (uint32_t at = 0; at < kCellBytes; at += 8) {
      PutFixed32(&bytes, write);
      PutFixed32(&bytes, cell);
    }
  }
  return bytes;
}

WriteId WriteOf(std::string_view bytes, uint32_t cell) {
  if (bytes == std::string(kCellBytes, '\0')) return 0;
  const uint32_t write = DecodeFixed32(bytes.data());
  return bytes == CellBytes(write, cell, 1) ? write : kMixture;
}

}  // namespace tercet::sim
