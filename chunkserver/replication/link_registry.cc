#include "chunkserver/replication/link_registry.h"

namespace tercet {

Status LinkRegistry::Enter(const std::string& name, int64_t number, ServedConnection* connection,
                           std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto found = entries_.find(name);
    if (found == entries_.end()) break;
    if (found->second.number >= number) {
      return Status(StatusCode::kConflict, "a newer connection of '" + name + "' is open");
    }
    found->second.connection->Shutdown();
    if (left_.wait_until(lock, deadline) == std::cv_status::timeout && entries_.contains(name)) {
      return Status(StatusCode::kUnavailable,
                    "the connection that '" + name + "' had before is still busy: try again");
    }
  }
  entries_[name] = Entry{number, connection};
  return Status::Ok();
}

void LinkRegistry::Leave(const std::string& name, ServedConnection* connection) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.connection != connection) return;
  entries_.erase(found);
  left_.notify_all();
}

}  // namespace tercet
