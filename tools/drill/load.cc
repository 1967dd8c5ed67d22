#include "tools/drill/load.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "common/base/version.h"
#include "common/env/random.h"
#include "tools/drill/load_verify.h"

namespace tercet {
namespace {

constexpr size_t kMaxFiles = 48;  // of one thread at a time
constexpr size_t kMinFiles = 8;
constexpr uint64_t kMaxDataBytes = 24 << 10;
constexpr size_t kMaxFindings = 10;
constexpr uint32_t kModeBits = 0777;

}  // namespace

std::string DrillPattern(uint64_t seed, size_t size_bytes) {
  std::mt19937_64 random(seed);
  std::string data(size_bytes, '\0');
  for (char& byte : data) byte = static_cast<char>(random());
  return data;
}

/// One thread of the load.
struct DrillLoad::Worker {
  Worker(DrillLoad* the_load, size_t the_index)
      : load(the_load), index(the_index), random(SystemRandom().Next()) {}

  DrillLoad* const load;  // owns this
  const size_t index;
  PauseLog log;
  std::atomic<uint64_t> operations{0};
  std::atomic<uint64_t> errors{0};
  std::atomic<uint64_t> wrong{0};
  // The thread's until it ended.
  InodeId home;
  Ledger ledger;
  std::string removed;  // a name that was there
  uint64_t next_number = 0;
  std::mt19937_64 random;
  std::thread thread;

  void Run();
  void Step();
  void Create();
  void WriteData(const std::string& name, LedgerFile* file);
  void Rename(Ledger::iterator at);
  void ChangeMode(Ledger::iterator at);
  void SetXattr(Ledger::iterator at);
  void CheckAttributes(Ledger::iterator at);
  void CheckXattr(Ledger::iterator at);
  void CheckData(Ledger::iterator at);
  void CheckNames(Ledger::iterator at);
  void Unlink(Ledger::iterator at);

