#include "tools/drill/replica_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <filesystem>

#include "chunkserver/store/replica_format.h"
#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "tools/drill/load_verify.h"

namespace tercet {
namespace {

constexpr size_t kMaxFindings = 20;
constexpr size_t kMaxFiles = 10'000'000;
constexpr int kBlocksPerCall = 1'000;
constexpr uint32_t kPagesAtOnce = 256;

/// One replica's file, open.
class ReplicaReader {
 public:
  static Result<std::unique_ptr<ReplicaReader>> Open(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return StatusFromErrno(errno, "open " + path);
    std::unique_ptr<ReplicaReader> reader(new ReplicaReader(fd));
    ASSIGN_OR_RETURN(const std::string head, reader->ReadAt(0, kReplicaHeaderBytes));
    ASSIGN_OR_RETURN(reader->header_, DecodeReplicaHeader(head));
    ASSIGN_OR_RETURN(reader->table_,
                     reader->ReadAt(kTableOffset, 4 * size_t{PagesFor(reader->header_.length)}));
    return reader;
  }
  ~ReplicaReader() { ::close(fd_); }

  const ReplicaHeader& header() const { return header_; }
  const std::string& table() const { return table_; }
  /// Whole pages, with zeros behind the end.
  Result<std::string> Pages(uint32_t first, uint32_t count) const {
    return ReadAt(kDataOffset + uint64_t{first} * kPageBytes, size_t{count} * kPageBytes);
  }
  bool PageFits(uint32_t page, std::string_view bytes) const {
    return (Crc32c(bytes) ^ kZeroPageCrc) == DecodeFixed32(table_.data() + 4 * size_t{page});
  }

 private:
  explicit ReplicaReader(int fd) : fd_(fd) {}

