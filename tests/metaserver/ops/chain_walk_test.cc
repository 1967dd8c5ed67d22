// Random changes of chains among writes, truncations, policies and deletions, with pretended chunk
// servers: each keeps for each block the generation of what it holds, and a version of its content
// that grows with each acknowledged write. Attempts lose their commands anywhere, and are given up
// with or without a word. What must hold after each step:
//  - whoever holds something of a generation is a member of the block's chain, or a target that the
//    journal remembers, or has a delete task that reaches it;
//  - each member of a committed block's chain holds all that was acknowledged, whatever was
//    deleted;
//  - what is journaled agrees with itself (invariants.h).
#include <map>
#include <random>
#include <set>

#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

class ChainWalkTest : public ReplicaTest, public testing::WithParamInterface<int> {
 protected:
  static constexpr int kSteps = 2500;
  static constexpr uint32_t kServers = 5;
  static constexpr int64_t kIndexes = 4;

  /// What a server has of a block. Generation 0: a base, nobody's.
  struct Replica {
    uint64_t generation = 0;
    int version = 0;
  };
  /// An attempt as its driver knows it.
  struct Attempt {
    int64_t block = 0;
    uint64_t from = 0;
    uint64_t sealing = 0;
    std::vector<uint32_t> old_chain;
    std::vector<uint32_t> targets;
    std::set<uint32_t> equal;
  };

  bool Chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
  uint32_t AnyServer() { return 1 + static_cast<uint32_t>(random_() % kServers); }
  int64_t AnyFile() { return files_[random_() % files_.size()]; }
  std::string NameOf(int64_t file) const { return "f" + std::to_string(file); }

  void SetUp() override {
    directory_ = MakeDirectory(kRoot, "d");
    while (files_.size() < 3) AddFile();
  }

  void AddFile() {
    const int64_t inode = Create(directory_, "new");
    ASSERT_OK(Rename(directory_, "new", directory_, NameOf(inode)));
    files_.push_back(inode);
  }

  // The file's block at an index, reserved ones included.
  std::optional<FileBlockRecord> RowAt(int64_t inode, int64_t index) const {
    return *tables().FindFileBlock(Inode(inode), static_cast<uint64_t>(index));
  }
  static int64_t IdOf(const FileBlockRecord& row) {
    return static_cast<int64_t>(row.block.value());
  }

  // A write that the whole chain acknowledges, if all of it still has the journal's generation.
  bool WriteTo(const FileBlockRecord& row) {
    const int64_t id = IdOf(row);
    for (ServerId server : row.chain) {
      auto held = held_.find({server.value(), id});
      if (held != held_.end() && held->second.generation > row.generation.value()) return false;
      if (held == held_.end() && acknowledged_.contains(id)) return false;
    }
    const int version = ++acknowledged_[id];
    for (ServerId server : row.chain)
      held_[{server.value(), id}] = {row.generation.value(), version};
    return true;
  }

  void StepWrite() {
    const int64_t inode = AnyFile();
    const auto index = static_cast<int64_t>(random_() % kIndexes);
    chooser.servers = Servers({AnyServer()});
    for (uint32_t server = 1; server <= kServers; ++server) {
      if (ServerId(server) != chooser.servers[0] && Chance(70)) {
        chooser.servers.push_back(ServerId(server));
      }
    }
    auto allocated = Allocate(inode, index);
    if (!allocated.ok()) {
      AssertCode(allocated.code(), StatusCode::kUnavailable);
      return;
    }
    auto row = RowAt(inode, index);
    ASSERT_TRUE(row.has_value());
    if (row->reserved && Chance(10)) {
      const Result<FileBlockRecord> fresh = Do([&](OperationContext& context) {
        return EvaluateReplaceUnwritten(context, Inode(inode), static_cast<uint64_t>(index),
                                        row->block, {});
      });
      if (fresh.ok()) row = *fresh;
    }
    if (!WriteTo(*row) || Chance(20)) return;
    ASSERT_OK(Commit(inode, {IdOf(*row)}, (index + 1) * kTestBlockSize));
  }

  // One attempt up to where it is lost: commands reach only some of the servers.
  void StepAttempt() {
    auto row = RowAt(AnyFile(), static_cast<int64_t>(random_() % kIndexes));
    if (!row) return;
    Attempt attempt;
    attempt.block = IdOf(*row);
    attempt.from = row->generation.value();
    for (ServerId server : row->chain) attempt.old_chain.push_back(server.value());
    for (uint32_t server = 1; server <= kServers; ++server) {
      if (Chance(25) && row->chain.size() + attempt.targets.size() < kMaxChainLength) {
        attempt.targets.push_back(server);
      }
    }
    auto begun = Begin(attempt.block, attempt.from, attempt.targets);
    if (!begun.ok()) return;
    attempt.sealing = begun->sealing.value();
    std::erase_if(attempt.targets,
                  [&](uint32_t server) { return ContainsId(attempt.old_chain, server); });
    attempts_.push_back(attempt);
    if (Chance(80)) CarryOut(attempts_.back(), *row);
    while (attempts_.size() > 4) attempts_.erase(attempts_.begin());  // never heard of again
  }

