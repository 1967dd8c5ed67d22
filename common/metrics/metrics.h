// Metrics of this process, in the Prometheus model.
//
// Look a metric up once and keep the reference: updates are then a few atomic instructions (a short
// mutex for histograms). Names are snake_case with the unit last and begin with "tercet_"; counters
// end in "_total".
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tercet {

using Counter = prometheus::Counter;
using Gauge = prometheus::Gauge;
using Histogram = prometheus::Histogram;
using MetricLabels = std::map<std::string, std::string>;

/// The metric of that name and labels in the process-wide registry, made when it is not there. It
/// lives as long as the process. The same name with another type or an invalid name is a bug:
/// aborts. Thread-safe.
Counter& GetCounter(const std::string& name, const std::string& help,
                    const MetricLabels& labels = {});
Gauge& GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels = {});
/// `bounds`: upper bucket bounds, ascending; those of the first call for a metric count.
Histogram& GetHistogram(const std::string& name, const std::string& help,
                        const MetricLabels& labels, const std::vector<double>& bounds);
/// Buckets from 10 µs to 10 s, three per decade; observe seconds.
Histogram& GetLatencyHistogram(const std::string& name, const std::string& help,
                               const MetricLabels& labels = {});

/// Observes the seconds from construction to destruction.
class LatencyTimer {
 public:
  explicit LatencyTimer(Histogram& histogram)
      : histogram_(histogram), start_(std::chrono::steady_clock::now()) {}
  ~LatencyTimer() {
    histogram_.Observe(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count());
  }
  LatencyTimer(const LatencyTimer&) = delete;
  LatencyTimer& operator=(const LatencyTimer&) = delete;

 private:
  Histogram& histogram_;
  const std::chrono::steady_clock::time_point start_;
};

/// Everything in the registry in the text format, as /metrics shows it.
std::string MetricsText();

/// Serves http://HOST:PORT/metrics until destroyed, with the process's own figures (memory, CPU,
/// descriptors).
class MetricsServer {
 public:
  /// Port 0 takes a free one. kBusy when the port is in use; the message names it.
  static Result<std::unique_ptr<MetricsServer>> Start(const std::string& host, uint16_t port);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  uint16_t port() const { return port_; }

 private:
  struct Impl;
  explicit MetricsServer(std::unique_ptr<Impl> impl, uint16_t port);

  const std::unique_ptr<Impl> impl_;
  const uint16_t port_;
};

}  // namespace tercet
