// How a metaserver without the namespace gets it from others in a simulation: rows of snapshots,
// with cuts, and changes of the server in between.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "metaserver/namespace/state_builder.h"
#include "tests/sim/event_queue.h"

namespace tercet::sim {

class Process;

/// The snapshots that a metaserver has open for others.
class SnapshotServer {
 public:
  struct Opened {
    uint64_t id = 0;  // 0: this one cannot serve
    StateBase base;
  };
  Opened Open(Process& process);
  /// Nothing when it does not know (any more) of such a snapshot.
  std::optional<StateRows> Read(uint64_t id, const std::string& after_key, size_t max_bytes);

 private:
  std::map<uint64_t, std::unique_ptr<const View>> snapshots_;
  uint64_t next_id_ = 1;
};

class StateFetch {
 public:
  /// `process` must outlive it.
  static Result<std::unique_ptr<StateFetch>> Begin(Process& process);

  /// Asks somebody for a snapshot.
  void AskForSnapshot();

 private:
  explicit StateFetch(Process& process) : process_(process) {}

  void OnSnapshot(int server, const SnapshotServer::Opened& opened);
  void AskForRows();
  void OnRows(const std::optional<StateRows>& rows);
  /// Goes on elsewhere unless something happens meanwhile.
  void Watch();
  /// Whether `ticket` is of the newest question.
  bool Expected(uint64_t ticket) const { return ticket == ticket_; }
  void StartOver();

  Process& process_;
  std::unique_ptr<StateBuilder> builder_;
  uint64_t ticket_ = 0;
  int server_ = 0;
  uint64_t snapshot_ = 0;
};

}  // namespace tercet::sim
