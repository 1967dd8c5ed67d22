// Thousands of random operations on the tree, each compared with a simple model of a POSIX file
// system.
#include <map>
#include <random>
#include <set>

#include "metaserver/ops/paths.h"
#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

using Type = wire::FileType;

// What POSIX says, written down as plainly as possible.
class Model {
 public:
  struct Node {
    Type::type type = Type::REGULAR;
    std::map<std::string, int64_t> entries;
    bool removed = false;  // directories
    int names = 0;         // others
    int retention = 0;     // inherited
    bool trashed = false;
    std::map<std::string, std::string> xattrs;
  };

  Model() { nodes[kRoot].type = Type::DIRECTORY; }

  StatusCode CheckParent(int64_t parent, bool for_new_entry) const {
    auto node = nodes.find(parent);
    if (node == nodes.end()) return StatusCode::kStaleHandle;
    if (node->second.type != Type::DIRECTORY) return StatusCode::kNotDirectory;
    if (for_new_entry && node->second.removed) return StatusCode::kNotFound;
    return StatusCode::kOk;
  }

  int64_t Child(int64_t parent, const std::string& name) const {
    const auto& entries = nodes.at(parent).entries;
    auto entry = entries.find(name);
    return entry == entries.end() ? 0 : entry->second;
  }

  bool IsDirectory(int64_t id) const { return id != 0 && nodes.at(id).type == Type::DIRECTORY; }

  StatusCode CheckMake(int64_t parent, const std::string& name) const {
    if (StatusCode code = CheckParent(parent, true); code != StatusCode::kOk) return code;
    return Child(parent, name) != 0 ? StatusCode::kExists : StatusCode::kOk;
  }

  void Make(int64_t parent, const std::string& name, int64_t id, Type::type type) {
    nodes[parent].entries[name] = id;
    nodes[id].type = type;
    nodes[id].names = 1;
    nodes[id].retention = nodes[parent].retention;
  }

  StatusCode Link(int64_t id, int64_t parent, const std::string& name) {
    if (StatusCode code = CheckMake(parent, name); code != StatusCode::kOk) return code;
    auto node = nodes.find(id);
    if (node == nodes.end()) return StatusCode::kStaleHandle;
    if (node->second.type == Type::DIRECTORY) return StatusCode::kNotPermitted;
    if (node->second.names == 0) return StatusCode::kNotFound;
    ++node->second.names;
    nodes[parent].entries[name] = id;
    return StatusCode::kOk;
  }

  StatusCode Unlink(int64_t parent, const std::string& name) {
    if (StatusCode code = CheckParent(parent, false); code != StatusCode::kOk) return code;
    const int64_t id = Child(parent, name);
    if (id == 0) return StatusCode::kNotFound;
    if (IsDirectory(id)) return StatusCode::kIsDirectory;
    Drop(id);
    nodes[parent].entries.erase(name);
    return StatusCode::kOk;
  }

  StatusCode RemoveDirectory(int64_t parent, const std::string& name) {
    if (StatusCode code = CheckParent(parent, false); code != StatusCode::kOk) return code;
    const int64_t id = Child(parent, name);
    if (id == 0) return StatusCode::kNotFound;
    if (!IsDirectory(id)) return StatusCode::kNotDirectory;
    if (!nodes[id].entries.empty()) return StatusCode::kNotEmpty;
    Drop(id);
    nodes[parent].entries.erase(name);
    return StatusCode::kOk;
  }

  // Whether `id` is `root` or somewhere below it.
  bool Contains(int64_t root, int64_t id) const {
    if (root == id) return true;
    for (const auto& [name, child] : nodes.at(root).entries) {
      if (IsDirectory(child) && Contains(child, id)) return true;
    }
    return false;
  }

  StatusCode Rename(int64_t from, const std::string& name, int64_t to, const std::string& new_name,
                    bool no_replace, bool exchange) {
    if (StatusCode code = CheckParent(from, true); code != StatusCode::kOk) return code;
    if (StatusCode code = CheckParent(to, true); code != StatusCode::kOk) return code;
    const int64_t source = Child(from, name);
    const int64_t target = Child(to, new_name);
    if (source == 0) return StatusCode::kNotFound;
    if (no_replace && target != 0) return StatusCode::kExists;
    if (exchange && target == 0) return StatusCode::kNotFound;
    if (source == target) return StatusCode::kOk;
    if (IsDirectory(source) && Contains(source, to)) return StatusCode::kInvalidArgument;
    if (exchange) {
      if (IsDirectory(target) && Contains(target, from)) return StatusCode::kInvalidArgument;
      nodes[from].entries[name] = target;
      nodes[to].entries[new_name] = source;
      return StatusCode::kOk;
    }
    if (target != 0) {
      if (IsDirectory(source) && !IsDirectory(target)) return StatusCode::kNotDirectory;
      if (!IsDirectory(source) && IsDirectory(target)) return StatusCode::kIsDirectory;
      if (!nodes[target].entries.empty()) return StatusCode::kNotEmpty;
      Drop(target);
    }
    nodes[from].entries.erase(name);
    nodes[to].entries[new_name] = source;
    return StatusCode::kOk;
  }

