#include "tools/drill/link_cutter.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "common/log/log.h"
#include "tools/drill/guardian.h"
#include "tools/run_program.h"

namespace tercet {
namespace {

// Behind it comes the number of the drill's process.
constexpr const char* kPrefix = "tercet_drill_";

bool IsIp6(const std::string& host) { return host.find(':') != std::string::npos; }

}  // namespace

std::string CutRules(const std::string& table, const std::vector<CutLink>& links) {
  std::string text = fmt::format(
      "add table inet {0}\n"
      "add chain inet {0} cut {{ type filter hook input priority -10; policy accept; }}\n",
      table);
  for (const CutLink& link : links) {
    const char* family = IsIp6(link.from.host) ? "ip6" : "ip";
    const std::string way = fmt::format("add rule inet {} cut {} saddr {} {} daddr {}", table,
                                        family, link.from.host, family, link.to.host);
    text += fmt::format("{} tcp dport {} drop\n", way, link.to.port);
    text += fmt::format("{} tcp sport {} drop\n", way, link.from.port);
  }
  return text;
}

Status RemoveTable(const std::string& table) {
  // Adding what is there does no harm, and lets the deletion succeed when it is not.
  return RunProgram({"nft", "-f", "-"},
                    fmt::format("add table inet {0}\ndelete table inet {0}\n", table))
      .status();
}

Status LinkCutter::RemoveLeftovers() {
  ASSIGN_OR_RETURN(const std::string listing, RunProgram({"nft", "list", "tables", "inet"}));
  std::istringstream words(listing);
  for (std::string word; words >> word;) {
    if (!word.starts_with(kPrefix)) continue;
    const int pid = std::atoi(word.c_str() + std::string(kPrefix).size());
    if (pid > 0 && ::kill(pid, 0) == 0) continue;
    RETURN_IF_ERROR(RemoveTable(word));
  }
  return Status::Ok();
}

Result<std::unique_ptr<LinkCutter>> LinkCutter::Make(Guardian* guardian) {
  if (::geteuid() != 0) {
    return Status(StatusCode::kNotPermitted, "cutting links needs root: run this with sudo");
  }
  if (Status status = RemoveLeftovers(); !status.ok()) {
    return status.code() == StatusCode::kNotFound
               ? Status(StatusCode::kNotFound,
                        "cutting links needs nft: install the package "
                        "nftables (tools/install-deps does)")
               : Status(StatusCode::kNotSupported,
                        "cutting links is not possible here: " + status.message());
  }
  std::unique_ptr<LinkCutter> cutter(
      new LinkCutter(guardian, kPrefix + std::to_string(::getpid())));
  // Tried once, so that a kernel that cannot do it is found out before anything happens.
  if (Status status = cutter->Cut({{.from = {.host = "127.255.255.1", .port = 1},
                                    .to = {.host = "127.255.255.2", .port = 1}}});
      !status.ok()) {
    return Status(StatusCode::kNotSupported,
                  "cutting links is not possible here: " + status.message());
  }
  RETURN_IF_ERROR(cutter->Heal());
  return cutter;
}

LinkCutter::~LinkCutter() {
  if (Status status = Heal(); !status.ok()) {
    LOG_ERROR("the firewall table {} is left behind: nft delete table inet {}: {}", table_, table_,
              status.ToString());
  }
}

Status LinkCutter::Cut(const std::vector<CutLink>& links) {
  RETURN_IF_ERROR(Heal());
  RETURN_IF_ERROR(guardian_->TableMade(table_));
  made_ = true;
  return RunProgram({"nft", "-f", "-"}, CutRules(table_, links)).status();
}

Status LinkCutter::Heal() {
  if (!made_) return Status::Ok();
  RETURN_IF_ERROR(RemoveTable(table_));
  made_ = false;
  return guardian_->TableRemoved(table_);
}

}  // namespace tercet
