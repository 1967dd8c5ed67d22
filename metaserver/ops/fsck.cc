#include "metaserver/ops/fsck.h"

#include <algorithm>
#include <limits>

#include "common/base/coding.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/blocks.h"
#include "metaserver/ops/paths.h"
#include "metaserver/ops/reads.h"
#include "metaserver/ops/replica_walk.h"

namespace tercet {
namespace {

constexpr uint8_t kCursorVersion = 1;

enum class Phase : uint8_t { kInodes = 1, kOwners = 2, kReplicas = 3, kUnknown = 4, kTree = 5 };

/// Where a page goes on. Only what the phase needs is set.
struct Position {
  Phase phase = Phase::kInodes;
  uint64_t first = 0;   // inode, block or server; kTree: the file that is being checked, or 0
  uint64_t second = 0;  // block index or block
  struct Frame {
    InodeId directory;
    std::string after_name;
  };
  std::vector<Frame> frames;  // kTree: from the path on downwards
};

std::string EncodePosition(const Position& position) {
  std::string out;
  PutFixed8(&out, kCursorVersion);
  PutFixed8(&out, static_cast<uint8_t>(position.phase));
  PutFixed64(&out, position.first);
  PutFixed64(&out, position.second);
  PutVarint64(&out, position.frames.size());
  for (const Position::Frame& frame : position.frames) {
    PutFixed64(&out, frame.directory.value());
    PutLengthPrefixed(&out, frame.after_name);
  }
  return out;
}

Result<Position> DecodePosition(const std::string& cursor) {
  const Status bad(StatusCode::kInvalidArgument, "the cursor is none that an fsck reply gave");
  Decoder in(cursor);
  if (in.Fixed8() != kCursorVersion) return bad;
  Position position;
  const uint8_t phase = in.Fixed8();
  position.first = in.Fixed64();
  position.second = in.Fixed64();
  const uint64_t frames = in.Varint64();
  if (phase < 1 || phase > 5 || frames > kMaxFsckDepth) return bad;
  position.phase = static_cast<Phase>(phase);
  for (uint64_t i = 0; i < frames && !in.failed(); ++i) {
    const InodeId directory(in.Fixed64());
    position.frames.push_back({directory, std::string(in.LengthPrefixed())});
  }
  if (!in.Finish("cursor").ok()) return bad;
  return position;
}

std::string ServersText(const std::vector<ServerId>& servers) {
  std::string out;
  for (ServerId server : servers) {
    out += (out.empty() ? "" : ", ") + std::to_string(server.value());
  }
  return out;
}

/// What the replicas of one block are worth.
struct Replicas {
  int good = 0;
  std::vector<ServerId> dead;     // on servers that are not alive
  std::vector<ServerId> damaged;  // or suspect
  std::vector<ServerId> gone;     // not there any more, although the server lives
  bool doubtful = false;          // a good one may differ from others in what nobody acknowledged

  std::string Describe() const {
    std::string out = std::to_string(good) + " good";
    if (!dead.empty()) out += "; on servers that are not alive: " + ServersText(dead);
    if (!damaged.empty()) out += "; damaged or suspect on: " + ServersText(damaged);
    if (!gone.empty()) out += "; missing on: " + ServersText(gone);
    return out;
  }
};

/// One page.
class FsckWalk {
 public:
  FsckWalk(const View& view, const FsckQuery& query, const FsckLive& live)
      : view_(view),
        tables_(view),
        live_(live),
        max_problems_(static_cast<size_t>(std::clamp(query.max_problems, 1, kMaxFsckProblems))),
        rows_left_(std::clamp(query.max_rows, 1, kMaxFsckRows)) {}

  Result<FsckPage> Run(Position position) {
    if (position.phase == Phase::kTree) {
      RETURN_IF_ERROR(WalkTree(&position));
    } else {
      RETURN_IF_ERROR(WalkTables(&position));
    }
    return std::move(page_);
  }

