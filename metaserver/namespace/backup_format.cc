#include "metaserver/namespace/backup_format.h"

#include <algorithm>

#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {
namespace {

constexpr size_t kClusterIdBytes = 16;
constexpr size_t kMaxVersionBytes = 100;
constexpr size_t kCrcBytes = 4;

}  // namespace

std::string EncodeBackupHeader(const BackupHeader& header) {
  std::string rest;  // behind the header's length
  rest += header.cluster_id;
  PutFixed64(&rest, header.group_id);
  PutFixed64(&rest, header.index.value());
  PutFixed64(&rest, header.epoch.value());
  PutFixed64(&rest, static_cast<uint64_t>(header.created_at_ns));
  PutLengthPrefixed(&rest, std::string_view(header.tercet_version).substr(0, kMaxVersionBytes));
  std::string out(kBackupMagic);
  PutFixed32(&out, kBackupFormatVersion);
  PutFixed32(&out, static_cast<uint32_t>(out.size() + 4 + rest.size() + kCrcBytes));
  out += rest;
  PutFixed32(&out, Crc32c(out));
  return out;
}

Result<BackupHeader> DecodeBackupHeader(std::string_view bytes, uint64_t* size) {
  Decoder start(bytes);
  if (start.Bytes(kBackupMagic.size()) != kBackupMagic) {
    return Status(StatusCode::kCorruption, "this is no backup of a metaserver (no magic number)");
  }
  const uint32_t version = start.Fixed32();
  *size = start.Fixed32();
  RETURN_IF_ERROR(start.FinishAllowingMore("backup header"));
  if (version > kBackupFormatVersion) {
    return Status(StatusCode::kVersionTooNew,
                  "the backup has format " + std::to_string(version) +
                      ", made by a newer Tercet; this one knows formats up to " +
                      std::to_string(kBackupFormatVersion) + ". Use the newer version on it");
  }
  const Status damaged(StatusCode::kCorruption, "the backup's header is damaged");
  if (*size > std::min<uint64_t>(kMaxBackupHeaderBytes, bytes.size()) ||
      *size < bytes.size() - start.rest().size() + kCrcBytes) {
    return damaged;
  }
  const std::string_view checked = bytes.substr(0, *size - kCrcBytes);
  if (Crc32c(checked) != DecodeFixed32(bytes.data() + checked.size()) || version == 0) {
    return damaged;
  }
  Decoder in(checked.substr(bytes.size() - start.rest().size()));
  BackupHeader header;
  header.cluster_id = in.Bytes(kClusterIdBytes);
  header.group_id = in.Fixed64();
  header.index = JournalIndex(in.Fixed64());
  header.epoch = Epoch(in.Fixed64());
  header.created_at_ns = static_cast<int64_t>(in.Fixed64());
  header.tercet_version = in.LengthPrefixed();
  RETURN_IF_ERROR(in.FinishAllowingMore("backup header"));
  return header;
}

std::string EncodeBackupBlock(const BackupBlockHeader& header, std::string_view payload) {
  std::string out;
  out.reserve(kBackupBlockHeaderBytes + payload.size());
  out.resize(kCrcBytes);
  PutFixed32(&out, static_cast<uint32_t>(header.type));
  PutFixed32(&out, static_cast<uint32_t>(payload.size()));
  PutFixed32(&out, header.row_count);
  PutFixed64(&out, header.number);
  out += payload;
  EncodeFixed32(out.data(), Crc32c(std::string_view(out).substr(kCrcBytes)));
  return out;
}

BackupBlockHeader DecodeBackupBlockHeader(std::string_view bytes) {
  BackupBlockHeader header;
  header.type = static_cast<BackupBlockType>(DecodeFixed32(bytes.data() + 4));
  header.payload_bytes = DecodeFixed32(bytes.data() + 8);
  header.row_count = DecodeFixed32(bytes.data() + 12);
  header.number = DecodeFixed64(bytes.data() + 16);
  return header;
}

bool VerifyBackupBlock(std::string_view block) {
  return Crc32c(block.substr(kCrcBytes)) == DecodeFixed32(block.data());
}

std::string EncodeBackupTrailer(const BackupTrailer& trailer) {
  std::string out;
  PutFixed64(&out, trailer.row_count);
  PutFixed64(&out, trailer.offset);
  PutFixed32(&out, trailer.digest);
  return out;
}

Result<BackupTrailer> DecodeBackupTrailer(std::string_view payload) {
  Decoder in(payload);
  BackupTrailer trailer;
  trailer.row_count = in.Fixed64();
  trailer.offset = in.Fixed64();
  trailer.digest = in.Fixed32();
  RETURN_IF_ERROR(in.Finish("backup trailer"));
  return trailer;
}

}  // namespace tercet
