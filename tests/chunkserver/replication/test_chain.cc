#include "tests/chunkserver/replication/test_chain.h"

#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/env/clock.h"
#include "common/env/posix_disk.h"
#include "common/env/random.h"

namespace tercet::testing_support {

std::string PieceCrcs(uint32_t offset, std::string_view data) {
  std::string out;
  while (!data.empty()) {
    const size_t piece = std::min<size_t>(kPageBytes - offset % kPageBytes, data.size());
    PutFixed32(&out, Crc32c(data.substr(0, piece)));
    offset += static_cast<uint32_t>(piece);
    data.remove_prefix(piece);
  }
  return out;
}

std::string Pattern(uint64_t seed, size_t size) { return SeededRandom(seed).Bytes(size); }

TestServer::TestServer(ServerId id, DataPlaneOptions options, Disk* disk, Clock* clock)
    : id_(id),
      options_(std::move(options)),
      disk_(disk == nullptr ? &RealDisk() : disk),
      clock_(clock == nullptr ? &RealClock() : clock) {
  std::string name = testing::TempDir() + "/tercet-replication-XXXXXX";
  index_folder_ = ::mkdtemp(name.data());
  folder_ = index_folder_ + "/disk";
  EXPECT_TRUE(disk_->MakeDirectories(folder_).ok());
  options_.listen = {"127.0.0.1", 0};
  Open();
}

TestServer::~TestServer() {
  StopAll();
  std::filesystem::remove_all(index_folder_);
}

void TestServer::Open() {
  BlockStoreOptions store;
  store.disks = {{folder_, index_folder_ + "/index"}};
  store.reserve_bytes = 1 << 20;
  store.boot_id = "boot " + std::to_string(boots_);
  auto opened = BlockStore::Open(*disk_, *clock_, SystemRandom(), store);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  store_ = std::move(opened).value();
  auto started = DataPlaneServer::Start(options_, *store_);
  ASSERT_TRUE(started.ok()) << started.status().ToString();
  server_ = std::move(started).value();
  server_->SetIdentity(kCluster, id_);
  port_ = server_->port();
  options_.listen.port = port_;
}

wire::ChainHop TestServer::hop() const {
  wire::ChainHop hop;
  hop.server_id = static_cast<int32_t>(id_.value());
  hop.host = "127.0.0.1";
  hop.port = port_;
  return hop;
}

void TestServer::StopAll() {
  server_.reset();
  store_.reset();
}

void TestServer::Restart() {
  StopAll();
  Open();
}

std::string TestServer::Contents(BlockId block, Generation generation) {
  auto stat = store_->Stat(block);
  EXPECT_TRUE(stat.ok()) << "server " << id_ << ": " << stat.status().ToString();
  if (!stat.ok()) return {};
  std::string contents;
  while (contents.size() < stat->length) {
    const auto offset = static_cast<uint32_t>(contents.size());
    auto pages = store_->Read(block, generation, offset, std::min(1u << 20, stat->length - offset));
    EXPECT_TRUE(pages.ok()) << "server " << id_ << ": " << pages.status().ToString();
    if (!pages.ok()) return {};
    contents += pages->data;
  }
  contents.resize(stat->length);
  return contents;
}

void TestServer::DamagePage(BlockId block, uint32_t page) {
  auto stat = store_->Stat(block);
  ASSERT_TRUE(stat.ok()) << stat.status().ToString();
  auto file = disk_->Open(stat->file_path, OpenMode::kReadWrite);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  const uint64_t at = kDataOffset + uint64_t{page} * kPageBytes;
  char byte = 0;
  ASSERT_TRUE((*file)->ReadAt(at, {&byte, 1}).ok());
  byte = static_cast<char>(byte ^ 4);
  ASSERT_TRUE((*file)->WriteAt(at, {&byte, 1}).ok());
}

void TestServer::RestartMachine() {
  ++boots_;
  Restart();
}

RawClient::RawClient(const TestServer& server) : RawClient(server.port()) {
  const Status status = Hello(HelloFor(server.id()));
  EXPECT_TRUE(status.ok()) << status.ToString();
}

RawClient::RawClient(uint16_t port) {
  auto connection = FrameConnection::Connect({"127.0.0.1", port}, kPatience);
  EXPECT_TRUE(connection.ok()) << connection.status().ToString();
  connection_ = std::move(connection).value();
  connection_->SetReceiveTimeout(kPatience);
  connection_->SetSendTimeout(kPatience);
}

wire::HelloHeader RawClient::HelloFor(ServerId server) {
  wire::HelloHeader hello;
  hello.cluster_id = kCluster;
  hello.server_id = static_cast<int32_t>(server.value());
  hello.caller = "test";
  return hello;
}

Status RawClient::Hello(const wire::HelloHeader& hello) {
  Send(wire::FrameKind::HELLO, hello);
  std::string header;
  ASSIGN_OR_RETURN(const FramePrelude prelude, connection_->Receive(&header));
  EXPECT_EQ(prelude.kind, wire::FrameKind::HELLO_RESPONSE);
  wire::HelloResponseHeader response;
  RETURN_IF_ERROR(DecodeFrameHeader(std::string_view(header), &response));
  return FromWire(response.status);
}

template <typename Header>
uint64_t RawClient::Send(wire::FrameKind::type kind, const Header& header,
                         std::string_view payload) {
  std::string encoded;
  EncodeFrameHeader(header, &encoded);
  FramePrelude prelude;
  prelude.kind = static_cast<uint8_t>(kind);
  prelude.request_id = ++last_id_;
  const iovec piece{const_cast<char*>(payload.data()), payload.size()};
  // A server may close in mid-send; whoever receives next finds out.
  (void)connection_->Send(prelude, encoded, std::span(&piece, payload.empty() ? 0 : 1)).ok();
  return prelude.request_id;
}

uint64_t RawClient::SendWrite(const WriteSpec& spec) {
  wire::WriteHeader header;
  header.block_id = static_cast<int64_t>(spec.block.value());
  header.generation = static_cast<int64_t>(spec.generation.value());
  header.offset = static_cast<int32_t>(spec.offset);
  header.piece_crcs = spec.piece_crcs.empty() ? PieceCrcs(spec.offset, spec.data) : spec.piece_crcs;
  header.downstream = spec.downstream;
  header.create = spec.create;
  header.sync = spec.sync;
  return Send(wire::FrameKind::WRITE, header, spec.data);
}

uint64_t RawClient::SendRead(BlockId block, Generation generation, uint32_t offset, uint32_t length,
                             bool verified) {
  wire::ReadHeader header;
  header.block_id = static_cast<int64_t>(block.value());
  header.generation = static_cast<int64_t>(generation.value());
  header.offset = static_cast<int32_t>(offset);
  header.length = static_cast<int32_t>(length);
  header.verified = verified;
  return Send(wire::FrameKind::READ, header);
}

uint64_t RawClient::SendSync(BlockId block, Generation generation,
                             const std::vector<wire::ChainHop>& downstream) {
  wire::SyncHeader header;
  header.block_id = static_cast<int64_t>(block.value());
  header.generation = static_cast<int64_t>(generation.value());
  header.downstream = downstream;
  return Send(wire::FrameKind::SYNC, header);
}

uint64_t RawClient::SendTruncate(BlockId block, Generation generation, uint32_t length,
                                 const std::vector<wire::ChainHop>& downstream) {
  wire::TruncateHeader header;
  header.block_id = static_cast<int64_t>(block.value());
  header.generation = static_cast<int64_t>(generation.value());
  header.length = static_cast<int32_t>(length);
  header.downstream = downstream;
  return Send(wire::FrameKind::TRUNCATE, header);
}

uint64_t RawClient::SendStat(BlockId block) {
  wire::StatHeader header;
  header.block_id = static_cast<int64_t>(block.value());
  return Send(wire::FrameKind::STAT, header);
}

uint64_t RawClient::SendSeal(const wire::SealHeader& seal) {
  return Send(wire::FrameKind::SEAL, seal);
}

uint64_t RawClient::SendPull(const wire::PullHeader& pull) {
  return Send(wire::FrameKind::PULL, pull);
}

namespace {

template <typename Header>
Status DecodeOutcome(std::string_view bytes, Answer* answer) {
  Header header;
  RETURN_IF_ERROR(DecodeFrameHeader(bytes, &header));
  answer->status = FromWire(header.status);
  answer->failed_server = ServerId(static_cast<uint32_t>(header.failed_server_id));
  return Status::Ok();
}

Status DecodeAnswer(std::string_view bytes, Answer* answer) {
  switch (answer->kind) {
    case wire::FrameKind::WRITE_RESPONSE:
      return DecodeOutcome<wire::WriteResponseHeader>(bytes, answer);
    case wire::FrameKind::SYNC_RESPONSE:
      return DecodeOutcome<wire::SyncResponseHeader>(bytes, answer);
    case wire::FrameKind::TRUNCATE_RESPONSE:
      return DecodeOutcome<wire::TruncateResponseHeader>(bytes, answer);
    case wire::FrameKind::READ_RESPONSE: {
      wire::ReadResponseHeader header;
      RETURN_IF_ERROR(DecodeFrameHeader(bytes, &header));
      answer->status = FromWire(header.status);
      answer->page_crcs = header.page_crcs;
      return Status::Ok();
    }
    case wire::FrameKind::STAT_RESPONSE:
      RETURN_IF_ERROR(DecodeFrameHeader(bytes, &answer->stat));
      answer->status = FromWire(answer->stat.status);
      return Status::Ok();
    case wire::FrameKind::TABLE_RESPONSE: {
      wire::TableResponseHeader header;
      RETURN_IF_ERROR(DecodeFrameHeader(bytes, &header));
      answer->status = FromWire(header.status);
      answer->table_length = header.length;
      return Status::Ok();
    }
    case wire::FrameKind::SEAL_RESPONSE:
      RETURN_IF_ERROR(DecodeFrameHeader(bytes, &answer->seal));
      answer->status = FromWire(answer->seal.status);
      return Status::Ok();
    case wire::FrameKind::PULL_RESPONSE:
      RETURN_IF_ERROR(DecodeFrameHeader(bytes, &answer->pull));
      answer->status = FromWire(answer->pull.status);
      answer->failed_server = ServerId(static_cast<uint32_t>(answer->pull.failed_server_id));
      return Status::Ok();
    case wire::FrameKind::PING_RESPONSE: {
      wire::PingResponseHeader header;
      RETURN_IF_ERROR(DecodeFrameHeader(bytes, &header));
      answer->status = FromWire(header.status);
      return Status::Ok();
    }
    default:
      return Status(StatusCode::kCorruption, "kind " + std::to_string(answer->kind));
  }
}

}  // namespace

Result<Answer> RawClient::Receive() {
  std::string header;
  FramePrelude prelude;
  do {
    ASSIGN_OR_RETURN(prelude, connection_->Receive(&header));
  } while (prelude.kind == wire::FrameKind::WORKING);
  Answer answer;
  answer.kind = prelude.kind;
  answer.request_id = prelude.request_id;
  RETURN_IF_ERROR(DecodeAnswer(header, &answer));
  answer.payload.resize(prelude.payload_bytes);
  RETURN_IF_ERROR(connection_->ReceivePayload(answer.payload.data(), answer.payload.size()));
  return answer;
}

void RawClient::AwaitWorking(size_t count) {
  std::string header;
  for (size_t i = 0; i < count; ++i) {
    auto prelude = connection_->Receive(&header);
    ASSERT_TRUE(prelude.ok()) << prelude.status().ToString();
    ASSERT_EQ(prelude->kind, wire::FrameKind::WORKING);
    EXPECT_EQ(prelude->request_id, 0u);
    EXPECT_EQ(prelude->header_bytes + prelude->payload_bytes, 0u);
  }
}

Answer RawClient::MustReceive(uint64_t request_id) {
  auto answer = Receive();
  EXPECT_TRUE(answer.ok()) << answer.status().ToString();
  if (!answer.ok()) return Answer{.status = answer.status()};
  EXPECT_EQ(answer->request_id, request_id);
  return std::move(answer).value();
}

Answer RawClient::Write(const WriteSpec& spec) { return MustReceive(SendWrite(spec)); }

Answer RawClient::Read(BlockId block, Generation generation, uint32_t offset, uint32_t length,
                       bool verified) {
  return MustReceive(SendRead(block, generation, offset, length, verified));
}

Answer RawClient::Sync(BlockId block, Generation generation,
                       const std::vector<wire::ChainHop>& downstream) {
  return MustReceive(SendSync(block, generation, downstream));
}

Answer RawClient::Truncate(BlockId block, Generation generation, uint32_t length,
                           const std::vector<wire::ChainHop>& downstream) {
  return MustReceive(SendTruncate(block, generation, length, downstream));
}

Answer RawClient::Stat(BlockId block) { return MustReceive(SendStat(block)); }

Answer RawClient::Table(BlockId block, Generation generation) {
  wire::TableHeader header;
  header.block_id = static_cast<int64_t>(block.value());
  header.generation = static_cast<int64_t>(generation.value());
  return MustReceive(Send(wire::FrameKind::TABLE, header));
}

Answer RawClient::Seal(const wire::SealHeader& seal) { return MustReceive(SendSeal(seal)); }

Answer RawClient::Pull(const wire::PullHeader& pull) { return MustReceive(SendPull(pull)); }

Answer RawClient::Ping() { return MustReceive(Send(wire::FrameKind::PING, wire::PingHeader())); }

wire::SealHeader SealOf(BlockId block, Generation generation) {
  wire::SealHeader seal;
  seal.epoch = 1;
  seal.block_id = static_cast<int64_t>(block.value());
  seal.generation = static_cast<int64_t>(generation.value());
  return seal;
}

wire::PullHeader PullOf(BlockId block, const wire::ChainHop& source, Generation source_generation,
                        Generation finish) {
  wire::PullHeader pull;
  pull.epoch = 1;
  pull.block_id = static_cast<int64_t>(block.value());
  pull.source = source;
  pull.source_generation = static_cast<int64_t>(source_generation.value());
  pull.generation = static_cast<int64_t>(finish.value());
  pull.pull_class = wire::PullClass::URGENT;
  return pull;
}

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

DataPlaneOptions ChainTest::Options() { return {}; }

void ChainTest::SetUp() {
  for (uint32_t id = 1; id <= 3; ++id) {
    servers_.push_back(std::make_unique<TestServer>(ServerId(id), Options()));
  }
}

std::vector<wire::ChainHop> ChainTest::Behind() const {
  return {servers_[1]->hop(), servers_[2]->hop()};
}

void ChainTest::ExpectReplicas(BlockId block, const std::string& contents) {
  for (const auto& server : servers_) {
    EXPECT_TRUE(server->Contents(block) == contents) << "on server " << server->id();
  }
}

void ChainTest::ExpectIdenticalReplicas(BlockId block) {
  const std::string first = servers_[0]->Contents(block);
  EXPECT_FALSE(first.empty());
  ExpectReplicas(block, first);
}

}  // namespace tercet::testing_support
