// Random operations, killed processes and power cuts at any point, over thousands of seeds. What
// the store promises is compared with a model that knows every acknowledged write:
//  - a replica that is served has every acknowledged write, synced or not: nothing is stale;
//  - a suspect replica is served by no restart, until it was copied anew or accepted;
//  - one that was synced never vanishes; accepted, it has all pages that were not written since;
//  - a killed process loses nothing and makes nothing suspect.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

constexpr uint64_t kBlocks = 6;
constexpr uint32_t kMaxPages = 6;

struct ModelBlock {
  bool exists = false;
  Generation generation;
  std::string content;
  bool suspect = false;
  bool synced = false;          // its name and all but `unsynced` pages are durable
  std::set<uint32_t> unsynced;  // pages written since
  bool in_doubt = false;        // an operation on it was cut off by the crash
  Generation may_have;          // in doubt: the generation it may have instead
  bool may_be_gone = false;
  std::string may_hold;       // in doubt: the content it has with that generation, after a copy
  bool was_copied = false;    // in doubt: it was
  bool was_accepted = false;  // in doubt: it was
};

class CrashModel {
 public:
  explicit CrashModel(uint64_t seed) : random_(seed), ids_(seed + 1'000'000) {
    options_ = AllSimulated(environment_, 2);
    options_.max_open_replicas = 1;
    Open();
  }

  void Run() {
    const uint64_t crashes = random_.Below(4) + 1;
    for (uint64_t crash = 0; crash < crashes && !testing::Test::HasFailure(); ++crash) {
      const bool armed = random_.Below(2) == 0;
      if (armed) environment_.disk().CutPowerAfter(random_.Below(120) + 1);
      const uint64_t steps = random_.Below(30) + 5;
      for (uint64_t i = 0; i < steps; ++i) {
        if (environment_.disk().power_is_cut() || testing::Test::HasFailure()) break;
        Step();
      }
      if (environment_.disk().power_is_cut() || random_.Below(3) == 0) {
        CutPower();
      } else if (armed || random_.Below(2) == 0) {
        environment_.disk().KillProcess();
        environment_.disk().CutPowerAfter(uint64_t{1} << 40);
        Abandon(std::move(store_));
        Open();
      } else {
        store_.reset();
        if (cut()) {
          CutPower();  // while it closed
        } else {
          environment_.disk().CutPowerAfter(uint64_t{1} << 40);
          Open();
        }
      }
      Check();
    }
  }

  int suspects_seen() const { return suspects_seen_; }
  int survivors_seen() const { return survivors_seen_; }

 private:
  bool cut() { return environment_.disk().power_is_cut(); }

  void Open() {
    auto opened = BlockStore::Open(environment_.disk(), clock_, ids_, options_);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    store_ = std::move(opened).value();
  }

  /// What belongs to a process that is dead does nothing to the disks any more.
  void Abandon(std::unique_ptr<BlockStore> dead) {
    for (int i = 0; i < 2; ++i) environment_.disk().FailPathsUnder(environment_.DiskPath(i));
    dead.reset();
    environment_.disk().ClearFailedPaths();
  }

  void CutPower() {
    if (verbose_) std::printf("power cut\n");
    environment_.disk().Crash(random_);
    Abandon(std::move(store_));
    options_.boot_id = "boot-" + std::to_string(++boots_);
    // Now and then the machine crashes again while it recovers.
    if (random_.Below(4) == 0) {
      environment_.disk().CutPowerAfter(random_.Below(40) + 1);
      auto opened = BlockStore::Open(environment_.disk(), clock_, ids_, options_);
      environment_.disk().Crash(random_);
      if (opened.ok()) Abandon(std::move(opened).value());
      options_.boot_id = "boot-" + std::to_string(++boots_);
    }
    for (auto& [id, block] : blocks_) {
      if (block.exists && !block.synced) block.may_be_gone = true;
    }
    after_power_cut_ = true;
    Open();
  }

  std::string RandomData(uint32_t size) { return Pattern(size, random_.Next()); }

  /// OK as the model goes on, or the power went: then the block is in doubt.
  bool Acknowledged(const Status& status, ModelBlock& block) {
    if (cut()) {
      block.in_doubt = true;
      return false;
    }
    EXPECT_TRUE(status.ok()) << status.ToString();
    return status.ok();
  }

