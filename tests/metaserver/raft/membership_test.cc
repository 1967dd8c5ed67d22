#include "metaserver/raft/membership.h"

#include <gtest/gtest.h>

#include "common/env/random.h"

namespace tercet {
namespace {

Membership Example() {
  Membership membership;
  membership.members = {{MemberId(1), MemberKind::kMetaserver, true, "a:1"},
                        {MemberId(3), MemberKind::kWitness, true, "w:3"},
                        {MemberId(4), MemberKind::kMetaserver, false, "bb:4"}};
  membership.next_id = MemberId(5);
  return membership;
}

TEST(MembershipTest, DecodesToWhatWasEncoded) {
  Result<Membership> decoded = Membership::Decode(Example().Encode());
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(*decoded, Example());
  Result<Membership> nobody = Membership::Decode(Membership().Encode());
  ASSERT_TRUE(nobody.ok());
  EXPECT_EQ(*nobody, Membership());
}

TEST(MembershipTest, TheEncodingIsTheOneInTheFormatDocument) {
  const unsigned char bytes[] = {0x01, 0x05, 0, 0, 0,    0x03,                          //
                                 0x01, 0,    0, 0, 0x01, 0x01, 0x03, 0x61, 0x3a, 0x31,  //
                                 0x03, 0,    0, 0, 0x02, 0x01, 0x03, 0x77, 0x3a, 0x33,  //
                                 0x04, 0,    0, 0, 0x01, 0x00, 0x04, 0x62, 0x62, 0x3a, 0x34};
  EXPECT_EQ(Example().Encode(), std::string(reinterpret_cast<const char*>(bytes), sizeof(bytes)));
}

TEST(MembershipTest, FindsMembersAndCountsVoters) {
  const Membership membership = Example();
  EXPECT_EQ(membership.Find(MemberId(3))->address, "w:3");
  EXPECT_EQ(membership.Find(MemberId(2)), nullptr);
  EXPECT_EQ(membership.FindByAddress("bb:4")->id, MemberId(4));
  EXPECT_EQ(membership.FindByAddress(""), nullptr);
  EXPECT_TRUE(membership.IsVoter(MemberId(1)));
  EXPECT_FALSE(membership.IsVoter(MemberId(4)));
  EXPECT_FALSE(membership.IsVoter(MemberId(9)));
  EXPECT_EQ(membership.voter_count(), 2u);
  EXPECT_EQ(membership.quorum(), 2u);
}

TEST(MembershipTest, EveryCutAndEveryAdditionIsCorruption) {
  const std::string bytes = Example().Encode();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(Membership::Decode(bytes.substr(0, size)).code(), StatusCode::kCorruption) << size;
  }
  EXPECT_EQ(Membership::Decode(bytes + '\0').code(), StatusCode::kCorruption);
}

TEST(MembershipTest, ANewerVersionIsRefusedAsSuch) {
  std::string bytes = Example().Encode();
  bytes[0] = 2;
  EXPECT_EQ(Membership::Decode(bytes).code(), StatusCode::kVersionTooNew);
  bytes[0] = 0;
  EXPECT_EQ(Membership::Decode(bytes).code(), StatusCode::kCorruption);
}

TEST(MembershipTest, RefusesWhatNoMembershipCanBe) {
  const auto refused = [](const Membership& membership) {
    EXPECT_EQ(membership.Validate().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(Membership::Decode(membership.Encode()).code(), StatusCode::kCorruption);
  };
  Membership order = Example();
  std::swap(order.members[0], order.members[1]);
  refused(order);
  Membership twice = Example();
  twice.members[1].id = MemberId(1);
  refused(twice);
  Membership nobody = Example();
  nobody.members[0].id = MemberId(0);
  refused(nobody);
  Membership future = Example();
  future.next_id = MemberId(4);
  refused(future);
  Membership kind = Example();
  kind.members[0].kind = static_cast<MemberKind>(7);
  refused(kind);
  Membership address = Example();
  address.members[0].address.assign(Membership::kMaxAddressBytes + 1, 'a');
  refused(address);
  Membership crowd;
  for (uint32_t id = 1; id <= Membership::kMaxMembers + 1; ++id) {
    crowd.members.push_back({MemberId(id), MemberKind::kWitness, false, ""});
  }
  crowd.next_id = MemberId(100);
  refused(crowd);
}

TEST(MembershipTest, WhateverFlippedBytesSayIsRefusedOrAValidMembership) {
  const std::string bytes = Example().Encode();
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(value);
      Result<Membership> decoded = Membership::Decode(changed);
      if (!decoded.ok()) continue;
      EXPECT_TRUE(decoded->Validate().ok());
      EXPECT_EQ(decoded->Encode(), changed);
    }
  }
}

TEST(MembershipTest, RandomBytesAreRefusedOrAValidMembership) {
  SeededRandom random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = random.Bytes(random.Below(60));
    if (!bytes.empty()) bytes[0] = 1;
    if (bytes.size() > 5) bytes[5] = static_cast<char>(random.Below(4));
    Result<Membership> decoded = Membership::Decode(bytes);
    if (!decoded.ok()) continue;
    EXPECT_TRUE(decoded->Validate().ok());
  }
}

}  // namespace
}  // namespace tercet
