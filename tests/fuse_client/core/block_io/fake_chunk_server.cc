#include "tests/fuse_client/core/block_io/fake_chunk_server.h"

#include <algorithm>

#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {
namespace {

using Kind = wire::FrameKind;

constexpr std::chrono::milliseconds kWorkingInterval{10};

wire::WireStatus ToWire(const Status& status) {
  wire::WireStatus out;
  out.code = static_cast<int32_t>(status.code());
  out.message = status.message();
  return out;
}

Status Dropped() { return Status(StatusCode::kCancelled, "the connection is dropped"); }

uint32_t PageCrc(std::string page) {
  page.resize(kBlockPageBytes, '\0');
  return Crc32c(page);
}

}  // namespace

FakeChunkServer::FakeChunkServer(ServerId id, std::string cluster_id)
    : id_(id), cluster_id_(std::move(cluster_id)) {
  Restart();
}

FakeChunkServer::~FakeChunkServer() { Stop(); }

void FakeChunkServer::Stop() {
  Resume();
  if (listener_ != nullptr) listener_->Stop();
  listener_.reset();
}

void FakeChunkServer::Restart() {
  FrameListenerOptions options;
  options.listen = {"127.0.0.1", port_};
  listener_ =
      FrameListener::Start(options, [this](const auto& connection) { Serve(*connection); }).value();
  port_ = listener_->port();
}

void FakeChunkServer::PutBlock(BlockId id, Block block) {
  std::lock_guard lock(mutex_);
  blocks_[id] = std::move(block);
}

FakeChunkServer::Block FakeChunkServer::GetBlock(BlockId id) const {
  std::lock_guard lock(mutex_);
  return blocks_.at(id);
}

FakeChunkServer::Counts FakeChunkServer::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

std::vector<wire::ChainHop> FakeChunkServer::last_downstream() const {
  std::lock_guard lock(mutex_);
  return last_downstream_;
}

wire::WriteHeader FakeChunkServer::last_write() const {
  std::lock_guard lock(mutex_);
  return last_write_;
}

void FakeChunkServer::AnswerWith(Kind::type kind, Status status, ServerId failed_server,
                                 int after) {
  std::lock_guard lock(mutex_);
  Misbehaviour& misbehaviour = misbehaviours_[static_cast<uint8_t>(kind)];
  misbehaviour.answer = std::move(status);
  misbehaviour.failed_server = failed_server;
  misbehaviour.answer_after = after;
}

void FakeChunkServer::StallOn(Kind::type kind, int after) {
  std::lock_guard lock(mutex_);
  misbehaviours_[static_cast<uint8_t>(kind)].stall_after = after;
}

void FakeChunkServer::WorkOn(Kind::type kind, int after) {
  std::lock_guard lock(mutex_);
  Misbehaviour& misbehaviour = misbehaviours_[static_cast<uint8_t>(kind)];
  misbehaviour.stall_after = after;
  misbehaviour.working = true;
}

void FakeChunkServer::AwaitWorking(int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return counts_.working >= count; });
}

void FakeChunkServer::DropOn(Kind::type kind, int count) {
  std::lock_guard lock(mutex_);
  misbehaviours_[static_cast<uint8_t>(kind)].drops = count;
}

void FakeChunkServer::Resume() {
  std::lock_guard lock(mutex_);
  misbehaviours_.clear();
  ++stall_epoch_;
  changed_.notify_all();
}

void FakeChunkServer::AwaitStalled(int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stalled_ >= count; });
}

void FakeChunkServer::DamagePage(BlockId id, uint32_t page, bool verified_too) {
  std::lock_guard lock(mutex_);
  damages_[id] = {page, verified_too};
}

void FakeChunkServer::SendTooMuch(bool on) {
  std::lock_guard lock(mutex_);
  too_much_ = on;
}

void FakeChunkServer::SendTooFewCrcs(bool on) {
  std::lock_guard lock(mutex_);
  too_few_crcs_ = on;
}

void FakeChunkServer::AcknowledgeInReversedGroups(size_t size) {
  std::lock_guard lock(mutex_);
  group_ = size;
}

void FakeChunkServer::Serve(FrameConnection& connection) {
  Session session{connection, {}};
  std::string header, payload;
  while (true) {
    auto prelude = connection.Receive(&header);
    if (!prelude.ok()) return;
    payload.resize(prelude->payload_bytes);
    if (!connection.ReceivePayload(payload.data(), payload.size()).ok()) return;
    if (!Handle(session, *prelude, header, payload).ok()) return;
  }
}

