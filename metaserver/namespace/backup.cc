#include "metaserver/namespace/backup.h"

#include <algorithm>
#include <utility>

#include "common/base/crc32c.h"
#include "metaserver/namespace/backup_format.h"
#include "metaserver/namespace/state_rows.h"

namespace tercet {
namespace {

constexpr uint64_t kBlockBytes = 1 << 20;  // a block is written once its rows exceed it

}  // namespace

// ---- writer ----

struct BackupWriter::Impl {
  Disk& disk;
  const std::string path;
  const std::string unfinished_path;
  std::unique_ptr<File> file;
  BackupSummary summary;
  std::string last_key;
  std::string rows;  // of the next block
  uint32_t rows_in_block = 0;
  uint64_t blocks = 0;
  Status failure;  // the file is not to be gone on with

  Impl(Disk& used_disk, std::string backup_path)
      : disk(used_disk), path(std::move(backup_path)), unfinished_path(path + ".unfinished") {}

  Status Write(std::string_view bytes) {
    failure = file->WriteAt(summary.file_bytes, bytes);
    RETURN_IF_ERROR(failure);
    summary.file_bytes += bytes.size();
    summary.digest = Crc32cExtend(summary.digest, bytes.data(), bytes.size());
    return Status::Ok();
  }

  Status WriteBlock() {
    if (rows.empty()) return Status::Ok();
    BackupBlockHeader header;
    header.row_count = rows_in_block;
    header.number = blocks++;
    RETURN_IF_ERROR(Write(EncodeBackupBlock(header, rows)));
    rows.clear();
    rows_in_block = 0;
    return Status::Ok();
  }

  Status WriteTrailer() {
    BackupTrailer trailer{summary.row_count, summary.file_bytes, summary.digest};
    BackupBlockHeader header;
    header.type = BackupBlockType::kTrailer;
    header.number = blocks;
    const std::string block = EncodeBackupBlock(header, EncodeBackupTrailer(trailer));
    failure = file->WriteAt(summary.file_bytes, block);
    summary.file_bytes += block.size();
    return failure;
  }
};

Result<std::unique_ptr<BackupWriter>> BackupWriter::Create(Disk& disk, const std::string& path,
                                                           const BackupHeader& header) {
  ASSIGN_OR_RETURN(const bool exists, disk.Exists(path));
  if (exists) {
    return Status(StatusCode::kExists, path + " is there already; a backup overwrites nothing");
  }
  if (header.cluster_id.size() != 16) {
    return Status(StatusCode::kInvalidArgument, "a cluster id must have 16 bytes");
  }
  auto impl = std::make_unique<Impl>(disk, path);
  ASSIGN_OR_RETURN(impl->file, disk.Open(impl->unfinished_path, OpenMode::kCreate));
  RETURN_IF_ERROR(impl->file->Truncate(0));
  impl->summary.header = header;
  RETURN_IF_ERROR(impl->Write(EncodeBackupHeader(header)));
  return std::unique_ptr<BackupWriter>(new BackupWriter(std::move(impl)));
}

BackupWriter::BackupWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

BackupWriter::~BackupWriter() {
  if (impl_->file == nullptr) return;
  impl_->file.reset();
  (void)impl_->disk.Remove(impl_->unfinished_path);  // if it stays, the next attempt replaces it
}

uint64_t BackupWriter::row_count() const { return impl_->summary.row_count; }

Status BackupWriter::Append(std::string_view rows) {
  RETURN_IF_ERROR(impl_->failure);
  ASSIGN_OR_RETURN(const StateRowsSummary checked, CheckStateRows(rows, impl_->last_key));
  if (checked.count == 0) return Status::Ok();
  impl_->last_key = checked.last_key;
  return VisitStateRows(rows, [&](std::string_view key, std::string_view value) -> Status {
    AppendStateRow(&impl_->rows, key, value);
    ++impl_->rows_in_block;
    ++impl_->summary.row_count;
    ++impl_->summary.rows_by_table[static_cast<uint8_t>(key[0])];
    return impl_->rows.size() > kBlockBytes ? impl_->WriteBlock() : Status::Ok();
  });
}

Result<BackupSummary> BackupWriter::Finish() {
  RETURN_IF_ERROR(impl_->failure);
  RETURN_IF_ERROR(impl_->WriteBlock());
  RETURN_IF_ERROR(impl_->WriteTrailer());
  impl_->failure = impl_->file->Sync();
  RETURN_IF_ERROR(impl_->failure);
  impl_->failure = impl_->disk.Rename(impl_->unfinished_path, impl_->path);
  RETURN_IF_ERROR(impl_->failure);
  impl_->file.reset();
  RETURN_IF_ERROR(impl_->disk.SyncDirectory(DirectoryOf(impl_->path)));
  return impl_->summary;
}

// ---- reader ----

struct BackupReader::Impl {
  std::string path;
  std::unique_ptr<File> file;
  uint64_t file_bytes = 0;
  uint64_t offset = 0;
  uint64_t blocks = 0;
  uint32_t digest = 0;  // of the bytes before offset
  bool ended = false;
  std::string block;
  std::string last_key;
  BackupSummary summary;

