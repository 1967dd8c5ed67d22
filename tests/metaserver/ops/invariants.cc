#include "tests/metaserver/ops/invariants.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/blocks.h"

namespace tercet {
namespace {

class Checker {
 public:
  explicit Checker(const View& view) : view_(view), tables_(view) {}

  std::vector<std::string> Run() {
    Load();
    if (!violations_.empty()) return std::move(violations_);
    CheckTree();
    CheckHints();
    CheckBlocks();
    CheckRepairs();
    CheckDeleteTasks();
    CheckMarks();
    CheckTrash();
    CheckPolicies();
    CheckXattrs();
    CheckIdentities();
    CheckCounters();
    return std::move(violations_);
  }

 private:
  struct Dentry {
    InodeId parent;
    std::string name;
    DentryRecord record;
  };
  struct FileBlock {
    InodeId inode;
    uint64_t index;
    FileBlockRecord record;
  };

  template <typename... Parts>
  void Expect(bool holds, const Parts&... parts) {
    if (holds) return;
    std::ostringstream out;
    (out << ... << parts);
    violations_.push_back(out.str());
  }

  template <typename Record>
  Record Decode(std::string_view value, const char* what) {
    Result<Record> record = Record::Decode(value);
    Expect(record.ok(), what, ": ", record.ok() ? "" : record.status().ToString());
    return record.ok() ? std::move(*record) : Record();
  }

  void Load() {
    const Status scanned = view_.Scan(std::string(1, '\1'), std::string(1, '\xff'),
                                      [&](std::string_view key, auto value) {
                                        std::optional<ParsedKey> parsed = ParseKey(key);
                                        Expect(parsed.has_value(), "a key is malformed");
                                        if (parsed) LoadRow(*parsed, value);
                                        return true;
                                      });
    Expect(scanned.ok(), scanned.ToString());
  }

  void LoadRow(const ParsedKey& key, std::string_view value) {
    const InodeId inode(key.first);
    switch (key.table) {
      case TableId::kInode:
        inodes_[inode] = Decode<InodeRecord>(value, "inode");
        break;
      case TableId::kDentry:
        dentries_.push_back({inode, std::string(key.name), Decode<DentryRecord>(value, "dentry")});
        break;
      case TableId::kXattr:
        ++xattrs_[inode];
        break;
      case TableId::kFileBlock:
        blocks_.push_back({inode, key.second, Decode<FileBlockRecord>(value, "file block")});
        break;
      case TableId::kBlockOwner:
        owners_[BlockId(key.first)] = Decode<BlockOwnerRecord>(value, "block owner");
        break;
      case TableId::kReplica:
        replicas_[{key.first, BlockId(key.second)}] =
            Decode<ReplicaRecord>(value, "replica").generation;
        break;
      case TableId::kOrphan:
        orphans_.insert(inode);
        break;
      case TableId::kTruncation:
        truncations_[inode] = Decode<TruncationRecord>(value, "truncation");
        break;
      case TableId::kDeleteTask:
        tasks_[BlockId(key.second)][ServerId(static_cast<uint32_t>(key.first))] =
            Decode<DeleteTaskRecord>(value, "delete task");
        break;
      case TableId::kRepair:
        repairs_[BlockId(key.first)] = Decode<RepairRecord>(value, "repair");
        break;
      case TableId::kPolicyWalk:
        Decode<PolicyWalkRecord>(value, "policy walk");
        walks_.insert(inode);
        break;
      case TableId::kTrash:
        trash_[InodeId(key.second)] = static_cast<int64_t>(key.first);
        Decode<TrashRecord>(value, "trash");
        break;
      case TableId::kPlacementRule:
        rules_.push_back(Decode<PlacementRule>(value, "placement rule"));
        rule_ids_.insert(static_cast<uint32_t>(key.first));
        break;
      case TableId::kDisk:
        Expect(Decode<DiskRecord>(value, "disk").state != DiskCommandState::kInService,
               "a disk in service has a row");
        disk_servers_.insert(key.first);
        break;
      case TableId::kSession:
        sessions_[key.first] = Decode<SessionRecord>(value, "session");
        break;
      case TableId::kSessionByUuid:
        session_uuids_[std::string(key.name)] = Decode<NumberRecord>(value, "session uuid").value;
        break;
      case TableId::kSlotReply:
        slot_sessions_.insert(key.first);
        break;
      case TableId::kServer:
        servers_[key.first] = Decode<ServerRecord>(value, "server");
        break;
      case TableId::kServerByUuid:
        server_uuids_[std::string(key.name)] = Decode<NumberRecord>(value, "server uuid").value;
        break;
      default:
        break;
    }
  }

