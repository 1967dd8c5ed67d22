// A server that is greeted like a real one and then does what the test says; id 9.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "common/rpc/frame_listener.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet::testing_support {

class FakeServer {
  template <typename Function>
  auto Locked(Function&& function) {
    std::lock_guard lock(mutex_);
    return function();
  }

 public:
  enum class Behaviour {
    kSwallow,       // takes all frames, answers none
    kStandStill,    // takes nothing, as a stopped process
    kCloseOnWrite,  // closes at the first frame
    kOnlyWorking,   // answers each frame with WORKING frames for ever
    kNoGreeting     // does not even answer HELLO
  };

  explicit FakeServer(Behaviour behaviour) : behaviour_(behaviour) {
    auto listener = FrameListener::Start(
        {{"127.0.0.1", 0}}, [this](const std::shared_ptr<FrameConnection>& c) { Serve(*c); });
    EXPECT_TRUE(listener.ok()) << listener.status().ToString();
    listener_ = std::move(listener).value();
  }
  ~FakeServer() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    listener_->Stop();
  }

  wire::ChainHop hop() const {
    wire::ChainHop hop;
    hop.server_id = 9;
    hop.host = "127.0.0.1";
    hop.port = listener_->port();
    return hop;
  }
  /// Received behind HELLO.
  size_t frames() {
    return Locked([&] { return frames_; });
  }
  size_t connections() {
    return Locked([&] { return connections_; });
  }
  /// For connections that come from now on.
  void Behave(Behaviour behaviour) {
    Locked([&] { return behaviour_ = behaviour; });
  }

 private:
  void WaitForTheEnd() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopping_; });
  }
  bool Greet(FrameConnection& connection) {
    std::string header;
    auto hello = connection.Receive(&header);
    if (!hello.ok()) return false;
    wire::HelloResponseHeader response;
    response.server_id = 9;
    EncodeFrameHeader(response, &header);
    FramePrelude prelude;
    prelude.kind = wire::FrameKind::HELLO_RESPONSE;
    prelude.request_id = hello->request_id;
    return connection.Send(prelude, header, {}).ok();
  }
  void KeepWorking(FrameConnection& connection) {
    FramePrelude prelude;
    prelude.kind = wire::FrameKind::WORKING;
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      lock.unlock();
      if (!connection.Send(prelude, "", {}).ok()) return;
      lock.lock();
      changed_.wait_for(lock, std::chrono::milliseconds(5), [&] { return stopping_; });
    }
  }
  void Serve(FrameConnection& connection) {
    const Behaviour behaviour = Locked([&] {
      ++connections_;
      return behaviour_;
    });
    if (behaviour == Behaviour::kNoGreeting) return WaitForTheEnd();
    if (!Greet(connection)) return;
    if (behaviour == Behaviour::kStandStill) return WaitForTheEnd();
    std::string header;
    for (;;) {
      auto frame = connection.Receive(&header);
      if (!frame.ok() || !connection.SkipPayload(frame->payload_bytes).ok()) return;
      Locked([&] { return ++frames_; });
      if (behaviour == Behaviour::kCloseOnWrite) return;
      if (behaviour == Behaviour::kOnlyWorking) return KeepWorking(connection);
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  Behaviour behaviour_;
  bool stopping_ = false;
  size_t frames_ = 0;
  size_t connections_ = 0;

  std::unique_ptr<FrameListener> listener_;
};

}  // namespace tercet::testing_support
