// A store on simulated disks whose process is killed, or whose machine loses power.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {

class CrashingStoreTest : public testing::Test {
 protected:
  explicit CrashingStoreTest(int disks = 1) : options_(AllSimulated(environment_, disks)) {
    Open();
  }
  void Open() {
    auto store = BlockStore::Open(disk(), clock_, random_, options_);
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(store).value();
  }
  void Abandon() {
    disk().FailPathsUnder("/disk0");
    store_.reset();
    disk().ClearFailedPaths();
  }
  void Kill() {
    disk().KillProcess();
    Abandon();
    Open();
  }
  void CutPower() {
    disk().Crash(chance_);
    Abandon();
    options_.boot_id += "'";
    Open();
  }
  SimDisk& disk() { return environment_.disk(); }

  SimEnvironment environment_;
  SimClock clock_;
  SeededRandom random_{1}, chance_{5};
  BlockStoreOptions options_;
  std::unique_ptr<BlockStore> store_;
};

}  // namespace tercet
