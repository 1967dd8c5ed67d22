// The WORKING frame: a sign of life of a server that owes answers.
#pragma once

#include <string>

#include "chunkserver/replication/frame_sender.h"
#include "common/base/status.h"
#include "common/rpc/frame.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {

inline OutgoingFrame WorkingFrame() {
  return OutgoingFrame{EncodeFrameHead(wire::FrameKind::WORKING, 0, std::string_view(), 0), nullptr,
                       0};
}

/// kCorruption when a received frame of this kind carries anything.
inline Status CheckWorking(const FramePrelude& prelude) {
  if (prelude.request_id == 0 && prelude.header_bytes == 0 && prelude.payload_bytes == 0) {
    return Status::Ok();
  }
  return Status(StatusCode::kCorruption, "a WORKING frame that carries something");
}

}  // namespace tercet