Status FakeChunkServer::Handle(Session& session, const FramePrelude& prelude,
                               const std::string& header, const std::string& payload) {
  switch (prelude.kind) {
    case Kind::HELLO:
      return Hello(session, prelude, header);
    case Kind::READ:
      return Read(session, prelude, header);
    case Kind::WRITE:
      return Write(session, prelude, header, payload);
    case Kind::SYNC:
      return Simple<wire::SyncHeader, wire::SyncResponseHeader>(session, prelude, header);
    case Kind::TRUNCATE:
      return Simple<wire::TruncateHeader, wire::TruncateResponseHeader>(session, prelude, header);
    default:
      return Dropped();
  }
}

Status FakeChunkServer::Interfere(Session& session, uint8_t kind, Status* answer,
                                  ServerId* failed_server) {
  std::unique_lock lock(mutex_);
  auto found = misbehaviours_.find(kind);
  if (found == misbehaviours_.end()) return Status::Ok();
  Misbehaviour& misbehaviour = found->second;
  if (misbehaviour.drops > 0) {
    --misbehaviour.drops;
    return Dropped();
  }
  if (misbehaviour.stall_after > 0) {
    --misbehaviour.stall_after;
  } else if (misbehaviour.stall_after == 0) {
    const int epoch = stall_epoch_;
    const bool works = misbehaviour.working;
    ++stalled_;
    changed_.notify_all();
    while (works && stall_epoch_ == epoch) {
      ++counts_.working;
      changed_.notify_all();
      lock.unlock();
      FramePrelude working;
      working.kind = Kind::WORKING;
      const Status sent = session.connection.Send(working, "", {});
      lock.lock();
      RETURN_IF_ERROR(sent);
      changed_.wait_for(lock, kWorkingInterval, [&] { return stall_epoch_ != epoch; });
    }
    changed_.wait(lock, [&] { return stall_epoch_ != epoch; });
    return Status::Ok();
  }
  if (misbehaviour.answer_after > 0) {
    --misbehaviour.answer_after;
  } else if (misbehaviour.answer_after == 0) {
    *answer = misbehaviour.answer;
    *failed_server = misbehaviour.failed_server;
  }
  return Status::Ok();
}

template <typename Response>
Status FakeChunkServer::Reply(Session& session, const FramePrelude& request, Response response,
                              const std::string& payload) {
  std::string header;
  EncodeFrameHeader(response, &header);
  FramePrelude prelude;
  prelude.kind = static_cast<uint8_t>(request.kind + 1);
  prelude.request_id = request.request_id;
  const iovec piece{const_cast<char*>(payload.data()), payload.size()};
  return session.connection.Send(prelude, header, {&piece, 1});
}

Status FakeChunkServer::Hello(Session& session, const FramePrelude& prelude,
                              const std::string& header) {
  wire::HelloHeader request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  Status answer;
  ServerId ignored;
  RETURN_IF_ERROR(Interfere(session, prelude.kind, &answer, &ignored));
  if (request.cluster_id != cluster_id_) answer = Status(StatusCode::kWrongCluster, "not mine");
  wire::HelloResponseHeader response;
  response.server_id = static_cast<int32_t>(id_.value());
  response.status = ToWire(answer);
  {
    std::lock_guard lock(mutex_);
    ++counts_.hello;
  }
  return Reply(session, prelude, response);
}

Status FakeChunkServer::Find(int64_t block_id, int64_t generation, Block** block) {
  auto found = blocks_.find(BlockId(static_cast<uint64_t>(block_id)));
  if (found == blocks_.end()) return Status(StatusCode::kNotFound, "no such block");
  *block = &found->second;
  if (found->second.generation != Generation(static_cast<uint64_t>(generation))) {
    return Status(StatusCode::kStaleGeneration, "another generation");
  }
  return Status::Ok();
}

