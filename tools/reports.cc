#include "tools/reports.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/output.h"
#include "tools/storage_reports.h"

namespace tercet {
namespace {

using nlohmann::json;

std::string Address(const std::string& host, int port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

std::string Used(const ServerSpace& space) {
  if (space.total_bytes <= 0) return "-";
  return HumanBytes(
      static_cast<uint64_t>(std::max<int64_t>(0, space.total_bytes - space.available_bytes)));
}

std::string Free(const ServerSpace& space) {
  return HumanBytes(static_cast<uint64_t>(std::max<int64_t>(0, space.available_bytes)));
}

std::string DiskCell(const wire::ServerStatus& server) {
  auto failed = std::count_if(server.disks.begin(), server.disks.end(),
                              [](const wire::DiskReport& disk) { return !disk.healthy; });
  std::string cell = std::to_string(server.disks.size());
  if (failed > 0) cell += Coloured(Colour::kRed, fmt::format(" ({} failed)", failed));
  return cell;
}

std::string ServerTable(const wire::GetStatusResponse& reply) {
  Table table({{"SERVER", true},
               {"ADDRESS"},
               {"STATE"},
               {"HEARTBEAT", true},
               {"DISKS", true},
               {"USED", true},
               {"FREE", true},
               {"REPLICAS", true},
               {"MISSING", true},
               {"DELETING", true},
               {"VERSION"}});
  for (const wire::ServerStatus& server : reply.servers) {
    const ServerSpace space = SpaceOf(server);
    std::string missing = Grouped(server.missing_replicas);
    if (server.missing_replicas > 0) missing = Coloured(Colour::kRed, missing);
    table.Add({std::to_string(server.server_id), Address(server.host, server.port),
               ServerStateText(server), HumanMillis(server.last_heartbeat_ms), DiskCell(server),
               Used(space), Free(space), Grouped(server.replica_count), missing,
               Grouped(server.pending_deletes), server.version});
  }
  return table.ToString();
}

std::string TypeName(wire::FileType::type type) {
  switch (type) {
    case wire::FileType::REGULAR:
      return "file";
    case wire::FileType::DIRECTORY:
      return "directory";
    case wire::FileType::SYMLINK:
      return "symbolic link";
    case wire::FileType::FIFO:
      return "fifo";
    case wire::FileType::SOCKET:
      return "socket";
    case wire::FileType::CHARACTER_DEVICE:
      return "character device";
    case wire::FileType::BLOCK_DEVICE:
      return "block device";
  }
  return "unknown";
}

std::string TimeText(int64_t nanoseconds) {
  time_t seconds = nanoseconds / 1'000'000'000;
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:09} UTC", fmt::gmtime(seconds),
                     nanoseconds % 1'000'000'000);
}

struct Replica {
  int server_id = 0;
  std::string address;  // empty when the reply does not know the server
  bool alive = false;
};

std::vector<Replica> ReplicasOf(const wire::BlockInfo& block,
                                const wire::GetFileInfoResponse& reply) {
  std::vector<Replica> replicas;
  for (int id : block.chain) {
    Replica replica{.server_id = id, .address = "", .alive = false};
    for (const wire::ServerAddress& server : reply.servers) {
      if (server.server_id == id) replica.address = Address(server.host, server.port);
    }
    replica.alive = std::find(reply.alive_servers.begin(), reply.alive_servers.end(), id) !=
                    reply.alive_servers.end();
    replicas.push_back(std::move(replica));
  }
  return replicas;
}

}  // namespace

json StatusJson(const wire::GetStatusResponse& reply) {
  json out = {{"cluster_id", Hex(reply.cluster_id)},
              {"inodes", reply.inode_count},
              {"blocks", reply.block_count},
              {"sessions", reply.session_count},
              {"orphans", reply.orphan_count},
              {"metaservers", json::array()},
              {"servers", json::array()},
              {"blocks_by_replicas", json::array()}};
  for (const wire::MetaserverStatus& meta : reply.metaservers) {
    out["metaservers"].push_back({{"address", meta.address},
                                  {"role", meta.role},
                                  {"epoch", meta.epoch},
                                  {"journal_index", meta.journal_index},
                                  {"applied_index", meta.applied_index},
                                  {"uptime_ms", meta.uptime_ms},
                                  {"version", meta.version}});
  }
  for (const wire::ServerStatus& server : reply.servers) {
    out["servers"].push_back(ServerJson(server));
  }
  for (const wire::ReplicaCount& count : reply.blocks_by_replicas) {
    out["blocks_by_replicas"].push_back({{"replicas", count.replicas}, {"blocks", count.blocks}});
  }
  return out;
}

std::string StatusText(const wire::GetStatusResponse& reply, const std::string& group) {
  std::string out = fmt::format("cluster {}\n\n", Hex(reply.cluster_id));
  out += group + "\n" + ServerTable(reply) + "\n";
  Table blocks({{"REPLICAS ON LIVE SERVERS", true}, {"BLOCKS", true}});
  for (const wire::ReplicaCount& count : reply.blocks_by_replicas) {
    std::string text = Grouped(count.blocks);
    if (count.replicas == 0 && count.blocks > 0) text = Coloured(Colour::kRed, text);
    blocks.Add({std::to_string(count.replicas), text});
  }
  if (!reply.blocks_by_replicas.empty()) out += blocks.ToString() + "\n";
  out += fmt::format("{} inodes, {} blocks, {} sessions, {} orphans\n", Grouped(reply.inode_count),
                     Grouped(reply.block_count), Grouped(reply.session_count),
                     Grouped(reply.orphan_count));
  return out;
}

json FileInfoJson(const std::string& path, const wire::GetFileInfoResponse& reply) {
  const wire::Attributes& attributes = reply.attributes;
  json out = {{"path", path},
              {"inode", attributes.inode},
              {"type", TypeName(attributes.type)},
              {"mode", fmt::format("{:04o}", attributes.mode)},
              {"uid", attributes.uid},
              {"gid", attributes.gid},
              {"nlink", attributes.nlink},
              {"size_bytes", attributes.size_bytes},
              {"allocated_bytes", attributes.allocated_bytes},
              {"block_size_bytes", attributes.block_size_bytes},
              {"atime_ns", attributes.atime_ns},
              {"mtime_ns", attributes.mtime_ns},
              {"ctime_ns", attributes.ctime_ns},
              {"blocks", json::array()}};
  for (const wire::BlockInfo& block : reply.blocks) {
    json entry = {{"index", block.block_index},
                  {"block_id", block.block_id},
                  {"generation", block.generation},
                  {"reserved", block.reserved},
                  {"replicas", json::array()}};
    if (block.__isset.valid_bytes) entry["valid_bytes"] = block.valid_bytes;
    for (const Replica& replica : ReplicasOf(block, reply)) {
      entry["replicas"].push_back({{"server_id", replica.server_id},
                                   {"address", replica.address},
                                   {"alive", replica.alive}});
    }
    out["blocks"].push_back(std::move(entry));
  }
  return out;
}

std::string FileInfoText(const std::string& path, const wire::GetFileInfoResponse& reply) {
  const wire::Attributes& attributes = reply.attributes;
  std::string out = fmt::format(
      "{}\n"
      "  {}, inode {}, mode {:04o}, owner {}:{}, {} links\n"
      "  {} bytes ({}), {} in blocks of {}\n"
      "  modified {}\n"
      "  changed  {}\n",
      Coloured(Colour::kBold, Printable(path)), TypeName(attributes.type), attributes.inode,
      attributes.mode, attributes.uid, attributes.gid, attributes.nlink,
      Grouped(attributes.size_bytes), HumanBytes(static_cast<uint64_t>(attributes.size_bytes)),
      HumanBytes(static_cast<uint64_t>(attributes.allocated_bytes)),
      HumanBytes(static_cast<uint64_t>(attributes.block_size_bytes)), TimeText(attributes.mtime_ns),
      TimeText(attributes.ctime_ns));
  if (reply.blocks.empty()) return out;
  Table table({{"INDEX", true}, {"BLOCK", true}, {"GENERATION", true}, {"REPLICAS"}});
  for (const wire::BlockInfo& block : reply.blocks) {
    std::string replicas;
    for (const Replica& replica : ReplicasOf(block, reply)) {
      std::string text = fmt::format("{} ({})", replica.server_id,
                                     replica.address.empty() ? "unknown" : replica.address);
      if (!replica.alive) text = Coloured(Colour::kRed, text + " dead");
      replicas += (replicas.empty() ? "" : ", ") + text;
    }
    if (block.reserved) replicas += " reserved";
    if (block.__isset.valid_bytes) replicas += fmt::format(" cut at {}", block.valid_bytes);
    table.Add({std::to_string(block.block_index), std::to_string(block.block_id),
               std::to_string(block.generation), replicas});
  }
  return out + "\n" + table.ToString();
}

}  // namespace tercet
