#include "fuse_client/fuse/mount_options.h"

#include <gtest/gtest.h>

namespace tercet {
namespace {

Result<MountCommand> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "tercet-mount");
  return ParseMountCommand(static_cast<int>(arguments.size()), arguments.data());
}

TEST(MountOptions, TakesTheFormThatMountEightUses) {
  auto command = Parse({"a:1,b:2", "/mnt/x", "-o", "ro,noatime,timeout=5s,_netdev,x-systemd.a=b"});
  ASSERT_TRUE(command.ok()) << command.status().ToString();
  const MountOptions& options = command->options;
  ASSERT_EQ(options.metaservers.size(), 2u);
  EXPECT_EQ(options.metaservers[1], (HostPort{"b", 2}));
  EXPECT_EQ(options.mount_point, "/mnt/x");
  EXPECT_TRUE(options.read_only);
  EXPECT_EQ(options.timeout.count(), 5000);
  EXPECT_EQ(options.kernel_options, std::vector<std::string>{"noatime"});
}

TEST(MountOptions, LaterOptionsWinAndSizesHaveUnits) {
  auto command = Parse({"a:1", "/m", "-o", "ro,rw,write_buffer=16M", "-o", "read_ahead=0,hard"});
  ASSERT_TRUE(command.ok()) << command.status().ToString();
  EXPECT_FALSE(command->options.read_only);
  EXPECT_TRUE(command->options.hard);
  EXPECT_EQ(command->options.write_buffer_bytes, 16u << 20);
  EXPECT_EQ(command->options.read_ahead_bytes, 0u);
}

TEST(MountOptions, SaysWhichArgumentIsWrong) {
  const struct {
    const char* option;
    const char* expected;
  } kCases[] = {
      {"timeout=soon", "timeout=soon"},
      {"timeout=5parsecs", "timeout=5parsecs"},
      {"write_buffer=1", "write_buffer=1"},
      {"colour=red", "colour"},
      {"log_level=loud", "log_level=loud"},
      {"metrics_port=70000", "metrics_port=70000"},
      {"timeout", "timeout"},
  };
  for (const auto& test : kCases) {
    auto command = Parse({"a:1", "/m", "-o", test.option});
    ASSERT_FALSE(command.ok()) << test.option;
    EXPECT_EQ(command.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(command.status().message().find(test.expected), std::string::npos)
        << command.status().message();
  }
}

TEST(MountOptions, NeedsAMetaserverAndAMountPoint) {
  unsetenv("TERCET_META");
  EXPECT_FALSE(Parse({}).ok());
  EXPECT_FALSE(Parse({"a:1"}).ok());
  EXPECT_FALSE(Parse({"no-port", "/m"}).ok());
  EXPECT_FALSE(Parse({"a:1", "/m", "--unknown-flag"}).ok());
}

TEST(MountOptions, HelpListsTheMountOptions) {
  auto command = Parse({"--help"});
  ASSERT_TRUE(command.ok());
  EXPECT_EQ(command->action, MountCommand::Action::kPrint);
  EXPECT_NE(command->text.find("write_buffer"), std::string::npos);
}

}  // namespace
}  // namespace tercet
