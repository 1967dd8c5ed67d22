#include "common/rpc/frame_listener.h"

namespace tercet {
namespace {

class FrameServedConnection : public ServedConnection {
 public:
  FrameServedConnection(int socket, const std::string& peer,
                        std::shared_ptr<const FrameListener::Handler> handler)
      : connection_(std::make_shared<FrameConnection>(socket, peer)),
        handler_(std::move(handler)) {}

  void Serve() override { (*handler_)(connection_); }
  void Shutdown() override { connection_->Shutdown(); }

 private:
  const std::shared_ptr<FrameConnection> connection_;
  const std::shared_ptr<const FrameListener::Handler> handler_;
};

}  // namespace

FrameListener::FrameListener(std::unique_ptr<SocketListener> listener)
    : listener_(std::move(listener)) {}
FrameListener::~FrameListener() = default;

Result<std::unique_ptr<FrameListener>> FrameListener::Start(FrameListenerOptions options,
                                                            Handler handler) {
  auto shared_handler = std::make_shared<const Handler>(std::move(handler));
  SocketListenerOptions listener_options;
  listener_options.listen = std::move(options.listen);
  listener_options.max_connections = options.max_connections;
  ASSIGN_OR_RETURN(std::unique_ptr<SocketListener> listener,
                   SocketListener::Start(std::move(listener_options),
                                         [shared_handler](int socket, const std::string& peer) {
                                           return std::make_shared<FrameServedConnection>(
                                               socket, peer, shared_handler);
                                         }));
  return std::unique_ptr<FrameListener>(new FrameListener(std::move(listener)));
}

}  // namespace tercet
