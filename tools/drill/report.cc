#include "tools/drill/report.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/base/version.h"
#include "common/env/posix_disk.h"
#include "tools/output.h"

namespace tercet {
namespace {

double Millis(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

std::string MillisText(std::chrono::nanoseconds time) {
  return fmt::format("{:.0f}", Millis(time));
}

nlohmann::json LimitJson(const std::optional<std::chrono::milliseconds>& limit) {
  return limit ? nlohmann::json(limit->count()) : nlohmann::json(nullptr);
}

/// What the history keeps.
nlohmann::json SummaryJson(const DrillReport& report) {
  return {{"time_ns", report.started_at_ns},
          {"version", kVersion},
          {"cluster_id", Hex(report.cluster_id)},
          {"kind", FaultKindName(report.options.kind)},
          {"target", FaultTargetName(report.options.target)},
          {"threads", report.options.threads},
          {"rounds_done", report.rounds.size()},
          {"pause_ms",
           {{"median", Millis(report.MedianPause())},
            {"p99", Millis(report.Percentile(0.99))},
            {"max", Millis(report.Percentile(1.0))}}},
          {"limit_ms",
           {{"median", LimitJson(report.options.limits.median)},
            {"max", LimitJson(report.options.limits.longest)}}},
          {"operations", report.load.operations},
          {"errors", report.load.errors + report.registers.write_errors},
          {"wrong_answers", report.load.wrong},
          {"stale_reads", report.registers.stale_reads},
          {"files_checked", report.verdict.files},
          {"lost", report.verdict.lost},
          {"extra", report.verdict.extra},
          {"interrupted", report.interrupted},
          {"verdict", report.reasons.empty() ? "pass" : "fail"},
          {"reasons", report.reasons},
          {"note", report.note}};
}

}  // namespace

nlohmann::json DrillJson(const DrillReport& report) {
  nlohmann::json out = SummaryJson(report);
  out["rounds"] = nlohmann::json::array();
  for (const DrillRound& round : report.rounds) {
    out["rounds"].push_back({{"round", round.number},
                             {"fault", round.fault},
                             {"from", round.from},
                             {"to", round.to},
                             {"pause_ms", Millis(round.pause)},
                             {"median_thread_pause_ms", Millis(round.median_of_threads)},
                             {"slowest_operation", round.slowest_operation},
                             {"calm_ms", Millis(round.calm)},
                             {"whole_after_ms", Millis(round.whole_after)},
                             {"operations", round.operations},
                             {"errors", round.errors},
                             {"stale_reads", round.stale_reads}});
  }
  out["registers"] = {{"writes", report.registers.writes},
                      {"reads", report.registers.reads},
                      {"pinned_reads", report.registers.pinned_reads},
                      {"refused", report.registers.refused}};
  out["verified"] = report.verified;
  out["doubtful"] = report.verdict.doubtful;
  out["findings"] = report.findings;
  if (!report.directory.empty()) out["kept_directory"] = report.directory;
  return out;
}

std::string DrillText(const DrillReport& report) {
  Table table({{"ROUND", true},
               {"FAULT"},
               {"FROM"},
               {"TO"},
               {"PAUSE ms", true},
               {"THREADS' MEDIAN", true},
               {"SLOWEST"},
               {"CALM ms", true},
               {"OPS", true},
               {"ERRORS", true},
               {"STALE", true},
               {"WHOLE AFTER", true}});
  const auto count = [](uint64_t number, bool bad) {
    std::string text = Grouped(static_cast<int64_t>(number));
    return bad && number > 0 ? Coloured(Colour::kRed, text) : text;
  };
  for (const DrillRound& round : report.rounds) {
    table.Add({std::to_string(round.number), round.fault, round.from,
               round.to.empty() ? "?" : round.to, MillisText(round.pause),
               MillisText(round.median_of_threads), round.slowest_operation, MillisText(round.calm),
               count(round.operations, false), count(round.errors, true),
               count(round.stale_reads, true),
               fmt::format("{:.1f} s", Millis(round.whole_after) / 1'000)});
  }
  std::string out = table.ToString();
  const auto limit = [](const std::optional<std::chrono::milliseconds>& value) {
    return value ? fmt::format(" (limit {})", value->count()) : std::string();
  };
  out += fmt::format("\npause: median {} ms{}, p99 {} ms, max {} ms{}\n",
                     MillisText(report.MedianPause()), limit(report.options.limits.median),
                     MillisText(report.Percentile(0.99)), MillisText(report.Percentile(1.0)),
                     limit(report.options.limits.longest));
  out += fmt::format(
      "load: {} operations, {} errors, {} wrong answers; {} files checked, {} lost, {} too many\n",
      count(report.load.operations, false), count(report.load.errors, true),
      count(report.load.wrong, true), count(report.verdict.files, false),
      count(report.verdict.lost, true), count(report.verdict.extra, true));
  out += fmt::format(
      "registers: {} writes, {} reads, {} reads at one metaserver, {} refused there, {} stale\n",
      count(report.registers.writes, false), count(report.registers.reads, false),
      count(report.registers.pinned_reads, false), count(report.registers.refused, false),
      count(report.registers.stale_reads, true));
  if (!report.note.empty()) out += "note: " + report.note + "\n";
  for (const std::string& finding : report.findings) out += "  " + finding + "\n";
  if (!report.directory.empty()) {
    out += "the load's files are kept in " + report.directory + "\n";
  }
  if (report.reasons.empty()) return out + Coloured(Colour::kGreen, "PASS") + "\n";
  return out + Coloured(Colour::kRed, "FAIL") + ": " +
         fmt::format("{}", fmt::join(report.reasons, "; ")) + "\n";
}

std::string HistoryPath(const std::string& dev_directory) {
  if (!dev_directory.empty()) return dev_directory + "/drills.jsonl";
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && state[0] == '/') return std::string(state) + "/tercet/drills.jsonl";
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "" : home) + "/.local/state/tercet/drills.jsonl";
}

Status AppendHistory(const std::string& path, const DrillReport& report) {
  return AppendHistoryLine(path, SummaryJson(report));
}

Status AppendHistoryLine(const std::string& path, const nlohmann::json& summary) {
  RETURN_IF_ERROR(RealDisk().MakeDirectories(std::filesystem::path(path).parent_path().string()));
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return StatusFromErrno(errno, "open " + path);
  std::string line = summary.dump() + "\n";
  // A line that was cut short ends here, and spoils only itself.
  const off_t size = ::lseek(fd, 0, SEEK_END);
  char last = '\n';
  if (size > 0 && ::pread(fd, &last, 1, size - 1) == 1 && last != '\n') line = "\n" + line;
  const bool written = ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()) &&
                       ::fdatasync(fd) == 0;
  const int error = errno;
  ::close(fd);
  return written ? Status::Ok() : StatusFromErrno(error, "write " + path);
}

Result<std::vector<nlohmann::json>> ReadHistory(const std::string& path, size_t limit) {
  std::ifstream in(path);
  if (!in) return Status(StatusCode::kNotFound, "no drill was ever done here: there is no " + path);
  std::deque<nlohmann::json> newest;
  for (std::string line; std::getline(in, line);) {
    nlohmann::json drill = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!drill.is_object()) continue;
    newest.push_back(std::move(drill));
    if (newest.size() > limit) newest.pop_front();
  }
  return std::vector<nlohmann::json>(newest.begin(), newest.end());
}

std::string HistoryText(const std::vector<nlohmann::json>& drills) {
  Table table({{"TIME (UTC)"},
               {"KIND"},
               {"ROUNDS", true},
               {"MEDIAN ms", true},
               {"P99 ms", true},
               {"MAX ms", true},
               {"OPS", true},
               {"ERRORS", true},
               {"STALE", true},
               {"LOST", true},
               {"VERDICT"}});
  for (const nlohmann::json& drill : drills) {
    const time_t seconds = drill.value("time_ns", int64_t{0}) / 1'000'000'000;
    const nlohmann::json pause = drill.value("pause_ms", nlohmann::json::object());
    const auto figure = [&](const char* key) { return Grouped(drill.value(key, int64_t{0})); };
    const auto millis = [&](const char* key) {
      return fmt::format("{:.0f}", pause.value(key, 0.0));
    };
    const std::string verdict = drill.value("verdict", "?");
    std::string kind = drill.value("kind", "?");
    if (drill.value("target", "active") != "active") kind += " " + drill.value("target", "");
    table.Add({fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(seconds)), kind,
               figure("rounds_done"), millis("median"), millis("p99"), millis("max"),
               figure("operations"), figure("errors"), figure("stale_reads"), figure("lost"),
               Coloured(verdict == "pass" ? Colour::kGreen : Colour::kRed, verdict)});
  }
  return table.ToString();
}

}  // namespace tercet
