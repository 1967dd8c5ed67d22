// A machine of the simulated group: its disk and clock, which outlive the process that runs on it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "common/env/random.h"
#include "common/env/sim_disk.h"
#include "metaserver/raft/membership.h"
#include "tests/sim/log_shadow.h"
#include "tests/sim/machine_clock.h"

namespace tercet::sim {

class Process;
struct World;

class Machine {
 public:
  /// `world` must outlive the machine. Its number is its member's id, and the port in its address.
  Machine(World& world, int number, int64_t rate_ppm, int64_t wall_offset_ns, uint64_t seed);
  ~Machine();

  static std::string AddressOf(int number) { return "m:" + std::to_string(number); }
  /// Of an address; -1 for one of none.
  static int NumberOf(const std::string& address);

  int number() const { return number_; }
  MemberId id() const { return MemberId(static_cast<uint32_t>(number_)); }
  World& world() { return world_; }
  SimDisk& disk() { return disk_; }
  MachineClock& clock() { return clock_; }
  Random& random() { return random_; }
  LogShadow& shadow() { return shadow_; }
  /// Null while none runs.
  Process* process() { return process_.get(); }

  /// Makes its folder that of a member with this membership, which knows of no record yet.
  void Form(const Membership& membership, MemberKind kind);
  /// Starts the process; it tries again when that fails for a fault of the disk.
  void Start();
  /// Start in a while.
  void StartLater(SimTime delay);
  void Kill();
  void CutPower();
  /// Powers off for good: it was removed from the group.
  void Retire();
  bool retired() const { return retired_; }

  void Pause();
  void Resume();
  bool paused() const { return pauses_ > 0; }

  /// Lets `action` happen in the process, if that is still the same by then. A paused one does it
  /// when it goes on.
  void Post(SimTime delay, std::function<void(Process&)> action);
  /// The same now.
  void Deliver(std::function<void(Process&)> action);

  /// Added to each sync.
  SimTime slow_sync = 0;
  bool is_short_of_space = false;  // by a fault

 private:
  void Run(const std::function<void(Process&)>& action);
  void EndProcess();

  World& world_;
  const int number_;
  SimDisk disk_;
  MachineClock clock_;
  SeededRandom random_;
  LogShadow shadow_;
  std::unique_ptr<Process> process_;
  uint64_t incarnation_ = 0;   // of the process
  uint64_t start_ticket_ = 0;  // of the newest StartLater
  int failed_starts_ = 0;
  int pauses_ = 0;
  bool retired_ = false;
  std::deque<std::function<void(Process&)>> backlog_;
};

}  // namespace tercet::sim
