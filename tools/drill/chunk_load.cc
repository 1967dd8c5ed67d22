#include "tools/drill/chunk_load.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <random>

#include "common/base/version.h"
#include "common/env/random.h"
#include "tools/drill/load_verify.h"

namespace tercet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxFindings = 20;
constexpr uint64_t kMaxRun = 32;  // cells that are written or read at once
constexpr size_t kKeptOfStream = 3;
constexpr uint64_t kVerifyBytes = 1 << 20;
constexpr const char* kSharedName = "shared";

}  // namespace

/// One thread of the load.
struct ChunkLoad::Worker {
  Worker(ChunkLoad* the_load, size_t the_index)
      : load(the_load),
        index(the_index),
        files(the_load->FilesFor(the_index)),
        random(SystemRandom().Next()) {}
  virtual ~Worker() = default;
  virtual void Step() = 0;
  /// Closes what is open.
  virtual void Finish() {}

  ChunkLoad* const load;  // owns this
  const size_t index;
  LoadFiles* const files;
  PauseLog log;
  std::atomic<uint64_t> operations{0};
  std::atomic<uint64_t> errors{0};
  std::atomic<uint64_t> wrong_bytes{0};
  std::atomic<uint64_t> written_bytes{0};
  std::atomic<uint64_t> read_bytes{0};
  // The thread's until it ended.
  std::mt19937_64 random;
  ChunkLoadLatencies latencies;
  std::thread thread;

  void Run() {
    while (!load->stopping_) Step();
    Finish();
  }
  uint64_t Below(uint64_t bound) { return random() % bound; }
  bool OneIn(uint64_t bound) { return Below(bound) == 0; }

  template <typename Function>
  Status Timed(const char* what, LatencyHistogram* histogram, Function&& call) {
    log.Begin(what);
    const auto begin = Clock::now();
    const Status status = call();
    if (histogram != nullptr) histogram->Record((Clock::now() - begin).count());
    log.End();
    if (status.ok()) {
      ++operations;
    } else {
      ++errors;
      load->Note(fmt::format("{}: {}", what, status.ToString()));
    }
    if (load->options_.pace.count() > 0) std::this_thread::sleep_for(load->options_.pace);
    return status;
  }

  /// Writes new versions of the cells in one call.
  Status WriteCells(LoadFile& file, CellFile& cells, uint64_t first, uint64_t count) {
    std::string data(count * kCellBytes, '\0');
    for (uint64_t i = 0; i < count; ++i) {
      FillCell(cells.seed(), first + i, cells.NextVersion(first + i),
               std::span(data).subspan(i * kCellBytes, kCellBytes));
    }
    const Status status =
        Timed("write", &latencies.write, [&] { return file.Write(first * kCellBytes, data); });
    if (status.ok()) written_bytes += data.size();
    if (!status.ok()) cells.doubtful = true;
    return status;
  }

  Status SyncCells(LoadFile& file, CellFile& cells) {
    const Status status = Timed("fsync", &latencies.sync, [&] { return file.Sync(); });
    if (!status.ok()) cells.doubtful = true;
    return status;
  }

  /// Reads the cells in one call and compares them: own ones must be as they were written last,
  /// those of others at least as they were visible before.
  Status ReadCells(LoadFile& file, const std::string& name, CellFile& cells, uint64_t first,
                   uint64_t count, bool own) {
    std::vector<uint64_t> lowest;
    for (uint64_t i = 0; i < count; ++i) {
      lowest.push_back(own ? cells.submitted(first + i) : cells.visible(first + i));
    }
    std::string data(count * kCellBytes, '\0');
    size_t got = 0;
    RETURN_IF_ERROR(Timed("read", &latencies.read, [&] {
      auto read = file.Read(first * kCellBytes, data);
      if (read.ok()) got = *read;
      return read.status();
    }));
    read_bytes += got;
    // What is behind the end counts as never written.
    std::fill(data.begin() + static_cast<ptrdiff_t>(got), data.end(), '\0');
    if (cells.doubtful) return Status::Ok();
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t highest = cells.submitted(first + i);
      const uint64_t wrong = WrongBytes(cells.seed(), first + i, lowest[i], highest,
                                        std::span(data).subspan(i * kCellBytes, kCellBytes));
      if (wrong == 0) continue;
      wrong_bytes += wrong;
      load->Note(fmt::format("{}: {} wrong bytes in the {} at {} (versions {} to {})", name, wrong,
                             kCellBytes, (first + i) * kCellBytes, lowest[i], highest));
    }
    return Status::Ok();
  }
};

