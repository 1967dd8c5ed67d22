// Names, attributes and sessions: retries, the active, exactly once, the deletion protocol.
#include <linux/fs.h>
#include <sys/xattr.h>

#include <thread>

#include "metaserver/ops/mutations.h"
#include "tests/fuse_client/core/client_fixture.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

using MetadataTest = ClientTest;

TEST_F(MetadataTest, NamesAndAttributesWork) {
  Mount();
  const InodeId root = fs_->root();
  auto directory = fs_->MakeDirectory(root, "d", 0755, 1, 2);
  ASSERT_TRUE(directory.ok());
  const InodeId d(static_cast<uint64_t>(directory->inode));
  auto link = fs_->MakeSymlink(d, "s", "../target", 1, 2);
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(*fs_->ReadLink(InodeId(static_cast<uint64_t>(link->inode))), "../target");
  auto fifo = fs_->MakeNode(d, "f", wire::FileType::FIFO, 0600, 0, 1, 2);
  ASSERT_TRUE(fifo.ok());
  EXPECT_EQ(fs_->Link(InodeId(static_cast<uint64_t>(fifo->inode)), root, "g")->nlink, 2);
  EXPECT_EQ(fs_->Lookup(root, "g")->inode, fifo->inode);
  ASSERT_TRUE(fs_->Rename(root, "g", d, "h", RENAME_NOREPLACE).ok());
  EXPECT_EQ(fs_->Rename(d, "h", d, "f", RENAME_NOREPLACE).code(), StatusCode::kExists);
  EXPECT_EQ(fs_->Rename(d, "h", d, "f", 1u << 20).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(fs_->RemoveDirectory(root, "d").code(), StatusCode::kNotEmpty);
  for (const char* name : {"s", "f", "h"}) EXPECT_TRUE(fs_->Unlink(d, name).ok()) << name;
  EXPECT_TRUE(fs_->RemoveDirectory(root, "d").ok());
  EXPECT_EQ(fs_->Lookup(root, "d").code(), StatusCode::kNotFound);
  AttributeChange change;
  change.mode = 0700;
  change.mtime_ns = 123'456'789;
  EXPECT_EQ(fs_->SetAttributes(root, change)->mtime_ns, 123'456'789);
  EXPECT_EQ(fs_->GetAttributes(root)->mode, 0700);
  EXPECT_EQ(fs_->StatFileSystem()->available_bytes, 400'000u);
}

TEST_F(MetadataTest, ReadOnlyMountsRefuseMutations) {
  FileSystemOptions options = Options();
  options.read_only = true;
  Mount(options);
  EXPECT_EQ(fs_->MakeDirectory(fs_->root(), "d", 0755, 1, 2).code(), StatusCode::kReadOnly);
  EXPECT_EQ(fs_->Create(fs_->root(), "f", 0644, 1, 1, O_RDWR).code(), StatusCode::kReadOnly);
  EXPECT_EQ(fs_->SetAttributes(fs_->root(), {}).code(), StatusCode::kReadOnly);
  EXPECT_EQ(metaserver_.calls("MakeNode") + metaserver_.calls("CreateFile"), 0);
}

TEST_F(MetadataTest, GetxattrIsAnsweredFromAttributesThatSayThereIsNone) {
  Mount();
  const InodeId inode = fs_->InodeOf(Create("f"));
  const uint64_t calls = fs_->counters().metadata_calls;
  EXPECT_EQ(fs_->GetXattr(inode, "security.capability").code(), StatusCode::kNoAttribute);
  EXPECT_EQ(fs_->counters().metadata_calls, calls);
  ASSERT_TRUE(fs_->SetXattr(inode, "user.a", "value", XATTR_CREATE).ok());
  EXPECT_EQ(*fs_->GetXattr(inode, "user.a"), "value");
  EXPECT_EQ(fs_->SetXattr(inode, "user.a", "v", XATTR_CREATE).code(), StatusCode::kExists);
  EXPECT_THAT(*fs_->ListXattr(inode), testing::ElementsAre("user.a"));
  ASSERT_TRUE(fs_->RemoveXattr(inode, "user.a").ok());
  EXPECT_EQ(fs_->GetXattr(inode, "user.a").code(), StatusCode::kNoAttribute);
}

TEST_F(MetadataTest, AMutationWhoseReplyIsLostHappensOnce) {
  FileSystemOptions options = Options();
  options.call_timeout = milliseconds(200);
  Mount(options);
  metaserver_.StallReplies("CreateFile", 2);
  auto created = fs_->Create(fs_->root(), "f", 0644, 1, 1, O_RDWR | O_EXCL);
  ASSERT_TRUE(created.ok()) << created.status().ToString();
  EXPECT_TRUE(created->created);
  EXPECT_EQ(metaserver_.evaluated("CreateFile"), 1);
  const auto contexts = metaserver_.contexts("CreateFile");
  ASSERT_EQ(contexts.size(), 3u);
  for (const auto& context : contexts) {
    EXPECT_EQ(context.slot, contexts[0].slot);
    EXPECT_EQ(context.sequence, contexts[0].sequence);
  }
  metaserver_.ResumeReplies();
  // The next one has a higher number, wherever it goes.
  ASSERT_TRUE(fs_->Unlink(fs_->root(), "f").ok());
  EXPECT_GT(metaserver_.contexts("Unlink")[0].sequence, contexts[0].sequence);
}

TEST_F(MetadataTest, ConcurrentMutationsStayWithinTheSlots) {
  Mount();
  std::vector<std::thread> threads;
  for (int t = 0; t < 32; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const std::string name = std::to_string(t) + "-" + std::to_string(i);
        EXPECT_TRUE(fs_->MakeDirectory(fs_->root(), name, 0755, 1, 1).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(metaserver_.evaluated("MakeNode"), 320);
  EXPECT_EQ(metaserver_.calls("MakeNode"), 320);
}

TEST_F(MetadataTest, GoesOnAfterARestartOfTheMetaserver) {
  Mount();
  ASSERT_TRUE(fs_->MakeDirectory(fs_->root(), "a", 0755, 1, 1).ok());
  metaserver_.Stop();
  std::thread caller([&] { EXPECT_TRUE(fs_->MakeDirectory(fs_->root(), "b", 0755, 1, 1).ok()); });
  metaserver_.Restart();
  caller.join();
  EXPECT_TRUE(fs_->Lookup(fs_->root(), "b").ok());
}

TEST_F(MetadataTest, FollowsTheHintToTheActive) {
  FakeMetaserver standby;
  standby.PointTo(metaserver_.address().ToString());
  FileSystemOptions options = Options();
  options.metaservers = {standby.address()};
  Mount(options);
  EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kNotFound);
  EXPECT_EQ(standby.calls("Lookup"), 0);
  EXPECT_EQ(metaserver_.calls("Lookup"), 1);
}

TEST_F(MetadataTest, TriesTheOthersWhenOneIsDead) {
  FakeMetaserver dead;
  FileSystemOptions options = Options();
  options.metaservers = {dead.address(), metaserver_.address()};
  dead.Stop();
  Mount(options);
  EXPECT_TRUE(fs_->GetAttributes(fs_->root()).ok());
}

TEST_F(MetadataTest, RetriesWhatIsUnavailableAndGivesUpInTheEnd) {
  FileSystemOptions options = Options();
  options.metadata_deadline = milliseconds(300);
  Mount(options);
  metaserver_.FailNext("Lookup", StatusCode::kUnavailable, 3);
  EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kNotFound);
  EXPECT_EQ(metaserver_.calls("Lookup"), 4);
  metaserver_.FailNext("Lookup", StatusCode::kUnavailable, 1'000'000);
  EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kUnavailable);
  metaserver_.FailNext("Lookup", StatusCode::kOk, 0);
}

TEST_F(MetadataTest, AHardMountWaitsUntilItIsInterrupted) {
  FileSystemOptions options = Options();
  options.hard = true;
  options.metadata_deadline = milliseconds(20);
  Mount(options);
  metaserver_.FailNext("Lookup", StatusCode::kUnavailable, 1'000'000);
  std::thread caller(
      [&] { EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kCancelled); });
  metaserver_.AwaitCalls("Lookup", 8);
  fs_->Interrupt();
  caller.join();
}

