// What the store's tests share: environments to be typed over, and helpers to write and read.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <string>

#include "chunkserver/store/block_store.h"
#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/env/posix_disk.h"
#include "common/env/sim_disk.h"

namespace tercet {

/// A folder under /tmp that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = testing::TempDir() + "/tercet-store-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Block files on the machine's own disk.
class PosixEnvironment {
 public:
  PosixEnvironment() {
    for (int i = 0; i < 2; ++i) std::filesystem::create_directory(DiskPath(i));
  }
  Disk& disk() { return RealDisk(); }
  std::string DiskPath(int i) const { return folder_.path() + "/disk" + std::to_string(i); }
  std::string IndexPath(int i) const { return DiskPath(i) + "/index"; }
  void FlipByte(const std::string& path, uint64_t offset) {
    auto file = disk().Open(path, OpenMode::kReadWrite);
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    std::string byte(1, '\0');
    ASSERT_EQ((*file)->ReadAt(offset, byte).value(), 1u) << path << " has no byte " << offset;
    byte[0] = static_cast<char>(~byte[0]);
    ASSERT_TRUE((*file)->WriteAt(offset, byte).ok());
  }

 private:
  TemporaryFolder folder_;
};

/// Block files on a simulated disk; the indexes, which LevelDB keeps itself, in a real folder.
class SimEnvironment {
 public:
  SimEnvironment() {
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(disk_.MakeDirectories(DiskPath(i)).ok());
  }
  SimDisk& disk() { return disk_; }
  std::string DiskPath(int i) const { return "/disk" + std::to_string(i); }
  std::string IndexPath(int i) const { return folder_.path() + "/index" + std::to_string(i); }
  void FlipByte(const std::string& path, uint64_t offset) {
    Status flipped = disk_.FlipByte(path, offset);
    ASSERT_TRUE(flipped.ok()) << flipped.ToString();
  }

 private:
  SimDisk disk_;
  TemporaryFolder folder_;
};

template <typename Environment>
BlockStoreOptions OptionsFor(const Environment& environment, int disks) {
  BlockStoreOptions options;
  for (int i = 0; i < disks; ++i) {
    options.disks.push_back({environment.DiskPath(i), environment.IndexPath(i)});
  }
  options.reserve_bytes = 0;
  options.reserve_max_percent = 100;
  options.boot_id = "boot-1";
  options.settle_interval_ms = 0;  // each Maintain settles
  return options;
}

/// With the indexes on the simulated disk, too: all that a power cut leaves is decided there.
inline BlockStoreOptions AllSimulated(const SimEnvironment& environment, int disks) {
  BlockStoreOptions options = OptionsFor(environment, disks);
  for (auto& disk : options.disks) disk.index_path.clear();
  options.index_io = IndexIo::kDiskInSteps;
  return options;
}

/// Checksums of `data`, cut at page boundaries, as a frame brings them.
inline std::string PieceCrcs(uint32_t offset, std::string_view data) {
  std::string crcs;
  while (!data.empty()) {
    const size_t size = std::min<size_t>(data.size(), kPageBytes - offset % kPageBytes);
    PutFixed32(&crcs, Crc32c(data.substr(0, size)));
    offset += static_cast<uint32_t>(size);
    data.remove_prefix(size);
  }
  return crcs;
}

inline Status WriteData(BlockStore& store, BlockId block, uint32_t offset, std::string_view data,
                        bool create = true, Generation generation = Generation(1)) {
  const std::string crcs = PieceCrcs(offset, data);
  return store.Write({.block = block,
                      .generation = generation,
                      .offset = offset,
                      .data = data,
                      .piece_crcs = crcs,
                      .crcs_verified = false,
                      .create = create});
}

/// Bytes [offset, offset + length) as a client sees them: what is missing at the end is not there.
inline Result<std::string> ReadData(BlockStore& store, BlockId block, uint32_t offset,
                                    uint32_t length) {
  ASSIGN_OR_RETURN(VerifiedPages pages, store.Read(block, Generation(1), offset, length));
  EXPECT_EQ(pages.data.size() / kPageBytes * 4, pages.page_crcs.size());
  const uint32_t skip = offset % kPageBytes;
  if (pages.data.size() <= skip) return std::string();
  return pages.data.substr(skip, length);
}

/// The same by the fast way, with the caller doing the verification.
inline Result<std::string> ReadByPlan(BlockStore& store, BlockId block, uint32_t offset,
                                      uint32_t length) {
  ASSIGN_OR_RETURN(ReadPlan plan, store.PrepareRead(block, Generation(1), offset, length));
  std::string data(plan.length, '\0');
  ASSIGN_OR_RETURN(size_t count, plan.file->ReadAt(plan.file_offset, data));
  std::fill(data.begin() + static_cast<ptrdiff_t>(count), data.end(), '\0');
  EXPECT_EQ(plan.length / kPageBytes * 4, plan.page_crcs.size());
  for (uint32_t i = 0; i < plan.length / kPageBytes; ++i) {
    if (Crc32c(data.data() + i * kPageBytes, kPageBytes) !=
        DecodeFixed32(plan.page_crcs.data() + 4 * i)) {
      return Status(StatusCode::kCorruption, "page " + std::to_string(i));
    }
  }
  const uint32_t skip = offset % kPageBytes;
  if (data.size() <= skip) return std::string();
  return data.substr(skip, length);
}

/// Bytes that differ from page to page.
inline std::string Pattern(size_t size, uint64_t seed) {
  std::string data(size, '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (char& byte : data) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<char>(state);
  }
  return data;
}

#define ASSERT_OK(expr)                                \
  do {                                                 \
    auto _outcome = (expr);                            \
    ASSERT_TRUE(_outcome.ok()) << _outcome.ToString(); \
  } while (false)

}  // namespace tercet
