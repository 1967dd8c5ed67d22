// The conversation with one metaserver: a thread and a connection of its own, so that a metaserver
// that is paused or cut off delays nothing that is said to the others.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/socket.h"
#include "common/rpc/thrift_client.h"
#include "tercet_thrift/RegistryService.h"

namespace tercet {

/// Thread-safe are Wake and Stop; Exchange is for the peer's own thread.
class RegistryPeer {
 public:
  using Client = wire::RegistryServiceClient;
  using Milliseconds = std::chrono::milliseconds;
  /// Says something, and returns how long to wait before the next turn. Called again and again in
  /// the peer's thread.
  using Turn = std::function<Milliseconds(RegistryPeer&)>;

  /// Without an answer for so long a metaserver is suspected to have failed.
  static constexpr Milliseconds kSlowAfter{150};

  /// `timeout` is of connecting and of each exchange of bytes. `on_slow` is called in the peer's
  /// thread when an answer takes longer than kSlowAfter. The thread begins with Start.
  RegistryPeer(HostPort address, Milliseconds timeout, std::function<void()> on_slow);
  /// Stop.
  ~RegistryPeer();

  void Start(Turn turn);
  /// The next turn is now (or right after the one under way).
  void Wake();
  /// Ends what it does and waits for the thread. May be repeated, not from its own thread.
  void Stop();

  const HostPort& address() const { return address_; }

  /// One request and its response. After a failure the outcome at the metaserver is unknown.
  template <typename Response, typename Request>
  Status Exchange(void (Client::*send)(const Request&), void (Client::*receive)(Response&),
                  const Request& request, Response* response) {
    RETURN_IF_ERROR(Connect());
    try {
      (*client_.*send)(request);
      NoticeSlowness();
      (*client_.*receive)(*response);
      return Status::Ok();
    } catch (...) {
      Status failed = StatusFromRpcException(address_, "registry");
      Disconnect();
      return failed;
    }
  }

 private:
  Status Connect();
  void Disconnect();
  void NoticeSlowness();
  /// Ends early with Wake, Stop, and when the metaserver closes the connection.
  void WaitFor(Milliseconds duration);

  const HostPort address_;
  const Milliseconds timeout_;
  const std::function<void()> on_slow_;
  const UniqueSocket wake_;  // an eventfd
  std::atomic<bool> stopping_{false};
  SocketAborter aborter_;

  // Of the peer's thread.
  std::unique_ptr<RpcConnection> connection_;
  std::optional<Client> client_;

  std::thread thread_;
};

}  // namespace tercet
