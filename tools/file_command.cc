// tercet file info PATH: attributes, blocks, generations, replicas.
#include <sys/xattr.h>

#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/admin_client.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/reports.h"

namespace tercet {
namespace {

struct Arguments {
  std::string meta;
  std::string path;
  bool json = false;
};

/// Files up to 64 TiB at 64 MiB a block.
constexpr size_t kMaxBlocks = 1 << 20;
constexpr int kBlocksPerCall = 1000;

/// The inode number of a file on a mount; 0 when the path is not on one.
int64_t InodeOnMount(const std::string& path) {
  char text[32];
  // On the link itself: what the user names is what the user asks about.
  ssize_t size = ::lgetxattr(path.c_str(), "system.tercet.inode", text, sizeof(text));
  if (size <= 0) return 0;
  int64_t inode = 0;
  auto [end, error] = std::from_chars(text, text + size, inode);
  return error == std::errc() && inode > 0 ? inode : 0;
}

Result<wire::GetFileInfoResponse> FetchAll(AdminClient& client, const std::string& path) {
  wire::GetFileInfoRequest request;
  request.inode = InodeOnMount(path);
  if (request.inode == 0) {
    if (!path.starts_with('/')) {
      return Status(StatusCode::kInvalidArgument,
                    path +
                        ": not on a mount; otherwise give the absolute path within the file "
                        "system");
    }
    request.path = path;
  }
  request.max_blocks = kBlocksPerCall;
  ASSIGN_OR_RETURN(wire::GetFileInfoResponse all, client.GetFileInfo(request));
  while (all.more && !all.blocks.empty()) {
    if (all.blocks.size() > kMaxBlocks) {
      return Status(StatusCode::kInternal, "has more blocks than can be");
    }
    request.first_block_index = all.blocks.back().block_index + 1;
    ASSIGN_OR_RETURN(wire::GetFileInfoResponse next, client.GetFileInfo(request));
    all.blocks.insert(all.blocks.end(), next.blocks.begin(), next.blocks.end());
    all.servers.insert(all.servers.end(), next.servers.begin(), next.servers.end());
    all.alive_servers = next.alive_servers;
    all.more = next.more && !next.blocks.empty();
  }
  return all;
}

int Info(const Arguments& arguments) {
  Result<std::vector<HostPort>> metaservers = MetaAddressesFrom(arguments.meta);
  if (!metaservers.ok()) {
    ExitStatus(metaservers.status());
    return kExitUsage;
  }
  AdminClient client(*metaservers);
  Result<wire::GetFileInfoResponse> reply = FetchAll(client, arguments.path);
  if (!reply.ok()) return ExitStatus(reply.status().WithContext(arguments.path));
  std::fputs(arguments.json ? JsonText(FileInfoJson(arguments.path, *reply)).c_str()
                            : FileInfoText(arguments.path, *reply).c_str(),
             stdout);
  return kExitOk;
}

}  // namespace

void AddFileCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command file = app.AddSubcommand("file", "look at single files");
  file.RequireSubcommand();
  Command info = file.AddSubcommand("info", "attributes, blocks, generations and replicas");
  info.AddOption("path", arguments->path,
                 "a path on a mount, or the absolute path within the file system")
      .Required();
  info.AddOption("--meta", arguments->meta, "metaservers; TERCET_META by default")
      .TypeName("HOST:PORT,…");
  info.AddFlag("--json", arguments->json, "as a JSON object");
  info.OnRun([=] { *exit_status = Info(*arguments); });
}

}  // namespace tercet
