#include "tools/storage_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/config/config.h"
#include "tools/dev_cluster.h"
#include "tools/output.h"

namespace tercet {
namespace {

/// A command that changes something is journaled; a failover may be going on.
constexpr AdminOptions kOptions{.timeout = std::chrono::milliseconds(10'000),
                                .patience = std::chrono::milliseconds(10'000)};
constexpr std::chrono::seconds kQuietFor{2};
constexpr std::chrono::seconds kLineEvery{10};
constexpr std::chrono::milliseconds kRewriteEvery{200};
constexpr size_t kMaxFilesShown = 20;

std::string AddressOf(const wire::ServerStatus& server) {
  return HostPort{.host = server.host, .port = static_cast<uint16_t>(server.port)}.ToString();
}

/// Where Tercet is mounted that holds `absolute`; empty: nowhere.
std::string MountHolding(const std::string& absolute) {
  std::ifstream in("/proc/self/mountinfo");
  std::string best;
  for (std::string line; std::getline(in, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos || line.compare(dash + 3, 11, "fuse.tercet") != 0) continue;
    std::istringstream fields(line);
    std::string point;
    for (int i = 0; i < 5; ++i) fields >> point;
    for (size_t at; (at = point.find("\\040")) != std::string::npos;) point.replace(at, 4, 1, ' ');
    if ((absolute == point || absolute.starts_with(point + "/")) && point.size() > best.size()) {
      best = point;
    }
  }
  return best;
}

}  // namespace

void AddAdminOptions(Command command, AdminArguments* arguments) {
  command.AddOption("--meta", arguments->meta, "metaservers; TERCET_META by default")
      .TypeName("HOST:PORT,…");
  command.AddFlag("--json", arguments->json, "as JSON");
}

int UsageError(const Status& status) {
  ExitStatus(status);
  return kExitUsage;
}

int WithAdmin(const AdminArguments& arguments,
              const std::function<int(const AdminClient&)>& action) {
  Result<std::vector<HostPort>> metaservers = MetaAddressesFrom(arguments.meta);
  if (!metaservers.ok()) return UsageError(metaservers.status());
  return action(AdminClient(*metaservers, kOptions));
}

void Print(bool json, const nlohmann::json& object, const std::string& text) {
  std::fputs(json ? JsonText(object).c_str() : text.c_str(), stdout);
  std::fflush(stdout);
}

std::string ServerTitle(const wire::ServerStatus& server) {
  return fmt::format("server {} ({})", server.server_id, AddressOf(server));
}

const wire::ServerStatus* FindServer(const wire::GetStatusResponse& status, int32_t id) {
  for (const wire::ServerStatus& server : status.servers) {
    if (server.server_id == id) return &server;
  }
  return nullptr;
}

Result<int32_t> ResolveServer(const wire::GetStatusResponse& status, const std::string& text) {
  int32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool number = error == std::errc() && end == text.data() + text.size();
  std::string address = text;
  if (!number) {
    auto dev = DevCluster::Open(DefaultDevDirectory(), DevBinaryFolder(), /*create=*/false);
    const DevNode* node = dev.ok() ? (*dev)->Find(text) : nullptr;
    if (node != nullptr && node->role == DevRole::kChunkserver) address = node->Where();
  }
  std::string known;
  for (const wire::ServerStatus& server : status.servers) {
    if (number ? server.server_id == id : AddressOf(server) == address) return server.server_id;
    known +=
        fmt::format("{}{} ({})", known.empty() ? "" : ", ", server.server_id, AddressOf(server));
  }
  return Status(StatusCode::kNotFound,
                fmt::format("there is no chunk server '{}': name it by its id or HOST:PORT; there "
                            "{}",
                            text, known.empty() ? "are none" : "are " + known));
}

Result<std::string> PathInFileSystem(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute =
      std::filesystem::absolute(path.empty() ? "." : path, error).lexically_normal();
  // Of what is on a mount the last component may be a link, or gone: that is not followed.
  std::filesystem::path parent = std::filesystem::canonical(absolute.parent_path(), error);
  std::string text = error ? absolute.string() : (parent / absolute.filename()).string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  const std::string mount = MountHolding(text);
  if (!mount.empty()) return text.size() == mount.size() ? "/" : text.substr(mount.size());
  if (!path.starts_with('/')) {
    return Status(StatusCode::kInvalidArgument,
                  path +
                      ": not on a mount; otherwise give the absolute path within the file "
                      "system");
  }
  return std::filesystem::path(path).lexically_normal().string();
}

Result<int64_t> ParseSeconds(const std::string& text) {
  if (text == "0" || text == "off" || text == "never") return 0;
  ASSIGN_OR_RETURN(const std::chrono::milliseconds time, ParseDuration(text));
  if (time.count() % 1000 != 0) {
    return Status(StatusCode::kInvalidArgument, text + ": whole seconds only");
  }
  return time.count() / 1000;
}

Status Confirm(const std::string& question, bool yes) {
  if (yes || ::isatty(STDIN_FILENO) != 1) return Status::Ok();
  std::fprintf(stderr, "%s [y/N] ", question.c_str());
  std::string answer;
  std::getline(std::cin, answer);
  if (!answer.empty() && (answer[0] == 'y' || answer[0] == 'Y')) return Status::Ok();
  return Status(StatusCode::kCancelled, "nothing was changed");
}

std::string FileLines(const std::vector<wire::FileName>& files) {
  std::string text;
  for (size_t i = 0; i < files.size() && i < kMaxFilesShown; ++i) {
    text += fmt::format("  {} (block {} at index {})\n", files[i].path, files[i].block_id,
                        files[i].block_index);
  }
  if (files.size() > kMaxFilesShown) {
    text += fmt::format("  and {} more\n", Grouped(static_cast<int64_t>(files.size() - 20)));
  }
  return text;
}

nlohmann::json FileNamesJson(const std::vector<wire::FileName>& files) {
  nlohmann::json list = nlohmann::json::array();
  for (const wire::FileName& file : files) {
    list.push_back({{"inode", file.inode},
                    {"path", file.path},
                    {"block_id", file.block_id},
                    {"block_index", file.block_index}});
  }
  return list;
}

ProgressLine::ProgressLine()
    : terminal_(::isatty(STDERR_FILENO) == 1), begin_(Clock::now()), last_(begin_) {}

ProgressLine::~ProgressLine() {
  if (open_) std::fputs("\n", stderr);
}

void ProgressLine::Show(const std::string& text) {
  const auto now = Clock::now();
  if (now - begin_ < kQuietFor) return;
  const bool first = last_ == begin_;
  if (!first && now - last_ < (terminal_ ? Clock::duration(kRewriteEvery) : kLineEvery)) return;
  last_ = now;
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
    open_ = true;
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
  std::fflush(stderr);
}

}  // namespace tercet
