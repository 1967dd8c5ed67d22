// Writers whose chains fail: what the active makes of the block, and what becomes of the data.
#include <atomic>
#include <thread>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/mutations.h"
#include "tests/fuse_client/core/client_fixture.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

class FileRecoveryTest : public ClientTest {
 protected:
  void SetUp() override { Mount(); }
  void TearDown() override {
    for (const ReplicaAddress& replica : storage_.replicas()) storage_.Resume(replica.server);
    ClientTest::TearDown();
  }
  static ServerId ServerOf(const wire::BlockInfo& block, size_t position) {
    return ServerId(static_cast<uint32_t>(block.chain.at(position)));
  }
  static BlockId IdOf(const wire::BlockInfo& block) {
    return BlockId(static_cast<uint64_t>(block.block_id));
  }
  /// A file with this content on all replicas and their disks.
  OpenFilePtr CreateSynced(const std::string& name, const std::string& data) {
    OpenFilePtr file = Create(name);
    EXPECT_TRUE(fs_->Write(file, 0, data).ok());
    EXPECT_TRUE(fs_->Sync(file, false).ok());
    return file;
  }
  /// The block's replicas are what its chain says, with the block's generation and equal bytes.
  void ExpectEqualReplicas(const wire::BlockInfo& block) {
    std::string first;
    for (size_t i = 0; i < block.chain.size(); ++i) {
      const auto replica = storage_.Find(ServerOf(block, i), IdOf(block));
      ASSERT_NE(replica, nullptr);
      EXPECT_EQ(replica->generation.value(), static_cast<uint64_t>(block.generation));
      if (i == 0) first = replica->data;
      EXPECT_TRUE(replica->data == first) << "server " << block.chain[i];
    }
  }
  void ExpectSynced(const wire::BlockInfo& block) {
    for (size_t i = 0; i < block.chain.size(); ++i) {
      const auto replica = storage_.Find(ServerOf(block, i), IdOf(block));
      ASSERT_NE(replica, nullptr);
      EXPECT_TRUE(replica->synced) << "server " << block.chain[i];
    }
  }
  /// How often the active was told that a chain had failed so.
  int RecoveriesAfter(StatusCode failure) {
    const auto all = metaserver_.recoveries();
    return static_cast<int>(std::ranges::count_if(
        all, [&](const auto& one) { return one.failure == static_cast<int32_t>(failure); }));
  }
  Status TruncateByAnotherClient(const OpenFilePtr& file, int64_t size) {
    wire::SetAttributesRequest request;
    request.inode = static_cast<int64_t>(fs_->InodeOf(file).value());
    request.__set_size_bytes(size);
    return metaserver_.Do(&EvaluateSetAttributes, request).status();
  }
};

/// How many replicas the file's blocks need so that they may be written to.
template <int kReplicas>
Result<wire::SetAttributesResponse> Demand(OperationContext& context,
                                           const wire::SetAttributesRequest& request) {
  MutableTables tables(context.transaction);
  const InodeId inode(static_cast<uint64_t>(request.inode));
  ASSIGN_OR_RETURN(InodeRecord file, tables.GetInode(inode));
  file.replicas = file.min_replicas = kReplicas;
  tables.PutInode(inode, file);
  return wire::SetAttributesResponse();
}

TEST_F(FileRecoveryTest, ABlockWithTooFewReplicasIsReadButNotWrittenToBeforeTheActiveWasAsked) {
  const OpenFilePtr file = CreateSynced("f", "aaaaaaaa");
  wire::SetAttributesRequest request;
  request.inode = static_cast<int64_t>(fs_->InodeOf(file).value());
  ASSERT_TRUE(metaserver_.Do(&Demand<4>, request).ok());
  auto other = MountAnother(Options());
  const OpenFilePtr opened = OpenAgain(*other, file);
  EXPECT_EQ(ReadAll(*other, opened, 0, 8), "aaaaaaaa");
  EXPECT_EQ(metaserver_.recoveries().size(), 0u);
  ASSERT_TRUE(other->Write(opened, 2, "bbb").ok());
  ASSERT_TRUE(other->Sync(opened, false).ok());
  EXPECT_EQ(RecoveriesAfter(StatusCode::kOk), 1);
  EXPECT_EQ(ReadAll(*other, opened, 0, 8), "aabbbaaa");
  ASSERT_TRUE(metaserver_.Do(&Demand<3>, request).ok());
}

