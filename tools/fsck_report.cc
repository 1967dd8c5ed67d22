#include "tools/fsck_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/output.h"

namespace tercet {
namespace {

std::string ServersText(const std::vector<int32_t>& servers) {
  std::string text;
  for (const int32_t id : servers) text += (text.empty() ? "" : ",") + std::to_string(id);
  return text;
}

std::string Count(int64_t number, Colour colour) {
  const std::string text = Grouped(number);
  return number > 0 ? Coloured(colour, text) : text;
}

}  // namespace

void FsckReport::Add(const wire::FsckResponse& page, size_t max_problems) {
  files += page.files;
  blocks += page.blocks;
  healthy += page.healthy;
  doubtful += page.doubtful;
  under_replicated += page.under_replicated;
  over_replicated += page.over_replicated;
  missing += page.missing;
  corrupt += page.corrupt;
  orphaned += page.orphaned;
  queued_for_repair += page.queued_for_repair;
  for (const wire::FsckProblem& problem : page.problems) {
    if (problems.size() < max_problems) {
      problems.push_back(problem);
    } else {
      ++problems_left_out;
    }
  }
}

bool FsckReport::clean() const {
  return under_replicated == 0 && over_replicated == 0 && missing == 0 && corrupt == 0 &&
         orphaned == 0 && problems.empty();
}

nlohmann::json FsckJson(const FsckReport& report) {
  nlohmann::json problems = nlohmann::json::array();
  for (const wire::FsckProblem& problem : report.problems) {
    problems.push_back({{"kind", problem.kind},
                        {"path", problem.file.path},
                        {"inode", problem.file.inode},
                        {"block_id", problem.file.block_id},
                        {"block_index", problem.file.block_index},
                        {"generation", problem.generation},
                        {"servers", problem.servers},
                        {"detail", problem.detail}});
  }
  return {{"path", report.path},
          {"clean", report.clean()},
          {"inventory_done", report.inventory_done},
          {"silent_servers", report.silent_servers},
          {"files", report.files},
          {"blocks", report.blocks},
          {"healthy", report.healthy},
          {"doubtful", report.doubtful},
          {"under_replicated", report.under_replicated},
          {"over_replicated", report.over_replicated},
          {"missing", report.missing},
          {"corrupt", report.corrupt},
          {"orphaned", report.orphaned},
          {"queued_for_repair", report.queued_for_repair},
          {"problems_left_out", report.problems_left_out},
          {"problems", problems}};
}

std::string FsckText(const FsckReport& report, bool repair) {
  std::string out;
  Table table({{"PROBLEM"},
               {"FILE"},
               {"INDEX", true},
               {"BLOCK", true},
               {"GENERATION", true},
               {"SERVERS"},
               {"DETAIL"}});
  for (const wire::FsckProblem& problem : report.problems) {
    const bool grave = problem.kind == "missing" || problem.kind == "corrupt";
    table.Add({Coloured(grave ? Colour::kRed : Colour::kYellow, problem.kind),
               Printable(problem.file.path), std::to_string(problem.file.block_index),
               std::to_string(problem.file.block_id), std::to_string(problem.generation),
               ServersText(problem.servers), problem.detail});
  }
  if (!report.problems.empty()) out += table.ToString();
  if (report.problems_left_out > 0) {
    out += fmt::format("and {} more (--max-problems)\n", Grouped(report.problems_left_out));
  }
  if (!out.empty()) out += "\n";
  out += fmt::format(
      "{}: {} files, {} blocks: {} healthy, {} under-replicated, {} over-replicated, {} missing, "
      "{} corrupt, {} orphaned\n",
      report.path, Grouped(report.files), Grouped(report.blocks), Grouped(report.healthy),
      Count(report.under_replicated, Colour::kYellow),
      Count(report.over_replicated, Colour::kYellow), Count(report.missing, Colour::kRed),
      Count(report.corrupt, Colour::kRed), Count(report.orphaned, Colour::kYellow));
  if (report.doubtful > 0) {
    out += fmt::format(
        "of the healthy ones {} may have replicas that differ in what nobody acknowledged: they "
        "are "
        "being compared\n",
        Grouped(report.doubtful));
  }
  if (!report.silent_servers.empty()) {
    out += fmt::format(
        "server {} did not compare what it holds with the journal: down, or not done in time\n",
        ServersText(report.silent_servers));
  }
  if (repair) {
    out += fmt::format(
        "{} blocks were queued for repair: `tercet repair status` shows how far "
        "that is\n",
        Grouped(report.queued_for_repair));
  }
  return out +
         (report.clean() ? Coloured(Colour::kGreen, "clean") : Coloured(Colour::kRed, "PROBLEMS")) +
         "\n";
}

}  // namespace tercet
