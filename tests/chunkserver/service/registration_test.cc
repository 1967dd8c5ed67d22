// From a registration to serving: what is served when.
#include <poll.h>

#include "tests/chunkserver/service/data_client.h"
#include "tests/chunkserver/service/service_fixture.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

class RegistrationTest : public ServiceFixture {
 protected:
  /// Blocks 10 to 10 + count - 1 with generation 1.
  void Fill(Chunkserver& server, uint64_t count) {
    for (uint64_t id = 10; id < 10 + count; ++id) {
      ASSERT_OK(WriteData(server.store(), BlockId(id), 0, "data"));
    }
  }
  static Status Hello(Chunkserver& server, int server_id = 3) {
    return DataClient::Connect(server.data_port(), server_id).status();
  }
  static Status ReadBlock(Chunkserver& server, uint64_t id, uint64_t generation = 1) {
    ASSIGN_OR_RETURN(auto client, DataClient::Connect(server.data_port()));
    return client->Read(BlockId(id), Generation(generation));
  }
  bool IsOnDisk(Chunkserver& server, uint64_t id) {
    const auto replicas = server.store().ListReplicas(0);
    EXPECT_TRUE(replicas.ok());
    return std::any_of(replicas->begin(), replicas->end(),
                       [&](const auto& replica) { return replica.block == BlockId(id); });
  }
};

TEST_F(RegistrationTest, NothingIsServedBeforeAllDeletionsAreKnown) {
  registry_.With([](auto& state) { state.fetches_held = true; });
  auto server = Start();
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.fetches > 0; }));
  EXPECT_EQ(Hello(*server).code(), StatusCode::kUnavailable);
  EXPECT_FALSE(server->registered());
  EXPECT_EQ(registry_.With([](auto& state) { return state.heartbeats; }), 0);
  registry_.With([](auto& state) { state.fetches_held = false; });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.heartbeats > 0; }));
  EXPECT_OK(Hello(*server));
}

TEST_F(RegistrationTest, WhatLeftItsChainWhileTheServerWasAwayIsNotServed) {
  {
    auto server = StartRegistered();
    Fill(*server, 3);
  }
  registry_.With([](auto& state) {
    state.tasks = {Task(10, 1, /*hold=*/true)};
    state.tasks_in_heartbeats = false;
  });
  auto server = StartRegistered();
  EXPECT_EQ(ReadBlock(*server, 10).code(), StatusCode::kNotFound);
  EXPECT_OK(ReadBlock(*server, 11));
  EXPECT_TRUE(IsOnDisk(*server, 10)) << "it is kept, as the base of a copy";
  EXPECT_TRUE(registry_.With([](auto& state) { return state.confirmed.empty(); }));
}

TEST_F(RegistrationTest, AllPagesOfDeletionsAreFetched) {
  {
    auto server = StartRegistered();
    Fill(*server, 25);
  }
  const int before = registry_.With([](auto& state) {
    for (uint64_t id = 10; id < 34; ++id) state.tasks.push_back(Task(id, 1, /*hold=*/true));
    state.tasks_in_heartbeats = false;
    state.tasks_per_fetch = 10;
    return state.fetches;
  });
  auto server = StartRegistered();
  EXPECT_EQ(registry_.With([](auto& state) { return state.fetches; }), before + 3);
  for (uint64_t id = 10; id < 34; ++id) {
    EXPECT_EQ(ReadBlock(*server, id).code(), StatusCode::kNotFound) << id;
  }
  EXPECT_OK(ReadBlock(*server, 34));
}

TEST_F(RegistrationTest, AServerThatFetchesForLongIsNotTakenForDead) {
  registry_.With([](auto& state) {
    state.fetches_held = true;
    state.tasks = {Task(10, 1, /*hold=*/true), Task(11, 1, /*hold=*/true)};
    state.tasks_per_fetch = 1;
  });
  auto server = Start();
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.fetches > 0; }));
  RealClock().SleepFor(milliseconds(60));  // longer than a heartbeat's interval
  registry_.With([](auto& state) { state.fetches_held = false; });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.heartbeats > 1; }));
  EXPECT_EQ(registry_.With([](auto& state) { return state.fetches_at_first_heartbeat; }), 1);
}

