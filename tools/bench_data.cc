// tercet bench data: loads the chunk servers with reads and chain writes, without any mount.
//
// Files are named DIR/fNNNNN, so that a run can read what an earlier one kept.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "common/env/random.h"
#include "fuse_client/core/block_io/block_reader.h"
#include "fuse_client/core/block_io/chain_writer.h"
#include "fuse_client/core/block_io/data_connections.h"
#include "tools/admin_client.h"
#include "tools/bench_command.h"
#include "tools/bench_common.h"
#include "tools/output.h"

namespace tercet {

namespace {

using Service = wire::MetadataServiceClient;
using SteadyClock = std::chrono::steady_clock;

const std::vector<std::string> kOps = {"write", "read", "randwrite", "randread"};
constexpr int kBlocksPerCall = 256;

struct DataBenchOptions {
  std::string meta;
  uint64_t files = 4;
  uint64_t size_bytes = 64 << 20;
  uint64_t blocks = 0;  // instead of size_bytes when not 0
  size_t threads = 4;
  std::string ops = "write,read";
  uint32_t io_size = 1 << 20;
  size_t window = 16;
  uint64_t count = 1'000;
  bool sync = false;
  bool keep = false;
  std::string dir = "/bench-data";
  bool json = false;
};

std::shared_ptr<char> AlignedBuffer(size_t size) {
  return {static_cast<char*>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096)), &std::free};
}

Result<BlockTarget> TargetOf(const wire::BlockInfo& block,
                             const std::vector<wire::ServerAddress>& servers) {
  BlockTarget target;
  target.id = BlockId(static_cast<uint64_t>(block.block_id));
  target.generation = Generation(static_cast<uint64_t>(block.generation));
  for (const int32_t id : block.chain) {
    const auto found = std::find_if(servers.begin(), servers.end(),
                                    [&](const auto& server) { return server.server_id == id; });
    if (found == servers.end()) {
      return Status(StatusCode::kUnavailable,
                    fmt::format("the address of chunk server {} is not known", id));
    }
    target.chain.push_back({ServerId(static_cast<uint32_t>(id)),
                            HostPort{found->host, static_cast<uint16_t>(found->port)}});
  }
  if (target.chain.empty()) {
    return Status(StatusCode::kUnavailable,
                  fmt::format("block {} has no replicas", target.id.value()));
  }
  return target;
}

class DataBench {
 public:
  DataBench(const DataBenchOptions& options, std::vector<std::string> ops)
      : options_(options), ops_(std::move(ops)), inodes_(options.files) {}

  Status Run(const std::vector<HostPort>& metaservers);
  const std::vector<BenchResult>& results() const { return results_; }

 private:
  /// A place to read or write at random.
  struct Place {
    BlockTarget target;
    uint32_t bytes = 0;  // of the file in this block
  };

  Status Prepare(const std::vector<HostPort>& metaservers);
  Status Report(Result<BenchResult> result);
  Status WriteFiles(const std::string& op, bool report);
  Status WriteFile(BenchWorker& worker, uint64_t file, uint32_t io_size);
  Status WriteBlock(BenchWorker& worker, MetadataClient& client, int64_t inode, uint64_t index,
                    uint64_t block_size, uint32_t io_size);
  Status ReadFiles();
  Status ReadPlace(BenchWorker& worker, const Place& place, char* buffer);
  Status RandomReads();
  Status RandomWrites();
  /// Where all files' blocks are; `places_` by file.
  Status FindPlaces();
  Status FindPlacesOf(uint64_t file);
  Status CleanUp();

  uint64_t SizeFor(uint64_t block_size) const {
    return options_.blocks > 0 ? options_.blocks * block_size : options_.size_bytes;
  }
  static std::string FileName(uint64_t file) { return fmt::format("f{:05}", file); }

  const DataBenchOptions& options_;
  const std::vector<std::string> ops_;
  std::unique_ptr<BenchSessions> sessions_;
  std::unique_ptr<DataConnections> connections_;
  std::unique_ptr<BlockReader> reader_;
  std::shared_ptr<char> data_;  // kMaxWriteBytes random bytes
  int64_t top_ = 0;
  std::vector<int64_t> inodes_;  // by file number; each written by one thread
  std::vector<std::vector<Place>> places_;
  std::atomic<uint64_t> bytes_{0};
  std::vector<BenchResult> results_;
};

