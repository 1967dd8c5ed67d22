#include "common/env/sim_disk.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace tercet {
namespace sim_disk_internal {

constexpr uint64_t kPageBytes = SimDisk::kPageBytes;

using Page = std::shared_ptr<std::string>;  // always kPageBytes long
using Pages = std::map<uint64_t, Page>;     // by index; a page that is not there is zeros

uint64_t PagesFor(uint64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes; }

/// A file or a folder: as processes see it now, and as it is on the platter.
struct Node {
  explicit Node(bool is_folder) : is_folder(is_folder) {}

  const bool is_folder;
  // A folder's names:
  std::map<std::string, std::shared_ptr<Node>> names;
  std::map<std::string, std::shared_ptr<Node>> durable_names;
  // A file's content:
  uint64_t size = 0;
  uint64_t durable_size = 0;
  uint64_t reserved_pages = 0;  // by Allocate: these count as used whether written or not
  Pages pages;
  Pages durable_pages;          // shares pages that are not in `unsynced` or `lost`
  std::set<uint64_t> unsynced;  // pages the next Sync writes
  std::set<uint64_t> lost;      // pages a failed Sync should have written
  uint64_t links = 0;
  uint64_t handles = 0;

  uint64_t UsedPages() const {
    uint64_t beyond =
        static_cast<uint64_t>(std::distance(pages.lower_bound(reserved_pages), pages.end()));
    return reserved_pages + beyond;
  }

  /// A page to write into: its own copy, marked unsynced.
  std::string& Dirty(uint64_t index) {
    Page& page = pages[index];
    if (page == nullptr) {
      page = std::make_shared<std::string>(kPageBytes, '\0');
    } else if (!unsynced.contains(index) && !lost.contains(index)) {
      page = std::make_shared<std::string>(*page);
    }
    unsynced.insert(index);
    lost.erase(index);
    return *page;
  }

  void Write(uint64_t offset, std::string_view data) {
    while (!data.empty()) {
      uint64_t within = offset % kPageBytes;
      size_t count = std::min<size_t>(data.size(), kPageBytes - within);
      std::memcpy(Dirty(offset / kPageBytes).data() + within, data.data(), count);
      data.remove_prefix(count);
      offset += count;
      size = std::max(size, offset);
    }
  }

  void Resize(uint64_t new_size) {
    if (new_size < size) {
      uint64_t keep = PagesFor(new_size);
      for (auto it = pages.lower_bound(keep); it != pages.end(); it = pages.erase(it)) {
        unsynced.insert(it->first);
        lost.erase(it->first);
      }
      if (new_size % kPageBytes != 0 && pages.contains(keep - 1)) {
        std::string& tail = Dirty(keep - 1);
        std::fill(tail.begin() + static_cast<ptrdiff_t>(new_size % kPageBytes), tail.end(), '\0');
      }
      reserved_pages = std::min(reserved_pages, keep);
    }
    size = new_size;
  }

  void SyncContent() {
    for (uint64_t index : unsynced) {
      auto it = pages.find(index);
      if (it == pages.end()) {
        durable_pages.erase(index);
      } else {
        durable_pages[index] = it->second;
      }
    }
    unsynced.clear();
    durable_size = size;
  }

  void LoseUnsynced() {
    lost.insert(unsynced.begin(), unsynced.end());
    unsynced.clear();
  }

