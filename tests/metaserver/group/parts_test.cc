// The parts that need no group: conversion of messages, the tail of records, links, joining.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "common/rpc/thrift_server.h"
#include "metaserver/group/group_wire.h"
#include "metaserver/group/peer_link.h"
#include "metaserver/group/record_tail.h"
#include "metaserver/journal/node_identity.h"
#include "tests/metaserver/group/group_test_util.h"

namespace tercet {
namespace {

template <typename Body>
RaftMessage Message(Body body) {
  return {MemberId(1), MemberId(2), Epoch(5), std::move(body)};
}

template <typename Body>
Body RoundTrip(Body body) {
  const wire::GroupMessage wired = ToWire(kGroupId, Message(std::move(body)));
  EXPECT_EQ(wired.group_id, static_cast<int64_t>(kGroupId));
  Result<RaftMessage> back = FromWire(wired);
  EXPECT_TRUE(back.ok()) << back.status().ToString();
  if (!back.ok() || !std::holds_alternative<Body>(back->body)) return Body();
  EXPECT_EQ(back->from, MemberId(1));
  EXPECT_EQ(back->to, MemberId(2));
  EXPECT_EQ(back->epoch, Epoch(5));
  return std::get<Body>(back->body);
}

AppendRequest SomeRequest() {
  AppendRequest request;
  request.previous_index = JournalIndex(10);
  request.previous_epoch = Epoch(3);
  request.records = {{JournalIndex(11), Epoch(4), std::string("a\0b", 3), RecordKind::kData},
                     {JournalIndex(12), Epoch(5), "", RecordKind::kMembership}};
  request.commit_index = JournalIndex(9);
  request.sent_ns = 77;
  request.wall_ns = 88;
  return request;
}

TEST(GroupWireTest, EveryMessageSurvivesTheWayThroughTheWire) {
  const VoteRequest vote = RoundTrip(VoteRequest{JournalIndex(7), Epoch(4), true, true});
  EXPECT_EQ(vote.last_index, JournalIndex(7));
  EXPECT_EQ(vote.last_epoch, Epoch(4));
  EXPECT_TRUE(vote.pre_vote && vote.transfer);
  const VoteResponse answer = RoundTrip(VoteResponse{true, true, true, true});
  EXPECT_TRUE(answer.granted && answer.pre_vote && answer.unknown_member && answer.log_is_newer);
  const AppendRequest request = RoundTrip(SomeRequest());
  EXPECT_EQ(request.previous_index, JournalIndex(10));
  EXPECT_EQ(request.previous_epoch, Epoch(3));
  ASSERT_EQ(request.records.size(), 2u);
  EXPECT_EQ(request.records[0].payload, std::string("a\0b", 3));
  EXPECT_EQ(request.records[1].index, JournalIndex(12));
  EXPECT_EQ(request.records[1].epoch, Epoch(5));
  EXPECT_EQ(request.records[1].kind, RecordKind::kMembership);
  EXPECT_EQ(request.commit_index, JournalIndex(9));
  EXPECT_EQ(request.sent_ns, 77);
  EXPECT_EQ(request.wall_ns, 88);
  AppendResponse sent;
  sent.accepted = true;
  sent.match_index = JournalIndex(1);
  sent.hint_index = JournalIndex(2);
  sent.hint_epoch = Epoch(3);
  sent.durable_index = JournalIndex(4);
  sent.echoed_sent_ns = 5;
  sent.wall_ns = 6;
  sent.applied_index = JournalIndex(7);
  sent.lacks_state = true;
  sent.short_of_space = true;
  const AppendResponse got = RoundTrip(sent);
  EXPECT_TRUE(got.accepted && got.lacks_state && got.short_of_space);
  EXPECT_EQ(got.match_index, JournalIndex(1));
  EXPECT_EQ(got.hint_index, JournalIndex(2));
  EXPECT_EQ(got.hint_epoch, Epoch(3));
  EXPECT_EQ(got.durable_index, JournalIndex(4));
  EXPECT_EQ(got.echoed_sent_ns, 5);
  EXPECT_EQ(got.wall_ns, 6);
  EXPECT_EQ(got.applied_index, JournalIndex(7));
  StateOffer offer;
  offer.base_index = JournalIndex(9);
  offer.base_epoch = Epoch(2);
  offer.membership.members.push_back({MemberId(1), MemberKind::kWitness, true, "a:1"});
  offer.membership.next_id = MemberId(2);
  const StateOffer offered = RoundTrip(offer);
  EXPECT_EQ(offered.base_index, JournalIndex(9));
  EXPECT_EQ(offered.base_epoch, Epoch(2));
  EXPECT_EQ(offered.membership, offer.membership);
  RoundTrip(TimeoutNow{});
  EXPECT_EQ(RoundTrip(AmnesiaNotice{JournalIndex(3)}).acknowledged, JournalIndex(3));
}

TEST(GroupWireTest, WhatMakesNoSenseIsRefused) {
  const wire::GroupMessage good = ToWire(kGroupId, Message(SomeRequest()));
  ASSERT_TRUE(FromWire(good).ok());
  const auto refused = [&](const std::function<void(wire::GroupMessage&)>& spoil) {
    wire::GroupMessage bad = good;
    spoil(bad);
    return FromWire(bad).code() == StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](auto& m) { m.__isset.append_request = false; }));
  EXPECT_TRUE(refused([](auto& m) { m.__set_timeout_now({}); }));
  EXPECT_TRUE(refused([](auto& m) { m.from_member = 0; }));
  EXPECT_TRUE(refused([](auto& m) { m.to_member = -1; }));
  EXPECT_TRUE(refused([](auto& m) { m.epoch = -1; }));
  EXPECT_TRUE(refused([](auto& m) { m.append_request.previous_index = -1; }));
  EXPECT_TRUE(refused([](auto& m) { m.append_request.entries[1].index = 13; }));
  EXPECT_TRUE(refused([](auto& m) { m.append_request.entries[1].epoch = 3; }));
  EXPECT_TRUE(refused([](auto& m) { m.append_request.entries[1].epoch = 6; }));
  EXPECT_TRUE(refused([](auto& m) { m.append_request.entries[0].kind = 2; }));
  wire::GroupMessage offer = ToWire(kGroupId, Message(StateOffer{}));
  offer.state_offer.membership = "no membership";
  EXPECT_FALSE(FromWire(offer).ok());
}