  void Drop(int64_t id) {
    Node& node = nodes[id];
    if (node.type == Type::DIRECTORY) {
      node.removed = true;
    } else {
      --node.names;
      node.trashed = node.names == 0 && node.type == Type::REGULAR && node.retention > 0;
    }
  }

  // Everything that a path leads to below `id`, itself included.
  void SetRetention(int64_t id, int retention) {
    Node& node = nodes[id];
    if (node.type == Type::DIRECTORY || node.type == Type::REGULAR) node.retention = retention;
    for (const auto& [name, child] : node.entries) SetRetention(child, retention);
  }

  // A path of every inode that has one.
  void CollectPaths(int64_t id, const std::string& path,
                    std::map<int64_t, std::set<std::string>>* paths) const {
    (*paths)[id].insert(path.empty() ? "/" : path);
    for (const auto& [name, child] : nodes.at(id).entries) {
      CollectPaths(child, path + '/' + name, paths);
    }
  }

  bool IsOrphan(int64_t id) const {
    const Node& node = nodes.at(id);
    return node.type == Type::DIRECTORY ? node.removed : node.names == 0 && !node.trashed;
  }

  int32_t Links(int64_t id) const {
    const Node& node = nodes.at(id);
    if (node.type != Type::DIRECTORY) return node.names;
    if (node.removed) return 0;
    int32_t links = 2;
    for (const auto& [name, child] : node.entries) links += IsDirectory(child) ? 1 : 0;
    return links;
  }

  std::map<int64_t, Node> nodes;
};

class TreeWalkTest : public ReplicaTest, public testing::WithParamInterface<int> {
 protected:
  static constexpr int kSteps = 6000;
  // Few inodes and names, so that operations meet.
  static constexpr size_t kMaxNodes = 40;

  int64_t AnyInode() {
    if (Chance(3)) return static_cast<int64_t>(random_() % (last_inode_ + 2));
    auto node = model_.nodes.begin();
    std::advance(node, static_cast<ptrdiff_t>(random_() % model_.nodes.size()));
    return node->first;
  }
  int64_t AnyDirectory() {
    for (int tries = 0; tries < 20; ++tries) {
      const int64_t id = AnyInode();
      if (model_.nodes.contains(id) && model_.IsDirectory(id)) return id;
    }
    return kRoot;
  }
  std::string AnyName() { return std::string(1, static_cast<char>('a' + random_() % 5)); }
  bool Chance(int percent) { return static_cast<int>(random_() % 100) < percent; }

  void StepMake() {
    static constexpr Type::type kTypes[] = {Type::DIRECTORY, Type::DIRECTORY, Type::SYMLINK,
                                            Type::FIFO, Type::REGULAR};
    const Type::type type = kTypes[random_() % std::size(kTypes)];
    const int64_t parent = Chance(5) ? AnyInode() : AnyDirectory();
    const std::string name = AnyName();
    const StatusCode expected = model_.CheckMake(parent, name);
    auto made = Do(EvaluateMakeNode, NodeRequest(parent, name, type));
    ASSERT_EQ(made.code(), expected);
    if (made.ok()) Made(parent, name, made->attributes.inode, type);
  }

  void StepCreate() {
    const int64_t parent = Chance(5) ? AnyInode() : AnyDirectory();
    const std::string name = AnyName();
    const bool exclusive = Chance(50);
    StatusCode expected = model_.CheckMake(parent, name);
    int64_t existing = 0;
    if (expected == StatusCode::kExists && !exclusive) {
      existing = model_.Child(parent, name);
      if (model_.IsDirectory(existing)) expected = StatusCode::kIsDirectory;
      if (model_.nodes[existing].type == Type::REGULAR) expected = StatusCode::kOk;
    }
    auto created = TryCreate(parent, name, exclusive);
    ASSERT_EQ(created.code(), expected);
    if (!created.ok()) return;
    ASSERT_EQ(created->created, existing == 0);
    if (existing != 0) {
      ASSERT_EQ(created->attributes.inode, existing);
    } else {
      Made(parent, name, created->attributes.inode, Type::REGULAR);
    }
  }

