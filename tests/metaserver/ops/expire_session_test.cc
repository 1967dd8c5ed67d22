#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class ExpireSessionTest : public OpsTest {
 protected:
  void PutSlots(SessionId of, uint32_t count) {
    Transaction transaction(view);
    MutableTables tables(transaction);
    for (uint32_t slot = 0; slot < count; ++slot) tables.PutSlotReply(of, slot, {7, "reply"});
    view.Apply(transaction.Take());
  }
  size_t SlotCount(SessionId of) const {
    size_t count = 0;
    EXPECT_TRUE(Tables(view)
                    .ScanSlotReplies(of,
                                     [&](uint32_t, const SlotReplyRecord&) {
                                       ++count;
                                       return true;
                                     })
                    .ok());
    return count;
  }
};

TEST_F(ExpireSessionTest, RemovesASessionWithItsReplies) {
  PutSlots(session, 5);
  auto result = ExpireSession(session);
  ASSERT_OK(result);
  EXPECT_TRUE(result->done);
  EXPECT_EQ(result->removed, 5);
  EXPECT_FALSE(Tables(view).FindSession(session)->has_value());
  EXPECT_EQ(SlotCount(session), 0u);
}

TEST_F(ExpireSessionTest, CountsAsGoneFromTheFirstBatchOn) {
  PutSlots(session, 25);
  auto result = ExpireSession(session, 10);
  ASSERT_OK(result);
  EXPECT_FALSE(result->done);
  EXPECT_EQ(SlotCount(session), 15u);
  EXPECT_FALSE(*Tables(view).IsSessionOpen(session));
  EXPECT_THAT(FindViolations(view), testing::IsEmpty());
  // The same client comes back before the rest is gone: it is a new session.
  const SessionId again = OpenSession("session-uuid-001");
  EXPECT_NE(again, session);
  PutSlots(again, 3);
  EXPECT_FALSE(ExpireSession(session, 10)->done);
  EXPECT_TRUE(ExpireSession(session, 10)->done);
  EXPECT_FALSE(Tables(view).FindSession(session)->has_value());
  EXPECT_TRUE(*Tables(view).IsSessionOpen(again));
  EXPECT_EQ(SlotCount(again), 3u);
  EXPECT_EQ(OpenSession("session-uuid-001"), again);
}

TEST_F(ExpireSessionTest, IsDoneAtOnceForAnUnknownSession) {
  auto result = ExpireSession(SessionId(99));
  ASSERT_OK(result);
  EXPECT_TRUE(result->done);
  EXPECT_TRUE(last_changes.entries.empty());
  EXPECT_CODE(kInvalidArgument, ExpireSession(session, 0));
}

}  // namespace
}  // namespace tercet
