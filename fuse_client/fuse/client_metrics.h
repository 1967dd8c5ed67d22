// Publishes the file system's counters as metrics of this process.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "fuse_client/core/file_system.h"

namespace tercet {

/// Copies FileSystem::counters into the registry once a second until destroyed.
class ClientMetrics {
 public:
  /// `file_system` must outlive this object.
  explicit ClientMetrics(FileSystem& file_system);
  ~ClientMetrics();
  ClientMetrics(const ClientMetrics&) = delete;
  ClientMetrics& operator=(const ClientMetrics&) = delete;

 private:
  void Run();
  void Publish();

  FileSystem& file_system_;
  std::mutex mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace tercet
