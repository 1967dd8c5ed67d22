#include "tests/fuse_client/core/fake_storage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {
namespace {

using Kind = wire::FrameKind;

/// How soon a server notices that the one behind it hangs.
constexpr std::chrono::milliseconds kHopDeadline{100};
constexpr std::chrono::milliseconds kWorkingInterval{10};

wire::WireStatus ToWire(const Status& status) {
  wire::WireStatus out;
  out.code = static_cast<int32_t>(status.code());
  out.message = status.message();
  return out;
}

Status Gone() { return Status(StatusCode::kUnavailable, "stopped"); }

template <typename Response>
Status Reply(FrameConnection& connection, const FramePrelude& request, const Response& response,
             const std::string& payload = "") {
  std::string header;
  EncodeFrameHeader(response, &header);
  FramePrelude prelude;
  prelude.kind = static_cast<uint8_t>(request.kind + 1);
  prelude.request_id = request.request_id;
  const iovec piece{const_cast<char*>(payload.data()), payload.size()};
  return connection.Send(prelude, header, {&piece, 1});
}

}  // namespace

FakeStorage::FakeStorage(int count, std::string cluster_id) : cluster_id_(std::move(cluster_id)) {
  for (int i = 1; i <= count; ++i) {
    servers_.push_back(std::make_unique<Server>());
    servers_.back()->id = ServerId(static_cast<uint32_t>(i));
    Listen(servers_.back().get());
  }
}

FakeStorage::~FakeStorage() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  for (auto& server : servers_) server->listener.reset();
}

void FakeStorage::Listen(Server* server) {
  FrameListenerOptions options;
  options.listen = {"127.0.0.1", server->port};
  auto listener = FrameListener::Start(
      options, [this, server](const std::shared_ptr<FrameConnection>& c) { Serve(server, *c); });
  ASSERT_TRUE(listener.ok()) << listener.status().ToString();
  server->listener = std::move(*listener);
  server->port = server->listener->port();
}

FakeStorage::Server* FakeStorage::At(ServerId server) const {
  return servers_.at(server.value() - 1).get();
}

std::vector<ReplicaAddress> FakeStorage::replicas() const {
  std::vector<ReplicaAddress> replicas;
  for (const auto& server : servers_) {
    replicas.push_back({server->id, {"127.0.0.1", server->port}});
  }
  return replicas;
}

void FakeStorage::Stop(ServerId server) {
  {
    std::lock_guard lock(mutex_);
    At(server)->stopped = true;
    At(server)->late.clear();
    changed_.notify_all();
  }
  At(server)->listener.reset();
}

void FakeStorage::Restart(ServerId server) {
  At(server)->listener.reset();
  {
    std::lock_guard lock(mutex_);
    At(server)->stopped = false;
    At(server)->stop_after_writes = -1;
    At(server)->stop_after_syncs = -1;
  }
  Listen(At(server));
}

void FakeStorage::StopAfterWrites(ServerId server, int count) {
  std::lock_guard lock(mutex_);
  At(server)->stop_after_writes = count;
}

void FakeStorage::StopAfterSyncs(ServerId server, int count) {
  std::lock_guard lock(mutex_);
  At(server)->stop_after_syncs = count;
}

void FakeStorage::Hang(ServerId server) {
  std::lock_guard lock(mutex_);
  At(server)->hung = true;
}

void FakeStorage::Resume(ServerId server) {
  std::lock_guard lock(mutex_);
  At(server)->hung = false;
  for (auto& frame : std::exchange(At(server)->late, {})) frame();
  changed_.notify_all();
}

void FakeStorage::SetSlow(ServerId server, bool slow) {
  std::lock_guard lock(mutex_);
  At(server)->slow = slow;
  changed_.notify_all();
}

void FakeStorage::AwaitWorking(int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return counts_.working >= count; });
}

void FakeStorage::Damage(ServerId server, BlockId block) {
  std::lock_guard lock(mutex_);
  At(server)->damaged.insert(block);
}

bool FakeStorage::Answers(ServerId server) {
  std::lock_guard lock(mutex_);
  return !At(server)->stopped && !At(server)->hung;
}

