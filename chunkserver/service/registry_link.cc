#include "chunkserver/service/registry_link.h"

#include "common/log/log.h"
#include "common/rpc/wire_status.h"

namespace tercet {
namespace {

constexpr size_t kMaxMetaservers = 32;
constexpr const char* kServiceName = "registry";
constexpr size_t kMaxIdleConnections = 4;

}  // namespace

RegistryLink::RegistryLink(std::vector<HostPort> metaservers, std::chrono::milliseconds timeout)
    : timeout_(timeout) {
  for (HostPort& address : metaservers) {
    pools_.push_back(std::make_shared<Pool>(std::move(address), kServiceName, kMaxIdleConnections));
  }
}

std::shared_ptr<RegistryLink::Pool> RegistryLink::Current(size_t* position) {
  std::lock_guard lock(mutex_);
  *position = active_;
  return pools_[active_];
}

void RegistryLink::MoveOn(size_t from, const std::string& hint) {
  std::lock_guard lock(mutex_);
  if (active_ != from) return;  // another thread has moved on already
  if (!hint.empty()) {
    auto address = ParseHostPort(hint);
    if (address.ok()) {
      for (size_t i = 0; i < pools_.size(); ++i) {
        if (pools_[i]->peer() == *address && i != from) {
          active_ = i;
          return;
        }
      }
      if (pools_[from]->peer() != *address && pools_.size() < kMaxMetaservers) {
        pools_.push_back(std::make_shared<Pool>(*address, kServiceName, kMaxIdleConnections));
        active_ = pools_.size() - 1;
        return;
      }
    } else {
      LOG_WARN_LIMITED("a metaserver named an active that is no address: {}", address.status());
    }
  }
  active_ = (active_ + 1) % pools_.size();
}

void RegistryLink::LeaveDeposed() {
  std::lock_guard lock(mutex_);
  active_ = (active_ + 1) % pools_.size();
}

Status RegistryLink::CallActive(const Function& call) {
  Status last;
  size_t attempts = 0;
  {
    std::lock_guard lock(mutex_);
    attempts = pools_.size() + 1;  // one more for a hint
  }
  for (size_t attempt = 0; attempt < attempts; ++attempt) {
    size_t position = 0;
    std::shared_ptr<Pool> pool = Current(&position);
    const wire::ReplyInfo* info = nullptr;
    Status sent = pool->Call(timeout_, [&](Client& client) { info = call(client); });
    if (sent.ok()) {
      Status answer = FromWire(info->status);
      if (answer.code() != StatusCode::kNotActive) return answer;
      last = answer.WithContext("metaserver " + pool->peer().ToString());
      MoveOn(position, info->__isset.active_hint ? info->active_hint : std::string());
    } else {
      last = sent;
      MoveOn(position, "");
    }
  }
  return Status(StatusCode::kUnavailable, "no metaserver is active: " + last.message());
}

}  // namespace tercet