TEST_F(RegistrationTest, AFetchThatFailsIsNoRegistration) {
  registry_.With([](auto& state) {
    state.fetch_status = Status(StatusCode::kFailedPrecondition, "has to register first");
  });
  auto server = Start();
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.registrations > 2; }))
      << "it is tried again, and is not the end of the server";
  EXPECT_EQ(Hello(*server).code(), StatusCode::kUnavailable);
  registry_.With([](auto& state) { state.fetch_status = Status::Ok(); });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.heartbeats > 0; }));
  EXPECT_OK(Hello(*server));
}

TEST_F(RegistrationTest, AReplicaThatCameBackWithALaterGenerationIsServed) {
  {
    auto server = StartRegistered();
    ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "data", true, Generation(5)));
  }
  registry_.With([](auto& state) { state.tasks = {Task(10, 4, /*hold=*/true)}; });
  auto server = StartRegistered();
  EXPECT_OK(ReadBlock(*server, 10, 5));
}

TEST_F(RegistrationTest, AHeldReplicaIsDeletedOnceItIsNotHeldAnyMore) {
  auto server = StartRegistered();
  Fill(*server, 2);
  registry_.With([](auto& state) { state.tasks = {Task(10, 1, /*hold=*/true)}; });
  ASSERT_TRUE(AwaitHeartbeats(3));
  EXPECT_EQ(ReadBlock(*server, 10).code(), StatusCode::kNotFound);
  EXPECT_TRUE(IsOnDisk(*server, 10));
  registry_.With([](auto& state) { state.tasks = {Task(10, 1, /*hold=*/false)}; });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return !state.confirmed.empty(); }));
  EXPECT_FALSE(IsOnDisk(*server, 10));
  EXPECT_OK(ReadBlock(*server, 11));
}

TEST_F(RegistrationTest, NoReplicaIsMadeForALateWriteThatMayHaveBeenHereBefore) {
  registry_.With([](auto& state) {
    state.next_block_id = 50;
    state.fetches_held = true;
  });
  auto server = Start();
  // Before anything is served.
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.fetches > 0; }));
  EXPECT_EQ(WriteData(server->store(), BlockId(49), 0, "late").code(), StatusCode::kNotFound);
  EXPECT_OK(WriteData(server->store(), BlockId(50), 0, "new"));
  registry_.With([](auto& state) { state.fetches_held = false; });
  ASSERT_TRUE(AwaitHeartbeats(1));
  // Others were given out meanwhile.
  EXPECT_OK(WriteData(server->store(), BlockId(59), 0, "new"));
  const int before = registry_.With([](auto& state) {
    state.next_block_id = 60;
    state.register_again = true;
    return state.registrations;
  });
  ASSERT_TRUE(registry_.WaitUntil([&](auto& state) { return state.registrations > before; }));
  ASSERT_TRUE(AwaitHeartbeats(1));
  EXPECT_EQ(WriteData(server->store(), BlockId(58), 0, "late").code(), StatusCode::kNotFound);
  EXPECT_OK(WriteData(server->store(), BlockId(59), 0, "more"));
  EXPECT_OK(WriteData(server->store(), BlockId(60), 0, "new"));
}

TEST_F(RegistrationTest, WhileItRegistersAgainOpenConnectionsWait) {
  config_.data_progress_deadline = std::chrono::minutes(1);
  auto server = StartRegistered();
  Fill(*server, 2);
  auto client = DataClient::Connect(server->data_port());
  ASSERT_OK(client.status());
  ASSERT_OK((*client)->Read(BlockId(10)));
  // Meanwhile block 10 got another chain.
  registry_.With([](auto& state) {
    state.fetches_held = true;
    state.register_again = true;
    state.tasks = {Task(10, 1, /*hold=*/true)};
    state.tasks_in_heartbeats = false;
  });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.fetches > 1; }));
  EXPECT_EQ(Hello(*server).code(), StatusCode::kUnavailable);
  ASSERT_OK((*client)->SendRead(BlockId(10)));
  pollfd answer{(*client)->socket(), POLLIN, 0};
  EXPECT_EQ(::poll(&answer, 1, 200), 0) << "nothing is served before the deletions are known";
  registry_.With([](auto& state) { state.fetches_held = false; });
  EXPECT_EQ((*client)->ReceiveRead().code(), StatusCode::kNotFound);
  EXPECT_OK((*client)->Read(BlockId(11)));  // on the same connection
  EXPECT_OK(Hello(*server));
}