TEST_F(MetadataTest, MountingFailsWithoutMetaservers) {
  FileSystemOptions options = Options();
  options.metaservers.clear();
  EXPECT_EQ(FileSystem::Mount(options).code(), StatusCode::kInvalidArgument);
  metaserver_.Stop();
  options = Options();
  options.metadata_deadline = milliseconds(50);
  options.hard = true;
  EXPECT_EQ(FileSystem::Mount(options).code(), StatusCode::kUnavailable);
}

TEST_F(MetadataTest, UnmountClosesTheSessionAndEndsCalls) {
  Mount();
  EXPECT_EQ(metaserver_.open_sessions(), 1);
  EXPECT_TRUE(fs_->Unmount().ok());
  EXPECT_EQ(metaserver_.open_sessions(), 0);
  EXPECT_EQ(fs_->Lookup(fs_->root(), "x").code(), StatusCode::kCancelled);
}

class SessionTest : public ClientTest {
 protected:
  SessionTest() : ClientTest({.ttl_ms = 120}) {}  // renewed each 20 ms
};

TEST_F(SessionTest, IsRenewedAllTheTime) {
  Mount();
  metaserver_.AwaitCalls("RenewSession", 3);
}

TEST_F(SessionTest, ALostSessionIsReplacedAndMutationsGoOn) {
  Mount();
  metaserver_.LoseSessions();
  EXPECT_TRUE(fs_->MakeDirectory(fs_->root(), "a", 0755, 1, 1).ok());
  metaserver_.LoseSessions();
  metaserver_.AwaitCalls("OpenSession", 3);
  EXPECT_TRUE(fs_->MakeDirectory(fs_->root(), "b", 0755, 1, 1).ok());
}