  static bool ContainsId(const std::vector<uint32_t>& ids, uint32_t id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  }

  // Seals and pulls. A server that does not get its command is out of the attempt.
  void CarryOut(Attempt& attempt, const FileBlockRecord& row) {
    std::optional<Replica> source;
    for (uint32_t server : attempt.old_chain) {
      if (Chance(20)) continue;  // dead, or the command is lost
      auto held = held_.find({server, attempt.block});
      if (held == held_.end() && !row.reserved) continue;
      Replica& replica = held_[{server, attempt.block}];
      if (replica.generation >= attempt.sealing) continue;
      replica.generation = attempt.sealing;
      if (Chance(10)) continue;  // sealed, but the answer is lost
      if (!source) source = replica;
      replica.version = source->version;
      attempt.equal.insert(server);
    }
    if (!source) return;
    for (uint32_t server : attempt.targets) {
      if (Chance(20)) continue;
      auto held = held_.find({server, attempt.block});
      if (held != held_.end() && held->second.generation >= attempt.sealing) continue;
      held_[{server, attempt.block}] = {attempt.sealing, source->version};
      if (!Chance(10)) attempt.equal.insert(server);
    }
  }

  // The driver commits, or gives up; the attempt may be an old one.
  void StepConclude() {
    if (attempts_.empty()) return;
    const size_t which = random_() % attempts_.size();
    const Attempt attempt = attempts_[which];
    attempts_.erase(attempts_.begin() + static_cast<ptrdiff_t>(which));
    const std::vector<uint32_t> chain(attempt.equal.begin(), attempt.equal.end());
    if (!chain.empty() && Chance(80)) {
      auto committed = CommitChain(attempt.block, attempt.from, attempt.sealing, chain);
      if (committed.ok()) {
        ++commits_;
        return;
      }
      AssertCode(committed.code(), StatusCode::kConflict);
    }
    ASSERT_OK(Discard(attempt.block, attempt.sealing, attempt.targets));
  }

  void StepTruncate() {
    ASSERT_OK(
        Truncate(AnyFile(), static_cast<int64_t>(random_() % (kIndexes + 1)) * kTestBlockSize));
  }

  void StepUnlink() {
    const size_t which = random_() % files_.size();
    const int64_t inode = files_[which];
    ASSERT_OK(Unlink(directory_, NameOf(inode)));
    files_.erase(files_.begin() + static_cast<ptrdiff_t>(which));
    if (InodeRow(inode).in_trash() && Chance(50)) {
      ASSERT_OK(RestoreTrash(inode));
      files_.push_back(inode);
      return;
    }
    if (InodeRow(inode).in_trash() && Chance(50)) {
      ASSERT_OK(PurgeTrash({inode}));
    } else if (InodeRow(inode).in_trash()) {
      now_ns = InodeRow(inode).trash_expires_ns;
      ASSERT_OK(ExpireTrash());
    }
    while (true) {
      auto reclaimed = Reclaim(inode, 2);
      ASSERT_OK(reclaimed);
      if (reclaimed->done) break;
    }
    AddFile();
  }

  void StepPolicy() {
    if (Chance(50)) {
      (void)SetReplicas(Chance(30) ? "/d" : "/d/" + NameOf(AnyFile()),
                        1 + static_cast<int32_t>(random_() % 4));
    } else if (Chance(30)) {
      (void)SetDomain("/d", Chance(50) ? "rack" : "");
    } else if (Chance(30)) {
      (void)SetRetention("/d", Chance(50) ? 100 : 0);
    }
    ASSERT_OK(WalkPolicies(1 + static_cast<int>(random_() % 5)));
  }

  void StepNote() {
    auto row = RowAt(AnyFile(), static_cast<int64_t>(random_() % kIndexes));
    if (!row) return;
    if (Chance(50)) {
      ASSERT_OK(Review(IdOf(*row), Chance(50)));
      return;
    }
    Note(IdOf(*row), row->generation.value(), AnyServer(),
         static_cast<BadReplica>(1 + random_() % 4));
  }

  void StepSession() {
    ASSERT_OK(ExpireSession(session));
    session = OpenSession("session-uuid-" + std::to_string(100 + ++sessions_));
  }