  void CheckTree() {
    std::map<InodeId, uint32_t> names;
    std::map<InodeId, uint32_t> subdirectories;
    for (const Dentry& dentry : dentries_) {
      const InodeId child = dentry.record.inode;
      auto parent = inodes_.find(dentry.parent);
      auto inode = inodes_.find(child);
      Expect(parent != inodes_.end() && parent->second.is_directory() && parent->second.nlink > 0,
             "the entry ", dentry.name, " lies in ", dentry.parent, ", not a linked directory");
      Expect(inode != inodes_.end(), "the entry ", dentry.name, " names no inode");
      if (inode == inodes_.end()) continue;
      Expect(inode->second.type == dentry.record.type, "entry and inode ", child,
             " differ in type");
      ++names[child];
      if (!inode->second.is_directory()) continue;
      ++subdirectories[dentry.parent];
      Expect(inode->second.parent == dentry.parent, "directory ", child, " has the wrong parent");
    }
    for (const auto& [inode, record] : inodes_) {
      const uint32_t name_count = names[inode];
      if (!record.is_directory()) {
        Expect(record.nlink == name_count, "inode ", inode, " has nlink ", record.nlink, " and ",
               name_count, " names");
        continue;
      }
      const bool linked = inode == kRootInode || name_count == 1;
      Expect(name_count <= 1 && (inode != kRootInode || name_count == 0), "directory ", inode,
             " has ", name_count, " names");
      Expect(record.nlink == (linked ? 2 + subdirectories[inode] : 0), "directory ", inode,
             " has nlink ", record.nlink);
      if (linked) CheckPathToRoot(inode);
    }
  }

  void CheckPathToRoot(InodeId inode) {
    const InodeId start = inode;
    for (size_t steps = 0; inode != kRootInode; ++steps) {
      auto record = inodes_.find(inode);
      if (record == inodes_.end() || steps > inodes_.size()) {
        Expect(false, "directory ", start, " does not lead to the root");
        return;
      }
      inode = record->second.parent;
    }
  }

  void CheckBlocks() {
    size_t replica_rows = 0;
    std::map<InodeId, uint64_t> committed;
    for (const FileBlock& block : blocks_) {
      const BlockId id = block.record.block;
      auto inode = inodes_.find(block.inode);
      if (inode == inodes_.end() || !inode->second.is_regular()) {
        Expect(false, "block ", id, " belongs to ", block.inode, ", not a file");
        continue;
      }
      auto owner = owners_.find(id);
      Expect(owner != owners_.end() && owner->second.inode == block.inode &&
                 owner->second.index == block.index,
             "block ", id, " has no right owner row");
      if (block.record.reserved) continue;
      ++committed[block.inode];
      replica_rows += block.record.chain.size();
      for (ServerId server : block.record.chain) {
        auto replica = replicas_.find({server.value(), id});
        Expect(replica != replicas_.end() && replica->second == block.record.generation, "block ",
               id, " has no right replica row for server ", server);
      }
      auto truncation = truncations_.find(block.inode);
      const bool dead =
          truncation != truncations_.end() && truncation->second.IsDead(block.index, id);
      if (dead) {
        Expect(block.index >= truncation->second.next_index, "dead block ", id, " was passed by");
      } else {
        Expect(
            block.index < BlockIndexEnd(inode->second.size_bytes, inode->second.block_size_bytes),
            "block ", id, " lies behind the end of inode ", block.inode);
      }
    }
    Expect(owners_.size() == blocks_.size(), "there are owner rows without blocks");
    Expect(replicas_.size() == replica_rows, "there are replica rows without blocks");
    for (const auto& [inode, record] : inodes_) {
      Expect(record.block_count == committed[inode], "inode ", inode, " has block_count ",
             record.block_count, " and ", committed[inode], " committed blocks");
      committed_total_ += committed[inode];
    }
  }