 private:
  bool Full() const { return rows_left_ <= 0 || page_.response.problems.size() >= max_problems_; }
  void StopAt(const Position& position) { page_.response.cursor = EncodePosition(position); }

  Status WalkTables(Position* position) {
    using Step = Status (FsckWalk::*)(Position*);
    const std::pair<Phase, Step> steps[] = {{Phase::kInodes, &FsckWalk::WalkInodes},
                                            {Phase::kOwners, &FsckWalk::WalkOwners},
                                            {Phase::kReplicas, &FsckWalk::WalkReplicas},
                                            {Phase::kUnknown, &FsckWalk::ListUnknown}};
    for (const auto& [phase, step] : steps) {
      if (phase != position->phase) continue;
      RETURN_IF_ERROR((this->*step)(position));
      if (!page_.response.cursor.empty()) return Status::Ok();
      position->phase = static_cast<Phase>(static_cast<uint8_t>(phase) + 1);
      position->first = position->second = 0;
    }
    return Status::Ok();
  }

  // ---- files and their blocks ----

  Status WalkInodes(Position* position) {
    const KeyRange range = IdRangeFrom(TableId::kInode, position->first);
    Status status;
    RETURN_IF_ERROR(
        view_.Scan(range.from, range.to, [&](std::string_view key, std::string_view value) {
          const auto parsed = ParseKey(key);
          const InodeId inode(parsed ? parsed->first : 0);
          const uint64_t first_index = inode.value() == position->first ? position->second : 0;
          *position = {Phase::kInodes, inode.value(), first_index, {}};
          if (Full()) {
            StopAt(*position);
            return false;
          }
          auto stopped = CheckInode(inode, value, first_index);
          if (!stopped.ok()) {
            status = stopped.status();
            return false;
          }
          if (!*stopped) return true;
          position->second = **stopped;
          StopAt(*position);
          return false;
        }));
    return status;
  }

  Result<std::optional<uint64_t>> CheckInode(InodeId inode, std::string_view value,
                                             uint64_t first_index) {
    --rows_left_;
    ASSIGN_OR_RETURN(const InodeRecord record, InodeRecord::Decode(value));
    if (!record.is_regular()) return std::optional<uint64_t>();
    return CheckFile(inode, record, first_index);
  }

  /// Where it stopped because the page is full; nothing when the file is done.
  Result<std::optional<uint64_t>> CheckFile(InodeId inode, const InodeRecord& file,
                                            uint64_t first_index) {
    if (first_index == 0) ++page_.response.files;
    ASSIGN_OR_RETURN(const std::optional<TruncationRecord> truncation,
                     FindPendingTruncation(tables_, inode, file));
    std::optional<PlacementRule> rule;
    std::optional<uint64_t> stopped;
    bool any = false;
    Status status;
    RETURN_IF_ERROR(tables_.ScanFileBlocks(
        inode, first_index, std::numeric_limits<uint64_t>::max(),
        [&](uint64_t index, const FileBlockRecord& record) {
          // The first one always has its turn: so each page gets further, and no file counts twice.
          if (any && Full()) {
            stopped = index;
            return false;
          }
          any = true;
          --rows_left_;
          if (record.reserved || (truncation && truncation->IsDead(index, record.block)))
            return true;
          if (!rule) {
            auto found = tables_.GetPlacementRule(file.rule_id);
            if (!found.ok()) {
              status = found.status();
              return false;
            }
            rule = std::move(found).value();
          }
          status = CheckBlock({record.block, inode, index, record, &file}, *rule);
          return status.ok();
        }));
    RETURN_IF_ERROR(status);
    return stopped;
  }

