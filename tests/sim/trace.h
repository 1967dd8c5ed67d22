// What happened in a simulation: a hash of it, which two runs of a seed must agree on, and on
// demand lines for people.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>

#include "common/log/log.h"
#include "tests/sim/event_queue.h"

namespace tercet::sim {

/// Of bytes; not for hostile input.
inline uint64_t HashBytes(std::string_view bytes, uint64_t seed = 0) {
  uint64_t hash = seed ^ (bytes.size() * 0x9e3779b97f4a7c15u);
  auto mix = [&hash](uint64_t word) {
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  };
  while (bytes.size() >= 8) {
    uint64_t word = 0;
    __builtin_memcpy(&word, bytes.data(), 8);
    mix(word);
    bytes.remove_prefix(8);
  }
  uint64_t word = 0;
  __builtin_memcpy(&word, bytes.data(), bytes.size());
  mix(word);
  mix(hash >> 29);
  return hash;
}

class Trace {
 public:
  enum class Mode {
    kOff,
    kPrint,  // to standard output, as it happens
    kKeep,   // the newest lines only
  };
  static constexpr size_t kKeptLines = 80;

  /// `queue` must outlive the trace.
  Trace(const EventQueue& queue, Mode mode) : queue_(queue), mode_(mode) {}

  bool on() const { return mode_ != Mode::kOff; }
  void Mix(uint64_t a, uint64_t b = 0) {
    hash_ = (hash_ ^ a ^ static_cast<uint64_t>(queue_.now())) * 0x9e3779b97f4a7c15u;
    hash_ = (hash_ ^ (hash_ >> 31) ^ b) * 0xff51afd7ed558ccdu;
  }
  uint64_t hash() const { return hash_; }

  void Line(const std::string& text) {
    std::string line =
        fmt::format("{:12.6f} {}", static_cast<double>(queue_.now()) / kSecond, text);
    if (mode_ == Mode::kPrint) {
      fmt::print("{}\n", line);
    } else {
      lines_.push_back(std::move(line));
      if (lines_.size() > kKeptLines) lines_.pop_front();
    }
  }
  const std::deque<std::string>& lines() const { return lines_; }

 private:
  const EventQueue& queue_;
  const Mode mode_;
  uint64_t hash_ = 1;
  std::deque<std::string> lines_;
};

}  // namespace tercet::sim

// The arguments are evaluated only when somebody wants the line.
#define SIM_TRACE(trace, ...)                                 \
  do {                                                        \
    if ((trace).on()) (trace).Line(fmt::format(__VA_ARGS__)); \
  } while (false)