Status DataBench::Run(const std::vector<HostPort>& metaservers) {
  RETURN_IF_ERROR(Prepare(metaservers));
  for (const std::string& op : ops_) {
    bytes_ = 0;
    if (op == "write") {
      RETURN_IF_ERROR(WriteFiles(op, true));
      continue;
    }
    RETURN_IF_ERROR(FindPlaces());
    if (op == "read") RETURN_IF_ERROR(ReadFiles());
    if (op == "randread") RETURN_IF_ERROR(RandomReads());
    if (op == "randwrite") RETURN_IF_ERROR(RandomWrites());
  }
  return options_.keep ? Status::Ok() : CleanUp();
}

Status DataBench::Prepare(const std::vector<HostPort>& metaservers) {
  ASSIGN_OR_RETURN(sessions_, BenchSessions::Open(metaservers, 1, "bench data"));
  MetadataClient& client = sessions_->Of(0);
  ASSIGN_OR_RETURN(top_, ResolveDirectory(client, options_.dir, true));
  DataConnectionOptions connections;
  connections.cluster_id = client.cluster_id();
  connections.caller = fmt::format("bench data session {}", client.session_id());
  connections.max_idle_per_server = options_.threads;
  connections_ = std::make_unique<DataConnections>(std::move(connections));
  reader_ = std::make_unique<BlockReader>(connections_.get());
  data_ = AlignedBuffer(kMaxWriteBytes);
  if (data_ == nullptr) return Status(StatusCode::kInternal, "out of memory");
  const std::string random = SystemRandom().Bytes(kMaxWriteBytes);
  std::copy(random.begin(), random.end(), data_.get());
  if (ops_.front() == "write") return Status::Ok();
  // Either an earlier run kept its files, or they are written now without being measured.
  if (LookupEntry(client, top_, FileName(options_.files - 1)).ok()) return Status::Ok();
  return WriteFiles("preparing files", false);
}

Status DataBench::Report(Result<BenchResult> result) {
  RETURN_IF_ERROR(result.status());
  result->bytes = bytes_.load();
  results_.push_back(std::move(result).value());
  return Status::Ok();
}

Status DataBench::WriteFiles(const std::string& op, bool report) {
  places_.clear();
  std::atomic<uint64_t> next{0};
  const uint32_t io_size = report ? options_.io_size : kMaxWriteBytes;
  const uint64_t expected = options_.files * (SizeFor(64 << 20) / io_size);
  auto result = RunPhase(op, options_.threads, expected, true, [&](BenchWorker& worker) {
    while (!worker.cancelled()) {
      const uint64_t file = next.fetch_add(1);
      if (file >= options_.files) break;
      RETURN_IF_ERROR(WriteFile(worker, file, io_size));
    }
    return Status::Ok();
  });
  return report ? Report(std::move(result)) : result.status();
}

Status DataBench::WriteFile(BenchWorker& worker, uint64_t file, uint32_t io_size) {
  MetadataClient& client = sessions_->Of(worker.index());
  wire::CreateFileRequest request;
  request.parent = top_;
  request.name = FileName(file);
  request.mode = 0644;
  request.owner.uid = static_cast<int32_t>(::getuid());
  request.owner.gid = static_cast<int32_t>(::getgid());
  ASSIGN_OR_RETURN(const wire::CreateFileResponse created,
                   client.Mutate("create", &Service::CreateFile, request));
  inodes_[file] = created.attributes.inode;
  const auto block_size = static_cast<uint64_t>(created.attributes.block_size_bytes);
  if (block_size == 0) return Status(StatusCode::kInternal, "the file has no block size");
  const uint64_t size = SizeFor(block_size);
  for (uint64_t index = 0; index * block_size < size && !worker.cancelled(); ++index) {
    RETURN_IF_ERROR(WriteBlock(worker, client, inodes_[file], index, block_size, io_size));
  }
  return Status::Ok();
}