TEST_F(SessionTest, AFileThatNobodyHereHoldsOpenIsReleasedAtOnce) {
  Mount();
  OpenFilePtr file = Create("f");
  const InodeId inode = fs_->InodeOf(file);
  fs_->Release(file);
  ASSERT_TRUE(fs_->Unlink(fs_->root(), "f").ok());
  metaserver_.Condemn(static_cast<int64_t>(inode.value()));
  metaserver_.AwaitReleased(static_cast<int64_t>(inode.value()));
  EXPECT_EQ(fs_->Open(inode, O_RDONLY).code(), StatusCode::kStaleHandle);
  EXPECT_EQ(metaserver_.calls("OpenFile"), 0);
}

TEST_F(SessionTest, ACondemnedFileLivesOnUntilItsLastHandleIsReleased) {
  Mount();
  OpenFilePtr file = Create("f");
  const InodeId inode = fs_->InodeOf(file);
  ASSERT_TRUE(fs_->Unlink(fs_->root(), "f").ok());
  metaserver_.Condemn(static_cast<int64_t>(inode.value()));
  metaserver_.AwaitCalls("RenewSession", metaserver_.calls("RenewSession") + 3);
  EXPECT_TRUE(metaserver_.released().empty());
  ASSERT_TRUE(fs_->Write(file, 0, "still there").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  EXPECT_EQ(ReadAll(*fs_, file, 0, 100), "still there");
  EXPECT_TRUE(fs_->Open(inode, O_RDONLY).ok());
  fs_->Release(file);
  metaserver_.AwaitReleased(static_cast<int64_t>(inode.value()));
  EXPECT_EQ(fs_->Open(inode, O_RDONLY).code(), StatusCode::kStaleHandle);
}

TEST_F(SessionTest, AnOpenFileWithoutANameIsStaleOnceItIsReclaimed) {
  Mount();
  OpenFilePtr file = Create("f");
  ASSERT_TRUE(fs_->Write(file, 0, "data").ok());
  ASSERT_TRUE(fs_->Flush(file).ok());
  ASSERT_TRUE(fs_->Unlink(fs_->root(), "f").ok());
  metaserver_.Reclaim(static_cast<int64_t>(fs_->InodeOf(file).value()));
  for (const ReplicaAddress& replica : storage_.replicas()) {
    storage_.Remove(replica.server, BlockId(1));
  }
  std::string out(4, 'x');
  EXPECT_EQ(fs_->Read(file, 0, out).code(), StatusCode::kStaleHandle);
  ASSERT_TRUE(fs_->Write(file, 0, "more").ok());
  EXPECT_EQ(fs_->Flush(file).code(), StatusCode::kStaleHandle);
}

}  // namespace
}  // namespace tercet
