#include "metaserver/service/sessions.h"

#include "tests/metaserver/service/service_fixture.h"

namespace tercet {
namespace {

class SessionsTest : public ServiceTest {
 protected:
  /// Runs the reclaimer until it has nothing to do; its scans come at intervals.
  void ReclaimAll() {
    for (int i = 0; i < 100; ++i) {
      auto more = services_->reclaimer().Step();
      ASSERT_TRUE(more.ok()) << more.status().ToString();
      if (!*more) Advance(100);
    }
  }
  uint64_t Orphans() { return *tables().GetCounter(Counter::kOrphanCount); }
};

TEST_F(SessionsTest, OpeningTwiceWithOneUuidIsOneSession) {
  EXPECT_EQ(OpenSession("client-uuid-0001"), OpenSession("client-uuid-0001"));
  EXPECT_NE(OpenSession("client-uuid-0001"), OpenSession("client-uuid-0002"));
  EXPECT_EQ(services_->sessions().count(), 2u);
}

TEST_F(SessionsTest, TheReplySaysWhatTheClientNeeds) {
  wire::OpenSessionRequest request;
  request.client_uuid = "client-uuid-0001";
  wire::OpenSessionResponse response;
  metadata_->OpenSession(response, request);
  EXPECT_EQ(response.cluster_id, kClusterId);
  EXPECT_EQ(response.ttl_ms, 60'000);
  EXPECT_EQ(response.slot_count, 64);
  EXPECT_EQ(response.root_inode, 1);
}

TEST_F(SessionsTest, AMalformedUuidIsRefused) {
  wire::OpenSessionRequest request;
  request.client_uuid = "short";
  wire::OpenSessionResponse response;
  metadata_->OpenSession(response, request);
  EXPECT_EQ(response.info.status.code, Code(StatusCode::kInvalidArgument));
}

TEST_F(SessionsTest, ASilentSessionExpiresAndRenewalKeepsIt) {
  const int64_t silent = OpenSession("client-uuid-0001");
  const int64_t lively = OpenSession("client-uuid-0002");
  Advance(40'000);
  EXPECT_EQ(Renew(lively).info.status.code, 0);
  Advance(30'000);
  services_->sessions().ExpireSilent();
  EXPECT_EQ(Renew(silent).info.status.code, Code(StatusCode::kStaleHandle));
  EXPECT_EQ(Renew(lively).info.status.code, 0);
  EXPECT_EQ(Create(CreateRequest(silent, "a")).info.status.code, Code(StatusCode::kStaleHandle));
  EXPECT_FALSE(tables().FindSession(SessionId(silent))->has_value());
}

TEST_F(SessionsTest, ExpiryRemovesTheSlotsAndARemountGetsANewSession) {
  const int64_t first = OpenSession();
  CreateOk(first, "a");
  Advance(60'001);
  services_->sessions().ExpireSilent();
  int rows = 0;
  ASSERT_TRUE(tables()
                  .ScanSlotReplies(SessionId(first),
                                   [&](auto, const auto&) {
                                     ++rows;
                                     return true;
                                   })
                  .ok());
  EXPECT_EQ(rows, 0);
  EXPECT_NE(OpenSession(), first);
}

TEST_F(SessionsTest, AfterARestartSessionsHaveAFullTimeToLive) {
  const int64_t session = OpenSession();
  Advance(59'000);
  Restart();
  Advance(59'000);
  services_->sessions().ExpireSilent();
  EXPECT_EQ(Create(CreateRequest(session, "a")).info.status.code, 0);
  EXPECT_EQ(Renew(session).info.status.code, 0);
}

TEST_F(SessionsTest, AnExpiryThatCannotBeJournaledIsDoneLater) {
  const int64_t session = OpenSession();
  Advance(60'001);
  consensus_->FailAppends(Status(StatusCode::kNoSpace, "full"));
  services_->sessions().ExpireSilent();
  EXPECT_EQ(Renew(session).info.status.code, Code(StatusCode::kStaleHandle));
  EXPECT_TRUE(tables().FindSession(SessionId(session))->has_value());
  consensus_->FailAppends(Status::Ok());
  services_->sessions().ExpireSilent();
  EXPECT_FALSE(tables().FindSession(SessionId(session))->has_value());
  EXPECT_EQ(services_->sessions().count(), 0u);
}

TEST_F(SessionsTest, ClosingIsIdempotentAndForgetsTheSession) {
  const int64_t session = OpenSession();
  CreateOk(session, "a");
  for (int i = 0; i < 2; ++i) {
    wire::CloseSessionRequest request;
    request.session_id = session;
    wire::CloseSessionResponse response;
    metadata_->CloseSession(response, request);
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
  }
  EXPECT_EQ(Create(CreateRequest(session, "b")).info.status.code, Code(StatusCode::kStaleHandle));
}

TEST_F(SessionsTest, AnOrphanLivesWhileASessionHoldsItOpen) {
  const int64_t a = OpenSession("client-uuid-0001");
  const int64_t b = OpenSession("client-uuid-0002");
  const int64_t inode = CreateOk(a, "f");
  ASSERT_EQ(Unlink(a, "f"), 0);
  ReclaimAll();
  EXPECT_EQ(Renew(a).condemned, std::vector<int64_t>{inode});
  EXPECT_EQ(Renew(b).condemned, std::vector<int64_t>{inode});
  Renew(a, {inode});
  ReclaimAll();
  EXPECT_EQ(Orphans(), 1u);
  wire::GetAttributesRequest request;
  request.inode = inode;
  wire::GetAttributesResponse response;
  metadata_->GetAttributes(response, request);
  EXPECT_EQ(response.info.status.code, 0);
  // It is named again until it is released.
  EXPECT_EQ(Renew(b).condemned, std::vector<int64_t>{inode});
  Renew(b, {inode});
  ReclaimAll();
  EXPECT_EQ(Orphans(), 0u);
  EXPECT_FALSE(tables().FindInode(InodeId(inode))->has_value());
}

TEST_F(SessionsTest, TheExpiryOfTheLastHolderFreesTheOrphan) {
  const int64_t a = OpenSession("client-uuid-0001");
  const int64_t holder = OpenSession("client-uuid-0002");
  const int64_t inode = CreateOk(a, "f");
  ASSERT_EQ(Unlink(a, "f"), 0);
  ReclaimAll();
  Renew(a);
  Renew(a, {inode});
  Renew(holder);
  for (int i = 0; i < 3; ++i) {
    ReclaimAll();
    EXPECT_EQ(Orphans(), 1u);
    Advance(15'000);
    Renew(a);
  }
  Advance(30'000);
  Renew(a);
  services_->sessions().ExpireSilent();
  ReclaimAll();
  EXPECT_EQ(Orphans(), 0u);
}

TEST_F(SessionsTest, ARestartForgetsReleasesAndAsksAgain) {
  const int64_t a = OpenSession("client-uuid-0001");
  const int64_t b = OpenSession("client-uuid-0002");
  const int64_t inode = CreateOk(a, "f");
  ASSERT_EQ(Unlink(a, "f"), 0);
  ReclaimAll();
  Renew(a, {inode});
  Restart();
  ReclaimAll();
  EXPECT_EQ(Renew(a).condemned, std::vector<int64_t>{inode});
  Renew(b, {inode});
  ReclaimAll();
  EXPECT_EQ(Orphans(), 1u);
  Renew(a, {inode});
  ReclaimAll();
  EXPECT_EQ(Orphans(), 0u);
}

TEST_F(SessionsTest, AFailedReclaimIsRepeated) {
  const int64_t a = OpenSession();
  const int64_t inode = CreateOk(a, "f");
  ASSERT_EQ(Unlink(a, "f"), 0);
  ReclaimAll();
  Renew(a, {inode});
  consensus_->FailAppends(Status(StatusCode::kNoSpace, "full"));
  EXPECT_FALSE(services_->reclaimer().Step().ok());
  EXPECT_EQ(Orphans(), 1u);
  consensus_->FailAppends(Status::Ok());
  ReclaimAll();
  EXPECT_EQ(Orphans(), 0u);
}

TEST_F(SessionsTest, ManyOrphansWithManyBlocksGoInBoundedRecords) {
  for (int i = 1; i <= 3; ++i) RegisterOk(i);
  const int64_t a = OpenSession();
  constexpr int kFiles = 30;
  constexpr int kBlocks = 20;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = "f" + std::to_string(i);
    WriteFile(a, CreateOk(a, name), kBlocks);
    ASSERT_EQ(Unlink(a, name), 0);
  }
  EXPECT_EQ(*tables().GetCounter(Counter::kBlockCount), uint64_t{kFiles * kBlocks});
  const uint64_t before = consensus_->appended();
  for (int i = 0; i < 20 && Orphans() > 0; ++i) {
    ReclaimAll();
    Renew(a, Renew(a).condemned);
  }
  EXPECT_EQ(Orphans(), 0u);
  EXPECT_EQ(*tables().GetCounter(Counter::kBlockCount), 0u);
  // 600 blocks at no more than 128 in a record.
  EXPECT_GE(consensus_->appended() - before, 5u);
}

}  // namespace
}  // namespace tercet
