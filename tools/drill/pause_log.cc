#include "tools/drill/pause_log.h"

#include <algorithm>
#include <cmath>

namespace tercet {

void PauseLog::Begin(const char* operation) {
  std::lock_guard lock(mutex_);
  running_ = operation;
  running_since_ = Clock::now();
}

void PauseLog::End() {
  std::lock_guard lock(mutex_);
  const Operation ended{running_, running_since_, Clock::now()};
  running_ = nullptr;
  last_begin_ended_ = ended.begin;
  ++count_;
  const auto took = ended.end - ended.begin;
  if (took < kQuick) {
    if (took >= quick_.end - quick_.begin) quick_ = ended;
  } else if (slow_.size() < kMaxKept) {
    slow_.push_back(ended);
  } else {
    auto shortest = std::min_element(
        slow_.begin(), slow_.end(),
        [](const Operation& a, const Operation& b) { return a.end - a.begin < b.end - b.begin; });
    if (shortest->end - shortest->begin < took) *shortest = ended;
  }
}

uint64_t PauseLog::count() const {
  std::lock_guard lock(mutex_);
  return count_;
}

void PauseLog::ForgetBefore(Clock::time_point time) {
  std::lock_guard lock(mutex_);
  std::erase_if(slow_, [&](const Operation& operation) { return operation.end < time; });
  quick_ = {"", {}, {}};
}

ThreadPause PauseLog::LongestSince(Clock::time_point time) const {
  std::lock_guard lock(mutex_);
  ThreadPause pause;
  const auto consider = [&](const char* name, Clock::time_point begin, Clock::time_point end) {
    if (end < time || end - begin <= pause.longest) return;
    pause.longest = end - begin;
    pause.operation = name;
  };
  consider(quick_.name, quick_.begin, quick_.end);
  for (const Operation& operation : slow_) consider(operation.name, operation.begin, operation.end);
  if (running_ != nullptr) consider(running_, running_since_, Clock::now());
  return pause;
}

bool PauseLog::HasEndedOneBegunAfter(Clock::time_point time) const {
  std::lock_guard lock(mutex_);
  return count_ > 0 && last_begin_ended_ > time;
}

LoadPause PauseOfLoad(const std::vector<ThreadPause>& threads) {
  LoadPause pause;
  std::vector<std::chrono::nanoseconds> all;
  for (const ThreadPause& thread : threads) {
    all.push_back(thread.longest);
    if (thread.longest < pause.longest) continue;
    pause.longest = thread.longest;
    pause.operation = thread.operation;
  }
  std::sort(all.begin(), all.end());
  if (!all.empty()) pause.median_of_threads = all[all.size() / 2];
  return pause;
}

std::chrono::nanoseconds PercentileOf(std::vector<std::chrono::nanoseconds> pauses, double share) {
  if (pauses.empty()) return std::chrono::nanoseconds(0);
  std::sort(pauses.begin(), pauses.end());
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(pauses.size())));
  return pauses[std::max<size_t>(rank, 1) - 1];
}

}  // namespace tercet
