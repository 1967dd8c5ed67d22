// Measures the store on a folder: store_benchmark FOLDER. Prints rates; not a test.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>

#include "chunkserver/store/block_store.h"
#include "chunkserver/store/replica_index.h"
#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/env/clock.h"
#include "common/env/posix_disk.h"

namespace tercet {
namespace {

constexpr Generation kFirst(1);

/// Runs `step` for 0 … count - 1 and prints how long one took.
void Measure(const char* what, uint64_t count, const std::function<Status(uint64_t)>& step) {
  const auto start = std::chrono::steady_clock::now();
  for (uint64_t i = 0; i < count; ++i) {
    if (Status status = step(i); !status.ok()) {
      std::printf("%s: %s\n", what, status.ToString().c_str());
      return;
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("%-36s %8.1f us  %10.0f /s\n", what, took.count() / count * 1e6,
              count / took.count());
}

std::string Crcs(const std::string& data) {
  std::string crcs;
  for (size_t at = 0; at < data.size(); at += kPageBytes) {
    PutFixed32(&crcs, Crc32c(std::string_view(data).substr(at, kPageBytes)));
  }
  return crcs;
}

WriteArguments Write(uint64_t block, uint64_t offset, const std::string& data,
                     const std::string& crcs) {
  return {.block = BlockId(block),
          .generation = kFirst,
          .offset = static_cast<uint32_t>(offset),
          .data = data,
          .piece_crcs = crcs,
          .crcs_verified = true,
          .create = true};
}

void MeasureStore(const std::string& folder) {
  BlockStoreOptions options;
  options.disks = {{.path = folder, .index_path = ""}};
  auto opened = BlockStore::Open(RealDisk(), RealClock(), SystemRandom(), options);
  if (!opened.ok()) {
    std::printf("%s\n", opened.status().ToString().c_str());
    return;
  }
  BlockStore& store = **opened;
  const std::string page(4096, 'p'), large(1 << 20, 'l');
  const std::string page_crc = Crcs(page), large_crcs = Crcs(large);
  Measure("create with 4 KiB", 5000,
          [&](uint64_t i) { return store.Write(Write(1000 + i, 0, page, page_crc)); });
  Measure("create with 4 KiB and sync", 300, [&](uint64_t i) {
    RETURN_IF_ERROR(store.Write(Write(10'000 + i, 0, page, page_crc)));
    return store.Sync(BlockId(10'000 + i), kFirst);
  });
  Measure("write 1 MiB, new", 256, [&](uint64_t i) {
    return store.Write(Write(1 + i / 64, (i % 64) << 20, large, large_crcs));
  });
  Measure("write 1 MiB, over", 256, [&](uint64_t i) {
    return store.Write(Write(1 + i / 64, (i % 64) << 20, large, large_crcs));
  });
  Measure("write 4 KiB, over", 50'000, [&](uint64_t i) {
    return store.Write(Write(1 + i % 4, (i * 7919 % 16384) * 4096, page, page_crc));
  });
  Measure("write 4 KiB, over, and sync", 300, [&](uint64_t i) {
    RETURN_IF_ERROR(store.Write(Write(1, (i * 7919 % 16384) * 4096, page, page_crc)));
    return store.Sync(BlockId(1), kFirst);
  });
  Measure("prepare a read of 1 MiB", 100'000, [&](uint64_t i) {
    return store.PrepareRead(BlockId(1 + i % 4), kFirst, (i % 64) << 20, 1 << 20).status();
  });
  Measure("verified read of 1 MiB", 512, [&](uint64_t i) {
    return store.Read(BlockId(1 + i % 4), kFirst, (i % 64) << 20, 1 << 20).status();
  });
  Measure("open a replica and read 4 KiB", 5000,
          [&](uint64_t i) { return store.Read(BlockId(1000 + i), kFirst, 0, 4096).status(); });
  Measure("delete", 5000, [&](uint64_t i) { return store.MoveToTrash(BlockId(1000 + i), kFirst); });
}

void MeasureIndex(const std::string& path) {
  constexpr uint64_t kRows = 1'000'000;
  {
    auto index = ReplicaIndex::StartRebuild({.path = path, .boot_id = "boot"});
    if (!index.ok()) return;
    std::vector<ReplicaRow> batch;
    for (uint64_t i = 0; i < kRows; ++i) {
      batch.push_back({.block = BlockId(i * 3 + 1), .generation = kFirst, .era = Era(1)});
      if (batch.size() < 1000) continue;
      if (!(*index)->AddBatch(batch).ok()) return;
      batch.clear();
    }
    if (!(*index)->FinishRebuild().ok()) return;
  }
  Measure("open an index of 1,000,000 replicas", 1, [&](uint64_t) {
    std::optional<IndexState> state;
    return ReplicaIndex::Open({.path = path, .boot_id = "boot"}, &state, {}).status();
  });
}

}  // namespace
}  // namespace tercet

int main(int argc, char** argv) {
  if (argc != 2) {
    std::printf("usage: store_benchmark FOLDER (an empty one)\n");
    return 2;
  }
  const std::string folder = argv[1];
  std::filesystem::create_directories(folder + "/disk");
  tercet::MeasureStore(folder + "/disk");
  tercet::MeasureIndex(folder + "/index");
  return 0;
}
