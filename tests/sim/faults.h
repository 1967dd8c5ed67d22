// Lets the faults of a scenario happen, each for a while, and mends everything at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "tests/sim/world.h"

namespace tercet::sim {

class Faults {
 public:
  /// `world` must outlive it.
  explicit Faults(World& world) : world_(world) {}

  void Begin();

 private:
  void Next();
  void Happen(Fault fault);
  /// `undo` happens after a random while, or when the faults end.
  void For(SimTime min, SimTime max, std::function<void()> undo);
  void MendAll();

  void StopProcess(Machine& machine);
  void CutPower(Machine& machine);
  void Pause(Machine& machine);
  void Partition();
  void CutLink(Place from, Place to);
  void Isolate(Machine& machine);
  void ResetLink();
  void FillDisk(Machine& machine);
  void Transfer();
  void ChangeMembers(Fault fault);
  void AddMember();
  bool KeepsState(const Membership& membership, const Machine* without);
  void RemoveMember();
  void PromoteWitness();
  void DeleteState(Machine& machine);
  void OnElected(Machine& machine);

  /// Not retired; null when there is none.
  Machine* AnyMachine();
  /// One whose core says that it leads, rather the newest one; null when there is none.
  Machine* Leader();
  std::vector<Machine*> Machines();
  /// Powers off those that a committed membership does not have any more.
  void RetireRemoved();

  World& world_;
  uint64_t next_undo_ = 1;
  std::map<uint64_t, std::function<void()>> undos_;  // what is not mended yet
  int next_witness_ = 0;
};

}  // namespace tercet::sim
