// A chunk server, in process, with a metaserver that the test steers.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "chunkserver/service/chunkserver.h"
#include "common/env/posix_disk.h"
#include "tests/chunkserver/service/fake_registry.h"
#include "tests/chunkserver/store/store_test_util.h"

#define EXPECT_OK(expr)                                \
  do {                                                 \
    auto _outcome = (expr);                            \
    EXPECT_TRUE(_outcome.ok()) << _outcome.ToString(); \
  } while (false)

namespace tercet {

class ServiceFixture : public testing::Test {
 protected:
  ServiceFixture() {
    for (int i = 0; i < 2; ++i) std::filesystem::create_directory(DiskPath(i));
    config_.listen_host = "127.0.0.1";
    config_.listen_port = 0;
    config_.metrics_port = 0;
    config_.disks = {DiskPath(0), DiskPath(1)};
    config_.meta = {registry_.address()};
    config_.registry_timeout = std::chrono::milliseconds(2000);
  }
  std::string DiskPath(int i) const { return folder_.path() + "/disk" + std::to_string(i); }

  std::unique_ptr<Chunkserver> Start(Clock& clock = RealClock()) {
    auto server = Chunkserver::Start(config_, RealDisk(), clock, SystemRandom());
    EXPECT_TRUE(server.ok()) << server.status().ToString();
    return server.ok() ? std::move(server).value() : nullptr;
  }
  std::unique_ptr<Chunkserver> StartRegistered(Clock& clock = RealClock()) {
    const int before = registry_.With([](auto& state) { return state.heartbeats; });
    auto server = Start(clock);
    EXPECT_TRUE(registry_.WaitUntil([&](auto& state) { return state.heartbeats > before; }));
    return server;
  }
  bool AwaitHeartbeats(int more) {
    const int before = registry_.With([](auto& state) { return state.heartbeats; });
    return registry_.WaitUntil([&](auto& state) { return state.heartbeats >= before + more; });
  }
  static wire::DeleteReplicaTask Task(uint64_t block, uint64_t generation = 1, bool hold = false) {
    wire::DeleteReplicaTask task;
    task.block_id = static_cast<int64_t>(block);
    task.generation = static_cast<int64_t>(generation);
    task.hold = hold;
    return task;
  }

  TemporaryFolder folder_;
  FakeRegistry registry_;
  ChunkserverConfig config_;
};

}  // namespace tercet
