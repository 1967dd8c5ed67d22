// Two metaservers and a witness in this process: what clients and operators see of switchovers,
// failovers, growth, and members that lack the namespace.
#include "tests/metaserver/service/group_fixture.h"

namespace tercet {
namespace {

TEST_F(GroupTest, ASwitchoverKeepsSessionsAndAnswers) {
  ASSERT_NO_FATAL_FAILURE(MakeGroup());
  const int64_t session = OpenSession(node(1));
  const auto request = CreateRequest(session, "a");
  const auto first = Create(node(1), request);
  ASSERT_EQ(first.info.status.code, 0) << first.info.status.message;

  const auto transfer = Transfer(node(1), 2);
  ASSERT_EQ(transfer.info.status.code, 0) << transfer.info.status.message;
  EXPECT_EQ(transfer.target_id, 2);
  ASSERT_TRUE(EventuallyActive(node(2)));
  const auto again = Create(node(2), request);
  EXPECT_EQ(again.info.status.code, 0) << again.info.status.message;
  EXPECT_EQ(again.attributes, first.attributes);
  EXPECT_TRUE(again.created);
  EXPECT_GT(again.info.epoch, first.info.epoch);
  EXPECT_EQ(Create(node(2), CreateRequest(session, "a")).info.status.code,
            Code(StatusCode::kExists));

  // The former active and the witness say where to go.
  for (int other : {1, 3}) {
    ASSERT_TRUE(Eventually([&] {
      const auto lookup = Lookup(node(other), "a");
      return lookup.info.status.code == Code(StatusCode::kNotActive) &&
             lookup.info.active_hint == node(2).proxy.address() &&
             lookup.info.epoch == again.info.epoch;
    })) << other;
  }
  // And back.
  ASSERT_EQ(Transfer(node(2), 0).target_id, 1);
  ASSERT_TRUE(EventuallyActive(node(1)));
  CreateOk(node(1), session, "b");
}

TEST_F(GroupTest, ADeposedActiveAnswersNoReads) {
  ASSERT_NO_FATAL_FAILURE(MakeGroup());
  const int64_t session = OpenSession(node(1));
  CreateOk(node(1), session, "a");
  CutOff(node(1));
  // It is reachable for this client all the time. Once the other one has removed the file, nobody
  // may be told that it is there.
  std::atomic<bool> removed{false};
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      const bool was_removed = removed;
      const auto found = Lookup(node(1), "a");
      EXPECT_FALSE(was_removed && found.info.status.code == 0);
      if (found.info.status.code != 0) {
        EXPECT_EQ(found.info.status.code, Code(StatusCode::kNotActive));
      }
    }
  });
  EXPECT_TRUE(EventuallyActive(node(2)));
  wire::UnlinkRequest unlink;
  unlink.context.session_id = session;
  unlink.context.sequence = ++sequence_;
  unlink.parent = 1;
  unlink.name = "a";
  const auto unlinked =
      node(2).Call<wire::UnlinkResponse>(&wire::MetadataServiceClient::Unlink, unlink);
  EXPECT_EQ(unlinked.info.status.code, 0) << unlinked.info.status.message;
  removed = true;
  // What it refuses is an answer from its old state as well.
  const auto refused = Create(node(1), CreateRequest(session, "a"));
  EXPECT_EQ(refused.info.status.code, Code(StatusCode::kNotActive));
  EXPECT_EQ(Lookup(node(1), "a").info.status.code, Code(StatusCode::kNotActive));
  stop = true;
  reader.join();
  Heal(node(1));
  // It follows again and can take over.
  ASSERT_TRUE(Eventually([&] { return Transfer(node(2), 1).info.status.code == 0; }));
  ASSERT_TRUE(EventuallyActive(node(1)));
  EXPECT_EQ(Lookup(node(1), "a").info.status.code, Code(StatusCode::kNotFound));
}