  Result<Replicas> Assess(const PlacedBlock& block) {
    Replicas replicas;
    ASSIGN_OR_RETURN(const std::optional<RepairRecord> repair, tables_.FindRepair(block.block));
    for (ServerId server : block.record.chain) {
      const RepairRecord::Bad* note = nullptr;
      if (repair) {
        for (const RepairRecord::Bad& bad : repair->bad) {
          if (bad.server == server) note = &bad;
        }
      }
      const bool doubtful = note != nullptr && note->reason == BadReplica::kDoubtful;
      if (note != nullptr && note->reason == BadReplica::kMissing) {
        replicas.gone.push_back(server);
      } else if (note != nullptr && !doubtful) {
        replicas.damaged.push_back(server);
      } else if (!live_.is_alive(server)) {
        replicas.dead.push_back(server);
      } else {
        ++replicas.good;
        replicas.doubtful |= doubtful;
      }
    }
    return replicas;
  }

  Status CheckBlock(const PlacedBlock& block, const PlacementRule& rule) {
    wire::FsckResponse& response = page_.response;
    ++response.blocks;
    RETURN_IF_ERROR(CheckRows(block));
    ASSIGN_OR_RETURN(const Replicas replicas, Assess(block));
    const int wanted = block.file->replicas;
    const std::string wanted_text = ", " + std::to_string(wanted) + " wanted";
    if (replicas.good == 0) {
      ++response.missing;
      return AddProblem("missing", block, replicas.Describe() + wanted_text);
    }
    if (!replicas.damaged.empty()) {
      ++response.corrupt;
      page_.to_repair.emplace_back(block.block, false);
      return AddProblem("corrupt", block, replicas.Describe() + wanted_text);
    }
    const bool misplaced =
        live_.is_misplaced && !rule.empty() &&
        live_.is_misplaced(block.record.chain, rule, block.file->block_size_bytes);
    if (replicas.good < wanted) {
      ++response.under_replicated;
      page_.to_repair.emplace_back(block.block, misplaced);
      return AddProblem("under_replicated", block, replicas.Describe() + wanted_text);
    }
    if (block.record.chain.size() > static_cast<size_t>(wanted)) {
      ++response.over_replicated;
      page_.to_repair.emplace_back(block.block, misplaced);
      return AddProblem("over_replicated", block, replicas.Describe() + wanted_text);
    }
    if (misplaced) {
      page_.to_repair.emplace_back(block.block, true);
      return AddProblem("misplaced", block, "the policy wants other servers for it");
    }
    ++response.healthy;
    if (replicas.doubtful) ++response.doubtful;
    return Status::Ok();
  }

  /// The index rows of a block must say what its file block row says.
  Status CheckRows(const PlacedBlock& block) {
    ASSIGN_OR_RETURN(const auto owner, tables_.FindBlockOwner(block.block));
    if (!owner || owner->inode != block.inode || owner->index != block.index) {
      RETURN_IF_ERROR(
          AddProblem("inconsistent", block, "its owner row names another file or none"));
    }
    for (ServerId server : block.record.chain) {
      ASSIGN_OR_RETURN(const auto replica, tables_.FindReplica(server, block.block));
      if (replica && replica->generation == block.record.generation) continue;
      RETURN_IF_ERROR(
          AddProblem("inconsistent", block,
                     "its replica row of server " + std::to_string(server.value()) +
                         (replica ? " has generation " + std::to_string(replica->generation.value())
                                  : " is not there")));
    }
    return Status::Ok();
  }

  Status AddProblem(const char* kind, const PlacedBlock& block, std::string detail) {
    wire::FsckProblem problem;
    problem.kind = kind;
    ASSIGN_OR_RETURN(problem.file, NameOf(view_, block.inode, block.block, block.index));
    problem.generation = static_cast<int64_t>(block.record.generation.value());
    for (ServerId server : block.record.chain) {
      problem.servers.push_back(static_cast<int32_t>(server.value()));
    }
    problem.detail = std::move(detail);
    page_.response.problems.push_back(std::move(problem));
    return Status::Ok();
  }

