#include "metaserver/ops/attributes.h"

#include <algorithm>

namespace tercet {

// Records and wire name file types by the same numbers.
static_assert(static_cast<int>(InodeType::kRegular) == wire::FileType::REGULAR);
static_assert(static_cast<int>(InodeType::kDirectory) == wire::FileType::DIRECTORY);
static_assert(static_cast<int>(InodeType::kSymlink) == wire::FileType::SYMLINK);
static_assert(static_cast<int>(InodeType::kFifo) == wire::FileType::FIFO);
static_assert(static_cast<int>(InodeType::kSocket) == wire::FileType::SOCKET);
static_assert(static_cast<int>(InodeType::kCharacterDevice) == wire::FileType::CHARACTER_DEVICE);
static_assert(static_cast<int>(InodeType::kBlockDevice) == wire::FileType::BLOCK_DEVICE);

wire::FileType::type ToWire(InodeType type) { return static_cast<wire::FileType::type>(type); }

wire::Attributes MakeAttributes(InodeId inode, const InodeRecord& record) {
  wire::Attributes attributes;
  attributes.inode = static_cast<int64_t>(inode.value());
  attributes.type = ToWire(record.type);
  attributes.mode = static_cast<int32_t>(record.mode);
  attributes.uid = static_cast<int32_t>(record.uid);
  attributes.gid = static_cast<int32_t>(record.gid);
  attributes.nlink = static_cast<int32_t>(record.nlink);
  attributes.size_bytes = static_cast<int64_t>(record.size_bytes);
  // A partly filled last block takes only what it holds; the division keeps the product in range.
  const uint64_t whole_blocks = record.size_bytes / record.block_size_bytes;
  attributes.allocated_bytes = static_cast<int64_t>(
      record.block_count > whole_blocks ? record.size_bytes
                                        : record.block_count * record.block_size_bytes);
  attributes.atime_ns = record.atime_ns;
  attributes.mtime_ns = record.mtime_ns;
  attributes.ctime_ns = record.ctime_ns;
  attributes.rdev = static_cast<int64_t>(record.rdev);
  attributes.block_size_bytes = static_cast<int32_t>(record.block_size_bytes);
  attributes.xattr_count = static_cast<int32_t>(record.xattr_count);
  attributes.change_version = static_cast<int64_t>(record.change_version);
  return attributes;
}

wire::BlockInfo MakeBlockInfo(uint64_t index, const FileBlockRecord& record) {
  wire::BlockInfo info;
  info.block_index = static_cast<int64_t>(index);
  info.block_id = static_cast<int64_t>(record.block.value());
  info.generation = static_cast<int64_t>(record.generation.value());
  info.chain.reserve(record.chain.size());
  for (ServerId server : record.chain) info.chain.push_back(static_cast<int32_t>(server.value()));
  info.reserved = record.reserved;
  if (record.valid_bytes) info.__set_valid_bytes(static_cast<int32_t>(*record.valid_bytes));
  return info;
}

wire::BlockInfo MakeBlockInfo(uint64_t index, const FileBlockRecord& record,
                              const InodeRecord& file) {
  wire::BlockInfo info = MakeBlockInfo(index, record);
  const size_t minimum = std::min(file.min_replicas, file.replicas);
  info.below_minimum = !record.reserved && record.chain.size() < minimum;
  return info;
}

Status AppendServers(const Tables& tables, const std::vector<wire::BlockInfo>& blocks,
                     std::vector<wire::ServerAddress>* servers) {
  std::vector<int32_t> seen;
  for (const wire::BlockInfo& block : blocks) {
    for (int32_t id : block.chain) {
      if (std::ranges::find(seen, id) != seen.end()) continue;
      seen.push_back(id);
      ASSIGN_OR_RETURN(std::optional<ServerRecord> record,
                       tables.FindServer(ServerId(static_cast<uint32_t>(id))));
      if (!record) continue;
      wire::ServerAddress address;
      address.server_id = id;
      address.host = record->host;
      address.port = record->port;
      servers->push_back(std::move(address));
    }
  }
  return Status::Ok();
}

}  // namespace tercet
