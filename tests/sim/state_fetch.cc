#include "tests/sim/state_fetch.h"

#include <utility>
#include <vector>

#include "tests/sim/process.h"

namespace tercet::sim {
namespace {

constexpr size_t kMaxSnapshots = 4;
constexpr SimTime kPatience = 150 * kMillisecond;

}  // namespace

SnapshotServer::Opened SnapshotServer::Open(Process& process) {
  Opened opened;
  Database* database = process.database();
  if (database == nullptr || database->applied_index() < database->consistent_from() ||
      database->applied_index().value() == 0) {
    return opened;
  }
  const JournalIndex index = database->applied_index();
  opened.id = next_id_++;
  opened.base.cluster_id = process.machine().world().cluster_id;
  opened.base.group_id = process.machine().world().group_id;
  opened.base.index = index;
  opened.base.consistent_from = index;
  opened.base.epoch = database->applied_epoch();
  const auto [membership_index, membership] = process.core().MembershipAt(index);
  opened.base.membership = membership;
  opened.base.membership_index = membership_index;
  snapshots_[opened.id] = database->TakeSnapshot();
  if (snapshots_.size() > kMaxSnapshots) snapshots_.erase(snapshots_.begin());
  return opened;
}

std::optional<StateRows> SnapshotServer::Read(uint64_t id, const std::string& after_key,
                                              size_t max_bytes) {
  auto it = snapshots_.find(id);
  if (it == snapshots_.end()) return std::nullopt;
  Result<StateRows> rows = ReadStateRows(*it->second, after_key, max_bytes);
  if (!rows.ok()) return std::nullopt;
  return std::move(rows).value();
}

Result<std::unique_ptr<StateFetch>> StateFetch::Begin(Process& process) {
  std::unique_ptr<StateFetch> fetch(new StateFetch(process));
  ASSIGN_OR_RETURN(fetch->builder_,
                   StateBuilder::Open(process.StateOptions(Process::kNextStateFolder)));
  return fetch;
}

void StateFetch::Watch() {
  process_.machine().Post(kPatience, [ticket = ticket_](Process& process) {
    StateFetch* fetch = process.fetch();
    if (fetch != nullptr && fetch->Expected(ticket)) fetch->AskForSnapshot();
  });
}

void StateFetch::AskForSnapshot() {
  Machine& self = process_.machine();
  World& world = self.world();
  ++ticket_;
  Watch();
  std::vector<int> candidates;
  for (const Member& member : process_.core().membership().members) {
    if (member.kind == MemberKind::kMetaserver && member.id != self.id()) {
      candidates.push_back(static_cast<int>(member.id.value()));
    }
  }
  if (candidates.empty()) return;
  server_ = candidates[world.random.Below(candidates.size())];
  Machine* server = world.Find(server_);
  if (server == nullptr) return;
  world.network.Send(self.number(), server_, [&self, server, ticket = ticket_] {
    server->Deliver([&self, ticket](Process& there) {
      const SnapshotServer::Opened opened = there.snapshots().Open(there);
      const int number = there.machine().number();
      self.world().network.Send(number, self.number(), [&self, number, opened, ticket] {
        self.Deliver([number, opened, ticket](Process& here) {
          StateFetch* fetch = here.fetch();
          if (fetch != nullptr && fetch->Expected(ticket)) fetch->OnSnapshot(number, opened);
        });
      });
    });
  });
}

void StateFetch::OnSnapshot(int server, const SnapshotServer::Opened& opened) {
  if (opened.id == 0) return;  // the watch goes on
  Status status;
  if (!builder_->begun()) {
    // Records that are released here must be in it.
    if (opened.base.index.Next() < process_.journal_range().first) return;
    status = builder_->Begin(opened.base);
  } else {
    status = builder_->GoOn(opened.base.index);
  }
  SIM_TRACE(process_.machine().world().trace, "m{} fetches from m{}, snapshot at {}: {}",
            process_.machine().number(), server, opened.base.index, status);
  if (status.code() == StatusCode::kInvalidArgument) return;  // an earlier one: elsewhere
  if (!status.ok()) {
    process_.Fault(status);
    return;
  }
  server_ = server;
  snapshot_ = opened.id;
  if (builder_->base().index.Next() < process_.journal_range().first) {
    StartOver();
    return;
  }
  AskForRows();
}

void StateFetch::AskForRows() {
  Machine& self = process_.machine();
  World& world = self.world();
  ++ticket_;
  Watch();
  Machine* server = world.Find(server_);
  const size_t max_bytes = 1 + world.random.Below(2000);
  world.network.Send(
      self.number(), server_,
      [&self, server, max_bytes, id = snapshot_, after = builder_->after_key(), ticket = ticket_] {
        server->Deliver([&self, max_bytes, id, after, ticket](Process& there) {
          std::optional<StateRows> rows = there.snapshots().Read(id, after, max_bytes);
          self.world().network.Send(there.machine().number(), self.number(),
                                    [&self, rows = std::move(rows), ticket] {
                                      self.Deliver([rows, ticket](Process& here) {
                                        StateFetch* fetch = here.fetch();
                                        if (fetch != nullptr && fetch->Expected(ticket)) {
                                          fetch->OnRows(rows);
                                        }
                                      });
                                    });
        });
      });
}

void StateFetch::OnRows(const std::optional<StateRows>& rows) {
  World& world = process_.machine().world();
  if (!rows || world.OneIn(40)) {
    AskForSnapshot();
    return;
  }
  Status status;
  if (!rows->rows.empty()) status = builder_->Put(rows->rows, rows->last_key);
  if (status.ok() && !rows->end) {
    AskForRows();
    return;
  }
  if (!status.ok()) {
    process_.Fault(status);
    return;
  }
  const StateBase base = builder_->base();
  if (base.index.Next() < process_.journal_range().first) {
    StartOver();
    return;
  }
  // In this order: at the next start a whole state is one that the journal goes on from.
  status = process_.AlignJournal(base);
  if (status.ok()) status = builder_->Finish();
  builder_.reset();
  if (!status.ok()) {
    process_.Fault(status);
    return;
  }
  process_.InstallState(base);
}

// The journal was begun anew behind what the first snapshot has: its records are nowhere here.
void StateFetch::StartOver() {
  builder_.reset();
  Status status = RemoveFolder(process_.machine().disk(), Process::kNextStateFolder);
  if (!status.ok()) {
    process_.Fault(status);
    return;
  }
  process_.End(ProcessEnd::kRestart, "it has to fetch the state from the start");
}

}  // namespace tercet::sim
