#include "metaserver/service/proposer.h"

#include <thread>

#include "tests/metaserver/service/service_fixture.h"

namespace tercet {
namespace {

using ProposerTest = ServiceTest;

TEST_F(ProposerTest, ARetryGetsTheFirstAnswerAndChangesNothing) {
  const int64_t session = OpenSession();
  const auto request = CreateRequest(session, "a");
  const auto first = Create(request);
  ASSERT_EQ(first.info.status.code, 0);
  EXPECT_TRUE(first.created);
  const uint64_t records = consensus_->appended();
  const auto second = Create(request);
  EXPECT_EQ(second.info.status.code, 0);
  EXPECT_EQ(second.attributes, first.attributes);
  EXPECT_EQ(second.created, first.created);
  EXPECT_EQ(consensus_->appended(), records);
}

TEST_F(ProposerTest, ARetryAfterARestartGetsTheFirstAnswer) {
  const int64_t session = OpenSession();
  const auto request = CreateRequest(session, "a");
  const auto first = Create(request);
  Restart();
  const auto second = Create(request);
  EXPECT_EQ(second.info.status.code, 0) << second.info.status.message;
  EXPECT_EQ(second.attributes, first.attributes);
  // Without the stored reply it would have been EXISTS.
  auto fresh = request;
  fresh.context = Context(session);
  EXPECT_EQ(Create(fresh).info.status.code, Code(StatusCode::kExists));
}

TEST_F(ProposerTest, AnUnlinkIsDoneOnceOverARestart) {
  const int64_t session = OpenSession();
  CreateOk(session, "a");
  wire::UnlinkRequest request;
  request.context = Context(session);
  request.parent = 1;
  request.name = "a";
  wire::UnlinkResponse response;
  metadata_->Unlink(response, request);
  ASSERT_EQ(response.info.status.code, 0);
  const int64_t again = CreateOk(session, "a");
  // The new file came through the same slot, so the duplicate is stale and must not remove it.
  metadata_->Unlink(response, request);
  EXPECT_EQ(response.info.status.code, Code(StatusCode::kInvalidArgument));
  Restart();
  metadata_->Unlink(response, request);
  EXPECT_EQ(response.info.status.code, Code(StatusCode::kInvalidArgument));
  EXPECT_TRUE(tables().FindInode(InodeId(again))->has_value());
}

TEST_F(ProposerTest, ALateDuplicateOfAFailedRequestStaysFailed) {
  const int64_t session = OpenSession();
  CreateOk(session, "a");
  const auto failing = CreateRequest(session, "a");
  EXPECT_EQ(Create(failing).info.status.code, Code(StatusCode::kExists));
  // Through another slot the name is freed; the duplicate must not take it.
  wire::UnlinkRequest unlink;
  unlink.context = Context(session, 1);
  unlink.parent = 1;
  unlink.name = "a";
  wire::UnlinkResponse unlinked;
  metadata_->Unlink(unlinked, unlink);
  ASSERT_EQ(unlinked.info.status.code, 0);
  EXPECT_EQ(Create(failing).info.status.code, Code(StatusCode::kExists));
  EXPECT_EQ(LookupCode("a"), Code(StatusCode::kNotFound));
}

TEST_F(ProposerTest, ALateDuplicateOfAFailedRequestStaysFailedOverARestart) {
  const int64_t session = OpenSession();
  CreateOk(session, "a");
  auto failing = CreateRequest(session, "a");
  failing.context.slot = 2;
  const auto refusal = Create(failing);
  EXPECT_EQ(refusal.info.status.code, Code(StatusCode::kExists));
  wire::UnlinkRequest unlink;
  unlink.context = Context(session, 1);
  unlink.parent = 1;
  unlink.name = "a";
  wire::UnlinkResponse unlinked;
  metadata_->Unlink(unlinked, unlink);
  ASSERT_EQ(unlinked.info.status.code, 0);
  Restart();
  const auto late = Create(failing);
  EXPECT_EQ(late.info.status.code, Code(StatusCode::kExists));
  EXPECT_EQ(late.info.status.message, refusal.info.status.message);
  EXPECT_EQ(LookupCode("a"), Code(StatusCode::kNotFound));
}

TEST_F(ProposerTest, ATransientFailureMayBeTriedAgainWithTheSameSequence) {
  const int64_t session = OpenSession();
  const int64_t inode = CreateOk(session, "a");
  wire::AllocateBlockRequest request;
  request.context = Context(session);
  request.inode = inode;
  wire::AllocateBlockResponse response;
  metadata_->AllocateBlock(response, request);
  EXPECT_EQ(response.info.status.code, Code(StatusCode::kUnavailable));
  RegisterOk(1);
  RegisterOk(2);
  metadata_->AllocateBlock(response, request);
  EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
}

TEST_F(ProposerTest, StrangeSlotsSequencesAndSessionsAreRefused) {
  const int64_t session = OpenSession();
  auto request = CreateRequest(session, "a");
  request.context.slot = 64;
  EXPECT_EQ(Create(request).info.status.code, Code(StatusCode::kInvalidArgument));
  request.context.slot = -1;
  EXPECT_EQ(Create(request).info.status.code, Code(StatusCode::kInvalidArgument));
  request.context.slot = 63;
  request.context.sequence = 0;
  EXPECT_EQ(Create(request).info.status.code, Code(StatusCode::kInvalidArgument));
  request.context.sequence = 1;
  request.context.session_id = session + 1;
  EXPECT_EQ(Create(request).info.status.code, Code(StatusCode::kStaleHandle));
  request.context.session_id = 0;
  EXPECT_EQ(Create(request).info.status.code, Code(StatusCode::kStaleHandle));
  EXPECT_EQ(LookupCode("a"), Code(StatusCode::kNotFound));
}

TEST_F(ProposerTest, ASecondSlotIsIndependent) {
  const int64_t session = OpenSession();
  auto high = CreateRequest(session, "a");
  high.context.slot = 5;
  high.context.sequence = 100;
  EXPECT_EQ(Create(high).info.status.code, 0);
  auto low = CreateRequest(session, "b");
  low.context.slot = 6;
  low.context.sequence = 3;
  EXPECT_EQ(Create(low).info.status.code, 0);
}

TEST_F(ProposerTest, ReadsSeeNothingThatIsNotCommitted) {
  const int64_t session = OpenSession();
  consensus_->Hold();
  std::thread writer([&] { CreateOk(session, "a"); });
  consensus_->AwaitWaiters(1);
  EXPECT_EQ(LookupCode("a"), Code(StatusCode::kNotFound));
  consensus_->Release();
  writer.join();
  EXPECT_EQ(LookupCode("a"), 0);
}

TEST_F(ProposerTest, ARefusalWaitsForWhatItSaw) {
  const int64_t session = OpenSession();
  consensus_->Hold();
  const auto first = CreateRequest(session, "a");
  auto second = CreateRequest(session, "a");
  second.context.slot = 1;
  std::atomic<bool> refused{false};
  std::thread writer([&] { EXPECT_EQ(Create(first).info.status.code, 0); });
  consensus_->AwaitWaiters(1);
  std::thread loser([&] {
    EXPECT_EQ(Create(second).info.status.code, Code(StatusCode::kExists));
    refused = true;
  });
  // It waits as well: the EXISTS came from a record that may still be lost.
  consensus_->AwaitWaiters(2);
  EXPECT_FALSE(refused);
  consensus_->Release();
  writer.join();
  loser.join();
}

TEST_F(ProposerTest, LostRecordsAreForgottenAndMayBeDoneAgain) {
  const int64_t session = OpenSession();
  consensus_->Hold();
  const auto request = CreateRequest(session, "a");
  std::thread writer([&] {
    const auto response = Create(request);
    EXPECT_EQ(response.info.status.code, Code(StatusCode::kNotActive));
    EXPECT_EQ(response.info.active_hint, "other:9400");
  });
  consensus_->AwaitWaiters(1);
  consensus_->Depose();
  writer.join();
  EXPECT_EQ(LookupCode("a"), Code(StatusCode::kNotActive));
  EXPECT_EQ(Create(request).info.status.code, Code(StatusCode::kNotActive));

  consensus_->Release();
  ASSERT_TRUE(services_->BecomeActive(consensus_->Elect()).ok());
  EXPECT_EQ(LookupCode("a"), Code(StatusCode::kNotFound));
  const auto response = Create(request);
  EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
  EXPECT_TRUE(response.created);
}

TEST_F(ProposerTest, AJournalWithoutRoomRefusesAndNothingIsSeen) {
  const int64_t session = OpenSession();
  consensus_->FailAppends(Status(StatusCode::kNoSpace, "journal is full"));
  const auto request = CreateRequest(session, "a");
  EXPECT_EQ(Create(request).info.status.code, Code(StatusCode::kNoSpace));
  EXPECT_EQ(LookupCode("a"), Code(StatusCode::kNotFound));
  consensus_->FailAppends(Status::Ok());
  EXPECT_EQ(Create(request).info.status.code, 0);
}

TEST_F(ProposerTest, AFailingJournalDiskIsUnavailabilityForTheClient) {
  const int64_t session = OpenSession();
  consensus_->FailWaits(Status(StatusCode::kIo, "disk failed"));
  const auto request = CreateRequest(session, "a");
  EXPECT_EQ(Create(request).info.status.code, Code(StatusCode::kUnavailable));
}

TEST_F(ProposerTest, TimeDoesNotGoBackWithTheWallClock) {
  const int64_t session = OpenSession();
  const auto before = Create(CreateRequest(session, "a"));
  clock_.JumpWall(-std::chrono::hours(1));
  const auto after = Create(CreateRequest(session, "b"));
  EXPECT_GE(after.attributes.ctime_ns, before.attributes.ctime_ns);
}

TEST_F(ProposerTest, RepliesCarryIndexesAndEpoch) {
  const int64_t session = OpenSession();
  const auto response = Create(CreateRequest(session, "a"));
  EXPECT_EQ(response.info.journal_index, static_cast<int64_t>(database_->applied_index().value()));
  EXPECT_EQ(response.info.commit_index, response.info.journal_index);
  EXPECT_EQ(response.info.epoch, 1);
}

TEST_F(ProposerTest, ThreadsInOneDirectoryGetEachNameOnce) {
  constexpr int kThreads = 8;
  constexpr int kNames = 40;
  const int64_t session = OpenSession();
  std::atomic<int> created{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kNames; ++i) {
        wire::CreateFileRequest request;
        request.context.session_id = session;
        request.context.slot = t;
        request.context.sequence = i + 1;
        request.parent = 1;
        request.name = "name" + std::to_string(i);
        request.exclusive = true;
        wire::CreateFileResponse response;
        metadata_->CreateFile(response, request);
        if (response.info.status.code == 0) {
          ++created;
        } else {
          EXPECT_EQ(response.info.status.code, Code(StatusCode::kExists));
        }
        // Read your writes, and what made yours fail.
        EXPECT_EQ(LookupCode(request.name), 0);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(created, kNames);
  EXPECT_EQ(*tables().GetCounter(Counter::kInodeCount), 1u + kNames);
}

}  // namespace
}  // namespace tercet
