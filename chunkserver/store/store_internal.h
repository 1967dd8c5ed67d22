// What the parts of BlockStore share; included by them only.
#pragma once

#include <memory>
#include <string>

#include "chunkserver/store/bad_replica_queue.h"
#include "chunkserver/store/block_store.h"
#include "chunkserver/store/disk_identity.h"
#include "chunkserver/store/doomed_replicas.h"
#include "chunkserver/store/doubtful_replicas.h"
#include "chunkserver/store/handle_cache.h"
#include "chunkserver/store/incomplete_replicas.h"
#include "chunkserver/store/replica_file.h"
#include "chunkserver/store/store_disk.h"

namespace tercet {

/// Where a replica is.
struct BlockStore::Location {
  StoreDisk* disk = nullptr;
  ReplicaRow row;
};

inline Status NoReplica(BlockId block) {
  return Status(StatusCode::kNotFound,
                "block " + std::to_string(block.value()) + ": no replica here");
}

inline Status StaleGeneration(BlockId block, Generation wanted, Generation own) {
  return Status(StatusCode::kStaleGeneration, "block " + std::to_string(block.value()) +
                                                  ": generation " + std::to_string(wanted.value()) +
                                                  " was asked for, the replica here has " +
                                                  std::to_string(own.value()));
}

/// How often a reader looks again when the replica was closed between opening and reading.
inline constexpr int kMaxOpenAttempts = 8;

template <typename Function>
Status BlockStore::WithReader(BlockId block, Generation generation, Function&& function,
                              bool of_base) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  for (int attempt = 0; attempt < kMaxOpenAttempts; ++attempt) {
    {
      std::shared_lock lock(handle->mutex);
      if (handle->replica != nullptr) {
        RETURN_IF_ERROR(CheckGeneration(*handle, generation, of_base));
        return Note(handle->disk, ReportDamage(*handle, function(*handle)));
      }
    }
    std::unique_lock lock(handle->mutex);
    if (handle->replica == nullptr) RETURN_IF_ERROR(OpenReplica(*handle));
  }
  return Status(StatusCode::kUnavailable,
                "block " + std::to_string(block.value()) + " keeps being closed: try again");
}

}  // namespace tercet