class RecordTailTest : public testing::Test {
 protected:
  void Fill(uint64_t first, uint64_t last) {
    tail_.Reset(JournalIndex(first));
    for (uint64_t i = first; i <= last; ++i) tail_.Push({JournalIndex(i), Epoch(1), "0123456789"});
  }
  RecordTail tail_{55};
};

TEST_F(RecordTailTest, CopiesWithinTheBoundsButAtLeastOne) {
  Fill(5, 9);
  EXPECT_EQ(tail_.Copy(JournalIndex(6), JournalIndex(100), 1000).size(), 4u);
  EXPECT_EQ(tail_.Copy(JournalIndex(6), JournalIndex(7), 1000).size(), 2u);
  EXPECT_EQ(tail_.Copy(JournalIndex(5), JournalIndex(9), 25).size(), 2u);
  const auto one = tail_.Copy(JournalIndex(9), JournalIndex(9), 1);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].index, JournalIndex(9));
}

TEST_F(RecordTailTest, ForgetsTheOldestButNothingThatIsNotDurable) {
  Fill(1, 10);
  tail_.Trim(JournalIndex(3));
  EXPECT_EQ(tail_.first(), JournalIndex(4));
  tail_.Trim(JournalIndex(10));
  EXPECT_EQ(tail_.first(), JournalIndex(6)) << "55 bytes are allowed";
  EXPECT_EQ(tail_.bytes(), 50u);
  EXPECT_FALSE(tail_.Has(JournalIndex(5)));
  EXPECT_TRUE(tail_.Has(JournalIndex(10)));
}