  void Crash(Random& random);
};

/// The old page with some sectors, all or none of the new one.
Page CrashPage(const Page& before, const Page& after, Random& random) {
  enum { kDropped, kKept, kTorn };
  switch (random.Below(3)) {
    case kDropped:
      return before;
    case kKept:
      return after;
    default:
      break;
  }
  auto torn = before ? std::make_shared<std::string>(*before)
                     : std::make_shared<std::string>(kPageBytes, '\0');
  for (uint64_t at = 0; at < kPageBytes; at += SimDisk::kSectorBytes) {
    if (random.Below(2) == 0) continue;
    for (uint64_t i = at; i < at + SimDisk::kSectorBytes; ++i) {
      (*torn)[i] = after ? (*after)[i] : '\0';
    }
  }
  return torn;
}

Page FindPage(const Pages& pages, uint64_t index) {
  auto it = pages.find(index);
  return it == pages.end() ? nullptr : it->second;
}

void Node::Crash(Random& random) {
  if (size != durable_size) {
    uint64_t low = std::min(size, durable_size);
    uint64_t high = std::max(size, durable_size);
    switch (random.Below(3)) {
      case 0:
        break;
      case 1:
        durable_size = size;
        break;
      default:
        durable_size = low + random.Below(high - low + 1);
        break;
    }
  }
  std::set<uint64_t> undecided = unsynced;
  undecided.insert(lost.begin(), lost.end());
  for (uint64_t index : undecided) {
    Page page = CrashPage(FindPage(durable_pages, index), FindPage(pages, index), random);
    if (page == nullptr) {
      durable_pages.erase(index);
    } else {
      durable_pages[index] = page;
    }
  }
  // The content becomes what is on the platter; Resize cuts off what lies behind the end.
  pages = durable_pages;
  reserved_pages = std::min(reserved_pages, PagesFor(durable_size));
  size = UINT64_MAX;
  unsynced.clear();
  lost.clear();
  Resize(durable_size);
  SyncContent();
}

/// A create, rename or remove that SyncDirectory has not covered: names set (or, with null, taken
/// away) in folders, all together.
struct NameChange {
  struct Step {
    std::shared_ptr<Node> folder;
    std::string name;
    std::shared_ptr<Node> node;
  };
  std::vector<Step> steps;

  bool Touches(const std::set<Node*>& folders) const {
    return std::any_of(steps.begin(), steps.end(),
                       [&](const Step& step) { return folders.contains(step.folder.get()); });
  }
  void ApplyDurable() const {
    for (const Step& step : steps) {
      if (step.node == nullptr) {
        step.folder->durable_names.erase(step.name);
      } else {
        step.folder->durable_names[step.name] = step.node;
      }
    }
  }
};

class SimFile final : public File {
 public:
  SimFile(SimDisk& disk, std::shared_ptr<Node> node, std::string path, bool writable)
      : disk_(disk),
        node_(std::move(node)),
        path_(std::move(path)),
        writable_(writable),
        incarnation_(disk.incarnation_) {
    ++node_->handles;
  }
  ~SimFile() override {
    std::lock_guard lock(disk_.mutex_);
    if (incarnation_ != disk_.incarnation_) return;
    --node_->handles;
    disk_.Unlinked(*node_);
  }

  Result<size_t> ReadAt(uint64_t offset, std::span<char> out) const override {
    std::lock_guard lock(disk_.mutex_);
    RETURN_IF_ERROR(Check());
    if (offset >= node_->size) return size_t{0};
    size_t count = static_cast<size_t>(std::min<uint64_t>(out.size(), node_->size - offset));
    for (size_t done = 0; done < count;) {
      uint64_t within = (offset + done) % kPageBytes;
      size_t piece = std::min<size_t>(count - done, kPageBytes - within);
      Page page = FindPage(node_->pages, (offset + done) / kPageBytes);
      if (page == nullptr) {
        std::memset(out.data() + done, 0, piece);
      } else {
        std::memcpy(out.data() + done, page->data() + within, piece);
      }
      done += piece;
    }
    return count;
  }

  Status WriteAt(uint64_t offset, std::string_view data) override {
    iovec piece{const_cast<char*>(data.data()), data.size()};
    return WriteVectorAt(offset, {&piece, 1});
  }

