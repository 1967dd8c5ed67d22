// tercet bench meta: loads the metaservers with calls, without any mount.
//
// Files are named DIR/dNNNNN/fNNNNNNNN, so that a run can go on with what an earlier one kept.
#include "tools/bench_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "tools/admin_client.h"
#include "tools/bench_common.h"
#include "tools/output.h"

namespace tercet {

namespace {

using Service = wire::MetadataServiceClient;

const std::vector<std::string> kOps = {"create", "lookup", "getattr", "readdir",
                                       "rename", "unlink", "mixed"};
constexpr int kEntriesPerCall = 1000;

struct MetaBenchOptions {
  std::string meta;
  uint64_t files = 10'000;
  size_t threads = 16;
  size_t sessions = 1;
  uint64_t directories = 16;
  std::string ops;
  bool keep = false;
  std::string dir = "/bench-meta";
  bool json = false;
};

class MetaBench {
 public:
  MetaBench(const MetaBenchOptions& options, std::vector<std::string> ops)
      : options_(options), ops_(std::move(ops)), inodes_(options.files) {}

  Status Run(const std::vector<HostPort>& metaservers);
  const std::vector<BenchResult>& results() const { return results_; }

 private:
  Status Prepare();
  Status RunOp(const std::string& op);
  Status CleanUp();

  /// `body(client, file number)` for every file, spread over the threads.
  template <typename Body>
  Status ForEachFile(const std::string& op, bool report, Body&& body);
  Status FindInodes();
  Status ReadDirectories(bool report);
  Status RunMixed();
  /// One operation of the mixed load.
  Status MixedStep(BenchWorker& worker, std::mt19937_64& random, uint64_t* created,
                   uint64_t* unlinked);

  Result<int64_t> Create(MetadataClient& client, int64_t directory, const std::string& name);
  Status Lookup(MetadataClient& client, uint64_t file);
  Status GetAttributes(MetadataClient& client, uint64_t file);
  Status Rename(MetadataClient& client, int64_t directory, const std::string& from,
                const std::string& to);
  Status Unlink(MetadataClient& client, int64_t directory, const std::string& name);
  /// Reads the directory from the beginning to the end, call by call.
  Status List(MetadataClient& client, int64_t directory, BenchWorker* worker,
              std::vector<wire::DirectoryEntry>* entries);

  int64_t DirectoryOf(uint64_t file) const { return directories_[file % directories_.size()]; }
  static std::string FileName(uint64_t file) { return fmt::format("f{:08}", file); }
  static std::string DirectoryName(uint64_t index) { return fmt::format("d{:05}", index); }

