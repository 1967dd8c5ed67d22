// Which named connection is the current one of its name.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "common/base/status.h"
#include "common/rpc/socket_listener.h"

namespace tercet {

/// A sender whose connection failed makes a new one, while frames of the old one may still lie in
/// this machine's socket buffers. The registry lets the new one begin only when the old one's
/// thread has ended, so no old frame is applied after a newer one. Thread-safe.
class LinkRegistry {
 public:
  /// Makes `connection` the current one of `name`: shuts the older one down and waits until it has
  /// left.
  ///   kConflict     there is one with the same or a higher number
  ///   kUnavailable  the older one did not end within `timeout`
  Status Enter(const std::string& name, int64_t number, ServedConnection* connection,
               std::chrono::milliseconds timeout);
  /// The connection applies no more frames. `connection` may go afterwards.
  void Leave(const std::string& name, ServedConnection* connection);

 private:
  struct Entry {
    int64_t number = 0;
    ServedConnection* connection = nullptr;  // leaves before it goes
  };

  std::mutex mutex_;
  std::condition_variable left_;
  std::unordered_map<std::string, Entry> entries_;  // guarded by mutex_
};

}  // namespace tercet
