// What must hold in every simulation at every moment, beside the histories of clients:
//  - election safety: at most one leader per epoch
//  - log matching: records of the same index and epoch are the same, and so are their predecessors
//  - leader completeness: a leader has every record that was committed in an earlier epoch
//  - what is committed never changes, and each record is committed under one index
//  - exactly once: the sequence numbers of each slot rise in the committed records
//  - state equality: the state at an index is what the committed records up to it make
//  - one at a time serves (checked by the simulation, which knows all clocks)
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "metaserver/namespace/view.h"
#include "metaserver/raft/consensus.h"
#include "tests/sim/trace.h"

namespace tercet::sim {

/// A record as logs are compared.
struct LogEntry {
  Epoch epoch;
  uint64_t hash = 0;  // of kind and payload

  static LogEntry Of(const CommittedRecord& record) {
    return {record.epoch, HashBytes(record.payload, static_cast<uint64_t>(record.kind))};
  }
  friend bool operator==(const LogEntry&, const LogEntry&) = default;
};

class Checker {
 public:
  explicit Checker(Trace& trace) : trace_(trace) {}

  /// The first thing that was wrong; empty: nothing.
  const std::string& failure() const { return failure_; }
  void Fail(std::string what);

  /// `machine` put a record at the end of its log; `previous` is the epoch of the one before.
  void NoteAppended(int machine, const CommittedRecord& record, Epoch previous);

  /// `log(index)` gives a record of the leader's log, null for one that it released.
  template <typename Log>
  void NoteLeader(int machine, Epoch epoch, JournalIndex last, const Log& log) {
    if (!NoteElected(machine, epoch, last)) return;
    for (size_t i = 0; i < committed_.size(); ++i) {
      if (committed_[i].under >= epoch) continue;
      const JournalIndex index(i + 1);
      const LogEntry* entry = index <= last ? log(index) : nullptr;
      if (index > last || (entry != nullptr && *entry != committed_[i].entry)) {
        FailIncomplete(machine, epoch, index);
        return;
      }
    }
  }

  JournalIndex committed() const { return JournalIndex(committed_.size()); }
  /// `machine`, in `epoch`, takes the record for committed; `fetch` gives it whole. The first to
  /// say so for an index must do it in order.
  template <typename Fetch>
  void NoteCommitted(int machine, Epoch epoch, JournalIndex index, const LogEntry& entry,
                     const Fetch& fetch) {
    if (index > committed()) {
      AddCommitted(machine, epoch, index, fetch());
    } else if (CommittedEntry(index) != entry) {
      FailChanged(machine, epoch, index, entry);
    }
  }
  /// A record up to committed().
  const LogEntry& CommittedEntry(JournalIndex index) const {
    return committed_[index.value() - 1].entry;
  }

  /// Compares the whole state of `machine` with what it must be.
  void CheckState(int machine, const View& state, JournalIndex applied);

  size_t leaders() const { return leaders_.size(); }
  uint64_t memberships() const { return memberships_; }
  const std::map<std::string, std::string, std::less<>>& rows() const { return rows_; }

 private:
  struct Committed {
    LogEntry entry;
    Epoch under;  // which leader's
  };
  struct Known {
    uint64_t hash;
    Epoch previous;
  };

  bool NoteElected(int machine, Epoch epoch, JournalIndex last);
  void FailIncomplete(int machine, Epoch epoch, JournalIndex index);
  void AddCommitted(int machine, Epoch epoch, JournalIndex index, const CommittedRecord& record);
  void FailChanged(int machine, Epoch epoch, JournalIndex index, const LogEntry& entry);
  void ApplyToModel(const CommittedRecord& record);
  void CheckSequence(std::string_view key, std::string_view value, JournalIndex index);

  Trace& trace_;
  std::string failure_;
  std::map<Epoch, int> leaders_;
  std::map<std::pair<JournalIndex, Epoch>, Known> known_;
  std::vector<Committed> committed_;  // record i + 1 at i
  // What the committed records make.
  std::map<std::string, std::string, std::less<>> rows_;
  uint64_t digest_ = 0;
  uint64_t memberships_ = 0;
  std::vector<uint64_t> digests_{0};  // by index
};

}  // namespace tercet::sim
