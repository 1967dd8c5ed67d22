#include "fuse_client/core/block_io/block_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/log/log.h"
#include "fuse_client/core/block_io/wire.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {
namespace {

/// The most that one READ asks for; with partial pages at both ends it still fits into a frame.
constexpr uint32_t kMaxReadBytes = 1 << 20;
constexpr size_t kMaxBad = 1024;
constexpr std::chrono::seconds kBadIsRemembered{60};

constexpr uint64_t PageFloor(uint64_t offset) { return offset & ~uint64_t{kBlockPageBytes - 1}; }
constexpr uint64_t PageCeil(uint64_t offset) { return PageFloor(offset + kBlockPageBytes - 1); }

/// Where the pages of an answer go: whole pages straight into the caller's memory, a page of which
/// the caller wants only a part into a scratch page first.
class PagePlan {
 public:
  PagePlan(uint32_t offset, std::span<char> out) : out_(out) {
    begin_ = PageFloor(offset);
    end_ = PageCeil(uint64_t{offset} + out.size());
    wanted_begin_ = offset;
    wanted_end_ = uint64_t{offset} + out.size();
    direct_begin_ = PageCeil(wanted_begin_);
    direct_end_ = std::max(direct_begin_, PageFloor(wanted_end_));
  }

  uint64_t max_payload_bytes() const { return end_ - begin_; }

  /// The places for the first `payload_bytes` of the pages, in order.
  std::span<const iovec> Places(uint64_t payload_bytes) {
    size_t count = 0;
    for (uint64_t position = begin_; position < begin_ + payload_bytes;) {
      const uint64_t run = position == direct_begin_ && direct_end_ > direct_begin_
                               ? direct_end_ - direct_begin_
                               : kBlockPageBytes;
      const uint64_t size = std::min(run, begin_ + payload_bytes - position);
      places_[count++] = {PageAt(position), size};
      position += size;
    }
    return {places_.data(), count};
  }

  /// The number of the first page of the payload that fails its checksum, or -1.
  int64_t FindMismatch(uint64_t payload_bytes, const char* crcs) {
    for (uint64_t page = 0; page * kBlockPageBytes < payload_bytes; ++page) {
      const uint64_t begin = page * kBlockPageBytes;
      const uint64_t size = std::min<uint64_t>(kBlockPageBytes, payload_bytes - begin);
      uint32_t crc = Crc32c(PageAt(begin_ + begin), size);
      if (size < kBlockPageBytes) crc = Crc32cExtendZeros(crc, kBlockPageBytes - size);
      if (crc != DecodeFixed32(crcs + 4 * page)) return static_cast<int64_t>(page);
    }
    return -1;
  }

  /// Copies the wanted parts of the scratch pages and fills up with zeros behind the payload.
  void Finish(uint64_t payload_bytes) {
    const uint64_t payload_end = begin_ + payload_bytes;
    for (uint64_t page = begin_; page < std::min(end_, payload_end); page += kBlockPageBytes) {
      if (page >= direct_begin_ && page < direct_end_) {
        page = direct_end_ - kBlockPageBytes;
        continue;
      }
      const uint64_t from = std::max(page, wanted_begin_);
      const uint64_t to = std::min({page + kBlockPageBytes, wanted_end_, payload_end});
      if (to > from) {
        std::memcpy(out_.data() + (from - wanted_begin_), PageAt(page) + (from - page), to - from);
      }
    }
    const uint64_t zeros_from = std::max(payload_end, wanted_begin_);
    if (zeros_from < wanted_end_) {
      std::memset(out_.data() + (zeros_from - wanted_begin_), 0, wanted_end_ - zeros_from);
    }
  }

 private:
  char* PageAt(uint64_t position) {
    if (position >= direct_begin_ && position < direct_end_) {
      return out_.data() + (position - wanted_begin_);
    }
    return scratch_[position == begin_ ? 0 : 1].data();
  }

  const std::span<char> out_;
  // Offsets in the block: of the pages, of what the caller wants, of the pages received in place.
  uint64_t begin_, end_, wanted_begin_, wanted_end_, direct_begin_, direct_end_;
  std::array<iovec, 3> places_;
  std::array<std::array<char, kBlockPageBytes>, 2> scratch_;  // for the first and the last page
};

/// Which of several replicas' failures tells the caller most about what to do: fetch the locations
/// again, try again later, or give up.
int Rank(StatusCode code) {
  switch (code) {
    case StatusCode::kStaleGeneration:
      return 5;
    case StatusCode::kNotFound:
      return 4;
    case StatusCode::kUnavailable:
    case StatusCode::kDeadlineExceeded:
      return 3;
    case StatusCode::kCorruption:
      return 2;
    default:
      return 1;
  }
}

Status ProtocolError(const FrameConnection& connection, std::string_view what) {
  return Status(StatusCode::kCorruption, connection.peer_name() + ": " + std::string(what));
}

/// The next frame but WORKING ones, which come at most for `limit`.
Result<FramePrelude> ReceiveAnswer(FrameConnection& connection, std::chrono::milliseconds limit,
                                   std::string* header) {
  std::optional<std::chrono::steady_clock::time_point> end;
  for (;;) {
    auto prelude = connection.Receive(header);
    const bool working =
        prelude.ok() && prelude->kind == wire::FrameKind::WORKING && prelude->payload_bytes == 0;
    if (!working) return prelude;
    const auto now = std::chrono::steady_clock::now();
    if (!end) end = now + limit;
    if (now >= *end) {
      return Status(StatusCode::kDeadlineExceeded,
                    connection.peer_name() + " works, but does not come to an answer");
    }
  }
}

}  // namespace