  // What a name hint says is so.
  void CheckHints() {
    std::map<std::pair<InodeId, std::string>, InodeId> names;
    for (const Dentry& dentry : dentries_)
      names[{dentry.parent, dentry.name}] = dentry.record.inode;
    for (const auto& [inode, record] : inodes_) {
      if (!record.is_directory()) {
        Expect((record.parent == InodeId()) == record.name_hint.empty(), "inode ", inode,
               " has half a name hint");
      }
      if (record.name_hint.empty()) continue;
      auto name = names.find({record.parent, record.name_hint});
      Expect(name != names.end() && name->second == inode, "inode ", inode, " is not ",
             record.name_hint, " in ", record.parent);
    }
  }

  bool IsDead(const FileBlock& block) const {
    auto truncation = truncations_.find(block.inode);
    return truncation != truncations_.end() &&
           truncation->second.IsDead(block.index, block.record.block);
  }

  static bool Has(const std::vector<ServerId>& servers, ServerId server) {
    return std::find(servers.begin(), servers.end(), server) != servers.end();
  }

  void CheckRepairs() {
    std::map<BlockId, const FileBlock*> blocks;
    for (const FileBlock& block : blocks_) blocks[block.record.block] = &block;
    for (const auto& [id, repair] : repairs_) {
      auto found = blocks.find(id);
      Expect(found != blocks.end(), "the repair row of ", id, " is of no block");
      if (found == blocks.end()) continue;
      const FileBlockRecord& block = found->second->record;
      Expect(repair.reasons != 0, "the repair row of ", id, " has no reason");
      Expect(((repair.reasons & kRepairBad) != 0) == !repair.bad.empty(), "the bad replicas of ",
             id, " and its reasons disagree");
      Expect(((repair.reasons & kRepairSealing) != 0) == (repair.sealing.value() != 0),
             "the sealing of ", id, " and its reasons disagree");
      Expect(repair.sealing.value() == 0 || repair.sealing > block.generation, "block ", id,
             " has reached the generation of its attempt");
      Expect(repair.targets.empty() || repair.sealing.value() != 0, "block ", id,
             " has targets without an attempt");
      for (const RepairRecord::Bad& bad : repair.bad) {
        Expect(Has(block.chain, bad.server), "a bad replica of ", id, " is not in the chain");
      }
      for (ServerId server : repair.targets) {
        Expect(!Has(block.chain, server), "a target of ", id, " is in the chain");
      }
    }
    for (const FileBlock& block : blocks_) CheckReplicaCount(block);
  }

  // A block has the repair row that its number of replicas calls for, but for what a change of
  // policy has not come to yet, and what is cut off.
  void CheckReplicaCount(const FileBlock& block) {
    if (IsDead(block) || walks_.contains(block.inode)) return;
    auto inode = inodes_.find(block.inode);
    if (inode == inodes_.end()) return;
    const BlockId id = block.record.block;
    auto repair = repairs_.find(id);
    const uint8_t reasons = repair == repairs_.end() ? 0 : repair->second.reasons;
    const bool counts = !block.record.reserved;
    const size_t replicas = block.record.chain.size();
    const size_t wanted = inode->second.replicas;
    Expect(((reasons & kRepairShort) != 0) == (counts && replicas < wanted), "block ", id, " has ",
           replicas, " of ", wanted, " replicas, and its repair row does not say so");
    Expect(((reasons & kRepairSurplus) != 0) == (counts && replicas > wanted), "block ", id,
           " has ", replicas, " of ", wanted, " replicas, and its repair row does not say so");
    const bool sealing = (reasons & kRepairSealing) != 0;
    Expect(block.record.stale.empty() || replicas < wanted || sealing, "block ", id,
           " has all replicas and holds stale ones");
  }

