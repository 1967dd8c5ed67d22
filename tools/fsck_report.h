// What `tercet fsck` found, added up over the pages of the answer.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tercet_thrift/admin_types.h"

namespace tercet {

struct FsckReport {
  std::string path;
  /// Chunk servers that did not compare what they hold with the journal: they are down or too slow.
  std::vector<int32_t> silent_servers;
  bool inventory_done = false;
  int64_t files = 0;
  int64_t blocks = 0;
  int64_t healthy = 0;
  int64_t under_replicated = 0;
  int64_t over_replicated = 0;
  int64_t doubtful = 0;  // of the healthy ones; no problem
  int64_t missing = 0;
  int64_t corrupt = 0;
  int64_t orphaned = 0;
  int64_t queued_for_repair = 0;
  std::vector<wire::FsckProblem> problems;
  int64_t problems_left_out = 0;

  void Add(const wire::FsckResponse& page, size_t max_problems);
  /// Nothing is wrong. Surplus replicas count as wrong as well.
  bool clean() const;
};

nlohmann::json FsckJson(const FsckReport& report);
std::string FsckText(const FsckReport& report, bool repair);

}  // namespace tercet
