#include "metaserver/namespace/tables.h"

#include <utility>

namespace tercet {
namespace {

template <typename Record>
Result<std::optional<Record>> Find(const View& view, const std::string& key) {
  ASSIGN_OR_RETURN(std::optional<std::string> value, view.Get(key));
  if (!value) return std::optional<Record>();
  ASSIGN_OR_RETURN(Record record, Record::Decode(*value));
  return std::optional<Record>(std::move(record));
}

// Scans `range`, decodes each row's key and value, and calls row(parsed_key, record) until it is
// false.
template <typename Record, typename Row>
Status ScanRecords(const View& view, const KeyRange& range, const Row& row) {
  Status decoded;
  RETURN_IF_ERROR(
      view.Scan(range.from, range.to, [&](std::string_view key, std::string_view value) {
        std::optional<ParsedKey> parsed = ParseKey(key);
        if (!parsed) {
          decoded = Status(StatusCode::kCorruption, "malformed key in the namespace state");
          return false;
        }
        Result<Record> record = Record::Decode(value);
        if (!record.ok()) {
          decoded = record.status();
          return false;
        }
        return row(*parsed, *record);
      }));
  return decoded;
}

Result<std::optional<uint64_t>> FindNumber(const View& view, const std::string& key) {
  ASSIGN_OR_RETURN(std::optional<NumberRecord> record, Find<NumberRecord>(view, key));
  if (!record) return std::optional<uint64_t>();
  return std::optional<uint64_t>(record->value);
}

}  // namespace

Result<std::string> Tables::GetClusterId() const {
  ASSIGN_OR_RETURN(std::optional<ClusterIdRecord> record,
                   Find<ClusterIdRecord>(view_, ClusterKey(ClusterField::kClusterId)));
  if (!record) {
    return Status(StatusCode::kFailedPrecondition, "the namespace state was never formatted");
  }
  return std::move(record->cluster_id);
}

Result<std::optional<uint64_t>> Tables::FindFormatVersion() const {
  return FindNumber(view_, ClusterKey(ClusterField::kFormatVersion));
}

Result<int64_t> Tables::GetTimeFloor() const {
  ASSIGN_OR_RETURN(std::optional<uint64_t> value,
                   FindNumber(view_, ClusterKey(ClusterField::kTimeFloor)));
  return static_cast<int64_t>(value.value_or(0));
}

Result<uint64_t> Tables::GetCounter(Counter counter) const {
  ASSIGN_OR_RETURN(std::optional<uint64_t> value, FindNumber(view_, CounterKey(counter)));
  return value.value_or(0);
}

Result<LimitsRecord> Tables::GetLimits() const {
  ASSIGN_OR_RETURN(std::optional<LimitsRecord> record,
                   Find<LimitsRecord>(view_, ClusterKey(ClusterField::kLimits)));
  return record.value_or(LimitsRecord());
}

Result<BalanceRecord> Tables::GetBalance() const {
  ASSIGN_OR_RETURN(std::optional<BalanceRecord> record,
                   Find<BalanceRecord>(view_, ClusterKey(ClusterField::kBalance)));
  return record.value_or(BalanceRecord());
}

Result<std::optional<RestoresRecord>> Tables::FindRestores() const {
  return Find<RestoresRecord>(view_, ClusterKey(ClusterField::kRestores));
}

Result<std::optional<InodeRecord>> Tables::FindInode(InodeId inode) const {
  return Find<InodeRecord>(view_, InodeKey(inode));
}

Result<InodeRecord> Tables::GetInode(InodeId inode) const {
  ASSIGN_OR_RETURN(std::optional<InodeRecord> record, FindInode(inode));
  if (!record) {
    return Status(StatusCode::kStaleHandle, "there is no inode " + std::to_string(inode.value()));
  }
  return std::move(*record);
}

Result<std::optional<DentryRecord>> Tables::FindDentry(InodeId parent,
                                                       std::string_view name) const {
  return Find<DentryRecord>(view_, DentryKey(parent, name));
}

Result<std::optional<XattrRecord>> Tables::FindXattr(InodeId inode, std::string_view name) const {
  return Find<XattrRecord>(view_, XattrKey(inode, name));
}

Result<std::optional<FileBlockRecord>> Tables::FindFileBlock(InodeId inode, uint64_t index) const {
  return Find<FileBlockRecord>(view_, FileBlockKey(inode, index));
}

Result<std::optional<BlockOwnerRecord>> Tables::FindBlockOwner(BlockId block) const {
  return Find<BlockOwnerRecord>(view_, BlockOwnerKey(block));
}

Result<std::optional<OrphanRecord>> Tables::FindOrphan(InodeId inode) const {
  return Find<OrphanRecord>(view_, OrphanKey(inode));
}

Result<std::optional<TruncationRecord>> Tables::FindTruncation(InodeId inode) const {
  return Find<TruncationRecord>(view_, TruncationKey(inode));
}

Result<std::optional<PolicyWalkRecord>> Tables::FindPolicyWalk(InodeId inode) const {
  return Find<PolicyWalkRecord>(view_, PolicyWalkKey(inode));
}

Status Tables::ScanPolicyWalks(InodeId first, const PolicyWalkFunction& row) const {
  return ScanRecords<PolicyWalkRecord>(view_, IdRangeFrom(TableId::kPolicyWalk, first.value()),
                                       [&](const ParsedKey& key, const PolicyWalkRecord& record) {
                                         return row(InodeId(key.first), record);
                                       });
}

Result<std::optional<TrashRecord>> Tables::FindTrash(int64_t expires_ns, InodeId inode) const {
  return Find<TrashRecord>(view_, TrashKey(expires_ns, inode));
}

Status Tables::ScanTrash(int64_t expires_ns, InodeId inode, const TrashFunction& row) const {
  return ScanRecords<TrashRecord>(view_, TrashRangeFrom(expires_ns, inode),
                                  [&](const ParsedKey& key, const TrashRecord& record) {
                                    return row(static_cast<int64_t>(key.first), InodeId(key.second),
                                               record);
                                  });
}

Status Tables::ScanDentries(InodeId parent, std::string_view after_name,
                            const DentryFunction& row) const {
  return ScanRecords<DentryRecord>(
      view_, DentryRange(parent, after_name),
      [&](const ParsedKey& key, const DentryRecord& record) { return row(key.name, record); });
}

Status Tables::ScanXattrs(InodeId inode, const XattrFunction& row) const {
  return ScanRecords<XattrRecord>(
      view_, XattrRange(inode),
      [&](const ParsedKey& key, const XattrRecord& record) { return row(key.name, record); });
}

Status Tables::ScanFileBlocks(InodeId inode, uint64_t first, uint64_t end,
                              const FileBlockFunction& row) const {
  return ScanRecords<FileBlockRecord>(
      view_, FileBlockRange(inode, first, end),
      [&](const ParsedKey& key, const FileBlockRecord& record) { return row(key.second, record); });
}

Status Tables::ScanOrphans(InodeId first, const OrphanFunction& row) const {
  return ScanRecords<OrphanRecord>(view_, IdRangeFrom(TableId::kOrphan, first.value()),
                                   [&](const ParsedKey& key, const OrphanRecord& record) {
                                     return row(InodeId(key.first), record);
                                   });
}

Status Tables::ScanTruncations(InodeId first, const TruncationFunction& row) const {
  return ScanRecords<TruncationRecord>(view_, IdRangeFrom(TableId::kTruncation, first.value()),
                                       [&](const ParsedKey& key, const TruncationRecord& record) {
                                         return row(InodeId(key.first), record);
                                       });
}

Result<std::optional<ReplicaRecord>> Tables::FindReplica(ServerId server, BlockId block) const {
  return Find<ReplicaRecord>(view_, ReplicaKey(server, block));
}

Status Tables::ScanReplicas(ServerId server, BlockId first, BlockId end,
                            const ReplicaFunction& row) const {
  return ScanRecords<ReplicaRecord>(view_, ReplicaRange(server, first, end),
                                    [&](const ParsedKey& key, const ReplicaRecord& record) {
                                      return row(BlockId(key.second), record);
                                    });
}

Status Tables::ScanAllReplicas(const AllReplicasFunction& row) const {
  return ScanRecords<ReplicaRecord>(
      view_, TableRange(TableId::kReplica), [&](const ParsedKey& key, const ReplicaRecord& record) {
        return row(ServerId(static_cast<uint32_t>(key.first)), BlockId(key.second), record);
      });
}

Result<std::optional<DeleteTaskRecord>> Tables::FindDeleteTask(ServerId server,
                                                               BlockId block) const {
  return Find<DeleteTaskRecord>(view_, DeleteTaskKey(server, block));
}

Status Tables::ScanDeleteTasks(ServerId server, BlockId first,
                               const DeleteTaskFunction& row) const {
  return ScanRecords<DeleteTaskRecord>(view_, DeleteTaskRange(server, first),
                                       [&](const ParsedKey& key, const DeleteTaskRecord& record) {
                                         return row(BlockId(key.second), record);
                                       });
}

Result<std::optional<RepairRecord>> Tables::FindRepair(BlockId block) const {
  return Find<RepairRecord>(view_, RepairKey(block));
}

Status Tables::ScanRepairs(BlockId first, const RepairFunction& row) const {
  return ScanRecords<RepairRecord>(view_, IdRangeFrom(TableId::kRepair, first.value()),
                                   [&](const ParsedKey& key, const RepairRecord& record) {
                                     return row(BlockId(key.first), record);
                                   });
}

Result<std::optional<DiskRecord>> Tables::FindDisk(ServerId server,
                                                   std::string_view disk_uuid) const {
  return Find<DiskRecord>(view_, DiskKey(server, disk_uuid));
}

namespace {

Status ScanDiskRange(const View& view, const KeyRange& range, const Tables::DiskFunction& row) {
  return ScanRecords<DiskRecord>(view, range, [&](const ParsedKey& key, const DiskRecord& record) {
    return row(ServerId(static_cast<uint32_t>(key.first)), key.name, record);
  });
}

}  // namespace

Status Tables::ScanDisks(ServerId server, const DiskFunction& row) const {
  return ScanDiskRange(view_, DiskRange(server), row);
}

Status Tables::ScanAllDisks(const DiskFunction& row) const {
  return ScanDiskRange(view_, TableRange(TableId::kDisk), row);
}

Result<PlacementRule> Tables::GetPlacementRule(uint32_t rule) const {
  if (rule == 0) return PlacementRule();
  ASSIGN_OR_RETURN(std::optional<PlacementRule> record,
                   Find<PlacementRule>(view_, PlacementRuleKey(rule)));
  if (!record) {
    return Status(StatusCode::kCorruption,
                  "there is no placement rule " + std::to_string(rule) + ", but it is in use");
  }
  return std::move(*record);
}

Status Tables::ScanPlacementRules(const PlacementRuleFunction& row) const {
  return ScanRecords<PlacementRule>(view_, TableRange(TableId::kPlacementRule),
                                    [&](const ParsedKey& key, const PlacementRule& record) {
                                      return row(static_cast<uint32_t>(key.first), record);
                                    });
}

Result<std::optional<ServerRecord>> Tables::FindServer(ServerId server) const {
  return Find<ServerRecord>(view_, ServerKey(server));
}

Result<std::optional<ServerId>> Tables::FindServerByUuid(std::string_view uuid) const {
  ASSIGN_OR_RETURN(std::optional<uint64_t> id, FindNumber(view_, ServerByUuidKey(uuid)));
  if (!id) return std::optional<ServerId>();
  return std::optional<ServerId>(ServerId(static_cast<uint32_t>(*id)));
}

Status Tables::ScanServers(const ServerFunction& row) const {
  return ScanRecords<ServerRecord>(view_, TableRange(TableId::kServer),
                                   [&](const ParsedKey& key, const ServerRecord& record) {
                                     return row(ServerId(static_cast<uint32_t>(key.first)), record);
                                   });
}

Result<std::optional<SessionRecord>> Tables::FindSession(SessionId session) const {
  return Find<SessionRecord>(view_, SessionKey(session));
}

Result<bool> Tables::IsSessionOpen(SessionId session) const {
  ASSIGN_OR_RETURN(std::optional<SessionRecord> record, FindSession(session));
  return record.has_value() && !record->closing;
}

Result<std::optional<SessionId>> Tables::FindSessionByUuid(std::string_view uuid) const {
  ASSIGN_OR_RETURN(std::optional<uint64_t> id, FindNumber(view_, SessionByUuidKey(uuid)));
  if (!id) return std::optional<SessionId>();
  return std::optional<SessionId>(SessionId(*id));
}

Status Tables::ScanSessions(const SessionFunction& row) const {
  return ScanRecords<SessionRecord>(view_, TableRange(TableId::kSession),
                                    [&](const ParsedKey& key, const SessionRecord& record) {
                                      return row(SessionId(key.first), record);
                                    });
}

Result<std::optional<SlotReplyRecord>> Tables::FindSlotReply(SessionId session,
                                                             uint32_t slot) const {
  return Find<SlotReplyRecord>(view_, SlotReplyKey(session, slot));
}

Status Tables::ScanSlotReplies(SessionId session, const SlotFunction& row) const {
  return ScanRecords<SlotReplyRecord>(view_, SlotReplyRange(session),
                                      [&](const ParsedKey& key, const SlotReplyRecord& record) {
                                        return row(static_cast<uint32_t>(key.second), record);
                                      });
}

void MutableTables::PutClusterId(std::string_view cluster_id) {
  transaction_.Put(ClusterKey(ClusterField::kClusterId),
                   ClusterIdRecord{std::string(cluster_id)}.Encode());
}

void MutableTables::PutFormatVersion(uint64_t version) {
  transaction_.Put(ClusterKey(ClusterField::kFormatVersion), NumberRecord{version}.Encode());
}

void MutableTables::PutTimeFloor(int64_t floor_ns) {
  transaction_.Put(ClusterKey(ClusterField::kTimeFloor),
                   NumberRecord{static_cast<uint64_t>(floor_ns)}.Encode());
}

void MutableTables::PutCounter(Counter counter, uint64_t value) {
  transaction_.Put(CounterKey(counter), NumberRecord{value}.Encode());
}

Status MutableTables::AddToCounter(Counter counter, int64_t delta) {
  if (delta == 0) return Status::Ok();
  ASSIGN_OR_RETURN(uint64_t value, GetCounter(counter));
  if (delta < 0 && value < static_cast<uint64_t>(-delta)) {
    return Status(StatusCode::kInternal,
                  "counter " + std::to_string(static_cast<int>(counter)) + " would fall below 0");
  }
  PutCounter(counter, value + static_cast<uint64_t>(delta));
  return Status::Ok();
}

Result<uint64_t> MutableTables::TakeNextId(Counter counter) {
  ASSIGN_OR_RETURN(uint64_t value, GetCounter(counter));
  if (value == 0) value = 1;
  PutCounter(counter, value + 1);
  return value;
}

void MutableTables::PutInode(InodeId inode, const InodeRecord& record) {
  transaction_.Put(InodeKey(inode), record.Encode());
}

void MutableTables::DeleteInode(InodeId inode) { transaction_.Delete(InodeKey(inode)); }

void MutableTables::PutDentry(InodeId parent, std::string_view name, const DentryRecord& record) {
  transaction_.Put(DentryKey(parent, name), record.Encode());
}

void MutableTables::DeleteDentry(InodeId parent, std::string_view name) {
  transaction_.Delete(DentryKey(parent, name));
}

void MutableTables::PutXattr(InodeId inode, std::string_view name, const XattrRecord& record) {
  transaction_.Put(XattrKey(inode, name), record.Encode());
}

void MutableTables::DeleteXattr(InodeId inode, std::string_view name) {
  transaction_.Delete(XattrKey(inode, name));
}

void MutableTables::PutFileBlock(InodeId inode, uint64_t index, const FileBlockRecord& record) {
  transaction_.Put(FileBlockKey(inode, index), record.Encode());
}

void MutableTables::DeleteFileBlock(InodeId inode, uint64_t index) {
  transaction_.Delete(FileBlockKey(inode, index));
}

void MutableTables::PutBlockOwner(BlockId block, const BlockOwnerRecord& record) {
  transaction_.Put(BlockOwnerKey(block), record.Encode());
}

void MutableTables::DeleteBlockOwner(BlockId block) { transaction_.Delete(BlockOwnerKey(block)); }

void MutableTables::PutOrphan(InodeId inode, const OrphanRecord& record) {
  transaction_.Put(OrphanKey(inode), record.Encode());
}

void MutableTables::DeleteOrphan(InodeId inode) { transaction_.Delete(OrphanKey(inode)); }

void MutableTables::PutTruncation(InodeId inode, const TruncationRecord& record) {
  transaction_.Put(TruncationKey(inode), record.Encode());
}

void MutableTables::DeleteTruncation(InodeId inode) { transaction_.Delete(TruncationKey(inode)); }

void MutableTables::PutReplica(ServerId server, BlockId block, const ReplicaRecord& record) {
  transaction_.Put(ReplicaKey(server, block), record.Encode());
}

void MutableTables::DeleteReplica(ServerId server, BlockId block) {
  transaction_.Delete(ReplicaKey(server, block));
}

void MutableTables::PutDeleteTask(ServerId server, BlockId block, const DeleteTaskRecord& record) {
  transaction_.Put(DeleteTaskKey(server, block), record.Encode());
}

void MutableTables::DeleteDeleteTask(ServerId server, BlockId block) {
  transaction_.Delete(DeleteTaskKey(server, block));
}

void MutableTables::PutRepair(BlockId block, const RepairRecord& record) {
  transaction_.Put(RepairKey(block), record.Encode());
}

void MutableTables::DeleteRepair(BlockId block) { transaction_.Delete(RepairKey(block)); }

void MutableTables::PutPolicyWalk(InodeId inode, const PolicyWalkRecord& record) {
  transaction_.Put(PolicyWalkKey(inode), record.Encode());
}

void MutableTables::DeletePolicyWalk(InodeId inode) { transaction_.Delete(PolicyWalkKey(inode)); }

void MutableTables::PutTrash(int64_t expires_ns, InodeId inode, const TrashRecord& record) {
  transaction_.Put(TrashKey(expires_ns, inode), record.Encode());
}

void MutableTables::DeleteTrash(int64_t expires_ns, InodeId inode) {
  transaction_.Delete(TrashKey(expires_ns, inode));
}

void MutableTables::PutDisk(ServerId server, std::string_view disk_uuid, const DiskRecord& record) {
  transaction_.Put(DiskKey(server, disk_uuid), record.Encode());
}

void MutableTables::DeleteDisk(ServerId server, std::string_view disk_uuid) {
  transaction_.Delete(DiskKey(server, disk_uuid));
}

void MutableTables::PutPlacementRule(uint32_t rule, const PlacementRule& record) {
  transaction_.Put(PlacementRuleKey(rule), record.Encode());
}

void MutableTables::PutLimits(const LimitsRecord& record) {
  transaction_.Put(ClusterKey(ClusterField::kLimits), record.Encode());
}

void MutableTables::PutBalance(const BalanceRecord& record) {
  transaction_.Put(ClusterKey(ClusterField::kBalance), record.Encode());
}

void MutableTables::PutRestores(const RestoresRecord& record) {
  transaction_.Put(ClusterKey(ClusterField::kRestores), record.Encode());
}

void MutableTables::PutServer(ServerId server, const ServerRecord& record) {
  transaction_.Put(ServerKey(server), record.Encode());
}

void MutableTables::PutServerByUuid(std::string_view uuid, ServerId server) {
  transaction_.Put(ServerByUuidKey(uuid), NumberRecord{server.value()}.Encode());
}

void MutableTables::PutSession(SessionId session, const SessionRecord& record) {
  transaction_.Put(SessionKey(session), record.Encode());
}

void MutableTables::DeleteSession(SessionId session) { transaction_.Delete(SessionKey(session)); }

void MutableTables::PutSessionByUuid(std::string_view uuid, SessionId session) {
  transaction_.Put(SessionByUuidKey(uuid), NumberRecord{session.value()}.Encode());
}

void MutableTables::DeleteSessionByUuid(std::string_view uuid) {
  transaction_.Delete(SessionByUuidKey(uuid));
}

void MutableTables::PutSlotReply(SessionId session, uint32_t slot, const SlotReplyRecord& record) {
  transaction_.Put(SlotReplyKey(session, slot), record.Encode());
}

void MutableTables::DeleteSlotReply(SessionId session, uint32_t slot) {
  transaction_.Delete(SlotReplyKey(session, slot));
}

}  // namespace tercet