  Status WriteVectorAt(uint64_t offset, std::span<const iovec> pieces) override {
    std::lock_guard lock(disk_.mutex_);
    RETURN_IF_ERROR(CheckWrite());
    uint64_t total = 0;
    for (const iovec& piece : pieces) total += piece.iov_len;
    if (total == 0) return Status::Ok();
    RETURN_IF_ERROR(disk_.Reserve(*node_, offset / kPageBytes, PagesFor(offset + total)));
    for (const iovec& piece : pieces) {
      node_->Write(offset, {static_cast<const char*>(piece.iov_base), piece.iov_len});
      offset += piece.iov_len;
    }
    return Status::Ok();
  }

  Status Sync() override {
    std::function<void(const std::string&)> hook;
    {
      std::lock_guard lock(disk_.mutex_);
      hook = disk_.sync_hook_;
    }
    if (hook) hook(path_);
    std::lock_guard lock(disk_.mutex_);
    RETURN_IF_ERROR(Check());
    if (Status status = disk_.CountChange(SimDisk::Change::kSync, path_); !status.ok()) {
      node_->LoseUnsynced();
      return status;
    }
    node_->SyncContent();
    return Status::Ok();
  }

  Status Truncate(uint64_t size) override {
    std::lock_guard lock(disk_.mutex_);
    RETURN_IF_ERROR(CheckWrite());
    uint64_t before = node_->UsedPages();
    node_->Resize(size);
    disk_.used_pages_ -= before - node_->UsedPages();
    return Status::Ok();
  }

  Status Allocate(uint64_t size) override {
    std::lock_guard lock(disk_.mutex_);
    RETURN_IF_ERROR(CheckWrite());
    RETURN_IF_ERROR(disk_.Reserve(*node_, 0, PagesFor(size)));
    node_->reserved_pages = std::max(node_->reserved_pages, PagesFor(size));
    if (size > node_->size) node_->Resize(size);
    return Status::Ok();
  }

  Result<uint64_t> Size() const override {
    std::lock_guard lock(disk_.mutex_);
    RETURN_IF_ERROR(Check());
    return node_->size;
  }

 private:
  // Both need the disk's mutex.
  Status Check() const {
    if (incarnation_ != disk_.incarnation_) {
      return Status(StatusCode::kIo, path_ + ": was open before the simulated crash");
    }
    return disk_.CheckAlive(path_);
  }
  Status CheckWrite() {
    RETURN_IF_ERROR(Check());
    if (!writable_) return Status(StatusCode::kInternal, path_ + ": opened for reading only");
    return disk_.CountChange(SimDisk::Change::kWrite, path_);
  }

  SimDisk& disk_;
  const std::shared_ptr<Node> node_;  // its fields are guarded by the disk's mutex
  const std::string path_;
  const bool writable_;
  const uint64_t incarnation_;
};

class SimFileSystem final : public DiskFileSystem {
 public:
  SimFileSystem(SimDisk& disk, std::string path)
      : disk_(disk), path_(std::move(path)), incarnation_(disk.incarnation_) {}

  Status Sync() override {
    std::lock_guard lock(disk_.mutex_);
    if (incarnation_ != disk_.incarnation_) {
      return Status(StatusCode::kIo, path_ + ": was open before the simulated crash");
    }
    return disk_.SyncTree(path_);
  }

 private:
  SimDisk& disk_;
  const std::string path_;
  const uint64_t incarnation_;
};

class SimLock final : public FileLock {
 public:
  SimLock(SimDisk& disk, std::string path)
      : disk_(disk), path_(std::move(path)), incarnation_(disk.incarnation_) {}
  ~SimLock() override {
    std::lock_guard lock(disk_.mutex_);
    if (incarnation_ == disk_.incarnation_) disk_.locked_.erase(path_);
  }

 private:
  SimDisk& disk_;
  const std::string path_;
  const uint64_t incarnation_;
};

}  // namespace sim_disk_internal

using sim_disk_internal::Page;
using sim_disk_internal::SimFile;
using sim_disk_internal::SimFileSystem;
using sim_disk_internal::SimLock;

