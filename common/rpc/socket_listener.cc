// Invariants:
//  - Only the accepting thread inserts and erases entries and joins their threads; a connection's
//    thread only takes its connection out of its entry and names itself finished.
//  - A socket is shut down by the listener only while the listener holds a reference to its
//    connection, so the descriptor cannot have been closed and given to somebody else.
//  - The number of threads is bounded by max_connections: finished ones are joined before more
//    begin.
#include "common/rpc/socket_listener.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "common/log/log.h"
#include "common/rpc/socket.h"

namespace tercet {
namespace {

constexpr int kRetryAcceptMs = 100;  // after running out of descriptors or memory
/// For answers that are being given when the listener stops.
constexpr std::chrono::milliseconds kGraceTime{200};

}  // namespace

struct SocketListener::Impl {
  struct Entry {
    std::shared_ptr<ServedConnection> connection;  // guarded by mutex; empty when finished
    std::thread thread;                            // of the accepting thread only
  };

  // Constant after Start.
  SocketListenerOptions options;
  Factory factory;
  uint16_t port = 0;
  UniqueSocket wake;  // eventfd: something for the accepting thread to look at

  // Of the accepting thread.
  UniqueSocket listening;
  uint64_t next_id = 1;

  std::mutex stop_mutex;  // serializes Stop
  std::thread accepting;  // guarded by stop_mutex after Start

  mutable std::mutex mutex;
  bool stopping = false;              // guarded by mutex
  std::map<uint64_t, Entry> entries;  // guarded by mutex
  std::vector<uint64_t> finished;     // guarded by mutex
  std::condition_variable finished_one;

  void Wake() const {
    const uint64_t one = 1;
    // A full counter is as good as a written one: it wakes too.
    [[maybe_unused]] const ssize_t written = ::write(wake.get(), &one, sizeof(one));
  }

  void Reap();
  void AcceptAll();
  void Begin(UniqueSocket socket, const std::string& peer);
  void ServeOne(uint64_t id, ServedConnection& connection);
  void AcceptLoop();
  void AwaitFinished(std::chrono::milliseconds patience);
  void EndAll();
};

/// Joins the threads that have finished.
void SocketListener::Impl::Reap() {
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex);
    for (uint64_t id : finished) {
      auto entry = entries.find(id);
      threads.push_back(std::move(entry->second.thread));
      entries.erase(entry);
    }
    finished.clear();
  }
  for (std::thread& thread : threads) {
    if (thread.joinable()) thread.join();
  }
}

void SocketListener::Impl::ServeOne(uint64_t id, ServedConnection& connection) {
  try {
    connection.Serve();
  } catch (const std::exception& error) {
    LOG_ERROR("a connection to port {} ended with an exception: {}", port, error.what());
  } catch (...) {
    LOG_ERROR("a connection to port {} ended with an unknown exception", port);
  }
  std::shared_ptr<ServedConnection> ended;
  {
    std::lock_guard lock(mutex);
    ended.swap(entries.at(id).connection);
    finished_one.notify_all();
  }
  ended->Shutdown();
  ended.reset();
  {
    std::lock_guard lock(mutex);
    finished.push_back(id);
  }
  Wake();
}

void SocketListener::Impl::Begin(UniqueSocket socket, const std::string& peer) {
  PrepareAcceptedSocket(socket.get());
  std::shared_ptr<ServedConnection> connection = factory(socket.Release(), peer);
  const uint64_t id = next_id++;
  Entry* entry;
  {
    std::lock_guard lock(mutex);
    entry = &entries[id];
    entry->connection = connection;
  }
  try {
    // The entry keeps the connection alive until ServeOne takes it out.
    entry->thread = std::thread([this, id, raw = connection.get()] { ServeOne(id, *raw); });
  } catch (const std::system_error& error) {
    LOG_WARN_LIMITED("closing a connection of {}: no thread: {}", peer, error.what());
    std::lock_guard lock(mutex);
    entries.erase(id);
  }
}

