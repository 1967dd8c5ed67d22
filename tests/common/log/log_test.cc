#include "common/log/log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <thread>

namespace tercet {
namespace {

class LogTest : public testing::Test {
 protected:
  LogTest() : folder_(testing::TempDir() + "log_test_" + std::to_string(::getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~LogTest() override {
    EXPECT_TRUE(InitLogging({.program = "log_test"}).ok());
    std::filesystem::remove_all(folder_);
  }

  std::string File() const { return folder_ + "/x.log"; }
  std::vector<std::string> Lines() const {
    std::ifstream in(File());
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }

  const std::string folder_;
};

TEST_F(LogTest, OneLineHasTimeLevelNodeAndIds) {
  ASSERT_TRUE(InitLogging({.program = "p", .node = "chunk1", .file = File()}).ok());
  LOG_INFO("replica moved block={} status={}", BlockId(7), Status(StatusCode::kNotFound, "x"));
  ASSERT_EQ(Lines().size(), 1u);
  const std::regex pattern(
      "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z INFO  chunk1 replica moved block=7 "
      "status=not_found: x");
  EXPECT_TRUE(std::regex_match(Lines()[0], pattern)) << Lines()[0];
}

TEST_F(LogTest, LinesAreInTheFileAtOnce) {
  ASSERT_TRUE(InitLogging({.program = "p", .file = File()}).ok());
  LOG_WARN("first");
  EXPECT_EQ(Lines().size(), 1u);
  LOG_ERROR("second");
  EXPECT_EQ(Lines().size(), 2u);
}

TEST_F(LogTest, LevelsBelowTheMinimumAreNotEvaluated) {
  ASSERT_TRUE(InitLogging({.program = "p", .level = LogLevel::kWarn, .file = File()}).ok());
  int evaluated = 0;
  LOG_INFO("no {}", ++evaluated);
  LOG_DEBUG("no {}", ++evaluated);
  EXPECT_EQ(evaluated, 0);
  SetLogLevel(LogLevel::kDebug);
  LOG_DEBUG("yes {}", ++evaluated);
  EXPECT_EQ(evaluated, 1);
  ASSERT_EQ(Lines().size(), 1u);
  EXPECT_NE(Lines()[0].find(" DEBUG p yes 1"), std::string::npos);
}

TEST_F(LogTest, AMessageCannotForgeALine) {
  ASSERT_TRUE(InitLogging({.program = "p", .file = File()}).ok());
  LOG_INFO("name={}", "a\nERROR meta1 \x1b[31m {} forged");
  ASSERT_EQ(Lines().size(), 1u);
  EXPECT_NE(Lines()[0].find("name=a\\nERROR meta1 \\x1b[31m {} forged"), std::string::npos);
}

TEST_F(LogTest, TheLimitedFormCountsWhatItLeavesOut) {
  ASSERT_TRUE(InitLogging({.program = "p", .file = File()}).ok());
  for (int i = 0; i < 1000; ++i) LOG_WARN_LIMITED("disk error {}", i);
  EXPECT_LT(Lines().size(), 100u);
  EXPECT_NE(Lines()[0].find("disk error 0"), std::string::npos);
}

TEST(LogLimiterTest, LetsOneThroughPerIntervalAndCounts) {
  LogLimiter never_again(std::chrono::hours(1));
  uint64_t suppressed = 99;
  EXPECT_TRUE(never_again.Allow(&suppressed));
  EXPECT_EQ(suppressed, 0u);
  EXPECT_FALSE(never_again.Allow(&suppressed));
  LogLimiter always(std::chrono::nanoseconds(0));
  EXPECT_TRUE(always.Allow(&suppressed));
  EXPECT_TRUE(always.Allow(&suppressed));
}

TEST_F(LogTest, FilesAreRotatedAndBounded) {
  ASSERT_TRUE(
      InitLogging({.program = "p", .file = File(), .max_file_bytes = 1000, .max_files = 2}).ok());
  for (int i = 0; i < 100; ++i) LOG_INFO("{}", std::string(100, 'x'));
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    EXPECT_LE(entry.file_size(), 1000u);
    ++files;
  }
  EXPECT_EQ(files, 3u);
}

TEST_F(LogTest, ThreadsDoNotMixTheirLines) {
  ASSERT_TRUE(InitLogging({.program = "p", .file = File()}).ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 100; ++i) LOG_INFO("thread={} end", t);
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(Lines().size(), 400u);
  for (const std::string& line : Lines()) EXPECT_TRUE(line.ends_with(" end")) << line;
}

TEST_F(LogTest, AFileThatCannotBeOpenedIsAnError) {
  Status status = InitLogging({.program = "p", .file = "/proc/nonexistent/x.log"});
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_NE(status.message().find("/proc/nonexistent/x.log"), std::string::npos);
}

TEST(LogLevelTest, NamesAreParsed) {
  EXPECT_EQ(*ParseLogLevel("debug"), LogLevel::kDebug);
  EXPECT_EQ(*ParseLogLevel("error"), LogLevel::kError);
  EXPECT_EQ(ParseLogLevel("loud").code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tercet
