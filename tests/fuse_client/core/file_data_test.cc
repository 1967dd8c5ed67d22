// Reading and writing while everything works.
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "metaserver/ops/mutations.h"
#include "tests/fuse_client/core/client_fixture.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

class FileDataTest : public ClientTest {
 protected:
  void SetUp() override { Mount(); }

  void Truncate(const OpenFilePtr& file, uint64_t size) {
    AttributeChange change;
    change.size_bytes = size;
    auto changed = fs_->SetAttributes(fs_->InodeOf(file), change);
    ASSERT_TRUE(changed.ok()) << changed.status().ToString();
    EXPECT_EQ(static_cast<uint64_t>(changed->size_bytes), size);
  }
  template <typename Change>
  void ChangeByAnother(const OpenFilePtr& file, const Change& change) {
    wire::SetAttributesRequest request;
    request.inode = static_cast<int64_t>(fs_->InodeOf(file).value());
    change(request);
    ASSERT_TRUE(metaserver_.Do(&EvaluateSetAttributes, request).ok());
  }
};

TEST_F(FileDataTest, BufferedWritesAreReadBackBeforeAnythingIsSent) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "hello world").ok());
  ASSERT_TRUE(fs_->Write(file, 6, "there").ok());
  EXPECT_EQ(ReadAll(*fs_, file, 0, 100), "hello there");
  EXPECT_EQ(fs_->GetAttributes(fs_->InodeOf(file))->size_bytes, 11);
  EXPECT_EQ(storage_.counts().writes, 0);
  EXPECT_EQ(fs_->counters().dirty_bytes, 11u);
}