/// New files, from beginning to end.
struct ChunkLoad::Stream final : Worker {
  using Worker::Worker;

  uint64_t next_number = 0;
  std::deque<std::string> kept;

  void Step() override {
    const std::string name = fmt::format("s{:02}-{:06}", index, next_number++);
    const uint64_t cells = 1 + Below(load->options_.file_bytes / kCellBytes);
    auto content = std::make_shared<CellFile>(random(), cells);
    if (!WriteFile(name, *content).ok()) return;
    {
      std::lock_guard lock(load->mutex_);
      load->kept_[name] = content;
    }
    kept.push_back(name);
    ReadBack(kept[Below(kept.size())]);
    if (kept.size() <= kKeptOfStream) return;
    {
      std::lock_guard lock(load->mutex_);
      load->kept_.erase(kept.front());
    }
    Timed("unlink", nullptr, [&] { return files->Remove(kept.front()); }).ok();
    kept.pop_front();
  }

  Status WriteFile(const std::string& name, CellFile& content) {
    std::unique_ptr<LoadFile> file;
    RETURN_IF_ERROR(Timed("create", nullptr, [&] {
      auto made = files->Create(name);
      if (made.ok()) file = std::move(*made);
      return made.status();
    }));
    for (uint64_t done = 0; done < content.cells() && !load->stopping_;) {
      const uint64_t count = std::min(1 + Below(2 * kMaxRun), content.cells() - done);
      RETURN_IF_ERROR(WriteCells(*file, content, done, count));
      done += count;
      if (OneIn(8)) RETURN_IF_ERROR(SyncCells(*file, content));
    }
    RETURN_IF_ERROR(Timed("close", &latencies.sync, [&] { return file->Close(); }));
    for (uint64_t cell = 0; cell < content.cells(); ++cell) content.MakeVisible(cell);
    return Status::Ok();
  }

  void ReadBack(const std::string& name) {
    std::shared_ptr<CellFile> content;
    {
      std::lock_guard lock(load->mutex_);
      content = load->kept_.at(name);
    }
    std::unique_ptr<LoadFile> file;
    if (!Timed("open", nullptr, [&] {
           auto opened = files->Open(name);
           if (opened.ok()) file = std::move(*opened);
           return opened.status();
         }).ok()) {
      return;
    }
    for (uint64_t at = 0; at < content->cells() && !load->stopping_; at += 2 * kMaxRun) {
      const uint64_t count = std::min(2 * kMaxRun, content->cells() - at);
      if (!ReadCells(*file, name, *content, at, count, /*own=*/true).ok()) break;
    }
    Timed("close", nullptr, [&] { return file->Close(); }).ok();
  }
};

/// One file, again and again.
struct ChunkLoad::Overwriter final : Worker {
  using Worker::Worker;

  std::string name;
  std::shared_ptr<CellFile> content;
  std::unique_ptr<LoadFile> file;

  void Step() override {
    if (file == nullptr && !Begin().ok()) return;
    const uint64_t first = Below(content->cells());
    const uint64_t count = std::min(1 + Below(kMaxRun), content->cells() - first);
    const uint64_t dice = Below(100);
    Status status;
    if (dice < 45) {
      status = WriteCells(*file, *content, first, count);
      if (status.ok() && OneIn(3)) status = SyncCells(*file, *content);
    } else if (dice < 95) {
      status = ReadCells(*file, name, *content, first, count, /*own=*/true);
    } else {
      status = Reopen();
    }
    // After an error with a new file: what the old one holds is not known.
    if (!status.ok()) file.reset();
  }

