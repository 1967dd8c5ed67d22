#include "metaserver/ops/exposure.h"

#include <algorithm>
#include <limits>

#include "common/base/coding.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/replica_walk.h"

namespace tercet {
namespace {

constexpr BlockId kEndOfBlocks{std::numeric_limits<uint64_t>::max()};

/// Where a page goes on: this server, this block.
struct Position {
  ServerId server;
  BlockId block;
};

std::string EncodePosition(const Position& position) {
  std::string out;
  PutFixed32(&out, position.server.value());
  PutFixed64(&out, position.block.value());
  return out;
}

Result<Position> DecodePosition(const std::string& cursor) {
  Position position;
  if (cursor.empty()) return position;
  Decoder in(cursor);
  position.server = ServerId(in.Fixed32());
  position.block = BlockId(in.Fixed64());
  if (in.Finish("cursor").ok()) return position;
  return Status(StatusCode::kInvalidArgument, "the cursor is none that an exposure reply gave");
}

/// At most `max` blocks of a server from `first` on.
Result<std::vector<BlockId>> ListBlocksOf(const Tables& tables, ServerId server, BlockId first,
                                          size_t max) {
  std::vector<BlockId> blocks;
  if (max == 0) return blocks;
  RETURN_IF_ERROR(
      tables.ScanReplicas(server, first, kEndOfBlocks, [&](BlockId block, const ReplicaRecord&) {
        blocks.push_back(block);
        return blocks.size() < max;
      }));
  return blocks;
}

/// How many replicas are left of the block.
Result<int> CountLeft(const Tables& tables, const PlacedBlock& block,
                      const std::set<ServerId>& lost) {
  const auto& chain = block.record.chain;
  auto left = std::count_if(chain.begin(), chain.end(),
                            [&](ServerId server) { return !lost.contains(server); });
  if (left == 0) return 0;
  ASSIGN_OR_RETURN(const std::set<ServerId> bad, BadMembers(tables, block.block));
  if (bad.empty()) return static_cast<int>(left);
  left = std::count_if(chain.begin(), chain.end(), [&](ServerId server) {
    return !lost.contains(server) && !bad.contains(server);
  });
  return static_cast<int>(left);
}

ServerId FirstWalked(const FileBlockRecord& record, const std::set<ServerId>& walk) {
  ServerId first(std::numeric_limits<uint32_t>::max());
  for (ServerId server : record.chain) {
    if (walk.contains(server)) first = std::min(first, server);
  }
  return first;
}

/// Calls `row` for the living blocks on a server in a range. Where the next range begins; nothing
/// when there are no more.
template <typename Row>
Result<std::optional<BlockId>> WalkServer(BlockLookup& lookup, ServerId server,
                                          const ExaminedRange& range, const Row& row) {
  constexpr size_t kBatch = 1000;
  BlockId first = range.first;
  for (int left = std::max(range.max_rows, 1); left > 0;) {
    const size_t wanted = std::min(kBatch, static_cast<size_t>(left));
    ASSIGN_OR_RETURN(const std::vector<BlockId> blocks,
                     ListBlocksOf(lookup.tables(), server, first, wanted));
    for (BlockId block : blocks) {
      ASSIGN_OR_RETURN(const std::optional<PlacedBlock> placed, lookup.Find(block));
      if (placed) RETURN_IF_ERROR(row(*placed));
    }
    if (blocks.size() < wanted) return std::optional<BlockId>();
    left -= static_cast<int>(blocks.size());
    first = blocks.back().Next();
  }
  return std::optional<BlockId>(first);
}

}  // namespace

Result<wire::GetExposureResponse> Exposure(const View& view, const ExposureQuery& query) {
  ASSIGN_OR_RETURN(Position position, DecodePosition(query.cursor));
  BlockLookup lookup(view);
  FileNames names(view, static_cast<size_t>(std::clamp(query.max_files, 0, kMaxFilesNamed)));
  wire::GetExposureResponse response;
  int rows = std::clamp(query.max_rows, 1, kMaxExposureRows);
  for (auto server = query.walk.lower_bound(position.server); server != query.walk.end();
       ++server) {
    if (*server != position.server) position = {*server, BlockId()};
    ASSIGN_OR_RETURN(
        const std::vector<BlockId> blocks,
        ListBlocksOf(lookup.tables(), *server, position.block, static_cast<size_t>(rows)));
    for (BlockId block : blocks) {
      ASSIGN_OR_RETURN(const std::optional<PlacedBlock> placed, lookup.Find(block));
      if (!placed || FirstWalked(placed->record, query.walk) != *server) continue;
      ++response.blocks;
      ASSIGN_OR_RETURN(const int left, CountLeft(lookup.tables(), *placed, query.lost));
      if (left == 0) {
        ++response.lost_blocks;
        RETURN_IF_ERROR(names.Add(*placed));
      } else if (left < placed->file->min_replicas) {
        ++response.below_minimum_blocks;
      } else if (left < placed->file->replicas) {
        ++response.below_wanted_blocks;
      }
    }
    rows -= static_cast<int>(blocks.size());
    if (rows <= 0) {
      response.cursor = EncodePosition({*server, blocks.back().Next()});
      break;
    }
  }
  response.lost_files = names.Take();
  return response;
}

Result<ServerExamination> ExamineLoss(const View& view, ServerId server, const ExaminedRange& range,
                                      const std::set<ServerId>& lost, const BelowFunction& below,
                                      int max_files) {
  std::set<ServerId> all_lost = lost;
  all_lost.insert(server);
  BlockLookup lookup(view);
  FileNames names(view, static_cast<size_t>(max_files));
  ServerExamination found;
  ASSIGN_OR_RETURN(found.next,
                   WalkServer(lookup, server, range, [&](const PlacedBlock& block) -> Status {
                     ++found.blocks;
                     ASSIGN_OR_RETURN(const int left, CountLeft(lookup.tables(), block, all_lost));
                     if (left >= below(*block.file)) return Status::Ok();
                     ++found.affected_blocks;
                     return names.Add(block);
                   }));
  found.files = names.Take();
  return found;
}

Result<ServerExamination> ExaminePolicies(const View& view, ServerId server,
                                          const ExaminedRange& range, const FitsFunction& fits,
                                          int max_files) {
  BlockLookup lookup(view);
  FileNames names(view, static_cast<size_t>(max_files));
  ServerExamination found;
  std::map<std::pair<uint32_t, uint8_t>, bool> verdicts;  // rule, replicas
  ASSIGN_OR_RETURN(found.next,
                   WalkServer(lookup, server, range, [&](const PlacedBlock& block) -> Status {
                     ++found.blocks;
                     const std::pair policy(block.file->rule_id, block.file->replicas);
                     auto verdict = verdicts.find(policy);
                     if (verdict == verdicts.end()) {
                       ASSIGN_OR_RETURN(const PlacementRule rule,
                                        lookup.tables().GetPlacementRule(block.file->rule_id));
                       verdict = verdicts.emplace(policy, fits(*block.file, rule)).first;
                     }
                     if (verdict->second) return Status::Ok();
                     ++found.affected_blocks;
                     return names.Add(block);
                   }));
  found.files = names.Take();
  return found;
}

}  // namespace tercet