TEST_F(FileRecoveryTest, ACommittedBlockGoesOnWithoutTheServerThatDied) {
  for (size_t position : {0, 1, 2}) {
    Mount();  // one that knows of no failures
    const OpenFilePtr file = CreateSynced("f" + std::to_string(position), "aaaaaaaa");
    const wire::BlockInfo before = BlockOf(file, 0);
    storage_.Stop(ServerOf(before, position));
    ASSERT_TRUE(fs_->Write(file, 2, "bbb").ok());
    ASSERT_TRUE(fs_->Sync(file, false).ok());
    const wire::BlockInfo after = BlockOf(file, 0);
    EXPECT_EQ(after.block_id, before.block_id);
    EXPECT_GT(after.generation, before.generation);
    EXPECT_THAT(after.chain, testing::Not(testing::Contains(before.chain[position])));
    ExpectEqualReplicas(after);
    ExpectSynced(after);
    EXPECT_EQ(ReadFromAnotherMount(file), "aabbbaaa");
    EXPECT_EQ(ReadAll(*fs_, file, 0, 8), "aabbbaaa");
    EXPECT_EQ(fs_->counters().chain_changes, 1u);
    EXPECT_EQ(fs_->counters().chain_recoveries, 1u);
    EXPECT_EQ(fs_->TakeRecoverySeconds().size(), 1u);
    storage_.Restart(ServerOf(before, position));
  }
}

TEST_F(FileRecoveryTest, ANewBlockThatHoldsNothingIsReplaced) {
  const OpenFilePtr file = Create("f");
  storage_.Stop(ServerId(2));
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  const auto recoveries = metaserver_.recoveries();
  ASSERT_EQ(recoveries.size(), 1u);
  EXPECT_FALSE(recoveries[0].has_data);
  const wire::BlockInfo block = BlockOf(file, 0);
  EXPECT_NE(block.block_id, recoveries[0].block_id);
  EXPECT_EQ(block.chain.size(), 3u) << "it was chosen anew";
  EXPECT_THAT(block.chain, testing::Not(testing::Contains(2)));
  EXPECT_EQ(ReadFromAnotherMount(file), "data");
}

TEST_F(FileRecoveryTest, ServersThatMayHaveLostANewBlockAreGivenAnother) {
  const BlockId last = IdOf(BlockOf(CreateSynced("f", "aaaa"), 0));
  // As if all registered again between the time the next block is given out and its first write.
  for (const ReplicaAddress& replica : storage_.replicas()) {
    storage_.RaiseCreateFloor(replica.server, BlockId(last.value() + 2));
  }
  const OpenFilePtr file = Create("g");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  const auto recoveries = metaserver_.recoveries();
  ASSERT_EQ(recoveries.size(), 1u);
  EXPECT_EQ(recoveries[0].failure, static_cast<int32_t>(StatusCode::kNotFound));
  EXPECT_THAT(recoveries[0].failed_servers, testing::IsEmpty()) << "they are as good as others";
  EXPECT_THAT(recoveries[0].exclude_servers, testing::IsEmpty());
  const wire::BlockInfo block = BlockOf(file, 0);
  EXPECT_EQ(IdOf(block), BlockId(last.value() + 2));
  EXPECT_EQ(block.chain.size(), 3u);
  ExpectEqualReplicas(block);
  EXPECT_EQ(ReadFromAnotherMount(file), "data");
}

TEST_F(FileRecoveryTest, ALateWriteDoesNotMakeALostReplicaAnew) {
  for (size_t position : {0, 1, 2}) {
    const OpenFilePtr file = Create("f" + std::to_string(position));
    auto other = MountAnother(Options());
    const OpenFilePtr same = OpenAgain(*other, file);
    // The first one's data is acknowledged, but not committed.
    ASSERT_TRUE(fs_->Write(file, 0, std::string(kBlockSize / 2, 'a')).ok());
    metaserver_.FailNext("CommitWrite", StatusCode::kUnavailable, 1'000'000);
    std::thread flush([&] { EXPECT_TRUE(fs_->Flush(file).ok()); });
    metaserver_.AwaitCalls("CommitWrite", metaserver_.calls("CommitWrite") + 1);
    wire::AllocateBlockRequest request;
    request.inode = static_cast<int64_t>(fs_->InodeOf(file).value());
    const auto reserved = metaserver_.Do(&EvaluateAllocateBlock, request);
    ASSERT_TRUE(reserved.ok());
    const ServerId server = ServerOf(reserved->block, position);
    storage_.Remove(server, IdOf(reserved->block));
    storage_.RaiseCreateFloor(server, IdOf(reserved->block).Next());
    // The other mount was given the block too, and knows of no data in it.
    ASSERT_TRUE(other->Write(same, kBlockSize / 2, std::string(kBlockSize / 2, 'b')).ok());
    std::thread other_flush([&] { EXPECT_TRUE(other->Flush(same).ok()); });
    metaserver_.AwaitCalls("RecoverBlock", static_cast<int>(position) + 1);
    metaserver_.FailNext("CommitWrite", StatusCode::kOk, 0);
    flush.join();
    other_flush.join();
    EXPECT_TRUE(ReadFromAnotherMount(file) ==
                std::string(kBlockSize / 2, 'a') + std::string(kBlockSize / 2, 'b'));
    ExpectEqualReplicas(BlockOf(file, 0));
  }
}