  Status Begin() {
    if (content != nullptr) {
      // The one before: an operation on it failed, perhaps only a read.
      content->doubtful = true;
    }
    name = fmt::format("o{:02}-{:08x}", index, static_cast<uint32_t>(random()));
    content = std::make_shared<CellFile>(random(), load->options_.file_bytes / kCellBytes);
    RETURN_IF_ERROR(Timed("create", nullptr, [&] {
      auto made = files->Create(name);
      if (made.ok()) file = std::move(*made);
      return made.status();
    }));
    std::lock_guard lock(load->mutex_);
    load->kept_[name] = content;
    return Status::Ok();
  }

  void Finish() override {
    if (file != nullptr) CloseFile().ok();
  }

  Status CloseFile() {
    const Status closed = Timed("close", &latencies.sync, [&] { return file->Close(); });
    if (!closed.ok()) content->doubtful = true;
    file.reset();
    RETURN_IF_ERROR(closed);
    for (uint64_t cell = 0; cell < content->cells(); ++cell) content->MakeVisible(cell);
    return Status::Ok();
  }

  Status Reopen() {
    RETURN_IF_ERROR(CloseFile());
    return Timed("open", nullptr, [&] {
      auto opened = files->Open(name);
      if (opened.ok()) file = std::move(*opened);
      return opened.status();
    });
  }
};

/// Every n-th cell of the one file that all sharers write.
struct ChunkLoad::Sharer final : Worker {
  Sharer(ChunkLoad* the_load, size_t the_index, size_t the_number)
      : Worker(the_load, the_index), number(the_number) {}

  const size_t number;  // among the sharers

  void Step() override {
    CellFile& cells = *load->shared_;
    std::unique_ptr<LoadFile> file;
    if (!Timed("open", nullptr, [&] {
           auto opened = files->Open(kSharedName);
           if (opened.ok()) file = std::move(*opened);
           return opened.status();
         }).ok()) {
      return;
    }
    std::vector<uint64_t> written;
    for (uint64_t i = 1 + Below(8); i > 0; --i) {
      const uint64_t groups = cells.cells() / load->options_.sharers;
      const uint64_t cell = Below(groups) * load->options_.sharers + number;
      if (!WriteCells(*file, cells, cell, 1).ok()) return;
      written.push_back(cell);
    }
    if (OneIn(2) && !SyncCells(*file, cells).ok()) return;
    const Status closed = Timed("close", &latencies.sync, [&] { return file->Close(); });
    if (!closed.ok()) cells.doubtful = true;
    if (!closed.ok()) return;
    for (const uint64_t cell : written) cells.MakeVisible(cell);
    ReadOthers(cells);
  }

  /// Through a new handle: what others closed before is seen then.
  void ReadOthers(CellFile& cells) {
    const uint64_t first = Below(cells.cells());
    const uint64_t count = std::min(1 + Below(kMaxRun), cells.cells() - first);
    std::unique_ptr<LoadFile> file;
    // What is visible is looked at when it is read, but seen is only what was before the opening.
    std::vector<uint64_t> visible;
    for (uint64_t i = 0; i < count; ++i) visible.push_back(cells.visible(first + i));
    if (!Timed("open", nullptr, [&] {
           auto opened = files->Open(kSharedName);
           if (opened.ok()) file = std::move(*opened);
           return opened.status();
         }).ok()) {
      return;
    }
    ReadSince(*file, cells, first, visible);
    Timed("close", nullptr, [&] { return file->Close(); }).ok();
  }

