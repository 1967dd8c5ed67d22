// What becomes of a block whose writer cannot go on (RecoverBlock): the failed servers leave the
// chain, the others are made equal under a new generation, and with too few of them new ones are
// added.
//
// Nothing is sealed while fewer servers are believed reachable than the policy demands for writing:
// the writer is told kUnavailable and asks again, and readers go on meanwhile.
#pragma once

#include <chrono>
#include <functional>
#include <set>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "metaserver/namespace/records.h"
#include "metaserver/ops/repairs.h"
#include "metaserver/placement/server_table.h"
#include "metaserver/repair/reconfigurer.h"
#include "metaserver/repair/repair_journal.h"

namespace tercet {

struct BlockRecoveryRequest {
  SessionId session;
  InodeId inode;
  uint64_t index = 0;
  BlockId block;
  Generation generation;  // with which the writer failed
  std::vector<ServerId> failed;
  StatusCode failure = StatusCode::kOk;
  bool has_data = false;
  std::vector<ServerId> exclude;
};

struct BlockRecoveryOptions {
  std::chrono::milliseconds ping_wait{200};
  /// How long a writer waits for somebody else's attempt upon its block.
  std::chrono::milliseconds lock_wait{5000};
  int max_attempts = 4;
};

/// Thread-safe.
class BlockRecovery {
 public:
  /// All references must outlive the object. `notice`: a block was left for repair to finish; must
  /// not block.
  BlockRecovery(BlockRecoveryOptions options, RepairJournal& journal, ServerTable& servers,
                Reconfigurer& reconfigurer, std::function<void(BlockId)> notice)
      : options_(options),
        journal_(journal),
        servers_(servers),
        reconfigurer_(reconfigurer),
        notice_(std::move(notice)) {}

  /// The block as it is then. kUnavailable: too few servers just now; kNoSpace; kConflict: the
  /// block left the file; kNotActive.
  Result<FileBlockRecord> Recover(Epoch epoch, const BlockRecoveryRequest& request);

 private:
  struct Members {
    std::vector<ServerId> keep;
    std::vector<ServerId> drop;
    std::vector<ServerId> unreachable;  // of those to drop
  };

  Result<FileBlockRecord> Try(Epoch epoch, const BlockRecoveryRequest& request,
                              std::set<ServerId>* avoid, bool* again);
  /// The writer's block as it is; kConflict when it left the file.
  Result<OwnedBlock> Find(const BlockRecoveryRequest& request) const;
  /// Suspects those of the failed servers that do not answer the active itself. Those that do are
  /// well for everybody else: it may be the writer's network that is broken.
  void SuspectSilent(Epoch epoch, const BlockRecoveryRequest& request);
  Members Sort(Epoch epoch, const BlockRecoveryRequest& request, const FileBlockRecord& block,
               const std::set<ServerId>& avoid) const;
  Result<std::vector<ServerId>> ChooseTargets(const OwnedBlock& owned, const Members& members,
                                              const BlockRecoveryRequest& request,
                                              const std::set<ServerId>& avoid, int wanted);
  /// `silent`: members that do not answer.
  Result<FileBlockRecord> ReplaceUnwritten(Epoch epoch, const BlockRecoveryRequest& request,
                                           const std::vector<ServerId>& silent);

  const BlockRecoveryOptions options_;
  RepairJournal& journal_;
  ServerTable& servers_;
  Reconfigurer& reconfigurer_;
  const std::function<void(BlockId)> notice_;
};

}  // namespace tercet
