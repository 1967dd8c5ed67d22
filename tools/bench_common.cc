#include "tools/bench_common.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "common/base/version.h"
#include "tools/output.h"

namespace tercet {

namespace {

constexpr std::chrono::milliseconds kQuietTime{2'000};

std::string HumanNanos(int64_t nanos) {
  const double micros = static_cast<double>(nanos) * 1e-3;
  if (micros < 10'000) return fmt::format("{:.0f} us", micros);
  return fmt::format("{:.1f} ms", micros * 1e-3);
}

double PerSecond(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

struct Share {
  const char* name;
  double share;
};
constexpr Share kShares[] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1.0}};

}  // namespace

size_t LatencyHistogram::BucketOf(uint64_t nanos) {
  // Below 2^kSubBits every value has a bucket; above, the bits behind the first one choose.
  if (nanos < (1u << kSubBits)) return nanos;
  const int shift = std::bit_width(nanos) - 1 - kSubBits;
  return ((static_cast<size_t>(shift) + 1) << kSubBits) + ((nanos >> shift) - (1u << kSubBits));
}

uint64_t LatencyHistogram::UpperBound(size_t bucket) {
  if (bucket < (1u << kSubBits)) return bucket;
  const size_t shift = (bucket >> kSubBits) - 1;
  const uint64_t base = (bucket & ((1u << kSubBits) - 1)) + (1u << kSubBits);
  return ((base + 1) << shift) - 1;
}

void LatencyHistogram::Record(int64_t nanos) {
  nanos = std::max<int64_t>(nanos, 0);
  ++buckets_[BucketOf(static_cast<uint64_t>(nanos))];
  ++count_;
  max_nanos_ = std::max(max_nanos_, nanos);
}

void LatencyHistogram::Add(const LatencyHistogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  max_nanos_ = std::max(max_nanos_, other.max_nanos_);
}

int64_t LatencyHistogram::Percentile(double share) const {
  if (count_ == 0) return 0;
  const auto rank = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count_)));
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += buckets_[i];
    if (seen >= std::max<uint64_t>(rank, 1)) {
      return std::min(static_cast<int64_t>(UpperBound(i)), max_nanos_);
    }
  }
  return max_nanos_;
}

nlohmann::json ResultsJson(const std::vector<BenchResult>& results) {
  nlohmann::json out = nlohmann::json::array();
  for (const BenchResult& result : results) {
    nlohmann::json latency;
    for (const Share& share : kShares) {
      latency[share.name] = static_cast<double>(result.latencies.Percentile(share.share)) * 1e-3;
    }
    nlohmann::json row = {
        {"op", result.op},
        {"count", result.count},
        {"seconds", result.seconds},
        {"per_second", PerSecond(static_cast<double>(result.count), result.seconds)},
        {"latency_us", latency}};
    if (result.bytes > 0) {
      row["bytes"] = result.bytes;
      row["bytes_per_second"] = PerSecond(static_cast<double>(result.bytes), result.seconds);
    }
    out.push_back(std::move(row));
  }
  return out;
}

std::string ResultsText(const std::vector<BenchResult>& results) {
  const bool data = std::any_of(results.begin(), results.end(),
                                [](const BenchResult& result) { return result.bytes > 0; });
  std::vector<Table::Column> columns = {
      {"op"}, {"count", true}, {"seconds", true}, {"per second", true}};
  if (data) columns.push_back({"MB/s", true});
  for (const Share& share : kShares) columns.push_back({share.name, true});
  Table table(columns);
  for (const BenchResult& result : results) {
    std::vector<std::string> row = {
        result.op, Grouped(static_cast<int64_t>(result.count)),
        fmt::format("{:.2f}", result.seconds),
        Grouped(std::llround(PerSecond(static_cast<double>(result.count), result.seconds)))};
    if (data) {
      row.push_back(result.bytes == 0
                        ? "-"
                        : fmt::format("{:.1f}", PerSecond(static_cast<double>(result.bytes) * 1e-6,
                                                          result.seconds)));
    }
    for (const Share& share : kShares) {
      row.push_back(HumanNanos(result.latencies.Percentile(share.share)));
    }
    table.Add(std::move(row));
  }
  return table.ToString();
}

