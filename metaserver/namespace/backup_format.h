// The bytes of a backup file. The description, with a worked example, is
// metaserver/namespace/backup_format.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "metaserver/namespace/backup.h"

namespace tercet {

// Part of the format: never change.
inline constexpr std::string_view kBackupMagic("TRCTBKUP", 8);
inline constexpr uint32_t kBackupFormatVersion = 1;
inline constexpr uint64_t kMaxBackupHeaderBytes = 4096;
inline constexpr uint64_t kBackupBlockHeaderBytes = 24;
inline constexpr uint64_t kBackupTrailerPayloadBytes = 20;
/// Of a block's payload. A row is below it in any case.
inline constexpr uint64_t kMaxBackupBlockBytes = 16 << 20;

/// Part of the format: append only, never renumber.
enum class BackupBlockType : uint32_t { kRows = 1, kTrailer = 2 };

std::string EncodeBackupHeader(const BackupHeader& header);
/// `bytes` is the beginning of the file, kMaxBackupHeaderBytes if it has so many. Sets `size` to
/// the header's length. kCorruption, kVersionTooNew.
Result<BackupHeader> DecodeBackupHeader(std::string_view bytes, uint64_t* size);

struct BackupBlockHeader {
  BackupBlockType type = BackupBlockType::kRows;
  uint32_t payload_bytes = 0;
  uint32_t row_count = 0;
  uint64_t number = 0;  // of blocks, from 0
};

/// The whole block.
std::string EncodeBackupBlock(const BackupBlockHeader& header, std::string_view payload);
/// `bytes` is kBackupBlockHeaderBytes long; the payload is not looked at.
BackupBlockHeader DecodeBackupBlockHeader(std::string_view bytes);
/// `block` is the whole block: whether its checksum is right.
bool VerifyBackupBlock(std::string_view block);

struct BackupTrailer {
  uint64_t row_count = 0;
  uint64_t offset = 0;  // of the trailer's block in the file
  uint32_t digest = 0;  // CRC-32C of all bytes before that
};

std::string EncodeBackupTrailer(const BackupTrailer& trailer);
Result<BackupTrailer> DecodeBackupTrailer(std::string_view payload);

}  // namespace tercet