  void Apply(ModelBlock& block, uint32_t offset, const std::string& data) {
    block.content.resize(std::max(block.content.size(), offset + data.size()), '\0');
    block.content.replace(offset, data.size(), data);
    for (uint32_t page = 0; page < kMaxPages; ++page) {
      const uint32_t start = page * kPageBytes;
      if (start < offset + data.size() && start + kPageBytes > offset) block.unsynced.insert(page);
    }
  }

  void Step() {
    const BlockId id(random_.Below(kBlocks) + 1);
    ModelBlock& block = blocks_[id];
    if (block.in_doubt) return;
    clock_.Advance(std::chrono::milliseconds(700));
    const uint64_t kind = random_.Below(100);
    if (verbose_) {
      std::printf("block %d kind %d exists %d suspect %d generation %d length %d\n",
                  static_cast<int>(id.value()), static_cast<int>(kind), block.exists, block.suspect,
                  static_cast<int>(block.generation.value()),
                  static_cast<int>(block.content.size()));
    }
    if (block.suspect) {
      Heal(id, block, kind);
    } else if (!block.exists) {
      kind < 70 ? Create(id, block) : Pull(id, block);
    } else if (kind < 45) {
      const auto offset = static_cast<uint32_t>(random_.Below((kMaxPages - 1) * kPageBytes));
      const auto room = std::min<uint64_t>(kMaxPages * kPageBytes - offset, 9000);
      const std::string data = RandomData(static_cast<uint32_t>(random_.Below(room) + 1));
      const bool grows = offset + data.size() > block.content.size();
      if (Acknowledged(WriteData(*store_, id, offset, data, false, block.generation), block)) {
        Apply(block, offset, data);
      }
      (void)grows;
    } else if (kind < 55) {
      const auto length = static_cast<uint32_t>(random_.Below(kMaxPages * kPageBytes));
      if (Acknowledged(store_->Truncate(id, block.generation, length), block) &&
          length < block.content.size()) {
        block.content.resize(length);
        for (uint32_t page = length / kPageBytes; page < kMaxPages; ++page) {
          block.unsynced.insert(page);
        }
      }
    } else if (kind < 68) {
      if (Acknowledged(store_->Sync(id, block.generation), block)) MarkSynced(block);
    } else if (kind < 78) {
      const Generation to(block.generation.value() + random_.Below(3) + 1);
      auto sealed = store_->Seal(id, to, false, random_.Below(2) == 0, false);
      if (cut()) block.may_have = to;
      if (Acknowledged(sealed.status(), block)) {
        EXPECT_EQ(sealed->length, block.content.size());
        EXPECT_FALSE(sealed->suspect);
        EXPECT_EQ(sealed->damaged_pages, 0u);
        block.generation = to;
        MarkSynced(block);
      }
    } else if (kind < 84) {
      if (Acknowledged(store_->MoveToDisk(id, ""), block)) MarkSynced(block);
    } else if (kind < 90) {
      Status gone = store_->MoveToTrash(id, block.generation);
      if (gone.ok()) gone = store_->SyncDeletions();
      block.may_be_gone = cut();
      if (Acknowledged(gone, block)) block = ModelBlock{};
    } else {
      store_->Maintain();
      if (cut()) return;
      for (auto& [other_id, other] : blocks_) {
        if (other.exists && !other.suspect) MarkSynced(other);
      }
    }
  }

  static void MarkSynced(ModelBlock& block) {
    block.synced = true;
    block.unsynced.clear();
  }

  void Create(BlockId id, ModelBlock& block) {
    const std::string data = RandomData(static_cast<uint32_t>(random_.Below(9000) + 1));
    const Generation generation(++next_generation_);
    block.may_be_gone = true;
    block.may_have = generation;
    if (!Acknowledged(WriteData(*store_, id, 0, data, true, generation), block)) return;
    block = ModelBlock{};
    block.exists = true;
    block.generation = generation;
    Apply(block, 0, data);
  }

