// The file that holds what a member must never forget: whole, old or new, or refused.
#include "metaserver/journal/member_state.h"

#include <gtest/gtest.h>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/env/random.h"
#include "common/env/sim_disk.h"

namespace tercet {
namespace {

constexpr char kPath[] = "/journal/member";

MemberState SomeState(uint64_t number) {
  MemberState state;
  state.group_id = 77;
  state.self = MemberId(3);
  state.kind = number % 2 == 0 ? MemberKind::kMetaserver : MemberKind::kWitness;
  state.epoch = Epoch(number);
  state.voted_for = MemberId(static_cast<uint32_t>(number % 4));
  if (number % 3 > 0) {
    state.base_membership.members = {{MemberId(1), MemberKind::kMetaserver, true, "host-a:7000"},
                                     {MemberId(3), state.kind, false, "host-b:7000"}};
    state.base_membership.next_id = MemberId(9);
    state.base_membership_index = JournalIndex(number * 10);
  }
  return state;
}

class MemberStateTest : public testing::Test {
 protected:
  MemberStateTest() { EXPECT_TRUE(disk_.MakeDirectories("/journal").ok()); }

  std::string Saved(const MemberState& state) {
    EXPECT_TRUE(SaveMemberState(disk_, kPath, state).ok());
    return ReadWholeFile(disk_, kPath, 10000).value();
  }

  Result<MemberState> LoadBytes(const std::string& bytes) {
    EXPECT_TRUE(WriteFileAtomically(disk_, kPath, bytes).ok());
    return LoadMemberState(disk_, kPath);
  }

  SimDisk disk_;
};

TEST_F(MemberStateTest, ComesBackAsItWasSaved) {
  EXPECT_EQ(LoadMemberState(disk_, kPath).code(), StatusCode::kNotFound);
  for (uint64_t number = 1; number < 13; ++number) {
    ASSERT_TRUE(SaveMemberState(disk_, kPath, SomeState(number)).ok());
    Result<MemberState> loaded = LoadMemberState(disk_, kPath);
    ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
    EXPECT_EQ(*loaded, SomeState(number));
  }
}

// A vote that was answered must be there after the power came back, and never one that was not
// written.
TEST_F(MemberStateTest, APowerCutAtEachStepLeavesTheOldOrTheNewState) {
  int old_ones = 0;
  int new_ones = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SimDisk disk;
    SeededRandom random(seed);
    ASSERT_TRUE(disk.MakeDirectories("/journal").ok());
    ASSERT_TRUE(SaveMemberState(disk, kPath, SomeState(5)).ok());
    disk.CutPowerAfter(random.Below(7));
    const bool saved = SaveMemberState(disk, kPath, SomeState(6)).ok();
    disk.Crash(random);
    Result<MemberState> loaded = LoadMemberState(disk, kPath);
    ASSERT_TRUE(loaded.ok()) << "seed " << seed << ": " << loaded.status().ToString();
    if (saved) {
      EXPECT_EQ(*loaded, SomeState(6)) << "seed " << seed;
    }
    EXPECT_TRUE(*loaded == SomeState(5) || *loaded == SomeState(6)) << "seed " << seed;
    *loaded == SomeState(5) ? ++old_ones : ++new_ones;
  }
  EXPECT_GT(old_ones, 30);
  EXPECT_GT(new_ones, 30);
}

// The process dies after the file has its name, before that is durable. The next one may act on it.
TEST_F(MemberStateTest, WhatWasLoadedStaysOverAPowerCut) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SeededRandom random(seed);
    ASSERT_TRUE(SaveMemberState(disk_, kPath, SomeState(1)).ok());
    disk_.FailSync(2);
    ASSERT_EQ(SaveMemberState(disk_, kPath, SomeState(2)).code(), StatusCode::kIo);
    disk_.KillProcess();
    Result<MemberState> loaded = LoadMemberState(disk_, kPath);
    ASSERT_TRUE(loaded.ok());
    disk_.Crash(random);
    Result<MemberState> after = LoadMemberState(disk_, kPath);
    ASSERT_TRUE(after.ok());
    ASSERT_EQ(*after, *loaded) << "seed " << seed;
  }
}

TEST_F(MemberStateTest, AFailedSyncIsTold) {
  disk_.FailSync(1);
  EXPECT_EQ(SaveMemberState(disk_, kPath, SomeState(1)).code(), StatusCode::kIo);
}

TEST_F(MemberStateTest, EveryFlippedByteAndEveryCutIsRefusedWithAdvice) {
  const std::string bytes = Saved(SomeState(4));
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    Result<MemberState> loaded = LoadBytes(flipped);
    ASSERT_FALSE(loaded.ok()) << "byte " << at;
    if (loaded.code() == StatusCode::kVersionTooNew) continue;  // the version's bytes
    EXPECT_EQ(loaded.code(), StatusCode::kCorruption) << "byte " << at;
    EXPECT_NE(loaded.status().message().find("tercet meta remove"), std::string::npos);
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(LoadBytes(bytes.substr(0, size)).code(), StatusCode::kCorruption) << size << " bytes";
  }
  EXPECT_EQ(LoadBytes(bytes + "x").code(), StatusCode::kCorruption);
}

TEST_F(MemberStateTest, ANewerFormatIsToldApart) {
  std::string bytes = Saved(SomeState(4));
  EncodeFixed32(bytes.data() + 8, 2);
  Result<MemberState> loaded = LoadBytes(bytes);
  EXPECT_EQ(loaded.code(), StatusCode::kVersionTooNew);
  EXPECT_NE(loaded.status().message().find(kPath), std::string::npos);
}

// With a right checksum, so that the fields themselves are looked at.
TEST_F(MemberStateTest, NonsenseNeverPasses) {
  SeededRandom random(7);
  const std::string bytes = Saved(SomeState(4));
  for (int round = 0; round < 3000; ++round) {
    std::string changed = bytes.substr(0, 13 + random.Below(bytes.size() - 16));
    for (uint64_t flips = 1 + random.Below(4); flips > 0; --flips) {
      changed[12 + random.Below(changed.size() - 12)] = static_cast<char>(random.Next());
    }
    PutFixed32(&changed, Crc32c(changed));
    Result<MemberState> loaded = LoadBytes(changed);
    if (!loaded.ok()) continue;
    EXPECT_NE(loaded->self, MemberId());
    EXPECT_TRUE(loaded->base_membership.Validate().ok());
    // What passed can be saved and is the same then.
    ASSERT_TRUE(SaveMemberState(disk_, kPath, *loaded).ok());
    EXPECT_EQ(*LoadMemberState(disk_, kPath), *loaded);
  }
  for (int round = 0; round < 3000; ++round) {
    (void)LoadBytes(random.Bytes(random.Below(200))).ok();
  }
}

}  // namespace
}  // namespace tercet
