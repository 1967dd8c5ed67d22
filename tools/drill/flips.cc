#include "tools/drill/flips.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "chunkserver/store/replica_format.h"
#include "common/base/version.h"
#include "common/env/random.h"
#include "tools/drill/cells.h"
#include "tools/drill/load_files.h"
#include "tools/drill/load_verify.h"
#include "tools/drill/stop_flag.h"
#include "tools/output.h"

namespace tercet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr AdminOptions kAdminOptions{.timeout = std::chrono::milliseconds(10'000),
                                     .patience = std::chrono::milliseconds(10'000)};
constexpr std::chrono::milliseconds kPoll{1'000};
constexpr uint64_t kCellsAtOnce = 250;
constexpr size_t kMaxFindings = 20;
constexpr size_t kMaxTriesPerFlip = 1'000;

/// A drill under way. Not thread-safe.
class Flips {
 public:
  Flips(const FlipsOptions& options, const DevCluster& dev,
        const std::function<void(const std::string&)>& progress)
      : options_(options),
        dev_(dev),
        progress_(progress),
        admin_(options.metaservers, kAdminOptions),
        random_(SystemRandom().Next()) {}
  ~Flips() { StopReading(); }

  Status Prepare();
  Status Flip();
  Status AwaitHealed();
  FlipsReport Finish();

 private:
  Result<std::unique_ptr<FileSystem>> Client() const;
  Status WriteFile(LoadFiles& files, size_t number);
  Status SetScrubPeriod(int64_t seconds);
  void StartReading();
  void StopReading();
  void ReadAllFiles();
  uint64_t SeedOf(size_t number) const { return seed_ + number; }
  uint64_t cells() const { return options_.file_bytes / kCellBytes; }

  const FlipsOptions options_;
  const DevCluster& dev_;
  const std::function<void(const std::string&)> progress_;
  const AdminClient admin_;
  std::mt19937_64 random_;
  const uint64_t seed_ = SystemRandom().Next();
  std::string directory_name_;
  InodeId directory_;
  int64_t scrub_period_before_s_ = -1;  // -1: not changed
  std::unique_ptr<FileSystem> client_;
  std::vector<BlockPlaces> blocks_;
  uint64_t file_count_ = 0;
  FlipsReport report_;
  std::atomic<bool> stopping_{false};
  std::thread reader_;
  // The reader's until it ended.
  uint64_t read_bytes_ = 0;
  uint64_t wrong_bytes_ = 0;
  uint64_t read_errors_ = 0;
  std::vector<std::string> findings_;
};

Result<std::unique_ptr<FileSystem>> Flips::Client() const {
  FileSystemOptions mount;
  mount.metaservers = options_.metaservers;
  mount.mount_point = "drill";
  mount.version = kVersion;
  return FileSystem::Mount(mount);
}

Status Flips::WriteFile(LoadFiles& files, size_t number) {
  ASSIGN_OR_RETURN(std::unique_ptr<LoadFile> file, files.Create(fmt::format("f{:05}", number)));
  for (uint64_t at = 0; at < cells(); at += kCellsAtOnce) {
    std::string data(std::min(kCellsAtOnce, cells() - at) * kCellBytes, '\0');
    for (uint64_t i = 0; i * kCellBytes < data.size(); ++i) {
      FillCell(SeedOf(number), at + i, 1, std::span(data).subspan(i * kCellBytes, kCellBytes));
    }
    RETURN_IF_ERROR(file->Write(at * kCellBytes, data));
  }
  RETURN_IF_ERROR(file->Sync());
  return file->Close();
}

Status Flips::Prepare() {
  ASSIGN_OR_RETURN(client_, Client());
  directory_name_ = fmt::format(".tercet-flips-{}-{:08x}", ::getpid(),
                                static_cast<uint32_t>(SystemRandom().Next()));
  ASSIGN_OR_RETURN(
      const wire::Attributes made,
      client_->MakeDirectory(client_->root(), directory_name_, 0700, ::getuid(), ::getgid()));
  directory_ = InodeId(static_cast<uint64_t>(made.inode));
  progress_(fmt::format("writing {} files of {}", options_.files, HumanBytes(options_.file_bytes)));
  const auto files = FilesOfClient(client_.get(), directory_);
  for (size_t i = 0; i < options_.files; ++i) {
    if (StopRequested()) return Status(StatusCode::kCancelled, "interrupted");
    RETURN_IF_ERROR(WriteFile(*files, i));
  }
  ASSIGN_OR_RETURN(blocks_, FindReplicas(dev_, admin_, *client_, directory_, &file_count_));
  const ReplicaCheckResult before = CompareReplicas(blocks_);
  if (before.identical() && before.blocks > 0) return Status::Ok();
  return Status(StatusCode::kFailedPrecondition,
                "the replicas are not the same before anything was flipped: " +
                    (before.findings.empty() ? "there are none" : before.findings.front()));
}

Status Flips::SetScrubPeriod(int64_t seconds) {
  wire::SetLimitsRequest request;
  request.__set_scrub_period_s(seconds);
  return admin_.Call(&wire::AdminServiceClient::SetLimits, request).status();
}

Status Flips::Flip() {
  ASSIGN_OR_RETURN(
      const wire::GetRepairStatusResponse repair,
      admin_.Call(&wire::AdminServiceClient::GetRepairStatus, wire::GetRepairStatusRequest()));
  std::set<std::pair<size_t, uint32_t>> pages;  // of blocks: never the same one in two replicas
  std::set<std::pair<size_t, size_t>> replicas;
  const auto page_count = PagesFor(static_cast<uint32_t>(cells() * kCellBytes));
  StartReading();
  for (size_t done = 0, tries = 0; done < options_.count; ++tries) {
    if (tries > options_.count * kMaxTriesPerFlip) {
      return Status(StatusCode::kInvalidArgument, "too few pages for so many flips");
    }
    const size_t block = random_() % blocks_.size();
    const size_t replica = random_() % blocks_[block].replicas.size();
    const auto page = static_cast<uint32_t>(random_() % page_count);
    if (!pages.insert({block, page}).second) continue;
    RETURN_IF_ERROR(FlipByteInPage(blocks_[block].replicas[replica].path, page, random_()));
    replicas.insert({block, replica});
    ++done;
  }
  report_.flipped = options_.count;
  report_.pages = pages.size();
  report_.damaged_replicas = replicas.size();
  scrub_period_before_s_ = repair.limits.scrub_period_s;
  return SetScrubPeriod(options_.scrub_period.count());
}

Status Flips::AwaitHealed() {
  progress_(fmt::format("{} bytes flipped in {} of {} replicas; waiting until all is healed",
                        report_.flipped, report_.damaged_replicas, blocks_.size() * 3));
  const auto begin = Clock::now();
  for (;;) {
    ASSIGN_OR_RETURN(blocks_, FindReplicas(dev_, admin_, *client_, directory_, &file_count_));
    report_.replicas = CompareReplicas(blocks_);
    report_.replicas.files = file_count_;
    report_.healed_after = Clock::now() - begin;
    if (report_.replicas.identical()) return Status::Ok();
    progress_(fmt::format("{} replicas are damaged, {} differ, {} are absent",
                          report_.replicas.damaged, report_.replicas.differing,
                          report_.replicas.absent));
    if (report_.healed_after > options_.timeout) {
      return Status(StatusCode::kDeadlineExceeded,
                    fmt::format("not healed within {} s", options_.timeout.count() / 1000));
    }
    if (!SleepUnlessStopped(kPoll)) return Status(StatusCode::kCancelled, "interrupted");
  }
}

void Flips::StartReading() {
  reader_ = std::thread([this] {
    while (!stopping_) ReadAllFiles();
  });
}

void Flips::StopReading() {
  stopping_ = true;
  if (reader_.joinable()) reader_.join();
}

void Flips::ReadAllFiles() {
  const auto note = [&](const std::string& finding) {
    if (findings_.size() < kMaxFindings) findings_.push_back(finding);
  };
  const auto files = FilesOfClient(client_.get(), directory_);
  for (size_t number = 0; number < options_.files && !stopping_; ++number) {
    const std::string name = fmt::format("f{:05}", number);
    auto file = files->Open(name);
    if (!file.ok()) {
      ++read_errors_;
      note(name + ": " + file.status().ToString());
      continue;
    }
    for (uint64_t at = 0; at < cells() && !stopping_; at += kCellsAtOnce) {
      std::string data(std::min(kCellsAtOnce, cells() - at) * kCellBytes, '\0');
      auto got = (*file)->Read(at * kCellBytes, data);
      if (!got.ok() || *got != data.size()) {
        ++read_errors_;
        note(name + ": " + (got.ok() ? "is shorter than it was" : got.status().ToString()));
        break;
      }
      read_bytes_ += data.size();
      for (uint64_t i = 0; i * kCellBytes < data.size(); ++i) {
        const uint64_t wrong = WrongBytes(SeedOf(number), at + i, 1, 1,
                                          std::span(data).subspan(i * kCellBytes, kCellBytes));
        wrong_bytes_ += wrong;
        if (wrong > 0) note(fmt::format("{}: {} wrong bytes in cell {}", name, wrong, at + i));
      }
    }
  }
}

FlipsReport Flips::Finish() {
  StopReading();
  report_.read_bytes = read_bytes_;
  report_.wrong_bytes = wrong_bytes_;
  report_.read_errors = read_errors_;
  report_.findings = findings_;
  report_.findings.insert(report_.findings.end(), report_.replicas.findings.begin(),
                          report_.replicas.findings.end());
  if (scrub_period_before_s_ >= 0) {
    if (Status status = SetScrubPeriod(scrub_period_before_s_); !status.ok()) {
      report_.findings.push_back(fmt::format(
          "the scrub period is still {} s (`tercet repair limit --scrub-period {}s`): {}",
          options_.scrub_period.count(), scrub_period_before_s_, status.message()));
    }
  }
  if (report_.wrong_bytes > 0) {
    report_.reasons.push_back(fmt::format("{} wrong bytes were returned", report_.wrong_bytes));
  }
  if (report_.read_errors > 0) {
    report_.reasons.push_back(fmt::format("{} reads failed", report_.read_errors));
  }
  if (!report_.replicas.identical()) {
    report_.reasons.push_back(fmt::format(
        "{} replicas are not healed",
        report_.replicas.damaged + report_.replicas.differing + report_.replicas.absent));
  }
  if (report_.reasons.empty()) {
    if (Status status = RemoveTree(*client_, client_->root(), directory_name_); !status.ok()) {
      report_.findings.push_back("/" + directory_name_ + " is left: " + status.message());
    }
  } else {
    report_.findings.push_back("the files are kept in /" + directory_name_);
  }
  return std::move(report_);
}

}  // namespace

Status FlipByteInPage(const std::string& replica_path, uint32_t page, uint64_t random) {
  const int fd = ::open(replica_path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return StatusFromErrno(errno, "open " + replica_path);
  const auto offset = static_cast<off_t>(kDataOffset + uint64_t{page} * kPageBytes);
  char bytes[kPageBytes];
  const ssize_t size = ::pread(fd, bytes, sizeof(bytes), offset);
  Status status;
  if (size <= 0) {
    status = size < 0 ? StatusFromErrno(errno, "read " + replica_path)
                      : Status(StatusCode::kInvalidArgument, replica_path + ": no such page");
  } else {
    const auto at = static_cast<off_t>(random % static_cast<uint64_t>(size));
    const char flipped = static_cast<char>(bytes[at] ^ static_cast<char>(1u << (random >> 32) % 8));
    if (::pwrite(fd, &flipped, 1, offset + at) != 1) {
      status = StatusFromErrno(errno, "write " + replica_path);
    }
  }
  ::close(fd);
  return status;
}

Result<FlipsReport> RunFlips(const FlipsOptions& options, const DevCluster& dev,
                             const std::function<void(const std::string&)>& progress) {
  Flips flips(options, dev, progress);
  RETURN_IF_ERROR(flips.Prepare());
  Status status = flips.Flip();
  if (status.ok()) status = flips.AwaitHealed();
  FlipsReport report = flips.Finish();
  if (!status.ok()) report.reasons.push_back(status.message());
  return report;
}

nlohmann::json FlipsJson(const FlipsReport& report) {
  return {
      {"flipped", report.flipped},
      {"pages", report.pages},
      {"damaged_replicas", report.damaged_replicas},
      {"read_bytes", report.read_bytes},
      {"wrong_bytes", report.wrong_bytes},
      {"read_errors", report.read_errors},
      {"healed_after_ms", std::chrono::duration<double, std::milli>(report.healed_after).count()},
      {"replicas_damaged", report.replicas.damaged},
      {"replicas_differing", report.replicas.differing},
      {"replicas_absent", report.replicas.absent},
      {"findings", report.findings},
      {"reasons", report.reasons},
      {"verdict", report.reasons.empty() ? "pass" : "fail"}};
}

std::string FlipsText(const FlipsReport& report) {
  std::string out = fmt::format(
      "{} bytes flipped in {} pages of {} replicas; {} read meanwhile: {} wrong bytes, {} errors\n",
      Grouped(static_cast<int64_t>(report.flipped)), Grouped(static_cast<int64_t>(report.pages)),
      report.damaged_replicas, HumanBytes(report.read_bytes),
      Grouped(static_cast<int64_t>(report.wrong_bytes)), report.read_errors);
  out +=
      report.replicas.identical()
          ? fmt::format("all was healed after {:.1f} s\n",
                        std::chrono::duration<double>(report.healed_after).count())
          : fmt::format("{} replicas are still damaged, {} differ, {} are absent\n",
                        report.replicas.damaged, report.replicas.differing, report.replicas.absent);
  for (const std::string& finding : report.findings) out += "  " + finding + "\n";
  if (report.reasons.empty()) return out + Coloured(Colour::kGreen, "PASS") + "\n";
  return out + Coloured(Colour::kRed, "FAIL") + ": " +
         fmt::format("{}", fmt::join(report.reasons, "; ")) + "\n";
}

}  // namespace tercet
