#include "tests/sim/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>

namespace tercet::sim {
namespace {

bool Changes(const HistoryEntry& entry) { return entry.call.kind != CallKind::kRead && entry.done; }

// Whether the call, which is no read, changes a row of that version.
bool Applies(const Call& call, uint64_t version) {
  if (call.kind == CallKind::kCompareAndSet) return version == call.expected_version;
  return call.kind != CallKind::kWriteIfOdd || version % 2 == 1;
}

std::string Describe(const HistoryEntry& entry) {
  static constexpr std::string_view kNames[] = {"read", "write", "compare-and-set", "write-if-odd",
                                                "append"};
  return fmt::format(
      "{} of row {} (session {} slot {} sequence {}, {:.6f} to {:.6f}, version {}{})",
      kNames[static_cast<size_t>(entry.call.kind)], entry.call.row, entry.call.session,
      entry.call.slot, entry.call.sequence, static_cast<double>(entry.began) / kSecond,
      entry.answered == HistoryEntry::kNever ? -1.0 : static_cast<double>(entry.answered) / kSecond,
      entry.version, entry.done ? "" : ", not applied");
}

// The history of one row.
class RowCheck {
 public:
  RowCheck(std::vector<HistoryEntry> entries, bool is_list)
      : entries_(std::move(entries)), is_list_(is_list) {}

  std::string Run() {
    for (HistoryEntry& entry : entries_) {
      if (!entry.call.value.empty()) by_value_[entry.call.value] = &entry;
    }
    for (HistoryEntry& entry : entries_) {
      if (std::string wrong = NoteVersion(entry); !wrong.empty()) return wrong;
    }
    for (const HistoryEntry& entry : entries_) {
      if (std::string wrong = CheckRead(entry); !wrong.empty()) return wrong;
    }
    return CheckTime();
  }

 private:
  // A call that has a version by its answer, or by what others read.
  std::string Assign(HistoryEntry& entry, uint64_t version) {
    if (version == 0) return Describe(entry) + " made version 0";
    auto [it, fresh] = by_version_.try_emplace(version, &entry);
    if (!fresh && it->second != &entry) {
      return fmt::format("{} and {} both made version {}", Describe(*it->second), Describe(entry),
                         version);
    }
    if (entry.version != 0 && entry.version != version) {
      return fmt::format("{} is read as version {}", Describe(entry), version);
    }
    entry.version = version;
    return {};
  }

  std::string NoteVersion(HistoryEntry& entry) {
    if (entry.answered == HistoryEntry::kNever) return {};
    if (Changes(entry)) {
      if (!Applies(entry.call, entry.version - 1)) {
        return Describe(entry) + " applied to another version than it expected";
      }
      return Assign(entry, entry.version);
    }
    if (entry.call.kind != CallKind::kRead) {
      if (Applies(entry.call, entry.version)) {
        return Describe(entry) + " did not apply to the version that it expected";
      }
      return {};
    }
    return is_list_ ? NoteList(entry) : NoteValue(entry.value, entry.version, entry);
  }

  std::string NoteValue(const std::string& value, uint64_t version, const HistoryEntry& reader) {
    if (version == 0) return value.empty() ? "" : Describe(reader) + ": a value in version 0";
    auto it = by_value_.find(value);
    if (it == by_value_.end()) return Describe(reader) + " read a value that nobody wrote";
    if (it->second->answered != HistoryEntry::kNever && !it->second->done) {
      return Describe(reader) + " read what was not applied: " + Describe(*it->second);
    }
    return Assign(*it->second, version);
  }

  // The token at each place made the version of that number.
  std::string NoteList(const HistoryEntry& entry) {
    if (entry.value.size() != entry.version * kTokenBytes) {
      return Describe(entry) + fmt::format(" read a list of {} bytes", entry.value.size());
    }
    for (uint64_t version = 1; version <= entry.version; ++version) {
      std::string token = entry.value.substr((version - 1) * kTokenBytes, kTokenBytes);
      if (std::string wrong = NoteValue(token, version, entry); !wrong.empty()) return wrong;
    }
    return {};
  }

  std::string CheckRead(const HistoryEntry& entry) {
    if (entry.answered == HistoryEntry::kNever || Changes(entry) || entry.version == 0) return {};
    auto it = by_version_.find(entry.version);
    if (it == by_version_.end()) return {};  // a failed compare-and-set saw what nobody read
    if (it->second->began > entry.answered) {
      return Describe(entry) + " saw what began later: " + Describe(*it->second);
    }
    return {};
  }

  std::string CheckTime() {
    std::vector<const HistoryEntry*> by_begin;
    std::vector<const HistoryEntry*> by_end;
    for (const HistoryEntry& entry : entries_) {
      const bool answered = entry.answered != HistoryEntry::kNever;
      if (!answered && entry.version == 0) continue;  // without effect, as far as anybody saw
      by_begin.push_back(&entry);
      if (answered) by_end.push_back(&entry);
    }
    std::sort(by_begin.begin(), by_begin.end(),
              [](auto* a, auto* b) { return a->began < b->began; });
    std::sort(by_end.begin(), by_end.end(),
              [](auto* a, auto* b) { return a->answered < b->answered; });
    const HistoryEntry* newest = nullptr;  // of those answered before
    size_t ended = 0;
    for (const HistoryEntry* entry : by_begin) {
      for (; ended < by_end.size() && by_end[ended]->answered < entry->began; ++ended) {
        if (newest == nullptr || by_end[ended]->version > newest->version) newest = by_end[ended];
      }
      if (newest == nullptr) continue;
      if (entry->version < newest->version ||
          (Changes(*entry) && entry->version == newest->version)) {
        return "a stale answer: " + Describe(*entry) + " began after " + Describe(*newest);
      }
    }
    return {};
  }

  std::vector<HistoryEntry> entries_;
  const bool is_list_;
  std::unordered_map<std::string, HistoryEntry*> by_value_;
  std::map<uint64_t, HistoryEntry*> by_version_;
};

}  // namespace

std::string CheckHistory(const std::vector<HistoryEntry>& history, uint32_t first_list) {
  std::map<uint32_t, std::vector<HistoryEntry>> rows;
  for (const HistoryEntry& entry : history) rows[entry.call.row].push_back(entry);
  for (auto& [row, entries] : rows) {
    std::string wrong = RowCheck(std::move(entries), row >= first_list).Run();
    if (!wrong.empty()) return wrong;
  }
  return {};
}

}  // namespace tercet::sim
