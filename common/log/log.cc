#include "common/log/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <vector>

namespace tercet {
namespace {

constexpr LogLevel kDefaultLevel = LogLevel::kInfo;

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

/// The level's name, all equally wide, in the place of %* in the pattern.
class LevelName final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    std::string_view name = Padded(message.level);
    out.append(name.data(), name.data() + name.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<LevelName>();
  }

 private:
  static std::string_view Padded(spdlog::level::level_enum level) {
    switch (level) {
      case spdlog::level::debug:
        return "DEBUG";
      case spdlog::level::info:
        return "INFO ";
      case spdlog::level::warn:
        return "WARN ";
      default:
        return "ERROR";
    }
  }
};

std::shared_ptr<spdlog::logger> MakeLogger(const std::string& node, spdlog::sink_ptr sink) {
  auto logger = std::make_shared<spdlog::logger>(node, std::move(sink));
  logger->set_level(spdlog::level::trace);  // levels are filtered before formatting, by Enabled
  logger->flush_on(spdlog::level::trace);
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<LevelName>('*').set_pattern("%Y-%m-%dT%H:%M:%S.%fZ %^%*%$ %n %v");
  logger->set_formatter(std::move(formatter));
  // A full disk must not bring the program down; spdlog would otherwise print each failure.
  logger->set_error_handler([](const std::string&) {});
  return logger;
}

/// The logger in use. Replaced by InitLogging; loggers that were replaced stay alive for threads
/// that still write to them.
struct Logging {
  std::mutex mutex;
  std::vector<std::shared_ptr<spdlog::logger>> replaced;  // guarded by mutex
  std::atomic<spdlog::logger*> current{nullptr};

  Logging() {
    Replace(MakeLogger("tercet", std::make_shared<spdlog::sinks::stderr_color_sink_mt>()));
  }
  void Replace(std::shared_ptr<spdlog::logger> logger) {
    std::lock_guard lock(mutex);
    current = logger.get();
    replaced.push_back(std::move(logger));
  }
};

Logging& TheLogging() {
  static Logging* logging = new Logging;
  return *logging;
}

bool IsPlain(std::string_view text) {
  for (unsigned char c : text) {
    if (c < 0x20 || c == 0x7f) return false;
  }
  return true;
}

std::string Escaped(std::string_view text) {
  std::string out;
  for (unsigned char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += static_cast<char>(c);
    }
  }
  return out;
}

}  // namespace

namespace log_internal {

std::atomic<int> minimum_level{static_cast<int>(kDefaultLevel)};

void Write(LogLevel level, std::string_view message, uint64_t suppressed) {
  spdlog::logger* logger = TheLogging().current;
  if (suppressed == 0 && IsPlain(message)) {
    logger->log(ToSpdlog(level), spdlog::string_view_t(message.data(), message.size()));
    return;
  }
  std::string line = Escaped(message);
  if (suppressed > 0) line += fmt::format(" not_logged={}", suppressed);
  logger->log(ToSpdlog(level), spdlog::string_view_t(line));
}

}  // namespace log_internal

Result<LogLevel> ParseLogLevel(std::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warn") return LogLevel::kWarn;
  if (name == "error") return LogLevel::kError;
  return Status(StatusCode::kInvalidArgument,
                fmt::format("log level '{}' is not one of debug, info, warn, error", name));
}

Status InitLogging(const LogOptions& options) {
  const std::string& node = options.node.empty() ? options.program : options.node;
  spdlog::sink_ptr sink;
  if (options.file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  } else {
    try {
      sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(
          options.file, options.max_file_bytes, options.max_files);
    } catch (const std::exception& error) {
      return Status(StatusCode::kIo,
                    fmt::format("log file {} cannot be opened: {}", options.file, error.what()));
    }
  }
  TheLogging().Replace(MakeLogger(node, std::move(sink)));
  SetLogLevel(options.level);
  return Status::Ok();
}

void SetLogLevel(LogLevel level) { log_internal::minimum_level = static_cast<int>(level); }

bool LogLimiter::Allow(uint64_t* suppressed) {
  int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                    std::chrono::steady_clock::now().time_since_epoch())
                    .count();
  int64_t next = next_ns_.load(std::memory_order_relaxed);
  if (now < next || !next_ns_.compare_exchange_strong(next, now + interval_ns_)) {
    suppressed_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  *suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
  return true;
}

}  // namespace tercet
