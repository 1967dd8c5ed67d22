// A client session in a simulation: calls one after the other on each of its slots, retried with
// the same sequence number wherever it is sent to, until they are answered or given up.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/sim/history.h"
#include "tests/sim/world.h"

namespace tercet::sim {

class Client {
 public:
  /// All must outlive the client. Its calls go into `history`.
  Client(World& world, uint64_t session, std::vector<HistoryEntry>* history);

  void Begin();
  /// No new calls but for one on each slot, which is a proof that the group serves.
  void EndLoad() { ending_ = true; }
  /// All slots have had an answer to a call that began after EndLoad.
  bool Finished() const;

 private:
  struct Slot {
    uint64_t sequence = 0;
    size_t entry = 0;     // in the history
    uint64_t ticket = 0;  // of the newest attempt
    SimTime give_up_at = 0;
    bool last = false;  // of a call that began after EndLoad
    bool finished = false;
    std::vector<uint64_t> seen_versions;  // by row
  };

  Place place() const { return kFirstClient + static_cast<Place>(session_); }
  void Think(size_t slot);
  void StartCall(size_t slot);
  Call MakeCall(size_t slot);
  void Attempt(size_t slot);
  void OnAnswer(size_t slot, uint64_t ticket, const Answer& answer);
  void Settle(size_t slot, const Answer& answer);
  int AnyMachine();
  SimTime Patience() const;

  World& world_;
  const uint64_t session_;
  std::vector<HistoryEntry>& history_;
  std::vector<Slot> slots_;
  int target_ = 0;  // machine; 0: any
  bool ending_ = false;
  uint64_t next_value_ = 1;
};

}  // namespace tercet::sim
