#include "tools/run_program.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tools/data_image.h"
#include "tools/dev_cluster.h"

namespace tercet {
namespace {

TEST(RunProgramTest, InputGoesInAndOutputComesBack) {
  auto output = RunProgram({"cat"}, "a line\n");
  ASSERT_TRUE(output.ok()) << output.status().ToString();
  EXPECT_EQ(*output, "a line\n");
}

TEST(RunProgramTest, AFailureCarriesWhatTheProgramSaid) {
  auto output = RunProgram({"sh", "-c", "echo no such table >&2; exit 3"});
  EXPECT_EQ(output.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(output.status().message(), "sh: no such table");
  EXPECT_EQ(RunProgram({"tercet-no-such-program"}).code(), StatusCode::kNotFound);
}

TEST(RunProgramTest, AProgramThatHangsIsKilled) {
  EXPECT_EQ(RunProgram({"sleep", "1000"}, "", std::chrono::milliseconds(50)).code(),
            StatusCode::kDeadlineExceeded);
}

TEST(DataImageTest, APowerCutDropsWhatWasNotSynced) {
  std::string root = testing::TempDir() + "data_image_test.XXXXXX";
  ASSERT_NE(mkdtemp(root.data()), nullptr);
  const std::string image = root + "/data.img";
  const std::string folder = root + "/data";
  const Status mounted = MountDataImage(image, folder, 64 << 20);
  if (!mounted.ok()) {
    std::filesystem::remove_all(root);
    GTEST_SKIP() << "loop devices cannot be mounted here: " << mounted.ToString();
  }
  ASSERT_TRUE(MountDataImage(image, folder, 64 << 20).ok()) << "a second time";
  std::ofstream(folder + "/synced") << "kept";
  ASSERT_TRUE(RunProgram({"sync", "-f", folder + "/synced"}).ok());
  std::ofstream(folder + "/unsynced") << "gone";
  ASSERT_TRUE(CutPower(folder).ok());
  EXPECT_FALSE(std::ofstream(folder + "/after").good());
  ASSERT_TRUE(UnmountDataImage(folder).ok());
  ASSERT_TRUE(UnmountDataImage(folder).ok());
  ASSERT_TRUE(MountDataImage(image, folder, 64 << 20).ok());
  EXPECT_TRUE(std::filesystem::exists(folder + "/synced"));
  EXPECT_FALSE(std::filesystem::exists(folder + "/unsynced"));
  EXPECT_TRUE(UnmountDataImage(folder).ok());
  EXPECT_EQ(CutPower(folder).code(), StatusCode::kNotSupported) << "nothing is mounted";
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace tercet
