#include "tools/state_stream.h"

#include "common/base/crc32c.h"
#include "common/rpc/wire_status.h"
#include "tools/group_survey.h"

namespace tercet {
namespace {

constexpr std::chrono::seconds kTimeout{30};
constexpr std::chrono::seconds kCloseTimeout{2};
constexpr int kPieceBytes = 1 << 20;

}  // namespace

Result<std::unique_ptr<StateStream>> StateStream::OpenAt(const HostPort& metaserver) {
  std::unique_ptr<StateStream> stream(new StateStream(metaserver));
  RETURN_IF_ERROR(stream->pool_.Call(kTimeout, [&](wire::AdminServiceClient& client) {
    client.OpenStateSnapshot(stream->snapshot_, wire::OpenStateSnapshotRequest());
  }));
  RETURN_IF_ERROR(FromWire(stream->snapshot_.info.status));
  return stream;
}

Result<std::unique_ptr<StateStream>> StateStream::OpenAtActive(
    const std::vector<HostPort>& metaservers) {
  const GroupSurvey survey = SurveyGroup(metaservers);
  if (survey.active_id == 0) {
    return Status(StatusCode::kUnavailable,
                  "no active metaserver: " + survey.no_active_reason +
                      "; a standby's state can be had with --from HOST:PORT");
  }
  ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(survey.active()->address));
  return OpenAt(address);
}

StateStream::~StateStream() {
  if (snapshot_.snapshot_id == 0) return;
  wire::CloseStateSnapshotRequest request;
  request.snapshot_id = snapshot_.snapshot_id;
  // It would be forgotten by itself.
  (void)pool_.Call(kCloseTimeout, [&](wire::AdminServiceClient& client) {
    wire::CloseStateSnapshotResponse response;
    client.CloseStateSnapshot(response, request);
  });
}

Result<std::string> StateStream::Next() {
  if (end_) return std::string();
  wire::ReadStateSnapshotRequest request;
  request.snapshot_id = snapshot_.snapshot_id;
  request.after_key = after_key_;
  request.max_bytes = kPieceBytes;
  wire::ReadStateSnapshotResponse response;
  Status status = pool_.Call(kTimeout, [&](wire::AdminServiceClient& client) {
    client.ReadStateSnapshot(response, request);
  });
  if (status.ok()) status = FromWire(response.info.status);
  if (!status.ok()) {
    return Status(StatusCode::kUnavailable, "the snapshot at " + metaserver().ToString() +
                                                " is lost (" + status.message() + "): begin anew");
  }
  if (Crc32c(response.rows) != static_cast<uint32_t>(response.rows_crc32c)) {
    return Status(StatusCode::kCorruption, metaserver().ToString() + " sent damaged rows");
  }
  end_ = response.at_end;
  if (response.rows.empty() && !end_) {
    return Status(StatusCode::kCorruption, metaserver().ToString() + " sent no rows");
  }
  after_key_ = std::move(response.last_key);
  return std::move(response.rows);
}

}  // namespace tercet