  /// Copies new content into what is there, as a repair does.
  void Pull(BlockId id, ModelBlock& block) {
    const Generation to(std::max(next_generation_, block.generation.value()) + 2);
    next_generation_ = to.value();
    std::string content =
        random_.Below(2) == 0 && !block.content.empty()
            ? block.content
            : RandomData(static_cast<uint32_t>(random_.Below(kMaxPages * kPageBytes) + 1));
    auto pull = [&]() -> Status {
      ASSIGN_OR_RETURN(
          PullBase base,
          store_->OpenPullBase(id, to, to, static_cast<uint32_t>(content.size()), false));
      const Generation own = base.table.generation;
      RETURN_IF_ERROR(store_->Truncate(id, own, static_cast<uint32_t>(content.size())));
      for (uint32_t at = 0; at < content.size(); at += kPageBytes) {
        std::string page = content.substr(at, kPageBytes);
        std::string padded = page;
        padded.resize(kPageBytes, '\0');
        std::string crc;
        PutFixed32(&crc, Crc32c(padded));
        const uint32_t index = at / kPageBytes;
        const bool same = base.table.page_crcs.size() >= 4 * (index + 1) &&
                          base.table.page_crcs.compare(4 * index, 4, crc) == 0 &&
                          base.table.length == content.size() &&
                          !(base.damaged.size() > index && base.damaged[index]);
        if (same) continue;
        RETURN_IF_ERROR(WriteData(*store_, id, at, padded, false, own));
      }
      RETURN_IF_ERROR(store_->Truncate(id, own, static_cast<uint32_t>(content.size())));
      return store_->Promote(id, own, to);
    };
    const Status pulled = pull();
    if (cut()) {
      // Whole with the new content, or still bad, or the incomplete copy is gone.
      block.may_be_gone = true;
      block.may_have = to;
      block.may_hold = content;
      block.was_copied = true;
    }
    if (!Acknowledged(pulled, block)) return;
    block = ModelBlock{};
    block.exists = true;
    block.generation = to;
    block.content = content;
    MarkSynced(block);
  }

  void Heal(BlockId id, ModelBlock& block, uint64_t kind) {
    if (kind < 40) {
      Pull(id, block);
    } else if (kind < 60) {
      const Generation to(block.generation.value() + 1);
      auto sealed = store_->Seal(id, to, false, true, true);
      if (cut()) block.may_have = to;
      block.was_accepted = cut();
      if (!Acknowledged(sealed.status(), block)) return;
      EXPECT_FALSE(sealed->suspect);
      block.generation = to;
      Adopt(id, block);
    } else if (kind < 75) {
      const Generation to(block.generation.value() + 1);
      auto sealed = store_->Seal(id, to, false, true, false);
      if (cut()) block.may_have = to;
      if (!Acknowledged(sealed.status(), block)) return;
      EXPECT_TRUE(sealed->suspect);
      block.generation = to;
      ExpectRefused(id, block.generation);
    } else {
      ExpectRefused(id, block.generation);
    }
  }

  void ExpectRefused(BlockId id, Generation generation) {
    EXPECT_EQ(store_->Read(id, generation, 0, 4096).code(), StatusCode::kUnavailable);
    EXPECT_EQ(store_->PrepareRead(id, generation, 0, 4096).code(), StatusCode::kUnavailable);
    EXPECT_EQ(WriteData(*store_, id, 0, "x", true, generation).code(), StatusCode::kUnavailable);
  }

  /// An accepted replica: what it has becomes the model, after a look at what must be there.
  void Adopt(BlockId id, ModelBlock& block) {
    auto stat = store_->Stat(id);
    ASSERT_TRUE(stat.ok()) << stat.status().ToString();
    auto pages = store_->Read(id, block.generation, 0, kMaxPages * kPageBytes);
    ASSERT_TRUE(pages.ok()) << pages.status().ToString();
    std::string seen = pages->data.substr(0, stat->length);
    if (block.synced) {
      for (uint32_t page = 0; page * kPageBytes < block.content.size(); ++page) {
        if (block.unsynced.contains(page)) continue;
        std::string wanted = block.content.substr(page * kPageBytes, kPageBytes);
        // Zeros behind the end are the same whether they are there or not.
        std::string got =
            page * kPageBytes < seen.size() ? seen.substr(page * kPageBytes, kPageBytes) : "";
        wanted.resize(kPageBytes, '\0');
        got.resize(kPageBytes, '\0');
        EXPECT_EQ(got == wanted, true) << "block " << id << " lost synced page " << page;
      }
    }
    block.content = seen;
    block.suspect = false;
    MarkSynced(block);
  }

  void Check() {
    const bool power_cut = after_power_cut_;
    after_power_cut_ = false;
    for (auto& [id, block] : blocks_) {
      SCOPED_TRACE("block " + std::to_string(id.value()));
      CheckBlock(id, block, power_cut);
      if (testing::Test::HasFailure()) return;
    }
    std::set<BlockId> suspects;
    const std::vector<ReplicaInfo> listed = store_->Suspects(BlockId(0), 100).value();
    for (const ReplicaInfo& replica : listed) suspects.insert(replica.block);
    for (const auto& [id, block] : blocks_) {
      EXPECT_EQ(suspects.contains(id), block.exists && block.suspect) << "block " << id;
    }
  }