  // A server deletes what it is told to, and says so, perhaps later.
  void StepDeletions() {
    const uint32_t server = AnyServer();
    std::vector<wire::DeleteReplicaTask> tasks;
    ASSERT_TRUE(tables()
                    .ScanDeleteTasks(ServerId(server), BlockId(),
                                     [&](BlockId block, const DeleteTaskRecord& record) {
                                       wire::DeleteReplicaTask task;
                                       task.block_id = static_cast<int64_t>(block.value());
                                       task.generation =
                                           static_cast<int64_t>(record.generation.value());
                                       if (!record.hold) tasks.push_back(task);
                                       return true;
                                     })
                    .ok());
    for (const auto& task : tasks) {
      auto held = held_.find({server, task.block_id});
      if (held == held_.end() || held->second.generation > static_cast<uint64_t>(task.generation)) {
        continue;
      }
      held_.erase(held);
    }
    if (Chance(50)) {
      late_[server] = std::move(tasks);
    } else {
      late_[server].insert(late_[server].end(), tasks.begin(), tasks.end());
    }
    if (Chance(30)) return;
    ASSERT_OK(Do([&](OperationContext& context) {
      return EvaluateFinishDeleteTasks(context, ServerId(server), late_[server]);
    }));
    late_[server].clear();
  }

  void Step() {
    const uint64_t choice = random_() % 100;
    if (choice < 30) {
      StepWrite();
    } else if (choice < 50) {
      StepAttempt();
    } else if (choice < 70) {
      StepConclude();
    } else if (choice < 75) {
      StepTruncate();
    } else if (choice < 78) {
      StepUnlink();
    } else if (choice < 84) {
      StepPolicy();
    } else if (choice < 88) {
      StepNote();
    } else if (choice < 90) {
      StepSession();
    } else {
      StepDeletions();
    }
  }

  void CheckHolders() {
    for (const auto& [where, replica] : held_) {
      const auto& [server, block] = where;
      const auto owner = *tables().FindBlockOwner(Block(block));
      if (owner) {
        const auto row = tables().FindFileBlock(owner->inode, owner->index);
        ASSERT_TRUE(row.ok() && row->has_value());
        if (ContainsId32(row->value().chain, server)) continue;
        const auto repair = Repair(block);
        if (repair && ContainsId32(repair->targets, server) &&
            repair->sealing.value() >= replica.generation) {
          continue;
        }
      }
      const auto task = *tables().FindDeleteTask(ServerId(server), Block(block));
      ASSERT_TRUE(task && task->generation.value() >= replica.generation)
          << "server " << server << " has block " << block << " in generation "
          << replica.generation << " and is told nothing";
    }
  }
  static bool ContainsId32(const std::vector<ServerId>& servers, uint32_t id) {
    return std::find(servers.begin(), servers.end(), ServerId(id)) != servers.end();
  }

  void CheckData() {
    for (int64_t inode : files_) {
      for (int64_t index = 0; index < kIndexes; ++index) {
        const auto row = RowAt(inode, index);
        if (!row || row->reserved) continue;
        const int64_t id = IdOf(*row);
        for (ServerId server : row->chain) {
          auto held = held_.find({server.value(), id});
          ASSERT_NE(held, held_.end()) << "block " << id << " was deleted at " << server;
          ASSERT_GE(held->second.generation, row->generation.value());
          ASSERT_EQ(held->second.version, acknowledged_.at(id)) << "block " << id;
        }
      }
    }
  }

  static void AssertCode(StatusCode code, StatusCode expected) { ASSERT_EQ(code, expected); }

  std::mt19937_64 random_{static_cast<uint64_t>(GetParam())};
  int64_t directory_ = 0;
  std::vector<int64_t> files_;
  std::map<std::pair<uint32_t, int64_t>, Replica> held_;
  std::map<int64_t, int> acknowledged_;  // by block: the newest version
  std::vector<Attempt> attempts_;
  std::map<uint32_t, std::vector<wire::DeleteReplicaTask>> late_;
  int sessions_ = 0;
  int commits_ = 0;
};

TEST_P(ChainWalkTest, NothingAcknowledgedIsLostAndNothingIsLeftOver) {
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE("seed " + std::to_string(GetParam()) + " step " + std::to_string(step));
    ASSERT_NO_FATAL_FAILURE(Step());
    ASSERT_NO_FATAL_FAILURE(CheckHolders());
    ASSERT_NO_FATAL_FAILURE(CheckData());
    if (step % 20 == 0) {
      ASSERT_THAT(FindViolations(view), testing::IsEmpty());
    }
  }
  EXPECT_GT(commits_, 30) << "the walk got stuck";
}

INSTANTIATE_TEST_SUITE_P(Seeds, ChainWalkTest, testing::Range(1, 5));

}  // namespace
}  // namespace tercet