TEST_F(FileDataTest, AfterFlushOtherMountsSeeItOnThreeReplicas) {
  const OpenFilePtr file = Create("f");
  const std::string data = RandomBytes(10'000, 1);
  ASSERT_TRUE(fs_->Write(file, 0, data).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadFromAnotherMount(file), data);
  const wire::BlockInfo block = BlockOf(file, 0);
  ASSERT_EQ(block.chain.size(), 3u);
  for (int32_t server : block.chain) {
    auto replica = storage_.Find(ServerId(static_cast<uint32_t>(server)),
                                 BlockId(static_cast<uint64_t>(block.block_id)));
    ASSERT_NE(replica, nullptr);
    EXPECT_EQ(replica->data, data);
  }
  EXPECT_EQ(fs_->counters().dirty_bytes, 0u);
}

TEST_F(FileDataTest, ASmallFileCostsOneAllocationOneFrameAndOneCommit) {
  const OpenFilePtr file = Create("f");
  const uint64_t calls = fs_->counters().metadata_calls;
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  fs_->Release(file);
  EXPECT_EQ(metaserver_.calls("AllocateBlock"), 1);
  EXPECT_EQ(metaserver_.calls("CommitWrite"), 1);
  EXPECT_EQ(fs_->counters().metadata_calls, calls + 2);
  EXPECT_EQ(storage_.counts().writes, 3);
}

TEST_F(FileDataTest, SmallSequentialWritesTravelAsLargeFrames) {
  const OpenFilePtr file = Create("f");
  const std::string data = RandomBytes(8 * kBlockSize, 2);
  for (size_t at = 0; at < data.size(); at += 1'000) {
    ASSERT_TRUE(fs_->Write(file, at, std::string_view(data).substr(at, 1'000)).ok());
  }
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(storage_.counts().writes, 3 * 8);
  EXPECT_EQ(ReadFromAnotherMount(file), data);
}

TEST_F(FileDataTest, FsyncMakesEveryReplicaDurable) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, RandomBytes(5 * kBlockSize + 10, 3)).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_GT(storage_.unsynced_replicas(), 0);
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  EXPECT_EQ(storage_.unsynced_replicas(), 0);
  const int syncs = storage_.counts().syncs;
  // One piece on a durable block: its own frame does it.
  ASSERT_TRUE(fs_->Write(file, 100, "x").ok());
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  EXPECT_EQ(storage_.unsynced_replicas(), 0);
  EXPECT_EQ(storage_.counts().syncs, syncs);
  // Nothing to do.
  const int calls = metaserver_.calls("CommitWrite");
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  EXPECT_EQ(metaserver_.calls("CommitWrite"), calls);
}

TEST_F(FileDataTest, FsyncMakesDurableWhatOthersWroteBefore) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, RandomBytes(3 * kBlockSize + 10, 3)).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(storage_.unsynced_replicas(), 12);
  auto other = MountAnother(Options());
  OpenFilePtr opened = OpenAgain(*other, file, O_RDONLY);
  ASSERT_TRUE(other->Sync(opened, true).ok());
  EXPECT_EQ(storage_.unsynced_replicas(), 0);
  const int syncs = storage_.counts().syncs;
  // Once is enough, also for who opens it again...
  ASSERT_TRUE(other->Sync(opened, false).ok());
  other->Release(opened);
  opened = OpenAgain(*other, file);
  ASSERT_TRUE(other->Sync(opened, false).ok());
  EXPECT_EQ(storage_.counts().syncs, syncs);
  // ...until somebody writes again.
  ASSERT_TRUE(fs_->Write(file, 2 * kBlockSize, "x").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(storage_.unsynced_replicas(), 3);
  other->Release(opened);
  opened = OpenAgain(*other, file);
  ASSERT_TRUE(other->Sync(opened, false).ok());
  EXPECT_EQ(storage_.unsynced_replicas(), 0);
}

TEST_F(FileDataTest, ANewFileIsSyncedOnceForEachReplica) {
  OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  const OpenFilePtr again = OpenAgain(*fs_, file);
  ASSERT_TRUE(fs_->Sync(again, false).ok());
  EXPECT_EQ(storage_.unsynced_replicas(), 0);
  EXPECT_EQ(storage_.counts().syncs, 0) << "its write carried the flag";
}

TEST_F(FileDataTest, FdatasyncOfAnOverwriteLeavesTheTimeToTheNextFlush) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "0123456789").ok());
  ASSERT_TRUE(fs_->Sync(file, true).ok());
  const int commits = metaserver_.calls("CommitWrite");
  ASSERT_TRUE(fs_->Write(file, 3, "x").ok());
  ASSERT_TRUE(fs_->Sync(file, true).ok());
  EXPECT_EQ(metaserver_.calls("CommitWrite"), commits);
  EXPECT_EQ(storage_.unsynced_replicas(), 0);
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(metaserver_.calls("CommitWrite"), commits + 1);
}

TEST_F(FileDataTest, HolesReadAsZeros) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 5 * kBlockSize + 100, "end").ok());
  ASSERT_TRUE(fs_->Write(file, kBlockSize + 7, "middle").ok());
  std::string expected(5 * kBlockSize + 103, '\0');
  expected.replace(5 * kBlockSize + 100, 3, "end");
  expected.replace(kBlockSize + 7, 6, "middle");
  EXPECT_EQ(ReadAll(*fs_, file, 0, expected.size() + 10), expected);
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadAll(*fs_, file, 0, expected.size() + 10), expected);
  EXPECT_EQ(ReadFromAnotherMount(file), expected);
  EXPECT_EQ(metaserver_.evaluated("AllocateBlock"), 2);
}

TEST_F(FileDataTest, WhatATruncationCutOffDoesNotComeBack) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, std::string(kBlockSize + 500, 'a')).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  Truncate(file, 1'000);
  Truncate(file, kBlockSize + 100);
  const std::string expected =
      std::string(1'000, 'a') + std::string(kBlockSize + 100 - 1'000, '\0');
  EXPECT_EQ(ReadAll(*fs_, file, 0, 1 << 20), expected);
  // A write beyond the valid bytes cuts the replicas first.
  ASSERT_TRUE(fs_->Write(file, 3'000, "new").ok());
  std::string changed = expected;
  changed.replace(3'000, 3, "new");
  EXPECT_EQ(ReadAll(*fs_, file, 0, 1 << 20), changed);
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_GT(storage_.counts().truncates, 0);
  EXPECT_FALSE(BlockOf(file, 0).__isset.valid_bytes);
  EXPECT_EQ(ReadAll(*fs_, file, 0, 1 << 20), changed);
  EXPECT_EQ(ReadFromAnotherMount(file), changed);
}

TEST_F(FileDataTest, ATruncationComesAfterTheWritesBeforeIt) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, std::string(3 * kBlockSize, 'a')).ok());
  Truncate(file, 10);
  ASSERT_TRUE(fs_->Write(file, 20, "b").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadFromAnotherMount(file),
            std::string(10, 'a') + std::string(10, '\0') + std::string("b"));
}

