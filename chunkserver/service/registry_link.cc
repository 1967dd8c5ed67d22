#include "chunkserver/service/registry_link.h"

#include "common/log/log.h"
#include "common/rpc/wire_status.h"

namespace tercet {
namespace {

constexpr const char* kServiceName = "registry";
constexpr size_t kMaxIdleConnections = 2;

}  // namespace

RegistryLink::RegistryLink(std::vector<HostPort> metaservers, std::chrono::milliseconds timeout)
    : timeout_(timeout) {
  for (HostPort& address : metaservers) {
    pools_.push_back(std::make_shared<Pool>(std::move(address), kServiceName, kMaxIdleConnections));
  }
}

std::vector<HostPort> RegistryLink::metaservers() const {
  std::lock_guard lock(mutex_);
  std::vector<HostPort> addresses;
  for (const auto& pool : pools_) addresses.push_back(pool->peer());
  return addresses;
}

std::optional<RegistryLink::Known> RegistryLink::Learn(const std::string& text) {
  const auto address = ParseHostPort(text);
  if (!address.ok()) {
    LOG_WARN_LIMITED("a metaserver named an active that is no address: {}", address.status());
    return std::nullopt;
  }
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < pools_.size(); ++i) {
    if (pools_[i]->peer() == *address) return Known{i, false};
  }
  if (pools_.size() >= kMaxMetaservers) return std::nullopt;
  pools_.push_back(std::make_shared<Pool>(*address, kServiceName, kMaxIdleConnections));
  return Known{pools_.size() - 1, true};
}

std::optional<size_t> RegistryLink::active() const {
  std::lock_guard lock(mutex_);
  return active_;
}

void RegistryLink::Follow(size_t metaserver) {
  std::lock_guard lock(mutex_);
  active_ = metaserver;
}

bool RegistryLink::Leave(size_t metaserver) {
  std::lock_guard lock(mutex_);
  if (active_ != metaserver) return false;
  active_.reset();
  return true;
}

Status RegistryLink::CallActive(const Function& call) {
  std::shared_ptr<Pool> pool;
  {
    std::lock_guard lock(mutex_);
    if (!active_) return Status(StatusCode::kUnavailable, "no metaserver is active");
    pool = pools_[*active_];
  }
  const wire::ReplyInfo* info = nullptr;
  RETURN_IF_ERROR(pool->Call(timeout_, [&](Client& client) { info = call(client); }));
  Status answer = FromWire(info->status);
  if (answer.code() != StatusCode::kNotActive) return answer;
  return Status(StatusCode::kUnavailable,
                "the metaserver at " + pool->peer().ToString() + " is not active any more");
}

}  // namespace tercet
