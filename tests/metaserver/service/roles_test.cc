// Becoming active and standby, any number of times, over a fake consensus: what is answered, what
// is kept, what is forgotten.
#include <thread>

#include "metaserver/ops/mutations.h"
#include "metaserver/service/time_source.h"
#include "tests/metaserver/service/service_fixture.h"

namespace tercet {
namespace {

class RolesTest : public ServiceTest {
 protected:
  void BecomeStandby() {
    consensus_->Depose();
    services_->BecomeStandby();
  }
  Epoch BecomeActive() {
    const Epoch epoch = consensus_->Elect();
    EXPECT_TRUE(services_->BecomeActive(epoch).ok());
    return epoch;
  }
  int32_t FindActiveCode() {
    wire::FindActiveResponse response;
    metadata_->FindActive(response, {});
    return response.info.status.code;
  }
  int32_t Allocate(int64_t session, int64_t inode, size_t replicas) {
    wire::AllocateBlockRequest request;
    request.context = Context(session);
    request.inode = inode;
    wire::AllocateBlockResponse response;
    metadata_->AllocateBlock(response, request);
    if (response.info.status.code == 0) {
      EXPECT_EQ(response.block.chain.size(), replicas);
    }
    return response.info.status.code;
  }
};

TEST_F(RolesTest, WithoutTheLeaseNothingIsAnsweredFromTheState) {
  const int64_t session = OpenSession();
  CreateOk(session, "a");
  const auto exists = CreateRequest(session, "a");
  consensus_->LoseLease();
  EXPECT_EQ(LookupCode("a"), Code(StatusCode::kNotActive));
  EXPECT_EQ(LookupCode("b"), Code(StatusCode::kNotActive));
  EXPECT_EQ(FindActiveCode(), Code(StatusCode::kNotActive));
  EXPECT_EQ(Renew(session).info.status.code, Code(StatusCode::kNotActive));
  // Refusals are answers from the state too: this one, and that there is no such session.
  EXPECT_EQ(Create(exists).info.status.code, Code(StatusCode::kNotActive));
  EXPECT_EQ(Create(CreateRequest(session + 1, "c")).info.status.code, Code(StatusCode::kNotActive));
  wire::StatFileSystemResponse space;
  metadata_->StatFileSystem(space, {});
  EXPECT_EQ(space.info.status.code, Code(StatusCode::kNotActive));
  consensus_->RegainLease();
  EXPECT_EQ(LookupCode("a"), 0);
  EXPECT_EQ(Create(exists).info.status.code, Code(StatusCode::kExists));
}

TEST_F(RolesTest, ACommittedMutationIsASuccessThoughTheLeaseIsGone) {
  const int64_t session = OpenSession();
  consensus_->LoseLease();
  const auto response = Create(CreateRequest(session, "a"));
  EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
}

TEST_F(RolesTest, TheTwoHalvesOfAMutationDoWhatTheWholeDoes) {
  const int64_t session = OpenSession();
  Proposer& proposer = services_->proposer();
  const auto request = CreateRequest(session, "a");
  auto started = proposer.StartMutation<wire::CreateFileRequest, wire::CreateFileResponse>(
      "create", EvaluateCreateFile, request);
  ASSERT_GT(started.pending.wait_for.value(), 0u);
  EXPECT_EQ(LookupCode("a"), Code(StatusCode::kNotFound));
  // A retry that comes before the first call is done waits for the same record.
  auto retried = proposer.StartMutation<wire::CreateFileRequest, wire::CreateFileResponse>(
      "create", EvaluateCreateFile, request);
  EXPECT_EQ(retried.pending.wait_for, started.pending.wait_for);
  EXPECT_TRUE(retried.pending.stored_reply.has_value());
  ASSERT_TRUE(consensus_->WaitApplied(started.pending.epoch, started.pending.wait_for).ok());
  wire::CreateFileResponse first;
  wire::CreateFileResponse second;
  proposer.FinishMutation(std::move(started), Status::Ok(), &first);
  proposer.FinishMutation(std::move(retried), Status::Ok(), &second);
  EXPECT_EQ(first.info.status.code, 0);
  EXPECT_EQ(first.attributes, second.attributes);
  // And what was lost is not told.
  auto lost = proposer.StartMutation<wire::CreateFileRequest, wire::CreateFileResponse>(
      "create", EvaluateCreateFile, CreateRequest(session, "b"));
  wire::CreateFileResponse response;
  proposer.FinishMutation(std::move(lost), Status(StatusCode::kNotActive, "deposed"), &response);
  EXPECT_EQ(response.info.status.code, Code(StatusCode::kNotActive));
  EXPECT_EQ(response.attributes.inode, 0);
}

TEST_F(RolesTest, AStandbyAnswersNothingAndForgetsTheActivation) {
  const int64_t session = OpenSession();
  CreateOk(session, "a");
  BecomeStandby();
  EXPECT_EQ(services_->sessions().count(), 0u);
  EXPECT_EQ(LookupCode("a"), Code(StatusCode::kNotActive));
  EXPECT_EQ(Renew(session).info.status.code, Code(StatusCode::kNotActive));
  EXPECT_EQ(Register(RegisterRequest(1)).info.status.code, Code(StatusCode::kNotActive));
  services_->Tick();
  BecomeActive();
  EXPECT_EQ(services_->sessions().count(), 1u);
  EXPECT_EQ(LookupCode("a"), 0);
  EXPECT_EQ(Renew(session).info.status.code, 0);
}

TEST_F(RolesTest, WhatWasDecidedUnderOneEpochIsNotDoneUnderAnother) {
  const int64_t session = OpenSession();
  const Epoch before = services_->proposer().epoch();
  BecomeStandby();
  BecomeActive();
  EXPECT_EQ(services_->proposer().EndSession(before, SessionId(session)).code(),
            StatusCode::kNotActive);
  EXPECT_TRUE(*tables().IsSessionOpen(SessionId(session)));
}

TEST_F(RolesTest, SessionsThatCouldNotRenewAreNotExpired) {
  const int64_t session = OpenSession();
  consensus_->LoseLease();
  for (int i = 0; i < 100; ++i) {
    Advance(1000);
    services_->Tick();
  }
  consensus_->RegainLease();
  Advance(1000);
  services_->Tick();
  EXPECT_EQ(Renew(session).info.status.code, 0);
  // The whole process stood still.
  Advance(3'600'000);
  services_->Tick();
  EXPECT_EQ(Renew(session).info.status.code, 0);
  // And one that really is silent goes.
  for (int i = 0; i < 62; ++i) {
    Advance(1000);
    services_->Tick();
  }
  EXPECT_EQ(Renew(session).info.status.code, Code(StatusCode::kStaleHandle));
}

TEST_F(RolesTest, ServersHeardOfAtTheStandbyAreAliveAtOnceAndOnlyThose) {
  const int64_t session = OpenSession();
  const int64_t inode = CreateOk(session, "f");
  for (int i = 1; i <= 3; ++i) RegisterOk(i, 100 + i);
  Restart();  // another metaserver: it has heard of nobody
  BecomeStandby();
  Advance(10'000);
  for (int i = 1; i <= 2; ++i) {
    const auto noted = Heartbeat(i, 100 + i);
    EXPECT_EQ(noted.info.status.code, Code(StatusCode::kNotActive));
    EXPECT_FALSE(noted.register_again);
    EXPECT_TRUE(noted.delete_replicas.empty());
  }
  // A former life of the third, and one that is not known yet.
  EXPECT_EQ(Heartbeat(3, 1).info.status.code, Code(StatusCode::kNotActive));
  EXPECT_EQ(Heartbeat(77, 1).info.status.code, Code(StatusCode::kNotActive));
  BecomeActive();
  EXPECT_EQ(services_->servers().Alive().size(), 2u);
  // It had been listening for long: there is nobody to wait for.
  EXPECT_EQ(Allocate(session, inode, 2), 0);
  // They go on without registering; the third is accepted in the incarnation that is journaled.
  EXPECT_FALSE(Heartbeat(1, 101).register_again);
  EXPECT_TRUE(Heartbeat(3, 1).register_again);
  EXPECT_FALSE(Heartbeat(3, 103).register_again);
  EXPECT_EQ(services_->servers().Alive().size(), 3u);
}

TEST_F(RolesTest, AStandbyThatHasJustStartedWaitsForTheServersItHasNotHeardOf) {
  const int64_t session = OpenSession();
  const int64_t inode = CreateOk(session, "f");
  for (int i = 1; i <= 3; ++i) RegisterOk(i, 100 + i);
  Restart();
  Heartbeat(1, 101);
  Heartbeat(2, 102);
  EXPECT_EQ(Allocate(session, inode, 0), Code(StatusCode::kUnavailable));
  Heartbeat(3, 103);
  EXPECT_EQ(Allocate(session, inode, 3), 0);
}

TEST_F(RolesTest, TimesGoOnBehindTheFloorOfTheOneBefore) {
  const int64_t session = OpenSession();
  const auto before = Create(CreateRequest(session, "a"));
  ASSERT_EQ(before.info.status.code, 0);
  const int64_t floor = *tables().GetTimeFloor();
  EXPECT_GE(floor, before.attributes.ctime_ns);
  EXPECT_LE(floor, before.attributes.ctime_ns + 1'000'000'000);
  BecomeStandby();
  clock_.JumpWall(-std::chrono::hours(1));
  BecomeActive();
  const auto after = Create(CreateRequest(session, "b"));
  EXPECT_GE(after.attributes.ctime_ns, before.attributes.ctime_ns);
  Advance(8000);
  const auto later = Create(CreateRequest(session, "c"));
  // It goes on while the wall clock is behind, and slower than that, so that it is caught up with.
  EXPECT_EQ(later.attributes.ctime_ns, after.attributes.ctime_ns + 7'000'000'000);
  EXPECT_GE(*tables().GetTimeFloor(), later.attributes.ctime_ns);
}

TEST_F(RolesTest, TheFloorIsWrittenOnceASecondAtMost) {
  const int64_t session = OpenSession();
  CreateOk(session, "a");
  const int64_t floor = *tables().GetTimeFloor();
  for (int i = 0; i < 9; ++i) {
    Advance(100);
    CreateOk(session, "b" + std::to_string(i));
    EXPECT_EQ(*tables().GetTimeFloor(), floor);
  }
  Advance(200);
  CreateOk(session, "c");
  EXPECT_GT(*tables().GetTimeFloor(), floor);
}

TEST_F(RolesTest, AllSessionsAndServersAreTakenIn) {
  constexpr int kSessions = 9'999;
  constexpr int kServers = 1'000;
  Proposer& proposer = services_->proposer();
  const Status written =
      proposer.Propose(proposer.epoch(), "many", [&](OperationContext& context) -> Status {
        MutableTables rows(context.transaction);
        for (int i = 1; i <= kSessions; ++i) {
          SessionRecord session;
          session.client_uuid = "uuid-" + std::to_string(10'000'000'000 + i);
          rows.PutSession(SessionId(i), session);
        }
        for (int i = 1; i <= kServers; ++i) {
          ServerRecord server;
          server.uuid = "uuid-" + std::to_string(20'000'000'000 + i);
          server.host = "127.0.0.1";
          server.port = static_cast<uint16_t>(i);
          rows.PutServer(ServerId(i), server);
        }
        return Status::Ok();
      });
  ASSERT_TRUE(written.ok()) << written.ToString();
  BecomeStandby();
  BecomeActive();
  EXPECT_EQ(services_->sessions().count(), static_cast<size_t>(kSessions));
  EXPECT_EQ(services_->servers().All().size(), static_cast<size_t>(kServers));
}

TEST(TimeSource, NeverGoesBackAndFollowsTheWallClockWhenThatIsAhead) {
  SimClock clock;
  TimeSource time(clock);
  const int64_t first = time.Now();
  EXPECT_EQ(first, clock.WallNanos());
  time.StartAt(first + 1'000'000'000);
  EXPECT_EQ(time.Now(), first + 1'000'000'000);
  clock.Advance(std::chrono::seconds(80));
  EXPECT_EQ(time.Now(), clock.WallNanos());
  clock.JumpWall(-std::chrono::hours(5));
  int64_t last = time.Now();
  for (int i = 0; i < 1000; ++i) {
    clock.Advance(std::chrono::nanoseconds(i % 3));
    const int64_t now = time.Now();
    EXPECT_GE(now, last);
    last = now;
  }
}

TEST_F(RolesTest, ThreadsMeetChangesOfRoleWithoutLosingOrDoublingAnything) {
  // Mutations, reads and renewals from several threads while the role comes and goes.
  const int64_t session = OpenSession();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  std::atomic<int> done{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 1; !stop; ++i) {
        wire::CreateFileRequest request;
        request.context.session_id = session;
        request.context.slot = t;
        request.context.sequence = i;
        request.parent = 1;
        request.name = std::to_string(t) + "-" + std::to_string(i);
        request.exclusive = true;
        wire::CreateFileResponse response;
        do {
          metadata_->CreateFile(response, request);
          if (stop) return;
        } while (response.info.status.code == Code(StatusCode::kNotActive));
        EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
        EXPECT_NE(Renew(session).info.status.code, Code(StatusCode::kStaleHandle));
        ++done;
      }
    });
  }
  for (int round = 0; round < 30; ++round) {
    const int seen = done;
    while (done < seen + 3) std::this_thread::yield();
    BecomeStandby();
    services_->Tick();
    BecomeActive();
  }
  stop = true;
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace tercet