TEST_F(RecordTailTest, TruncationBeyondItsFirstLeavesItReadyForTheNext) {
  Fill(5, 9);
  tail_.TruncateAfter(JournalIndex(7));
  EXPECT_EQ(tail_.last(), JournalIndex(7));
  tail_.TruncateAfter(JournalIndex(3));
  EXPECT_EQ(tail_.bytes(), 0u);
  tail_.Push({JournalIndex(4), Epoch(2), "new"});
  EXPECT_TRUE(tail_.Has(JournalIndex(4)));
  tail_.DropThrough(JournalIndex(4));
  EXPECT_EQ(tail_.first(), JournalIndex(5));
}

// Counts what comes in.
class CountingService final : public wire::GroupServiceIf {
 public:
  void Hello(wire::HelloResponse& response, const wire::HelloRequest& request) override {
    from = request.from_member;
    response.status.code = 0;
  }
  void Join(wire::JoinResponse&, const wire::JoinRequest&) override {}
  void Deliver(const wire::GroupMessage& message) override {
    if (message.__isset.append_request) bytes += message.append_request.entries.size();
    ++messages;
    while (hold) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::atomic<bool> hold{false};
  std::atomic<int> from{0};
  std::atomic<int> messages{0};
  std::atomic<uint64_t> bytes{0};
};

class TestSource final : public LinkSource {
 public:
  Next NextFor(MemberId, bool may_wait) override {
    std::lock_guard lock(mutex_);
    if (left_ == 0) return {};
    if (slow_ && !may_wait) return {std::nullopt, true};
    --left_;
    AppendRequest request;
    request.records.push_back({JournalIndex(1), Epoch(1), std::string(payload_, 'x')});
    return {Message(std::move(request)), false};
  }
  void LinkConnected(MemberId) override { ++connects; }
  void CountSent() override { ++sent; }
  void CountDropped() override { ++dropped; }
  void Offer(int count, size_t payload, bool slow = false) {
    std::lock_guard lock(mutex_);
    left_ = count;
    payload_ = payload;
    slow_ = slow;
  }
  int left() {
    std::lock_guard lock(mutex_);
    return left_;
  }
  std::atomic<int> connects{0};
  std::atomic<int> sent{0};
  std::atomic<int> dropped{0};