  Status Damaged(uint64_t at, const std::string& what) const {
    return Status(StatusCode::kCorruption, path + ": " + what + " at offset " + std::to_string(at) +
                                               "; this backup cannot be used, take another");
  }

  Status Cut() const {
    return Damaged(offset, "the file was cut: it has " + std::to_string(file_bytes) +
                               " bytes, and no end where one should be, in the block");
  }

  // The whole block at `offset`, into `block`.
  Result<BackupBlockHeader> ReadBlock() {
    if (file_bytes - offset < kBackupBlockHeaderBytes) return Cut();
    std::string head(kBackupBlockHeaderBytes, '\0');
    ASSIGN_OR_RETURN(size_t got, file->ReadAt(offset, head));
    if (got < head.size()) return Cut();
    const BackupBlockHeader header = DecodeBackupBlockHeader(head);
    if (header.payload_bytes > kMaxBackupBlockBytes) {
      return Damaged(offset, "there is no valid block");
    }
    block.resize(kBackupBlockHeaderBytes + header.payload_bytes);
    if (file_bytes - offset < block.size()) return Cut();
    ASSIGN_OR_RETURN(got, file->ReadAt(offset, block));
    if (got < block.size()) return Cut();
    if (!VerifyBackupBlock(block) || header.number != blocks) {
      return Damaged(offset, "the checksum is wrong for the block");
    }
    return header;
  }

  Status TakeTrailer(std::string_view payload) {
    ASSIGN_OR_RETURN(const BackupTrailer trailer, DecodeBackupTrailer(payload));
    if (trailer.offset != offset || trailer.row_count != summary.row_count ||
        trailer.digest != digest) {
      return Damaged(offset, "the rows before are not those of the trailer");
    }
    if (offset + block.size() != file_bytes) {
      return Damaged(offset + block.size(), "something follows the trailer");
    }
    summary.file_bytes = file_bytes;
    summary.digest = digest;
    ended = true;
    return Status::Ok();
  }

  Status TakeRows(const BackupBlockHeader& header, std::string_view payload) {
    Result<StateRowsSummary> checked = CheckStateRows(payload, last_key);
    if (!checked.ok()) return Damaged(offset, checked.status().message() + ": in the block");
    if (checked->count != header.row_count || checked->count == 0) {
      return Damaged(offset, "the number of rows is wrong for the block");
    }
    last_key = checked->last_key;
    summary.row_count += checked->count;
    RETURN_IF_ERROR(VisitStateRows(payload, [&](std::string_view key, std::string_view) {
      ++summary.rows_by_table[static_cast<uint8_t>(key[0])];
      return Status::Ok();
    }));
    digest = Crc32cExtend(digest, block.data(), block.size());
    offset += block.size();
    ++blocks;
    return Status::Ok();
  }
};

Result<std::unique_ptr<BackupReader>> BackupReader::Open(Disk& disk, const std::string& path) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  ASSIGN_OR_RETURN(impl->file, disk.Open(path, OpenMode::kReadOnly));
  ASSIGN_OR_RETURN(impl->file_bytes, impl->file->Size());
  std::string head(std::min(impl->file_bytes, kMaxBackupHeaderBytes), '\0');
  ASSIGN_OR_RETURN(size_t got, impl->file->ReadAt(0, head));
  head.resize(got);
  uint64_t size = 0;
  Result<BackupHeader> header = DecodeBackupHeader(head, &size);
  if (!header.ok()) return header.status().WithContext(path);
  impl->summary.header = std::move(header).value();
  impl->offset = size;
  impl->digest = Crc32c(std::string_view(head).substr(0, size));
  return std::unique_ptr<BackupReader>(new BackupReader(std::move(impl)));
}

BackupReader::BackupReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BackupReader::~BackupReader() = default;

const BackupHeader& BackupReader::header() const { return impl_->summary.header; }
const BackupSummary& BackupReader::summary() const { return impl_->summary; }

Result<std::string_view> BackupReader::Next() {
  if (impl_->ended) return std::string_view();
  ASSIGN_OR_RETURN(const BackupBlockHeader header, impl_->ReadBlock());
  const std::string_view payload = std::string_view(impl_->block).substr(kBackupBlockHeaderBytes);
  switch (header.type) {
    case BackupBlockType::kRows:
      RETURN_IF_ERROR(impl_->TakeRows(header, payload));
      return payload;
    case BackupBlockType::kTrailer:
      RETURN_IF_ERROR(impl_->TakeTrailer(payload));
      return std::string_view();
  }
  return impl_->Damaged(impl_->offset, "there is an unknown kind of block");
}

Result<BackupSummary> VerifyBackup(Disk& disk, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BackupReader> reader, BackupReader::Open(disk, path));
  while (true) {
    ASSIGN_OR_RETURN(const std::string_view rows, reader->Next());
    if (rows.empty()) return reader->summary();
  }
}

}  // namespace tercet
