#include "tests/fuse_client/core/fake_metaserver.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/reads.h"
#include "tests/metaserver/ops/invariants.h"

namespace tercet {
namespace {

/// Each connection has a thread of its own.
thread_local size_t current_door = 0;

}  // namespace

Result<std::vector<ServerId>> RoundRobinChooser::Choose(const PlacementRequest& request) {
  std::vector<ServerId> chosen;
  bool some_full = false;
  for (size_t i = 0; i < servers.size() && chosen.size() < static_cast<size_t>(request.wanted);
       ++i) {
    const ServerId server = servers[(next + i) % servers.size()];
    if (std::ranges::find(request.exclude, server) != request.exclude.end()) continue;
    if (std::ranges::find(request.keep, server) != request.keep.end()) continue;
    if (full.contains(server)) {
      some_full = true;
      continue;
    }
    chosen.push_back(server);
  }
  ++next;
  if (chosen.size() >= static_cast<size_t>(request.minimum)) return chosen;
  return Status(some_full ? StatusCode::kNoSpace : StatusCode::kUnavailable,
                "too few servers are there");
}

/// What a request meets before it gets to the handler.
class FakeMetaserver::DoorProcessor final : public apache::thrift::TProcessor {
 public:
  DoorProcessor(FakeMetaserver* fake, size_t door, std::shared_ptr<apache::thrift::TProcessor> next)
      : fake_(fake), door_(door), next_(std::move(next)) {}

  bool process(std::shared_ptr<apache::thrift::protocol::TProtocol> in,
               std::shared_ptr<apache::thrift::protocol::TProtocol> out, void* context) override {
    {
      std::unique_lock lock(fake_->mutex_);
      Door& door = *fake_->doors_[door_];
      ++door.requests;
      fake_->changed_.notify_all();
      fake_->changed_.wait(lock, [&] { return door.role != Role::kFrozen || door.stopping; });
      if (door.stopping) return false;
    }
    current_door = door_;
    return next_->process(in, out, context);
  }

 private:
  FakeMetaserver* const fake_;
  const size_t door_;
  const std::shared_ptr<apache::thrift::TProcessor> next_;
};

class FakeMetaserver::Handler final : public wire::MetadataServiceNull {
 public:
  explicit Handler(FakeMetaserver* fake) : fake_(fake) {}

  void FindActive(wire::FindActiveResponse& out, const wire::FindActiveRequest&) override {
    std::lock_guard lock(fake_->mutex_);
    if (fake_->BeginLocked("FindActive", &out.info)) {
      fake_->SetStatusLocked(Status::Ok(), &out.info);
    }
  }
  void OpenSession(wire::OpenSessionResponse& out, const wire::OpenSessionRequest& in) override {
    fake_->OpenSession(in, &out);
  }
  void RenewSession(wire::RenewSessionResponse& out, const wire::RenewSessionRequest& in) override {
    fake_->RenewSession(in, &out);
  }
  void CloseSession(wire::CloseSessionResponse& out, const wire::CloseSessionRequest& in) override {
    std::lock_guard lock(fake_->mutex_);
    if (!fake_->BeginLocked("CloseSession", &out.info)) return;
    fake_->SetStatusLocked(Status::Ok(), &out.info);
    fake_->sessions_.erase(in.session_id);
  }
  void StatFileSystem(wire::StatFileSystemResponse& out,
                      const wire::StatFileSystemRequest&) override {
    std::lock_guard lock(fake_->mutex_);
    if (!fake_->BeginLocked("StatFileSystem", &out.info)) return;
    fake_->SetStatusLocked(Status::Ok(), &out.info);
    out.total_bytes = 1'000'000;
    out.available_bytes = 400'000;
    out.inode_count = 7;
  }