TEST_F(FileDataTest, OpeningWithTruncationDropsWhatIsBuffered) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "old content").ok());
  const OpenFilePtr again = OpenAgain(*fs_, file, O_WRONLY | O_TRUNC);
  EXPECT_EQ(ReadAll(*fs_, file, 0, 100), "");
  ASSERT_TRUE(fs_->Write(again, 0, "new").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadFromAnotherMount(file), "new");
  auto created = fs_->Create(fs_->root(), "f", 0644, 1, 1, O_RDWR | O_TRUNC);
  ASSERT_TRUE(created.ok());
  EXPECT_FALSE(created->created);
  EXPECT_EQ(created->attributes.size_bytes, 0);
}

TEST_F(FileDataTest, ATimeThatIsSetIsNotOverwrittenByTheCommitOfEarlierData) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  AttributeChange change;
  change.mtime_ns = 42;
  ASSERT_TRUE(fs_->SetAttributes(fs_->InodeOf(file), change).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(fs_->GetAttributes(fs_->InodeOf(file))->mtime_ns, 42);
  ASSERT_TRUE(fs_->Write(file, 0, "more").ok());
  EXPECT_GT(fs_->GetAttributes(fs_->InodeOf(file))->mtime_ns, 42);
}

TEST_F(FileDataTest, FallocateExtendsAndNothingElse) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "abc").ok());
  ASSERT_TRUE(fs_->Fallocate(file, 0, 0, 2).ok());
  EXPECT_EQ(fs_->GetAttributes(fs_->InodeOf(file))->size_bytes, 3);
  ASSERT_TRUE(fs_->Fallocate(file, 0, 2, 8).ok());
  EXPECT_EQ(ReadAll(*fs_, file, 0, 100), std::string("abc") + std::string(7, '\0'));
  EXPECT_EQ(fs_->Fallocate(file, 1, 0, 2).code(), StatusCode::kNotSupported);
}

TEST_F(FileDataTest, OldDataIsCommittedInTheBackground) {
  FileSystemOptions options = Options();
  options.dirty_age = milliseconds(1);
  Mount(options);
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  metaserver_.AwaitCalls("CommitWrite", 1);
  EXPECT_EQ(ReadFromAnotherMount(file), "data");
}

TEST_F(FileDataTest, UnmountCommitsWhatIsBuffered) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Unmount().ok());
  EXPECT_EQ(ReadFromAnotherMount(file), "data");
}

TEST_F(FileDataTest, WritersWaitForBuffersAndGoOn) {
  FileSystemOptions options = Options();
  options.write_buffer_bytes = 4 << 20;
  Mount(options);
  // Many files, each with less than a full piece: only a flush in the background makes room.
  std::vector<OpenFilePtr> files;
  const std::string data = RandomBytes(kBlockSize - 1, 4);
  for (int i = 0; i < 200; ++i) {
    files.push_back(Create("f" + std::to_string(i)));
    ASSERT_TRUE(fs_->Write(files.back(), 0, data).ok());
    ASSERT_LE(fs_->counters().dirty_bytes, options.write_buffer_bytes);
  }
  for (const OpenFilePtr& file : files) {
    ASSERT_EQ(ReadAll(*fs_, file, 0, data.size()), data);
    ASSERT_TRUE(fs_->Flush(file).ok());
  }
  EXPECT_EQ(fs_->counters().dirty_bytes, 0u);
}