Status FakeChunkServer::Read(Session& session, const FramePrelude& prelude,
                             const std::string& header) {
  wire::ReadHeader request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  Status answer;
  ServerId ignored;
  RETURN_IF_ERROR(Interfere(session, prelude.kind, &answer, &ignored));
  wire::ReadResponseHeader response;
  std::string payload;
  {
    std::lock_guard lock(mutex_);
    ++(request.verified ? counts_.verified_read : counts_.read);
    Block* block = nullptr;
    if (answer.ok()) answer = Find(request.block_id, request.generation, &block);
    if (answer.ok()) {
      const auto begin = static_cast<size_t>(request.offset) / kBlockPageBytes * kBlockPageBytes;
      const auto end =
          (static_cast<size_t>(request.offset + request.length) + kBlockPageBytes - 1) /
          kBlockPageBytes * kBlockPageBytes;
      if (begin < block->data.size()) payload = block->data.substr(begin, end - begin);
      if (too_much_) payload.resize(end - begin + 1, 'x');
      for (size_t page = 0; page < payload.size(); page += kBlockPageBytes) {
        PutFixed32(&response.page_crcs, PageCrc(payload.substr(page, kBlockPageBytes)));
      }
      if (too_few_crcs_) response.page_crcs.pop_back();
      auto damage = damages_.find(BlockId(static_cast<uint64_t>(request.block_id)));
      if (damage != damages_.end() && (!request.verified || damage->second.verified_too)) {
        const size_t at = damage->second.page * kBlockPageBytes + 100;
        if (at >= begin && at - begin < payload.size()) payload[at - begin] ^= 0x10;
      }
    }
  }
  response.status = ToWire(answer);
  return Reply(session, prelude, response, payload);
}

Status FakeChunkServer::ApplyWrite(const wire::WriteHeader& request, const std::string& payload) {
  const auto offset = static_cast<size_t>(request.offset);
  std::string crcs;
  for (size_t at = 0; at < payload.size();) {
    const size_t size =
        std::min(payload.size() - at, kBlockPageBytes - (offset + at) % kBlockPageBytes);
    PutFixed32(&crcs, Crc32c(payload.data() + at, size));
    at += size;
  }
  if (crcs != request.piece_crcs) return Status(StatusCode::kCorruption, "checksums of pieces");
  const BlockId id(static_cast<uint64_t>(request.block_id));
  if (request.create && !blocks_.contains(id)) {
    blocks_[id].generation = Generation(static_cast<uint64_t>(request.generation));
  }
  Block* block = nullptr;
  RETURN_IF_ERROR(Find(request.block_id, request.generation, &block));
  if (block->data.size() < offset + payload.size()) block->data.resize(offset + payload.size());
  block->data.replace(offset, payload.size(), payload);
  return Status::Ok();
}

Status FakeChunkServer::Write(Session& session, const FramePrelude& prelude,
                              const std::string& header, const std::string& payload) {
  wire::WriteHeader request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  Status answer;
  ServerId failed_server;
  RETURN_IF_ERROR(Interfere(session, prelude.kind, &answer, &failed_server));
  size_t group;
  {
    std::lock_guard lock(mutex_);
    ++counts_.write;
    last_downstream_ = request.downstream;
    last_write_ = request;
    if (answer.ok()) answer = ApplyWrite(request, payload);
    group = group_;
  }
  wire::WriteResponseHeader response;
  response.status = ToWire(answer);
  response.failed_server_id = static_cast<int32_t>(failed_server.value());
  if (group == 1) return Reply(session, prelude, response);
  std::string bytes;
  EncodeFrameHeader(response, &bytes);
  FramePrelude reply;
  reply.kind = Kind::WRITE_RESPONSE;
  reply.request_id = prelude.request_id;
  session.held.emplace_back(reply, bytes);
  if (session.held.size() < group) return Status::Ok();
  while (!session.held.empty()) {
    RETURN_IF_ERROR(
        session.connection.Send(session.held.back().first, session.held.back().second, {}));
    session.held.pop_back();
  }
  return Status::Ok();
}

Status FakeChunkServer::Apply(const wire::SyncHeader& request) {
  ++counts_.sync;
  Block* block = nullptr;
  return Find(request.block_id, request.generation, &block);
}

Status FakeChunkServer::Apply(const wire::TruncateHeader& request) {
  ++counts_.truncate;
  Block* block = nullptr;
  RETURN_IF_ERROR(Find(request.block_id, request.generation, &block));
  const auto length = static_cast<size_t>(request.length);
  if (block->data.size() > length) block->data.resize(length);
  return Status::Ok();
}

template <typename Request, typename Response>
Status FakeChunkServer::Simple(Session& session, const FramePrelude& prelude,
                               const std::string& header) {
  Request request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  Status answer;
  ServerId failed_server;
  RETURN_IF_ERROR(Interfere(session, prelude.kind, &answer, &failed_server));
  {
    std::lock_guard lock(mutex_);
    last_downstream_ = request.downstream;
    const Status applied = Apply(request);
    if (answer.ok()) answer = applied;
  }
  Response response;
  response.status = ToWire(answer);
  response.failed_server_id = static_cast<int32_t>(failed_server.value());
  return Reply(session, prelude, response);
}

}  // namespace tercet
