// A mount over a fake metaserver and fake chunk servers.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "fuse_client/core/file_system.h"
#include "metaserver/ops/reads.h"
#include "tests/fuse_client/core/fake_metaserver.h"
#include "tests/fuse_client/core/fake_storage.h"

namespace tercet {

inline std::string RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

class ClientTest : public testing::Test {
 protected:
  static constexpr uint64_t kBlockSize = 64 << 10;

  explicit ClientTest(FakeMetaserverOptions options = {}, int servers = 4)
      : metaserver_(options), storage_(servers, kFakeClusterId) {
    metaserver_.SetServers(storage_.replicas());
    metaserver_.SetReplicaHost(&storage_);
  }

  void TearDown() override {
    // Interrupts, so that a test that broke the cluster does not wait for it.
    if (fs_ != nullptr) fs_->Interrupt();
    fs_.reset();
    EXPECT_THAT(metaserver_.Violations(), testing::IsEmpty());
  }

  /// Background flushes are off unless a test wants them.
  FileSystemOptions Options() {
    FileSystemOptions options;
    options.metaservers = {metaserver_.address()};
    options.host_name = "test";
    options.mount_point = "/mnt";
    options.version = "1";
    options.dirty_age = std::chrono::hours(1);
    return options;
  }
  void Mount() { Mount(Options()); }
  void Mount(FileSystemOptions options) { fs_ = MountAnother(std::move(options)); }
  std::unique_ptr<FileSystem> MountAnother(FileSystemOptions options) {
    auto mounted = FileSystem::Mount(std::move(options));
    EXPECT_TRUE(mounted.ok()) << mounted.status().ToString();
    return mounted.ok() ? std::move(*mounted) : nullptr;
  }

  OpenFilePtr Create(const std::string& name) {
    auto created = fs_->Create(fs_->root(), name, 0644, 1, 1, O_RDWR | O_EXCL);
    EXPECT_TRUE(created.ok()) << created.status().ToString();
    return created.ok() ? created->file : nullptr;
  }
  OpenFilePtr OpenAgain(FileSystem& fs, const OpenFilePtr& file, int flags = O_RDWR) {
    auto opened = fs.Open(fs_->InodeOf(file), flags);
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    return opened.ok() ? opened->file : nullptr;
  }
  static std::string ReadAll(FileSystem& fs, const OpenFilePtr& file, uint64_t offset,
                             size_t size) {
    std::string data(size, 'x');
    auto read = fs.Read(file, offset, data);
    EXPECT_TRUE(read.ok()) << read.status().ToString();
    data.resize(read.ok() ? *read : 0);
    return data;
  }
  /// What another mount sees, whatever this one buffers.
  std::string ReadFromAnotherMount(const OpenFilePtr& file) {
    auto other = MountAnother(Options());
    auto attributes = other->GetAttributes(fs_->InodeOf(file));
    EXPECT_TRUE(attributes.ok());
    const OpenFilePtr opened = OpenAgain(*other, file, O_RDONLY);
    return ReadAll(*other, opened, 0, static_cast<size_t>(attributes->size_bytes));
  }
  wire::BlockInfo BlockOf(const OpenFilePtr& file, uint64_t index) {
    wire::GetBlocksRequest request;
    request.inode = static_cast<int64_t>(fs_->InodeOf(file).value());
    request.first_index = static_cast<int64_t>(index);
    request.count = 1;
    auto response = metaserver_.Look(&GetBlocks, request);
    EXPECT_TRUE(response.ok());
    EXPECT_EQ(response->blocks.size(), 1u);
    return response->blocks.empty() ? wire::BlockInfo() : response->blocks[0];
  }

  FakeMetaserver metaserver_;
  FakeStorage storage_;
  std::unique_ptr<FileSystem> fs_;
};

}  // namespace tercet