  void CheckBlock(BlockId id, ModelBlock& block, bool power_cut) {
    auto stat = store_->Stat(id);
    if (stat.code() == StatusCode::kNotFound) {
      EXPECT_TRUE(!block.exists || block.may_be_gone) << "the replica vanished";
      const bool was_there = block.exists;
      block = ModelBlock{};
      (void)was_there;
      return;
    }
    if (stat.code() == StatusCode::kUnavailable) {
      ++suspects_seen_;
      EXPECT_TRUE(power_cut || block.suspect) << "a killed process made it suspect";
      auto listed = store_->Suspects(BlockId(id.value() - 1), 1).value();
      ASSERT_EQ(listed.size(), 1u);
      ASSERT_EQ(listed[0].block, id);
      EXPECT_TRUE(block.in_doubt || listed[0].generation == block.generation);
      block.exists = true;
      block.suspect = true;
      // What a cut-off operation did to it is not known.
      if (block.in_doubt) block.synced = false;
      block.generation = listed[0].generation;
      Resolve(block);
      ExpectRefused(id, block.generation);
      return;
    }
    ASSERT_TRUE(stat.ok()) << stat.status().ToString();
    EXPECT_TRUE(block.exists || block.in_doubt) << "came back from nowhere";
    EXPECT_FALSE(block.suspect && !block.in_doubt) << "a suspect replica is served";
    EXPECT_TRUE(stat->generation == block.generation || stat->generation == block.may_have)
        << "generation " << stat->generation;
    ++survivors_seen_;
    if (block.suspect && block.in_doubt && !block.was_copied && !block.was_accepted) {
      ADD_FAILURE() << "nothing made this suspect replica good";
    }
    if (block.suspect && stat->generation != block.may_have) {
      ADD_FAILURE() << "a suspect replica became good in a change that was not finished";
    }
    if (block.was_accepted) {
      block.generation = stat->generation;
      Adopt(id, block);
    } else if (block.was_copied && stat->generation == block.may_have) {
      block.content = block.may_hold;
    }
    ASSERT_EQ(stat->length, block.content.size());
    auto pages = store_->Read(id, stat->generation, 0, kMaxPages * kPageBytes);
    ASSERT_TRUE(pages.ok()) << pages.status().ToString();
    EXPECT_EQ(pages->data.substr(0, stat->length) == block.content, true) << "it is stale";
    block.exists = true;
    block.suspect = false;
    block.generation = stat->generation;
    Resolve(block);
    if (power_cut) MarkSynced(block);
  }

  static void Resolve(ModelBlock& block) {
    block.in_doubt = block.may_be_gone = block.was_copied = block.was_accepted = false;
    block.may_have = Generation(0);
  }

  SimEnvironment environment_;
  SeededRandom random_;
  SeededRandom ids_;
  SimClock clock_;
  BlockStoreOptions options_;
  std::unique_ptr<BlockStore> store_;
  std::map<BlockId, ModelBlock> blocks_;
  uint64_t next_generation_ = 0;
  int boots_ = 1;
  bool after_power_cut_ = false;
  int suspects_seen_ = 0;
  int survivors_seen_ = 0;
  const bool verbose_ = std::getenv("TERCET_STORE_SEED") != nullptr;
};

TEST(CrashModelTest, NothingServedIsStaleAndNothingSuspectIsServed) {
  // TERCET_STORE_SEED replays one; TERCET_STORE_SEEDS runs more of them.
  const char* one = std::getenv("TERCET_STORE_SEED");
  const char* many = std::getenv("TERCET_STORE_SEEDS");
  const uint64_t first = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  const uint64_t count = one != nullptr    ? 1
                         : many != nullptr ? std::strtoull(many, nullptr, 10)
                                           : 500;
  int suspects = 0, survivors = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("TERCET_STORE_SEED=" + std::to_string(seed));
    CrashModel model(seed);
    model.Run();
    suspects += model.suspects_seen();
    survivors += model.survivors_seen();
    if (HasFailure()) return;
  }
  if (one != nullptr) return;
  EXPECT_GT(suspects, 100) << "no replica was ever suspect: the test shows nothing";
  EXPECT_GT(survivors, 100) << "no replica ever survived: the test shows nothing";
}

}  // namespace
}  // namespace tercet