  void RecoverBlock(wire::RecoverBlockResponse& out, const wire::RecoverBlockRequest& in) override {
    fake_->RecoverBlock(in, &out);
  }
  void ReportBadReplicas(wire::ReportBadReplicasResponse& out,
                         const wire::ReportBadReplicasRequest& in) override {
    std::lock_guard lock(fake_->mutex_);
    if (!fake_->BeginLocked("ReportBadReplicas", &out.info)) return;
    fake_->SetStatusLocked(Status::Ok(), &out.info);
    fake_->bad_replicas_.insert(fake_->bad_replicas_.end(), in.replicas.begin(), in.replicas.end());
    fake_->changed_.notify_all();
  }

#define FAKE_READ(name)                                                          \
  void name(wire::name##Response& out, const wire::name##Request& in) override { \
    fake_->Read(#name, &tercet::name, in, &out);                                 \
  }
  FAKE_READ(Lookup)
  FAKE_READ(GetAttributes)
  FAKE_READ(ReadLink)
  FAKE_READ(ReadDirectory)
  FAKE_READ(OpenFile)
  FAKE_READ(GetBlocks)
  FAKE_READ(GetXattr)
  FAKE_READ(ListXattr)
#undef FAKE_READ

#define FAKE_MUTATION(name)                                                      \
  void name(wire::name##Response& out, const wire::name##Request& in) override { \
    fake_->Mutate(#name, &Evaluate##name, in, &out);                             \
  }
  FAKE_MUTATION(CreateFile)
  FAKE_MUTATION(MakeNode)
  FAKE_MUTATION(Link)
  FAKE_MUTATION(Unlink)
  FAKE_MUTATION(RemoveDirectory)
  FAKE_MUTATION(Rename)
  FAKE_MUTATION(SetAttributes)
  FAKE_MUTATION(SetXattr)
  FAKE_MUTATION(RemoveXattr)
  FAKE_MUTATION(AllocateBlock)
  FAKE_MUTATION(CommitWrite)
#undef FAKE_MUTATION

 private:
  FakeMetaserver* const fake_;
};

FakeMetaserver::FakeMetaserver(FakeMetaserverOptions options)
    : options_(options), chooser_(std::make_unique<RoundRobinChooser>()) {
  FormatOptions format;
  format.cluster_id = kFakeClusterId;
  format.block_size_bytes = options_.block_size_bytes;
  format.replicas = options_.replicas;
  format.min_replicas = options_.min_replicas;
  Transaction transaction(view_);
  OperationContext context{transaction, SessionId(), now_ns_, *chooser_};
  EXPECT_TRUE(EvaluateFormat(context, format).ok());
  view_.Apply(transaction.Take());
  wire::OpenSessionRequest other;
  other.client_uuid = "another-client-0";
  other_session_ = SessionId(
      static_cast<uint64_t>(EvaluateLocked(&EvaluateOpenSession, other, SessionId())->session_id));
  AddDoor(Role::kActive);
}

FakeMetaserver::~FakeMetaserver() {
  for (size_t door = 0; door < doors_.size(); ++door) StopDoor(door);
}

size_t FakeMetaserver::AddDoor(Role role, int64_t epoch) {
  size_t number = 0;
  {
    std::lock_guard lock(mutex_);
    number = doors_.size();
    doors_.push_back(std::make_unique<Door>());
    doors_.back()->role = role;
    doors_.back()->epoch = epoch;
  }
  RestartDoor(number);
  return number;
}

void FakeMetaserver::SetRole(size_t door, Role role, int64_t epoch, const std::string& hint) {
  std::lock_guard lock(mutex_);
  doors_[door]->role = role;
  doors_[door]->epoch = epoch;
  doors_[door]->hint = hint;
  changed_.notify_all();
}

void FakeMetaserver::Stop() { StopDoor(0); }

void FakeMetaserver::StopDoor(size_t door) {
  std::unique_ptr<ThriftServer> server;
  {
    std::lock_guard lock(mutex_);
    doors_[door]->stopping = true;
    server = std::move(doors_[door]->server);
    changed_.notify_all();
  }
  server.reset();
}

void FakeMetaserver::RestartDoor(size_t number) {
  ThriftServerOptions options;
  {
    std::lock_guard lock(mutex_);
    doors_[number]->stopping = false;
    options.listen = {"127.0.0.1", doors_[number]->port};
  }
  auto processor = std::make_shared<DoorProcessor>(
      this, number,
      std::make_shared<wire::MetadataServiceProcessor>(std::make_shared<Handler>(this)));
  auto server = ThriftServer::Start(options, {{"metadata", processor}});
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  std::lock_guard lock(mutex_);
  doors_[number]->server = std::move(*server);
  doors_[number]->port = doors_[number]->server->port();
}

HostPort FakeMetaserver::address(size_t door) const {
  std::lock_guard lock(mutex_);
  return {"127.0.0.1", doors_[door]->port};
}

int FakeMetaserver::requests(size_t door) const {
  std::lock_guard lock(mutex_);
  return doors_[door]->requests;
}

int FakeMetaserver::finds(size_t door) const {
  std::lock_guard lock(mutex_);
  return doors_[door]->finds;
}

int FakeMetaserver::answered(size_t door) const {
  std::lock_guard lock(mutex_);
  return doors_[door]->answered;
}

void FakeMetaserver::AwaitRequests(size_t door, int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return doors_[door]->requests >= count; });
}

void FakeMetaserver::AwaitFinds(size_t door, int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return doors_[door]->finds >= count; });
}