  // ---- the indexes, the other way round ----

  void AddOrphaned(const char* kind, BlockId block, std::vector<int32_t> servers,
                   std::string detail) {
    wire::FsckProblem problem;
    problem.kind = kind;
    problem.file.block_id = static_cast<int64_t>(block.value());
    problem.servers = std::move(servers);
    problem.detail = std::move(detail);
    page_.response.problems.push_back(std::move(problem));
  }

  Status WalkOwners(Position* position) {
    const KeyRange range = IdRangeFrom(TableId::kBlockOwner, position->first);
    Status status;
    RETURN_IF_ERROR(
        view_.Scan(range.from, range.to, [&](std::string_view key, std::string_view value) {
          const auto parsed = ParseKey(key);
          const BlockId block(parsed ? parsed->first : 0);
          if (Full()) {
            StopAt({Phase::kOwners, block.value(), 0, {}});
            return false;
          }
          --rows_left_;
          status = CheckOwner(block, value);
          return status.ok();
        }));
    return status;
  }

  Status CheckOwner(BlockId block, std::string_view value) {
    ASSIGN_OR_RETURN(const BlockOwnerRecord owner, BlockOwnerRecord::Decode(value));
    ASSIGN_OR_RETURN(const auto record, tables_.FindFileBlock(owner.inode, owner.index));
    ASSIGN_OR_RETURN(const auto file, tables_.FindInode(owner.inode));
    if (file && record && record->block == block) return Status::Ok();
    ++page_.response.orphaned;
    AddOrphaned("orphaned", block, {},
                "the state names inode " + std::to_string(owner.inode.value()) +
                    " as its file, which does not have it");
    return Status::Ok();
  }

  Status WalkReplicas(Position* position) {
    const KeyRange table = TableRange(TableId::kReplica);
    const std::string from =
        ReplicaKey(ServerId(static_cast<uint32_t>(position->first)), BlockId(position->second));
    Status status;
    RETURN_IF_ERROR(view_.Scan(from, table.to, [&](std::string_view key, std::string_view value) {
      const auto parsed = ParseKey(key);
      if (!parsed) return true;
      if (Full()) {
        StopAt({Phase::kReplicas, parsed->first, parsed->second, {}});
        return false;
      }
      --rows_left_;
      status = CheckReplica(ServerId(static_cast<uint32_t>(parsed->first)), BlockId(parsed->second),
                            value);
      return status.ok();
    }));
    return status;
  }

  Status CheckReplica(ServerId server, BlockId block, std::string_view value) {
    ASSIGN_OR_RETURN(const ReplicaRecord replica, ReplicaRecord::Decode(value));
    ASSIGN_OR_RETURN(const auto owner, tables_.FindBlockOwner(block));
    std::optional<FileBlockRecord> record;
    if (owner) {
      ASSIGN_OR_RETURN(record, tables_.FindFileBlock(owner->inode, owner->index));
    }
    const bool known = record && record->block == block && !record->reserved &&
                       record->generation == replica.generation &&
                       std::ranges::find(record->chain, server) != record->chain.end();
    if (known) return Status::Ok();
    AddOrphaned("inconsistent", block, {static_cast<int32_t>(server.value())},
                "a replica row of generation " + std::to_string(replica.generation.value()) +
                    " that no file's chain has");
    return Status::Ok();
  }

  Status ListUnknown(Position* position) {
    uint64_t at = position->first;
    for (; at < live_.unknown.size(); ++at) {
      if (Full()) {
        StopAt({Phase::kUnknown, at, 0, {}});
        return Status::Ok();
      }
      --rows_left_;
      const auto& [server, block] = live_.unknown[at];
      ++page_.response.orphaned;
      AddOrphaned("orphaned", block, {static_cast<int32_t>(server.value())},
                  "a replica that no file has; it is in the server's quarantine");
    }
    return Status::Ok();
  }