TEST_F(FileDataTest, ChangesByOthersAreSeenAfterOpeningAndAfterGettingAttributes) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, std::string(2 * kBlockSize, 'a')).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadAll(*fs_, file, 0, 10), std::string(10, 'a'));
  auto other = MountAnother(Options());
  const OpenFilePtr theirs = OpenAgain(*other, file, O_RDWR | O_TRUNC);
  ASSERT_TRUE(other->Write(theirs, 0, std::string(kBlockSize, 'b')).ok());
  ASSERT_TRUE(other->Flush(theirs).ok());
  EXPECT_EQ(fs_->GetAttributes(fs_->InodeOf(file))->size_bytes, static_cast<int64_t>(kBlockSize));
  EXPECT_EQ(ReadAll(*fs_, file, 0, 1 << 20), std::string(kBlockSize, 'b'));
  // Nor does a write go to the block that is gone.
  ASSERT_TRUE(fs_->Write(file, 1, "ccc").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadFromAnotherMount(file), "bccc" + std::string(kBlockSize - 4, 'b'));
}

TEST_F(FileDataTest, TwoMountsWriteOneNewFile) {
  const OpenFilePtr file = Create("f");
  auto other = MountAnother(Options());
  const OpenFilePtr theirs = OpenAgain(*other, file);
  ASSERT_TRUE(fs_->Write(file, 0, "mine").ok());
  ASSERT_TRUE(other->Write(theirs, 4, "theirs").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  ASSERT_TRUE(other->Flush(theirs).ok());
  EXPECT_EQ(ReadFromAnotherMount(file), "minetheirs");
}

TEST_F(FileDataTest, DataWrittenToABlockThatAnotherTruncatedAwayIsMovedToItsSuccessor) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, std::string(100, 'a')).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  // A full piece in a new block: sent, not committed.
  ASSERT_TRUE(fs_->Write(file, kBlockSize, std::string(kBlockSize, 'b')).ok());
  ChangeByAnother(file, [](auto& request) { request.__set_size_bytes(10); });
  ASSERT_TRUE(fs_->Flush(file).ok());
  std::string expected(2 * kBlockSize, '\0');
  expected.replace(0, 10, 10, 'a');
  expected.replace(kBlockSize, kBlockSize, kBlockSize, 'b');
  EXPECT_EQ(ReadFromAnotherMount(file), expected);
}

TEST_F(FileDataTest, FsyncCoversDataThatItsCommitHadToMove) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, std::string(100, 'a')).ok());
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  ASSERT_TRUE(fs_->Write(file, kBlockSize, std::string(kBlockSize, 'b')).ok());
  ChangeByAnother(file, [](auto& request) { request.__set_size_bytes(10); });
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  const wire::BlockInfo block = BlockOf(file, 1);
  for (const int32_t server : block.chain) {
    const auto replica = storage_.Find(ServerId(static_cast<uint32_t>(server)),
                                       BlockId(static_cast<uint64_t>(block.block_id)));
    ASSERT_NE(replica, nullptr);
    EXPECT_TRUE(replica->synced) << "server " << server;
  }
}

