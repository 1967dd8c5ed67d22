#include "tests/sim/checker.h"

#include "metaserver/namespace/keys.h"
#include "metaserver/namespace/records.h"

namespace tercet::sim {
namespace {

uint64_t RowHash(std::string_view key, std::string_view value) {
  return HashBytes(value, HashBytes(key));
}

}  // namespace

void Checker::Fail(std::string what) {
  SIM_TRACE(trace_, "FAILED: {}", what);
  if (failure_.empty()) failure_ = std::move(what);
}

void Checker::NoteAppended(int machine, const CommittedRecord& record, Epoch previous) {
  const uint64_t hash = LogEntry::Of(record).hash;
  auto [it, fresh] = known_.try_emplace({record.index, record.epoch}, Known{hash, previous});
  if (fresh || (it->second.hash == hash && it->second.previous == previous)) return;
  Fail(
      fmt::format("log matching: machine {} appends record {} of epoch {} behind epoch {}, which "
                  "elsewhere is another record or behind epoch {}",
                  machine, record.index, record.epoch, previous, it->second.previous));
}

bool Checker::NoteElected(int machine, Epoch epoch, JournalIndex last) {
  auto [it, fresh] = leaders_.try_emplace(epoch, machine);
  if (!fresh) {
    if (it->second != machine) {
      Fail(fmt::format("election safety: machines {} and {} lead in epoch {}", it->second, machine,
                       epoch));
    }
    return false;
  }
  trace_.Mix(static_cast<uint64_t>(machine) << 32, epoch.value());
  SIM_TRACE(trace_, "m{} leads in epoch {}, last record {}", machine, epoch, last);
  return true;
}

void Checker::FailIncomplete(int machine, Epoch epoch, JournalIndex index) {
  Fail(
      fmt::format("leader completeness: machine {} leads in epoch {} without record {} of epoch "
                  "{}, committed in epoch {}",
                  machine, epoch, index, committed_[index.value() - 1].entry.epoch,
                  committed_[index.value() - 1].under));
}

void Checker::FailChanged(int machine, Epoch epoch, JournalIndex index, const LogEntry& entry) {
  const Committed& known = committed_[index.value() - 1];
  Fail(
      fmt::format("machine {} in epoch {} takes record {} of epoch {} for committed, but that of "
                  "epoch {} was, in epoch {}",
                  machine, epoch, index, entry.epoch, known.entry.epoch, known.under));
}

void Checker::AddCommitted(int machine, Epoch epoch, JournalIndex index,
                           const CommittedRecord& record) {
  if (index != committed().Next() || record.index != index) {
    Fail(fmt::format("machine {} commits record {}, but {} are committed", machine, index,
                     committed()));
    return;
  }
  const LogEntry entry = LogEntry::Of(record);
  committed_.push_back({entry, epoch});
  trace_.Mix(entry.hash, index.value());
  SIM_TRACE(trace_, "m{} commits record {} of epoch {} in epoch {}", machine, index, record.epoch,
            epoch);
  ApplyToModel(record);
}

void Checker::ApplyToModel(const CommittedRecord& record) {
  if (record.kind == RecordKind::kMembership) ++memberships_;
  if (record.kind == RecordKind::kData) {
    Status status = WriteSet::Visit(
        record.payload, [&](std::string_view key, std::optional<std::string_view> value) {
          auto it = rows_.find(key);
          if (it != rows_.end()) {
            digest_ -= RowHash(key, it->second);
            if (value) CheckSequence(key, *value, record.index);
          }
          if (!value) {
            if (it != rows_.end()) rows_.erase(it);
            return;
          }
          digest_ += RowHash(key, *value);
          if (it != rows_.end()) {
            it->second = *value;
          } else {
            rows_.emplace(key, *value);
          }
        });
    if (!status.ok()) Fail("a committed record is malformed: " + status.ToString());
  }
  digests_.push_back(digest_);
}

void Checker::CheckSequence(std::string_view key, std::string_view value, JournalIndex index) {
  const std::optional<ParsedKey> parsed = ParseKey(key);
  if (!parsed || parsed->table != TableId::kSlotReply) return;
  Result<SlotReplyRecord> before = SlotReplyRecord::Decode(rows_.find(key)->second);
  Result<SlotReplyRecord> now = SlotReplyRecord::Decode(value);
  if (!before.ok() || !now.ok() || now->sequence <= before->sequence) {
    Fail(
        fmt::format("exactly once: record {} carries out sequence {} of session {} slot {} behind "
                    "sequence {}",
                    index, now.ok() ? now->sequence : 0, parsed->first, parsed->second,
                    before.ok() ? before->sequence : 0));
  }
}

void Checker::CheckState(int machine, const View& state, JournalIndex applied) {
  if (applied > committed()) {
    Fail(fmt::format("machine {} has applied record {}, but {} are committed", machine, applied,
                     committed()));
    return;
  }
  uint64_t digest = 0;
  std::string difference;
  const bool newest = applied == committed();
  Status status = state.Scan("\x01", "\xff\xff", [&](std::string_view key, std::string_view value) {
    digest += RowHash(key, value);
    if (newest && difference.empty()) {
      auto it = rows_.find(key);
      if (it == rows_.end() || it->second != value) {
        difference = fmt::format("; first at a row of table {}", static_cast<int>(key[0]));
      }
    }
    return true;
  });
  if (!status.ok()) {
    Fail(fmt::format("machine {}: the state cannot be read: {}", machine, status));
  } else if (digest != digests_[applied.value()]) {
    Fail(
        fmt::format("state equality: the state of machine {} at record {} is not what the "
                    "committed records make{}",
                    machine, applied, difference));
  }
  trace_.Mix(digest, applied.value());
}

}  // namespace tercet::sim
