// Chunk servers within the test's process, and a client that speaks frames to them.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chunkserver/replication/data_plane_server.h"
#include "chunkserver/store/block_store.h"
#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/disk.h"
#include "common/rpc/frame_connection.h"
#include "common/rpc/wire_status.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet::testing_support {

inline constexpr const char* kCluster = "cluster-id-16byt";
/// No answer takes so long unless something hangs.
inline constexpr std::chrono::seconds kPatience{30};

/// CRC-32C of `data` cut at page boundaries, as WRITE carries them for a write at `offset`.
std::string PieceCrcs(uint32_t offset, std::string_view data);

/// `size` bytes that depend on the seed.
std::string Pattern(uint64_t seed, size_t size);

/// A store and its data plane, in a folder of its own.
class TestServer {
 public:
  /// `clock` is the store's.
  TestServer(ServerId id, DataPlaneOptions options, Disk* disk = nullptr, Clock* clock = nullptr);
  /// Flips a bit of the replica's page on disk.
  void DamagePage(BlockId block, uint32_t page);
  ~TestServer();

  ServerId id() const { return id_; }
  uint16_t port() const { return port_; }
  BlockStore& store() { return *store_; }
  DataPlaneServer& data_plane() { return *server_; }
  wire::ChainHop hop() const;
  /// Ends the data plane and the store; the folder and the port number stay.
  void StopAll();
  /// Opens the folder again and listens at the same port.
  void Restart();
  /// The same after a power cut: the operating system was started again too.
  void RestartMachine();
  /// All of the replica's bytes, verified.
  std::string Contents(BlockId block, Generation generation = Generation(1));

 private:
  void Open();

  const ServerId id_;
  DataPlaneOptions options_;
  Disk* const disk_;
  Clock* const clock_;
  std::string folder_;
  std::string index_folder_;
  uint16_t port_ = 0;
  int boots_ = 1;
  std::unique_ptr<BlockStore> store_;
  std::unique_ptr<DataPlaneServer> server_;
};

/// An answer of any kind.
struct Answer {
  uint8_t kind = 0;
  uint64_t request_id = 0;
  Status status = {};
  ServerId failed_server = {};
  std::string page_crcs = {};
  std::string payload = {};
  wire::StatResponseHeader stat = {};
  wire::SealResponseHeader seal = {};
  wire::PullResponseHeader pull = {};
  int32_t table_length = 0;
};

struct WriteSpec {
  BlockId block{1};
  Generation generation{1};
  uint32_t offset = 0;
  std::string_view data = {};
  std::vector<wire::ChainHop> downstream = {};
  bool create = true;
  bool sync = false;
  std::string piece_crcs = {};  // empty: the right ones
};

/// One connection. Not thread-safe. Failing to connect or to be greeted fails the test.
class RawClient {
 public:
  explicit RawClient(const TestServer& server);
  explicit RawClient(uint16_t port);

  static wire::HelloHeader HelloFor(ServerId server);
  /// The outcome in the answer, or why there was none.
  Status Hello(const wire::HelloHeader& hello);

  uint64_t SendWrite(const WriteSpec& spec);
  uint64_t SendRead(BlockId block, Generation generation, uint32_t offset, uint32_t length,
                    bool verified = false);
  uint64_t SendSync(BlockId block, Generation generation,
                    const std::vector<wire::ChainHop>& downstream);
  uint64_t SendTruncate(BlockId block, Generation generation, uint32_t length,
                        const std::vector<wire::ChainHop>& downstream);
  uint64_t SendStat(BlockId block);
  uint64_t SendSeal(const wire::SealHeader& seal);
  uint64_t SendPull(const wire::PullHeader& pull);
  /// The next frame but WORKING.
  Result<Answer> Receive();
  /// Waits for so many WORKING frames more; an answer that comes before fails the test.
  void AwaitWorking(size_t count);

  // Send and receive; an answer that does not come fails the test.
  Answer Write(const WriteSpec& spec);
  Answer Read(BlockId block, Generation generation, uint32_t offset, uint32_t length,
              bool verified = false);
  Answer Sync(BlockId block, Generation generation, const std::vector<wire::ChainHop>& downstream);
  Answer Truncate(BlockId block, Generation generation, uint32_t length,
                  const std::vector<wire::ChainHop>& downstream);
  Answer Stat(BlockId block);
  Answer Table(BlockId block, Generation generation);
  Answer Seal(const wire::SealHeader& seal);
  Answer Pull(const wire::PullHeader& pull);
  Answer Ping();

  FrameConnection& connection() { return *connection_; }

 private:
  template <typename Header>
  uint64_t Send(wire::FrameKind::type kind, const Header& header, std::string_view payload = {});
  Answer MustReceive(uint64_t request_id);

  std::unique_ptr<FrameConnection> connection_;
  uint64_t last_id_ = 0;
};

/// With epoch 1.
wire::SealHeader SealOf(BlockId block, Generation generation);
/// With epoch 1, of class URGENT; `finish` 0: prepare.
wire::PullHeader PullOf(BlockId block, const wire::ChainHop& source, Generation source_generation,
                        Generation finish);

/// Waits until `condition` holds; false when it does not within kPatience.
bool Eventually(const std::function<bool()>& condition);

/// Three servers with ids 1, 2 and 3.
class ChainTest : public testing::Test {
 protected:
  virtual DataPlaneOptions Options();
  void SetUp() override;

  /// The hops behind the head, server 1.
  std::vector<wire::ChainHop> Behind() const;
  void ExpectReplicas(BlockId block, const std::string& contents);
  void ExpectIdenticalReplicas(BlockId block);

  std::vector<std::unique_ptr<TestServer>> servers_;
};

}  // namespace tercet::testing_support