namespace {

std::vector<std::string> Split(const std::string& path) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin < path.size();) {
    size_t end = std::min(path.find('/', begin), path.size());
    std::string part = path.substr(begin, end - begin);
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
    begin = end + 1;
  }
  return parts;
}

std::string Normal(const std::string& path) {
  std::string normal;
  for (const std::string& part : Split(path)) normal += "/" + part;
  return normal;
}

Status NotFound(const std::string& path) {
  return Status(StatusCode::kNotFound, path + ": No such file or directory");
}

}  // namespace

SimDisk::SimDisk() : root_(std::make_shared<Node>(true)) {}
SimDisk::~SimDisk() = default;

Status SimDisk::CheckAlive(const std::string& path) const {
  if (power_is_cut_) return Status(StatusCode::kIo, path + ": simulated power cut");
  if (failed_prefixes_.empty()) return Status::Ok();
  std::string normal = Normal(path) + "/";
  for (const std::string& prefix : failed_prefixes_) {
    if (normal.starts_with(prefix)) return Status(StatusCode::kIo, path + ": simulated dead disk");
  }
  return Status::Ok();
}

Status SimDisk::CountChange(Change change, const std::string& path) {
  if (power_cut_armed_) {
    if (power_cut_in_ == 0) {
      power_is_cut_ = true;
      return CheckAlive(path);
    }
    --power_cut_in_;
  }
  if (change == Change::kName) return Status::Ok();
  ++(change == Change::kWrite ? writes_ : syncs_);
  uint64_t& countdown = change == Change::kWrite ? fail_write_in_ : fail_sync_in_;
  if (countdown > 0 && --countdown == 0) {
    return Status(StatusCode::kIo, path + ": injected fault");
  }
  return Status::Ok();
}

Result<SimDisk::NodePtr> SimDisk::Find(const std::string& path) const {
  NodePtr node = root_;
  for (const std::string& part : Split(path)) {
    if (!node->is_folder) return Status(StatusCode::kNotDirectory, path + ": Not a directory");
    auto it = node->names.find(part);
    if (it == node->names.end()) return NotFound(path);
    node = it->second;
  }
  return node;
}

Result<SimDisk::NodePtr> SimDisk::FindParent(const std::string& path, std::string* name) const {
  std::vector<std::string> parts = Split(path);
  if (parts.empty()) return Status(StatusCode::kInvalidArgument, path + ": is the root");
  *name = parts.back();
  parts.pop_back();
  std::string parent;
  for (const std::string& part : parts) parent += "/" + part;
  ASSIGN_OR_RETURN(NodePtr folder, Find(parent));
  if (!folder->is_folder) return Status(StatusCode::kNotDirectory, path + ": Not a directory");
  return folder;
}

void SimDisk::ApplyLive(NameChange change) {
  for (const NameChange::Step& step : change.steps) {
    NodePtr& slot = step.folder->names[step.name];
    NodePtr old = slot;
    slot = step.node;
    if (step.node != nullptr) ++step.node->links;
    if (old != nullptr) {
      --old->links;
      Unlinked(*old);
    }
    if (step.node == nullptr) step.folder->names.erase(step.name);
  }
  pending_names_.push_back(std::move(change));
}

void SimDisk::Unlinked(Node& node) {
  if (node.is_folder || node.links > 0 || node.handles > 0) return;
  // The platter still has the content until the removed name is durable, but space is free at once.
  used_pages_ -= node.UsedPages();
}

Status SimDisk::Reserve(Node& node, uint64_t first_page, uint64_t last_page) {
  uint64_t begin = std::max(first_page, node.reserved_pages);
  if (begin >= last_page) return Status::Ok();
  auto there = std::distance(node.pages.lower_bound(begin), node.pages.lower_bound(last_page));
  uint64_t wanted = last_page - begin - static_cast<uint64_t>(there);
  if (wanted > 0 && used_pages_ + wanted > capacity_bytes_ / kPageBytes) {
    return Status(StatusCode::kNoSpace, "simulated disk: No space left on device");
  }
  used_pages_ += wanted;
  return Status::Ok();
}