TEST_F(FileDataTest, SequentialReadsAreReadAheadAndRandomOnesAreNot) {
  const OpenFilePtr file = Create("f");
  const std::string data = RandomBytes(6 << 20, 5);
  ASSERT_TRUE(fs_->Write(file, 0, data).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  const OpenFilePtr reader = OpenAgain(*fs_, file, O_RDONLY);
  constexpr size_t kRequest = 128 << 10;
  for (size_t at = 0; at < data.size(); at += kRequest) {
    ASSERT_EQ(ReadAll(*fs_, reader, at, kRequest), data.substr(at, kRequest)) << at;
  }
  EXPECT_GT(fs_->counters().read_ahead_hits, data.size() / 2);
  const uint64_t hits = fs_->counters().read_ahead_hits;
  const uint64_t bytes = storage_.counts().bytes_read;
  const OpenFilePtr random_reader = OpenAgain(*fs_, file, O_RDONLY);
  std::mt19937_64 random(6);
  for (int i = 0; i < 200; ++i) {
    const size_t at = random() % (data.size() / 4'096) * 4'096;
    ASSERT_EQ(ReadAll(*fs_, random_reader, at, 4'096), data.substr(at, 4'096));
  }
  EXPECT_EQ(fs_->counters().read_ahead_hits, hits);
  EXPECT_EQ(storage_.counts().bytes_read - bytes, 200u * 4'096);
}

TEST_F(FileDataTest, ReadAheadIsDroppedWhenTheFileIsWritten) {
  const OpenFilePtr file = Create("f");
  std::string data = RandomBytes(4 << 20, 7);
  ASSERT_TRUE(fs_->Write(file, 0, data).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  constexpr size_t kRequest = 128 << 10;
  for (size_t at = 0; at < 4 * kRequest; at += kRequest) ReadAll(*fs_, file, at, kRequest);
  data.replace(4 * kRequest + 100, 3, "new");
  ASSERT_TRUE(fs_->Write(file, 4 * kRequest + 100, "new").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  for (size_t at = 4 * kRequest; at < data.size(); at += kRequest) {
    ASSERT_EQ(ReadAll(*fs_, file, at, kRequest), data.substr(at, kRequest)) << at;
  }
}

TEST_F(FileDataTest, ReadsAndWritesOfManyThreadsOnOneFile) {
  const OpenFilePtr file = Create("f");
  constexpr int kThreads = 4;
  constexpr uint64_t kRegion = 3 * kBlockSize + 777;
  std::atomic<bool> failed{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<uint64_t>(t));
      std::string model(kRegion, '\0');
      const uint64_t base = t * kRegion;
      for (int i = 0; i < 150 && !failed; ++i) {
        const uint64_t at = random() % kRegion;
        const size_t size = 1 + random() % std::min<uint64_t>(20'000, kRegion - at);
        const int action = random() % 8;
        if (action < 4) {
          const std::string data = RandomBytes(size, random());
          model.replace(at, size, data);
          if (!fs_->Write(file, base + at, data).ok()) failed = true;
        } else if (action < 7) {
          std::string data = ReadAll(*fs_, file, base + at, size);
          data.resize(size);  // the file may end here as yet
          if (data != model.substr(at, size)) failed = true;
        } else if (!fs_->Sync(file, random() % 2 == 0).ok()) {
          failed = true;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(failed);
}

/// With blocks of several frames.
class LargeBlockTest : public ClientTest {
 protected:
  static constexpr uint64_t kLargeBlock = 4 << 20;
  LargeBlockTest() : ClientTest({.block_size_bytes = kLargeBlock}) {}
  void SetUp() override { Mount(); }
};

TEST_F(LargeBlockTest, TheBlockIsAskedForWhileAFirstLargePieceFills) {
  const OpenFilePtr file = Create("f");
  const std::string data = RandomBytes(256 << 10, 1);
  ASSERT_TRUE(fs_->Write(file, 0, std::string_view(data).substr(0, 128 << 10)).ok());
  metaserver_.AwaitCalls("AllocateBlock", 1);
  ASSERT_TRUE(fs_->Write(file, 128 << 10, std::string_view(data).substr(128 << 10)).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(metaserver_.calls("AllocateBlock"), 1);
  EXPECT_EQ(ReadFromAnotherMount(file), data);
}

TEST_F(LargeBlockTest, AFlushAndATruncationWaitForABlockThatIsBeingAskedFor) {
  for (const bool truncate : {false, true}) {
    const OpenFilePtr file = Create(truncate ? "t" : "f");
    metaserver_.StallReplies("AllocateBlock", 1);
    const int calls = metaserver_.calls("AllocateBlock");
    ASSERT_TRUE(fs_->Write(file, 0, std::string(200 << 10, 'a')).ok());
    metaserver_.AwaitCalls("AllocateBlock", calls + 1);
    std::thread resume([&] { metaserver_.ResumeReplies(); });
    if (truncate) {
      AttributeChange change;
      change.size_bytes = 5;
      ASSERT_TRUE(fs_->SetAttributes(fs_->InodeOf(file), change).ok());
    }
    ASSERT_TRUE(fs_->Flush(file).ok());
    resume.join();
    EXPECT_EQ(ReadFromAnotherMount(file), std::string(truncate ? 5 : 200 << 10, 'a'));
    EXPECT_EQ(metaserver_.calls("AllocateBlock"), calls + 1);
  }
}

TEST_F(LargeBlockTest, LargeFilesTravelInFramesOfAMebibyteAndReadBackInParallel) {
  const OpenFilePtr file = Create("f");
  const std::string data = RandomBytes((13 << 20) + 12'345, 2);
  for (size_t at = 0; at < data.size(); at += 1 << 20) {
    ASSERT_TRUE(fs_->Write(file, at, std::string_view(data).substr(at, 1 << 20)).ok());
  }
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  EXPECT_EQ(storage_.counts().writes, 3 * 14);
  EXPECT_EQ(storage_.unsynced_replicas(), 0);
  EXPECT_EQ(ReadAll(*fs_, file, 0, data.size()), data);
  EXPECT_EQ(ReadFromAnotherMount(file), data);
}

/// Everything a program may do to one file, against a string.
class RandomWalk : public FileDataTest, public testing::WithParamInterface<uint64_t> {
 protected:
  static constexpr uint64_t kMaxSize = 6 * kBlockSize;

  void Step() {
    const uint64_t at = random_() % kMaxSize;
    const uint64_t most = random_() % 4 == 0 ? 3 * kBlockSize : 3'000;
    const size_t size = 1 + random_() % std::min(most, kMaxSize - at);
    switch (random_() % 20) {
      case 0:
        ASSERT_TRUE(fs_->Flush(file_).ok());
        break;
      case 1:
        ASSERT_TRUE(fs_->Sync(file_, random_() % 2 == 0).ok());
        break;
      case 2:
        Truncate(file_, at);
        model_.resize(at);
        break;
      case 3: {
        const OpenFilePtr again = OpenAgain(*fs_, file_);
        if (random_() % 2 == 0) {
          ASSERT_TRUE(fs_->Flush(file_).ok());
        }
        fs_->Release(file_);
        file_ = again;
        break;
      }
      case 4:
        ASSERT_TRUE(fs_->Fallocate(file_, 0, at, size).ok());
        if (model_.size() < at + size) model_.resize(at + size);
        break;
      case 5:
        ASSERT_EQ(fs_->GetAttributes(fs_->InodeOf(file_))->size_bytes,
                  static_cast<int64_t>(model_.size()));
        break;
      case 6:
        ASSERT_TRUE(fs_->Flush(file_).ok());
        ASSERT_EQ(ReadFromAnotherMount(file_), model_);
        break;
      case 7:
      case 8:
      case 9:
      case 10:
      case 11:
        ASSERT_EQ(ReadAll(*fs_, file_, at, size),
                  at < model_.size() ? model_.substr(at, size) : "");
        break;
      default: {
        const std::string data = RandomBytes(size, random_());
        if (model_.size() < at + size) model_.resize(at + size);
        model_.replace(at, size, data);
        ASSERT_TRUE(fs_->Write(file_, at, data).ok());
      }
    }
  }

  std::mt19937_64 random_;
  std::string model_;
  OpenFilePtr file_;
};

TEST_P(RandomWalk, AFileBehavesLikeAString) {
  FileSystemOptions options = Options();
  // Some walks have background flushes in between.
  if (GetParam() % 2 == 1) options.dirty_age = milliseconds(4);
  Mount(options);
  random_.seed(GetParam());
  file_ = Create("f");
  for (int step = 0; step < 600; ++step) {
    Step();
    if (HasFatalFailure()) FAIL() << "seed " << GetParam() << " step " << step;
  }
  ASSERT_TRUE(fs_->Flush(file_).ok());
  EXPECT_EQ(ReadFromAnotherMount(file_), model_);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomWalk, testing::Range<uint64_t>(1, 9));

}  // namespace
}  // namespace tercet
