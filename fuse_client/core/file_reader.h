// Reads files: what this mount has not sent yet from its buffers, the rest from the replicas.
#pragma once

#include <cstdint>
#include <span>

#include "common/base/status.h"
#include "fuse_client/core/client_context.h"
#include "fuse_client/core/inode_state.h"

namespace tercet {

/// Thread-safe. Takes no write_mutex: reads do not wait for writes under way.
class FileReader {
 public:
  /// `context` must outlive it.
  explicit FileReader(ClientContext* context) : context_(context) {}

  /// The visible size now.
  static uint64_t SizeOf(const InodeState& inode);
  /// Fills `out` with the content at `offset`; zeros behind the end of the data. Blocks are read in
  /// parallel.
  Status Fill(InodeState& inode, uint64_t offset, std::span<char> out);

 private:
  struct Part {
    uint64_t index = 0;
    uint32_t offset = 0;  // in the block
    std::span<char> out;
  };
  Status FillPart(InodeState& inode, const Part& part);
  Status TryPart(InodeState& inode, const Part& part, bool* asked);
  Result<FileBlock> BlockAt(InodeState& inode, uint64_t index);
  bool IsOutdated(const FileBlock& block) const;
  Result<wire::GetBlocksResponse> AskForAMoment(const wire::GetBlocksRequest& request);

  ClientContext* const context_;
};

}  // namespace tercet
