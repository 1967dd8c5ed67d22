#include "metaserver/service/orphan_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/env/random.h"

namespace tercet {
namespace {

const SessionId kA{1};
const SessionId kB{2};

std::vector<InodeId> Ids(std::initializer_list<uint64_t> ids) {
  std::vector<InodeId> result;
  for (uint64_t id : ids) result.emplace_back(id);
  return result;
}

TEST(OrphanWindow, ReadyWhenEverySessionReleasedIt) {
  OrphanWindow window(10);
  window.AddSession(kA);
  window.AddSession(kB);
  ASSERT_TRUE(window.Add(InodeId(7), 0));
  EXPECT_EQ(window.Condemned(kA, 10), Ids({7}));
  window.Release(kA, Ids({7}));
  EXPECT_TRUE(window.Condemned(kA, 10).empty());
  EXPECT_TRUE(window.TakeReady(10).empty());
  window.Release(kB, Ids({7}));
  EXPECT_EQ(window.TakeReady(10), Ids({7}));
  EXPECT_TRUE(window.TakeReady(10).empty());
  window.PutBack(InodeId(7));
  EXPECT_EQ(window.TakeReady(10), Ids({7}));
  window.Remove(InodeId(7));
  EXPECT_EQ(window.size(), 0u);
}

TEST(OrphanWindow, ReleasingTwiceCountsOnce) {
  OrphanWindow window(10);
  window.AddSession(kA);
  window.AddSession(kB);
  window.Add(InodeId(7), 0);
  window.Release(kA, Ids({7, 7}));
  window.Release(kA, Ids({7}));
  EXPECT_EQ(window.ready_count(), 0u);
}

TEST(OrphanWindow, WithoutSessionsEverythingIsReady) {
  OrphanWindow window(10);
  window.Add(InodeId(7), 0);
  EXPECT_EQ(window.ready_count(), 1u);
  window.AddSession(kA);
  EXPECT_EQ(window.ready_count(), 0u);
  window.RemoveSession(kA);
  EXPECT_EQ(window.ready_count(), 1u);
}

TEST(OrphanWindow, APlaceThatIsUsedAgainHasNoReleases) {
  OrphanWindow window(1);
  window.AddSession(kA);
  window.Add(InodeId(7), 0);
  EXPECT_FALSE(window.Add(InodeId(8), 0));
  window.Release(kA, Ids({7}));
  window.Remove(InodeId(7));
  ASSERT_TRUE(window.Add(InodeId(8), 0));
  EXPECT_EQ(window.Condemned(kA, 10), Ids({8}));
  EXPECT_EQ(window.ready_count(), 0u);
}

TEST(OrphanWindow, HeldOrphansMakeRoomForOthers) {
  OrphanWindow window(2);
  window.AddSession(kA);
  window.Add(InodeId(1), 0);
  window.Add(InodeId(2), 0);
  window.Release(kA, Ids({2}));
  EXPECT_EQ(window.Rotate(50, 100), 0u);
  EXPECT_EQ(window.Rotate(100, 100), 1u);
  EXPECT_TRUE(window.Add(InodeId(3), 100));
  EXPECT_EQ(window.TakeReady(10), Ids({2}));
}

TEST(OrphanWindow, CondemnedIsBoundedAndOldestFirst) {
  OrphanWindow window(100);
  window.AddSession(kA);
  for (uint64_t id = 50; id > 0; --id) window.Add(InodeId(id), 0);
  EXPECT_EQ(window.Condemned(kA, 3), Ids({50, 49, 48}));
}

// Random operations against a model that keeps plain sets.
TEST(OrphanWindowProperty, AgreesWithTheModel) {
  SeededRandom random(11);
  constexpr size_t kCapacity = 6;
  OrphanWindow window(kCapacity);
  std::set<SessionId> sessions;
  std::map<InodeId, std::set<SessionId>> released;  // orphans in the window
  std::set<InodeId> taken;
  for (int step = 0; step < 50000; ++step) {
    const SessionId session(1 + random.Below(3));
    const InodeId orphan(1 + random.Below(10));
    switch (random.Below(7)) {
      case 0:
        window.AddSession(session);
        if (sessions.insert(session).second) {
          for (auto& [id, by] : released) by.erase(session);
        }
        break;
      case 1:
        window.RemoveSession(session);
        sessions.erase(session);
        break;
      case 2: {
        const bool fits = released.contains(orphan) || released.size() < kCapacity;
        ASSERT_EQ(window.Add(orphan, step), fits);
        if (fits) released.try_emplace(orphan);
        break;
      }
      case 3:
        window.Release(session, std::vector<InodeId>{orphan});
        if (sessions.contains(session) && released.contains(orphan)) {
          released[orphan].insert(session);
        }
        break;
      case 4:
        for (InodeId id : window.TakeReady(1)) {
          ASSERT_TRUE(released.contains(id));
          ASSERT_FALSE(taken.contains(id));
          for (SessionId s : sessions) ASSERT_TRUE(released[id].contains(s)) << step;
          taken.insert(id);
        }
        break;
      case 5:
        window.Remove(orphan);
        released.erase(orphan);
        taken.erase(orphan);
        break;
      case 6:
        window.PutBack(orphan);
        taken.erase(orphan);
        break;
    }
    size_t ready = 0;
    for (const auto& [id, by] : released) {
      const bool all = std::all_of(sessions.begin(), sessions.end(),
                                   [&by = by](SessionId s) { return by.contains(s); });
      if (all && !taken.contains(id)) ++ready;
    }
    ASSERT_EQ(window.ready_count(), ready) << step;
    ASSERT_EQ(window.size(), released.size());
    ASSERT_EQ(window.room(), kCapacity - released.size());
    if (sessions.contains(session)) {
      size_t open = 0;
      for (const auto& [id, by] : released) open += by.contains(session) ? 0 : 1;
      ASSERT_EQ(window.Condemned(session, 100).size(), open);
    }
  }
}

}  // namespace
}  // namespace tercet
