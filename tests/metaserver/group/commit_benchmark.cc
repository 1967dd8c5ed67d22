// Commits per second of metadata groups of one and of three members over the state database, all
// members on one real disk and in one process. Not part of ctest:
//   build/release/tests/commit_benchmark [FOLDER] [SECONDS] [MEMBERS]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/env/posix_disk.h"
#include "common/env/random.h"
#include "common/rpc/thrift_server.h"
#include "metaserver/group/group_member.h"
#include "metaserver/namespace/database.h"

namespace tercet {
namespace {

using SteadyClock = std::chrono::steady_clock;

// About 300 bytes in five rows, as the creation of a file writes.
WriteSet SomeWriteSet(uint64_t number) {
  WriteSet set;
  set.summary = "create parent=1 name=file-" + std::to_string(number);
  const std::string id = std::to_string(1'000'000'000'000 + number * 7919 % 1'000'000'007);
  set.entries.push_back({"d" + id, std::string(20, 'd')});
  set.entries.push_back({"i" + id, std::string(70, 'i')});
  set.entries.push_back({"parent", std::string(40, 'p')});
  set.entries.push_back({"session" + std::to_string(number % 64), std::string(30, 's')});
  set.entries.push_back({"counter", std::to_string(number)});
  return set;
}

struct Run {
  GroupMember& member;
  Database& database;
  Epoch epoch;
  std::mutex proposer;
  uint64_t number = 0;               // guarded by proposer
  std::vector<double> latencies_us;  // guarded by proposer
};

void Client(Run& run, SteadyClock::time_point end) {
  std::vector<double> latencies;
  while (SteadyClock::now() < end) {
    const auto start = SteadyClock::now();
    JournalIndex index;
    {
      std::lock_guard lock(run.proposer);
      WriteSet set = SomeWriteSet(++run.number);
      Result<JournalIndex> appended = run.member.Append(run.epoch, set.Encode());
      if (!appended.ok()) {
        std::fprintf(stderr, "%s\n", appended.status().ToString().c_str());
        std::exit(1);
      }
      index = *appended;
      run.database.AddProposed(index, set);
    }
    if (Status status = run.member.WaitApplied(run.epoch, index); !status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      std::exit(1);
    }
    latencies.push_back(
        std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count());
  }
  std::lock_guard lock(run.proposer);
  run.latencies_us.insert(run.latencies_us.end(), latencies.begin(), latencies.end());
}

class NoRole final : public ActiveRole {
 public:
  Status BecomeActive(Epoch) override { return Status::Ok(); }
  void BecomeStandby() override {}
};

// Passes on to a member that starts after its server.
class Door final : public wire::GroupServiceIf {
 public:
  void Open(std::shared_ptr<wire::GroupServiceIf> target) {
    std::lock_guard lock(mutex_);
    target_ = std::move(target);
  }
  void Hello(wire::HelloResponse& response, const wire::HelloRequest& request) override {
    response.status.code = static_cast<int32_t>(StatusCode::kUnavailable);
    if (auto target = Target()) target->Hello(response, request);
  }
  void Join(wire::JoinResponse& response, const wire::JoinRequest& request) override {
    if (auto target = Target()) target->Join(response, request);
  }
  void Deliver(const wire::GroupMessage& message) override {
    if (auto target = Target()) target->Deliver(message);
  }

 private:
  std::shared_ptr<wire::GroupServiceIf> Target() {
    std::lock_guard lock(mutex_);
    return target_;
  }
  std::mutex mutex_;
  std::shared_ptr<wire::GroupServiceIf> target_;
};

struct Machine {
  std::string folder;
  NoRole role;
  std::shared_ptr<Door> door = std::make_shared<Door>();
  std::unique_ptr<Database> database;
  std::unique_ptr<ThriftServer> server;
  std::unique_ptr<GroupMember> member;

  ~Machine() {
    if (member != nullptr) member->Stop(std::chrono::milliseconds(0));
    member.reset();
  }
  Status Serve() {
    ThriftServerOptions options;
    options.listen = HostPort{"127.0.0.1", 0};
    ASSIGN_OR_RETURN(
        server, ThriftServer::Start(
                    options, {{"group", std::make_shared<wire::GroupServiceProcessor>(door)}}));
    return Status::Ok();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(server->port()); }
  Status Start(MemberId id, const Membership& membership) {
    DatabaseOptions database_options;
    database_options.path = folder + "/state";
    ASSIGN_OR_RETURN(database, Database::Open(database_options));
    JournalOptions journal_options;
    journal_options.folder = folder + "/journal";
    journal_options.identity.cluster_id = "BENCHMARKCLUSTER";
    ASSIGN_OR_RETURN(std::unique_ptr<Journal> journal,
                     Journal::Open(RealDisk(), SystemRandom(), journal_options));
    GroupMemberOptions options;
    options.member_state_path = folder + "/journal/member";
    options.address = address();
    options.epoch_payload = WriteSet{"epoch", {}}.Encode();
    MemberState state;
    state.group_id = 1;
    state.self = id;
    state.base_membership = membership;
    ASSIGN_OR_RETURN(member, GroupMember::Start(options, std::move(journal), state, database.get(),
                                                &role, RealDisk(), RealClock(), SystemRandom()));
    door->Open(member->Handler());
    return Status::Ok();
  }
};

void Report(const GroupMemberCounters& before, const GroupMemberCounters& after,
            std::vector<double>& latencies, size_t members, int threads, double took) {
  const auto records = static_cast<double>(after.records - before.records);
  const auto syncs = static_cast<double>(after.syncs - before.syncs);
  const auto applies = static_cast<double>(after.applies - before.applies);
  std::sort(latencies.begin(), latencies.end());
  auto percentile = [&](double p) {
    return latencies[static_cast<size_t>(p * static_cast<double>(latencies.size() - 1))];
  };
  std::printf(
      "%zu members %3d threads %8.0f records/s  p50 %5.0f us  p99 %6.0f us  max %7.0f us  %5.1f "
      "records/sync  sync %4.0f us  apply %4.0f us  %.1f messages/sync\n",
      members, threads, records / took, percentile(0.5), percentile(0.99), latencies.back(),
      records / syncs, static_cast<double>(after.sync_nanos - before.sync_nanos) / 1e3 / syncs,
      static_cast<double>(after.apply_nanos - before.apply_nanos) / 1e3 / applies,
      static_cast<double>(after.messages_sent - before.messages_sent) / syncs);
  std::fflush(stdout);
}

Status Measure(const std::string& folder, int threads, double seconds, size_t members) {
  std::vector<std::unique_ptr<Machine>> machines;
  Membership membership;
  for (size_t i = 0; i < members; ++i) {
    auto& machine = machines.emplace_back(std::make_unique<Machine>());
    machine->folder = folder + "/" + std::to_string(members) + "-" + std::to_string(threads) + "-" +
                      std::to_string(i + 1);
    std::filesystem::remove_all(machine->folder);
    RETURN_IF_ERROR(machine->Serve());
    membership.members.push_back(
        {membership.next_id, MemberKind::kMetaserver, true, machine->address()});
    membership.next_id = membership.next_id.Next();
  }
  for (size_t i = 0; i < members; ++i) {
    RETURN_IF_ERROR(machines[i]->Start(membership.members[i].id, membership));
  }
  Machine* active = nullptr;
  while (active == nullptr) {
    for (auto& machine : machines) {
      machine->member->AwaitActive(std::chrono::milliseconds(100));
      if (machine->member->status().active) active = machine.get();
    }
  }
  Run run{*active->member, *active->database, active->member->state().epoch, {}, 0, {}};
  const GroupMemberCounters before = active->member->counters();
  const auto start = SteadyClock::now();
  const auto end = start + std::chrono::duration_cast<SteadyClock::duration>(
                               std::chrono::duration<double>(seconds));
  std::vector<std::thread> clients;
  for (int i = 0; i < threads; ++i) clients.emplace_back([&] { Client(run, end); });
  for (std::thread& client : clients) client.join();
  const double took = std::chrono::duration<double>(SteadyClock::now() - start).count();
  Report(before, active->member->counters(), run.latencies_us, members, threads, took);
  return Status::Ok();
}

}  // namespace
}  // namespace tercet

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : "/tmp/tercet-commit-benchmark";
  const double seconds = argc > 2 ? std::atof(argv[2]) : 5;
  std::vector<size_t> groups = {1, 3};
  if (argc > 3) groups = {static_cast<size_t>(std::atoi(argv[3]))};
  for (size_t members : groups) {
    for (int threads : {1, 8, 64}) {
      if (tercet::Status status = tercet::Measure(folder, threads, seconds, members);
          !status.ok()) {
        std::fprintf(stderr, "%s\n", status.ToString().c_str());
        return 1;
      }
    }
  }
  return 0;
}