std::vector<ServerId> FakeStorage::Reconfigure(BlockId block, Generation to,
                                               const std::vector<ServerId>& members,
                                               const std::vector<ServerId>& targets) {
  std::lock_guard lock(mutex_);
  const auto usable = [&](ServerId id) { return !At(id)->stopped && !At(id)->hung; };
  // The first that has data; an empty one may have been made in the place of one that was lost.
  const Block* source = nullptr;
  for (ServerId id : members) {
    if (!usable(id)) continue;
    const Block& replica = At(id)->blocks[block];
    if (replica.generation > to) continue;
    if (source == nullptr || (source->data.empty() && !replica.data.empty())) source = &replica;
  }
  if (source == nullptr) return {};
  std::vector<ServerId> equal;
  const auto take = [&](ServerId id, bool target) {
    if (!usable(id)) return;
    Block& replica = At(id)->blocks[block];
    // Raised by another attempt, or never made equal.
    if (!target && replica.generation > to) return;
    if (&replica != source && (replica.data != source->data || target)) {
      replica.data = source->data;
      replica.synced = true;
    }
    replica.generation = to;
    At(id)->damaged.erase(block);
    equal.push_back(id);
  };
  for (ServerId id : members) take(id, /*target=*/false);
  for (ServerId id : targets) take(id, /*target=*/true);
  return equal;
}

void FakeStorage::SetFull(ServerId server, bool full) {
  std::lock_guard lock(mutex_);
  At(server)->full = full;
}

void FakeStorage::RaiseCreateFloor(ServerId server, BlockId floor) {
  std::lock_guard lock(mutex_);
  At(server)->create_floor = floor;
}

void FakeStorage::SetGeneration(BlockId block, Generation generation) {
  std::lock_guard lock(mutex_);
  for (auto& server : servers_) {
    if (auto it = server->blocks.find(block); it != server->blocks.end()) {
      it->second.generation = generation;
    }
  }
}

void FakeStorage::Remove(ServerId server, BlockId block) {
  std::lock_guard lock(mutex_);
  At(server)->blocks.erase(block);
}

std::unique_ptr<FakeStorage::Block> FakeStorage::Find(ServerId server, BlockId block) const {
  std::lock_guard lock(mutex_);
  const Server* at = At(server);
  auto it = at->blocks.find(block);
  return it == at->blocks.end() ? nullptr : std::make_unique<Block>(it->second);
}

FakeStorage::Counts FakeStorage::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

int FakeStorage::unsynced_replicas() const {
  std::lock_guard lock(mutex_);
  int count = 0;
  for (const auto& server : servers_) {
    count += static_cast<int>(std::ranges::count_if(
        server->blocks, [](const auto& entry) { return !entry.second.synced; }));
  }
  return count;
}

void FakeStorage::Serve(Server* server, FrameConnection& connection) {
  std::string header, payload;
  for (;;) {
    auto prelude = connection.Receive(&header);
    if (!prelude.ok()) return;
    payload.resize(prelude->payload_bytes);
    if (!connection.ReceivePayload(payload.data(), payload.size()).ok()) return;
    if (!AwaitTurn(server, connection, prelude->kind == Kind::HELLO)) return;
    if (!Handle(server, connection, *prelude, header, payload).ok()) return;
  }
}

bool FakeStorage::AwaitTurn(Server* server, FrameConnection& connection, bool hello) {
  std::unique_lock lock(mutex_);
  const auto gone = [&] { return ending_ || server->stopped; };
  changed_.wait(lock, [&] { return gone() || !server->hung; });
  while (!gone() && server->slow && !hello) {
    ++counts_.working;
    changed_.notify_all();
    lock.unlock();
    FramePrelude working;
    working.kind = Kind::WORKING;
    const bool sent = connection.Send(working, "", {}).ok();
    lock.lock();
    if (!sent) return false;
    changed_.wait_for(lock, kWorkingInterval, [&] { return gone() || !server->slow; });
  }
  return !gone();
}

Status FakeStorage::Handle(Server* server, FrameConnection& connection, const FramePrelude& prelude,
                           const std::string& header, const std::string& payload) {
  switch (prelude.kind) {
    case Kind::HELLO: {
      wire::HelloHeader request;
      RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
      wire::HelloResponseHeader response;
      response.server_id = static_cast<int32_t>(server->id.value());
      if (request.cluster_id != cluster_id_) {
        response.status = ToWire(Status(StatusCode::kWrongCluster, "not mine"));
      }
      return Reply(connection, prelude, response);
    }
    case Kind::READ:
      return HandleRead(server, connection, prelude, header);
    case Kind::WRITE:
      return HandleChained<wire::WriteHeader, wire::WriteResponseHeader>(server, connection,
                                                                         prelude, header, payload);
    case Kind::SYNC:
      return HandleChained<wire::SyncHeader, wire::SyncResponseHeader>(server, connection, prelude,
                                                                       header, payload);
    case Kind::TRUNCATE:
      return HandleChained<wire::TruncateHeader, wire::TruncateResponseHeader>(
          server, connection, prelude, header, payload);
    default:
      return Gone();
  }
}

