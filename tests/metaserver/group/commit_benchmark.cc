// Commits per second of a group of one member over the state database, on a real disk. Not part of
// ctest:
//   build/release/tests/commit_benchmark [FOLDER] [SECONDS]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "common/env/clock.h"
#include "common/env/posix_disk.h"
#include "common/env/random.h"
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
    if (Status status = run.member.WaitApplied(index); !status.ok()) {
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

MemberState OnlyMember() {
  MemberState state;
  state.group_id = 1;
  state.self = MemberId(1);
  state.base_membership.members = {{MemberId(1), MemberKind::kMetaserver, true, "127.0.0.1:1"}};
  state.base_membership.next_id = MemberId(2);
  return state;
}

Status Measure(const std::string& folder, int threads, double seconds) {
  DatabaseOptions database_options;
  database_options.path = folder + "/state";
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(database_options));
  JournalOptions journal_options;
  journal_options.folder = folder + "/journal";
  ASSIGN_OR_RETURN(std::unique_ptr<Journal> journal,
                   Journal::Open(RealDisk(), SystemRandom(), journal_options));
  GroupMemberOptions options;
  options.member_state_path = journal_options.folder + "/member";
  options.address = "127.0.0.1:1";
  options.epoch_payload = WriteSet{"epoch", {}}.Encode();
  Result<MemberState> state = LoadMemberState(RealDisk(), options.member_state_path);
  if (state.code() == StatusCode::kNotFound) {
    state = OnlyMember();
    RETURN_IF_ERROR(SaveMemberState(RealDisk(), options.member_state_path, *state));
  }
  RETURN_IF_ERROR(state.status());
  NoRole role;
  ASSIGN_OR_RETURN(std::unique_ptr<GroupMember> member,
                   GroupMember::Start(options, std::move(journal), *state, database.get(), &role,
                                      RealDisk(), RealClock(), SystemRandom()));
  member->AwaitActive(std::chrono::seconds(10));
  if (!member->state().active) {
    return Status(StatusCode::kNotActive, "the only member did not become active");
  }
  Run run{*member, *database, member->state().epoch, {}, 0, {}};
  const auto start = SteadyClock::now();
  const auto end = start + std::chrono::duration_cast<SteadyClock::duration>(
                               std::chrono::duration<double>(seconds));
  std::vector<std::thread> clients;
  for (int i = 0; i < threads; ++i) clients.emplace_back([&] { Client(run, end); });
  for (std::thread& client : clients) client.join();
  const double took = std::chrono::duration<double>(SteadyClock::now() - start).count();
  const GroupMemberCounters counters = member->counters();
  std::vector<double>& latencies = run.latencies_us;
  std::sort(latencies.begin(), latencies.end());
  auto percentile = [&](double p) {
    return latencies[static_cast<size_t>(p * static_cast<double>(latencies.size() - 1))];
  };
  std::printf(
      "%3d threads %9.0f records/s  p50 %6.0f us  p99 %6.0f us  max %7.0f us  %5.1f records/sync  "
      "sync %4.0f us  apply %4.0f us  %llu checkpoints\n",
      threads, static_cast<double>(counters.records) / took, percentile(0.5), percentile(0.99),
      latencies.back(), static_cast<double>(counters.records) / static_cast<double>(counters.syncs),
      static_cast<double>(counters.sync_nanos) / 1e3 / static_cast<double>(counters.syncs),
      static_cast<double>(counters.apply_nanos) / 1e3 / static_cast<double>(counters.applies),
      static_cast<unsigned long long>(counters.checkpoints));
  std::fflush(stdout);
  member->Stop();
  return Status::Ok();
}

}  // namespace
}  // namespace tercet

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : "/tmp/tercet-commit-benchmark";
  const double seconds = argc > 2 ? std::atof(argv[2]) : 5;
  for (int threads : {1, 8, 64}) {
    if (tercet::Status status = tercet::Measure(folder, threads, seconds); !status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      return 1;
    }
  }
  return 0;
}
