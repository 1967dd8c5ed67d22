// A TCP proxy in front of a member, through which the others reach it, so that a test can cut the
// links between two of them: bytes are held back then, as by a network that drops packets.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "common/rpc/socket.h"

namespace tercet {

/// Thread-safe.
class LinkProxy {
 public:
  LinkProxy() {
    auto listening = ListenOn(HostPort{"127.0.0.1", 0});
    if (!listening.ok()) abort();
    listening_ = std::move(listening).value();
    accepting_ = std::thread([this] { AcceptLoop(); });
  }
  ~LinkProxy() {
    stopping_ = true;
    accepting_.join();
    // The accepting thread has ended, so no more come; those there are take the lock.
    for (std::thread& thread : threads_) thread.join();
  }

  uint16_t port() const { return listening_.port; }
  std::string address() const { return HostPort{"127.0.0.1", port()}.ToString(); }
  /// Where connections go from now on; 0: nowhere.
  void SetTarget(uint16_t port) { target_ = port; }
  /// Holds back what goes to and fro on connections from this address; "*" means all.
  void Block(const std::string& source) {
    std::lock_guard lock(mutex_);
    blocked_.insert(source);
  }
  void Unblock(const std::string& source) {
    std::lock_guard lock(mutex_);
    blocked_.erase(source);
  }

 private:
  bool Blocked(const std::string& source) {
    std::lock_guard lock(mutex_);
    return blocked_.contains(source) || blocked_.contains("*");
  }

  void AcceptLoop() {
    while (!stopping_) {
      pollfd entry{listening_.socket.get(), POLLIN, 0};
      if (::poll(&entry, 1, 20) <= 0) continue;
      sockaddr_storage address{};
      socklen_t size = sizeof(address);
      UniqueSocket socket(::accept4(listening_.socket.get(), reinterpret_cast<sockaddr*>(&address),
                                    &size, SOCK_CLOEXEC));
      if (socket.get() < 0) continue;
      std::string source = AddressName(address);
      source.resize(source.rfind(':'));
      threads_.emplace_back([this, socket = std::make_shared<UniqueSocket>(std::move(socket)),
                             source] { Serve(*socket, source); });
    }
  }

  void Serve(UniqueSocket& near, const std::string& source) {
    while (Blocked(source)) {
      if (stopping_) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    auto connected = ConnectSocket(HostPort{"127.0.0.1", target_}, std::chrono::milliseconds(2000));
    if (!connected.ok()) return;
    UniqueSocket far = std::move(connected).value();
    PrepareAcceptedSocket(near.get());
    while (!stopping_) {
      if (Blocked(source)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        continue;
      }
      pollfd entries[2] = {{near.get(), POLLIN, 0}, {far.get(), POLLIN, 0}};
      if (::poll(entries, 2, 10) <= 0) continue;
      if (Blocked(source)) continue;
      if (entries[0].revents != 0 && !Pump(near, far)) return;
      if (entries[1].revents != 0 && !Pump(far, near)) return;
    }
  }

  static bool Pump(UniqueSocket& from, UniqueSocket& to) {
    char buffer[16384];
    const ssize_t got = ::recv(from.get(), buffer, sizeof(buffer), 0);
    if (got <= 0) return false;
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t n = ::send(to.get(), buffer + sent, got - sent, MSG_NOSIGNAL);
      if (n <= 0) return false;
      sent += n;
    }
    return true;
  }

  ListeningSocket listening_;
  std::atomic<uint16_t> target_{0};
  std::atomic<bool> stopping_{false};
  std::thread accepting_;
  std::mutex mutex_;
  // Guarded by mutex_:
  std::set<std::string> blocked_;

  std::list<std::thread> threads_;  // of the accepting thread's
};

}  // namespace tercet
