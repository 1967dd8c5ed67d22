// Reading and writing while chunk servers fail.
#include <thread>

#include "metaserver/ops/mutations.h"
#include "tests/fuse_client/core/client_fixture.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

class FileFailureTest : public ClientTest {
 protected:
  void SetUp() override {
    FileSystemOptions options = Options();
    options.data_deadline = milliseconds(60'000);
    Mount(options);
  }
  void MountWithDeadline(milliseconds deadline) {
    FileSystemOptions options = Options();
    options.data_deadline = deadline;
    Mount(options);
  }
  /// Everything is sent and acknowledged, and the commit fails: the block stays reserved.
  void FlushWithoutCommit(const OpenFilePtr& file) {
    metaserver_.FailNext("CommitWrite", StatusCode::kUnavailable, 1'000'000);
    EXPECT_FALSE(fs_->Flush(file).ok());
    metaserver_.FailNext("CommitWrite", StatusCode::kOk, 0);
  }
  /// The file's reserved first block.
  wire::AllocateBlockResponse Reserved(const OpenFilePtr& file) {
    wire::AllocateBlockRequest request;
    request.inode = static_cast<int64_t>(fs_->InodeOf(file).value());
    auto response = metaserver_.Do(&EvaluateAllocateBlock, request);
    EXPECT_TRUE(response.ok() && response->block.reserved);
    return *response;
  }
  void StopAllBut(ServerId survivor) {
    for (const ReplicaAddress& replica : storage_.replicas()) {
      if (replica.server != survivor) storage_.Stop(replica.server);
    }
  }
  static ServerId ServerOf(const wire::BlockInfo& block, size_t position) {
    return ServerId(static_cast<uint32_t>(block.chain.at(position)));
  }
};

TEST_F(FileFailureTest, ReadsGoToWhateverReplicaIsLeft) {
  const OpenFilePtr file = Create("f");
  const std::string data = RandomBytes(3 * kBlockSize, 1);
  ASSERT_TRUE(fs_->Write(file, 0, data).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  const wire::BlockInfo block = BlockOf(file, 0);
  storage_.Stop(ServerOf(block, 2));
  storage_.Stop(ServerOf(block, 1));
  EXPECT_EQ(ReadAll(*fs_, file, 0, kBlockSize), data.substr(0, kBlockSize));
}

TEST_F(FileFailureTest, AReadOfABlockWithANewGenerationFindsIt) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadAll(*fs_, file, 0, 4), "data");
  // The replicas say that the cached generation is an old one; the metaserver is asked again.
  const BlockId block(static_cast<uint64_t>(BlockOf(file, 0).block_id));
  storage_.SetGeneration(block, Generation(2));
  const int asked = metaserver_.calls("GetBlocks");
  std::thread repair([&] {
    metaserver_.AwaitCalls("GetBlocks", asked + 2);
    storage_.SetGeneration(block, Generation(1));
  });
  EXPECT_EQ(ReadAll(*fs_, file, 0, 4), "data");
  repair.join();
}

TEST_F(FileFailureTest, ReadsEndWithAnErrorWhenNoReplicaComesBack) {
  MountWithDeadline(milliseconds(200));
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  for (const ReplicaAddress& replica : storage_.replicas()) storage_.Stop(replica.server);
  std::string out(4, 'x');
  EXPECT_FALSE(fs_->Read(file, 0, out).ok());
  EXPECT_EQ(*fs_->Read(file, 4, out), 0u);
}

