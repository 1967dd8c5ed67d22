#include "fuse_client/core/block_map.h"

#include <algorithm>

namespace tercet {
namespace {

/// Per file; what is beyond is asked for again.
constexpr size_t kMaxKnownBlocks = 65'536;

}  // namespace

FileBlock BlockFromWire(const wire::BlockInfo& info) {
  FileBlock block;
  block.id = BlockId(static_cast<uint64_t>(info.block_id));
  block.generation = Generation(static_cast<uint64_t>(info.generation));
  for (int32_t server : info.chain) block.chain.emplace_back(static_cast<uint32_t>(server));
  block.reserved = info.reserved;
  block.below_minimum = info.below_minimum;
  if (info.__isset.valid_bytes) block.valid_bytes = static_cast<uint32_t>(info.valid_bytes);
  return block;
}

const FileBlock* BlockMap::Find(uint64_t index) const {
  auto it = blocks_.find(index);
  return it == blocks_.end() ? nullptr : &it->second;
}

void BlockMap::Put(uint64_t index, FileBlock block) {
  ++changes_;
  if (blocks_.size() >= kMaxKnownBlocks) ForgetCommitted();
  blocks_[index] = std::move(block);
}

void BlockMap::NoteCommitted(uint64_t index, BlockId id) {
  ++changes_;
  auto it = blocks_.find(index);
  if (it == blocks_.end() || it->second.id != id) return;
  if (it->second.has_data) it->second.reserved = false;
  it->second.trimmed = false;
}

void BlockMap::NoteAsked(uint64_t first, uint64_t count,
                         std::chrono::steady_clock::time_point now) {
  for (auto it = blocks_.lower_bound(first); it != blocks_.end() && it->first - first < count;
       ++it) {
    it->second.learned_at = now;
  }
}

void BlockMap::LearnOne(uint64_t index, FileBlock block) {
  if (const FileBlock* known = Find(index)) {
    if (known->reserved) return;
    if (known->trimmed && known->id == block.id) {
      block.trimmed = true;
      block.valid_bytes.reset();
    }
  }
  if (blocks_.size() >= kMaxKnownBlocks) ForgetCommitted();
  blocks_[index] = std::move(block);
}

void BlockMap::Learn(uint64_t first, uint64_t count, const std::vector<wire::BlockInfo>& blocks) {
  std::map<uint64_t, const wire::BlockInfo*> listed;
  for (const wire::BlockInfo& info : blocks) {
    listed[static_cast<uint64_t>(info.block_index)] = &info;
  }
  for (uint64_t index = first; index < first + count; ++index) {
    auto it = listed.find(index);
    LearnOne(index, it == listed.end() ? FileBlock() : BlockFromWire(*it->second));
  }
}

void BlockMap::LearnFirst(uint64_t asked_for, const std::vector<wire::BlockInfo>& blocks) {
  uint64_t count = asked_for;
  if (blocks.size() >= asked_for && !blocks.empty()) {
    count = static_cast<uint64_t>(blocks.back().block_index) + 1;
  }
  // A very sparse file: its long hole is asked for when it is read.
  if (count > 1024) count = asked_for;
  Learn(0, count, blocks);
}

void BlockMap::Forget(uint64_t index) {
  ++changes_;
  blocks_.erase(index);
}

void BlockMap::ForgetFrom(uint64_t index) {
  ++changes_;
  blocks_.erase(blocks_.lower_bound(index), blocks_.end());
}

void BlockMap::ForgetCommitted() {
  ++changes_;
  std::erase_if(blocks_,
                [](const auto& entry) { return !entry.second.reserved && !entry.second.trimmed; });
}

void ServerDirectory::Learn(const std::vector<wire::ServerAddress>& servers) {
  std::lock_guard lock(mutex_);
  for (const wire::ServerAddress& server : servers) {
    addresses_[ServerId(static_cast<uint32_t>(server.server_id))] =
        HostPort{server.host, static_cast<uint16_t>(server.port)};
  }
}

std::vector<ServerId> ServerDirectory::All() const {
  std::lock_guard lock(mutex_);
  std::vector<ServerId> servers;
  for (const auto& [server, address] : addresses_) servers.push_back(server);
  return servers;
}

std::optional<HostPort> ServerDirectory::Find(ServerId server) const {
  std::lock_guard lock(mutex_);
  auto it = addresses_.find(server);
  if (it == addresses_.end()) return std::nullopt;
  return it->second;
}

}  // namespace tercet