FakeMetaserver::Door& FakeMetaserver::CurrentDoorLocked() { return *doors_[current_door]; }

void FakeMetaserver::SetStatusLocked(const Status& status, wire::ReplyInfo* info) {
  info->status.code = static_cast<int32_t>(status.code());
  info->status.message = status.message();
  info->epoch = CurrentDoorLocked().epoch;
}

void FakeMetaserver::SetServers(const std::vector<ReplicaAddress>& servers) {
  std::lock_guard lock(mutex_);
  for (const ReplicaAddress& server : servers) {
    wire::RegisterServerRequest request;
    request.server_uuid = "server-uuid-" + std::to_string(1000 + server.server.value());
    request.host = server.address.host;
    request.port = server.address.port;
    auto response = EvaluateLocked(&EvaluateRegisterServer, request, SessionId());
    ASSERT_TRUE(response.ok()) << response.status().ToString();
    ASSERT_EQ(static_cast<uint32_t>(response->server_id), server.server.value());
    if (std::ranges::find(chooser_->servers, server.server) == chooser_->servers.end()) {
      chooser_->servers.push_back(server.server);
    }
  }
}

void FakeMetaserver::StallReplies(const std::string& method, int count) {
  std::lock_guard lock(mutex_);
  stalls_[method] = count;
}

void FakeMetaserver::ResumeReplies() {
  std::lock_guard lock(mutex_);
  stalls_.clear();
  ++resumed_;
  changed_.notify_all();
}

void FakeMetaserver::FailNext(const std::string& method, StatusCode code, int count) {
  std::lock_guard lock(mutex_);
  failures_[method] = {code, count};
}

void FakeMetaserver::PointTo(const std::string& hint) {
  SetRole(0, hint.empty() ? Role::kActive : Role::kStandby, 0, hint);
}

void FakeMetaserver::LoseSessions() {
  std::lock_guard lock(mutex_);
  for (const auto& [id, slots] : sessions_) {
    Transaction transaction(view_);
    OperationContext context{transaction, SessionId(), now_ns_, *chooser_};
    EXPECT_TRUE(EvaluateExpireSession(context, SessionId(static_cast<uint64_t>(id)), 100).ok());
    view_.Apply(transaction.Take());
  }
  sessions_.clear();
}

void FakeMetaserver::SetServerFull(ServerId server, bool full) {
  std::lock_guard lock(mutex_);
  if (full) {
    chooser_->full.insert(server);
  } else {
    chooser_->full.erase(server);
  }
}

void FakeMetaserver::Reclaim(int64_t inode) {
  std::lock_guard lock(mutex_);
  for (bool done = false; !done;) {
    Transaction transaction(view_);
    OperationContext context{transaction, SessionId(), now_ns_, *chooser_};
    auto result = EvaluateReclaimOrphan(context, InodeId(static_cast<uint64_t>(inode)), 100);
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    view_.Apply(transaction.Take());
    done = result->done;
  }
}

void FakeMetaserver::Condemn(int64_t inode) {
  std::lock_guard lock(mutex_);
  condemned_.insert(inode);
}

std::set<int64_t> FakeMetaserver::released() const {
  std::lock_guard lock(mutex_);
  return released_;
}

void FakeMetaserver::AwaitReleased(int64_t inode) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return released_.contains(inode); });
}

int FakeMetaserver::calls(const std::string& method) const {
  std::lock_guard lock(mutex_);
  auto it = calls_.find(method);
  return it == calls_.end() ? 0 : it->second;
}

int FakeMetaserver::evaluated(const std::string& method) const {
  std::lock_guard lock(mutex_);
  auto it = evaluated_.find(method);
  return it == evaluated_.end() ? 0 : it->second;
}

std::vector<wire::MutationContext> FakeMetaserver::contexts(const std::string& method) const {
  std::lock_guard lock(mutex_);
  auto it = contexts_.find(method);
  return it == contexts_.end() ? std::vector<wire::MutationContext>() : it->second;
}

void FakeMetaserver::AwaitCalls(const std::string& method, int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return calls_[method] >= count; });
}

int FakeMetaserver::open_sessions() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(sessions_.size());
}

std::vector<std::string> FakeMetaserver::Violations() const {
  std::lock_guard lock(mutex_);
  return FindViolations(view_);
}

