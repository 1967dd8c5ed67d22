// What one seed simulates: the group, how good its networks, disks and clocks are, and which faults
// happen. Each seed picks a few kinds of faults at random (swarm testing): many at once hide each
// other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metaserver/raft/membership.h"
#include "metaserver/raft/raft_core.h"
#include "tests/sim/event_queue.h"

namespace tercet::sim {

enum class Fault : uint32_t {
  kKill,            // of a process: the page cache stays
  kPowerCut,        // of a machine: what was not synced is dropped or torn
  kPowerCutInWork,  // the same amid its next few disk operations
  kPowerCutAll,     // of all machines at once
  kPause,           // SIGSTOP, SIGCONT
  kPartition,       // into two sides
  kOneWayCut,       // of one link, in one direction
  kIsolateLeader,   // both ways, or one
  kLinkReset,       // connections are made anew; what was under way is lost
  kSlowDisk,        // syncs take long
  kFailedSync,      // once
  kFailedWrite,     // once
  kFullDisk,        // for a while
  kClockJump,       // of the wall clock
  kBadNetwork,      // much loss and delay for a while
  kTransfer,        // planned
  kAddMember,
  kRemoveMember,
  kPromoteWitness,
  kDeleteState,  // of a standby
  kShortReigns,  // whoever is elected falls within milliseconds, for a while
  kCount,
};

std::string_view FaultName(Fault fault);

struct Scenario {
  static Scenario FromSeed(uint64_t seed);

  uint64_t seed = 0;
  std::vector<MemberKind> members;  // all voters
  RaftOptions raft;
  bool skewed_clocks = false;

  // Network; one way.
  SimTime min_delay = 0;
  SimTime max_delay = 0;
  uint32_t tail_permille = 0;  // of messages that take up to tail_delay
  SimTime tail_delay = 0;
  uint32_t loss_permille = 0;
  uint32_t duplicate_permille = 0;
  bool over_the_wire = false;  // messages are written as on the wire, and read again
  bool in_order = true;        // as a connection delivers, but for what tail_permille and faults do

  // Disk.
  SimTime min_sync = 0;
  SimTime max_sync = 0;
  uint64_t segment_bytes = 0;
  bool early_syncs = false;  // the bytes are on the disk at once, the news of it comes later
  SimTime max_apply_delay = 0;
  int apply_batch = 0;  // records
  int append_batch = 0;
  uint32_t checkpoint_records = 0;
  uint64_t retain_records = 0;  // for members that are behind

  // Load.
  int sessions = 0;
  int slots = 0;
  int registers = 0;
  int lists = 0;
  int value_bytes = 0;
  SimTime think_time = 0;
  SimTime call_timeout = 0;
  uint32_t read_percent = 0;
  uint32_t stray_percent = 0;  // of calls that go to any member

  // Faults.
  std::vector<Fault> faults;
  SimTime fault_interval = 0;  // on average
  SimTime fault_end = 0;

  std::string Describe() const;
};

}  // namespace tercet::sim