  void CheckDeleteTasks() {
    std::map<BlockId, const FileBlock*> blocks;
    for (const FileBlock& block : blocks_) {
      blocks[block.record.block] = &block;
      for (ServerId server : block.record.stale) {
        auto task = tasks_[block.record.block].find(server);
        Expect(task != tasks_[block.record.block].end() && task->second.hold, "stale server ",
               server, " of block ", block.record.block, " has no held task");
        Expect(!Has(block.record.chain, server), "stale server ", server, " of block ",
               block.record.block, " is in its chain");
      }
    }
    for (const auto& [id, servers] : tasks_) {
      auto found = blocks.find(id);
      for (const auto& [server, task] : servers) {
        if (found == blocks.end()) {
          Expect(!task.hold, "a deletion of ", id, ", which is gone, is held");
          continue;
        }
        const FileBlockRecord& block = found->second->record;
        auto repair = repairs_.find(id);
        const Generation highest = repair == repairs_.end()
                                       ? block.generation
                                       : std::max(block.generation, repair->second.sealing);
        Expect(!Has(block.chain, server), "block ", id, " is to be deleted and in use at ", server);
        Expect(!task.hold || Has(block.stale, server), "a held deletion of ", id,
               " is not in its list of stale ones");
        Expect(task.generation <= highest, "a deletion of ", id, " goes beyond its generations");
      }
    }
  }

  void CheckTrash() {
    for (const auto& [inode, expires_ns] : trash_) {
      auto record = inodes_.find(inode);
      Expect(record != inodes_.end() && record->second.trash_expires_ns == expires_ns, "trash row ",
             expires_ns, " of inode ", inode, " and the inode disagree");
    }
    for (const auto& [inode, record] : inodes_) {
      if (!record.in_trash()) continue;
      Expect(trash_.contains(inode), "inode ", inode, " is in the trash without a row");
      Expect(record.is_regular() && record.nlink == 0, "inode ", inode,
             " does not belong in the trash");
    }
  }

  void CheckPolicies() {
    for (const auto& [inode, record] : inodes_) {
      Expect(record.rule_id == 0 || rule_ids_.contains(record.rule_id), "inode ", inode,
             " has a rule that is not there");
    }
    for (size_t i = 0; i < rules_.size(); ++i) {
      Expect(!rules_[i].empty(), "the empty rule has a row");
      for (size_t j = 0; j < i; ++j) Expect(!(rules_[i] == rules_[j]), "a rule is there twice");
    }
    for (uint64_t server : disk_servers_) {
      Expect(servers_.contains(server), "a disk is of an unknown server");
    }
  }

  void CheckMarks() {
    for (const auto& [inode, record] : inodes_) {
      Expect((record.nlink == 0) == (orphans_.contains(inode) != record.in_trash()) &&
                 !(orphans_.contains(inode) && record.in_trash()),
             "inode ", inode, " with nlink ", record.nlink,
             " and its orphan or trash row disagree");
      Expect(record.truncation_pending == truncations_.contains(inode), "inode ", inode,
             " and its truncation row disagree");
    }
    for (InodeId inode : orphans_) {
      Expect(inodes_.contains(inode), "orphan ", inode, " has no inode");
    }
    for (const auto& [inode, record] : truncations_) {
      Expect(inodes_.contains(inode), "truncation of ", inode, " has no inode");
    }
  }

