// Bytes that change on a chunk server's disk must never reach a reader.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "common/env/random.h"
#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

class CorruptionTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(cluster_.Up()); }
  std::string Path(const std::string& name) { return cluster_.mount() + "/" + name; }

  // The replica files of one server that are larger than `minimum` bytes.
  std::vector<std::string> ReplicaFiles(const std::string& server, uintmax_t minimum) {
    std::vector<std::string> found;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(cluster_.node_directory(server))) {
      const std::string path = entry.path().string();
      if (!entry.is_regular_file() || entry.file_size() < minimum) continue;
      if (path.find("/blocks/") != std::string::npos) found.push_back(path);
    }
    return found;
  }

  static void FlipByte(const std::string& path, uint64_t offset) {
    const int fd = open(path.c_str(), O_RDWR);
    ASSERT_GE(fd, 0) << path;
    char byte;
    ASSERT_EQ(pread(fd, &byte, 1, static_cast<off_t>(offset)), 1);
    byte = static_cast<char>(byte ^ 0x40);
    ASSERT_EQ(pwrite(fd, &byte, 1, static_cast<off_t>(offset)), 1);
    close(fd);
  }

  std::string ReadUncached(const std::string& name) {
    return Shell("dd if=" + Path(name) + " bs=1M iflag=direct status=none", 60).output;
  }

  Cluster cluster_;
};

TEST_F(CorruptionTest, AFlippedByteInAnyReplicaIsNeverReturned) {
  const std::string data = Pattern(3 << 20, 42);
  WriteFile(Path("f"), data);
  SeededRandom random(7);
  for (const std::string server : {"chunk1", "chunk2", "chunk3"}) {
    const auto files = ReplicaFiles(server, 2 << 20);
    ASSERT_EQ(files.size(), 1u) << server;
    const uint64_t size = std::filesystem::file_size(files[0]);
    // Two of three replicas damaged at once, at other places each time; the third one serves.
    for (int round = 0; round < 20; ++round) {
      const uint64_t offset = random.Below(size);
      FlipByte(files[0], offset);
      EXPECT_TRUE(ReadUncached("f") == data) << server << " offset " << offset;
      FlipByte(files[0], offset);  // and back
    }
    FlipByte(files[0], size - 100'000);
    EXPECT_TRUE(ReadUncached("f") == data);
    FlipByte(files[0], size - 100'000);
  }
}

TEST_F(CorruptionTest, WithEveryReplicaDamagedTheReaderGetsAnErrorNotTheBytes) {
  const std::string data = Pattern(3 << 20, 43);
  WriteFile(Path("f"), data);
  for (const std::string server : {"chunk1", "chunk2", "chunk3"}) {
    const auto files = ReplicaFiles(server, 2 << 20);
    ASSERT_EQ(files.size(), 1u);
    FlipByte(files[0], std::filesystem::file_size(files[0]) - 50'000);
  }
  const int fd = open(Path("f").c_str(), O_RDONLY | O_DIRECT);
  ASSERT_GE(fd, 0);
  void* buffer = nullptr;
  ASSERT_EQ(posix_memalign(&buffer, 4096, 1 << 20), 0);
  EXPECT_EQ(pread(fd, buffer, 1 << 20, 2 << 20), -1);
  EXPECT_EQ(errno, EIO);
  // Other parts of the file are still served.
  EXPECT_EQ(pread(fd, buffer, 1 << 20, 0), 1 << 20);
  EXPECT_EQ(memcmp(buffer, data.data(), 1 << 20), 0);
  free(buffer);
  close(fd);
}

}  // namespace
}  // namespace tercet