  Result<std::string> ReadAt(uint64_t offset, size_t size) const {
    std::string data(size, '\0');
    for (size_t done = 0; done < size;) {
      const ssize_t count =
          ::pread(fd_, data.data() + done, size - done, static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return StatusFromErrno(errno, "read a replica");
      if (count == 0) break;  // what is behind the end is zeros
      done += static_cast<size_t>(count);
    }
    return data;
  }

  const int fd_;
  ReplicaHeader header_;
  std::string table_;
};

void Report(ReplicaCheckResult* result, const BlockPlaces& block, const ReplicaPlace& replica,
            const std::string& what) {
  if (result->findings.size() >= kMaxFindings) return;
  result->findings.push_back(fmt::format(
      "{}, block {} generation {} on {}: {}", block.file, block.block_id, block.generation,
      replica.node.empty() ? std::to_string(replica.server_id) : replica.node, what));
}

/// Null when it is not there as the journal says.
std::unique_ptr<ReplicaReader> OpenReplica(const BlockPlaces& block, const ReplicaPlace& replica,
                                           ReplicaCheckResult* result) {
  std::string what = "there is none";
  if (!replica.path.empty()) {
    auto reader = ReplicaReader::Open(replica.path);
    if (reader.ok()) {
      const int64_t generation = static_cast<int64_t>((*reader)->header().generation.value());
      if (generation == block.generation) return std::move(*reader);
      what = fmt::format("it has generation {}", generation);
    } else {
      what = reader.status().message();
    }
  }
  ++result->absent;
  Report(result, block, replica, what);
  return nullptr;
}

/// How many pages of the replica do not match its table.
uint64_t DamagedPages(const ReplicaReader& reader, ReplicaCheckResult* result) {
  uint64_t damaged = 0;
  const uint32_t pages = PagesFor(reader.header().length);
  for (uint32_t at = 0; at < pages; at += kPagesAtOnce) {
    const uint32_t count = std::min(kPagesAtOnce, pages - at);
    auto data = reader.Pages(at, count);
    if (!data.ok()) return damaged + count;
    for (uint32_t i = 0; i < count; ++i) {
      const std::string_view page =
          std::string_view(*data).substr(size_t{i} * kPageBytes, kPageBytes);
      damaged += reader.PageFits(at + i, page) ? 0 : 1;
    }
  }
  result->bytes += reader.header().length;
  return damaged;
}

/// Empty: the same. Tables of undamaged replicas stand for the pages; the pages are compared as
/// well, as nothing is to be believed here.
std::string Difference(const ReplicaReader& one, const ReplicaReader& other) {
  if (one.header().length != other.header().length) {
    return fmt::format("{} bytes where the first one has {}", other.header().length,
                       one.header().length);
  }
  const uint32_t pages = PagesFor(one.header().length);
  for (uint32_t at = 0; at < pages; at += kPagesAtOnce) {
    const uint32_t count = std::min(kPagesAtOnce, pages - at);
    auto left = one.Pages(at, count);
    auto right = other.Pages(at, count);
    if (!left.ok() || !right.ok()) return "it cannot be read";
    if (*left == *right) continue;
    for (uint32_t i = 0; i < count; ++i) {
      if (left->compare(size_t{i} * kPageBytes, kPageBytes, *right, size_t{i} * kPageBytes,
                        kPageBytes) != 0) {
        return fmt::format("page {} differs from the first one's", at + i);
      }
    }
  }
  return one.table() == other.table() ? "" : "its table differs from the first one's";
}

void CompareBlock(const BlockPlaces& block, ReplicaCheckResult* result) {
  ++result->blocks;
  ++result->blocks_by_replicas[block.replicas.size()];
  std::unique_ptr<ReplicaReader> first;
  for (const ReplicaPlace& replica : block.replicas) {
    ++result->replicas;
    std::unique_ptr<ReplicaReader> reader = OpenReplica(block, replica, result);
    if (reader == nullptr) continue;
    if (const uint64_t damaged = DamagedPages(*reader, result); damaged > 0) {
      ++result->damaged;
      Report(result, block, replica, fmt::format("{} damaged pages", damaged));
      continue;
    }
    if (first == nullptr) {
      first = std::move(reader);
      continue;
    }
    const std::string difference = Difference(*first, *reader);
    if (difference.empty()) continue;
    ++result->differing;
    Report(result, block, replica, difference);
  }
}

/// By the addresses of the reply.
ReplicaPlace PlaceOf(const DevCluster& dev, const wire::GetFileInfoResponse& reply,
                     int32_t server_id, int64_t block_id) {
  ReplicaPlace place{.server_id = server_id, .node = "", .path = ""};
  for (const wire::ServerAddress& address : reply.servers) {
    if (address.server_id != server_id) continue;
    for (const DevNode& node : dev.nodes()) {
      if (node.role != DevRole::kChunkserver || node.address.host != address.host ||
          node.address.port != address.port) {
        continue;
      }
      place.node = node.name;
      for (const std::string& disk : dev.DiskFolders(node)) {
        const std::string path = ReplicaPath(disk, block_id);
        std::error_code error;
        if (std::filesystem::exists(path, error)) place.path = path;
      }
    }
  }
  return place;
}

Status AddFile(const DevCluster& dev, const AdminClient& admin, InodeId inode,
               const std::string& name, std::vector<BlockPlaces>* blocks) {
  wire::GetFileInfoRequest request;
  request.inode = static_cast<int64_t>(inode.value());
  request.max_blocks = kBlocksPerCall;
  for (;;) {
    ASSIGN_OR_RETURN(const wire::GetFileInfoResponse reply, admin.GetFileInfo(request));
    for (const wire::BlockInfo& info : reply.blocks) {
      if (info.reserved) continue;
      BlockPlaces block{.block_id = info.block_id,
                        .generation = info.generation,
                        .block_index = info.block_index,
                        .file = name,
                        .replicas = {}};
      for (const int32_t id : info.chain) {
        block.replicas.push_back(PlaceOf(dev, reply, id, info.block_id));
      }
      blocks->push_back(std::move(block));
    }
    if (!reply.more || reply.blocks.empty()) return Status::Ok();
    request.first_block_index = reply.blocks.back().block_index + 1;
  }
}

}  // namespace

std::string ReplicaPath(const std::string& disk, int64_t block_id) {
  return fmt::format("{}/blocks/{:03x}/{:016x}.blk", disk,
                     (static_cast<uint64_t>(block_id) >> 10) & 0xfff, block_id);
}

Result<std::vector<BlockPlaces>> FindReplicas(const DevCluster& dev, const AdminClient& admin,
                                              FileSystem& file_system, InodeId directory,
                                              uint64_t* files) {
  std::vector<BlockPlaces> blocks;
  std::deque<std::pair<InodeId, std::string>> directories = {{directory, ""}};
  *files = 0;
  while (!directories.empty() && *files < kMaxFiles) {
    const auto [inode, path] = directories.front();
    directories.pop_front();
    ASSIGN_OR_RETURN(const std::vector<DirectoryContent> entries,
                     ListDirectory(file_system, inode));
    for (const DirectoryContent& entry : entries) {
      const std::string name = path + "/" + entry.name;
      if (entry.directory) {
        directories.emplace_back(entry.inode, name);
        continue;
      }
      ++*files;
      const Status status = AddFile(dev, admin, entry.inode, name, &blocks);
      // Removed meanwhile, or no regular file.
      if (!status.ok() && status.code() != StatusCode::kNotFound &&
          status.code() != StatusCode::kStaleHandle) {
        return status.WithContext(name);
      }
    }
  }
  return blocks;
}

ReplicaCheckResult CompareReplicas(const std::vector<BlockPlaces>& blocks) {
  ReplicaCheckResult result;
  for (const BlockPlaces& block : blocks) CompareBlock(block, &result);
  return result;
}

}  // namespace tercet
