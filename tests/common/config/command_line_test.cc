#include "common/config/command_line.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tercet {
namespace {

class CommandLineTest : public testing::Test {
 protected:
  CommandLineTest() {
    Command server = line_.root().AddSubcommand("server", "servers");
    line_.root().RequireSubcommand();
    server.RequireSubcommand();
    Command drain = server.AddSubcommand("drain", "empty one");
    drain.AddOption("server", server_, "which");
    drain.AddOption("--reason", reason_, "why");
    drain.AddOption("--after", seconds_, "when");
    drain.OnRun([this] { ran_ = true; });
  }

  std::optional<int> Parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "program");
    return line_.Parse(static_cast<int>(arguments.size()), arguments.data());
  }

  CommandLine line_{"program", "for tests"};
  std::string server_;
  std::string reason_;
  int seconds_ = 0;
  bool ran_ = false;
};

TEST_F(CommandLineTest, ACommandWithItsOptionsRuns) {
  EXPECT_EQ(Parse({"server", "drain", "chunk1", "--reason", "old", "--after", "7"}), std::nullopt);
  EXPECT_TRUE(ran_);
  EXPECT_EQ(server_, "chunk1");
  EXPECT_EQ(reason_, "old");
  EXPECT_EQ(seconds_, 7);
}

TEST_F(CommandLineTest, EmptyValuesAreRefused) {
  EXPECT_EQ(Parse({"server", "drain", "chunk1", "--reason", ""}), 2);
  EXPECT_EQ(Parse({"server", "drain", ""}), 2);
  EXPECT_EQ(Parse({"server", "drain", "chunk1", "--after", ""}), 2);
  EXPECT_FALSE(ran_);
}

TEST_F(CommandLineTest, AnUnknownCommandIsNamed) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(Parse({"server", "drian", "chunk1"}), 2);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("'drian'"), std::string::npos);
  EXPECT_FALSE(ran_);
}

TEST_F(CommandLineTest, HelpEndsWithZero) { EXPECT_EQ(Parse({"server", "drain", "--help"}), 0); }

}  // namespace
}  // namespace tercet