TEST_F(GroupTest, WhatIsUnderWayWhenTheActiveIsCutOffIsDoneExactlyOnce) {
  ASSERT_NO_FATAL_FAILURE(MakeGroup());
  constexpr int kClients = 4;
  std::atomic<bool> stop{false};
  std::atomic<int> done{0};
  std::vector<std::thread> clients;
  std::vector<std::vector<std::string>> acknowledged(kClients);
  const int64_t session = OpenSession(node(1));
  for (int c = 0; c < kClients; ++c) {
    clients.emplace_back([&, c] {
      int at = 1;
      for (int i = 1; !stop; ++i) {
        wire::CreateFileRequest request;
        request.context.session_id = session;
        request.context.slot = c;
        request.context.sequence = i;
        request.parent = 1;
        request.name = "c" + std::to_string(c) + "-" + std::to_string(i);
        request.exclusive = true;
        // As a client does: the same request, at the one or the other, until there is an answer.
        wire::CreateFileResponse response;
        do {
          response = Create(node(at), request);
          if (response.info.status.code != 0) at = 3 - at;
        } while (response.info.status.code == Code(StatusCode::kNotActive) ||
                 response.info.status.code == Code(StatusCode::kUnavailable));
        ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
        EXPECT_TRUE(response.created);
        acknowledged[c].push_back(request.name);
        ++done;
      }
    });
  }
  int next = 1;
  for (int round = 0; round < 4; ++round) {
    const int seen = done;
    EXPECT_TRUE(Eventually([&] { return done >= seen + 40; }));
    CutOff(node(next));
    EXPECT_TRUE(EventuallyActive(node(3 - next)));
    const int then = done;
    EXPECT_TRUE(Eventually([&] { return done >= then + 10; }));
    Heal(node(next));
    next = 3 - next;
  }
  stop = true;
  for (auto& client : clients) client.join();
  ASSERT_TRUE(Eventually([&] { return node(1).Active() || node(2).Active(); }));
  GroupNode& active = node(1).Active() ? node(1) : node(2);
  for (const auto& names : acknowledged) {
    for (const std::string& name : names) {
      EXPECT_EQ(Lookup(active, name).info.status.code, 0) << name;
    }
  }
}

