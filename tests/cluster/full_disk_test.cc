// A small disk that fills up: the writer gets ENOSPC, everything else goes on.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

// All chunk servers' data lies on one small loop device.
class FullDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    const ShellResult mounted =
        Shell("set -e; truncate -s 400M " + image() + "; mkfs.ext4 -q -F " + image() +
              "; mkdir -p " + cluster_.directory() + "; for i in 1 2 3; do mkdir -p " +
              cluster_.directory() + "/chunk$i; done; mkdir -p " + cluster_.directory() +
              "/small; mount -o loop " + image() + " " + cluster_.directory() +
              "/small; for i in 1 2 3; do mkdir " + cluster_.directory() + "/small/c$i; ln -s " +
              cluster_.directory() + "/small/c$i " + cluster_.directory() + "/chunk$i/disk1; done");
    ASSERT_TRUE(mounted.ok()) << mounted.output;
    ASSERT_TRUE(cluster_.Up());
  }
  void TearDown() override {
    cluster_.Down();
    Shell("umount -l " + cluster_.directory() + "/small; rm -f " + image());
  }
  std::string image() const { return cluster_.directory() + ".img"; }

  Cluster cluster_;
};

TEST_F(FullDiskTest, TheWriterGetsEnospcAndDeletingMakesRoomAgain) {
  const std::string kept = Pattern(1 << 20, 1);
  WriteFile(cluster_.mount() + "/kept", kept);
  const int fd = open((cluster_.mount() + "/big").c_str(), O_CREAT | O_WRONLY, 0644);
  ASSERT_GE(fd, 0);
  const std::string piece = Pattern(1 << 20, 2);
  int error = 0;
  for (int i = 0; i < 400 && error == 0; ++i) {
    if (write(fd, piece.data(), piece.size()) < 0) error = errno;
    if (error == 0 && i % 16 == 15 && fsync(fd) != 0) error = errno;
  }
  if (close(fd) != 0 && error == 0) error = errno;
  EXPECT_EQ(error, ENOSPC) << strerror(error);
  EXPECT_EQ(ReadFile(cluster_.mount() + "/kept"), kept);
  ASSERT_EQ(unlink((cluster_.mount() + "/big").c_str()), 0);
  EXPECT_TRUE(Eventually(60, [&] {
    const int again =
        open((cluster_.mount() + "/again").c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (again < 0) return false;
    bool fine = true;
    for (int i = 0; i < 20 && fine; ++i) fine = write(again, piece.data(), piece.size()) > 0;
    fine = fsync(again) == 0 && fine;
    fine = close(again) == 0 && fine;
    return fine;
  }));
}

}  // namespace
}  // namespace tercet
