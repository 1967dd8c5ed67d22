#include "fuse_client/fuse/mount_point.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tercet {
namespace {

class MountPointTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "mount_point.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // The checks are the same for any device that opens.
  Result<std::string> Check(const std::string& path, bool nonempty = false) {
    return CheckMountPoint(path, nonempty, "/dev/null");
  }

  std::string directory_;
};

TEST_F(MountPointTest, AnEmptyDirectoryIsFineAndComesBackAbsolute) {
  std::filesystem::create_directories(directory_ + "/a");
  auto checked = Check(directory_ + "/a/../a/.");
  ASSERT_TRUE(checked.ok()) << checked.status().ToString();
  EXPECT_EQ(*checked, std::filesystem::canonical(directory_ + "/a").string());
}

TEST_F(MountPointTest, SaysWhatIsWrongWithOthers) {
  std::ofstream(directory_ + "/file") << "x";
  EXPECT_EQ(Check(directory_ + "/missing").code(), StatusCode::kNotFound);
  EXPECT_EQ(Check(directory_ + "/file").code(), StatusCode::kNotDirectory);
  EXPECT_EQ(Check(directory_).code(), StatusCode::kNotEmpty);
  EXPECT_TRUE(Check(directory_, /*nonempty=*/true).ok());
}

TEST_F(MountPointTest, AMissingFuseDeviceIsNamed) {
  auto checked = CheckMountPoint(directory_, false, directory_ + "/no-fuse");
  EXPECT_EQ(checked.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(checked.status().message().find("modprobe fuse"), std::string::npos);
}

TEST_F(MountPointTest, FindsMountsWithoutTouchingThem) {
  auto proc = MountedDevice("/proc");
  ASSERT_TRUE(proc.ok()) << proc.status().ToString();
  EXPECT_NE(proc->find(':'), std::string::npos);
  EXPECT_EQ(MountedDevice(directory_).code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace tercet
