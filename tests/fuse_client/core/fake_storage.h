// Chunk servers in this process with real connections to clients; among themselves they pass writes
// on directly.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/rpc/frame_listener.h"
#include "fuse_client/core/block_io/block_target.h"
#include "tercet_thrift/data_plane_types.h"
#include "tests/fuse_client/core/replica_host.h"

namespace tercet {

/// Thread-safe.
class FakeStorage final : public ReplicaHost {
 public:
  struct Block {
    Generation generation;
    std::string data;
    bool synced = false;
  };
  struct Counts {
    int reads = 0, writes = 0, syncs = 0, truncates = 0, working = 0;
    uint64_t bytes_written = 0;
    uint64_t bytes_read = 0;
  };

  /// Servers 1 … count.
  FakeStorage(int count, std::string cluster_id);
  ~FakeStorage() override;

  std::vector<ReplicaAddress> replicas() const;
  void Stop(ServerId server);
  /// On the same port, with its blocks.
  void Restart(ServerId server);
  /// After `count` more WRITE frames at this server, wherever in the chain, it is gone until
  /// Restart.
  void StopAfterWrites(ServerId server, int count);
  /// After `count` more SYNC frames at this server it is gone as well.
  void StopAfterSyncs(ServerId server, int count);
  /// As SIGSTOP: connections and frames are accepted, and nothing happens with them until Resume.
  /// Its predecessor in a chain notices after a moment and says so; what it had sent is taken up
  /// with Resume.
  void Hang(ServerId server);
  void Resume(ServerId server);
  /// Frames that clients send to it wait until the server is no longer slow; meanwhile it sends
  /// WORKING.
  void SetSlow(ServerId server, bool slow);
  void AwaitWorking(int count);
  /// Flips a byte of the replica's first page in what is read from it.
  void Damage(ServerId server, BlockId block);
  /// Writes are answered with kNoSpace.
  void SetFull(ServerId server, bool full);
  /// Writes make no replicas of blocks below `floor` any more: they are answered with kNotFound.
  void RaiseCreateFloor(ServerId server, BlockId floor);
  /// Names another generation for all replicas of the block.
  void SetGeneration(BlockId block, Generation generation);
  void Remove(ServerId server, BlockId block);

  // ---- for recoveries ----
  bool Answers(ServerId server) override;
  std::vector<ServerId> Reconfigure(BlockId block, Generation to,
                                    const std::vector<ServerId>& members,
                                    const std::vector<ServerId>& targets) override;

  /// Null when the server has no such replica.
  std::unique_ptr<Block> Find(ServerId server, BlockId block) const;
  /// Of all servers.
  Counts counts() const;
  /// How many replicas with data are not synced.
  int unsynced_replicas() const;

 private:
  struct Server {
    ServerId id;
    uint16_t port = 0;
    std::unique_ptr<FrameListener> listener;
    // Guarded by mutex_.
    std::map<BlockId, Block> blocks;
    bool stopped = false;
    bool hung = false;
    bool slow = false;
    bool full = false;
    BlockId create_floor;
    int stop_after_writes = -1;
    int stop_after_syncs = -1;
    std::set<BlockId> damaged;
    /// Frames that came down a chain while it hung.
    std::vector<std::function<void()>> late;
  };

  void Listen(Server* server);
  void Serve(Server* server, FrameConnection& connection);
  Status Handle(Server* server, FrameConnection& connection, const FramePrelude& prelude,
                const std::string& header, const std::string& payload);
  Status HandleRead(Server* server, FrameConnection& connection, const FramePrelude& prelude,
                    const std::string& header);
  template <typename Request, typename Response>
  Status HandleChained(Server* server, FrameConnection& connection, const FramePrelude& prelude,
                       const std::string& header, const std::string& payload);
  Status Apply(Server* server, const wire::WriteHeader& request, const std::string& payload);
  Status Apply(Server* server, const wire::SyncHeader& request, const std::string& payload);
  Status Apply(Server* server, const wire::TruncateHeader& request, const std::string& payload);
  /// False when the server is gone.
  bool AwaitTurn(Server* server, FrameConnection& connection, bool hello);
  Status FindLocked(Server* server, int64_t block, int64_t generation, Block** found);
  Server* At(ServerId server) const;

  const std::string cluster_id_;
  std::vector<std::unique_ptr<Server>> servers_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  Counts counts_;
  bool ending_ = false;
};

}  // namespace tercet