TEST_F(FileFailureTest, AWriterOfANewBlockSeesOnlyAPauseWhenItsChainBreaks) {
  FileSystemOptions options = Options();
  options.metadata_deadline = milliseconds(50);
  for (size_t position : {0, 1, 2}) {
    Mount(options);  // one that knows of no failures
    const OpenFilePtr file = Create("f" + std::to_string(position));
    const std::string data = RandomBytes(kBlockSize, position);
    // What is acknowledged before the failure has to be in the new chain.
    ASSERT_TRUE(fs_->Write(file, 0, std::string_view(data).substr(0, 1'000)).ok());
    ASSERT_TRUE(fs_->Write(file, 5'000, std::string_view(data).substr(5'000, 1'000)).ok());
    FlushWithoutCommit(file);
    const wire::AllocateBlockResponse block = Reserved(file);
    storage_.Stop(ServerOf(block.block, position));
    ASSERT_TRUE(fs_->Write(file, 1'000, std::string_view(data).substr(1'000, 4'000)).ok());
    ASSERT_TRUE(fs_->Write(file, 6'000, std::string_view(data).substr(6'000)).ok());
    ASSERT_TRUE(fs_->Flush(file).ok());
    EXPECT_EQ(BlockOf(file, 0).block_id, block.block.block_id);
    EXPECT_GT(BlockOf(file, 0).generation, block.block.generation);
    EXPECT_THAT(BlockOf(file, 0).chain,
                testing::Not(testing::Contains(block.block.chain[position])));
    EXPECT_EQ(ReadFromAnotherMount(file), data);
    EXPECT_EQ(fs_->counters().chain_recoveries, 1u);
    storage_.Restart(ServerOf(block.block, position));
  }
}

TEST_F(FileFailureTest, AChainThatBreaksInMidstreamLosesNothing) {
  const OpenFilePtr file = Create("f");
  const std::string data = RandomBytes(20 * kBlockSize, 4);
  storage_.StopAfterWrites(ServerId(2), 7);
  for (size_t at = 0; at < data.size(); at += 10'000) {
    ASSERT_TRUE(fs_->Write(file, at, std::string_view(data).substr(at, 10'000)).ok());
  }
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  EXPECT_EQ(ReadFromAnotherMount(file), data);
  EXPECT_EQ(ReadAll(*fs_, file, 0, data.size()), data);
}

TEST_F(FileFailureTest, AWriterWithTooFewServersWaitsForOneToComeBack) {
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "aaaaaaaa").ok());
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  const wire::BlockInfo block = BlockOf(file, 0);
  StopAllBut(ServerOf(block, 0));
  ASSERT_TRUE(fs_->Write(file, 2, "bbb").ok());
  std::thread restart([&] {
    metaserver_.AwaitCalls("RecoverBlock", 3);
    storage_.Restart(ServerOf(block, 2));
  });
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  restart.join();
  EXPECT_EQ(ReadFromAnotherMount(file), "aabbbaaa");
  for (int32_t server : BlockOf(file, 0).chain) {
    const auto replica = storage_.Find(ServerId(static_cast<uint32_t>(server)),
                                       BlockId(static_cast<uint64_t>(block.block_id)));
    ASSERT_NE(replica, nullptr);
    EXPECT_TRUE(replica->synced);
    EXPECT_EQ(replica->data, "aabbbaaa");
  }
}

TEST_F(FileFailureTest, ALostWriteIsReportedOnceToEachHandle) {
  MountWithDeadline(milliseconds(100));
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "aaaaaaaa").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  const OpenFilePtr other = OpenAgain(*fs_, file);
  const ServerId tail = ServerOf(BlockOf(file, 0), 2);
  StopAllBut(ServerOf(BlockOf(file, 0), 0));
  ASSERT_TRUE(fs_->Write(file, 0, "b").ok());
  EXPECT_FALSE(fs_->Flush(file).ok());
  EXPECT_TRUE(fs_->Flush(file).ok());
  EXPECT_FALSE(fs_->Flush(other).ok());
  EXPECT_TRUE(fs_->Flush(other).ok());
  const OpenFilePtr later = OpenAgain(*fs_, file);
  EXPECT_TRUE(fs_->Flush(later).ok());
  EXPECT_FALSE(fs_->Sync(later, false).ok()) << "what was there before is not on the disks";
  EXPECT_EQ(fs_->counters().dirty_bytes, 0u);
  // It works again when enough servers do.
  storage_.Restart(tail);
  const int64_t generation = BlockOf(file, 0).generation;
  ASSERT_TRUE(fs_->Write(file, 0, "c").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadFromAnotherMount(file), "caaaaaaa");
  EXPECT_GT(BlockOf(file, 0).generation, generation)
      << "frames of the write that was given up may still come";
  ASSERT_TRUE(fs_->Sync(later, false).ok());
}

TEST_F(FileFailureTest, AFullServerIsReplacedByOneWithRoom) {
  const OpenFilePtr file = Create("f");
  storage_.SetFull(ServerId(1), true);
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_THAT(BlockOf(file, 0).chain, testing::Not(testing::Contains(1)));
}

TEST_F(FileFailureTest, AFullClusterIsEnospcOnceItIsKnown) {
  const OpenFilePtr file = Create("f");
  for (const ReplicaAddress& replica : storage_.replicas()) {
    storage_.SetFull(replica.server, true);
  }
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  EXPECT_EQ(fs_->Flush(file).code(), StatusCode::kNoSpace);
  for (const ReplicaAddress& replica : storage_.replicas()) {
    storage_.SetFull(replica.server, false);
    metaserver_.SetServerFull(replica.server, true);
  }
  const OpenFilePtr second = Create("g");
  EXPECT_EQ(fs_->Write(second, 0, std::string(kBlockSize, 'x')).code(), StatusCode::kNoSpace);
  EXPECT_TRUE(fs_->Flush(second).ok()) << "it was told already";
  EXPECT_EQ(fs_->GetAttributes(fs_->InodeOf(second))->size_bytes, 0);
  for (const ReplicaAddress& replica : storage_.replicas()) {
    metaserver_.SetServerFull(replica.server, false);
  }
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadFromAnotherMount(file), "data");
}

TEST_F(FileFailureTest, ACommitThatTheMetaserverMissesIsMadeUpLater) {
  FileSystemOptions options = Options();
  options.metadata_deadline = milliseconds(100);
  Mount(options);
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  metaserver_.FailNext("CommitWrite", StatusCode::kUnavailable, 1'000'000);
  EXPECT_FALSE(fs_->Flush(file).ok());
  metaserver_.FailNext("CommitWrite", StatusCode::kOk, 0);
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadFromAnotherMount(file), "data");
}

TEST_F(FileFailureTest, WhatCouldNotBeCommittedIsCutOffWithTheRest) {
  FileSystemOptions options = Options();
  options.metadata_deadline = milliseconds(100);
  Mount(options);
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "0123456789").ok());
  FlushWithoutCommit(file);
  // The truncation's own commit of what was written before fails too.
  metaserver_.FailNext("CommitWrite", StatusCode::kUnavailable, 1'000'000);
  AttributeChange change;
  change.size_bytes = 0;
  ASSERT_TRUE(fs_->SetAttributes(fs_->InodeOf(file), change).ok());
  metaserver_.FailNext("CommitWrite", StatusCode::kOk, 0);
  EXPECT_EQ(fs_->GetAttributes(fs_->InodeOf(file))->size_bytes, 0);
  EXPECT_FALSE(fs_->Write(file, 0, "x").ok()) << "it hears of the commit that failed, once";
  ASSERT_TRUE(fs_->Write(file, 0, "x").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadFromAnotherMount(file), "x");
}

TEST_F(FileFailureTest, ALostSessionDoesNotLoseWhatWasWrittenButNotCommitted) {
  const OpenFilePtr file = Create("f");
  const std::string data = RandomBytes(2 * kBlockSize + 100, 8);
  ASSERT_TRUE(fs_->Write(file, 0, data).ok());
  metaserver_.LoseSessions();
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadFromAnotherMount(file), data);
}

TEST_F(FileFailureTest, UnmountingEndsAlsoWithoutACluster) {
  FileSystemOptions options = Options();
  options.hard = true;
  options.data_deadline = milliseconds(50);
  Mount(options);
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  metaserver_.FailNext("AllocateBlock", StatusCode::kUnavailable, 1'000'000);
  EXPECT_EQ(fs_->Unmount().code(), StatusCode::kCancelled);
  EXPECT_EQ(fs_->counters().dirty_bytes, 0u);
}

TEST_F(FileFailureTest, AWriteBeyondTheLargestFileFailsAtOnce) {
  const OpenFilePtr file = Create("f");
  EXPECT_EQ(fs_->Write(file, uint64_t{1} << 50, "x").code(), StatusCode::kFileTooLarge);
  EXPECT_EQ(fs_->Write(file, UINT64_MAX, "x").code(), StatusCode::kFileTooLarge);
  EXPECT_TRUE(fs_->Flush(file).ok());
}

TEST_F(FileFailureTest, AnInterruptedMountStopsWaitingForItsChain) {
  FileSystemOptions options = Options();
  options.hard = true;
  options.data_deadline = milliseconds(10);
  Mount(options);
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  for (const ReplicaAddress& replica : storage_.replicas()) storage_.Stop(replica.server);
  ASSERT_TRUE(fs_->Write(file, 0, "more").ok());
  std::thread interrupt([&] {
    metaserver_.AwaitCalls("RecoverBlock", 3);
    fs_->Interrupt();
  });
  EXPECT_EQ(fs_->Flush(file).code(), StatusCode::kCancelled);
  interrupt.join();
}

}  // namespace
}  // namespace tercet