Progress::Progress(std::string what, uint64_t total, bool enabled)
    : what_(std::move(what)), total_(total) {
  if (enabled) thread_ = std::thread([this] { Run(); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_changed_.notify_all();
  thread_.join();
}

void Progress::Run() {
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const auto begin = std::chrono::steady_clock::now();
  bool shown = false;
  std::unique_lock lock(mutex_);
  auto wait = kQuietTime;
  while (!stop_changed_.wait_for(lock, wait, [&] { return stopping_; })) {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const uint64_t done = done_.load(std::memory_order_relaxed);
    const auto rate = std::llround(PerSecond(static_cast<double>(done), seconds));
    fmt::print(stderr, "{}{}: {} of {}, {} a second{}", terminal ? "\r\033[K" : "", what_,
               Grouped(static_cast<int64_t>(done)), Grouped(static_cast<int64_t>(total_)),
               Grouped(rate), terminal ? "" : "\n");
    std::fflush(stderr);
    shown = true;
    wait = std::chrono::milliseconds(terminal ? 1'000 : 10'000);
  }
  if (shown && terminal) fmt::print(stderr, "\r\033[K");
}

Result<BenchResult> RunPhase(const std::string& op, size_t threads, uint64_t expected,
                             bool show_progress, const std::function<Status(BenchWorker&)>& body) {
  std::atomic<bool> failed{false};
  std::mutex mutex;
  Status failure;  // guarded by mutex
  BenchResult result;
  result.op = op;
  const auto begin = std::chrono::steady_clock::now();
  {
    Progress progress(op, expected, show_progress);
    std::vector<std::unique_ptr<BenchWorker>> workers;
    std::vector<std::thread> running;
    for (size_t i = 0; i < threads; ++i) {
      workers.push_back(std::make_unique<BenchWorker>(i, progress, failed));
      running.emplace_back([&, worker = workers.back().get()] {
        const Status status = body(*worker);
        if (status.ok()) return;
        std::lock_guard lock(mutex);
        if (failure.ok()) failure = status.WithContext(op);
        failed.store(true, std::memory_order_relaxed);
      });
    }
    for (std::thread& thread : running) thread.join();
    result.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    for (const auto& worker : workers) result.latencies.Add(worker->latencies());
  }
  if (!failure.ok()) return failure;
  result.count = result.latencies.count();
  return result;
}

Result<std::vector<std::string>> ParseOps(const std::string& text,
                                          const std::vector<std::string>& known) {
  std::vector<std::string> ops;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string op = text.substr(begin, end - begin);
    if (std::find(known.begin(), known.end(), op) == known.end()) {
      std::string names;
      for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
      return Status(StatusCode::kInvalidArgument, "--op: '" + op + "' is not one of " + names);
    }
    ops.push_back(op);
    begin = end + 1;
  }
  return ops;
}

class BenchSessions::NoOrphans final : public OrphanKeeper {
 public:
  size_t Condemn(const std::vector<int64_t>& inodes) override {
    std::lock_guard lock(mutex_);
    released_.insert(inodes.begin(), inodes.end());
    return inodes.size();
  }
  std::vector<int64_t> TakeReleased(size_t max) override {
    std::lock_guard lock(mutex_);
    std::vector<int64_t> taken;
    while (!released_.empty() && taken.size() < max) {
      taken.push_back(*released_.begin());
      released_.erase(released_.begin());
    }
    return taken;
  }
  void PutBackReleased(const std::vector<int64_t>& inodes) override {
    std::lock_guard lock(mutex_);
    released_.insert(inodes.begin(), inodes.end());
  }

 private:
  std::mutex mutex_;
  std::set<int64_t>
      released_;  // guarded by mutex_; as many as the server condemns between renewals
};

BenchSessions::BenchSessions() : orphans_(std::make_unique<NoOrphans>()) {}

BenchSessions::~BenchSessions() {
  for (auto& client : clients_) client->Close();
}

Result<std::unique_ptr<BenchSessions>> BenchSessions::Open(const std::vector<HostPort>& metaservers,
                                                           size_t count,
                                                           const std::string& purpose) {
  std::unique_ptr<BenchSessions> sessions(new BenchSessions());
  char host[256] = "";
  if (::gethostname(host, sizeof(host) - 1) != 0) return StatusFromErrno(errno, "gethostname");
  for (size_t i = 0; i < count; ++i) {
    MetadataClientOptions options;
    options.metaservers = metaservers;
    options.host_name = host;
    options.mount_point = purpose;
    options.version = kVersion;
    ASSIGN_OR_RETURN(auto client,
                     MetadataClient::Open(std::move(options), sessions->orphans_.get()));
    sessions->clients_.push_back(std::move(client));
  }
  return sessions;
}

Result<wire::Attributes> LookupEntry(MetadataClient& client, int64_t parent,
                                     const std::string& name) {
  wire::LookupRequest request;
  request.parent = parent;
  request.name = name;
  ASSIGN_OR_RETURN(wire::LookupResponse response,
                   client.Read("lookup", &wire::MetadataServiceClient::Lookup, request));
  return std::move(response.attributes);
}

Result<int64_t> EnsureDirectory(MetadataClient& client, int64_t parent, const std::string& name) {
  wire::MakeNodeRequest request;
  request.parent = parent;
  request.name = name;
  request.type = wire::FileType::DIRECTORY;
  request.mode = 0755;
  request.owner.uid = static_cast<int32_t>(::getuid());
  request.owner.gid = static_cast<int32_t>(::getgid());
  auto made = client.Mutate("mkdir", &wire::MetadataServiceClient::MakeNode, request);
  if (made.ok()) return made->attributes.inode;
  if (made.code() != StatusCode::kExists) return made.status();
  ASSIGN_OR_RETURN(const wire::Attributes found, LookupEntry(client, parent, name));
  if (found.type != wire::FileType::DIRECTORY) {
    return Status(StatusCode::kNotDirectory, "'" + name + "' is there and is not a directory");
  }
  return found.inode;
}

Result<int64_t> ResolveDirectory(MetadataClient& client, const std::string& path, bool create) {
  if (path.empty() || path.front() != '/') {
    return Status(
        StatusCode::kInvalidArgument,
        "--dir: '" + path + "' does not begin with '/': give a path within the file system");
  }
  auto inode = static_cast<int64_t>(client.root().value());
  for (size_t begin = 1; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty()) continue;
    if (create) {
      ASSIGN_OR_RETURN(inode, EnsureDirectory(client, inode, name));
    } else {
      ASSIGN_OR_RETURN(const wire::Attributes found, LookupEntry(client, inode, name));
      inode = found.inode;
    }
  }
  return inode;
}

int ReportBench(const Status& status, const std::vector<BenchResult>& results, bool json,
                nlohmann::json settings) {
  if (json) {
    settings["results"] = ResultsJson(results);
    fmt::print("{}\n", settings.dump(2));
  } else if (!results.empty()) {
    fmt::print("{}", ResultsText(results));
  }
  return ExitStatus(status);
}

}  // namespace tercet