  void Made(int64_t parent, const std::string& name, int64_t id, Type::type type) {
    ASSERT_GT(id, static_cast<int64_t>(last_inode_)) << "an inode number was given again";
    last_inode_ = static_cast<uint64_t>(id);
    model_.Make(parent, name, id, type);
  }

  void StepLink() {
    const int64_t inode = AnyInode();
    const int64_t parent = AnyDirectory();
    const std::string name = AnyName();
    const StatusCode expected = model_.Link(inode, parent, name);
    ASSERT_EQ(Link(inode, parent, name).code(), expected);
    linked_.insert(inode);
  }

  void StepRemove() {
    const int64_t parent = AnyDirectory();
    const std::string name = AnyName();
    if (Chance(50)) {
      const StatusCode expected = model_.Unlink(parent, name);
      ASSERT_EQ(Unlink(parent, name).code(), expected);
    } else {
      const StatusCode expected = model_.RemoveDirectory(parent, name);
      ASSERT_EQ(RemoveDirectory(parent, name).code(), expected);
    }
  }

  void StepRename() {
    const int64_t from = Chance(5) ? AnyInode() : AnyDirectory();
    const int64_t to = Chance(30) ? from : AnyDirectory();
    const std::string name = AnyName();
    const std::string new_name = AnyName();
    const RenameFlag flag = Chance(20)   ? RenameFlag::kNoReplace
                            : Chance(30) ? RenameFlag::kExchange
                                         : RenameFlag::kNone;
    const StatusCode expected = model_.Rename(
        from, name, to, new_name, flag == RenameFlag::kNoReplace, flag == RenameFlag::kExchange);
    ASSERT_EQ(Rename(from, name, to, new_name, flag).code(), expected)
        << from << "/" << name << " -> " << to << "/" << new_name;
  }

  void StepXattr() {
    const int64_t inode = AnyInode();
    const std::string name = "trusted." + AnyName();
    auto node = model_.nodes.find(inode);
    if (Chance(60)) {
      const std::string value(random_() % 10, 'v');
      const auto set = SetXattr(inode, name, value);
      ASSERT_EQ(set.ok(), node != model_.nodes.end());
      if (set.ok()) node->second.xattrs[name] = value;
      return;
    }
    wire::RemoveXattrRequest request;
    request.inode = inode;
    request.name = name;
    const auto removed = Do(EvaluateRemoveXattr, request);
    if (node == model_.nodes.end()) {
      ASSERT_EQ(removed.code(), StatusCode::kStaleHandle);
    } else {
      ASSERT_EQ(removed.code(),
                node->second.xattrs.erase(name) > 0 ? StatusCode::kOk : StatusCode::kNoAttribute);
    }
  }

  void StepReclaim() {
    const int64_t inode = AnyInode();
    auto reclaimed = Reclaim(inode);
    ASSERT_TRUE(reclaimed.ok()) << reclaimed.status().ToString();
    ASSERT_TRUE(reclaimed->done);
    if (model_.nodes.contains(inode) && model_.IsOrphan(inode)) model_.nodes.erase(inode);
  }

  void StepTrash() {
    const int64_t inode = AnyInode();
    auto node = model_.nodes.find(inode);
    const bool trashed = node != model_.nodes.end() && node->second.trashed;
    if (Chance(30)) {
      auto purged = PurgeTrash({inode});
      ASSERT_TRUE(purged.ok());
      ASSERT_EQ(*purged, trashed ? 1 : 0);
      if (trashed) node->second.trashed = false;
      return;
    }
    if (Chance(10)) {
      now_ns += 1'000'000'000;  // all that is in it is due
      ASSERT_TRUE(ExpireTrash().ok());
      for (auto& [id, other] : model_.nodes) other.trashed = false;
      return;
    }
    std::map<int64_t, std::set<std::string>> paths;
    model_.CollectPaths(kRoot, "", &paths);
    const int64_t parent = AnyDirectory();
    const std::string name = AnyName();
    if (!paths.contains(parent)) return;
    const std::string directory = *paths[parent].begin();
    auto restored = RestoreTrash(inode, directory + (directory == "/" ? "" : "/") + name);
    if (!trashed) {
      ASSERT_EQ(restored.code(), StatusCode::kNotFound);
    } else if (model_.Child(parent, name) != 0) {
      ASSERT_EQ(restored.code(), StatusCode::kExists);
    } else {
      ASSERT_TRUE(restored.ok()) << restored.status().ToString();
      node->second.trashed = false;
      node->second.names = 1;
      model_.nodes[parent].entries[name] = inode;
    }
  }

