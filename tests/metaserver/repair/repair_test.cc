// Changes of chains from end to end: the journal on one side, stores and data planes on the other.
#include <gmock/gmock.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/metaserver/repair/repair_fixture.h"

namespace tercet {
namespace {

using testing::Contains;
using testing::Not;
using testing_support::SealOf;

/// A port that takes connections, as that of a stopped process does, and answers nothing.
class SilentPort {
 public:
  SilentPort() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(socket_, 16), 0);
    EXPECT_EQ(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentPort() { ::close(socket_); }
  /// Connections since the last call.
  int Connections() {
    EXPECT_EQ(::fcntl(socket_, F_SETFL, O_NONBLOCK), 0);
    int connections = 0;
    for (int taken = ::accept(socket_, nullptr, nullptr); taken >= 0;
         taken = ::accept(socket_, nullptr, nullptr)) {
      ::close(taken);
      ++connections;
    }
    return connections;
  }
  uint16_t port() const { return port_; }

 private:
  const int socket_;
  uint16_t port_ = 0;
};

int32_t CodeOf(StatusCode code) { return static_cast<int32_t>(code); }

TEST_F(RepairTest, AWriterGoesOnWithoutAKilledServer) {
  MakeCluster(3);
  const ServerId dead = Row().chain[1];
  Kill(dead);
  const auto response = Recover({dead}, StatusCode::kUnavailable);
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  EXPECT_EQ(response.block.generation, 2);
  EXPECT_THAT(response.block.chain, Not(Contains(static_cast<int32_t>(dead.value()))));
  EXPECT_EQ(response.servers.size(), 2u);
  const FileBlockRecord row = Row();
  ASSERT_EQ(row.chain.size(), 2u);
  for (const ServerId server : row.chain) {
    EXPECT_EQ(Server(server).Contents(block_, Generation(2)), contents_);
  }
  // The dead one's replica is held as the base of a copy.
  const auto task = tables().FindDeleteTask(dead, block_);
  ASSERT_TRUE(task.ok() && *task);
  EXPECT_TRUE((*task)->hold);
  // Asking again changes nothing: the answer may have been lost.
  wire::RecoverBlockRequest again;
  again.session_id = session_;
  again.inode = inode_;
  again.block_id = static_cast<int64_t>(block_.value());
  again.generation = 1;
  again.failed_servers = {static_cast<int32_t>(dead.value())};
  again.failure = CodeOf(StatusCode::kUnavailable);
  wire::RecoverBlockResponse same;
  metadata_->RecoverBlock(same, again);
  EXPECT_EQ(same.info.status.code, 0);
  EXPECT_EQ(same.block.generation, 2);
}

TEST_F(RepairTest, WithTooFewSurvivorsANewServerIsAddedForTheWriter) {
  MakeCluster(4);
  const FileBlockRecord before = Row();
  Kill(before.chain[0]);
  Kill(before.chain[2]);
  const auto response = Recover({before.chain[0], before.chain[2]}, StatusCode::kUnavailable);
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  const FileBlockRecord row = Row();
  EXPECT_EQ(row.chain, (std::vector<ServerId>{before.chain[1], ServerId(4)}));
  EXPECT_EQ(Server(ServerId(4)).Contents(block_, row.generation), contents_);
}

TEST_F(RepairTest, NothingIsSealedWhereTooFewCanBeReached) {
  MakeCluster(3);
  const FileBlockRecord before = Row();
  Kill(before.chain[0]);
  Kill(before.chain[1]);
  const auto response = Recover({before.chain[0], before.chain[1]}, StatusCode::kUnavailable);
  EXPECT_EQ(response.info.status.code, CodeOf(StatusCode::kUnavailable));
  EXPECT_EQ(Row().generation, before.generation);
  // The survivor can still be read.
  EXPECT_EQ(Server(before.chain[2]).Contents(block_, before.generation), contents_);
}

TEST_F(RepairTest, AServerThatAcceptsConnectionsAndSaysNothingIsLeftOut) {
  MakeCluster(3);
  const ServerId hung = Row().chain[2];
  Kill(hung);
  // Its port is open, as that of a stopped process.
  const SilentPort silent;
  Advance(10'000);
  for (const auto& [id, server] : chunk_servers_) {
    RegisterServer(id, id == hung ? silent.port() : server->port(), 2);
  }
  const auto response = Recover({hung}, StatusCode::kDeadlineExceeded);
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  EXPECT_THAT(Row().chain, Not(Contains(hung)));
}

TEST_F(RepairTest, ASurvivorWithAnotherTailIsMadeEqual) {
  MakeCluster(3);
  const std::string expected = WriteToHeadOnly();
  const auto response = Recover({}, StatusCode::kStaleGeneration);
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  ExpectWhole(3, expected);
}

TEST_F(RepairTest, AnEmptyMemberIsIncompleteWhileItPulls) {
  MakeCluster(3);
  BlockStore& store = Server(ServerId(1)).store();
  const BlockId other(block_.value() + 100);
  ASSERT_TRUE(store.Seal(other, Generation(5), true, false, false).ok());
  auto base = store.OpenPullBase(other, Generation(5), Generation(5), 8192, false);
  ASSERT_TRUE(base.ok()) << base.status().ToString();
  EXPECT_EQ(base->table.generation, Generation(0));
  // The copy breaks off; the next attempt does not take it for a member's replica.
  const auto sealed = store.Seal(other, Generation(6), false, false, false);
  ASSERT_TRUE(sealed.ok());
  EXPECT_TRUE(sealed->absent);
}

TEST_F(RepairTest, FullServersGiveToEmptyOnesUntilTheyAreEven) {
  MakeCluster(4);
  // As the servers' reports would have it: three are nearly full, one is empty.
  ASSERT_TRUE(services_->proposer()
                  .Propose(services_->proposer().epoch(), "balance",
                           [&](OperationContext& context) -> Status {
                             BalanceRecord record;
                             record.state = BalanceState::kRunning;
                             record.started_at_ns = context.now_ns;
                             MutableTables(context.transaction).PutBalance(record);
                             return Status::Ok();
                           })
                  .ok());
  const auto before = Row().chain;
  for (int i = 0; i < 100; ++i) {
    Advance(200);
    for (const auto& [id, server] : chunk_servers_) {
      ReportUsed(id, ContainsServer(Row().chain, id)
                         ? (before == Row().chain ? 300 << 10 : 200 << 10)
                         : 0);
    }
    while (services_->repair().Step()) {
    }
    while (services_->repair().WorkOnce()) {
    }
    if (Row().chain != before) break;
  }
  EXPECT_THAT(Row().chain, Contains(ServerId(4)));
  ExpectWhole(3, contents_);
}

TEST_F(RepairTest, ThreadsRepairByThemselvesAndStopAtOnce) {
  MakeCluster(5, 2 << 20);
  services_->StartBackground();
  const ServerId first = Row().chain[0];
  const ServerId second = Row().chain[1];
  Kill(first);
  Kill(second);
  PassTime(7'000);
  EXPECT_TRUE(testing_support::Eventually([&] {
    PassTime(100);
    return Row().chain.size() == 3 && !ContainsServer(Row().chain, first) &&
           !ContainsServer(Row().chain, second);
  }));
  ExpectWhole(3, contents_);
  services_->BecomeStandby();
  consensus_->Depose();
  EXPECT_TRUE(services_->repair().Report().queue.empty());
}

class UnwrittenBlockTest : public RepairTest {
 protected:
  /// A block that was given out and not written to.
  void Allocate() {
    const int64_t inode = CreateOk(session_, "g");
    wire::AllocateBlockRequest request;
    request.context = Context(session_);
    request.inode = inode;
    metadata_->AllocateBlock(allocated_, request);
    ASSERT_EQ(allocated_.info.status.code, 0);
    recover_.session_id = session_;
    recover_.inode = inode;
    recover_.block_id = allocated_.block.block_id;
    recover_.generation = 1;
  }

  wire::AllocateBlockResponse allocated_;
  wire::RecoverBlockRequest recover_;
};

TEST_F(UnwrittenBlockTest, AnUnwrittenBlockIsReplaced) {
  MakeCluster(4);
  ASSERT_NO_FATAL_FAILURE(Allocate());
  recover_.failed_servers = {allocated_.block.chain[0]};
  recover_.failure = CodeOf(StatusCode::kUnavailable);
  wire::RecoverBlockResponse response;
  metadata_->RecoverBlock(response, recover_);
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  EXPECT_NE(response.block.block_id, allocated_.block.block_id);
  EXPECT_THAT(response.block.chain, Not(Contains(allocated_.block.chain[0])));
  wire::RecoverBlockResponse again;
  metadata_->RecoverBlock(again, recover_);
  EXPECT_EQ(again.block.block_id, response.block.block_id);
}

TEST_F(UnwrittenBlockTest, AnUnwrittenBlockIsReplacedAlsoWhenItsWriterOnlyFearsAServer) {
  MakeCluster(4);
  ASSERT_NO_FATAL_FAILURE(Allocate());
  recover_.failed_servers = {allocated_.block.chain[1]};
  wire::RecoverBlockResponse answers;
  metadata_->RecoverBlock(answers, recover_);
  ASSERT_EQ(answers.info.status.code, 0) << answers.info.status.message;
  EXPECT_EQ(answers.block.block_id, allocated_.block.block_id) << "the server is well";
  Kill(ServerId(static_cast<uint32_t>(allocated_.block.chain[1])));
  wire::RecoverBlockResponse silent;
  metadata_->RecoverBlock(silent, recover_);
  ASSERT_EQ(silent.info.status.code, 0) << silent.info.status.message;
  EXPECT_NE(silent.block.block_id, allocated_.block.block_id);
  EXPECT_EQ(silent.block.chain.size(), 3u);
  EXPECT_THAT(silent.block.chain, Not(Contains(allocated_.block.chain[1])));
}

TEST_F(RepairTest, ReplicasThatAreNewerThanARestoredJournalAreSealedAtOnce) {
  MakeCluster(3);
  const FileBlockRecord before = Row();
  for (const ServerId server : before.chain) {
    wire::SealHeader seal = SealOf(block_, Generation(40 + server.value()));
    ASSERT_TRUE(RawClient(Server(server)).Seal(seal).status.ok());
  }
  const auto response = Recover({}, StatusCode::kStaleGeneration);
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  EXPECT_EQ(Row().generation, Generation(44));
  ExpectWhole(3, contents_);
}

TEST_F(RepairTest, APageThatIsDamagedEverywhereIsCountedOnceAndSeldomTriedAgain) {
  MakeCluster(3);
  const FileBlockRecord before = Row();
  for (const ServerId server : before.chain) {
    RawClient(Server(server)).Sync(block_, before.generation, {});
    Server(server).DamagePage(block_, 3);
    NoteBad(server, BadReplica::kDamaged);
  }
  RepairCounters& counters = RepairCounters::Get();
  const double lost = counters.lost_pages.Value();
  Repair();
  const double counted = counters.lost_pages.Value();
  EXPECT_GT(counted, lost);
  const Generation generation = Row().generation;
  PassTime(120'000);
  Repair();
  EXPECT_EQ(Row().generation, generation);
  PassTime(3'600'000);
  Repair();
  EXPECT_GT(Row().generation, generation);
  EXPECT_EQ(counters.lost_pages.Value(), counted);
}

TEST_F(RepairTest, ADeadServersReplicasAreMadeAgainElsewhere) {
  MakeCluster(4, 3 << 20);
  const ServerId dead = Row().chain[0];
  Kill(dead);
  PassTime(10'000);
  Repair();
  EXPECT_THAT(Row().chain, Contains(dead)) << "it may come back within the repair delay";
  PassTime(40'000);
  Repair();
  EXPECT_THAT(Row().chain, Contains(ServerId(4)));
  ExpectWhole(3, contents_);
  const auto task = tables().FindDeleteTask(dead, block_);
  ASSERT_TRUE(task.ok() && *task);
  EXPECT_FALSE((*task)->hold) << "nobody needs it any more";
  EXPECT_GT(services_->repair().Report().repaired_blocks, 0);
}

TEST_F(RepairTest, BlocksBelowTheMinimumDoNotWaitForTheDelay) {
  MakeCluster(5);
  const FileBlockRecord before = Row();
  Kill(before.chain[0]);
  Kill(before.chain[1]);
  PassTime(7'000);
  Repair();
  ExpectWhole(3, contents_);
}

TEST_F(RepairTest, AReturningServersHeldReplicaIsTheBaseOfTheCopy) {
  MakeCluster(4, 4 << 20);
  const ServerId away = Row().chain[2];
  Kill(away);
  ASSERT_EQ(Recover({away}, StatusCode::kUnavailable).info.status.code, 0);
  const std::string change = testing_support::Pattern(11, 4096);
  ASSERT_TRUE(Write(8192, change).ok());
  std::string expected = contents_;
  expected.replace(8192, change.size(), change);
  // It is waited for: a copy on another server would cost more.
  Repair();
  EXPECT_EQ(Row().chain.size(), 2u);
  PassTime(7'000);
  Repair();
  EXPECT_EQ(Row().chain.size(), 2u);
  Server(away).Restart();
  killed_.erase(away);
  RegisterServer(away, Server(away).port(), 2);
  incarnations_[away] = 2;
  RepairCounters& counters = RepairCounters::Get();
  const double before = counters.repaired_bytes.Value();
  Repair();
  ExpectWhole(3, expected);
  EXPECT_THAT(Row().chain, Contains(away));
  EXPECT_THAT(Row().chain, Not(Contains(ServerId(4))));
  EXPECT_LT(counters.repaired_bytes.Value() - before, 100'000);
}

TEST_F(RepairTest, ADamagedPageIsHealedInPlace) {
  MakeCluster(3);
  const FileBlockRecord before = Row();
  for (const ServerId server : before.chain) {
    RawClient(Server(server)).Sync(block_, before.generation, {});
  }
  Server(before.chain[1]).DamagePage(block_, 3);
  wire::ReportBadReplicasRequest report;
  report.session_id = session_;
  report.replicas.emplace_back();
  report.replicas[0].block_id = static_cast<int64_t>(block_.value());
  report.replicas[0].generation = 1;
  report.replicas[0].server_id = static_cast<int32_t>(before.chain[1].value());
  wire::ReportBadReplicasResponse response;
  metadata_->ReportBadReplicas(response, report);
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  Repair();
  EXPECT_EQ(Row().chain, before.chain);
  ExpectWhole(3, contents_);
}

TEST_F(RepairTest, DoubtfulReplicasThatAreEqualNeedNoNewGeneration) {
  MakeCluster(3);
  const FileBlockRecord before = Row();
  NoteBad(before.chain[0], BadReplica::kDoubtful);
  NoteBad(before.chain[2], BadReplica::kDoubtful);
  Repair();
  EXPECT_EQ(Row().generation, before.generation);
  EXPECT_EQ(Row().chain, before.chain);
  ExpectWhole(3, contents_);
}

TEST_F(RepairTest, DoubtfulReplicasThatDifferAreMadeEqual) {
  MakeCluster(3);
  const FileBlockRecord before = Row();
  const std::string torn = WriteToHeadOnly();
  NoteBad(before.chain[0], BadReplica::kDoubtful);
  Repair();
  EXPECT_GT(Row().generation, before.generation);
  EXPECT_EQ(Row().chain, before.chain);
  ExpectWhole(3, torn);
}

TEST_F(RepairTest, ADoubtCostsNoSilentServerItsPlace) {
  MakeCluster(3);
  const FileBlockRecord before = Row();
  const std::string torn = WriteToHeadOnly();
  NoteBad(before.chain[0], BadReplica::kDoubtful);
  // Its heartbeats come, its data plane does not answer for a while.
  Server(before.chain[1]).StopAll();
  Repair();
  EXPECT_EQ(Row().generation, before.generation);
  EXPECT_EQ(Row().chain, before.chain);
  Server(before.chain[1]).Restart();
  PassTime(60'000);
  Repair();
  EXPECT_EQ(Row().chain, before.chain);
  ExpectWhole(3, torn);
}

TEST_F(RepairTest, DoubtsAreSettledWhereNobodyCanTakeTheMissingReplica) {
  MakeCluster(3);
  const FileBlockRecord before = Row();
  const std::string torn = WriteToHeadOnly();
  NoteBad(before.chain[0], BadReplica::kDoubtful);
  Kill(before.chain[2]);
  PassTime(50'000);
  Repair();
  const FileBlockRecord row = Row();
  EXPECT_EQ(row.chain, (std::vector<ServerId>{before.chain[0], before.chain[1]}));
  for (const ServerId server : row.chain) {
    EXPECT_EQ(Server(server).Contents(block_, row.generation), torn);
  }
}

TEST_F(RepairTest, ANewActiveGoesOnWithAnAttemptAndLateCommandsAreVoid) {
  MakeCluster(3);
  const FileBlockRecord before = Row();
  BegunReconfiguration begun;
  ASSERT_TRUE(services_->proposer()
                  .Propose(services_->proposer().epoch(), "begin",
                           [&](OperationContext& context) -> Status {
                             ASSIGN_OR_RETURN(begun, EvaluateBeginReconfiguration(
                                                         context, block_, before.generation));
                             return Status::Ok();
                           })
                  .ok());
  ASSERT_TRUE(RawClient(Server(before.chain[0])).Seal(SealOf(block_, begun.sealing)).status.ok());
  services_->BecomeStandby();
  consensus_->Depose();
  ASSERT_TRUE(services_->BecomeActive(consensus_->Elect()).ok());
  for (const auto& [id, server] : chunk_servers_) Beat(id);
  Repair();
  EXPECT_GT(Row().generation, begun.sealing);
  ExpectWhole(3, contents_);
  // The old active's next command comes late.
  const auto late = RawClient(Server(before.chain[1])).Seal(SealOf(block_, Generation(90)));
  EXPECT_EQ(late.status.code(), StatusCode::kStaleEpoch);
  ExpectWhole(3, contents_);
}

TEST_F(RepairTest, WhenAllAreSuspectTheBestIsKept) {
  MakeCluster(3);
  for (auto& [id, server] : chunk_servers_) {
    server->RestartMachine();
    incarnations_[id] = 2;
    RegisterServer(id, server->port(), 2);
    wire::HeartbeatRequest request;
    request.server_id = static_cast<int32_t>(id.value());
    request.incarnation = 2;
    request.disks = RegisterRequest(1).disks;
    request.bad_replicas.emplace_back();
    request.bad_replicas[0].block_id = static_cast<int64_t>(block_.value());
    request.bad_replicas[0].generation = 1;
    request.bad_replicas[0].reason = wire::BadReplicaReason::SUSPECT;
    wire::HeartbeatResponse response;
    registry_->Heartbeat(response, request);
    ASSERT_EQ(response.info.status.code, 0);
  }
  Repair();
  ExpectWhole(3, contents_);
  EXPECT_GT(Row().generation, Generation(1));
}

TEST_F(RepairTest, ADrainingServersReplicasMoveWithoutEverBeingFewer) {
  MakeCluster(4, 2 << 20);
  const ServerId draining = Row().chain[1];
  ASSERT_TRUE(services_->proposer()
                  .Propose(services_->proposer().epoch(), "drain",
                           [&](OperationContext& context) {
                             return EvaluateSetServerState(context, draining,
                                                           ServiceState::kDraining, 0, 1);
                           })
                  .ok());
  ASSERT_TRUE(services_->registry().RefreshKnown().ok());
  Repair();
  EXPECT_THAT(Row().chain, Not(Contains(draining)));
  ExpectWhole(3, contents_);
  for (const auto& record : consensus_->log()) {
    EXPECT_EQ(record.payload.find("replicas=2"), std::string::npos);
  }
}

TEST_F(RepairTest, ADrainingServerWithASurplusReplicaNeedsNobodyToTakeIt) {
  MakeCluster(3);
  const ServerId draining = Row().chain[0];
  ASSERT_TRUE(services_->proposer()
                  .Propose(services_->proposer().epoch(), "policy and drain",
                           [&](OperationContext& context) -> Status {
                             MutableTables tables(context.transaction);
                             const InodeId inode(static_cast<uint64_t>(inode_));
                             ASSIGN_OR_RETURN(InodeRecord file, tables.GetInode(inode));
                             file.replicas = 2;
                             tables.PutInode(inode, file);
                             RETURN_IF_ERROR(EvaluateReviewBlock(context, block_, false));
                             return EvaluateSetServerState(context, draining,
                                                           ServiceState::kDraining, 0, 1);
                           })
                  .ok());
  ASSERT_TRUE(services_->registry().RefreshKnown().ok());
  Repair();
  EXPECT_THAT(Row().chain, Not(Contains(draining)));
  ExpectWhole(2, contents_);
}

TEST_F(RepairTest, SurplusReplicasGo) {
  MakeCluster(3);
  ASSERT_TRUE(services_->proposer()
                  .Propose(services_->proposer().epoch(), "policy",
                           [&](OperationContext& context) -> Status {
                             MutableTables tables(context.transaction);
                             const InodeId inode(static_cast<uint64_t>(inode_));
                             ASSIGN_OR_RETURN(InodeRecord file, tables.GetInode(inode));
                             file.replicas = 2;
                             tables.PutInode(inode, file);
                             return EvaluateReviewBlock(context, block_, false);
                           })
                  .ok());
  Repair();
  ExpectWhole(2, contents_);
}

TEST_F(RepairTest, ABlockIsCopiedWhileItIsWrittenTo) {
  MakeCluster(4, 1 << 20);
  contents_.resize(1 << 20);
  const ServerId dead = Row().chain[2];
  Kill(dead);
  ASSERT_EQ(Recover({dead}, StatusCode::kUnavailable).info.status.code, 0);
  PassTime(50'000);
  std::atomic<bool> done{false};
  std::thread repair([&] {
    Repair();
    done.store(true);
  });
  int written = 0;
  for (uint64_t i = 0; !done.load() || i < 50; ++i) {
    const std::string piece = testing_support::Pattern(100 + i, 4096);
    const auto offset = static_cast<uint32_t>(i * 37 % 200 * 4096);
    // Refused while the block is sealed; then the writer looks the chain up again.
    const Status status = Write(offset, piece);
    if (!status.ok()) {
      EXPECT_EQ(status.code(), StatusCode::kStaleGeneration) << status.ToString();
      // It may have reached some, and is sent again.
      while (!Write(offset, piece).ok()) std::this_thread::yield();
    }
    ++written;
    contents_.replace(offset, piece.size(), piece);
  }
  repair.join();
  EXPECT_GT(written, 0);
  ExpectWhole(3, contents_);
}

/// Small blocks too are copied ahead.
class BulkCopyTest : public RepairTest {
 protected:
  BulkCopyTest() { options_.repair.prepare_above_bytes = 4096; }
};

TEST_F(BulkCopyTest, NothingIsCopiedForAMoveThatWaitsForAMember) {
  MakeCluster(5);
  const FileBlockRecord before = Row();
  SetState(before.chain[0], ServiceState::kDraining);
  SetState(before.chain[2], ServiceState::kMaintenance);
  Kill(before.chain[2]);
  PassTime(10'000);
  Repair();
  EXPECT_EQ(Row().chain, before.chain);
  for (const uint32_t id : {4u, 5u}) {
    EXPECT_EQ(Server(ServerId(id)).data_plane().Load().pulled_bytes, 0) << "server " << id;
  }
  EXPECT_EQ(Queued("drain"), 1);
  EXPECT_EQ(Queued("waiting"), 1);
  Look();
  EXPECT_FALSE(services_->repair().WorkOnce()) << "no worker is to look at it all the time";
  // It comes back: on with it.
  Server(before.chain[2]).Restart();
  killed_.erase(before.chain[2]);
  incarnations_[before.chain[2]] = 2;
  RegisterServer(before.chain[2], Server(before.chain[2]).port(), 2);
  Repair();
  EXPECT_THAT(Row().chain, Not(Contains(before.chain[0])));
  ExpectWhole(3, contents_);
}

TEST_F(RepairTest, LostBlocksOfRemovedFilesAreForgotten) {
  MakeCluster(3);
  for (const ServerId server : Row().chain) Kill(server);
  PassTime(50'000);
  Look();
  EXPECT_EQ(Queued("lost"), 1);
  Change("unlink", [&](OperationContext& context) {
    MutableTables(context.transaction).DeleteBlockOwner(block_);
    for (const ServerId server : Row().chain) {
      MutableTables(context.transaction).DeleteReplica(server, block_);
    }
    return Status::Ok();
  });
  PassTime(10'000);
  Look();
  EXPECT_EQ(Queued("lost"), 0);
}

TEST_F(RepairTest, ASealedBlockGoesBeforeOlderOnesOfItsClass) {
  MakeCluster(5);
  const auto generation_of = [&](int64_t inode) {
    auto row = tables().FindFileBlock(InodeId(static_cast<uint64_t>(inode)), 0);
    return row.ok() && *row ? (*row)->generation : Generation();
  };
  const int64_t first = inode_;
  const FileBlockRecord chain = Row();
  // On the same servers as the first.
  Kill(ServerId(4));
  Kill(ServerId(5));
  PassTime(10'000);
  ASSERT_NO_FATAL_FAILURE(MakeFile("g", 64 << 10));
  killed_.clear();
  for (const uint32_t id : {4u, 5u}) {
    Server(ServerId(id)).Restart();
    incarnations_[ServerId(id)] = 2;
    RegisterServer(ServerId(id), Server(ServerId(id)).port(), 2);
  }
  Kill(chain.chain[0]);
  Kill(chain.chain[1]);
  PassTime(10'000);
  Look();
  ASSERT_EQ(Queued("one_left"), 2);
  BegunReconfiguration begun;
  Change("begin", [&](OperationContext& context) -> Status {
    ASSIGN_OR_RETURN(begun, EvaluateBeginReconfiguration(context, block_, Row().generation));
    return Status::Ok();
  });
  Look();
  ASSERT_TRUE(services_->repair().WorkOnce());
  EXPECT_GT(generation_of(inode_), begun.sealing) << "it is served again";
  EXPECT_EQ(generation_of(first), Generation(1));
  Repair();
  ExpectWhole(3, contents_);
}

TEST_F(BulkCopyTest, ATargetThatCouldNotCopyIsNotPartOfTheAttempt) {
  MakeCluster(5);
  const FileBlockRecord before = Row();
  SilentPort silent;
  Kill(ServerId(5));
  PassTime(10'000);
  killed_.erase(ServerId(5));
  incarnations_[ServerId(5)] = 2;
  RegisterServer(ServerId(5), silent.port(), 2);
  Kill(before.chain[0]);
  Kill(before.chain[1]);
  PassTime(10'000);
  Look();
  ASSERT_TRUE(services_->repair().WorkOnce());
  EXPECT_EQ(Row().chain, (std::vector<ServerId>{before.chain[2], ServerId(4)}));
  EXPECT_EQ(silent.Connections(), 1) << "while the block was sealed it was asked once more";
}

TEST_F(RepairTest, AnInconsistentRowHoldsUpNoOther) {
  MakeCluster(5);
  const BlockId torn = block_;
  ASSERT_NO_FATAL_FAILURE(MakeFile("g", 64 << 10));
  const FileBlockRecord before = Row();
  // The scans and the notices meet it before the other.
  Change("damage", [&](OperationContext& context) {
    MutableTables tables(context.transaction);
    tables.PutBlockOwner(torn, {InodeId(999), 0});
    RepairRecord repair;
    repair.reasons = kRepairShort;
    tables.PutRepair(torn, repair);
    for (const ServerId server : before.chain) tables.PutReplica(server, torn, {Generation(1)});
    return Status::Ok();
  });
  Kill(before.chain[0]);
  PassTime(50'000);
  services_->repair().NoticeBlocks({torn, block_});
  Repair();
  ASSERT_THAT(Row().chain, Not(Contains(before.chain[0])));
  ExpectWhole(3, contents_);
}

TEST_F(RepairTest, AMoveWhoseBlockWasLostForAWhileIsGivenUp) {
  MakeCluster(4);
  const ServerId source = Row().chain[0];
  Change("one replica, balance", [&](OperationContext& context) -> Status {
    MutableTables tables(context.transaction);
    const InodeId inode(static_cast<uint64_t>(inode_));
    ASSIGN_OR_RETURN(InodeRecord file, tables.GetInode(inode));
    file.replicas = file.min_replicas = 1;
    tables.PutInode(inode, file);
    FileBlockRecord row = Row();
    for (size_t i = 1; i < row.chain.size(); ++i) tables.DeleteReplica(row.chain[i], block_);
    row.chain = {source};
    tables.PutFileBlock(inode, 0, row);
    BalanceRecord record;
    record.state = BalanceState::kRunning;
    record.started_at_ns = context.now_ns;
    tables.PutBalance(record);
    return Status::Ok();
  });
  const auto scan = [&](bool source_too, int64_t incarnation) {
    Advance(1000);
    for (const auto& [id, server] : chunk_servers_) {
      if (id == source && !source_too) continue;
      ReportUsed(id, id == source ? 300 << 10 : 0, id == source ? incarnation : 1);
    }
    services_->repair().NoticeStates();
    while (services_->repair().Step()) {
    }
  };
  scan(true, 1);
  scan(true, 1);
  ASSERT_EQ(Queued("balance"), 1) << "planned, not begun";
  for (int i = 0; i < 45; ++i) scan(false, 1);
  EXPECT_EQ(Queued("lost"), 1);
  RegisterServer(source, Server(source).port(), 2);
  scan(true, 2);
  EXPECT_EQ(Queued("lost"), 0);
  // The others are even, so that the run ended without the move.
  const auto balance = tables().GetBalance();
  ASSERT_TRUE(balance.ok());
  EXPECT_EQ(balance->state, BalanceState::kDone);
}

}  // namespace
}  // namespace tercet
