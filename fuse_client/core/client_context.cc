#include "fuse_client/core/client_context.h"

#include <algorithm>
#include <utility>

#include "fuse_client/core/flusher.h"

namespace tercet {
namespace {

constexpr size_t kRememberedInodes = 32'768;
constexpr size_t kKeptBuffers = 32;
constexpr uint64_t kSmallestWriteBudget = 4 << 20;
constexpr size_t kMaxQueuedReads = 1'024;
constexpr size_t kMaxQueuedFlushes = 4'096;
constexpr int kAllocateThreads = 2;
constexpr size_t kMaxQueuedAllocations = 1'024;
constexpr std::chrono::milliseconds kFirstWait{5};
constexpr std::chrono::milliseconds kLongestWait{250};
constexpr std::chrono::milliseconds kReportLimit{5'000};

}  // namespace

bool StopSignal::WaitFor(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, time, [&] { return stopped_.load(); });
}

void StopSignal::Stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  wake_.notify_all();
}

bool RetryTimer::Wait(StopSignal& signal) {
  wait_ = wait_.count() == 0 ? kFirstWait : std::min(2 * wait_, kLongestWait);
  if (limit_) {
    const auto left = start_ + *limit_ - Clock::now();
    if (left <= Clock::duration::zero()) return false;
    wait_ = std::min(wait_, std::chrono::ceil<std::chrono::milliseconds>(left));
  }
  return signal.WaitFor(wait_);
}

std::optional<std::chrono::milliseconds> RetryTimer::left() const {
  if (!limit_) return std::nullopt;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(start_ + *limit_ - Clock::now());
  return std::max(left, std::chrono::milliseconds(1));
}

void RecoveryTimes::Add(double seconds) {
  std::lock_guard lock(mutex_);
  if (seconds_.size() >= kMaxKept) seconds_.erase(seconds_.begin());
  seconds_.push_back(seconds);
}

std::vector<double> RecoveryTimes::Take() {
  std::lock_guard lock(mutex_);
  return std::exchange(seconds_, {});
}

ClientContext::ClientContext(FileSystemOptions mount_options)
    : options(std::move(mount_options)),
      buffers(std::make_shared<PieceBufferPool>(kKeptBuffers)),
      attributes(kRememberedInodes),
      write_budget(std::max(options.write_buffer_bytes, kSmallestWriteBudget)),
      read_ahead_budget(options.read_ahead_total_bytes),
      inodes(buffers),
      read_pool("read", std::max(options.read_threads, 1), kMaxQueuedReads),
      flush_pool("flush", std::max(options.flush_threads, 1), kMaxQueuedFlushes),
      allocate_pool("allocate", kAllocateThreads, kMaxQueuedAllocations) {}

ClientContext::~ClientContext() = default;

Status ClientContext::Start() {
  MetadataClientOptions metadata_options;
  metadata_options.metaservers = options.metaservers;
  metadata_options.host_name = options.host_name;
  metadata_options.mount_point = options.mount_point;
  metadata_options.version = options.version;
  metadata_options.hard = options.hard;
  metadata_options.call_timeout = options.call_timeout;
  metadata_options.deadline = options.metadata_deadline;
  ASSIGN_OR_RETURN(metadata, MetadataClient::Open(std::move(metadata_options), &inodes));

  DataConnectionOptions connection_options;
  connection_options.cluster_id = metadata->cluster_id();
  connection_options.caller = "mount " + options.host_name + ":" + options.mount_point +
                              " session " + std::to_string(metadata->session_id());
  connection_options.connect_timeout = options.data_connect_timeout;
  connections = std::make_unique<DataConnections>(std::move(connection_options));
  bad_replicas = std::make_unique<BadReplicaReporter>([this](BadReplicaReporter::Replicas found) {
    wire::ReportBadReplicasRequest request;
    request.replicas = std::move(found);
    return metadata
        ->Ask("report bad replicas", &wire::MetadataServiceClient::ReportBadReplicas,
              std::move(request), kReportLimit)
        .status();
  });
  BlockReaderOptions reader_options;
  reader_options.progress_timeout = options.read_timeout;
  reader_options.last_progress_timeout = options.last_read_timeout;
  reader = std::make_unique<BlockReader>(
      connections.get(), reader_options,
      [this](const BadReplica& replica) { bad_replicas->Note(replica); });
  flusher = std::make_unique<Flusher>(this);
  return Status::Ok();
}

std::optional<std::chrono::milliseconds> ClientContext::DataLimit() const {
  if (options.hard) return std::nullopt;
  return options.data_deadline;
}

Result<BlockTarget> ClientContext::TargetOf(const FileBlock& block) const {
  BlockTarget target;
  target.id = block.id;
  target.generation = block.generation;
  for (ServerId server : block.chain) {
    const std::optional<HostPort> address = servers.Find(server);
    if (!address) {
      return Status(StatusCode::kUnavailable, "the address of chunk server " +
                                                  std::to_string(server.value()) + " is not known");
    }
    target.chain.push_back({server, *address});
  }
  if (target.chain.empty()) {
    return Status(StatusCode::kUnavailable,
                  "block " + std::to_string(block.id.value()) + " has no replicas");
  }
  return target;
}

wire::Attributes ClientContext::Merge(const wire::Attributes& fresh, bool own_change) {
  const wire::Attributes newest = attributes.Update(fresh);
  if (InodeStatePtr state = inodes.Find(InodeId(static_cast<uint64_t>(fresh.inode)))) {
    return state->Learn(newest, own_change);
  }
  return newest;
}

void ClientContext::Interrupt() {
  stop.Stop();
  if (metadata != nullptr) metadata->Interrupt();
  write_budget.Stop();
  read_ahead_budget.Stop();
}

}  // namespace tercet
