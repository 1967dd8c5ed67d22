#include "metaserver/group/group_wire.h"

#include <utility>

namespace tercet {
namespace {

Status Malformed(const std::string& what) {
  return Status(StatusCode::kInvalidArgument, "a group message " + what);
}

int64_t Wire(JournalIndex index) { return static_cast<int64_t>(index.value()); }
int64_t Wire(Epoch epoch) { return static_cast<int64_t>(epoch.value()); }
JournalIndex IndexFrom(int64_t value) { return JournalIndex(static_cast<uint64_t>(value)); }
Epoch EpochFrom(int64_t value) { return Epoch(static_cast<uint64_t>(value)); }

// One overload for each body that is sent.
struct BodyToWire {
  wire::GroupMessage& out;

  void operator()(const VoteRequest& body) const {
    wire::VoteRequestBody request;
    request.last_index = Wire(body.last_index);
    request.last_epoch = Wire(body.last_epoch);
    request.pre_vote = body.pre_vote;
    request.transfer = body.transfer;
    out.__set_vote_request(request);
  }
  void operator()(const VoteResponse& body) const {
    wire::VoteResponseBody response;
    response.granted = body.granted;
    response.pre_vote = body.pre_vote;
    response.unknown_member = body.unknown_member;
    response.log_is_newer = body.log_is_newer;
    out.__set_vote_response(response);
  }
  void operator()(AppendRequest& body) const {
    out.__isset.append_request = true;
    wire::AppendRequestBody& request = out.append_request;
    request.previous_index = Wire(body.previous_index);
    request.previous_epoch = Wire(body.previous_epoch);
    request.entries.resize(body.records.size());
    for (size_t i = 0; i < body.records.size(); ++i) {
      CommittedRecord& record = body.records[i];
      wire::JournalEntry& entry = request.entries[i];
      entry.index = Wire(record.index);
      entry.epoch = Wire(record.epoch);
      entry.kind = static_cast<int32_t>(record.kind);
      entry.payload = std::move(record.payload);
    }
    request.commit_index = Wire(body.commit_index);
    request.sent_ns = body.sent_ns;
    request.wall_ns = body.wall_ns;
  }
  void operator()(const AppendResponse& body) const {
    wire::AppendResponseBody response;
    response.accepted = body.accepted;
    response.match_index = Wire(body.match_index);
    response.hint_index = Wire(body.hint_index);
    response.hint_epoch = Wire(body.hint_epoch);
    response.durable_index = Wire(body.durable_index);
    response.echoed_sent_ns = body.echoed_sent_ns;
    response.wall_ns = body.wall_ns;
    response.applied_index = Wire(body.applied_index);
    response.lacks_state = body.lacks_state;
    response.short_of_space = body.short_of_space;
    out.__set_append_response(response);
  }
  void operator()(const StateOffer& body) const {
    wire::StateOfferBody offer;
    offer.base_index = Wire(body.base_index);
    offer.base_epoch = Wire(body.base_epoch);
    offer.membership = body.membership.Encode();
    out.__set_state_offer(offer);
  }
  void operator()(const TimeoutNow&) const { out.__set_timeout_now({}); }
  void operator()(const AmnesiaNotice& body) const {
    wire::AmnesiaNoticeBody notice;
    notice.acknowledged = Wire(body.acknowledged);
    out.__set_amnesia_notice(notice);
  }
};

Result<AppendRequest> RequestFromWire(const wire::AppendRequestBody& body, int64_t epoch) {
  if (body.previous_index < 0 || body.previous_epoch < 0 || body.commit_index < 0) {
    return Malformed("has a negative index");
  }
  AppendRequest request;
  request.previous_index = IndexFrom(body.previous_index);
  request.previous_epoch = EpochFrom(body.previous_epoch);
  request.commit_index = IndexFrom(body.commit_index);
  request.sent_ns = body.sent_ns;
  request.wall_ns = body.wall_ns;
  request.records.reserve(body.entries.size());
  int64_t index = body.previous_index;
  int64_t last_epoch = body.previous_epoch;
  for (const wire::JournalEntry& entry : body.entries) {
    if (entry.index != ++index) return Malformed("has records that are not consecutive");
    if (entry.epoch < last_epoch || entry.epoch > epoch) {
      return Malformed("has a record of epoch " + std::to_string(entry.epoch) + " behind one of " +
                       std::to_string(last_epoch) + " in epoch " + std::to_string(epoch));
    }
    last_epoch = entry.epoch;
    const auto kind = static_cast<RecordKind>(entry.kind);
    if (entry.kind != static_cast<int32_t>(RecordKind::kData) &&
        entry.kind != static_cast<int32_t>(RecordKind::kMembership)) {
      return Malformed("has a record of the unknown kind " + std::to_string(entry.kind));
    }
    request.records.push_back(
        {IndexFrom(entry.index), EpochFrom(entry.epoch), entry.payload, kind});
  }
  return request;
}

Result<AppendResponse> ResponseFromWire(const wire::AppendResponseBody& body) {
  if (body.match_index < 0 || body.hint_index < 0 || body.hint_epoch < 0 ||
      body.durable_index < 0 || body.applied_index < 0) {
    return Malformed("has a negative index");
  }
  AppendResponse response;
  response.accepted = body.accepted;
  response.match_index = IndexFrom(body.match_index);
  response.hint_index = IndexFrom(body.hint_index);
  response.hint_epoch = EpochFrom(body.hint_epoch);
  response.durable_index = IndexFrom(body.durable_index);
  response.echoed_sent_ns = body.echoed_sent_ns;
  response.wall_ns = body.wall_ns;
  response.applied_index = IndexFrom(body.applied_index);
  response.lacks_state = body.lacks_state;
  response.short_of_space = body.short_of_space;
  return response;
}

Result<StateOffer> OfferFromWire(const wire::StateOfferBody& body) {
  if (body.base_index < 0 || body.base_epoch < 0) return Malformed("has a negative index");
  StateOffer offer;
  offer.base_index = IndexFrom(body.base_index);
  offer.base_epoch = EpochFrom(body.base_epoch);
  ASSIGN_OR_RETURN(offer.membership, Membership::Decode(body.membership));
  return offer;
}

int CountBodies(const wire::GroupMessage& message) {
  const auto& isset = message.__isset;
  return isset.vote_request + isset.vote_response + isset.append_request + isset.append_response +
         isset.state_offer + isset.timeout_now + isset.amnesia_notice;
}

}  // namespace

wire::GroupMessage ToWire(uint64_t group_id, RaftMessage message) {
  wire::GroupMessage out;
  out.group_id = static_cast<int64_t>(group_id);
  out.from_member = static_cast<int32_t>(message.from.value());
  out.to_member = static_cast<int32_t>(message.to.value());
  out.epoch = Wire(message.epoch);
  std::visit(BodyToWire{out}, message.body);
  return out;
}

Result<RaftMessage> FromWire(const wire::GroupMessage& message) {
  if (CountBodies(message) != 1) return Malformed("has not exactly one body");
  if (message.from_member <= 0 || message.to_member <= 0 || message.epoch < 0) {
    return Malformed("has no members or epoch");
  }
  RaftMessage out;
  out.from = MemberId(static_cast<uint32_t>(message.from_member));
  out.to = MemberId(static_cast<uint32_t>(message.to_member));
  out.epoch = EpochFrom(message.epoch);
  if (message.__isset.vote_request) {
    const wire::VoteRequestBody& body = message.vote_request;
    if (body.last_index < 0 || body.last_epoch < 0) return Malformed("has a negative index");
    out.body = VoteRequest{IndexFrom(body.last_index), EpochFrom(body.last_epoch), body.pre_vote,
                           body.transfer};
  } else if (message.__isset.vote_response) {
    const wire::VoteResponseBody& body = message.vote_response;
    out.body = VoteResponse{body.granted, body.pre_vote, body.unknown_member, body.log_is_newer};
  } else if (message.__isset.append_request) {
    ASSIGN_OR_RETURN(out.body, RequestFromWire(message.append_request, message.epoch));
  } else if (message.__isset.append_response) {
    ASSIGN_OR_RETURN(out.body, ResponseFromWire(message.append_response));
  } else if (message.__isset.state_offer) {
    ASSIGN_OR_RETURN(out.body, OfferFromWire(message.state_offer));
  } else if (message.__isset.timeout_now) {
    out.body = TimeoutNow{};
  } else {
    if (message.amnesia_notice.acknowledged < 0) return Malformed("has a negative index");
    out.body = AmnesiaNotice{IndexFrom(message.amnesia_notice.acknowledged)};
  }
  return out;
}

}  // namespace tercet