BlockReader::BlockReader(DataConnections* connections, BlockReaderOptions options,
                         BadReplicaCallback on_bad_replica)
    : connections_(connections), options_(options), on_bad_replica_(std::move(on_bad_replica)) {}

Status BlockReader::Read(const BlockTarget& target, uint32_t offset, std::span<char> out) {
  if (out.size() > UINT32_MAX - offset) {
    return Status(StatusCode::kInvalidArgument, "a read beyond what a block can hold");
  }
  while (!out.empty()) {
    // Every part but the last ends at a page, so that at most the first begins within one.
    const size_t size = std::min<size_t>(out.size(), kMaxReadBytes - offset % kBlockPageBytes);
    RETURN_IF_ERROR(ReadWhereWhole(target, offset, out.first(size)));
    offset += static_cast<uint32_t>(size);
    out = out.subspan(size);
  }
  return Status::Ok();
}

Status BlockReader::ReadWhereWhole(const BlockTarget& target, uint32_t offset,
                                   std::span<char> out) {
  const Status status = ReadPart(target, offset, out);
  if (status.code() != StatusCode::kCorruption) return status;
  const uint32_t first_page = offset / kBlockPageBytes;
  const auto end_page =
      static_cast<uint32_t>((offset + out.size() + kBlockPageBytes - 1) / kBlockPageBytes);
  if (end_page - first_page < 2) return status;
  const uint32_t middle = (first_page + end_page) / 2 * kBlockPageBytes;
  RETURN_IF_ERROR(ReadWhereWhole(target, offset, out.first(middle - offset)));
  return ReadWhereWhole(target, middle, out.subspan(middle - offset));
}

Status BlockReader::ReadPart(const BlockTarget& target, uint32_t offset, std::span<char> out) {
  Status worst(StatusCode::kUnavailable, "it has no replicas");
  std::string failures;
  std::vector<bool> tried(target.chain.size(), false);
  size_t left = target.chain.size();
  for (const bool last_resort : {false, true}) {
    for (size_t i = target.chain.size(); i-- > 0;) {
      const ReplicaAddress& replica = target.chain[i];
      if (tried[i] || (!last_resort && Avoid(target, replica.server))) continue;
      tried[i] = true;
      --left;
      const Status status = ReadFrom(target, replica, offset, out, /*last=*/left == 0);
      if (status.ok()) {
        counters_.bytes += out.size();
        return status;
      }
      Report(target, replica.server, status);
      if (failures.empty() || Rank(status.code()) > Rank(worst.code())) worst = status;
      failures += (failures.empty() ? "" : "; ") + std::string("server ") +
                  std::to_string(replica.server.value()) + ": " + status.ToString();
    }
  }
  return Status(worst.code(), "block " + std::to_string(target.id.value()) + " cannot be read: " +
                                  (failures.empty() ? worst.message() : failures));
}

Status BlockReader::ReadFrom(const BlockTarget& target, const ReplicaAddress& replica,
                             uint32_t offset, std::span<char> out, bool last) {
  const Patience patience =
      last ? Patience{options_.last_progress_timeout, options_.last_answer_timeout}
           : Patience{options_.progress_timeout, options_.answer_timeout};
  Outcome outcome = Ask(target, replica, offset, out, patience);
  if (outcome.mismatch || outcome.status.code() == StatusCode::kStaleGeneration ||
      outcome.status.code() == StatusCode::kNotFound) {
    NoteBad(target, replica.server);
  }
  return outcome.status;
}