Status DataBench::WriteBlock(BenchWorker& worker, MetadataClient& client, int64_t inode,
                             uint64_t index, uint64_t block_size, uint32_t io_size) {
  wire::AllocateBlockRequest allocate;
  allocate.inode = inode;
  allocate.block_index = static_cast<int64_t>(index);
  ASSIGN_OR_RETURN(const wire::AllocateBlockResponse allocated,
                   client.Mutate("allocate", &Service::AllocateBlock, allocate));
  ASSIGN_OR_RETURN(BlockTarget target, TargetOf(allocated.block, allocated.servers));
  ChainWriterOptions chain;
  chain.window_frames = options_.window;
  chain.window_bytes = options_.window * io_size;
  ChainWriter writer(connections_.get(), std::move(target), chain);

  std::deque<std::pair<uint64_t, SteadyClock::time_point>> waiting;
  const auto take_acknowledged = [&] {
    const auto now = SteadyClock::now();
    while (!waiting.empty() && waiting.front().first < writer.oldest_unacknowledged()) {
      worker.Record(now - waiting.front().second);
      waiting.pop_front();
    }
  };
  const uint64_t end = std::min(block_size, SizeFor(block_size) - index * block_size);
  for (uint64_t at = 0; at < end; at += io_size) {
    const auto bytes = static_cast<uint32_t>(std::min<uint64_t>(io_size, end - at));
    waiting.emplace_back(writer.next_number(), SteadyClock::now());
    RETURN_IF_ERROR(
        writer.Submit(static_cast<uint32_t>(at), {data_, bytes}, allocated.block.reserved, false));
    RETURN_IF_ERROR(writer.Poll());
    take_acknowledged();
    bytes_ += bytes;
  }
  RETURN_IF_ERROR(options_.sync ? writer.Sync() : writer.Drain());
  take_acknowledged();

  wire::CommitWriteRequest commit;
  commit.inode = inode;
  if (allocated.block.reserved) commit.written_blocks = {allocated.block.block_id};
  commit.end_offset = static_cast<int64_t>(index * block_size + end);
  return client.Mutate("commit", &Service::CommitWrite, commit).status();
}

Status DataBench::FindPlaces() {
  if (!places_.empty()) return Status::Ok();
  places_.resize(options_.files);
  for (uint64_t file = 0; file < options_.files; ++file) RETURN_IF_ERROR(FindPlacesOf(file));
  return Status::Ok();
}

Status DataBench::FindPlacesOf(uint64_t file) {
  MetadataClient& client = sessions_->Of(0);
  ASSIGN_OR_RETURN(const wire::Attributes found, LookupEntry(client, top_, FileName(file)));
  const int64_t block_size = std::max(found.block_size_bytes, 1);
  wire::GetBlocksRequest request;
  request.inode = found.inode;
  request.count = kBlocksPerCall;
  for (; request.first_index * block_size < found.size_bytes;
       request.first_index += kBlocksPerCall) {
    ASSIGN_OR_RETURN(const wire::GetBlocksResponse got,
                     client.Read("get blocks", &Service::GetBlocks, request));
    for (const wire::BlockInfo& block : got.blocks) {
      ASSIGN_OR_RETURN(BlockTarget target, TargetOf(block, got.servers));
      const int64_t bytes = std::min(block_size, found.size_bytes - block.block_index * block_size);
      places_[file].push_back({std::move(target), static_cast<uint32_t>(bytes)});
    }
  }
  if (places_[file].empty()) {
    return Status(StatusCode::kFailedPrecondition,
                  options_.dir + "/" + FileName(file) + " is empty: put write before the reads");
  }
  return Status::Ok();
}

Status DataBench::ReadPlace(BenchWorker& worker, const Place& place, char* buffer) {
  for (uint32_t at = 0; at < place.bytes && !worker.cancelled(); at += options_.io_size) {
    const uint32_t bytes = std::min(options_.io_size, place.bytes - at);
    RETURN_IF_ERROR(
        worker.Measure([&] { return reader_->Read(place.target, at, std::span(buffer, bytes)); }));
    bytes_ += bytes;
  }
  return Status::Ok();
}

Status DataBench::ReadFiles() {
  uint64_t expected = 0;
  for (const auto& file : places_) {
    for (const Place& place : file) expected += place.bytes / options_.io_size;
  }
  std::atomic<uint64_t> next{0};
  return Report(RunPhase("read", options_.threads, expected, true, [&](BenchWorker& worker) {
    const std::shared_ptr<char> buffer = AlignedBuffer(options_.io_size);
    if (buffer == nullptr) return Status(StatusCode::kInternal, "out of memory");
    while (!worker.cancelled()) {
      const uint64_t file = next.fetch_add(1);
      if (file >= options_.files) break;
      for (const Place& place : places_[file]) {
        RETURN_IF_ERROR(ReadPlace(worker, place, buffer.get()));
      }
    }
    return Status::Ok();
  }));
}

Status DataBench::RandomReads() {
  const uint64_t expected = options_.threads * options_.count;
  return Report(RunPhase("randread", options_.threads, expected, true, [&](BenchWorker& worker) {
    const std::shared_ptr<char> buffer = AlignedBuffer(options_.io_size);
    if (buffer == nullptr) return Status(StatusCode::kInternal, "out of memory");
    std::mt19937_64 random(worker.index());
    for (uint64_t i = 0; i < options_.count && !worker.cancelled(); ++i) {
      const auto& file = places_[random() % places_.size()];
      const Place& place = file[random() % file.size()];
      const uint32_t steps = std::max(place.bytes / options_.io_size, 1u);
      const auto at = static_cast<uint32_t>(random() % steps) * options_.io_size;
      const uint32_t bytes = std::min(options_.io_size, place.bytes - at);
      RETURN_IF_ERROR(worker.Measure(
          [&] { return reader_->Read(place.target, at, std::span(buffer.get(), bytes)); }));
      bytes_ += bytes;
    }
    return Status::Ok();
  }));
}

