// One accepted connection of the data plane.
//
// Its thread reads frames and handles them one after the other: reads and the local part of writes
// are done on it; what waits for other servers or for a sync of the disk is finished by other
// threads, so answers may overtake one another. After HELLO the frames are:
//   READ, STAT, TABLE, PING  answered by this thread
//   WRITE, TRUNCATE, SYNC    become a ChainOperation (chain.md)
//   SEAL, PULL               become a command; PULLs are cancelled when the connection ends
// While answers are owed, and there is a good reason why, the watchdog has WORKING sent.
// Bytes that are no valid frame end the connection; a valid frame that asks for nonsense gets an
// answer.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "chunkserver/replication/data_plane_context.h"
#include "chunkserver/replication/frame_sender.h"
#include "chunkserver/replication/operation.h"
#include "common/rpc/frame_connection.h"
#include "common/rpc/socket_listener.h"

namespace tercet {

/// Generations below 1 are no chain's: nobody but a pull may use them.
Status NoSuchGeneration(int64_t block_id, int64_t generation);

class ServerConnection final : public ServedConnection,
                               public OperationOwner,
                               public WatchedConnection,
                               public std::enable_shared_from_this<ServerConnection> {
 public:
  /// Takes over the socket. `context` must outlive the connection.
  ServerConnection(DataPlaneContext& context, int socket, const std::string& peer);
  ~ServerConnection() override;

  void Serve() override;
  void Shutdown() override;
  void OperationDone(ChainOperation& operation) override;
  void Watch(int64_t now_nanos) override;

 private:
  /// A chain request on the way to becoming an operation.
  struct ChainRequest {
    BlockId block;
    Generation generation;
    bool changes = true;  // the replica
    bool may_create = false;
    std::vector<wire::ChainHop> downstream;  // as this server got it
    std::string forward_header;              // for the next server; empty at the tail
    std::shared_ptr<PayloadBuffer> payload;
    size_t payload_bytes = 0;
  };

  /// A SEAL or PULL that is not answered yet.
  struct Command {
    int64_t arrived_nanos = 0;
    std::shared_ptr<PullSession> pull;  // null: a SEAL
  };

  /// Reads and answers HELLO; `accepted` says how.
  Status Greet(bool* accepted);
  Status CheckHello(const wire::HelloHeader& hello);
  Status ServeFrames();
  Status ServeRequests();
  /// Waits for the next frame, for as long as it takes.
  Status WaitForInput();
  /// OK when a frame of this kind may be handled now; waits while this server registers again.
  Status AwaitServing(wire::FrameKind::type kind);
  Status Dispatch(const FramePrelude& prelude, std::string_view header);

  // Each returns an error only when the connection cannot go on.
  Status HandleRead(const FramePrelude& prelude, std::string_view header);
  Status HandleStat(const FramePrelude& prelude, std::string_view header);
  Status HandleWrite(const FramePrelude& prelude, std::string_view header);
  Status HandleSync(const FramePrelude& prelude, std::string_view header);
  Status HandleTruncate(const FramePrelude& prelude, std::string_view header);
  Status HandleTable(const FramePrelude& prelude, std::string_view header);
  Status HandleSeal(const FramePrelude& prelude, std::string_view header);
  Status HandlePull(const FramePrelude& prelude, std::string_view header);
  Status HandlePing(const FramePrelude& prelude, std::string_view header);

  Status ReadVerified(const FramePrelude& prelude, const wire::ReadHeader& request);
  /// The replica's file could not be read while it was sent: has the store see that for itself.
  void NoteUnreadable(const wire::ReadHeader& request, const Status& status);
  Status RefuseRead(const FramePrelude& prelude, const Status& status);

  Status CheckChain(const std::vector<wire::ChainHop>& downstream) const;
  Status CheckPull(const wire::PullHeader& request);
  void AnswerSeal(uint64_t request_id, const wire::SealHeader& request);
  void AnswerPull(uint64_t request_id, const PullOutcome& outcome);
  void RefusePull(uint64_t request_id, const Status& status);
  Status CheckReplica(BlockId block, Generation generation) const;
  Status ReceiveWritePayload(const FramePrelude& prelude, const wire::WriteHeader& write,
                             Status* verdict, std::shared_ptr<PayloadBuffer>* payload);
  /// Counts something that is to be answered by another thread, waiting while there is too much of
  /// it. False when the connection closes.
  bool BeginPendingLocked(std::unique_lock<std::mutex>& lock);
  void EndPendingLocked();
  /// Null when the connection closes.
  std::shared_ptr<ChainOperation> BeginOperation(const FramePrelude& prelude,
                                                 const ChainRequest& request);
  /// The command's number; 0 when the connection closes.
  uint64_t BeginCommand();
  void EndCommand(uint64_t number);
  void CancelPulls();
  /// What is owed is worked on; `owed_since` says since when, 0: nothing is owed.
  bool DelayIsExplained(int64_t now_nanos, int64_t* owed_since);
  /// Passes the request on, and meanwhile does `local` here. For one block, both happen in one
  /// order, whichever connections the requests came by. Returns the local outcome, with which the
  /// operation's local part is to be ended.
  template <typename Local>
  Status ForwardAndApply(const ChainRequest& request,
                         const std::shared_ptr<ChainOperation>& operation, Local&& local);
  /// Syncs the block, here or in another thread, and ends the operation's local part.
  void SyncThenFinish(std::shared_ptr<ChainOperation> operation, BlockId block,
                      Generation generation);
  bool IsAloneAndIdle();
  /// The peer has closed or broken the connection, though frames of it may still be here to be
  /// read.
  bool PeerHasGone() const;

  void NoteRead(size_t bytes);
  void CountFailure(const Status& status);
  template <typename Header>
  void Respond(wire::FrameKind::type kind, uint64_t request_id, const Header& header) {
    sender_.Send(OutgoingFrame{EncodeFrameHead(kind, request_id, header, 0), nullptr, 0});
  }
  void RespondChain(wire::FrameKind::type request_kind, uint64_t request_id, const Status& status,
                    ServerId failed_server);

  // Constant after construction, or after HELLO.
  DataPlaneContext& context_;
  ServerId self_;
  std::string caller_;
  std::string link_name_;  // empty: none
  bool from_client_ = false;

  // Of the connection's thread.
  int64_t arrived_nanos_ = 0;  // when the frame that is being handled came
  int64_t taken_nanos_ = 0;    // when there was memory for it, too

  // Self-synchronised.
  FrameConnection connection_;  // received from by the connection's thread only
  FrameSender sender_;
  std::atomic<bool> closing_{false};
  /// When the frame came that the connection's thread works on; monotonic, 0: it waits for one.
  std::atomic<int64_t> busy_since_{0};
  std::atomic<bool> awaits_memory_{false};

  std::mutex pending_mutex_;
  std::condition_variable pending_changed_;
  // Guarded by pending_mutex_.
  size_t pending_ = 0;                // operations and commands
  bool pending_full_ = false;         // the connection's thread waits
  ChainOperation* oldest_ = nullptr;  // list of those pending
  ChainOperation* newest_ = nullptr;
  std::map<uint64_t, Command> commands_;  // by number
  uint64_t last_command_ = 0;
};

}  // namespace tercet