TEST_F(RegistrationTest, WhenRegisteringAgainTakesLongConnectionsEnd) {
  config_.data_progress_deadline = milliseconds(200);
  auto server = StartRegistered();
  Fill(*server, 1);
  auto client = DataClient::Connect(server->data_port());
  ASSERT_OK(client.status());
  registry_.With([](auto& state) {
    state.fetches_held = true;
    state.register_again = true;
  });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.fetches > 1; }));
  EXPECT_EQ((*client)->Read(BlockId(10)).code(), StatusCode::kUnavailable);
  registry_.With([](auto& state) { state.fetches_held = false; });
  ASSERT_TRUE(AwaitHeartbeats(1));
  EXPECT_OK(ReadBlock(*server, 10));
}

TEST_F(RegistrationTest, WithAnotherNumberOlderConnectionsEnd) {
  auto server = StartRegistered();
  Fill(*server, 1);
  auto client = DataClient::Connect(server->data_port());
  ASSERT_OK(client.status());
  ASSERT_OK((*client)->Read(BlockId(10)));
  registry_.With([](auto& state) {
    state.register_again = true;
    state.server_id = 4;
  });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.last_heartbeat.server_id == 4; }));
  EXPECT_EQ((*client)->Read(BlockId(10)).code(), StatusCode::kUnavailable);
  EXPECT_EQ(Hello(*server, 3).code(), StatusCode::kUnavailable);
  EXPECT_OK(Hello(*server, 4));
}

TEST_F(RegistrationTest, WhatAnEarlierActiveHeldIsForgottenWithANewRegistration) {
  auto server = StartRegistered();
  Fill(*server, 1);
  registry_.With([](auto& state) { state.tasks = {Task(10, 1, /*hold=*/true)}; });
  ASSERT_TRUE(AwaitHeartbeats(3));
  ASSERT_EQ(ReadBlock(*server, 10).code(), StatusCode::kNotFound);
  // The journal was set back to when the block had its old chain.
  const int before = registry_.With([](auto& state) {
    state.tasks.clear();
    state.register_again = true;
    return state.registrations;
  });
  ASSERT_TRUE(registry_.WaitUntil([&](auto& state) { return state.registrations > before; }));
  ASSERT_TRUE(AwaitHeartbeats(1));
  EXPECT_OK(ReadBlock(*server, 10));
}

TEST_F(RegistrationTest, AServerThatWasRemovedSaysSoAndEnds) {
  auto server = StartRegistered();
  registry_.With([](auto& state) {
    state.register_again = true;
    state.register_status =
        Status(StatusCode::kFailedPrecondition, "chunk server 3 was removed; give it empty disks");
  });
  const Status end = server->Wait();
  EXPECT_EQ(end.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(end.message().find("registration of chunk server 3"), std::string::npos)
      << end.message();
  EXPECT_NE(end.message().find("give it empty disks"), std::string::npos) << end.message();
  EXPECT_EQ(Hello(*server).code(), StatusCode::kUnavailable) << "nothing is served any more";
}

TEST_F(RegistrationTest, AServerWhoseIdentityWasTakenEndsWithoutServing) {
  config_.identity_patience = milliseconds(0);
  auto server = StartRegistered();
  registry_.With([](auto& state) {
    state.register_again = true;
    state.register_status =
        Status(StatusCode::kIdentityInUse, "alive at 10.0.0.9:9500: this is a copy");
  });
  const Status end = server->Wait();
  EXPECT_EQ(end.code(), StatusCode::kIdentityInUse);
  EXPECT_NE(end.message().find("10.0.0.9"), std::string::npos) << end.message();
  EXPECT_EQ(Hello(*server).code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tercet
