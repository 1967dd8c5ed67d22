// Random changes compared with plain strings, with reopenings in between; and many threads at once.
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

constexpr Generation kFirst(1);

/// The model: a block is its bytes.
class Model {
 public:
  void Write(BlockId block, uint32_t offset, const std::string& data) {
    std::string& content = blocks_[block];
    content.resize(std::max(content.size(), offset + data.size()), '\0');
    content.replace(offset, data.size(), data);
  }
  void Truncate(BlockId block, uint32_t length) {
    std::string& content = blocks_[block];
    content.resize(std::min<size_t>(content.size(), length));
  }
  void Remove(BlockId block) { blocks_.erase(block); }
  bool Has(BlockId block) const { return blocks_.contains(block); }
  size_t Length(BlockId block) const { return blocks_.at(block).size(); }
  size_t count() const { return blocks_.size(); }
  /// As a read answers: whole pages up to the end of the data, from `offset` on.
  std::string Read(BlockId block, uint32_t offset, uint32_t length) const {
    std::string content = blocks_.at(block);
    content.resize(PagesFor(static_cast<uint32_t>(content.size())) * kPageBytes, '\0');
    if (offset >= blocks_.at(block).size()) return "";
    return content.substr(offset, length);
  }

 private:
  std::map<BlockId, std::string> blocks_;
};

template <typename Environment>
class BlockStoreModel : public testing::Test {};
using Environments = testing::Types<PosixEnvironment, SimEnvironment>;
TYPED_TEST_SUITE(BlockStoreModel, Environments);

TYPED_TEST(BlockStoreModel, RandomWalkAgreesWithStrings) {
  for (uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TypeParam environment;
    SeededRandom random(seed);
    BlockStoreOptions options = OptionsFor(environment, 2);
    options.max_open_replicas = 1;
    auto open = [&] {
      return BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), options).value();
    };
    auto store = open();
    Model model;
    for (int step = 0; step < 1500; ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      const BlockId block(random.Below(40) + 1);
      // Mostly small places and sizes, so that changes meet; now and then far ones.
      const uint32_t reach = random.Below(10) == 0 ? 4'000'000 : 30'000;
      const uint32_t offset = static_cast<uint32_t>(random.Below(reach));
      const uint64_t kind = random.Below(100);
      if (kind < 45) {
        const std::string data = Pattern(random.Below(reach / 2) + 1, random.Next());
        ASSERT_OK(WriteData(*store, block, offset, data));
        model.Write(block, offset, data);
      } else if (!model.Has(block)) {
        ASSERT_EQ(store->Stat(block).code(), StatusCode::kNotFound);
      } else if (kind < 60) {
        ASSERT_OK(store->Truncate(block, kFirst, offset));
        model.Truncate(block, offset);
      } else if (kind < 92) {
        const uint32_t length = static_cast<uint32_t>(random.Below(40'000));
        const std::string wanted = model.Read(block, offset, length);
        ASSERT_EQ(ReadData(*store, block, offset, length).value().substr(0, length), wanted);
        auto fast = ReadByPlan(*store, block, offset, length);
        ASSERT_TRUE(fast.ok()) << fast.status().ToString();
        ASSERT_EQ(fast->substr(0, length), wanted);
        ASSERT_EQ(store->Stat(block)->length, model.Length(block));
      } else if (kind < 95) {
        ASSERT_OK(store->MoveToTrash(block, kFirst));
        model.Remove(block);
      } else if (kind < 97) {
        ASSERT_OK(store->Sync(block, kFirst));
      } else if (kind < 99) {
        store.reset();
        store = open();
      } else {
        store.reset();
        std::filesystem::remove_all(environment.IndexPath(0));
        store = open();
      }
    }
    EXPECT_EQ(store->ListReplicas(0)->size(), model.count());
  }
}

/// Writers that each fill a block's page with one letter, readers that must never see a mixed page.
TEST(BlockStoreConcurrency, ReadersNeverSeeHalfAWrite) {
  PosixEnvironment environment;
  BlockStoreOptions options = OptionsFor(environment, 2);
  options.max_open_replicas = 2;
  auto store = BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), options).value();
  constexpr uint64_t kBlocks = 6;
  constexpr int kRounds = 150;
  for (uint64_t id = 1; id <= kBlocks; ++id) {
    ASSERT_OK(WriteData(*store, BlockId(id), 0, std::string(3 * kPageBytes, 'a')));
  }
  std::vector<std::thread> threads;
  for (int writer = 0; writer < 3; ++writer) {
    threads.emplace_back([&, writer] {
      SeededRandom random(static_cast<uint64_t>(writer) + 1);
      for (int i = 0; i < kRounds; ++i) {
        const BlockId block(random.Below(kBlocks) + 1);
        const std::string data(3 * kPageBytes, static_cast<char>('a' + random.Below(26)));
        Status written = WriteData(*store, block, 0, data);
        EXPECT_TRUE(written.ok()) << written.ToString();
        if (i % 10 == 0) {
          EXPECT_TRUE(store->Sync(block, kFirst).ok());
        }
      }
    });
  }
  for (int reader = 0; reader < 3; ++reader) {
    threads.emplace_back([&, reader] {
      SeededRandom random(static_cast<uint64_t>(reader) + 100);
      for (int i = 0; i < kRounds; ++i) {
        const BlockId block(random.Below(kBlocks) + 1);
        auto data = ReadData(*store, block, 0, 3 * kPageBytes);
        ASSERT_TRUE(data.ok()) << data.status().ToString();
        EXPECT_EQ(*data, std::string(3 * kPageBytes, (*data)[0]));
        auto plan = store->PrepareRead(block, kFirst, 0, 4096);
        EXPECT_TRUE(plan.ok());
        if (i % 20 == 0) {
          (void)store->RangeDigests();
          (void)store->Disks();
          EXPECT_TRUE(store->ListReplicas(0).ok());
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(BlockStoreConcurrency, CreationAndDeletionOfOneBlockExcludeOneAnother) {
  PosixEnvironment environment;
  auto store =
      BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), OptionsFor(environment, 2))
          .value();
  std::vector<std::thread> threads;
  for (int worker = 0; worker < 4; ++worker) {
    threads.emplace_back([&, worker] {
      for (int i = 0; i < 100; ++i) {
        const BlockId block(static_cast<uint64_t>(i % 5) + 1);
        if (worker % 2 == 0) {
          Status status = WriteData(*store, block, 0, "data");
          EXPECT_TRUE(status.ok()) << status.ToString();
        } else {
          EXPECT_TRUE(store->MoveToTrash(block, kFirst).ok());
          auto seen = ReadData(*store, block, 0, 4);
          EXPECT_TRUE(seen.ok() ? *seen == "data" : seen.code() == StatusCode::kNotFound);
        }
      }
    });
  }
  std::thread purger([&] {
    for (int i = 0; i < 20; ++i) {
      store->PurgeTrash(0);
      EXPECT_TRUE(store->SyncDeletions().ok());
    }
  });
  for (auto& thread : threads) thread.join();
  purger.join();
  const auto replicas = store->ListReplicas(0).value();
  uint64_t on_disks = 0;
  for (const auto& disk : store->Disks()) on_disks += disk.replica_count;
  EXPECT_EQ(replicas.size(), on_disks);
  for (const auto& replica : replicas) {
    EXPECT_EQ(ReadData(*store, replica.block, 0, 4).value(), "data");
  }
}

}  // namespace
}  // namespace tercet
