// Random writes, truncations and client crashes on files, with pretended chunk servers that keep
// whatever was written to a replica. What a reader puts together from GetBlocks must be what a
// plain string would hold.
#include <map>
#include <random>
#include <set>

#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class DataWalkTest : public OpsTest, public testing::WithParamInterface<int> {
 protected:
  static constexpr int kSteps = 700;
  static constexpr int64_t kMaxBlocks = 2 * kMaxBlocksCutAtOnce + 20;
  static constexpr int64_t kBlockSize = kTestBlockSize;

  struct File {
    int64_t inode = 0;
    std::string content;
  };

  bool Chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
  int64_t Below(int64_t bound) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(bound));
  }
  File& AnyFile() { return files_[random_() % files_.size()]; }

  std::string& Replica(int64_t block) {
    std::string& bytes = replicas_[block];
    bytes.resize(kBlockSize, '\0');
    return bytes;
  }

  // Writes `length` bytes into one block as a client does; the block's id, and what the commit must
  // name.
  void WriteBlock(File& file, int64_t index, int64_t offset, const std::string& data,
                  wire::CommitWriteRequest* commit) {
    auto allocated = Allocate(file.inode, index);
    ASSERT_TRUE(allocated.ok()) << allocated.status().ToString();
    if (allocated->block.reserved && Chance(10)) {
      // The first server does not answer: another block on others.
      Replica(allocated->block.block_id)[0] = 'X';
      allocated =
          Allocate(file.inode, index, {allocated->block.chain[0]}, allocated->block.block_id);
      ASSERT_TRUE(allocated.ok()) << allocated.status().ToString();
    }
    const wire::BlockInfo& block = allocated->block;
    ASSERT_FALSE(deleted_.contains(block.block_id)) << "a deleted block is given to a writer";
    std::string& bytes = Replica(block.block_id);
    const auto end = offset + static_cast<int64_t>(data.size());
    if (block.__isset.valid_bytes && end > block.valid_bytes) {
      std::fill(bytes.begin() + block.valid_bytes, bytes.end(), '\0');
      commit->trimmed_blocks.push_back(block.block_id);
    }
    bytes.replace(static_cast<size_t>(offset), data.size(), data);
    if (block.reserved) commit->written_blocks.push_back(block.block_id);
  }

  // One write(2), committed unless the client crashes before that.
  void StepWrite(bool crash) {
    File& file = AnyFile();
    const bool large = Chance(6);
    const int64_t start = large ? Below(kBlockSize) : Below(kMaxBlocks * kBlockSize / 4);
    const int64_t length = large ? (kMaxBlocks - 1) * kBlockSize : 1 + Below(3 * kBlockSize);
    wire::CommitWriteRequest commit;
    commit.inode = file.inode;
    std::string data(static_cast<size_t>(length), static_cast<char>('a' + Below(26)));
    for (int64_t done = 0; done < length;) {
      const int64_t offset = (start + done) % kBlockSize;
      const int64_t piece = std::min(kBlockSize - offset, length - done);
      const int64_t index = (start + done) / kBlockSize;
      if (crash && !IsReservedOrHole(file, index)) {
        // An overwrite without a commit may be read or not: left out, so that there is one right
        // answer.
        done += piece;
        continue;
      }
      ASSERT_NO_FATAL_FAILURE(
          WriteBlock(file, index, offset,
                     data.substr(static_cast<size_t>(done), static_cast<size_t>(piece)), &commit));
      done += piece;
    }
    if (crash) return EndSession();
    commit.end_offset = start + length;
    auto committed = Do(EvaluateCommitWrite, commit);
    ASSERT_TRUE(committed.ok()) << committed.status().ToString();
    if (file.content.size() < static_cast<size_t>(start + length)) {
      file.content.resize(static_cast<size_t>(start + length), '\0');
    }
    file.content.replace(static_cast<size_t>(start), data.size(), data);
    ASSERT_EQ(committed->attributes.size_bytes, static_cast<int64_t>(file.content.size()));
  }

  bool IsReservedOrHole(const File& file, int64_t index) const {
    return Blocks(file.inode, index, 1).empty();
  }

  void EndSession() {
    ASSERT_OK(ExpireSession(session));
    session = OpenSession("session-uuid-" + std::to_string(100 + ++sessions_));
  }

  void StepTruncate() {
    File& file = AnyFile();
    const int64_t size = Chance(50) ? Below(kMaxBlocks * kBlockSize)
                                    : Below(static_cast<int64_t>(file.content.size()) + 1);
    auto truncated = Truncate(file.inode, size);
    ASSERT_TRUE(truncated.ok()) << truncated.status().ToString();
    file.content.resize(static_cast<size_t>(size), '\0');
  }

  void StepReclaim() {
    File& file = AnyFile();
    auto reclaimed = ReclaimTruncation(file.inode, static_cast<int>(1 + Below(150)));
    ASSERT_TRUE(reclaimed.ok()) << reclaimed.status().ToString();
  }

  // The servers delete what they are told to.
  void StepDeletions() {
    std::map<uint64_t, std::vector<wire::DeleteReplicaTask>> tasks;
    for (const auto& [server, block] : DeleteTasks()) {
      wire::DeleteReplicaTask task;
      task.block_id = static_cast<int64_t>(block);
      task.generation = 1;
      tasks[server].push_back(task);
      replicas_.erase(task.block_id);
      deleted_.insert(task.block_id);
    }
    for (const auto& [server, list] : tasks) {
      auto finished = Do([&, id = server, &done = list](OperationContext& context) {
        return EvaluateFinishDeleteTasks(context, ServerId(static_cast<uint32_t>(id)), done);
      });
      ASSERT_TRUE(finished.ok());
      ASSERT_EQ(finished->removed, static_cast<int>(list.size()));
    }
  }

  void StepRecreate() {
    const size_t which = random_() % files_.size();
    const std::string name = "f" + std::to_string(which);
    ASSERT_OK(Unlink(kRoot, name));
    for (bool done = false; !done;) {
      auto reclaimed = Reclaim(files_[which].inode, 40);
      ASSERT_TRUE(reclaimed.ok()) << reclaimed.status().ToString();
      done = reclaimed->done;
    }
    files_[which] = {Create(kRoot, name), ""};
  }

  void Step() {
    const uint64_t choice = random_() % 100;
    if (choice < 45) {
      StepWrite(false);
    } else if (choice < 52) {
      StepWrite(true);
    } else if (choice < 75) {
      StepTruncate();
    } else if (choice < 90) {
      StepReclaim();
    } else if (choice < 97) {
      StepDeletions();
    } else {
      StepRecreate();
    }
  }

  void CompareAll() {
    for (const File& file : files_) {
      std::string read(static_cast<size_t>(Attributes(file.inode).size_bytes), '\0');
      for (const wire::BlockInfo& block : Blocks(file.inode)) {
        auto replica = replicas_.find(block.block_id);
        ASSERT_NE(replica, replicas_.end()) << "block " << block.block_id << " was deleted";
        const auto start = static_cast<size_t>(block.block_index * kBlockSize);
        ASSERT_LT(start, read.size());
        size_t length = std::min(static_cast<size_t>(kBlockSize), read.size() - start);
        if (block.__isset.valid_bytes) {
          length = std::min(length, static_cast<size_t>(block.valid_bytes));
        }
        read.replace(start, length, replica->second, 0, length);
      }
      ASSERT_TRUE(read == file.content)
          << "inode " << file.inode << " of " << read.size() << " bytes reads wrong";
    }
  }

  std::mt19937_64 random_{static_cast<uint64_t>(GetParam())};
  std::vector<File> files_ = {{Create(kRoot, "f0"), ""}, {Create(kRoot, "f1"), ""}};
  std::map<int64_t, std::string> replicas_;  // by block: all of a chain hold the same
  std::set<int64_t> deleted_;
  int sessions_ = 0;
};

TEST_P(DataWalkTest, ReadsWhatWasWritten) {
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE("seed " + std::to_string(GetParam()) + " step " + std::to_string(step));
    ASSERT_NO_FATAL_FAILURE(Step());
    ASSERT_NO_FATAL_FAILURE(CompareAll());
    if (step % 50 == 0) {
      ASSERT_THAT(FindViolations(view), testing::IsEmpty());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, DataWalkTest, testing::Range(1, 4));

}  // namespace
}  // namespace tercet
