// Cuts the links between members of a metadata group on this machine with nftables, in one or both
// directions. Needs root, and members that have addresses of their own.
//
// A link is the TCP connections between two members: those that A makes to B's port come from A's
// address (group.bind), and the other way round. What is dropped from A to B is thus: packets from
// A's address to B's address and port (A's requests), and from A's address and port to B's address
// (A's answers). All is dropped where it arrives, as a broken cable would; nothing else is touched.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"

namespace tercet {

class Guardian;

/// Packets of `from` to `to` are lost.
struct CutLink {
  HostPort from;
  HostPort to;
};

/// The input of `nft -f` that makes the table and drops what the links say.
std::string CutRules(const std::string& table, const std::vector<CutLink>& links);

/// nft delete table; OK when there is none of that name.
Status RemoveTable(const std::string& table);

/// Not thread-safe.
class LinkCutter {
 public:
  /// Removes tables of drills that do not run any more. kNotFound without nft, kNotPermitted
  /// without root, kNotSupported when the kernel refuses. `guardian` must outlive the cutter.
  static Result<std::unique_ptr<LinkCutter>> Make(Guardian* guardian);
  /// Heals.
  ~LinkCutter();

  Status Cut(const std::vector<CutLink>& links);
  /// OK when nothing is cut.
  Status Heal();

 private:
  LinkCutter(Guardian* guardian, std::string table)
      : guardian_(guardian), table_(std::move(table)) {}
  static Status RemoveLeftovers();

  Guardian* const guardian_;
  const std::string table_;
  bool made_ = false;
};

}  // namespace tercet