  // A change of policy, carried to the end. (What is renamed meanwhile: policy_walk_test.cc.)
  void StepPolicy() {
    std::map<int64_t, std::set<std::string>> paths;
    model_.CollectPaths(kRoot, "", &paths);
    const int64_t inode = AnyDirectory();
    if (!paths.contains(inode)) return;
    const int retention = static_cast<int>(random_() % 2);
    ASSERT_TRUE(SetRetention(*paths[inode].begin(), retention).ok());
    WalkPoliciesToTheEnd(1 + static_cast<int>(random_() % 10));
    model_.SetRetention(inode, retention);
  }

  void Step() {
    const uint64_t choice = random_() % 103;
    const bool full = model_.nodes.size() >= kMaxNodes;
    if (choice < 20 && !full) {
      StepMake();
    } else if (choice < 30 && !full) {
      StepCreate();
    } else if (choice < 40) {
      StepLink();
    } else if (choice < 60) {
      StepRemove();
    } else if (choice < 85) {
      StepRename();
    } else if (choice < 90) {
      StepXattr();
    } else if (choice < 96) {
      StepTrash();
    } else if (choice < 97) {
      StepPolicy();
    } else {
      StepReclaim();
    }
  }

  void CompareAll() {
    for (const auto& [id, node] : model_.nodes) {
      const wire::Attributes attributes = Attributes(id);
      ASSERT_EQ(attributes.type, node.type);
      ASSERT_EQ(attributes.nlink, model_.Links(id)) << "inode " << id;
      ASSERT_EQ(attributes.xattr_count, static_cast<int32_t>(node.xattrs.size()));
      for (const auto& [name, value] : node.xattrs) {
        wire::GetXattrRequest request;
        request.inode = id;
        request.name = name;
        auto got = GetXattr(view, request);
        ASSERT_TRUE(got.ok());
        ASSERT_EQ(got->value, value);
      }
      if (node.type != Type::DIRECTORY) continue;
      wire::ReadDirectoryRequest request;
      request.inode = id;
      auto listed = ReadDirectory(view, request);
      ASSERT_TRUE(listed.ok());
      std::map<std::string, int64_t> entries;
      for (const auto& entry : listed->entries) {
        entries[entry.name] = entry.inode;
        ASSERT_EQ(entry.attributes.inode, entry.inode);
        if (entry.type == Type::DIRECTORY) {
          ASSERT_EQ(InodeOf(entry.inode, ".."), id);
        }
      }
      ASSERT_EQ(entries, node.entries) << "directory " << id;
    }
    std::map<int64_t, std::set<std::string>> paths;
    model_.CollectPaths(kRoot, "", &paths);
    for (const auto& [id, node] : model_.nodes) {
      ASSERT_EQ(InodeRow(id).in_trash(), node.trashed) << "inode " << id;
      if (node.type == Type::REGULAR || node.type == Type::DIRECTORY) {
        ASSERT_EQ(InodeRow(id).trash_retention_s, static_cast<uint32_t>(node.retention));
      }
      const std::string path = *PathOf(view, Inode(id));
      // Of several names the one that is remembered may have gone.
      const bool known = path.starts_with('/');
      ASSERT_TRUE(known ? paths[id].contains(path) : !paths.contains(id) || linked_.contains(id))
          << "inode " << id << " is said to be " << path;
    }
    ASSERT_EQ(CounterValue(Counter::kInodeCount), model_.nodes.size());
    ASSERT_THAT(FindViolations(view), testing::IsEmpty());
  }

  std::mt19937_64 random_{static_cast<uint64_t>(GetParam())};
  Model model_;
  uint64_t last_inode_ = 1;
  std::set<int64_t> linked_;  // had more than one name at some time
};

TEST_P(TreeWalkTest, EveryAnswerIsThatOfTheModel) {
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE("seed " + std::to_string(GetParam()) + " step " + std::to_string(step));
    ASSERT_NO_FATAL_FAILURE(Step());
    if (step % 100 == 0) {
      ASSERT_NO_FATAL_FAILURE(CompareAll());
    }
  }
  ASSERT_NO_FATAL_FAILURE(CompareAll());
}

INSTANTIATE_TEST_SUITE_P(Seeds, TreeWalkTest, testing::Range(1, 6));

}  // namespace
}  // namespace tercet