class HungServerTest : public FileRecoveryTest {
 protected:
  void SetUp() override { MountImpatiently(); }
  void MountImpatiently() {
    FileSystemOptions options = Options();
    options.data_timeout = milliseconds(800);
    options.read_timeout = milliseconds(800);
    options.data_connect_timeout = milliseconds(800);
    Mount(options);
  }
};

TEST_F(HungServerTest, WhatItStillHoldsIsVoidWhenItGoesOn) {
  for (size_t position : {0, 1, 2}) {
    MountImpatiently();  // one that knows of no failures
    const std::string old_bytes(40'000, 'a'), new_bytes(40'000, 'b'), newest(40'000, 'c');
    const OpenFilePtr file = CreateSynced("f" + std::to_string(position), old_bytes);
    const wire::BlockInfo before = BlockOf(file, 0);
    storage_.Hang(ServerOf(before, position));
    ASSERT_TRUE(fs_->Write(file, 0, new_bytes).ok());
    ASSERT_TRUE(fs_->Flush(file).ok());
    EXPECT_EQ(ReadAll(*fs_, file, 0, 40'000), new_bytes);
    ASSERT_TRUE(fs_->Write(file, 0, newest).ok());
    ASSERT_TRUE(fs_->Flush(file).ok());
    storage_.Resume(ServerOf(before, position));
    const wire::BlockInfo after = BlockOf(file, 0);
    EXPECT_THAT(after.chain, testing::Not(testing::Contains(before.chain[position])));
    ExpectEqualReplicas(after);
    EXPECT_EQ(ReadFromAnotherMount(file), newest);
  }
}

TEST_F(HungServerTest, ASequentialWriterWaitsForItOnce) {
  const std::string data = RandomBytes(12 * kBlockSize, 3);
  const OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, std::string_view(data).substr(0, 2 * kBlockSize)).ok());
  storage_.Hang(ServerId(3));
  for (size_t at = 2 * kBlockSize; at < data.size(); at += 10'000) {
    ASSERT_TRUE(fs_->Write(file, at, std::string_view(data).substr(at, 10'000)).ok());
  }
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_LE(RecoveriesAfter(StatusCode::kDeadlineExceeded), 3) << "blocks that were under way";
  EXPECT_EQ(ReadFromAnotherMount(file), data);
}

TEST_F(HungServerTest, ChainsWithItAreAskedAboutBeforeTheyAreUsed) {
  const OpenFilePtr first = CreateSynced("f", "aaaa");
  OpenFilePtr second;
  // The chooser goes round: some file's chain has the same head.
  for (int i = 0; second == nullptr; ++i) {
    OpenFilePtr file = CreateSynced("g" + std::to_string(i), "bbbb");
    if (BlockOf(file, 0).chain[0] == BlockOf(first, 0).chain[0]) second = std::move(file);
  }
  const wire::BlockInfo before = BlockOf(second, 0);
  storage_.Hang(ServerOf(before, 0));
  ASSERT_TRUE(fs_->Write(first, 0, "AA").ok());
  ASSERT_TRUE(fs_->Flush(first).ok());
  ASSERT_EQ(metaserver_.recoveries().size(), 1u);
  ASSERT_TRUE(fs_->Write(second, 0, "BB").ok());
  ASSERT_TRUE(fs_->Flush(second).ok());
  const auto recoveries = metaserver_.recoveries();
  ASSERT_EQ(recoveries.size(), 2u);
  EXPECT_EQ(recoveries[1].failure, static_cast<int32_t>(StatusCode::kOk));
  EXPECT_THAT(recoveries[1].failed_servers, testing::ElementsAre(before.chain[0]));
  EXPECT_EQ(ReadFromAnotherMount(second), "BBbb");
}

TEST_F(FileRecoveryTest, AServerThatIsBackStaysInTheChain) {
  const OpenFilePtr first = CreateSynced("f", "aaaa");
  OpenFilePtr second;
  for (int i = 0; second == nullptr; ++i) {
    OpenFilePtr file = CreateSynced("g" + std::to_string(i), "bbbb");
    if (BlockOf(file, 0).chain[0] == BlockOf(first, 0).chain[0]) second = std::move(file);
  }
  const wire::BlockInfo before = BlockOf(second, 0);
  storage_.Stop(ServerOf(before, 0));
  ASSERT_TRUE(fs_->Write(first, 0, "AA").ok());
  ASSERT_TRUE(fs_->Flush(first).ok());
  storage_.Restart(ServerOf(before, 0));
  ASSERT_TRUE(fs_->Write(second, 0, "BB").ok());
  ASSERT_TRUE(fs_->Flush(second).ok());
  EXPECT_EQ(BlockOf(second, 0).generation, before.generation);
  ASSERT_TRUE(fs_->Write(second, 0, "CC").ok());
  ASSERT_TRUE(fs_->Flush(second).ok());
  EXPECT_EQ(metaserver_.recoveries().size(), 2u) << "asked once, not with each write";
}

TEST_F(FileRecoveryTest, WritersOnTwoMountsGoOnTogether) {
  const OpenFilePtr file = CreateSynced("f", std::string(kBlockSize, '.'));
  auto other = MountAnother(Options());
  const OpenFilePtr same = OpenAgain(*other, file);
  const wire::BlockInfo before = BlockOf(file, 0);
  std::atomic<bool> stopped{false};
  const auto write = [&](FileSystem& fs, const OpenFilePtr& handle, uint64_t offset, char mark) {
    for (int i = 0; i < 40 || !stopped; ++i) {
      const std::string bytes(1'000, static_cast<char>(mark + i % 8));
      ASSERT_TRUE(fs.Write(handle, offset, bytes).ok());
      const Status synced = fs.Sync(handle, true);
      ASSERT_TRUE(synced.ok()) << synced.ToString();
    }
    ASSERT_TRUE(fs.Write(handle, offset, std::string(1'000, mark)).ok());
    ASSERT_TRUE(fs.Sync(handle, false).ok());
  };
  std::thread one([&] { write(*fs_, file, 0, 'a'); });
  std::thread two([&] { write(*other, same, 500 + 1'000, 'A'); });
  storage_.StopAfterWrites(ServerOf(before, 1), 5);
  metaserver_.AwaitCalls("RecoverBlock", 1);
  stopped = true;
  one.join();
  two.join();
  const wire::BlockInfo after = BlockOf(file, 0);
  ExpectEqualReplicas(after);
  ExpectSynced(after);
  const std::string expected = std::string(1'000, 'a') + std::string(500, '.') +
                               std::string(1'000, 'A') + std::string(kBlockSize - 2'500, '.');
  EXPECT_TRUE(ReadFromAnotherMount(file) == expected);
}

TEST_F(FileRecoveryTest, WritersOfANewBlockOnTwoMountsKeepEachOthersData) {
  const OpenFilePtr file = Create("f");
  auto other = MountAnother(Options());
  const OpenFilePtr same = OpenAgain(*other, file);
  // The first one's data is acknowledged, but not committed.
  ASSERT_TRUE(fs_->Write(file, 0, std::string(kBlockSize / 2, 'a')).ok());
  metaserver_.FailNext("CommitWrite", StatusCode::kNoSpace, 1);
  EXPECT_FALSE(fs_->Flush(file).ok());
  ASSERT_TRUE(fs_->Write(file, 0, std::string(kBlockSize / 2, 'a')).ok());
  metaserver_.FailNext("CommitWrite", StatusCode::kOk, 0);
  wire::AllocateBlockRequest request;
  request.inode = static_cast<int64_t>(fs_->InodeOf(file).value());
  const auto reserved = metaserver_.Do(&EvaluateAllocateBlock, request);
  ASSERT_TRUE(reserved.ok());
  storage_.Stop(ServerOf(reserved->block, 2));
  // The other mount has nothing acknowledged, but is not the only one that was given the block.
  ASSERT_TRUE(other->Write(same, kBlockSize / 2, std::string(kBlockSize / 2, 'b')).ok());
  ASSERT_TRUE(other->Flush(same).ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_TRUE(ReadFromAnotherMount(file) ==
              std::string(kBlockSize / 2, 'a') + std::string(kBlockSize / 2, 'b'));
  ExpectEqualReplicas(BlockOf(file, 0));
}

TEST_F(FileRecoveryTest, HandlesOfOneMountShareARecovery) {
  const OpenFilePtr file = CreateSynced("f", std::string(4 * kBlockSize, '.'));
  const wire::BlockInfo before = BlockOf(file, 1);
  std::vector<std::thread> threads;
  std::atomic<bool> stopped{false};
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const OpenFilePtr handle = OpenAgain(*fs_, file);
      for (int i = 0; i < 20 || !stopped; ++i) {
        const uint64_t at = kBlockSize - 2'000 + t * 1'000;
        ASSERT_TRUE(fs_->Write(handle, at, std::string(1'000, static_cast<char>('a' + t))).ok());
        ASSERT_TRUE((i % 2 == 0 ? fs_->Flush(handle) : fs_->Sync(handle, false)).ok());
      }
    });
  }
  storage_.StopAfterWrites(ServerOf(before, 2), 9);
  metaserver_.AwaitCalls("RecoverBlock", 1);
  stopped = true;
  for (std::thread& thread : threads) thread.join();
  std::string expected(4 * kBlockSize, '.');
  for (uint64_t t = 0; t < 4; ++t) {
    expected.replace(kBlockSize - 2'000 + t * 1'000, 1'000,
                     std::string(1'000, static_cast<char>('a' + t)));
  }
  EXPECT_TRUE(ReadFromAnotherMount(file) == expected);
  ExpectEqualReplicas(BlockOf(file, 0));
  ExpectEqualReplicas(BlockOf(file, 1));
}

TEST_F(FileRecoveryTest, ALostAnswerOfRecoverBlockCostsNothing) {
  FileSystemOptions options = Options();
  options.call_timeout = milliseconds(200);
  Mount(options);
  // Once a block with data, once one that is replaced.
  const OpenFilePtr old_file = CreateSynced("f", "aaaa");
  const OpenFilePtr new_file = Create("g");
  const wire::BlockInfo before = BlockOf(old_file, 0);
  for (const OpenFilePtr& file : {old_file, new_file}) {
    storage_.Stop(ServerOf(before, 1));
    metaserver_.StallReplies("RecoverBlock", 1);
    ASSERT_TRUE(fs_->Write(file, 1, "bb").ok());
    ASSERT_TRUE(fs_->Sync(file, false).ok());
    metaserver_.ResumeReplies();
    ExpectEqualReplicas(BlockOf(file, 0));
    storage_.Restart(ServerOf(before, 1));
  }
  EXPECT_EQ(BlockOf(old_file, 0).generation, before.generation + 1) << "changed once";
  EXPECT_EQ(ReadFromAnotherMount(old_file), "abba");
  EXPECT_EQ(ReadFromAnotherMount(new_file), std::string("\0bb", 3));
}

TEST_F(FileRecoveryTest, NothingIsSentAgainUnderTheGenerationThatFailed) {
  const OpenFilePtr file = CreateSynced("f", "aaaa");
  const wire::BlockInfo before = BlockOf(file, 0);
  storage_.StopAfterWrites(ServerOf(before, 2), 0);
  metaserver_.LeaveChainsAsTheyAre(3);
  const int writes = storage_.counts().writes;
  ASSERT_TRUE(fs_->Write(file, 0, "bb").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(metaserver_.recoveries().size(), 4u);
  // Two took the first frame, two that of the new generation.
  EXPECT_EQ(storage_.counts().writes, writes + 4);
  EXPECT_EQ(BlockOf(file, 0).generation, before.generation + 1);
  EXPECT_EQ(ReadFromAnotherMount(file), "bbaa");
}

TEST_F(FileRecoveryTest, AnActiveThatCannotRecoverYetIsAskedAgain) {
  const OpenFilePtr file = CreateSynced("f", "aaaa");
  storage_.Stop(ServerOf(BlockOf(file, 0), 0));
  metaserver_.FailNext("RecoverBlock", StatusCode::kUnavailable, 5);
  ASSERT_TRUE(fs_->Write(file, 0, "bb").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(metaserver_.calls("RecoverBlock"), 6);
  EXPECT_EQ(ReadFromAnotherMount(file), "bbaa");
}

TEST_F(FileRecoveryTest, ATruncationInMidRecoveryTakesTheBlockAway) {
  const std::string data = RandomBytes(2 * kBlockSize, 5);
  const OpenFilePtr file = CreateSynced("f", data);
  const wire::BlockInfo before = BlockOf(file, 1);
  storage_.Stop(ServerOf(before, 1));
  metaserver_.DuringNextRecovery([&] { EXPECT_TRUE(TruncateByAnotherClient(file, 100).ok()); });
  ASSERT_TRUE(fs_->Write(file, kBlockSize + 10, "bbb").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_NE(BlockOf(file, 1).block_id, before.block_id);
  std::string expected = data.substr(0, 100);
  expected.resize(kBlockSize + 10, '\0');
  expected += "bbb";
  EXPECT_TRUE(ReadFromAnotherMount(file) == expected);
}

TEST_F(FileRecoveryTest, ATruncationInMidRecoveryCutsTheBlock) {
  const OpenFilePtr file = CreateSynced("f", "0123456789abcdef");
  const wire::BlockInfo before = BlockOf(file, 0);
  storage_.Stop(ServerOf(before, 1));
  metaserver_.DuringNextRecovery([&] { EXPECT_TRUE(TruncateByAnotherClient(file, 4).ok()); });
  ASSERT_TRUE(fs_->Write(file, 8, "XX").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  const std::string expected("0123\0\0\0\0XX", 10);
  EXPECT_EQ(ReadFromAnotherMount(file), expected);
  EXPECT_EQ(BlockOf(file, 0).block_id, before.block_id);
  ExpectEqualReplicas(BlockOf(file, 0));
}

TEST_F(FileRecoveryTest, DataThatATruncationInMidRecoveryTookIsReportedAtOnce) {
  FileSystemOptions options = Options();
  options.metadata_deadline = milliseconds(100);
  Mount(options);
  const OpenFilePtr file = CreateSynced("f", std::string(kBlockSize, 'a'));
  // Acknowledged, not committed.
  ASSERT_TRUE(fs_->Write(file, kBlockSize, "bbbb").ok());
  metaserver_.FailNext("CommitWrite", StatusCode::kUnavailable, 1'000'000);
  EXPECT_FALSE(fs_->Flush(file).ok());
  metaserver_.FailNext("CommitWrite", StatusCode::kOk, 0);
  wire::AllocateBlockRequest request;
  request.inode = static_cast<int64_t>(fs_->InodeOf(file).value());
  request.block_index = 1;
  const auto reserved = metaserver_.Do(&EvaluateAllocateBlock, request);
  ASSERT_TRUE(reserved.ok());
  storage_.Stop(ServerOf(reserved->block, 1));
  metaserver_.DuringNextRecovery([&] { EXPECT_TRUE(TruncateByAnotherClient(file, 100).ok()); });
  ASSERT_TRUE(fs_->Write(file, kBlockSize + 4, "cccc").ok());
  // The replicas are sealed for a chain that never came about: nobody can read them any more.
  EXPECT_EQ(fs_->Flush(file).code(), StatusCode::kIo);
  EXPECT_TRUE(fs_->Flush(file).ok());
  ASSERT_TRUE(fs_->Write(file, 50, "dd").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadFromAnotherMount(file).substr(0, 52), std::string(50, 'a') + "dd");
}

TEST_F(FileRecoveryTest, DataIsSyncedOnlyWhenTheNewChainSaysSo) {
  const OpenFilePtr file = CreateSynced("f", "aaaaaaaa");
  const wire::BlockInfo before = BlockOf(file, 0);
  ASSERT_TRUE(fs_->Write(file, 0, "bb").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  // Acknowledged by all, synced by none; the chain fails with the SYNC frame.
  storage_.StopAfterSyncs(ServerOf(before, 1), 0);
  const int syncs = storage_.counts().syncs;
  ASSERT_TRUE(fs_->Sync(file, false).ok());
  const wire::BlockInfo after = BlockOf(file, 0);
  EXPECT_GT(after.generation, before.generation);
  EXPECT_GE(storage_.counts().syncs, syncs + 2) << "the new chain was asked";
  ExpectSynced(after);
}

TEST_F(FileRecoveryTest, ALoneSyncedWriteThatFailedIsSyncedByTheNewChain) {
  const OpenFilePtr file = CreateSynced("f", "aaaaaaaa");
  storage_.StopAfterWrites(ServerOf(BlockOf(file, 0), 2), 0);
  ASSERT_TRUE(fs_->Write(file, 0, "bb").ok());
  ASSERT_TRUE(fs_->Sync(file, true).ok());
  ExpectSynced(BlockOf(file, 0));
  EXPECT_EQ(ReadFromAnotherMount(file), "bbaaaaaa");
}

TEST_F(FileRecoveryTest, WorkingFramesKeepTheChainOfASlowServer) {
  FileSystemOptions options = Options();
  options.data_timeout = milliseconds(800);
  Mount(options);
  const OpenFilePtr file = CreateSynced("f", "aaaa");
  const ServerId head = ServerOf(BlockOf(file, 0), 0);
  storage_.SetSlow(head, true);
  std::thread disk([&] {
    storage_.AwaitWorking(100);  // 1 s at least
    storage_.SetSlow(head, false);
  });
  ASSERT_TRUE(fs_->Write(file, 0, "bb").ok());
  EXPECT_TRUE(fs_->Sync(file, false).ok());
  disk.join();
  EXPECT_EQ(metaserver_.calls("RecoverBlock"), 0);
  EXPECT_EQ(ReadFromAnotherMount(file), "bbaa");
}

TEST_F(FileRecoveryTest, AFullServerLeavesTheChainOfACommittedBlock) {
  const OpenFilePtr file = CreateSynced("f", "aaaa");
  const wire::BlockInfo before = BlockOf(file, 0);
  storage_.SetFull(ServerOf(before, 1), true);
  ASSERT_TRUE(fs_->Write(file, 0, "bb").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_THAT(BlockOf(file, 0).chain, testing::Not(testing::Contains(before.chain[1])));
  EXPECT_EQ(ReadFromAnotherMount(file), "bbaa");
}

TEST_F(FileRecoveryTest, ReadersReportADamagedReplica) {
  const OpenFilePtr file = CreateSynced("f", "aaaa");
  const wire::BlockInfo block = BlockOf(file, 0);
  storage_.Damage(ServerOf(block, 2), IdOf(block));
  EXPECT_EQ(ReadAll(*fs_, file, 0, 4), "aaaa");
  metaserver_.AwaitBadReplicas(1);
  const auto bad = metaserver_.bad_replicas();
  ASSERT_EQ(bad.size(), 1u);
  EXPECT_EQ(bad[0].block_id, block.block_id);
  EXPECT_EQ(bad[0].generation, block.generation);
  EXPECT_EQ(bad[0].server_id, block.chain[2]);
  EXPECT_EQ(bad[0].reason, wire::BadReplicaReason::DAMAGED);
}

TEST_F(FileRecoveryTest, ReadersFindTheNewChainAtOnce) {
  const OpenFilePtr file = CreateSynced("f", "aaaa");
  auto other = MountAnother(Options());
  const OpenFilePtr same = OpenAgain(*other, file, O_RDONLY);
  EXPECT_EQ(ReadAll(*other, same, 0, 4), "aaaa");
  storage_.Stop(ServerOf(BlockOf(file, 0), 2));
  ASSERT_TRUE(fs_->Write(file, 0, "bb").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  const int asked = metaserver_.calls("GetBlocks");
  EXPECT_EQ(ReadAll(*other, same, 0, 4), "bbaa");
  EXPECT_EQ(metaserver_.calls("GetBlocks"), asked + 1);
}

TEST_F(FileRecoveryTest, LocationsAreLookedUpAgainWhenTheyAreOld) {
  FileSystemOptions options = Options();
  options.location_max_age = milliseconds(0);
  Mount(options);
  const OpenFilePtr file = CreateSynced("f", "aaaa");
  const int asked = metaserver_.calls("GetBlocks");
  EXPECT_EQ(ReadAll(*fs_, file, 0, 4), "aaaa");
  EXPECT_GT(metaserver_.calls("GetBlocks"), asked);
  // An active that does not answer is not waited for: the old ones are good until a replica says
  // otherwise.
  metaserver_.StallReplies("GetBlocks", 1'000);
  EXPECT_EQ(ReadAll(*fs_, file, 0, 4), "aaaa");
  metaserver_.ResumeReplies();
}

}  // namespace
}  // namespace tercet
