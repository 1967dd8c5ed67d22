// The Thrift services of the active metaserver: each method hands on to its operation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/env/clock.h"
#include "metaserver/placement/server_table.h"
#include "metaserver/service/census.h"
#include "metaserver/service/proposer.h"
#include "metaserver/service/registry.h"
#include "metaserver/service/sessions.h"
#include "tercet_thrift/AdminService.h"
#include "tercet_thrift/MetadataService.h"
#include "tercet_thrift/RegistryService.h"

namespace tercet {

/// What the handlers work with; everything outlives them.
struct HandlerParts {
  Proposer& proposer;
  Sessions& sessions;
  Registry& registry;
  ServerTable& servers;
  Census& census;
  const Clock& clock;
  std::string address;  // "HOST:PORT" of this metaserver
  std::string version;
};

// One object serves all connections; thread-safe.
std::shared_ptr<wire::MetadataServiceIf> MakeMetadataHandler(const HandlerParts& parts);
std::shared_ptr<wire::RegistryServiceIf> MakeRegistryHandler(const HandlerParts& parts);
std::shared_ptr<wire::AdminServiceIf> MakeAdminHandler(const HandlerParts& parts);

}  // namespace tercet
