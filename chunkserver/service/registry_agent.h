// Keeps this server registered with the active metaserver.
//
// Life:
//  1. Register, again and again until it is answered. A refusal that waiting cannot change
//  (identity in use,
//     another cluster, …) is fatal: the process has to end, because another server may own these
//     disks.
//  2. Heartbeats with disk reports and confirmed deletions; the answers bring deletions and
//  requests for
//     digests. Commands of an epoch below the highest ever seen are refused.
//  3. "register again", or another active that does not know us: back to 1 with the same
//  incarnation.
// While no metaserver answers, the data plane goes on serving.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "chunkserver/service/deletion_worker.h"
#include "chunkserver/service/digest_reporter.h"
#include "chunkserver/service/registry_link.h"
#include "chunkserver/store/block_store.h"
#include "common/base/ids.h"
#include "common/rpc/host_port.h"

namespace tercet {

struct RegistryAgentOptions {
  HostPort advertised;
  /// Random at each start of the process.
  int64_t incarnation = 0;
  /// An earlier run of this server at another address counts as alive until it was silent for a
  /// while: so long is "identity in use" not taken for the last word.
  std::chrono::milliseconds identity_patience{8000};
  /// The cluster and this server's number in it, at each registration.
  std::function<void(const std::string& cluster_id, ServerId server_id)> on_registered;
  /// The server must not go on; called at most once, from the agent's thread.
  std::function<void(const Status& why)> on_fatal;
};

/// Thread-safe; works in a thread of its own.
class RegistryAgent {
 public:
  /// The references must outlive the agent.
  RegistryAgent(RegistryAgentOptions options, BlockStore& store, RegistryLink& link,
                DeletionWorker& deletions, DigestReporter& reporter);
  ~RegistryAgent();

  bool registered() const { return registered_.load(std::memory_order_relaxed); }
  uint64_t heartbeats_answered() const { return heartbeats_.load(std::memory_order_relaxed); }

 private:
  void Run();
  Status Register();
  /// Whether the refusal of a registration ends the server.
  bool IsLastWord(const Status& refusal);
  Status Heartbeat();
  /// False when stopping.
  bool WaitFor(std::chrono::milliseconds duration);

  const RegistryAgentOptions options_;
  BlockStore& store_;
  RegistryLink& link_;
  DeletionWorker& deletions_;
  DigestReporter& reporter_;
  std::atomic<bool> registered_{false};
  std::atomic<uint64_t> heartbeats_{0};

  // Of the agent's thread.
  int32_t server_id_ = 0;
  std::optional<std::chrono::steady_clock::time_point> identity_refused_since_;
  std::chrono::milliseconds heartbeat_interval_{1000};

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;  // guarded by mutex_

  std::thread thread_;
};

}  // namespace tercet