  const MetaBenchOptions& options_;
  const std::vector<std::string> ops_;
  std::unique_ptr<BenchSessions> sessions_;
  int64_t top_ = 0;
  std::vector<int64_t> directories_;
  std::vector<int64_t> inodes_;  // by file number; each written by one thread
  bool have_files_ = false;
  bool have_inodes_ = false;
  std::vector<BenchResult> results_;
};

Status MetaBench::Run(const std::vector<HostPort>& metaservers) {
  ASSIGN_OR_RETURN(sessions_, BenchSessions::Open(metaservers, options_.sessions, "bench meta"));
  RETURN_IF_ERROR(Prepare());
  for (const std::string& op : ops_) RETURN_IF_ERROR(RunOp(op));
  return options_.keep ? Status::Ok() : CleanUp();
}

Status MetaBench::Prepare() {
  MetadataClient& client = sessions_->Of(0);
  ASSIGN_OR_RETURN(top_, ResolveDirectory(client, options_.dir, true));
  for (uint64_t i = 0; i < options_.directories; ++i) {
    ASSIGN_OR_RETURN(const int64_t directory, EnsureDirectory(client, top_, DirectoryName(i)));
    directories_.push_back(directory);
  }
  if (ops_.front() == "create") return Status::Ok();
  // Either an earlier run kept its files, or they are made now without being measured.
  have_files_ = Lookup(client, 0).ok() && Lookup(client, options_.files - 1).ok();
  if (have_files_) return Status::Ok();
  RETURN_IF_ERROR(ForEachFile("preparing files", false, [&](MetadataClient& c, uint64_t file) {
    auto made = Create(c, DirectoryOf(file), FileName(file));
    if (made.ok()) inodes_[file] = *made;
    return made.status();
  }));
  have_files_ = have_inodes_ = true;
  return Status::Ok();
}

Status MetaBench::RunOp(const std::string& op) {
  if (op == "create") {
    RETURN_IF_ERROR(ForEachFile(op, true, [&](MetadataClient& client, uint64_t file) {
      auto made = Create(client, DirectoryOf(file), FileName(file));
      if (made.ok()) inodes_[file] = *made;
      return made.status();
    }));
    have_files_ = have_inodes_ = true;
    return Status::Ok();
  }
  if (!have_files_) {
    return Status(StatusCode::kFailedPrecondition, "--op " + op + " comes after unlink: no files");
  }
  if (op == "lookup") {
    return ForEachFile(op, true,
                       [&](MetadataClient& client, uint64_t file) { return Lookup(client, file); });
  }
  if (op == "getattr") {
    if (!have_inodes_) RETURN_IF_ERROR(FindInodes());
    return ForEachFile(op, true, [&](MetadataClient& client, uint64_t file) {
      return GetAttributes(client, file);
    });
  }
  if (op == "readdir") return ReadDirectories(true);
  if (op == "rename") {
    // There and back, so that whatever comes next finds the files by their names.
    for (const bool back : {false, true}) {
      RETURN_IF_ERROR(ForEachFile(op, !back, [&](MetadataClient& client, uint64_t file) {
        const std::string name = FileName(file);
        const std::string other = "r" + name;
        return Rename(client, DirectoryOf(file), back ? other : name, back ? name : other);
      }));
    }
    return Status::Ok();
  }
  if (op == "mixed") return RunMixed();
  have_files_ = have_inodes_ = false;
  return ForEachFile("unlink", true, [&](MetadataClient& client, uint64_t file) {
    return Unlink(client, DirectoryOf(file), FileName(file));
  });
}

template <typename Body>
Status MetaBench::ForEachFile(const std::string& op, bool report, Body&& body) {
  std::atomic<uint64_t> next{0};
  auto result = RunPhase(op, options_.threads, options_.files, true, [&](BenchWorker& worker) {
    MetadataClient& client = sessions_->Of(worker.index());
    while (!worker.cancelled()) {
      const uint64_t file = next.fetch_add(1, std::memory_order_relaxed);
      if (file >= options_.files) break;
      RETURN_IF_ERROR(worker.Measure([&] { return body(client, file); }));
    }
    return Status::Ok();
  });
  RETURN_IF_ERROR(result.status());
  if (report) results_.push_back(std::move(result).value());
  return Status::Ok();
}

Status MetaBench::FindInodes() {
  for (uint64_t index = 0; index < directories_.size(); ++index) {
    std::vector<wire::DirectoryEntry> entries;
    RETURN_IF_ERROR(List(sessions_->Of(0), directories_[index], nullptr, &entries));
    for (const wire::DirectoryEntry& entry : entries) {
      unsigned long long file = 0;
      if (std::sscanf(entry.name.c_str(), "f%llu", &file) != 1) continue;
      if (file < inodes_.size() && file % directories_.size() == index) {
        inodes_[file] = entry.inode;
      }
    }
  }
  for (uint64_t file = 0; file < inodes_.size(); ++file) {
    if (inodes_[file] != 0) continue;
    return Status(StatusCode::kNotFound,
                  fmt::format("{}/{}/{} is missing: remove {} and begin anew, or name --files and "
                              "--directories as in the run that made it",
                              options_.dir, DirectoryName(file % directories_.size()),
                              FileName(file), options_.dir));
  }
  have_inodes_ = true;
  return Status::Ok();
}

Status MetaBench::ReadDirectories(bool report) {
  // Every thread has something to read, and every directory is read.
  const uint64_t listings = std::max<uint64_t>(directories_.size(), options_.threads);
  std::atomic<uint64_t> next{0};
  const uint64_t calls = listings * (options_.files / directories_.size() / kEntriesPerCall + 1);
  auto result = RunPhase("readdir", options_.threads, calls, true, [&](BenchWorker& worker) {
    while (!worker.cancelled()) {
      const uint64_t listing = next.fetch_add(1, std::memory_order_relaxed);
      if (listing >= listings) break;
      RETURN_IF_ERROR(List(sessions_->Of(worker.index()),
                           directories_[listing % directories_.size()], &worker, nullptr));
    }
    return Status::Ok();
  });
  RETURN_IF_ERROR(result.status());
  if (report) results_.push_back(std::move(result).value());
  return Status::Ok();
}

Status MetaBench::RunMixed() {
  if (!have_inodes_) RETURN_IF_ERROR(FindInodes());
  std::atomic<uint64_t> next{0};
  auto body = [&](BenchWorker& worker) {
    std::mt19937_64 random(worker.index());
    uint64_t created = 0;
    uint64_t unlinked = 0;
    while (!worker.cancelled() && next.fetch_add(1) < options_.files) {
      RETURN_IF_ERROR(
          worker.Measure([&] { return MixedStep(worker, random, &created, &unlinked); }));
    }
    for (; unlinked < created; ++unlinked) {  // not measured
      RETURN_IF_ERROR(Unlink(sessions_->Of(worker.index()), DirectoryOf(worker.index()),
                             fmt::format("m{}-{}", worker.index(), unlinked)));
    }
    return Status::Ok();
  };
  ASSIGN_OR_RETURN(BenchResult result,
                   RunPhase("mixed", options_.threads, options_.files, true, body));
  results_.push_back(std::move(result));
  return Status::Ok();
}

Status MetaBench::MixedStep(BenchWorker& worker, std::mt19937_64& random, uint64_t* created,
                            uint64_t* unlinked) {
  MetadataClient& client = sessions_->Of(worker.index());
  const uint64_t file = random() % options_.files;
  const int64_t own = DirectoryOf(worker.index());
  const auto name = [&](uint64_t n) { return fmt::format("m{}-{}", worker.index(), n); };
  const uint64_t dice = random() % 100;
  if (dice < 50) return Lookup(client, file);
  if (dice < 70) return GetAttributes(client, file);
  if (dice < 82 || *created == *unlinked) {
    RETURN_IF_ERROR(Create(client, own, name(*created)).status());
    ++*created;
    return Status::Ok();
  }
  if (dice < 92) {
    RETURN_IF_ERROR(Unlink(client, own, name(*unlinked)));
    ++*unlinked;
    return Status::Ok();
  }
  if (dice < 97) {  // the oldest own file becomes the newest
    RETURN_IF_ERROR(Rename(client, own, name(*unlinked), name(*created)));
    ++*unlinked;
    ++*created;
    return Status::Ok();
  }
  wire::ReadDirectoryRequest request;
  request.inode = DirectoryOf(file);
  request.after_name = FileName(file);
  request.max_entries = 100;
  return client.Read("readdir", &Service::ReadDirectory, request).status();
}

Result<int64_t> MetaBench::Create(MetadataClient& client, int64_t directory,
                                  const std::string& name) {
  wire::CreateFileRequest request;
  request.parent = directory;
  request.name = name;
  request.mode = 0644;
  request.owner.uid = static_cast<int32_t>(::getuid());
  request.owner.gid = static_cast<int32_t>(::getgid());
  request.exclusive = true;
  auto response = client.Mutate("create", &Service::CreateFile, request);
  if (response.ok()) return response->attributes.inode;
  if (response.code() == StatusCode::kExists) {
    return Status(StatusCode::kExists,
                  options_.dir +
                      " has files of another run: remove them with --op unlink and that "
                      "run's --files and --directories, or choose another --dir");
  }
  return response.status();
}

Status MetaBench::Lookup(MetadataClient& client, uint64_t file) {
  return LookupEntry(client, DirectoryOf(file), FileName(file)).status();
}

Status MetaBench::GetAttributes(MetadataClient& client, uint64_t file) {
  wire::GetAttributesRequest request;
  request.inode = inodes_[file];
  return client.Read("getattr", &Service::GetAttributes, request).status();
}

Status MetaBench::Rename(MetadataClient& client, int64_t directory, const std::string& from,
                         const std::string& to) {
  wire::RenameRequest request;
  request.parent = request.new_parent = directory;
  request.name = from;
  request.new_name = to;
  return client.Mutate("rename", &Service::Rename, request).status();
}

Status MetaBench::Unlink(MetadataClient& client, int64_t directory, const std::string& name) {
  wire::UnlinkRequest request;
  request.parent = directory;
  request.name = name;
  return client.Mutate("unlink", &Service::Unlink, request).status();
}

Status MetaBench::List(MetadataClient& client, int64_t directory, BenchWorker* worker,
                       std::vector<wire::DirectoryEntry>* entries) {
  wire::ReadDirectoryRequest request;
  request.inode = directory;
  request.max_entries = kEntriesPerCall;
  request.with_attributes = worker != nullptr;
  for (;;) {
    wire::ReadDirectoryResponse response;
    const auto call = [&] {
      auto got = client.Read("readdir", &Service::ReadDirectory, request);
      if (got.ok()) response = std::move(got).value();
      return got.status();
    };
    RETURN_IF_ERROR(worker == nullptr ? call() : worker->Measure(call));
    if (response.entries.empty()) return Status::Ok();
    request.after_name = response.entries.back().name;
    const bool complete = response.complete;
    if (entries != nullptr) {
      std::move(response.entries.begin(), response.entries.end(), std::back_inserter(*entries));
    }
    if (complete) return Status::Ok();
  }
}

Status MetaBench::CleanUp() {
  if (have_files_) {
    RETURN_IF_ERROR(
        ForEachFile("removing files", false, [&](MetadataClient& client, uint64_t file) {
          return Unlink(client, DirectoryOf(file), FileName(file));
        }));
  }
  for (uint64_t i = 0; i < options_.directories; ++i) {
    wire::RemoveDirectoryRequest request;
    request.parent = top_;
    request.name = DirectoryName(i);
    RETURN_IF_ERROR(sessions_->Of(0).Mutate("rmdir", &Service::RemoveDirectory, request).status());
  }
  return Status::Ok();
}

int RunMetaBench(MetaBenchOptions options) {
  if (options.ops.empty()) {
    options.ops = "create,lookup,getattr,readdir,rename";
    if (!options.keep) options.ops += ",unlink";
  }
  auto ops = ParseOps(options.ops, kOps);
  auto metaservers = MetaAddressesFrom(options.meta);
  Status wrong = ops.ok() ? metaservers.status() : ops.status();
  if (wrong.ok() && options.directories > options.files) {
    wrong = Status(StatusCode::kInvalidArgument, "--directories is larger than --files");
  }
  if (!wrong.ok()) {
    ExitStatus(wrong);
    return kExitUsage;
  }
  MetaBench bench(options, std::move(ops).value());
  const Status status = bench.Run(*metaservers);
  return ReportBench(status, bench.results(), options.json,
                     {{"bench", "meta"},
                      {"files", options.files},
                      {"threads", options.threads},
                      {"sessions", options.sessions},
                      {"directories", options.directories}});
}

}  // namespace

void AddMetaBench(Command bench, int* exit_status) {
  auto options = std::make_shared<MetaBenchOptions>();
  Command command = bench.AddSubcommand(
      "meta", "create, find, list, rename and remove files, without their data");
  command.AddOption("--meta", options->meta, "metaservers; TERCET_META by default")
      .TypeName("HOST:PORT,…");
  command.AddOption("--files", options->files, "how many files")
      .InRange(1, 100'000'000)
      .ShowDefault();
  command.AddOption("--threads", options->threads, "calls at once, each on its own connection")
      .InRange(1, 1024)
      .ShowDefault();
  command.AddOption("--sessions", options->sessions, "sessions that the threads are spread over")
      .InRange(1, 1024)
      .ShowDefault();
  command.AddOption("--directories", options->directories, "directories that the files are in")
      .InRange(1, 99'999)
      .ShowDefault();
  command
      .AddOption("--op", options->ops,
                 "what to do, in this order: create, lookup, getattr, readdir, rename, unlink, "
                 "mixed; by default each of them once but mixed")
      .TypeName("OP,…");
  command.AddFlag("--keep", options->keep, "leave the files");
  command.AddOption("--dir", options->dir, "where, as a path within the file system").ShowDefault();
  command.AddFlag("--json", options->json, "as a JSON object");
  command.OnRun([=] { *exit_status = RunMetaBench(*options); });
}

}  // namespace tercet
