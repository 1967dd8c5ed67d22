#include "tests/metaserver/ops/invariants.h"

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
    CheckBlocks();
    CheckMarks();
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
        tasks_.insert(BlockId(key.second));
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
      Expect(!tasks_.contains(id), "block ", id, " is to be deleted and in use");
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

  void CheckMarks() {
    for (const auto& [inode, record] : inodes_) {
      Expect((record.nlink == 0) == orphans_.contains(inode), "inode ", inode, " with nlink ",
             record.nlink, " and its orphan row disagree");
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
    Expect(CounterValue(Counter::kBlockCount) == committed_total_, "the block count is wrong");
    Expect(inodes_.empty() || inodes_.rbegin()->first.value() < CounterValue(Counter::kNextInode),
           "an inode id would be given again");
    Expect(owners_.empty() || owners_.rbegin()->first.value() < CounterValue(Counter::kNextBlock),
           "a block id would be given again");
    Expect(tasks_.empty() || tasks_.rbegin()->value() < CounterValue(Counter::kNextBlock),
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
  std::set<BlockId> tasks_;
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