Result<std::unique_ptr<File>> SimDisk::Open(const std::string& path, OpenMode mode) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(CheckAlive(path));
  std::string name;
  ASSIGN_OR_RETURN(NodePtr folder, FindParent(path, &name));
  auto it = folder->names.find(name);
  NodePtr node = it == folder->names.end() ? nullptr : it->second;
  bool creates = mode == OpenMode::kCreate || mode == OpenMode::kCreateExclusive;
  if (node != nullptr) {
    if (mode == OpenMode::kCreateExclusive) {
      return Status(StatusCode::kExists, path + ": File exists");
    }
    if (node->is_folder) return Status(StatusCode::kIsDirectory, path + ": Is a directory");
  } else {
    if (!creates) return NotFound(path);
    RETURN_IF_ERROR(CountChange(Change::kName, path));
    node = std::make_shared<Node>(false);
    ApplyLive(NameChange{{{folder, name, node}}});
  }
  return std::unique_ptr<File>(
      std::make_unique<SimFile>(*this, node, path, mode != OpenMode::kReadOnly));
}

Status SimDisk::Rename(const std::string& from, const std::string& to) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(CheckAlive(from));
  RETURN_IF_ERROR(CheckAlive(to));
  std::string from_name;
  std::string to_name;
  ASSIGN_OR_RETURN(NodePtr from_folder, FindParent(from, &from_name));
  ASSIGN_OR_RETURN(NodePtr to_folder, FindParent(to, &to_name));
  auto source = from_folder->names.find(from_name);
  if (source == from_folder->names.end()) return NotFound(from);
  NodePtr node = source->second;
  if (auto it = to_folder->names.find(to_name); it != to_folder->names.end()) {
    const Node& target = *it->second;
    if (it->second == node) return Status::Ok();
    if (target.is_folder && !node->is_folder) {
      return Status(StatusCode::kIsDirectory, to + ": Is a directory");
    }
    if (!target.is_folder && node->is_folder) {
      return Status(StatusCode::kNotDirectory, to + ": Not a directory");
    }
    if (!target.names.empty()) return Status(StatusCode::kNotEmpty, to + ": Directory not empty");
  }
  if (node->is_folder && (Normal(to) + "/").starts_with(Normal(from) + "/")) {
    return Status(StatusCode::kInvalidArgument, from + ": cannot be moved into itself");
  }
  RETURN_IF_ERROR(CountChange(Change::kName, from));
  ApplyLive(NameChange{{{to_folder, to_name, node}, {from_folder, from_name, nullptr}}});
  return Status::Ok();
}

Status SimDisk::Remove(const std::string& path) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(CheckAlive(path));
  std::string name;
  ASSIGN_OR_RETURN(NodePtr folder, FindParent(path, &name));
  auto it = folder->names.find(name);
  if (it == folder->names.end()) return NotFound(path);
  if (!it->second->names.empty()) {
    return Status(StatusCode::kNotEmpty, path + ": Directory not empty");
  }
  RETURN_IF_ERROR(CountChange(Change::kName, path));
  ApplyLive(NameChange{{{folder, name, nullptr}}});
  return Status::Ok();
}

Status SimDisk::MakeDirectories(const std::string& path) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(CheckAlive(path));
  NodePtr node = root_;
  for (const std::string& part : Split(path)) {
    auto it = node->names.find(part);
    if (it == node->names.end()) {
      RETURN_IF_ERROR(CountChange(Change::kName, path));
      NodePtr folder = std::make_shared<Node>(true);
      Node* parent = node.get();
      ApplyLive(NameChange{{{node, part, folder}}});
      MakeNamesDurable(parent);
      node = folder;
    } else {
      node = it->second;
      if (!node->is_folder) return Status(StatusCode::kNotDirectory, path + ": Not a directory");
    }
  }
  return Status::Ok();
}

