// The parts of `tercet meta`.
#pragma once

#include <string>

#include "common/base/status.h"
#include "common/config/command_line.h"
#include "common/rpc/host_port.h"
#include "tools/group_survey.h"

namespace tercet {

/// What all of them take.
struct MetaArguments {
  std::string meta;
  bool json = false;
};
/// Adds --meta and, when `json`, --json.
void AddMetaOptions(Command command, MetaArguments* arguments, bool json);

/// The member that the user named, by id, HOST:PORT or its name in the development cluster of
/// DefaultDevDirectory().
Result<int32_t> NamedMember(const GroupSurvey& survey, const std::string& text);

void AddMetaList(Command meta, int* exit_status);
void AddMetaMembers(Command meta, int* exit_status);
void AddMetaSwitchover(Command meta, int* exit_status);
void AddMetaBackup(Command meta, int* exit_status);

}  // namespace tercet
