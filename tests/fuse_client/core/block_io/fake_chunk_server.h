// A chunk server in memory that can be told to misbehave.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/rpc/frame_listener.h"
#include "fuse_client/core/block_io/block_target.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {

/// Thread-safe. It keeps what is written to it and passes nothing on to the servers behind it, but
/// remembers which those were.
class FakeChunkServer {
 public:
  struct Block {
    Generation generation{1};
    std::string data;
  };
  struct Counts {
    int hello = 0, read = 0, verified_read = 0, write = 0, sync = 0, truncate = 0, working = 0;
  };

  explicit FakeChunkServer(ServerId id, std::string cluster_id = "cluster");
  ~FakeChunkServer();

  void Stop();
  /// On the same port as before.
  void Restart();
  ReplicaAddress replica() const { return {id_, {"127.0.0.1", port_}}; }

  void PutBlock(BlockId id, Block block);
  Block GetBlock(BlockId id) const;
  Counts counts() const;
  std::vector<wire::ChainHop> last_downstream() const;
  wire::WriteHeader last_write() const;

  /// Frames of this kind get this answer, from the `after`-th (counted from now) on.
  void AnswerWith(wire::FrameKind::type kind, Status status, ServerId failed_server = ServerId(),
                  int after = 0);
  /// Frames of this kind are not answered, and their connection makes no progress, until Resume.
  void StallOn(wire::FrameKind::type kind, int after = 0);
  /// As StallOn, but WORKING frames are sent meanwhile.
  void WorkOn(wire::FrameKind::type kind, int after = 0);
  void AwaitWorking(int count);
  /// The connection is closed instead of answering the next `count` frames of this kind.
  void DropOn(wire::FrameKind::type kind, int count = 1);
  void Resume();
  /// Waits until `count` frames have been stalled.
  void AwaitStalled(int count);

  /// Flips a bit of this page in answers to READ; in those to verified ones too if `verified_too`.
  void DamagePage(BlockId id, uint32_t page, bool verified_too);
  /// Answers READ with one page more than asked for, or with a checksum missing.
  void SendTooMuch(bool on);
  void SendTooFewCrcs(bool on);
  /// Acknowledges writes in groups of `size`, last one first; 1 is as usual.
  void AcknowledgeInReversedGroups(size_t size);

 private:
  struct Misbehaviour {
    Status answer;
    ServerId failed_server;
    int answer_after = -1;  // frames still answered well; -1: always
    int stall_after = -1;
    bool working = false;  // while it stalls
    int drops = 0;
  };
  struct Damage {
    uint32_t page;
    bool verified_too;
  };
  /// One connection's acknowledgements that are held back.
  struct Session {
    FrameConnection& connection;
    std::vector<std::pair<FramePrelude, std::string>> held;
  };

  void Serve(FrameConnection& connection);
  Status Handle(Session& session, const FramePrelude& prelude, const std::string& header,
                const std::string& payload);
  Status Hello(Session& session, const FramePrelude& prelude, const std::string& header);
  Status Read(Session& session, const FramePrelude& prelude, const std::string& header);
  Status Write(Session& session, const FramePrelude& prelude, const std::string& header,
               const std::string& payload);
  template <typename Request, typename Response>
  Status Simple(Session& session, const FramePrelude& prelude, const std::string& header);
  template <typename Response>
  Status Reply(Session& session, const FramePrelude& request, Response response,
               const std::string& payload = "");
  /// What the frame should be answered with; an error that is not an answer ends the connection.
  Status Interfere(Session& session, uint8_t kind, Status* answer, ServerId* failed_server);
  Status ApplyWrite(const wire::WriteHeader& request, const std::string& payload);
  Status Apply(const wire::SyncHeader& request);
  Status Apply(const wire::TruncateHeader& request);
  Status Find(int64_t block_id, int64_t generation, Block** block);

  const ServerId id_;
  const std::string cluster_id_;
  uint16_t port_ = 0;
  std::unique_ptr<FrameListener> listener_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::map<BlockId, Block> blocks_;
  std::map<uint8_t, Misbehaviour> misbehaviours_;
  std::map<BlockId, Damage> damages_;
  Counts counts_;
  std::vector<wire::ChainHop> last_downstream_;
  wire::WriteHeader last_write_;
  size_t group_ = 1;
  int stalled_ = 0;
  int stall_epoch_ = 0;
  bool too_much_ = false;
  bool too_few_crcs_ = false;
};

}  // namespace tercet
