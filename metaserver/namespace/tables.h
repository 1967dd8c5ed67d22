// Typed access to the namespace state's rows.
//
// Tables reads through any View, MutableTables also writes through a Transaction. Neither keeps
// anything but the reference; a View's thread-safety is theirs. Find… gives nothing for a missing
// row, Get… the Status that a file system call would answer. Any of them may fail with kIo or
// kCorruption.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/keys.h"
#include "metaserver/namespace/records.h"
#include "metaserver/namespace/view.h"

namespace tercet {

class Tables {
 public:
  /// `view` must outlive this object.
  explicit Tables(const View& view) : view_(view) {}

  const View& view() const { return view_; }

  // ---- cluster and counters ----

  /// 16 bytes. kFailedPrecondition when the state was never formatted.
  Result<std::string> GetClusterId() const;
  /// Nothing when the state was never formatted.
  Result<std::optional<uint64_t>> FindFormatVersion() const;
  /// Nanoseconds since 1970 that no time set by a metaserver is above; 0 when there is no row.
  Result<int64_t> GetTimeFloor() const;
  /// 0 when there is no row.
  Result<uint64_t> GetCounter(Counter counter) const;
  /// The defaults when there is no row.
  Result<LimitsRecord> GetLimits() const;
  /// kNone when there is no row.
  Result<BalanceRecord> GetBalance() const;
  /// Nothing when the state was never restored from a backup.
  Result<std::optional<RestoresRecord>> FindRestores() const;

  // ---- files ----

  Result<std::optional<InodeRecord>> FindInode(InodeId inode) const;
  /// kStaleHandle when there is no such inode.
  Result<InodeRecord> GetInode(InodeId inode) const;
  Result<std::optional<DentryRecord>> FindDentry(InodeId parent, std::string_view name) const;
  Result<std::optional<XattrRecord>> FindXattr(InodeId inode, std::string_view name) const;
  Result<std::optional<FileBlockRecord>> FindFileBlock(InodeId inode, uint64_t index) const;
  Result<std::optional<BlockOwnerRecord>> FindBlockOwner(BlockId block) const;
  Result<std::optional<OrphanRecord>> FindOrphan(InodeId inode) const;
  Result<std::optional<TruncationRecord>> FindTruncation(InodeId inode) const;

  // The functions below call `row` in key order until it returns false.

  using DentryFunction = std::function<bool(std::string_view name, const DentryRecord&)>;
  Status ScanDentries(InodeId parent, std::string_view after_name, const DentryFunction& row) const;
  using XattrFunction = std::function<bool(std::string_view name, const XattrRecord&)>;
  Status ScanXattrs(InodeId inode, const XattrFunction& row) const;
  using FileBlockFunction = std::function<bool(uint64_t index, const FileBlockRecord&)>;
  /// Indexes in [first, end), dead and reserved blocks included.
  Status ScanFileBlocks(InodeId inode, uint64_t first, uint64_t end,
                        const FileBlockFunction& row) const;
  Result<std::optional<PolicyWalkRecord>> FindPolicyWalk(InodeId inode) const;
  using PolicyWalkFunction = std::function<bool(InodeId inode, const PolicyWalkRecord&)>;
  /// From inode `first` on.
  Status ScanPolicyWalks(InodeId first, const PolicyWalkFunction& row) const;
  Result<std::optional<TrashRecord>> FindTrash(int64_t expires_ns, InodeId inode) const;
  using TrashFunction = std::function<bool(int64_t expires_ns, InodeId inode, const TrashRecord&)>;
  /// In the order of expiry, then inode; from (expires_ns, inode) on.
  Status ScanTrash(int64_t expires_ns, InodeId inode, const TrashFunction& row) const;

  using OrphanFunction = std::function<bool(InodeId inode, const OrphanRecord&)>;
  /// From inode `first` on.
  Status ScanOrphans(InodeId first, const OrphanFunction& row) const;
  using TruncationFunction = std::function<bool(InodeId inode, const TruncationRecord&)>;
  /// From inode `first` on.
  Status ScanTruncations(InodeId first, const TruncationFunction& row) const;

  // ---- replicas and servers ----

  Result<std::optional<ReplicaRecord>> FindReplica(ServerId server, BlockId block) const;
  using ReplicaFunction = std::function<bool(BlockId block, const ReplicaRecord&)>;
  /// The committed blocks placed on `server` with first <= block id < end.
  Status ScanReplicas(ServerId server, BlockId first, BlockId end,
                      const ReplicaFunction& row) const;

  using AllReplicasFunction =
      std::function<bool(ServerId server, BlockId block, const ReplicaRecord&)>;
  /// All replicas of all servers, by server, then block.
  Status ScanAllReplicas(const AllReplicasFunction& row) const;

  Result<std::optional<DeleteTaskRecord>> FindDeleteTask(ServerId server, BlockId block) const;
  using DeleteTaskFunction = std::function<bool(BlockId block, const DeleteTaskRecord&)>;
  /// The server's deletions that it has not confirmed, from block id `first` on.
  Status ScanDeleteTasks(ServerId server, BlockId first, const DeleteTaskFunction& row) const;

  Result<std::optional<RepairRecord>> FindRepair(BlockId block) const;
  using RepairFunction = std::function<bool(BlockId block, const RepairRecord&)>;
  /// From block `first` on.
  Status ScanRepairs(BlockId first, const RepairFunction& row) const;