/// One replica's answer, asked for again when its page was perhaps in mid-write, or when an idle
/// connection turned out to be closed.
BlockReader::Outcome BlockReader::Ask(const BlockTarget& target, const ReplicaAddress& replica,
                                      uint32_t offset, std::span<char> out, Patience patience) {
  auto taken = connections_->Take(replica);
  if (!taken.ok()) return {.status = taken.status()};
  Outcome outcome = Exchange(*taken->connection, target, offset, out, /*verified=*/false, patience);
  if (taken->reused && outcome.status.code() == StatusCode::kUnavailable &&
      !outcome.connection_usable) {
    taken = connections_->TakeNew(replica);
    if (!taken.ok()) return {.status = taken.status()};
    outcome = Exchange(*taken->connection, target, offset, out, /*verified=*/false, patience);
  }
  if (outcome.mismatch) {
    ++counters_.checksum_mismatches;
    outcome = Exchange(*taken->connection, target, offset, out, /*verified=*/true, patience);
  }
  if (outcome.connection_usable) {
    connections_->Put(replica, std::move(taken->connection));
  } else {
    connections_->NoteFailure(replica.server);
  }
  return outcome;
}

BlockReader::Outcome BlockReader::Exchange(FrameConnection& connection, const BlockTarget& target,
                                           uint32_t offset, std::span<char> out, bool verified,
                                           Patience patience) {
  thread_local std::string header;  // keeps its capacity
  wire::ReadHeader request;
  request.block_id = static_cast<int64_t>(target.id.value());
  request.generation = static_cast<int64_t>(target.generation.value());
  request.offset = static_cast<int32_t>(offset);
  request.length = static_cast<int32_t>(out.size());
  request.verified = verified;
  EncodeFrameHeader(request, &header);
  FramePrelude prelude;
  prelude.kind = wire::FrameKind::READ;
  prelude.request_id = counters_.requests.fetch_add(1) + 1;
  connection.SetSendPatience(std::chrono::milliseconds(0));
  connection.SetSendTimeout(patience.progress);
  connection.SetReceiveTimeout(patience.progress);
  if (Status sent = connection.Send(prelude, header, {}); !sent.ok()) return {.status = sent};

  const auto answer = ReceiveAnswer(connection, patience.answer, &header);
  if (!answer.ok()) return {.status = answer.status()};
  if (answer->kind != wire::FrameKind::READ_RESPONSE || answer->request_id != prelude.request_id) {
    return {.status = ProtocolError(connection, "not the answer to the READ that was sent")};
  }
  wire::ReadResponseHeader response;
  if (Status decoded = DecodeFrameHeader(header, &response); !decoded.ok()) {
    return {.status = decoded.WithContext(connection.peer_name())};
  }
  if (Status status = FromWire(response.status); !status.ok()) {
    const bool usable = connection.SkipPayload(answer->payload_bytes).ok();
    return {.status = std::move(status), .connection_usable = usable};
  }

  PagePlan plan(offset, out);
  const uint32_t payload_bytes = answer->payload_bytes;
  if (payload_bytes > plan.max_payload_bytes()) {
    return {.status = ProtocolError(connection, "more pages than were asked for")};
  }
  if (response.page_crcs.size() != 4 * (PageCeil(payload_bytes) / kBlockPageBytes)) {
    return {.status = ProtocolError(connection, "not one checksum for each page")};
  }
  if (Status received = connection.ReceivePayload(plan.Places(payload_bytes)); !received.ok()) {
    return {.status = received};
  }
  if (const int64_t page = plan.FindMismatch(payload_bytes, response.page_crcs.data()); page >= 0) {
    const uint64_t at = PageFloor(offset) + static_cast<uint64_t>(page) * kBlockPageBytes;
    return {.status = ProtocolError(
                connection, "the page at offset " + std::to_string(at) + " fails its checksum"),
            .mismatch = true,
            .connection_usable = true};
  }
  plan.Finish(payload_bytes);
  return {.status = Status::Ok(), .connection_usable = true};
}

void BlockReader::NoteBad(const BlockTarget& target, ServerId server) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  std::lock_guard lock(mutex_);
  if (bad_.size() >= kMaxBad || now.count() >= bad_until_) bad_.clear();
  bad_.emplace(target.id, target.generation, server);
  using Duration = std::chrono::steady_clock::duration;
  bad_until_ = (now + std::chrono::duration_cast<Duration>(kBadIsRemembered)).count();
}

bool BlockReader::Avoid(const BlockTarget& target, ServerId server) const {
  if (connections_->RecentlyFailed(server)) return true;
  const auto until = bad_until_.load(std::memory_order_relaxed);
  if (until == 0 || std::chrono::steady_clock::now().time_since_epoch().count() >= until) {
    return false;
  }
  std::lock_guard lock(mutex_);
  return bad_.contains({target.id, target.generation, server});
}

void BlockReader::Report(const BlockTarget& target, ServerId server, const Status& reason) {
  ++counters_.bad_replicas;
  LOG_WARN_LIMITED("a replica cannot be read block={} generation={} server={}: {}", target.id,
                   target.generation, server, reason);
  if (on_bad_replica_) on_bad_replica_({target.id, target.generation, server, reason});
}

}  // namespace tercet