 private:
  std::mutex mutex_;
  int left_ = 0;
  size_t payload_ = 0;
  bool slow_ = false;
};

PeerLinkOptions LinkOptions(uint16_t port) {
  PeerLinkOptions options;
  options.group_id = kGroupId;
  options.self = MemberId(1);
  options.peer = MemberId(2);
  options.address = "127.0.0.1:" + std::to_string(port);
  options.bind_host = "127.0.0.1";
  return options;
}

std::unique_ptr<ThriftServer> Serve(std::shared_ptr<CountingService> service, uint16_t port = 0) {
  ThriftServerOptions options;
  options.listen = HostPort{"127.0.0.1", port};
  auto server = ThriftServer::Start(
      options, {{"group", std::make_shared<wire::GroupServiceProcessor>(std::move(service))}});
  EXPECT_TRUE(server.ok()) << server.status().ToString();
  return std::move(server).value();
}

TEST(PeerLinkTest, SendsWhatIsQueuedAndWhatTheSourceHas) {
  auto service = std::make_shared<CountingService>();
  auto server = Serve(service);
  TestSource source;
  PeerLink link(LinkOptions(server->port()), source);
  link.Enqueue(Message(TimeoutNow{}));
  link.Kick();
  ASSERT_TRUE(WaitUntil([&] { return service->messages == 1; }));
  EXPECT_EQ(service->from, 1);
  source.Offer(50, 1000);
  link.Kick();
  ASSERT_TRUE(WaitUntil([&] { return service->messages == 51; }));
  source.Offer(50, 1000, /*slow=*/true);
  link.Kick();
  ASSERT_TRUE(WaitUntil([&] { return service->messages == 101; }));
  EXPECT_EQ(source.connects, 1);
}

TEST(PeerLinkTest, ComesBackAfterThePeerDid) {
  auto service = std::make_shared<CountingService>();
  auto server = Serve(service);
  const uint16_t port = server->port();
  TestSource source;
  PeerLink link(LinkOptions(port), source);
  ASSERT_TRUE(WaitUntil([&] { return link.connected(); }));
  server.reset();
  ASSERT_TRUE(WaitUntil([&] {
    link.Enqueue(Message(TimeoutNow{}));
    link.Kick();
    return !link.connected();
  }));
  server = Serve(service, port);
  const int before = service->messages;
  ASSERT_TRUE(WaitUntil([&] {
    link.Enqueue(Message(TimeoutNow{}));
    link.Kick();
    return service->messages > before;
  }));
  EXPECT_GE(source.connects, 2);
}

TEST(PeerLinkTest, APeerThatTakesNothingHoldsUpNobody) {
  auto service = std::make_shared<CountingService>();
  service->hold = true;  // takes one message, reads no more
  auto server = Serve(service);
  TestSource source;
  PeerLinkOptions options = LinkOptions(server->port());
  options.send_timeout = std::chrono::seconds(30);  // the link's own thread may stand still
  auto link = std::make_unique<PeerLink>(options, source);
  ASSERT_TRUE(WaitUntil([&] { return link->connected(); }));
  source.Offer(1000, 1 << 20);
  for (int i = 0; i < 1000; ++i) {
    link->Enqueue(Message(TimeoutNow{}));
    link->Kick();  // must not block
  }
  EXPECT_GT(source.left(), 0);
  EXPECT_GT(source.dropped, 0) << "the queue has a bound";
  link.reset();  // nor must this
  service->hold = false;
}

class JoinTest : public testing::Test {
 protected:
  JoinTest() : waiter_({kJournalFolder, kIdentity, kMemberFile, ""}, disk_, random_) {
    request_.cluster_id = kClusterId;
    request_.group_id = static_cast<int64_t>(kGroupId);
    request_.member_id = 4;
    request_.witness = true;
    request_.leader_address = "a:1";
  }
  StatusCode Join(const wire::JoinRequest& request) {
    wire::JoinResponse response;
    waiter_.Join(response, request);
    return FromWire(response.status).code();
  }
  static constexpr char kIdentity[] = "/data/journal/identity";
  SimDisk disk_;
  SeededRandom random_{1};
  JoinWaiter waiter_;
  wire::JoinRequest request_;
};

TEST_F(JoinTest, WritesDownWhoItIsAndTellsWhoWaits) {
  EXPECT_FALSE(waiter_.Await(std::chrono::milliseconds(0)));
  ASSERT_EQ(Join(request_), StatusCode::kOk);
  disk_.Crash(random_);
  const auto state = waiter_.Await(std::chrono::seconds(60));
  ASSERT_TRUE(state);
  EXPECT_EQ(state->self, MemberId(4));
  EXPECT_EQ(state->kind, MemberKind::kWitness);
  EXPECT_EQ(state->group_id, kGroupId);
  const auto loaded = LoadMemberState(disk_, kMemberFile);
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  EXPECT_EQ(*loaded, *state);
  EXPECT_EQ(LoadIdentity(disk_, kIdentity)->cluster_id, kClusterId);
}

TEST_F(JoinTest, ARetryIsFineAndAnotherGroupIsNot) {
  ASSERT_EQ(Join(request_), StatusCode::kOk);
  EXPECT_EQ(Join(request_), StatusCode::kOk);
  request_.member_id = 5;
  EXPECT_EQ(Join(request_), StatusCode::kFailedPrecondition);
}

TEST_F(JoinTest, OnlyTheConfiguredClusterMayTakeItIn) {
  JoinWaiter waiter({kJournalFolder, kIdentity, kMemberFile, "ANOTHER-CLUSTER-"}, disk_, random_);
  wire::JoinResponse response;
  waiter.Join(response, request_);
  EXPECT_EQ(FromWire(response.status).code(), StatusCode::kWrongCluster);
  request_.cluster_id = "short";
  EXPECT_EQ(Join(request_), StatusCode::kInvalidArgument);
  EXPECT_FALSE(*disk_.Exists(kMemberFile));
}

TEST_F(JoinTest, ADiskThatFailsIsNoMember) {
  disk_.FailSync(1);
  EXPECT_NE(Join(request_), StatusCode::kOk);
  EXPECT_FALSE(waiter_.Await(std::chrono::milliseconds(0)));
  EXPECT_EQ(Join(request_), StatusCode::kOk);
}

}  // namespace
}  // namespace tercet
