// What the RPC layer costs over loopback: build the target rpc_benchmark and run it by hand.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <vector>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/rpc/frame_listener.h"
#include "common/rpc/thrift_client.h"
#include "common/rpc/thrift_server.h"
#include "tercet_thrift/GroupService.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {
namespace {

constexpr size_t kPage = 4096;
constexpr uint32_t kFileBytes = 16 << 20;

wire::WriteHeader SomeWriteHeader(size_t payload_bytes) {
  wire::WriteHeader header;
  header.block_id = 123'456'789;
  header.generation = 3;
  header.offset = 1 << 20;
  header.piece_crcs = std::string(4 * (payload_bytes / kPage), 'c');
  for (int server : {2, 3}) {
    wire::ChainHop& hop = header.downstream.emplace_back();
    hop.server_id = server;
    hop.host = "192.168.100.20";
    hop.port = 7100;
  }
  return header;
}

void BM_EncodeWriteHeader(benchmark::State& state) {
  const wire::WriteHeader header = SomeWriteHeader(static_cast<size_t>(state.range(0)));
  std::string bytes;
  for (auto _ : state) EncodeFrameHeader(header, &bytes);
}
BENCHMARK(BM_EncodeWriteHeader)->Arg(4096)->Arg(1 << 20);

void BM_DecodeWriteHeader(benchmark::State& state) {
  std::string bytes;
  EncodeFrameHeader(SomeWriteHeader(static_cast<size_t>(state.range(0))), &bytes);
  wire::WriteHeader header;
  for (auto _ : state) benchmark::DoNotOptimize(DecodeFrameHeader(bytes, &header).ok());
}
BENCHMARK(BM_DecodeWriteHeader)->Arg(4096)->Arg(1 << 20);

/// A chunk server without a disk: READ is answered from a file in the page cache, WRITE is
/// acknowledged.
class BenchmarkServer {
 public:
  BenchmarkServer() {
    const std::string path = "/tmp/tercet_rpc_benchmark_" + std::to_string(::getpid());
    file_ = ::open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR, 0600);
    ::unlink(path.c_str());
    const std::string content(kFileBytes, 'x');
    if (::write(file_, content.data(), content.size()) != kFileBytes) std::abort();
    page_crc_ = Crc32c(content.data(), kPage);
    FrameListenerOptions options;
    options.listen = {"127.0.0.1", 0};
    listener_ = FrameListener::Start(options, [this](const auto& connection) {
                  Serve(*connection);
                }).value();
  }
  ~BenchmarkServer() {
    listener_->Stop();
    ::close(file_);
  }

  std::unique_ptr<FrameConnection> Connect() {
    return FrameConnection::Connect({"127.0.0.1", listener_->port()}, std::chrono::seconds(5))
        .value();
  }

 private:
  void Serve(FrameConnection& connection) {
    std::string header;
    std::vector<char> payload(kMaxFramePayloadBytes);
    while (true) {
      auto prelude = connection.Receive(&header);
      if (!prelude.ok()) return;
      if (!connection.ReceivePayload(payload.data(), prelude->payload_bytes).ok()) return;
      FramePrelude answer;
      answer.kind = static_cast<uint8_t>(prelude->kind + 1);
      answer.request_id = prelude->request_id;
      Status sent;
      if (prelude->kind == wire::FrameKind::READ) {
        wire::ReadHeader request;
        if (!DecodeFrameHeader(header, &request).ok()) return;
        wire::ReadResponseHeader response;
        for (size_t at = 0; at < static_cast<size_t>(request.length); at += kPage) {
          PutFixed32(&response.page_crcs, page_crc_);
        }
        EncodeFrameHeader(response, &header);
        sent = connection.SendFile(answer, header, file_, static_cast<uint64_t>(request.offset),
                                   static_cast<uint32_t>(request.length));
      } else {
        EncodeFrameHeader(wire::WriteResponseHeader(), &header);
        sent = connection.Send(answer, header, {});
      }
      if (!sent.ok()) return;
    }
  }

  int file_ = -1;
  uint32_t page_crc_ = 0;
  std::unique_ptr<FrameListener> listener_;
};

void BM_Read(benchmark::State& state) {
  BenchmarkServer server;
  auto connection = server.Connect();
  const auto size = static_cast<size_t>(state.range(0));
  std::vector<char> out(size);
  std::string header;
  wire::ReadHeader request;
  request.block_id = 123'456'789;
  request.length = static_cast<int32_t>(size);
  for (auto _ : state) {
    EncodeFrameHeader(request, &header);
    FramePrelude prelude;
    prelude.kind = wire::FrameKind::READ;
    bool ok = connection->Send(prelude, header, {}).ok() && connection->Receive(&header).ok() &&
              connection->ReceivePayload(out.data(), size).ok();
    wire::ReadResponseHeader response;
    ok = ok && DecodeFrameHeader(header, &response).ok();
    for (size_t at = 0; at < size; at += kPage) {
      ok = ok &&
           Crc32c(out.data() + at, kPage) == DecodeFixed32(response.page_crcs.data() + at / 1024);
    }
    if (!ok) state.SkipWithError("read failed");
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(size));
}
BENCHMARK(BM_Read)->Arg(4096)->Arg(16 << 10)->Arg(128 << 10)->Arg(1 << 20)->UseRealTime();

void BM_PipelinedWrite(benchmark::State& state) {
  constexpr int kWindow = 8;
  BenchmarkServer server;
  auto connection = server.Connect();
  const auto size = static_cast<size_t>(state.range(0));
  std::vector<char> data(size, 'd');
  const iovec payload{data.data(), size};
  std::string header, answer;
  int in_flight = 0;
  bool ok = true;
  for (auto _ : state) {
    EncodeFrameHeader(SomeWriteHeader(size), &header);
    FramePrelude prelude;
    prelude.kind = wire::FrameKind::WRITE;
    ok = ok && connection->Send(prelude, header, {&payload, 1}).ok();
    if (++in_flight == kWindow) {
      ok = ok && connection->Receive(&answer).ok();
      --in_flight;
    }
  }
  if (!ok) state.SkipWithError("write failed");
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(size));
}
BENCHMARK(BM_PipelinedWrite)->Arg(4096)->Arg(128 << 10)->Arg(1 << 20)->UseRealTime();

class EchoGroup : public wire::GroupServiceNull {
 public:
  void Join(wire::JoinResponse& response, const wire::JoinRequest& request) override {
    response.status.code = request.member_id;
  }
};

/// A small call; with several threads each has a connection of its own.
void BM_ThriftCall(benchmark::State& state) {
  static std::unique_ptr<ThriftServer> server = [] {
    ThriftServerOptions options;
    options.listen = {"127.0.0.1", 0};
    return ThriftServer::Start(options, {{"group", std::make_shared<wire::GroupServiceProcessor>(
                                                       std::make_shared<EchoGroup>())}})
        .value();
  }();
  RpcClientPool<wire::GroupServiceClient> pool({"127.0.0.1", server->port()}, "group");
  wire::JoinRequest request;
  wire::JoinResponse response;
  for (auto _ : state) {
    const Status status =
        pool.Call(std::chrono::seconds(10), [&](auto& client) { client.Join(response, request); });
    if (!status.ok()) state.SkipWithError(status.ToString().c_str());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ThriftCall)->Threads(1)->Threads(8)->UseRealTime();

}  // namespace
}  // namespace tercet

BENCHMARK_MAIN();