Status DataBench::RandomWrites() {
  const uint64_t expected = options_.threads * options_.count;
  return Report(RunPhase("randwrite", options_.threads, expected, true, [&](BenchWorker& worker) {
    std::map<BlockId, ChainWriter> writers;
    std::mt19937_64 random(worker.index());
    for (uint64_t i = 0; i < options_.count && !worker.cancelled(); ++i) {
      const auto& file = places_[random() % places_.size()];
      const Place& place = file[random() % file.size()];
      const uint32_t steps = std::max(place.bytes / options_.io_size, 1u);
      const auto at = static_cast<uint32_t>(random() % steps) * options_.io_size;
      const uint32_t bytes = std::min(options_.io_size, place.bytes - at);
      ChainWriter& writer =
          writers.try_emplace(place.target.id, connections_.get(), place.target).first->second;
      RETURN_IF_ERROR(worker.Measure([&]() -> Status {
        RETURN_IF_ERROR(writer.Submit(at, {data_, bytes}, false, options_.sync));
        return writer.Drain();
      }));
      bytes_ += bytes;
    }
    return Status::Ok();
  }));
}

Status DataBench::CleanUp() {
  for (uint64_t file = 0; file < options_.files; ++file) {
    wire::UnlinkRequest request;
    request.parent = top_;
    request.name = FileName(file);
    RETURN_IF_ERROR(sessions_->Of(0).Mutate("unlink", &Service::Unlink, request).status());
  }
  return Status::Ok();
}

int RunDataBench(const DataBenchOptions& options) {
  auto ops = ParseOps(options.ops, kOps);
  auto metaservers = MetaAddressesFrom(options.meta);
  const Status wrong = ops.ok() ? metaservers.status() : ops.status();
  if (!wrong.ok()) {
    ExitStatus(wrong);
    return kExitUsage;
  }
  DataBench bench(options, std::move(ops).value());
  const Status status = bench.Run(*metaservers);
  return ReportBench(status, bench.results(), options.json,
                     {{"bench", "data"},
                      {"files", options.files},
                      {"threads", options.threads},
                      {"io_bytes", options.io_size},
                      {"sync", options.sync}});
}

}  // namespace

void AddDataBench(Command bench, int* exit_status) {
  auto options = std::make_shared<DataBenchOptions>();
  Command command =
      bench.AddSubcommand("data", "write and read blocks on the chunk servers, verified");
  command.AddOption("--meta", options->meta, "metaservers; TERCET_META by default")
      .TypeName("HOST:PORT,…");
  command.AddOption("--files", options->files, "how many files").InRange(1, 99'999).ShowDefault();
  const CommandOption size =
      command.AddOption("--size", options->size_bytes, "bytes of each file, also as 64MiB or 1GiB")
          .ByteSize()
          .InRange(uint64_t{1}, uint64_t{1} << 44)
          .ShowDefault();
  command.AddOption("--blocks", options->blocks, "size of each file in whole blocks instead")
      .InRange(1, 1 << 20)
      .Excludes(size);
  command.AddOption("--threads", options->threads, "files or random operations at once")
      .InRange(1, 1024)
      .ShowDefault();
  command
      .AddOption("--op", options->ops,
                 "what to do, in this order: write, read, randwrite, randread")
      .TypeName("OP,…")
      .ShowDefault();
  command.AddOption("--io-size", options->io_size, "bytes of each request, at most 1 MiB")
      .ByteSize()
      .InRange(1u, kMaxWriteBytes)
      .ShowDefault();
  command.AddOption("--window", options->window, "requests in flight for each file in write")
      .InRange(1, 1024)
      .ShowDefault();
  command.AddOption("--count", options->count, "random operations of each thread")
      .InRange(1, 1'000'000'000)
      .ShowDefault();
  command.AddFlag("--sync", options->sync,
                  "sync each block when it is written, and each random write");
  command.AddFlag("--keep", options->keep, "leave the files");
  command.AddOption("--dir", options->dir, "where, as a path within the file system").ShowDefault();
  command.AddFlag("--json", options->json, "as a JSON object");
  command.OnRun([=] { *exit_status = RunDataBench(*options); });
}

}  // namespace tercet
