#include "chunkserver/service/registry_peer.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace tercet {
namespace {

/// Without a descriptor to be woken through, waits are short.
constexpr std::chrono::milliseconds kLongestBlindWait{50};

}  // namespace

RegistryPeer::RegistryPeer(HostPort address, Milliseconds timeout, std::function<void()> on_slow)
    : address_(std::move(address)),
      timeout_(timeout),
      on_slow_(std::move(on_slow)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

RegistryPeer::~RegistryPeer() {
  Stop();
  Disconnect();
}

void RegistryPeer::Start(Turn turn) {
  thread_ = std::thread([this, turn = std::move(turn)] {
    pthread_setname_np(pthread_self(), "registry");
    while (!stopping_.load()) WaitFor(turn(*this));
  });
}

void RegistryPeer::Wake() {
  const uint64_t one = 1;
  // It can only fail when the thread is about to wake anyway.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

void RegistryPeer::Stop() {
  stopping_.store(true);
  aborter_.Abort();
  Wake();
  if (thread_.joinable()) thread_.join();
}

Status RegistryPeer::Connect() {
  if (connection_ != nullptr && connection_->LooksClosed()) Disconnect();
  if (connection_ != nullptr) return Status::Ok();
  auto connected = RpcConnection::Connect(address_, "registry", timeout_, {}, &aborter_);
  if (!connected.ok()) return connected.status();
  connection_ = std::move(connected).value();
  client_.emplace(connection_->protocol());
  return Status::Ok();
}

void RegistryPeer::Disconnect() {
  client_.reset();
  aborter_.Detach();
  connection_.reset();
}

void RegistryPeer::NoticeSlowness() {
  pollfd entry{connection_->socket(), POLLIN, 0};
  if (::poll(&entry, 1, static_cast<int>(kSlowAfter.count())) == 0 && on_slow_) on_slow_();
}

void RegistryPeer::WaitFor(Milliseconds duration) {
  if (wake_.get() < 0) duration = std::min(duration, kLongestBlindWait);
  pollfd entries[2] = {{wake_.get(), POLLIN, 0}, {-1, POLLIN, 0}};
  if (connection_ != nullptr) entries[1].fd = connection_->socket();
  if (::poll(entries, 2, static_cast<int>(duration.count())) <= 0) return;
  uint64_t wakes = 0;
  [[maybe_unused]] const ssize_t drained = ::read(wake_.get(), &wakes, sizeof(wakes));
  if (entries[1].revents != 0) Disconnect();
}

}  // namespace tercet