  FileSystem& fs() const { return *load->file_system_; }
  Ledger::iterator Pick() {
    return std::next(ledger.begin(), static_cast<ptrdiff_t>(random() % ledger.size()));
  }
  /// Times a call; an outcome that is not OK is an error, and the file, if any, doubtful.
  template <typename Function>
  Status Timed(const char* what, LedgerFile* file, Function&& call) {
    log.Begin(what);
    const Status status = call();
    log.End();
    if (status.ok()) {
      ++operations;
    } else {
      ++errors;
      if (file != nullptr) file->doubtful = true;
      Note(fmt::format("{}: {}", what, status.ToString()));
    }
    return status;
  }
  void Wrong(const std::string& what) {
    ++wrong;
    Note("wrong answer: " + what);
  }
  void Note(const std::string& finding) const {
    std::lock_guard lock(load->findings_mutex_);
    if (load->findings_.size() < kMaxFindings) load->findings_.push_back(finding);
  }
};

void DrillLoad::Worker::Run() {
  while (!load->stopping_) Step();
}

void DrillLoad::Worker::Step() {
  if (ledger.size() < kMinFiles) return Create();
  // Those in doubt are not touched any more: what an operation on them should say is not known.
  const auto at = Pick();
  if (at->second.doubtful) return ledger.size() < kMaxFiles ? Create() : CheckNames(Pick());
  const uint64_t dice = random() % 100;
  if (dice < 15) return ledger.size() < kMaxFiles ? Create() : Unlink(at);
  if (dice < 30) return Unlink(at);
  if (dice < 42) return Rename(at);
  if (dice < 52) return ChangeMode(at);
  if (dice < 62) return SetXattr(at);
  if (dice < 70 && load->options_.with_data) return WriteData(at->first, &at->second);
  if (dice < 80) return CheckAttributes(at);
  if (dice < 86) return CheckXattr(at);
  if (dice < 92 && load->options_.with_data) return CheckData(at);
  CheckNames(at);
}

void DrillLoad::Worker::Create() {
  const std::string name = fmt::format("f{:08}", next_number++);
  LedgerFile file;
  OpenFilePtr open;
  const Status status = Timed("create", &file, [&] {
    auto made = fs().Create(home, name, file.mode, ::getuid(), ::getgid(), O_RDWR | O_EXCL);
    if (!made.ok()) return made.status();
    file.inode = InodeId(static_cast<uint64_t>(made->attributes.inode));
    open = made->file;
    return Status::Ok();
  });
  // Nobody else makes files here, and no name is used twice.
  if (status.code() == StatusCode::kExists) Wrong("a file was created twice");
  if (open != nullptr) fs().Release(open);
  ledger[name] = file;
}

void DrillLoad::Worker::WriteData(const std::string& name, LedgerFile* file) {
  const uint64_t seed = random();
  const uint64_t size = 1 + random() % kMaxDataBytes;
  OpenFilePtr open;
  if (!Timed("open", nullptr, [&] {
         auto opened = fs().Open(file->inode, O_RDWR);
         if (opened.ok()) open = opened->file;
         return opened.status();
       }).ok()) {
    return;
  }
  // From here on the old contents may be partly replaced.
  const std::string data = DrillPattern(seed, size);
  const Status written = Timed("write+fsync", file, [&] {
    RETURN_IF_ERROR(fs().Write(open, 0, data));
    return fs().Sync(open, false);
  });
  if (written.ok()) {
    Timed("truncate", file, [&] {
      AttributeChange change;
      change.size_bytes = size;
      return fs().SetAttributes(file->inode, change).status();
    }).ok();
    file->data_seed = seed;
    file->size_bytes = size;
  }
  fs().Release(open);
}

void DrillLoad::Worker::Rename(Ledger::iterator at) {
  const std::string from = at->first;
  const std::string to = fmt::format("r{:08}", next_number++);
  LedgerFile file = at->second;
  const Status status =
      Timed("rename", &file, [&] { return fs().Rename(home, from, home, to, 0); });
  if (status.code() == StatusCode::kNotFound) Wrong("a file was renamed twice, or lost: " + from);
  ledger[to] = file;
  // With an unclear outcome the file may be under either name.
  if (file.doubtful) {
    at->second.doubtful = true;
    return;
  }
  ledger.erase(at);
  removed = from;
}

void DrillLoad::Worker::ChangeMode(Ledger::iterator at) {
  AttributeChange change;
  change.mode = static_cast<uint32_t>(random()) & kModeBits;
  if (Timed("chmod", &at->second, [&] {
        return fs().SetAttributes(at->second.inode, change).status();
      }).ok()) {
    at->second.mode = *change.mode;
  }
}

void DrillLoad::Worker::SetXattr(Ledger::iterator at) {
  const uint64_t value = random();
  if (Timed("setxattr", &at->second, [&] {
        return fs().SetXattr(at->second.inode, kDrillXattr, std::to_string(value), 0);
      }).ok()) {
    at->second.xattr = value;
  }
}

void DrillLoad::Worker::CheckAttributes(Ledger::iterator at) {
  Result<wire::Attributes> got = Status(StatusCode::kInternal, "");
  Timed("getattr", nullptr, [&] {
    got = fs().GetAttributes(at->second.inode);
    return got.status();
  }).ok();
  if (!got.ok()) return;
  const std::string difference = DifferenceOf(at->second, *got);
  if (!difference.empty()) Wrong(at->first + ": " + difference);
}

void DrillLoad::Worker::CheckXattr(Ledger::iterator at) {
  if (!at->second.xattr) return CheckAttributes(at);
  Result<std::string> got = Status(StatusCode::kInternal, "");
  Timed("getxattr", nullptr, [&] {
    got = fs().GetXattr(at->second.inode, kDrillXattr);
    return got.status();
  }).ok();
  if (got.ok() && *got != std::to_string(*at->second.xattr)) {
    Wrong(at->first + ": an older extended attribute");
  }
}

void DrillLoad::Worker::CheckData(Ledger::iterator at) {
  if (at->second.size_bytes == 0) return CheckAttributes(at);
  std::string data;
  const Status status = Timed("read", nullptr, [&] {
    auto got = ReadAll(fs(), at->second.inode, at->second.size_bytes + 1);
    if (got.ok()) data = std::move(*got);
    return got.status();
  });
  if (status.ok() && data != DrillPattern(at->second.data_seed, at->second.size_bytes)) {
    Wrong(at->first + ": other data than was synced");
  }
}

void DrillLoad::Worker::CheckNames(Ledger::iterator at) {
  if (!removed.empty() && random() % 2 == 0) {
    Timed("lookup", nullptr, [&] {
      auto got = fs().Lookup(home, removed);
      if (got.ok()) Wrong(removed + " is back");
      // That it is not there is the right answer.
      return got.code() == StatusCode::kNotFound ? Status::Ok() : got.status();
    }).ok();
    return;
  }
  if (at->second.doubtful) return;
  Timed("lookup", nullptr, [&] {
    auto got = fs().Lookup(home, at->first);
    if (got.ok() && got->inode != static_cast<int64_t>(at->second.inode.value())) {
      Wrong(at->first + " is another file");
    }
    return got.status();
  }).ok();
}

void DrillLoad::Worker::Unlink(Ledger::iterator at) {
  const std::string name = at->first;
  const Status status = Timed("unlink", &at->second, [&] { return fs().Unlink(home, name); });
  if (status.code() == StatusCode::kNotFound) Wrong("a file was removed twice, or lost: " + name);
  if (!status.ok()) return;
  ledger.erase(at);
  removed = name;
}

DrillLoad::DrillLoad(const LoadOptions& options) : options_(options) {}

FileSystemOptions DrillLoad::MountOptions(const LoadOptions& options) {
  FileSystemOptions mount;
  mount.metaservers = options.metaservers;
  char host[256] = "";
  // Only for people who look at the list of sessions.
  if (::gethostname(host, sizeof(host) - 1) == 0) mount.host_name = host;
  mount.mount_point = "drill";
  mount.version = kVersion;
  return mount;
}

Result<std::unique_ptr<DrillLoad>> DrillLoad::Start(const LoadOptions& options) {
  std::unique_ptr<DrillLoad> load(new DrillLoad(options));
  ASSIGN_OR_RETURN(load->file_system_, FileSystem::Mount(MountOptions(options)));
  FileSystem& fs = *load->file_system_;
  ASSIGN_OR_RETURN(const wire::Attributes made,
                   fs.MakeDirectory(fs.root(), options.directory, 0700, ::getuid(), ::getgid()));
  load->directory_ = InodeId(static_cast<uint64_t>(made.inode));
  for (size_t i = 0; i < options.threads; ++i) {
    auto worker = std::make_unique<Worker>(load.get(), i);
    ASSIGN_OR_RETURN(
        const wire::Attributes home,
        fs.MakeDirectory(load->directory_, fmt::format("t{:03}", i), 0700, ::getuid(), ::getgid()));
    worker->home = InodeId(static_cast<uint64_t>(home.inode));
    load->workers_.push_back(std::move(worker));
  }
  for (const auto& worker : load->workers_) {
    worker->thread = std::thread([w = worker.get()] { w->Run(); });
  }
  return load;
}

DrillLoad::~DrillLoad() { Stop(); }

Result<std::vector<std::string>> DrillLoad::OthersLike(const std::string& prefix) const {
  std::vector<std::string> names;
  ASSIGN_OR_RETURN(const std::vector<DirectoryContent> entries,
                   ListDirectory(*file_system_, file_system_->root()));
  for (const DirectoryContent& entry : entries) {
    if (entry.directory && entry.name.starts_with(prefix) && entry.name != options_.directory) {
      names.push_back(entry.name);
    }
  }
  return names;
}

void DrillLoad::Stop() {
  stopping_ = true;
  for (const auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

LoadCounts DrillLoad::counts() const {
  LoadCounts counts;
  for (const auto& worker : workers_) {
    counts.operations += worker->operations;
    counts.errors += worker->errors;
    counts.wrong += worker->wrong;
  }
  return counts;
}

std::vector<std::string> DrillLoad::findings() const {
  std::lock_guard lock(findings_mutex_);
  return findings_;
}

void DrillLoad::ForgetBefore(PauseLog::Clock::time_point time) {
  for (const auto& worker : workers_) worker->log.ForgetBefore(time);
}

LoadPause DrillLoad::PauseSince(PauseLog::Clock::time_point time) const {
  std::vector<ThreadPause> threads;
  for (const auto& worker : workers_) threads.push_back(worker->log.LongestSince(time));
  return PauseOfLoad(threads);
}

bool DrillLoad::AllWentOnAfter(PauseLog::Clock::time_point time) const {
  return std::all_of(workers_.begin(), workers_.end(),
                     [&](const auto& worker) { return worker->log.HasEndedOneBegunAfter(time); });
}

Result<LoadVerdict> DrillLoad::Verify() const {
  ASSIGN_OR_RETURN(auto fresh, FileSystem::Mount(MountOptions(options_)));
  LoadVerdict verdict;
  for (const auto& worker : workers_) {
    RETURN_IF_ERROR(VerifyLedger(*fresh, worker->home, worker->ledger,
                                 fmt::format("t{:03}/", worker->index), &verdict));
  }
  return verdict;
}

Status DrillLoad::CleanUp() {
  RETURN_IF_ERROR(RemoveTree(*file_system_, file_system_->root(), options_.directory));
  return file_system_->Unmount();
}

}  // namespace tercet
