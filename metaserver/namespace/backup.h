// Backup files of the namespace, and a metaserver's data folder made out of one. The bytes are
// described in metaserver/namespace/backup_format.md.
//
// Invariants:
//  - A file that has the backup's name is whole: it is written beside it and renamed at the end.
//  - A reader gives rows only after their checksums held, and a backup is good only when its end
//    was reached: the trailer vouches for the number of rows and for every byte.
//  - A data folder is a metaserver's only once its journal has its name: the last step of a
//    restore. What a crash leaves before that is refused by the metaserver and by a further
//    restore.
//  - Nothing that the old group gave out after the backup's moment is given out again by the
//    restored one: epochs and id counters are raised (kIdHeadroom, kEpochHeadroom).
//  - A restored state never makes chunk servers lose what came after its moment: it has no delete
//    tasks, no reserved blocks, whose replacement would make one, no stale servers and no targets
//    of reconfigurations. Which block ids may have been given out after it is kept
//    (RestoresRecord), and what is in the trash stays there for as long as was left at its moment.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/disk.h"
#include "common/env/random.h"
#include "metaserver/namespace/state_rows.h"

namespace tercet {

/// The moment a backup holds.
struct BackupHeader {
  std::string cluster_id;  // 16 bytes
  uint64_t group_id = 0;
  JournalIndex index;  // the state includes the journal up to here
  Epoch epoch;         // of that record
  int64_t created_at_ns = 0;
  std::string tercet_version;  // that wrote it, for people; at most 100 bytes
};

struct BackupSummary {
  BackupHeader header;
  uint64_t row_count = 0;
  uint64_t file_bytes = 0;
  uint32_t digest = 0;  // CRC-32C of all bytes before the trailer
  /// By the key's first byte (TableId).
  std::array<uint64_t, 256> rows_by_table{};
};

/// Writes a backup. Not thread-safe. Without Finish nothing is left under the backup's name.
class BackupWriter {
 public:
  /// kExists when `path` is there. An unfinished file of an earlier attempt is replaced.
  static Result<std::unique_ptr<BackupWriter>> Create(Disk& disk, const std::string& path,
                                                      const BackupHeader& header);
  ~BackupWriter();

  /// Rows as in ReadStateSnapshotResponse, of one snapshot, all behind those before and in order:
  /// kCorruption otherwise (nothing was written then).
  Status Append(std::string_view rows);
  /// All rows are there: durable under its name when it returns OK.
  Result<BackupSummary> Finish();
  uint64_t row_count() const;

 private:
  struct Impl;
  explicit BackupWriter(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

/// Reads a backup and checks all of it. Not thread-safe.
class BackupReader {
 public:
  /// kNotFound; kVersionTooNew; kCorruption with the offset, also for a file that was cut.
  static Result<std::unique_ptr<BackupReader>> Open(Disk& disk, const std::string& path);
  ~BackupReader();

  const BackupHeader& header() const;
  /// The next rows, in the form of ReadStateSnapshotResponse, in key order. Empty: the end, and the
  /// whole file was good. kCorruption with the offset. Valid until the next call.
  Result<std::string_view> Next();
  /// After the end.
  const BackupSummary& summary() const;

 private:
  struct Impl;
  explicit BackupReader(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

/// Reads all of a backup: OK only when every byte of it is good.
Result<BackupSummary> VerifyBackup(Disk& disk, const std::string& path);

struct RestoreOptions {
  std::string data_dir;  // made when it is not there
  /// "HOST:PORT" of the restored metaserver, the only member of its group.
  std::string address;
  uint64_t journal_segment_bytes = 64 << 20;
};

struct RestoreResult {
  BackupSummary backup;
  uint64_t group_id = 0;  // the new one
  Epoch epoch;            // the group begins above it
  uint64_t rows_restored = 0;
  uint64_t rows_left_out = 0;  // sessions, their replies, delete tasks, reserved blocks
};

/// What is added to the kNext… counters of a restored state, but for kNextServer: server ids have
/// 32 bits and get kServerIdHeadroom. To kIdHeadroom comes kIdsPerSecond for each second since
/// 2026, so that two restores of one backup do not give out the same ids either.
inline constexpr uint64_t kIdHeadroom = uint64_t{1} << 32;
inline constexpr uint64_t kIdsPerSecond = uint64_t{1} << 16;
inline constexpr uint64_t kServerIdHeadroom = 1 << 16;
inline constexpr uint64_t kEpochHeadroom = 1'000'000;

/// Verifies the backup and makes a data folder for a new group of one metaserver out of it: new
/// group id, new server uuid, same cluster. Sessions, slot replies and delete tasks are left out:
/// chunk servers quarantine what the restored state does not know, and erase nothing on its word.
/// kNotEmpty when there is anything in data_dir (but lost+found); of the errors of a bad backup
/// none leaves anything behind. After another error data_dir is to be emptied before the next
/// attempt.
Result<RestoreResult> RestoreToFolder(Disk& disk, const Clock& clock, Random& random,
                                      const std::string& backup_path,
                                      const RestoreOptions& options);

}  // namespace tercet
