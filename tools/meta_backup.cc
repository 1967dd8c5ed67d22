// tercet meta backup|restore|verify|dump: the namespace as a file, and back.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/base/version.h"
#include "common/env/clock.h"
#include "common/env/posix_disk.h"
#include "common/env/random.h"
#include "metaserver/namespace/backup.h"
#include "metaserver/namespace/state_dump.h"
#include "tools/admin_client.h"
#include "tools/bench_common.h"
#include "tools/meta_command.h"
#include "tools/output.h"
#include "tools/state_stream.h"

namespace tercet {
namespace {

struct Arguments : MetaArguments {
  std::string file;
  std::string from;
  std::string data_dir;
  std::string address;
};

std::string Absolute(const std::string& path) { return std::filesystem::absolute(path).string(); }

std::string TimeOf(int64_t nanos) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(nanos / 1'000'000'000));
}

nlohmann::json ToJson(const BackupSummary& summary) {
  return {{"cluster_id", Hex(summary.header.cluster_id)},
          {"group_id", fmt::format("{:016x}", summary.header.group_id)},
          {"index", summary.header.index.value()},
          {"epoch", summary.header.epoch.value()},
          {"created_at_ns", summary.header.created_at_ns},
          {"tercet_version", summary.header.tercet_version},
          {"rows", summary.row_count},
          {"bytes", summary.file_bytes},
          {"digest", fmt::format("{:08x}", summary.digest)}};
}

std::string ToText(const BackupSummary& summary) {
  return fmt::format(
      "cluster {}\n"
      "journal index {}, epoch {}, of {}, written by Tercet {}\n"
      "{} rows, {}, digest {:08x}\n",
      Hex(summary.header.cluster_id), summary.header.index.value(), summary.header.epoch.value(),
      TimeOf(summary.header.created_at_ns), summary.header.tercet_version,
      Grouped(static_cast<int64_t>(summary.row_count)), HumanBytes(summary.file_bytes),
      summary.digest);
}

Result<std::unique_ptr<StateStream>> OpenStream(const Arguments& arguments,
                                                const std::vector<HostPort>& metaservers) {
  if (arguments.from.empty()) return StateStream::OpenAtActive(metaservers);
  ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(arguments.from));
  return StateStream::OpenAt(address);
}

Result<BackupSummary> WriteBackup(StateStream& stream, const std::string& path) {
  const wire::OpenStateSnapshotResponse& snapshot = stream.snapshot();
  BackupHeader header;
  header.cluster_id = snapshot.cluster_id;
  header.group_id = static_cast<uint64_t>(snapshot.group_id);
  header.index = JournalIndex(static_cast<uint64_t>(snapshot.index));
  header.epoch = Epoch(static_cast<uint64_t>(snapshot.epoch));
  header.created_at_ns = RealClock().WallNanos();
  header.tercet_version = kVersion;
  ASSIGN_OR_RETURN(auto writer, BackupWriter::Create(RealDisk(), path, header));
  Progress progress("backup", static_cast<uint64_t>(std::max<int64_t>(snapshot.row_count, 0)),
                    true);
  for (;;) {
    ASSIGN_OR_RETURN(const std::string rows, stream.Next());
    if (rows.empty()) break;
    const uint64_t before = writer->row_count();
    RETURN_IF_ERROR(writer->Append(rows));
    progress.Advance(writer->row_count() - before);
  }
  return writer->Finish();
}

int Backup(const Arguments& arguments) {
  Result<std::vector<HostPort>> metaservers =
      MetaAddressesFrom(arguments.meta.empty() ? arguments.from : arguments.meta);
  if (!metaservers.ok()) {
    ExitStatus(metaservers.status());
    return kExitUsage;
  }
  auto stream = OpenStream(arguments, *metaservers);
  if (!stream.ok()) return ExitStatus(stream.status());
  auto summary = WriteBackup(**stream, Absolute(arguments.file));
  if (!summary.ok()) return ExitStatus(summary.status());
  if (arguments.json) {
    nlohmann::json json = ToJson(*summary);
    json["file"] = arguments.file;
    json["from"] = (*stream)->metaserver().ToString();
    fmt::print("{}\n", json.dump(2));
  } else {
    fmt::print("{} holds the namespace as {} had it\n{}", arguments.file,
               (*stream)->metaserver().ToString(), ToText(*summary));
  }
  return kExitOk;
}

int Verify(const Arguments& arguments) {
  auto summary = VerifyBackup(RealDisk(), Absolute(arguments.file));
  if (!summary.ok()) return ExitStatus(summary.status());
  if (arguments.json) {
    fmt::print("{}\n", ToJson(*summary).dump(2));
  } else {
    fmt::print("{} is good\n{}", arguments.file, ToText(*summary));
  }
  return kExitOk;
}

int Restore(const Arguments& arguments) {
  auto address = ParseHostPort(arguments.address);
  if (!address.ok()) {
    ExitStatus(address.status());
    return kExitUsage;
  }
  RestoreOptions options;
  options.data_dir = Absolute(arguments.data_dir);
  options.address = address->ToString();
  fmt::print(stderr, "verifying and restoring {} …\n", arguments.file);
  auto restored =
      RestoreToFolder(RealDisk(), RealClock(), SystemRandom(), Absolute(arguments.file), options);
  if (!restored.ok()) return ExitStatus(restored.status());
  if (arguments.json) {
    nlohmann::json json = ToJson(restored->backup);
    json["data_dir"] = options.data_dir;
    json["new_group_id"] = fmt::format("{:016x}", restored->group_id);
    json["new_epoch"] = restored->epoch.value();
    json["rows_restored"] = restored->rows_restored;
    json["rows_left_out"] = restored->rows_left_out;
    fmt::print("{}\n", json.dump(2));
    return kExitOk;
  }
  fmt::print(
      "{}{} rows restored to {}; {} of sessions and pending deletions left out\n\n"
      "What to do next:\n"
      "  1. stop all metaservers and witnesses of the old group for good: their data_dirs must not "
      "be started again\n"
      "  2. start tercet-metaserver with data_dir = \"{}\" so that it is reached as {}\n"
      "  3. name it in `meta` of the chunk servers and mounts, if it is not there, and restart "
      "them; replicas that this\n"
      "     older namespace does not know are put into quarantine, and nothing is erased\n"
      "  4. start each further metaserver and witness with group.join = true and an empty "
      "data_dir, "
      "and take it in:\n"
      "     tercet meta add HOST:PORT [--witness]\n",
      ToText(restored->backup), Grouped(static_cast<int64_t>(restored->rows_restored)),
      options.data_dir, Grouped(static_cast<int64_t>(restored->rows_left_out)), options.data_dir,
      options.address);
  return kExitOk;
}

/// Whoever reads (head, less) may have had enough: nothing to complain about.
int DumpStatus(const Status& status) {
  return status.code() == StatusCode::kCancelled ? kExitOk : ExitStatus(status);
}

Status WriteFailure() {
  if (errno == EPIPE) return Status(StatusCode::kCancelled, "the reader has gone");
  return StatusFromErrno(errno, "write to standard output");
}

/// `next` gives the rows piece by piece, empty at the end.
template <typename Next>
Status DumpAll(uint64_t expected, Next&& next) {
  Progress progress("dump", expected, true);
  for (;;) {
    ASSIGN_OR_RETURN(const std::string rows, next());
    if (rows.empty()) break;
    RETURN_IF_ERROR(VisitStateRows(rows, [&](std::string_view key, std::string_view value) {
      const std::string line = DumpStateRow(key, value) + "\n";
      progress.Advance();
      if (std::fwrite(line.data(), 1, line.size(), stdout) == line.size()) return Status::Ok();
      return WriteFailure();
    }));
  }
  return std::fflush(stdout) == 0 ? Status::Ok() : WriteFailure();
}

int DumpFile(const Arguments& arguments) {
  auto reader = BackupReader::Open(RealDisk(), Absolute(arguments.file));
  if (!reader.ok()) return ExitStatus(reader.status());
  return DumpStatus(DumpAll(0, [&]() -> Result<std::string> {
    ASSIGN_OR_RETURN(const std::string_view rows, (*reader)->Next());
    return std::string(rows);
  }));
}

int Dump(const Arguments& arguments) {
  if (!arguments.file.empty()) return DumpFile(arguments);
  Result<std::vector<HostPort>> metaservers =
      MetaAddressesFrom(arguments.meta.empty() ? arguments.from : arguments.meta);
  if (!metaservers.ok()) {
    ExitStatus(metaservers.status());
    return kExitUsage;
  }
  auto stream = OpenStream(arguments, *metaservers);
  if (!stream.ok()) return ExitStatus(stream.status());
  const int64_t expected = std::max<int64_t>((*stream)->snapshot().row_count, 0);
  return DumpStatus(DumpAll(static_cast<uint64_t>(expected), [&] { return (*stream)->Next(); }));
}

void AddFrom(Command command, Arguments* arguments) {
  command
      .AddOption("--from", arguments->from,
                 "not from the active but from this metaserver, as far as it is")
      .TypeName("HOST:PORT");
}

}  // namespace