TEST_F(GroupTest, TimeDoesNotGoBackThoughClocksAreAnHourApart) {
  ASSERT_NO_FATAL_FAILURE(MakeGroup([this](GroupNode& node) {
    node.clock.offset_ns = nodes_.size() == 1 ? 3600'000'000'000 : 0;
  }));
  const int64_t session = OpenSession(node(1));
  const auto before = Create(node(1), CreateRequest(session, "a"));
  ASSERT_EQ(before.info.status.code, 0);
  ASSERT_EQ(Transfer(node(1), 2).info.status.code, 0);
  ASSERT_TRUE(EventuallyActive(node(2)));
  const auto after = Create(node(2), CreateRequest(session, "b"));
  ASSERT_EQ(after.info.status.code, 0);
  EXPECT_GE(after.attributes.ctime_ns, before.attributes.ctime_ns);
  // And not far ahead of what there was.
  EXPECT_LT(after.attributes.ctime_ns, before.attributes.ctime_ns + 120'000'000'000);
}

TEST_F(GroupTest, HeartbeatsAtTheStandbyMakeAllocationsWorkAtOnce) {
  // Without them the new active would wait for the servers: nobody sends it anything afterwards.
  ASSERT_NO_FATAL_FAILURE(MakeGroup(
      [](GroupNode& node) { node.config.death_timeout = std::chrono::milliseconds(3600'000); }));
  std::vector<wire::HeartbeatRequest> heartbeats;
  for (int i = 1; i <= 3; ++i) {
    wire::RegisterServerRequest request;
    request.server_uuid = "server-uuid-000" + std::to_string(i);
    request.incarnation = 100 + i;
    request.host = "127.0.0.1";
    request.port = 7000 + i;
    request.disks.emplace_back();
    request.disks[0].total_bytes = int64_t{100} << 30;
    request.disks[0].available_bytes = int64_t{50} << 30;
    const auto registered = node(1).Call<wire::RegisterServerResponse>(
        &wire::RegistryServiceClient::RegisterServer, request);
    ASSERT_EQ(registered.info.status.code, 0) << registered.info.status.message;
    const auto refused = node(2).Call<wire::RegisterServerResponse>(
        &wire::RegistryServiceClient::RegisterServer, request);
    EXPECT_EQ(refused.info.status.code, Code(StatusCode::kNotActive));
    wire::HeartbeatRequest heartbeat;
    heartbeat.server_id = registered.server_id;
    heartbeat.incarnation = request.incarnation;
    heartbeat.disks = request.disks;
    heartbeats.push_back(heartbeat);
  }
  const int64_t session = OpenSession(node(1));
  const int64_t inode = CreateOk(node(1), session, "f");
  // The standby has applied the registrations.
  ASSERT_TRUE(Eventually([&] {
    const auto group = node(2).Group();
    return group.info.journal_index >= node(1).Group().info.journal_index;
  }));
  for (const auto& heartbeat : heartbeats) {
    const auto noted =
        node(2).Call<wire::HeartbeatResponse>(&wire::RegistryServiceClient::Heartbeat, heartbeat);
    EXPECT_EQ(noted.info.status.code, Code(StatusCode::kNotActive));
    EXPECT_EQ(noted.info.active_hint, node(1).proxy.address());
    EXPECT_FALSE(noted.register_again);
  }
  CutOff(node(1));
  ASSERT_TRUE(EventuallyActive(node(2)));
  wire::AllocateBlockRequest allocate;
  allocate.context.session_id = session;
  allocate.context.sequence = ++sequence_;
  allocate.inode = inode;
  const auto allocated = node(2).Call<wire::AllocateBlockResponse>(
      &wire::MetadataServiceClient::AllocateBlock, allocate);
  EXPECT_EQ(allocated.info.status.code, 0) << allocated.info.status.message;
  EXPECT_EQ(allocated.block.chain.size(), 3u);
}

/// So much journal that the beginning is released.
class ManyRecords : public GroupTest {
 protected:
  static void Configure(GroupNode& node) { node.config.group_retain_bytes = 64 << 10; }

  void Write(GroupNode& active, int64_t session, int from, int to) {
    for (int i = from; i < to; ++i) CreateOk(active, session, "file" + std::to_string(i));
  }
  /// Writes until the journal no longer reaches back to `index`.
  int WriteUntilReleased(GroupNode& active, int64_t session, int from, int64_t index) {
    int at = from;
    do {
      Write(active, session, at, at + 100);
      at += 100;
    } while (at < from + 20'000 && active.Group().first_index <= index + 1);
    EXPECT_GT(active.Group().first_index, index + 1);
    return at;
  }
  void ExpectFiles(GroupNode& active, int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(Lookup(active, "file" + std::to_string(i)).info.status.code, 0) << i;
    }
  }
};

TEST_F(ManyRecords, AnEmptyMemberFetchesTheNamespaceAndCanServeIt) {
  GroupNode& first = AddNode(Configure);
  const int64_t session = OpenSession(first);
  const int count = WriteUntilReleased(first, session, 0, 1);
  GroupNode& second = AddNode(Configure);
  const auto added = Add(first, second, /*witness=*/false);
  ASSERT_EQ(added.info.status.code, 0) << added.info.status.message;
  // Meanwhile the group goes on.
  Write(first, session, count, count + 50);
  ASSERT_TRUE(Eventually([&] { return Voters(first.Group()) == 2; }));
  EXPECT_EQ(second.mode, MetaserverMode::kServing);
  ASSERT_TRUE(Eventually([&] { return Transfer(first, 2).info.status.code == 0; }));
  ASSERT_TRUE(EventuallyActive(second));
  ExpectFiles(second, count + 50);
  // It is a whole member also after a restart.
  second.Stop();
  second.Start();
  ASSERT_TRUE(Eventually([&] { return first.Active() || second.Active(); }));
}

TEST_F(ManyRecords, AMemberThatWasAwayForTooLongFetchesTheNamespace) {
  ASSERT_NO_FATAL_FAILURE(MakeGroup(Configure));
  const int64_t session = OpenSession(node(1));
  Write(node(1), session, 0, 20);
  const int64_t index = node(2).Group().last_index;
  node(2).Stop();
  const int count = WriteUntilReleased(node(1), session, 20, index);
  node(2).Start();
  ASSERT_TRUE(Eventually([&] { return Transfer(node(1), 2).info.status.code == 0; }));
  ASSERT_TRUE(EventuallyActive(node(2)));
  ExpectFiles(node(2), count);
}

TEST_F(ManyRecords, AMetaserverWhoseStateFolderIsGoneFetchesIt) {
  ASSERT_NO_FATAL_FAILURE(MakeGroup(Configure));
  const int64_t session = OpenSession(node(1));
  const int count = WriteUntilReleased(node(1), session, 0, 1);
  ASSERT_TRUE(Eventually([&] {
    return node(2).Group().first_index > 1 &&
           node(2).Group().last_index == node(1).Group().last_index;
  }));
  node(2).Stop();
  std::filesystem::remove_all(node(2).config.data_dir + "/state");
  node(2).Start();
  ASSERT_TRUE(Eventually([&] { return Transfer(node(1), 2).info.status.code == 0; }));
  ASSERT_TRUE(EventuallyActive(node(2)));
  ExpectFiles(node(2), count);
}

TEST_F(ManyRecords, AWitnessIsPromotedAndCanServe) {
  ASSERT_NO_FATAL_FAILURE(MakeGroup(Configure));
  const int64_t session = OpenSession(node(1));
  const int count = WriteUntilReleased(node(1), session, 0, 1);
  wire::PromoteWitnessRequest promote;
  promote.address = node(3).proxy.address();
  const auto promoted = node(1).Call<wire::PromoteWitnessResponse>(
      &wire::AdminServiceClient::PromoteWitness, promote);
  ASSERT_EQ(promoted.info.status.code, 0) << promoted.info.status.message;
  ASSERT_TRUE(Eventually([&] { return node(3).mode == MetaserverMode::kServing; }));
  ASSERT_TRUE(Eventually([&] { return Transfer(node(1), 3).info.status.code == 0; }));
  ASSERT_TRUE(EventuallyActive(node(3)));
  ExpectFiles(node(3), count);
}

TEST_F(GroupTest, AFullDiskHandsOverAndComesBack) {
  ASSERT_NO_FATAL_FAILURE(MakeGroup());
  const int64_t session = OpenSession(node(1));
  CreateOk(node(1), session, "a");
  node(1).disk.available_bytes = 0;
  ASSERT_TRUE(EventuallyActive(node(2)));
  CreateOk(node(2), session, "b");
  // With both full, changes are refused and reads go on.
  node(2).disk.available_bytes = 0;
  int attempt = 0;
  ASSERT_TRUE(Eventually([&] {
    const auto refused = Create(node(2), CreateRequest(session, "c" + std::to_string(++attempt)));
    return refused.info.status.code == Code(StatusCode::kNoSpace);
  }));
  EXPECT_EQ(Lookup(node(2), "b").info.status.code, 0);
  // It goes on by itself when there is room.
  node(1).disk.available_bytes = node(2).disk.available_bytes = uint64_t{100} << 30;
  ASSERT_TRUE(Eventually([&] {
    const std::string name = "d" + std::to_string(++attempt);
    return Create(node(2), CreateRequest(session, name)).info.status.code == 0 ||
           Create(node(1), CreateRequest(session, name)).info.status.code == 0;
  }));
}

TEST_F(GroupTest, AStopHandsOver) {
  ASSERT_NO_FATAL_FAILURE(MakeGroup());
  const int64_t session = OpenSession(node(1));
  const auto before = Create(node(1), CreateRequest(session, "a"));
  node(1).Stop();
  ASSERT_TRUE(EventuallyActive(node(2)));
  EXPECT_EQ(Lookup(node(2), "a").info.status.code, 0);
  node(1).Start();
  EXPECT_TRUE(Eventually(
      [&] { return node(1).Group().info.journal_index == node(2).Group().info.journal_index; }));
}

TEST_F(GroupTest, EveryModeAnswersEverything) {
  AddNode();
  GroupNode& waiting = AddNode();
  EXPECT_EQ(waiting.mode, MetaserverMode::kJoining);
  const auto check = [&](GroupNode& node) {
    EXPECT_EQ(Lookup(node, "a").info.status.code, Code(StatusCode::kNotActive));
    EXPECT_EQ(Create(node, CreateRequest(1, "a")).info.status.code, Code(StatusCode::kNotActive));
    EXPECT_EQ(node.Call<wire::HeartbeatResponse>(&wire::RegistryServiceClient::Heartbeat,
                                                 wire::HeartbeatRequest())
                  .info.status.code,
              Code(StatusCode::kNotActive));
    EXPECT_EQ(node.Call<wire::GetStatusResponse>(&wire::AdminServiceClient::GetStatus,
                                                 wire::GetStatusRequest())
                  .info.status.code,
              Code(StatusCode::kNotActive));
    EXPECT_EQ(node.Call<wire::GetFileInfoResponse>(&wire::AdminServiceClient::GetFileInfo,
                                                   wire::GetFileInfoRequest())
                  .info.status.code,
              Code(StatusCode::kNotActive));
    EXPECT_EQ(node.Call<wire::RemoveMemberResponse>(&wire::AdminServiceClient::RemoveMember,
                                                    wire::RemoveMemberRequest())
                      .info.status.code == 0,
              false);
    EXPECT_EQ(
        node.Call<wire::OpenStateSnapshotResponse>(&wire::AdminServiceClient::OpenStateSnapshot,
                                                   wire::OpenStateSnapshotRequest())
            .info.status.code,
        Code(StatusCode::kFailedPrecondition));
  };
  check(waiting);
  const auto group = waiting.Group();
  EXPECT_EQ(group.info.status.code, 0);
  EXPECT_EQ(group.member_id, 0);
  EXPECT_TRUE(group.members.empty());

  ASSERT_EQ(Add(node(1), waiting, /*witness=*/true).info.status.code, 0);
  ASSERT_TRUE(Eventually([&] { return waiting.mode == MetaserverMode::kWitness; }));
  check(waiting);
  ASSERT_TRUE(Eventually([&] { return waiting.Group().members.size() == 2; }));
  // Asking again for what is done is fine; what is no member cannot be removed.
  EXPECT_EQ(Add(node(1), waiting, /*witness=*/true).member_id, 2);
  wire::RemoveMemberRequest remove;
  remove.address = "127.0.0.1:1";
  EXPECT_EQ(node(1)
                .Call<wire::RemoveMemberResponse>(&wire::AdminServiceClient::RemoveMember, remove)
                .info.status.code,
            Code(StatusCode::kNotFound));
}

TEST_F(GroupTest, StatusShowsAllMetaservers) {
  ASSERT_NO_FATAL_FAILURE(MakeGroup());
  const auto status = node(1).Call<wire::GetStatusResponse>(&wire::AdminServiceClient::GetStatus,
                                                            wire::GetStatusRequest());
  ASSERT_EQ(status.metaservers.size(), 3u);
  EXPECT_EQ(status.metaservers[0].role, "active");
  EXPECT_EQ(status.metaservers[0].address, node(1).proxy.address());
  EXPECT_EQ(status.metaservers[1].role, "standby");
  EXPECT_EQ(status.metaservers[2].role, "witness");
  EXPECT_EQ(status.metaservers[2].address, node(3).proxy.address());
}

}  // namespace
}  // namespace tercet