  Result<std::optional<ServerRecord>> FindServer(ServerId server) const;
  Result<std::optional<ServerId>> FindServerByUuid(std::string_view uuid) const;
  using ServerFunction = std::function<bool(ServerId server, const ServerRecord&)>;
  Status ScanServers(const ServerFunction& row) const;
  Result<std::optional<DiskRecord>> FindDisk(ServerId server, std::string_view disk_uuid) const;
  using DiskFunction =
      std::function<bool(ServerId server, std::string_view disk_uuid, const DiskRecord&)>;
  /// The disks that are not in service, of one server or of all.
  Status ScanDisks(ServerId server, const DiskFunction& row) const;
  Status ScanAllDisks(const DiskFunction& row) const;

  /// Rule 0 is the empty one. kCorruption when there is no such rule.
  Result<PlacementRule> GetPlacementRule(uint32_t rule) const;
  using PlacementRuleFunction = std::function<bool(uint32_t rule, const PlacementRule&)>;
  Status ScanPlacementRules(const PlacementRuleFunction& row) const;

  // ---- sessions ----

  /// A session that is `closing` is returned too.
  Result<std::optional<SessionRecord>> FindSession(SessionId session) const;
  /// The session exists and is not closing.
  Result<bool> IsSessionOpen(SessionId session) const;
  Result<std::optional<SessionId>> FindSessionByUuid(std::string_view uuid) const;
  using SessionFunction = std::function<bool(SessionId session, const SessionRecord&)>;
  Status ScanSessions(const SessionFunction& row) const;
  Result<std::optional<SlotReplyRecord>> FindSlotReply(SessionId session, uint32_t slot) const;
  using SlotFunction = std::function<bool(uint32_t slot, const SlotReplyRecord&)>;
  Status ScanSlotReplies(SessionId session, const SlotFunction& row) const;

 private:
  const View& view_;
};

class MutableTables final : public Tables {
 public:
  /// `transaction` must outlive this object.
  explicit MutableTables(Transaction& transaction)
      : Tables(transaction), transaction_(transaction) {}

  void PutClusterId(std::string_view cluster_id);
  void PutFormatVersion(uint64_t version);
  void PutTimeFloor(int64_t floor_ns);
  void PutCounter(Counter counter, uint64_t value);
  /// Adds `delta`; kInternal when the counter would fall below 0.
  Status AddToCounter(Counter counter, int64_t delta);
  /// The value of a kNext… counter (at least 1), which then grows by one: ids are never reused.
  Result<uint64_t> TakeNextId(Counter counter);

  void PutInode(InodeId inode, const InodeRecord& record);
  void DeleteInode(InodeId inode);
  void PutDentry(InodeId parent, std::string_view name, const DentryRecord& record);
  void DeleteDentry(InodeId parent, std::string_view name);
  void PutXattr(InodeId inode, std::string_view name, const XattrRecord& record);
  void DeleteXattr(InodeId inode, std::string_view name);
  void PutFileBlock(InodeId inode, uint64_t index, const FileBlockRecord& record);
  void DeleteFileBlock(InodeId inode, uint64_t index);
  void PutBlockOwner(BlockId block, const BlockOwnerRecord& record);
  void DeleteBlockOwner(BlockId block);
  void PutOrphan(InodeId inode, const OrphanRecord& record);
  void DeleteOrphan(InodeId inode);
  void PutTruncation(InodeId inode, const TruncationRecord& record);
  void DeleteTruncation(InodeId inode);
  void PutReplica(ServerId server, BlockId block, const ReplicaRecord& record);
  void DeleteReplica(ServerId server, BlockId block);
  void PutDeleteTask(ServerId server, BlockId block, const DeleteTaskRecord& record);
  void DeleteDeleteTask(ServerId server, BlockId block);
  void PutRepair(BlockId block, const RepairRecord& record);
  void DeleteRepair(BlockId block);
  void PutPolicyWalk(InodeId inode, const PolicyWalkRecord& record);
  void DeletePolicyWalk(InodeId inode);
  void PutTrash(int64_t expires_ns, InodeId inode, const TrashRecord& record);
  void DeleteTrash(int64_t expires_ns, InodeId inode);
  void PutDisk(ServerId server, std::string_view disk_uuid, const DiskRecord& record);
  void DeleteDisk(ServerId server, std::string_view disk_uuid);
  void PutPlacementRule(uint32_t rule, const PlacementRule& record);
  void PutLimits(const LimitsRecord& record);
  void PutBalance(const BalanceRecord& record);
  void PutRestores(const RestoresRecord& record);
  void PutServer(ServerId server, const ServerRecord& record);
  void PutServerByUuid(std::string_view uuid, ServerId server);
  void PutSession(SessionId session, const SessionRecord& record);
  void DeleteSession(SessionId session);
  void PutSessionByUuid(std::string_view uuid, SessionId session);
  void DeleteSessionByUuid(std::string_view uuid);
  void PutSlotReply(SessionId session, uint32_t slot, const SlotReplyRecord& record);
  void DeleteSlotReply(SessionId session, uint32_t slot);

 private:
  Transaction& transaction_;
};

}  // namespace tercet