Status SimDisk::SyncDirectory(const std::string& path) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(CheckAlive(path));
  ASSIGN_OR_RETURN(NodePtr folder, Find(path));
  if (!folder->is_folder) return Status(StatusCode::kNotDirectory, path + ": Not a directory");
  RETURN_IF_ERROR(CountChange(Change::kSync, path));
  MakeNamesDurable(folder.get());
  return Status::Ok();
}

void SimDisk::MakeNamesDurable(Node* folder) {
  // A change that spans two folders brings along what was changed before it in the other: else a
  // later crash could replay that older change over it.
  std::set<Node*> folders{folder};
  std::vector<bool> durable(pending_names_.size());
  for (size_t i = pending_names_.size(); i-- > 0;) {
    durable[i] = pending_names_[i].Touches(folders);
    if (!durable[i]) continue;
    for (const NameChange::Step& step : pending_names_[i].steps) folders.insert(step.folder.get());
  }
  std::vector<NameChange> rest;
  for (size_t i = 0; i < pending_names_.size(); ++i) {
    if (durable[i]) {
      pending_names_[i].ApplyDurable();
    } else {
      rest.push_back(std::move(pending_names_[i]));
    }
  }
  pending_names_ = std::move(rest);
}

Result<std::vector<std::string>> SimDisk::List(const std::string& path) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(CheckAlive(path));
  ASSIGN_OR_RETURN(NodePtr folder, Find(path));
  if (!folder->is_folder) return Status(StatusCode::kNotDirectory, path + ": Not a directory");
  std::vector<std::string> names;
  for (const auto& [name, node] : folder->names) names.push_back(name);
  return names;
}

Result<bool> SimDisk::Exists(const std::string& path) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(CheckAlive(path));
  Result<NodePtr> node = Find(path);
  if (node.ok()) return true;
  if (node.code() == StatusCode::kNotFound || node.code() == StatusCode::kNotDirectory)
    return false;
  return node.status();
}

Result<DiskSpace> SimDisk::Space(const std::string& path) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(CheckAlive(path));
  ASSIGN_OR_RETURN(NodePtr node, Find(path));
  constexpr uint64_t kUnlimited = uint64_t{1} << 50;
  uint64_t total = std::min(capacity_bytes_, kUnlimited);
  uint64_t used = used_pages_ * kPageBytes;
  return DiskSpace{.total_bytes = total, .available_bytes = total - std::min(total, used)};
}

Result<std::unique_ptr<DiskFileSystem>> SimDisk::OpenFileSystem(const std::string& path) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(CheckAlive(path));
  ASSIGN_OR_RETURN(NodePtr folder, Find(path));
  if (!folder->is_folder) return Status(StatusCode::kNotDirectory, path + ": Not a directory");
  return std::unique_ptr<DiskFileSystem>(std::make_unique<SimFileSystem>(*this, path));
}

Status SimDisk::SyncTree(const std::string& path) {
  RETURN_IF_ERROR(CheckAlive(path));
  ASSIGN_OR_RETURN(NodePtr top, Find(path));
  const Status counted = CountChange(Change::kSync, path);
  std::vector<Node*> folders{top.get()};
  while (!folders.empty()) {
    Node* folder = folders.back();
    folders.pop_back();
    if (counted.ok()) MakeNamesDurable(folder);
    for (auto& [name, node] : folder->names) {
      if (node->is_folder) {
        folders.push_back(node.get());
      } else if (counted.ok()) {
        node->SyncContent();
      } else {
        node->LoseUnsynced();
      }
    }
  }
  return counted;
}

Result<std::unique_ptr<FileLock>> SimDisk::Lock(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, Open(path, OpenMode::kCreate));
  std::lock_guard lock(mutex_);
  std::string normal = Normal(path);
  if (!locked_.insert(normal).second) {
    return Status(StatusCode::kBusy, "lock " + path + ": another process holds it");
  }
  return std::unique_ptr<FileLock>(std::make_unique<SimLock>(*this, normal));
}