  void CheckXattrs() {
    for (const auto& [inode, record] : inodes_) {
      const uint32_t count = xattrs_.contains(inode) ? xattrs_[inode] : 0;
      Expect(record.xattr_count == count, "inode ", inode, " has xattr_count ", record.xattr_count,
             " and ", count, " attributes");
    }
    for (const auto& [inode, count] : xattrs_) {
      Expect(inodes_.contains(inode), "attributes of ", inode, " have no inode");
    }
  }

  void CheckIdentities() {
    size_t open = 0;
    for (const auto& [session, record] : sessions_) {
      if (record.closing) continue;
      ++open;
      auto uuid = session_uuids_.find(record.client_uuid);
      Expect(uuid != session_uuids_.end() && uuid->second == session, "session ", session,
             " is not found by its uuid");
    }
    Expect(open == session_uuids_.size(), "there are session uuids without an open session");
    for (uint64_t session : slot_sessions_) {
      Expect(sessions_.contains(session), "slot replies of session ", session, " are left over");
    }
    for (const auto& [server, record] : servers_) {
      auto uuid = server_uuids_.find(record.uuid);
      Expect(uuid != server_uuids_.end() && uuid->second == server, "server ", server,
             " is not found by its uuid");
    }
    Expect(servers_.size() == server_uuids_.size(), "there are server uuids without a server");
  }

  uint64_t CounterValue(Counter counter) {
    Result<uint64_t> value = tables_.GetCounter(counter);
    Expect(value.ok(), "a counter cannot be read");
    return value.ok() ? *value : 0;
  }

  void CheckCounters() {
    Expect(CounterValue(Counter::kInodeCount) == inodes_.size(), "the inode count is wrong");
    Expect(CounterValue(Counter::kOrphanCount) == orphans_.size(), "the orphan count is wrong");
    Expect(CounterValue(Counter::kTrashCount) == trash_.size(), "the trash count is wrong");
    Expect(CounterValue(Counter::kBlockCount) == committed_total_, "the block count is wrong");
    Expect(inodes_.empty() || inodes_.rbegin()->first.value() < CounterValue(Counter::kNextInode),
           "an inode id would be given again");
    Expect(owners_.empty() || owners_.rbegin()->first.value() < CounterValue(Counter::kNextBlock),
           "a block id would be given again");
    Expect(tasks_.empty() || tasks_.rbegin()->first.value() < CounterValue(Counter::kNextBlock),
           "a deleted block's id would be given again");
    Expect(sessions_.empty() || sessions_.rbegin()->first < CounterValue(Counter::kNextSession),
           "a session id would be given again");
  }

  const View& view_;
  const Tables tables_;
  std::vector<std::string> violations_;
  std::map<InodeId, InodeRecord> inodes_;
  std::vector<Dentry> dentries_;
  std::map<InodeId, uint32_t> xattrs_;
  std::vector<FileBlock> blocks_;
  std::map<BlockId, BlockOwnerRecord> owners_;
  std::map<std::pair<uint64_t, BlockId>, Generation> replicas_;
  std::set<InodeId> orphans_;
  std::map<InodeId, TruncationRecord> truncations_;
  std::map<BlockId, std::map<ServerId, DeleteTaskRecord>> tasks_;
  std::map<BlockId, RepairRecord> repairs_;
  std::set<InodeId> walks_;
  std::map<InodeId, int64_t> trash_;
  std::vector<PlacementRule> rules_;
  std::set<uint32_t> rule_ids_;
  std::set<uint64_t> disk_servers_;
  std::map<uint64_t, SessionRecord> sessions_;
  std::map<std::string, uint64_t> session_uuids_;
  std::set<uint64_t> slot_sessions_;
  std::map<uint64_t, ServerRecord> servers_;
  std::map<std::string, uint64_t> server_uuids_;
  uint64_t committed_total_ = 0;
};

}  // namespace

std::vector<std::string> FindViolations(const View& view) { return Checker(view).Run(); }

}  // namespace tercet