  void ReadSince(LoadFile& file, CellFile& cells, uint64_t first,
                 const std::vector<uint64_t>& visible) {
    std::string data(visible.size() * kCellBytes, '\0');
    size_t got = 0;
    if (!Timed("read", &latencies.read, [&] {
           auto read = file.Read(first * kCellBytes, data);
           if (read.ok()) got = *read;
           return read.status();
         }).ok()) {
      return;
    }
    read_bytes += got;
    std::fill(data.begin() + static_cast<ptrdiff_t>(got), data.end(), '\0');
    for (uint64_t i = 0; i < visible.size() && !cells.doubtful; ++i) {
      const uint64_t wrong =
          WrongBytes(cells.seed(), first + i, visible[i], cells.submitted(first + i),
                     std::span(data).subspan(i * kCellBytes, kCellBytes));
      if (wrong == 0) continue;
      wrong_bytes += wrong;
      load->Note(fmt::format("{}: {} wrong bytes in cell {} (versions {} to {})", kSharedName,
                             wrong, first + i, visible[i], cells.submitted(first + i)));
    }
  }
};

Result<std::unique_ptr<FileSystem>> ChunkLoad::FreshClient() const {
  FileSystemOptions mount;
  mount.metaservers = options_.metaservers;
  char host[256] = "";
  // Only for people who look at the list of sessions.
  if (::gethostname(host, sizeof(host) - 1) == 0) mount.host_name = host;
  mount.mount_point = "drill";
  mount.version = kVersion;
  return FileSystem::Mount(mount);
}

Result<std::unique_ptr<ChunkLoad>> ChunkLoad::Start(const ChunkLoadOptions& options) {
  std::unique_ptr<ChunkLoad> load(new ChunkLoad(options));
  ASSIGN_OR_RETURN(auto first, load->FreshClient());
  ASSIGN_OR_RETURN(auto second, load->FreshClient());
  load->clients_.push_back(std::move(first));
  load->clients_.push_back(std::move(second));
  FileSystem& fs = *load->clients_.front();
  ASSIGN_OR_RETURN(const wire::Attributes made,
                   fs.MakeDirectory(fs.root(), options.directory, 0700, ::getuid(), ::getgid()));
  load->directory_ = InodeId(static_cast<uint64_t>(made.inode));
  if (!options.mount.empty()) {
    load->files_.push_back(FilesOnMount(options.mount + "/" + options.directory));
    load->files_.push_back(FilesOfClient(load->clients_[0].get(), load->directory_));
  } else {
    for (const auto& client : load->clients_) {
      load->files_.push_back(FilesOfClient(client.get(), load->directory_));
    }
  }
  if (options.sharers > 0) RETURN_IF_ERROR(load->MakeShared());
  size_t index = 0;
  for (size_t i = 0; i < options.streams; ++i) {
    load->workers_.push_back(std::make_unique<Stream>(load.get(), index++));
  }
  for (size_t i = 0; i < options.overwriters; ++i) {
    load->workers_.push_back(std::make_unique<Overwriter>(load.get(), index++));
  }
  for (size_t i = 0; i < options.sharers; ++i) {
    load->workers_.push_back(std::make_unique<Sharer>(load.get(), index++, i));
  }
  for (const auto& worker : load->workers_) {
    worker->thread = std::thread([w = worker.get()] { w->Run(); });
  }
  return load;
}

Status ChunkLoad::MakeShared() {
  const uint64_t cells = options_.file_bytes / kCellBytes / options_.sharers * options_.sharers;
  shared_ = std::make_shared<CellFile>(SystemRandom().Next(), cells);
  ASSIGN_OR_RETURN(std::unique_ptr<LoadFile> file, files_.front()->Create(kSharedName));
  RETURN_IF_ERROR(file->Close());
  std::lock_guard lock(mutex_);
  kept_[kSharedName] = shared_;
  return Status::Ok();
}

ChunkLoad::ChunkLoad(const ChunkLoadOptions& options) : options_(options) {}