  // ---- the tree below a path ----

  Status WalkTree(Position* position) {
    if (position->first != 0) {
      RETURN_IF_ERROR(ContinueFile(position));
      if (!page_.response.cursor.empty()) return Status::Ok();
    }
    while (!position->frames.empty()) {
      if (Full()) {
        StopAt(*position);
        return Status::Ok();
      }
      RETURN_IF_ERROR(WalkDirectory(position));
      if (!page_.response.cursor.empty()) return Status::Ok();
    }
    return Status::Ok();
  }

  /// A file that the page before did not finish, or that the path names.
  Status ContinueFile(Position* position) {
    ASSIGN_OR_RETURN(const auto file, tables_.FindInode(InodeId(position->first)));
    if (file && file->is_regular()) {
      ASSIGN_OR_RETURN(const auto stopped,
                       CheckFile(InodeId(position->first), *file, position->second));
      if (stopped) {
        position->second = *stopped;
        StopAt(*position);
        return Status::Ok();
      }
    }
    position->first = position->second = 0;
    return Status::Ok();
  }

  /// Goes on in the innermost directory until it ends, a subdirectory begins or the page is full.
  Status WalkDirectory(Position* position) {
    const InodeId directory = position->frames.back().directory;
    // What is to be entered next; the scan is over then.
    std::optional<InodeId> subdirectory;
    bool at_end = true;
    Status status;
    RETURN_IF_ERROR(tables_.ScanDentries(directory, position->frames.back().after_name,
                                         [&](std::string_view name, const DentryRecord& entry) {
                                           if (Full()) {
                                             at_end = false;
                                             return false;
                                           }
                                           --rows_left_;
                                           position->frames.back().after_name = name;
                                           if (entry.type == InodeType::kDirectory) {
                                             subdirectory = entry.inode;
                                             return false;
                                           }
                                           if (entry.type != InodeType::kRegular) return true;
                                           position->first = entry.inode.value();
                                           position->second = 0;
                                           status = ContinueFile(position);
                                           return status.ok() && page_.response.cursor.empty();
                                         }));
    RETURN_IF_ERROR(status);
    if (!page_.response.cursor.empty() || !at_end) return Status::Ok();
    if (!subdirectory) {
      position->frames.pop_back();
    } else if (position->frames.size() < kMaxFsckDepth) {
      position->frames.push_back({*subdirectory, std::string()});
    } else {
      wire::FsckProblem problem;
      problem.kind = "inconsistent";
      ASSIGN_OR_RETURN(problem.file, NameOf(view_, *subdirectory, BlockId(), 0));
      problem.detail = "too deep below the path to be checked: check it by a path of its own";
      page_.response.problems.push_back(std::move(problem));
    }
    return Status::Ok();
  }

  const View& view_;
  const Tables tables_;
  const FsckLive& live_;
  const size_t max_problems_;
  int rows_left_;
  FsckPage page_;
};

Result<Position> StartOf(const View& view, const std::string& path) {
  Position position;
  if (path.empty()) return position;
  ASSIGN_OR_RETURN(const InodeId inode, ResolvePath(view, path));
  if (inode == kRootInode) return position;
  position.phase = Phase::kTree;
  ASSIGN_OR_RETURN(const InodeRecord record, Tables(view).GetInode(inode));
  if (record.is_directory()) {
    position.frames.push_back({inode, std::string()});
  } else {
    position.first = inode.value();
  }
  return position;
}

}  // namespace

Result<FsckPage> Fsck(const View& view, const FsckQuery& query, const FsckLive& live) {
  Position position;
  if (query.cursor.empty()) {
    ASSIGN_OR_RETURN(position, StartOf(view, query.path));
  } else {
    ASSIGN_OR_RETURN(position, DecodePosition(query.cursor));
  }
  return FsckWalk(view, query, live).Run(std::move(position));
}

}  // namespace tercet
