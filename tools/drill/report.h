// How a drill's outcome is shown, and the history of drills: one JSON object a line.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "tools/drill/drill.h"

namespace tercet {

nlohmann::json DrillJson(const DrillReport& report);
std::string DrillText(const DrillReport& report);

/// drills.jsonl in the development cluster's folder or, when that is empty, below
/// $XDG_STATE_HOME/tercet (~/.local/state/tercet).
std::string HistoryPath(const std::string& dev_directory);
/// Adds the drill, without its rounds' details.
Status AppendHistory(const std::string& path, const DrillReport& report);
/// Of another kind of drill, with the keys that HistoryText shows.
Status AppendHistoryLine(const std::string& path, const nlohmann::json& summary);
/// The newest `limit` drills, oldest first; lines that are no JSON object (a cut one) are left out.
Result<std::vector<nlohmann::json>> ReadHistory(const std::string& path, size_t limit);
std::string HistoryText(const std::vector<nlohmann::json>& drills);

}  // namespace tercet