/// Counts the call; false when it was answered with a fault.
bool FakeMetaserver::BeginLocked(const char* method, wire::ReplyInfo* info) {
  ++calls_[method];
  Door& door = CurrentDoorLocked();
  ++(std::string_view(method) == "FindActive" ? door.finds : door.answered);
  changed_.notify_all();
  if (door.role == Role::kStandby) {
    SetStatusLocked(Status(StatusCode::kNotActive, "standby"), info);
    if (!door.hint.empty()) info->__set_active_hint(door.hint);
    return false;
  }
  auto failure = failures_.find(method);
  if (failure != failures_.end() && failure->second.second > 0) {
    --failure->second.second;
    SetStatusLocked(Status(failure->second.first, "injected"), info);
    return false;
  }
  return true;
}

/// Holds the reply back if it is to be.
void FakeMetaserver::FinishCall(const char* method) {
  std::unique_lock lock(mutex_);
  auto stall = stalls_.find(method);
  if (stall == stalls_.end() || stall->second == 0) return;
  --stall->second;
  const int resumed = resumed_;
  const Door& door = CurrentDoorLocked();
  changed_.wait(lock, [&] { return resumed_ != resumed || door.stopping; });
}

template <typename Response, typename Request>
void FakeMetaserver::Read(const char* method,
                          Result<Response> (*operation)(const View&, const Request&),
                          const Request& request, Response* response) {
  {
    std::lock_guard lock(mutex_);
    if (!BeginLocked(method, &response->info)) return;
    Result<Response> result = operation(view_, request);
    if (result.ok()) *response = std::move(*result);
    SetStatusLocked(result.status(), &response->info);
  }
  FinishCall(method);
}

template <typename Response, typename Request>
void FakeMetaserver::Mutate(const char* method,
                            Result<Response> (*operation)(OperationContext&, const Request&),
                            const Request& request, Response* response) {
  {
    std::lock_guard lock(mutex_);
    if (!BeginLocked(method, &response->info)) return;
    const wire::MutationContext& context = request.context;
    contexts_[method].push_back(context);
    auto session = sessions_.find(context.session_id);
    if (session == sessions_.end()) {
      SetStatusLocked(Status(StatusCode::kStaleHandle, "no such session"), &response->info);
      return;
    }
    if (context.slot < 0 || context.slot >= options_.slot_count) {
      SetStatusLocked(Status(StatusCode::kInvalidArgument, "no such slot"), &response->info);
      return;
    }
    Slot& slot = session->second[context.slot];
    if (context.sequence < slot.sequence) {
      SetStatusLocked(Status(StatusCode::kInvalidArgument, "an old sequence number"),
                      &response->info);
      return;
    }
    if (context.sequence > slot.sequence) {
      ++evaluated_[method];
      Result<Response> result =
          EvaluateLocked(operation, request, SessionId(static_cast<uint64_t>(context.session_id)));
      Response reply;
      if (result.ok()) reply = std::move(*result);
      SetStatusLocked(result.status(), &reply.info);
      slot.sequence = context.sequence;
      slot.reply = reply;
    }
    // Panics, and so fails the test, when a sequence number is used for two methods.
    *response = std::any_cast<Response>(slot.reply);
    response->info.epoch = CurrentDoorLocked().epoch;
  }
  FinishCall(method);
}

void FakeMetaserver::OpenSession(const wire::OpenSessionRequest& request,
                                 wire::OpenSessionResponse* response) {
  std::lock_guard lock(mutex_);
  if (!BeginLocked("OpenSession", &response->info)) return;
  auto opened = EvaluateLocked(&EvaluateOpenSession, request, SessionId());
  if (opened.ok()) {
    *response = std::move(*opened);
    sessions_[response->session_id];
  }
  SetStatusLocked(opened.status(), &response->info);
  response->ttl_ms = options_.ttl_ms;
  response->slot_count = options_.slot_count;
}

void FakeMetaserver::RenewSession(const wire::RenewSessionRequest& request,
                                  wire::RenewSessionResponse* response) {
  std::lock_guard lock(mutex_);
  if (!BeginLocked("RenewSession", &response->info)) return;
  if (!sessions_.contains(request.session_id)) {
    SetStatusLocked(Status(StatusCode::kStaleHandle, "no such session"), &response->info);
    return;
  }
  for (int64_t inode : request.released) {
    condemned_.erase(inode);
    released_.insert(inode);
  }
  SetStatusLocked(Status::Ok(), &response->info);
  response->condemned.assign(condemned_.begin(), condemned_.end());
  changed_.notify_all();
}

}  // namespace tercet
