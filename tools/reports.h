// What `tercet status` and `tercet file info` show, from the replies of the admin service.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tercet_thrift/admin_types.h"

namespace tercet {

nlohmann::json StatusJson(const wire::GetStatusResponse& reply);
/// `group`: the metaservers' table (SurveyText).
std::string StatusText(const wire::GetStatusResponse& reply, const std::string& group);

/// `path` as the user gave it. The reply must hold all blocks.
nlohmann::json FileInfoJson(const std::string& path, const wire::GetFileInfoResponse& reply);
std::string FileInfoText(const std::string& path, const wire::GetFileInfoResponse& reply);

}  // namespace tercet
