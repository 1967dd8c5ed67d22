// The data folder of a metaserver, and what is done to it between two lives of the server in it.
//
// | name | what |
// |---|---|
// | `journal/` | the journal with identity and member state (metaserver/journal/format.md) |
// | `state/` | the namespace (metaserver/namespace/state_format.md); a witness has none |
// | `state.next/` | a namespace that is being fetched, or is fetched and to be installed |
// | `state.old/` | the one before; removed |
//
// Installing a fetched state; each step is done again by the next start after a crash:
//  1. `state.next` says of itself that it is a state
//  2. the journal begins anew behind the state's base, unless it reaches there
//  3. `state` becomes `state.old`, `state.next` becomes `state`
//  4. `state.old` is removed
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/base/status.h"
#include "common/env/disk.h"
#include "common/env/random.h"
#include "metaserver/journal/journal.h"
#include "metaserver/journal/member_state.h"
#include "metaserver/namespace/database.h"
#include "metaserver/service/metaserver_config.h"

namespace tercet {

class DataFolder {
 public:
  explicit DataFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string journal() const { return path_ + "/journal"; }
  std::string member_state() const { return journal() + "/member"; }
  std::string state() const { return path_ + "/state"; }
  std::string next_state() const { return path_ + "/state.next"; }
  std::string old_state() const { return path_ + "/state.old"; }

 private:
  const std::string path_;
};

/// Makes the folder. kFailedPrecondition when it holds something else than a metaserver: a mistyped
/// path must not be filled.
Status PrepareDataFolder(Disk& disk, const DataFolder& folder);

/// With the folders and sizes that the settings say.
Result<std::unique_ptr<Journal>> OpenJournal(const MetaserverConfig& config, Disk& disk,
                                             Random& random);
DatabaseOptions StateOptions(const MetaserverConfig& config, Disk& disk, const std::string& path);

/// Makes a group of one out of an empty journal, durably: member 1 of a group with a new random id.
/// kCorruption when the journal is not empty, for then its member state is lost.
Result<MemberState> FormGroup(const DataFolder& folder, const std::string& address,
                              const Journal& journal, Disk& disk, Random& random);

/// Steps 2 to 4 above, if there is a fetched state; removes one that cannot be used, and what an
/// earlier installation left. `state` is brought up to date, as is its file. True when one was
/// installed.
Result<bool> InstallFetchedState(const MetaserverConfig& config, const DataFolder& folder,
                                 Disk& disk, Journal& journal, MemberState* state);

/// A fetch was begun and is not finished.
Result<bool> FetchIsBegun(const DataFolder& folder, Disk& disk);
/// From now on a fetch is begun: the namespace that is there, if any, is of no use any more.
Status BeginFetch(const MetaserverConfig& config, const DataFolder& folder, Disk& disk);

/// The journal goes on from the state in it.
bool JournalReaches(const Journal& journal, const Database& database);

}  // namespace tercet
