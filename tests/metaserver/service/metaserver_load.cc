// Loads a metaserver at RPC level and prints operations per second and latencies. Not a test: run
// it by hand against a release build.
//
//   metaserver_load HOST:PORT (create|lookup) CONNECTIONS OPERATIONS
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "common/env/random.h"
#include "common/rpc/host_port.h"
#include "common/rpc/thrift_client.h"
#include "tercet_thrift/MetadataService.h"

namespace tercet {
namespace {

using Pool = RpcClientPool<wire::MetadataServiceClient>;
using SteadyClock = std::chrono::steady_clock;
constexpr std::chrono::seconds kTimeout{30};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "metaserver_load: %s\n", what.c_str());
  std::exit(1);
}
void Check(const Status& status, const wire::ReplyInfo& info) {
  if (!status.ok()) Die(status.ToString());
  if (info.status.code != 0) Die(info.status.message);
}

int64_t OpenSession(Pool& pool) {
  wire::OpenSessionRequest request;
  request.client_uuid = SystemRandom().Bytes(16);
  request.host_name = "load";
  wire::OpenSessionResponse response;
  Check(pool.Call(kTimeout, [&](auto& client) { client.OpenSession(response, request); }),
        response.info);
  return response.session_id;
}

struct Worker {
  int64_t session = 0;
  int64_t sequence = 0;
  int64_t directory = 1;
  std::vector<double> micros;
};

void Create(Pool& pool, Worker* worker, const std::string& name) {
  wire::CreateFileRequest request;
  request.context.session_id = worker->session;
  request.context.sequence = ++worker->sequence;
  request.parent = worker->directory;
  request.name = name;
  request.mode = 0644;
  wire::CreateFileResponse response;
  Check(pool.Call(kTimeout, [&](auto& client) { client.CreateFile(response, request); }),
        response.info);
}

void Lookup(Pool& pool, Worker* worker, const std::string& name) {
  wire::LookupRequest request;
  request.parent = worker->directory;
  request.name = name;
  wire::LookupResponse response;
  Check(pool.Call(kTimeout, [&](auto& client) { client.Lookup(response, request); }),
        response.info);
}

int64_t MakeDirectory(Pool& pool, Worker* worker, const std::string& name) {
  wire::MakeNodeRequest request;
  request.context.session_id = worker->session;
  request.context.sequence = ++worker->sequence;
  request.parent = 1;
  request.name = name;
  request.mode = 0755;
  wire::MakeNodeResponse response;
  Check(pool.Call(kTimeout, [&](auto& client) { client.MakeNode(response, request); }),
        response.info);
  return response.attributes.inode;
}

void Renew(Pool& pool, const Worker& worker) {
  wire::RenewSessionRequest request;
  request.session_id = worker.session;
  wire::RenewSessionResponse response;
  Check(pool.Call(kTimeout, [&](auto& client) { client.RenewSession(response, request); }),
        response.info);
}

double At(const std::vector<double>& sorted, double share) {
  return sorted[std::min(sorted.size() - 1, static_cast<size_t>(share * sorted.size()))];
}

int Main(int argc, char** argv) {
  if (argc != 5) Die("usage: metaserver_load HOST:PORT (create|lookup) CONNECTIONS OPERATIONS");
  auto address = ParseHostPort(argv[1]);
  if (!address.ok()) Die(address.status().message());
  const bool lookup = std::string(argv[2]) == "lookup";
  const int connections = std::atoi(argv[3]);
  const int per_worker = std::max(1, std::atoi(argv[4]) / std::max(1, connections));
  Pool pool(*address, "metadata", 256);
  const std::string run = std::to_string(SystemRandom().Next());

  std::vector<Worker> workers(connections);
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].session = OpenSession(pool);
    workers[i].directory = MakeDirectory(pool, &workers[i], run + "-" + std::to_string(i));
    // Lookups go over a few files, so that making them takes no time.
    for (int f = 0; lookup && f < 100; ++f) Create(pool, &workers[i], "f" + std::to_string(f));
  }
  std::atomic<bool> done{false};
  std::thread renewer([&] {
    for (int tick = 0; !done; ++tick) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      if (tick % 200 != 0) continue;
      for (const Worker& worker : workers) Renew(pool, worker);
    }
  });
  const auto begin = SteadyClock::now();
  std::vector<std::thread> threads;
  for (Worker& worker : workers) {
    threads.emplace_back([&] {
      worker.micros.reserve(per_worker);
      for (int i = 0; i < per_worker; ++i) {
        const auto start = SteadyClock::now();
        if (lookup) {
          Lookup(pool, &worker, "f" + std::to_string(i % 100));
        } else {
          Create(pool, &worker, "f" + std::to_string(i));
        }
        worker.micros.push_back(
            std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  done = true;
  renewer.join();
  const double seconds = std::chrono::duration<double>(SteadyClock::now() - begin).count();
  std::vector<double> all;
  for (const Worker& worker : workers) {
    all.insert(all.end(), worker.micros.begin(), worker.micros.end());
  }
  std::sort(all.begin(), all.end());
  std::printf("%s connections=%d operations=%zu: %.0f/s, p50 %.0f us, p99 %.0f us, max %.0f us\n",
              argv[2], connections, all.size(), static_cast<double>(all.size()) / seconds,
              At(all, 0.5), At(all, 0.99), all.back());
  return 0;
}

}  // namespace
}  // namespace tercet

int main(int argc, char** argv) { return tercet::Main(argc, argv); }
