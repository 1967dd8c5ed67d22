#include "common/metrics/metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <prometheus/exposer.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace tercet {
namespace {

std::shared_ptr<prometheus::Registry> TheRegistry() {
  static auto* registry =
      new std::shared_ptr<prometheus::Registry>(std::make_shared<prometheus::Registry>());
  return *registry;
}

/// Registers a metric; the library throws for a bad name or a name with two types.
template <typename Make>
auto& OrAbort(const std::string& name, Make make) {
  try {
    return make();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "metric %s: %s\n", name.c_str(), error.what());
    std::abort();
  }
}

/// The figures every Prometheus client library shows of its process, under their customary names.
class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> families;
    rusage usage{};
    if (::getrusage(RUSAGE_SELF, &usage) == 0) {
      double seconds = Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
      Add(families, prometheus::MetricType::Counter, "process_cpu_seconds_total",
          "CPU time used, user and system", seconds);
    }
    long pages_total = 0;
    long pages_resident = 0;
    if (std::ifstream statm("/proc/self/statm"); statm >> pages_total >> pages_resident) {
      double page_bytes = static_cast<double>(::sysconf(_SC_PAGESIZE));
      Add(families, prometheus::MetricType::Gauge, "process_virtual_memory_bytes",
          "Virtual memory size", static_cast<double>(pages_total) * page_bytes);
      Add(families, prometheus::MetricType::Gauge, "process_resident_memory_bytes",
          "Resident memory size", static_cast<double>(pages_resident) * page_bytes);
    }
    std::error_code error;
    double descriptors = 0;
    for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
         it.increment(error)) {
      ++descriptors;
    }
    if (!error) {
      Add(families, prometheus::MetricType::Gauge, "process_open_fds", "Open file descriptors",
          descriptors);
    }
    return families;
  }

 private:
  static double Seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  }
  static void Add(std::vector<prometheus::MetricFamily>& families, prometheus::MetricType type,
                  const char* name, const char* help, double value) {
    prometheus::ClientMetric metric;
    (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    families.push_back({.name = name, .help = help, .type = type, .metric = {metric}});
  }
};

/// Where a server that listens on HOST:PORT can be reached from here; a wildcard or name by
/// loopback.
sockaddr_in OwnAddress(const std::string& host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1 ||
      address.sin_addr.s_addr == htonl(INADDR_ANY)) {
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  return address;
}

/// Connects and disconnects; whether it could does not matter.
void Connect(const sockaddr_in& address) {
  int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) return;
  (void)::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  ::close(socket);
}

}  // namespace

Counter& GetCounter(const std::string& name, const std::string& help, const MetricLabels& labels) {
  return OrAbort(name, [&]() -> Counter& {
    return prometheus::BuildCounter().Name(name).Help(help).Register(*TheRegistry()).Add(labels);
  });
}

Gauge& GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels) {
  return OrAbort(name, [&]() -> Gauge& {
    return prometheus::BuildGauge().Name(name).Help(help).Register(*TheRegistry()).Add(labels);
  });
}

Histogram& GetHistogram(const std::string& name, const std::string& help,
                        const MetricLabels& labels, const std::vector<double>& bounds) {
  return OrAbort(name, [&]() -> Histogram& {
    return prometheus::BuildHistogram()
        .Name(name)
        .Help(help)
        .Register(*TheRegistry())
        .Add(labels, bounds);
  });
}

Histogram& GetLatencyHistogram(const std::string& name, const std::string& help,
                               const MetricLabels& labels) {
  static const std::vector<double> kBounds = {1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3,
                                              2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1,  0.2,
                                              0.5,  1,    2,    5,    10};
  return GetHistogram(name, help, labels, kBounds);
}

std::string MetricsText() {
  return prometheus::TextSerializer().Serialize(TheRegistry()->Collect());
}

struct MetricsServer::Impl {
  std::shared_ptr<ProcessMetrics> process = std::make_shared<ProcessMetrics>();
  std::unique_ptr<prometheus::Exposer> exposer;
  sockaddr_in own_address{};
};

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl, uint16_t port)
    : impl_(std::move(impl)), port_(port) {}

MetricsServer::~MetricsServer() {
  // The HTTP library looks only every two seconds whether it shall stop, unless somebody connects.
  std::atomic<bool> stopped{false};
  std::thread waker([&] {
    while (!stopped) {
      Connect(impl_->own_address);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  impl_->exposer.reset();
  stopped = true;
  waker.join();
}

Result<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& host,
                                                            uint16_t port) {
  const std::string address = host + ":" + std::to_string(port);
  auto impl = std::make_unique<Impl>();
  try {
    impl->exposer = std::make_unique<prometheus::Exposer>(address, 1);
    impl->exposer->RegisterCollectable(TheRegistry());
    impl->exposer->RegisterCollectable(impl->process);
    std::vector<int> ports = impl->exposer->GetListeningPorts();
    if (ports.empty()) {
      return Status(StatusCode::kIo, "metrics endpoint " + address + ": is not listening");
    }
    auto bound = static_cast<uint16_t>(ports.front());
    impl->own_address = OwnAddress(host, bound);
    return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(impl), bound));
  } catch (const std::exception&) {
    // The HTTP library says only that it did not start; in practice the address is taken or not
    // ours.
    return Status(StatusCode::kBusy, "metrics endpoint " + address +
                                         " cannot be opened: is the port in use by another "
                                         "process, or the address not one of this machine?");
  }
}

}  // namespace tercet