/// Accepts what is there. Returns when there is no more for now.
void SocketListener::Impl::AcceptAll() {
  while (true) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    UniqueSocket socket(
        ::accept4(listening.get(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_CLOEXEC));
    if (socket.get() < 0) {
      if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      LOG_WARN_LIMITED("accept on port {}: {}", port, ::strerror(errno));
      pollfd entry{wake.get(), POLLIN, 0};
      ::poll(&entry, 1, kRetryAcceptMs);
      return;
    }
    const std::string peer = AddressName(address);
    Reap();
    size_t count;
    {
      std::lock_guard lock(mutex);
      if (stopping) return;
      count = entries.size();
    }
    if (count >= static_cast<size_t>(options.max_connections)) {
      LOG_WARN_LIMITED("port {}: refusing a connection of {}: {} are open, which is the limit",
                       port, peer, count);
      continue;
    }
    try {
      Begin(std::move(socket), peer);
    } catch (const std::exception& error) {
      LOG_WARN_LIMITED("closing a connection of {}: {}", peer, error.what());
    }
  }
}

void SocketListener::Impl::AcceptLoop() {
  while (true) {
    pollfd poll_entries[2] = {{listening.get(), POLLIN, 0}, {wake.get(), POLLIN, 0}};
    if (::poll(poll_entries, 2, -1) < 0 && errno != EINTR) {
      LOG_WARN_LIMITED("poll on port {}: {}", port, ::strerror(errno));
    }
    if (poll_entries[1].revents != 0) {
      uint64_t count;
      [[maybe_unused]] const ssize_t got = ::read(wake.get(), &count, sizeof(count));
    }
    Reap();
    {
      std::lock_guard lock(mutex);
      if (stopping) break;
    }
    if (poll_entries[0].revents != 0) AcceptAll();
  }
  listening.Close();
  EndAll();
}

/// Until all connections are, or the time is over.
void SocketListener::Impl::AwaitFinished(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex);
  finished_one.wait_for(lock, patience, [this] {
    return std::all_of(entries.begin(), entries.end(),
                       [](const auto& entry) { return entry.second.connection == nullptr; });
  });
}

void SocketListener::Impl::EndAll() {
  std::vector<std::shared_ptr<ServedConnection>> open;
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex);
    for (auto& [id, entry] : entries) {
      if (entry.connection != nullptr) open.push_back(entry.connection);
      threads.push_back(std::move(entry.thread));
    }
  }
  for (const auto& connection : open) connection->Shutdown();
  AwaitFinished(kGraceTime);
  for (const auto& connection : open) connection->Abort();
  for (std::thread& thread : threads) {
    if (thread.joinable()) thread.join();
  }
  std::lock_guard lock(mutex);
  entries.clear();
  finished.clear();
}

SocketListener::SocketListener() : impl_(std::make_unique<Impl>()) {}
SocketListener::~SocketListener() { Stop(); }

Result<std::unique_ptr<SocketListener>> SocketListener::Start(SocketListenerOptions options,
                                                              Factory factory) {
  ASSIGN_OR_RETURN(ListeningSocket listening, options.reserved != nullptr
                                                  ? ListenOn(*options.reserved)
                                                  : ListenOn(options.listen));
  UniqueSocket wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (wake.get() < 0) return StatusFromErrno(errno, "eventfd");
  std::unique_ptr<SocketListener> listener(new SocketListener);
  Impl* impl = listener->impl_.get();
  impl->options = std::move(options);
  impl->factory = std::move(factory);
  impl->port = listening.port;
  impl->wake = std::move(wake);
  impl->listening = std::move(listening.socket);
  try {
    impl->accepting = std::thread([impl] { impl->AcceptLoop(); });
  } catch (const std::system_error& error) {
    return Status(StatusCode::kUnavailable,
                  std::string("no thread to accept connections: ") + error.what());
  }
  return listener;
}

void SocketListener::Stop() {
  std::lock_guard stop_lock(impl_->stop_mutex);
  if (!impl_->accepting.joinable()) return;
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->Wake();
  impl_->accepting.join();
}

uint16_t SocketListener::port() const { return impl_->port; }

size_t SocketListener::connection_count() const {
  std::lock_guard lock(impl_->mutex);
  size_t count = 0;
  for (const auto& [id, entry] : impl_->entries) count += entry.connection != nullptr ? 1 : 0;
  return count;
}

}  // namespace tercet