void AddMetaBackup(Command meta, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command backup = meta.AddSubcommand(
      "backup", "write the namespace, as it is at one moment, to a file; while all goes on");
  backup.AddOption("file", arguments->file, "must not be there yet").Required();
  AddMetaOptions(backup, arguments.get(), true);
  AddFrom(backup, arguments.get());
  backup.OnRun([=] { *exit_status = Backup(*arguments); });

  Command restore = meta.AddSubcommand(
      "restore", "make a metaserver's data folder out of a backup, which is verified first");
  restore.AddOption("file", arguments->file, "the backup").Required();
  restore.AddOption("--data-dir", arguments->data_dir, "made; must be empty if it is there")
      .Required()
      .TypeName("DIR");
  restore.AddOption("--address", arguments->address, "under which others will reach the metaserver")
      .Required()
      .TypeName("HOST:PORT");
  restore.AddFlag("--json", arguments->json, "as a JSON object");
  restore.OnRun([=] { *exit_status = Restore(*arguments); });

  Command verify = meta.AddSubcommand("verify", "check every byte of a backup");
  verify.AddOption("file", arguments->file, "the backup").Required();
  verify.AddFlag("--json", arguments->json, "as a JSON object");
  verify.OnRun([=] { *exit_status = Verify(*arguments); });

  Command dump = meta.AddSubcommand(
      "dump", "print the namespace row by row, in an order and form that can be compared");
  dump.AddOption("--file", arguments->file, "that of a backup").TypeName("BACKUP");
  AddMetaOptions(dump, arguments.get(), false);
  AddFrom(dump, arguments.get());
  dump.OnRun([=] { *exit_status = Dump(*arguments); });
}

}  // namespace tercet
