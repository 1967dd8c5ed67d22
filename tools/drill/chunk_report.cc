// How a drill of chunk servers is shown.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/base/version.h"
#include "tools/drill/chunk_drill.h"
#include "tools/output.h"

namespace tercet {
namespace {

using nlohmann::json;

double Millis(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

double MillisOf(int64_t nanos) { return static_cast<double>(nanos) / 1e6; }

json LatencyJson(const LatencyHistogram& histogram) {
  return {{"count", histogram.count()},
          {"p50", MillisOf(histogram.Percentile(0.5))},
          {"p99", MillisOf(histogram.Percentile(0.99))},
          {"p999", MillisOf(histogram.Percentile(0.999))},
          {"max", MillisOf(histogram.max_nanos())}};
}

std::string Count(uint64_t number, bool bad) {
  const std::string text = Grouped(static_cast<int64_t>(number));
  return bad && number > 0 ? Coloured(Colour::kRed, text) : text;
}

std::string LatencyText(const char* name, const LatencyHistogram& histogram) {
  return fmt::format("{}: p50 {:.1f} ms, p99 {:.1f} ms, p99.9 {:.1f} ms, max {:.0f} ms\n", name,
                     MillisOf(histogram.Percentile(0.5)), MillisOf(histogram.Percentile(0.99)),
                     MillisOf(histogram.Percentile(0.999)), MillisOf(histogram.max_nanos()));
}

std::string RoundsTable(const ChunkDrillReport& report) {
  Table table({{"ROUND", true},
               {"FAULT"},
               {"PAUSE ms", true},
               {"THREADS' MEDIAN", true},
               {"SLOWEST"},
               {"BACK AFTER", true},
               {"OPS", true},
               {"ERRORS", true},
               {"WRONG BYTES", true}});
  for (const ChunkDrillRound& round : report.rounds) {
    table.Add(
        {std::to_string(round.number), round.fault, fmt::format("{:.0f}", Millis(round.pause)),
         fmt::format("{:.0f}", Millis(round.median_of_threads)), round.slowest_operation,
         fmt::format("{:.1f} s", Millis(round.back_after) / 1'000), Count(round.operations, false),
         Count(round.errors, true), Count(round.wrong_bytes, true)});
  }
  return table.ToString();
}

}  // namespace

json ChunkDrillSummary(const ChunkDrillReport& report) {
  const auto& limit = report.options.limits.longest;
  return {{"time_ns", report.started_at_ns},
          {"version", kVersion},
          {"cluster_id", Hex(report.cluster_id)},
          {"kind", "chunks " + std::string(ChunkFaultName(report.options.kind))},
          {"rounds_done", report.rounds.size()},
          {"interval_ms", report.options.interval.count()},
          {"down_ms", report.options.down.count()},
          {"pause_ms",
           {{"median", Millis(report.Percentile(0.5))},
            {"p99", Millis(report.Percentile(0.99))},
            {"max", Millis(report.Percentile(1.0))}}},
          {"limit_ms", {{"max", limit ? json(limit->count()) : json(nullptr)}}},
          {"operations", report.load.operations},
          {"errors", report.load.errors},
          {"wrong_bytes", report.load.wrong_bytes + report.verdict.wrong_bytes},
          {"stale_reads", report.load.wrong_bytes},
          {"written_bytes", report.load.written_bytes},
          {"read_bytes", report.load.read_bytes},
          {"files_checked", report.verdict.files},
          {"lost", report.verdict.unreadable},
          {"whole", report.whole},
          {"whole_after_ms", Millis(report.whole_after)},
          {"interrupted", report.interrupted},
          {"verdict", report.reasons.empty() ? "pass" : "fail"},
          {"reasons", report.reasons},
          {"note", report.note}};
}

json ReplicaCheckJson(const ReplicaCheckResult& result) {
  json counts = json::array();
  for (const auto& [replicas, blocks] : result.blocks_by_replicas) {
    counts.push_back({{"replicas", replicas}, {"blocks", blocks}});
  }
  return {{"files", result.files},           {"blocks", result.blocks},
          {"replicas", result.replicas},     {"bytes", result.bytes},
          {"absent", result.absent},         {"damaged", result.damaged},
          {"differing", result.differing},   {"blocks_by_replicas", counts},
          {"identical", result.identical()}, {"findings", result.findings}};
}

std::string ReplicaCheckText(const ReplicaCheckResult& result) {
  std::string out = fmt::format(
      "{} replicas of {} blocks compared bit by bit ({}): {} absent, {} damaged, {} differing\n",
      Count(result.replicas, false), Count(result.blocks, false), HumanBytes(result.bytes),
      Count(result.absent, true), Count(result.damaged, true), Count(result.differing, true));
  for (const auto& [replicas, blocks] : result.blocks_by_replicas) {
    out += fmt::format("  {} blocks have {}\n", Count(blocks, false), replicas);
  }
  return out;
}

json ChunkDrillJson(const ChunkDrillReport& report) {
  json out = ChunkDrillSummary(report);
  out["rounds"] = json::array();
  for (const ChunkDrillRound& round : report.rounds) {
    out["rounds"].push_back({{"round", round.number},
                             {"node", round.node},
                             {"fault", round.fault},
                             {"pause_ms", Millis(round.pause)},
                             {"median_thread_pause_ms", Millis(round.median_of_threads)},
                             {"slowest_operation", round.slowest_operation},
                             {"back_after_ms", Millis(round.back_after)},
                             {"operations", round.operations},
                             {"errors", round.errors},
                             {"wrong_bytes", round.wrong_bytes}});
  }
  out["latency_ms"] = {{"write", LatencyJson(report.latencies.write)},
                       {"sync", LatencyJson(report.latencies.sync)},
                       {"read", LatencyJson(report.latencies.read)}};
  out["verified"] = report.verified;
  out["doubtful"] = report.verdict.doubtful;
  out["compared"] = report.compared;
  out["replicas"] = ReplicaCheckJson(report.replicas);
  out["findings"] = report.findings;
  if (!report.directory.empty()) out["kept_directory"] = report.directory;
  return out;
}

std::string ChunkDrillText(const ChunkDrillReport& report) {
  std::string out = RoundsTable(report);
  const auto& limit = report.options.limits.longest;
  out += fmt::format("\npause of a round: p50 {:.0f} ms, p99 {:.0f} ms, max {:.0f} ms{}\n",
                     Millis(report.Percentile(0.5)), Millis(report.Percentile(0.99)),
                     Millis(report.Percentile(1.0)),
                     limit ? fmt::format(" (limit {})", limit->count()) : "");
  out += LatencyText("writes", report.latencies.write);
  out += LatencyText("fsync and close", report.latencies.sync);
  out += LatencyText("reads", report.latencies.read);
  out += fmt::format(
      "load: {} operations, {} errors, {} wrong bytes, {} written, {} read; at the end {} files "
      "checked, {} wrong bytes, {} unreadable, {} left out\n",
      Count(report.load.operations, false), Count(report.load.errors, true),
      Count(report.load.wrong_bytes, true), HumanBytes(report.load.written_bytes),
      HumanBytes(report.load.read_bytes), Count(report.verdict.files, false),
      Count(report.verdict.wrong_bytes, true), Count(report.verdict.unreadable, true),
      Count(report.verdict.doubtful, false));
  out += report.whole ? fmt::format("all blocks had their replicas {:.1f} s after the end\n",
                                    Millis(report.whole_after) / 1'000)
                      : Coloured(Colour::kRed, "not all blocks have their replicas") + "\n";
  if (report.compared) out += ReplicaCheckText(report.replicas);
  if (!report.note.empty()) out += "note: " + report.note + "\n";
  for (const std::string& finding : report.findings) out += "  " + finding + "\n";
  if (!report.directory.empty()) out += "the load's files are kept in " + report.directory + "\n";
  if (report.reasons.empty()) return out + Coloured(Colour::kGreen, "PASS") + "\n";
  return out + Coloured(Colour::kRed, "FAIL") + ": " +
         fmt::format("{}", fmt::join(report.reasons, "; ")) + "\n";
}

}  // namespace tercet
