// Logging: one line per event.
//
//   2024-05-01T12:00:00.123456Z INFO  meta1 chunk server registered server=3 address=10.0.0.7:7100
//
// UTC with microseconds, level, node, then a sentence and key=value ids. Format strings are checked
// by the compiler; strong ids and Status print as they are. Control characters in a message are
// escaped, so that nothing a peer sends can forge a line.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"

namespace tercet {

enum class LogLevel { kDebug = 0, kInfo = 1, kWarn = 2, kError = 3 };

/// "debug", "info", "warn" or "error"; kInvalidArgument otherwise.
Result<LogLevel> ParseLogLevel(std::string_view name);

struct LogOptions {
  std::string program = {};  // "tercet-metaserver"
  std::string node = {};     // in every line; the program when empty
  LogLevel level = LogLevel::kInfo;
  std::string file = {};  // standard error when empty
  size_t max_file_bytes =
      64 << 20;  // then the file is renamed to FILE.1 (name.1.ext) and a new one begun
  size_t max_files = 5;
};

/// To be called once at the start; kIo when the file cannot be opened. Before it, everything from
/// kInfo up goes to standard error. Lines are handed to the kernel one by one: a killed process
/// loses none.
Status InitLogging(const LogOptions& options);

/// May change at any time. Thread-safe.
void SetLogLevel(LogLevel level);

/// Lets one event through per `interval` and counts the others: one static object per place that
/// may fail thousands of times a second. Thread-safe.
class LogLimiter {
 public:
  explicit constexpr LogLimiter(std::chrono::nanoseconds interval = std::chrono::seconds(1))
      : interval_ns_(interval.count()) {}
  /// True when the event may be logged; then `suppressed` is how many were not since the last one.
  bool Allow(uint64_t* suppressed);

 private:
  const int64_t interval_ns_;
  std::atomic<int64_t> next_ns_{0};
  std::atomic<uint64_t> suppressed_{0};
};

namespace log_internal {

extern std::atomic<int> minimum_level;
inline bool Enabled(LogLevel level) {
  return static_cast<int>(level) >= minimum_level.load(std::memory_order_relaxed);
}
void Write(LogLevel level, std::string_view message, uint64_t suppressed);

}  // namespace log_internal
}  // namespace tercet

template <typename Tag, typename Rep>
struct fmt::formatter<tercet::StrongId<Tag, Rep>> : fmt::formatter<Rep> {
  template <typename Context>
  auto format(tercet::StrongId<Tag, Rep> id, Context& context) const {
    return fmt::formatter<Rep>::format(id.value(), context);
  }
};

template <>
struct fmt::formatter<tercet::Status> : fmt::formatter<std::string> {
  template <typename Context>
  auto format(const tercet::Status& status, Context& context) const {
    return fmt::formatter<std::string>::format(status.ToString(), context);
  }
};

// The arguments are evaluated only when the level is on.
#define TERCET_LOG(level, ...)                                             \
  do {                                                                     \
    if (::tercet::log_internal::Enabled(level)) {                          \
      ::tercet::log_internal::Write(level, ::fmt::format(__VA_ARGS__), 0); \
    }                                                                      \
  } while (false)
#define LOG_DEBUG(...) TERCET_LOG(::tercet::LogLevel::kDebug, __VA_ARGS__)
#define LOG_INFO(...) TERCET_LOG(::tercet::LogLevel::kInfo, __VA_ARGS__)
#define LOG_WARN(...) TERCET_LOG(::tercet::LogLevel::kWarn, __VA_ARGS__)
#define LOG_ERROR(...) TERCET_LOG(::tercet::LogLevel::kError, __VA_ARGS__)

/// At most one line a second from this place in the code; the line says how many were left out.
#define LOG_WARN_LIMITED(...)                                                              \
  do {                                                                                     \
    static ::tercet::LogLimiter _limiter;                                                  \
    uint64_t _suppressed = 0;                                                              \
    if (_limiter.Allow(&_suppressed)) {                                                    \
      ::tercet::log_internal::Write(::tercet::LogLevel::kWarn, ::fmt::format(__VA_ARGS__), \
                                    _suppressed);                                          \
    }                                                                                      \
  } while (false)
