#include "chunkserver/service/server_note.h"

#include <charconv>

#include "common/base/hex.h"
#include "common/log/log.h"

namespace tercet {
namespace {

constexpr std::string_view kServerKey = "server_id=";
constexpr std::string_view kClusterKey = "cluster_id=";
constexpr size_t kMaxNoteBytes = 512;

std::string NotePath(const std::string& folder) { return folder + "/server"; }

/// Takes a line that begins with `key` off `text` and returns the rest of the line.
Result<std::string_view> TakeLine(std::string_view key, std::string_view* text) {
  const size_t end = text->find('\n');
  if (!text->starts_with(key) || end == std::string_view::npos) {
    return Status(StatusCode::kCorruption, "server note: no line " + std::string(key));
  }
  const std::string_view value = text->substr(key.size(), end - key.size());
  text->remove_prefix(end + 1);
  return value;
}

}  // namespace

std::string EncodeServerNote(const ServerNote& note) {
  return std::string(kServerKey) + std::to_string(note.server.value()) + "\n" +
         std::string(kClusterKey) + HexOf(note.cluster_id) + "\n";
}

Result<ServerNote> DecodeServerNote(std::string_view text) {
  ASSIGN_OR_RETURN(const std::string_view number, TakeLine(kServerKey, &text));
  ASSIGN_OR_RETURN(const std::string_view cluster, TakeLine(kClusterKey, &text));
  uint32_t server = 0;
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), server);
  auto cluster_id = BytesFromHex(cluster);
  if (parsed.ec != std::errc() || parsed.ptr != number.data() + number.size() || server == 0 ||
      !cluster_id.ok()) {
    return Status(StatusCode::kCorruption, "server note: no numbers");
  }
  // Lines behind are a later version's.
  return ServerNote{ServerId(server), std::move(cluster_id).value()};
}

ServerNotes::ServerNotes(BlockStore& store, Disk& disk) : store_(store), disk_(disk) {
  for (const StoreDiskStatus& status : store_.Disks()) {
    if (last_ || !status.healthy) continue;
    auto text = ReadWholeFile(disk_, NotePath(status.path), kMaxNoteBytes);
    if (!text.ok()) continue;  // there is none, or the next disk has it
    auto note = DecodeServerNote(*text);
    if (note.ok()) last_ = std::move(note).value();
  }
}

std::optional<ServerNote> ServerNotes::last() const {
  std::lock_guard lock(mutex_);
  return last_;
}

void ServerNotes::Write(const ServerNote& note) {
  const std::string text = EncodeServerNote(note);
  for (const StoreDiskStatus& status : store_.Disks()) {
    if (!status.healthy) continue;
    const std::string path = NotePath(status.path);
    auto there = ReadWholeFile(disk_, path, kMaxNoteBytes);
    if (there.ok() && *there == text) continue;
    if (Status written = WriteFileAtomically(disk_, path, text); !written.ok()) {
      LOG_WARN_LIMITED("the note of the server's number is not written path={}: {}", path, written);
    }
  }
  std::lock_guard lock(mutex_);
  last_ = note;
}

}  // namespace tercet