ChunkLoad::~ChunkLoad() { Stop(); }

void ChunkLoad::Note(const std::string& finding) {
  std::lock_guard lock(mutex_);
  if (findings_.size() < kMaxFindings) findings_.push_back(finding);
}

std::vector<std::string> ChunkLoad::findings() const {
  std::lock_guard lock(mutex_);
  return findings_;
}

void ChunkLoad::Stop() {
  stopping_ = true;
  for (const auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

ChunkLoadCounts ChunkLoad::counts() const {
  ChunkLoadCounts counts;
  for (const auto& worker : workers_) {
    counts.operations += worker->operations;
    counts.errors += worker->errors;
    counts.wrong_bytes += worker->wrong_bytes;
    counts.written_bytes += worker->written_bytes;
    counts.read_bytes += worker->read_bytes;
  }
  return counts;
}

ChunkLoadLatencies ChunkLoad::latencies() const {
  ChunkLoadLatencies all;
  for (const auto& worker : workers_) {
    all.write.Add(worker->latencies.write);
    all.sync.Add(worker->latencies.sync);
    all.read.Add(worker->latencies.read);
  }
  return all;
}

void ChunkLoad::ForgetBefore(PauseLog::Clock::time_point time) {
  for (const auto& worker : workers_) worker->log.ForgetBefore(time);
}

LoadPause ChunkLoad::PauseSince(PauseLog::Clock::time_point time) const {
  std::vector<ThreadPause> threads;
  for (const auto& worker : workers_) threads.push_back(worker->log.LongestSince(time));
  return PauseOfLoad(threads);
}

Result<ChunkLoadVerdict> ChunkLoad::Verify() const {
  ASSIGN_OR_RETURN(auto fresh, FreshClient());
  const auto files = FilesOfClient(fresh.get(), directory_);
  ChunkLoadVerdict verdict;
  std::map<std::string, std::shared_ptr<CellFile>> kept;
  {
    std::lock_guard lock(mutex_);
    kept = kept_;
  }
  const auto report = [&](const std::string& finding) {
    if (verdict.findings.size() < kMaxFindings) verdict.findings.push_back(finding);
  };
  for (const auto& [name, cells] : kept) {
    if (cells->doubtful) {
      ++verdict.doubtful;
      continue;
    }
    ++verdict.files;
    auto file = files->Open(name);
    Status status = file.status();
    constexpr uint64_t kRun = kVerifyBytes / kCellBytes;
    for (uint64_t at = 0; status.ok() && at < cells->cells(); at += kRun) {
      std::string data(std::min(kRun, cells->cells() - at) * kCellBytes, '\0');
      auto got = (*file)->Read(at * kCellBytes, data);
      status = got.status();
      if (!got.ok()) break;
      std::fill(data.begin() + static_cast<ptrdiff_t>(*got), data.end(), '\0');
      verdict.bytes += *got;
      for (uint64_t i = 0; i * kCellBytes < data.size(); ++i) {
        const uint64_t version = cells->submitted(at + i);
        const uint64_t lowest = std::min(cells->visible(at + i), version);
        const uint64_t wrong = WrongBytes(cells->seed(), at + i, lowest, version,
                                          std::span(data).subspan(i * kCellBytes, kCellBytes));
        verdict.wrong_bytes += wrong;
        if (wrong > 0) report(fmt::format("{}: {} wrong bytes in cell {}", name, wrong, at + i));
      }
    }
    if (status.ok()) continue;
    ++verdict.unreadable;
    report(name + ": " + status.ToString());
  }
  return verdict;
}

Status ChunkLoad::CleanUp() {
  workers_.clear();  // with their open files
  FileSystem& fs = *clients_.front();
  RETURN_IF_ERROR(RemoveTree(fs, fs.root(), options_.directory));
  for (const auto& client : clients_) RETURN_IF_ERROR(client->Unmount());
  return Status::Ok();
}

}  // namespace tercet