Status FakeStorage::HandleRead(Server* server, FrameConnection& connection,
                               const FramePrelude& prelude, const std::string& header) {
  wire::ReadHeader request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  wire::ReadResponseHeader response;
  std::string payload;
  {
    std::lock_guard lock(mutex_);
    ++counts_.reads;
    Block* block = nullptr;
    const Status found = FindLocked(server, request.block_id, request.generation, &block);
    response.status = ToWire(found);
    if (found.ok()) {
      const size_t begin = static_cast<size_t>(request.offset) / kBlockPageBytes * kBlockPageBytes;
      const size_t end =
          (static_cast<size_t>(request.offset) + request.length + kBlockPageBytes - 1) /
          kBlockPageBytes * kBlockPageBytes;
      if (begin < block->data.size()) payload = block->data.substr(begin, end - begin);
      payload.resize((payload.size() + kBlockPageBytes - 1) / kBlockPageBytes * kBlockPageBytes);
      for (size_t page = 0; page < payload.size(); page += kBlockPageBytes) {
        PutFixed32(&response.page_crcs, Crc32c(payload.data() + page, kBlockPageBytes));
      }
      counts_.bytes_read += payload.size();
      if (server->damaged.contains(BlockId(static_cast<uint64_t>(request.block_id))) &&
          !payload.empty() && begin == 0) {
        payload[1] ^= 0x40;
      }
    }
  }
  return Reply(connection, prelude, response, payload);
}

template <typename Request, typename Response>
Status FakeStorage::HandleChained(Server* server, FrameConnection& connection,
                                  const FramePrelude& prelude, const std::string& header,
                                  const std::string& payload) {
  Request request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  std::vector<Server*> chain{server};
  for (const wire::ChainHop& hop : request.downstream) {
    chain.push_back(At(ServerId(static_cast<uint32_t>(hop.server_id))));
  }
  Response response;
  {
    std::unique_lock lock(mutex_);
    for (Server* link : chain) {
      Status applied;
      if (link->hung && link != server) {
        link->late.push_back([this, link, request, payload] {
          // Whoever sent it has gone.
          [[maybe_unused]] const Status late = Apply(link, request, payload);
        });
        changed_.wait_for(lock, kHopDeadline, [&] { return ending_; });
        applied = Status(StatusCode::kDeadlineExceeded, "hangs");
      } else {
        applied = link->stopped ? Gone() : Apply(link, request, payload);
      }
      if (server->stopped || ending_) return Gone();
      if (applied.ok()) continue;
      response.status = ToWire(applied);
      response.failed_server_id = static_cast<int32_t>(link->id.value());
      break;
    }
  }
  return Reply(connection, prelude, response);
}

Status FakeStorage::FindLocked(Server* server, int64_t block, int64_t generation, Block** found) {
  auto it = server->blocks.find(BlockId(static_cast<uint64_t>(block)));
  if (it == server->blocks.end()) return Status(StatusCode::kNotFound, "no such replica");
  if (it->second.generation != Generation(static_cast<uint64_t>(generation))) {
    return Status(StatusCode::kStaleGeneration, "another generation");
  }
  *found = &it->second;
  return Status::Ok();
}

Status FakeStorage::Apply(Server* server, const wire::WriteHeader& request,
                          const std::string& payload) {
  if (server->stop_after_writes == 0) {
    server->stopped = true;
    return Gone();
  }
  if (server->stop_after_writes > 0) --server->stop_after_writes;
  if (server->full) return Status(StatusCode::kNoSpace, "full");
  const BlockId id(static_cast<uint64_t>(request.block_id));
  if (request.create && !server->blocks.contains(id) && id >= server->create_floor) {
    server->blocks[id].generation = Generation(static_cast<uint64_t>(request.generation));
  }
  Block* block = nullptr;
  RETURN_IF_ERROR(FindLocked(server, request.block_id, request.generation, &block));
  const auto offset = static_cast<size_t>(request.offset);
  if (block->data.size() < offset + payload.size()) block->data.resize(offset + payload.size());
  block->data.replace(offset, payload.size(), payload);
  block->synced = request.sync;
  ++counts_.writes;
  counts_.bytes_written += payload.size();
  return Status::Ok();
}

Status FakeStorage::Apply(Server* server, const wire::SyncHeader& request, const std::string&) {
  if (server->stop_after_syncs == 0) {
    server->stopped = true;
    return Gone();
  }
  if (server->stop_after_syncs > 0) --server->stop_after_syncs;
  Block* block = nullptr;
  RETURN_IF_ERROR(FindLocked(server, request.block_id, request.generation, &block));
  block->synced = true;
  ++counts_.syncs;
  return Status::Ok();
}

Status FakeStorage::Apply(Server* server, const wire::TruncateHeader& request, const std::string&) {
  Block* block = nullptr;
  RETURN_IF_ERROR(FindLocked(server, request.block_id, request.generation, &block));
  if (block->data.size() > static_cast<size_t>(request.length)) block->data.resize(request.length);
  block->synced = false;
  ++counts_.truncates;
  return Status::Ok();
}

}  // namespace tercet