void SimDisk::Crash(Random& random) {
  std::lock_guard lock(mutex_);
  ++incarnation_;
  locked_.clear();
  power_cut_armed_ = false;
  power_is_cut_ = false;
  for (const NameChange& change : pending_names_) {
    if (random.Below(2) == 0) change.ApplyDurable();
  }
  pending_names_.clear();
  std::set<Node*> seen;
  CrashTree(*root_, random, &seen);
  RecountSpace();
}

void SimDisk::CrashTree(Node& folder, Random& random, std::set<Node*>* seen) {
  if (!seen->insert(&folder).second) return;
  folder.names = folder.durable_names;
  for (auto& [name, node] : folder.names) {
    if (node->is_folder) {
      CrashTree(*node, random, seen);
    } else if (seen->insert(node.get()).second) {
      node->Crash(random);
    }
  }
}

void SimDisk::KillProcess() {
  std::lock_guard lock(mutex_);
  ++incarnation_;
  locked_.clear();
  RecountSpace();
}

void SimDisk::RecountSpace() {
  // Links and handles of everything reachable are counted anew; no file is open.
  std::vector<Node*> folders{root_.get()};
  std::map<Node*, uint64_t> links;
  while (!folders.empty()) {
    Node* folder = folders.back();
    folders.pop_back();
    for (auto& [name, node] : folder->names) {
      if (node->is_folder) {
        folders.push_back(node.get());
      } else {
        ++links[node.get()];
      }
    }
  }
  used_pages_ = 0;
  for (auto [node, count] : links) {
    node->links = count;
    node->handles = 0;
    used_pages_ += node->UsedPages();
  }
}

void SimDisk::FailWrite(uint64_t nth) {
  std::lock_guard lock(mutex_);
  fail_write_in_ = nth;
}

void SimDisk::FailSync(uint64_t nth) {
  std::lock_guard lock(mutex_);
  fail_sync_in_ = nth;
}

void SimDisk::FailPathsUnder(const std::string& prefix) {
  std::lock_guard lock(mutex_);
  failed_prefixes_.insert(Normal(prefix) + "/");
}

void SimDisk::ClearFailedPaths() {
  std::lock_guard lock(mutex_);
  failed_prefixes_.clear();
}

void SimDisk::CutPowerAfter(uint64_t count) {
  std::lock_guard lock(mutex_);
  power_cut_armed_ = true;
  power_cut_in_ = count;
}

bool SimDisk::power_is_cut() const {
  std::lock_guard lock(mutex_);
  return power_is_cut_;
}

void SimDisk::SetCapacity(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  capacity_bytes_ = bytes;
}

Status SimDisk::FlipByte(const std::string& path, uint64_t offset) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(NodePtr node, Find(path));
  if (node->is_folder || offset >= node->size) {
    return Status(StatusCode::kNotFound, path + ": has no byte " + std::to_string(offset));
  }
  uint64_t index = offset / kPageBytes;
  uint64_t used_before = node->UsedPages();
  for (auto* pages : {&node->pages, &node->durable_pages}) {
    Page& page = (*pages)[index];
    page = page ? std::make_shared<std::string>(*page)
                : std::make_shared<std::string>(kPageBytes, '\0');
    char& byte = (*page)[offset % kPageBytes];
    byte = static_cast<char>(~byte);
  }
  used_pages_ += node->UsedPages() - used_before;
  return Status::Ok();
}

void SimDisk::SetSyncHook(std::function<void(const std::string&)> hook) {
  std::lock_guard lock(mutex_);
  sync_hook_ = std::move(hook);
}

uint64_t SimDisk::write_count() const {
  std::lock_guard lock(mutex_);
  return writes_;
}

uint64_t SimDisk::sync_count() const {
  std::lock_guard lock(mutex_);
  return syncs_;
}

}  // namespace tercet
