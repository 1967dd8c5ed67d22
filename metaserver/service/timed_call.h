// Measures one RPC, whatever way it ends.
#pragma once

#include <chrono>

#include "metaserver/service/service_metrics.h"
#include "tercet_thrift/common_types.h"

namespace tercet {

/// Observes the time from construction to destruction and the outcome that `info` holds then.
class TimedCall {
 public:
  TimedCall(OperationMetrics& metrics, const wire::ReplyInfo& info)
      : metrics_(metrics), info_(info), start_(std::chrono::steady_clock::now()) {}
  ~TimedCall() { metrics_.Observe(info_.status.code, std::chrono::steady_clock::now() - start_); }
  TimedCall(const TimedCall&) = delete;
  TimedCall& operator=(const TimedCall&) = delete;

 private:
  OperationMetrics& metrics_;
  const wire::ReplyInfo& info_;
  const std::chrono::steady_clock::time_point start_;
};

}  // namespace tercet
