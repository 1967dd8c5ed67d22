// Reads of a data plane: what is returned can be verified, and what cannot be is not returned.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "chunkserver/replication/data_plane_metrics.h"
#include "chunkserver/store/replica_format.h"
#include "common/env/posix_disk.h"
#include "common/env/sim_disk.h"
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers

constexpr ServerId kSelf{4};
constexpr BlockId kBlock{77};
constexpr Generation kFirst{1};

/// True when every page of the answer has the checksum it came with.
bool ChecksumsMatch(const Answer& answer) {
  return answer.payload.size() % kPageBytes == 0 &&
         PieceCrcs(0, answer.payload) == answer.page_crcs;
}

/// Changes one byte of the replica's data behind the store's back.
void FlipByte(TestServer& server, BlockId block, uint32_t offset) {
  auto stat = server.store().Stat(block);
  ASSERT_TRUE(stat.ok()) << stat.status().ToString();
  const int file = ::open(stat->file_path.c_str(), O_RDWR);
  ASSERT_GE(file, 0) << stat->file_path;
  char byte = 0;
  ASSERT_EQ(::pread(file, &byte, 1, kDataOffset + offset), 1);
  byte = static_cast<char>(byte ^ 0x10);
  ASSERT_EQ(::pwrite(file, &byte, 1, kDataOffset + offset), 1);
  ::close(file);
}

/// The machine's own disk, until its replicas become unreadable: by sendfile, and perhaps by a
/// read.
class FailingDisk final : public Disk {
 public:
  ~FailingDisk() override {
    if (write_only_ >= 0) ::close(write_only_);
  }
  void FailReplicas(bool by_read) {
    read_fails_ = by_read;
    sendfile_fails_ = true;
  }

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk_.Open(path, mode));
    if (!path.ends_with(".blk")) return file;
    return std::unique_ptr<File>(std::make_unique<FailingFile>(*this, std::move(file)));
  }
  Status Rename(const std::string& from, const std::string& to) override {
    return disk_.Rename(from, to);
  }
  Status Remove(const std::string& path) override { return disk_.Remove(path); }
  Status MakeDirectories(const std::string& path) override { return disk_.MakeDirectories(path); }
  Status SyncDirectory(const std::string& path) override { return disk_.SyncDirectory(path); }
  Result<std::vector<std::string>> List(const std::string& path) override {
    return disk_.List(path);
  }
  Result<bool> Exists(const std::string& path) override { return disk_.Exists(path); }
  Result<DiskSpace> Space(const std::string& path) override { return disk_.Space(path); }
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return disk_.Lock(path);
  }

 private:
  class FailingFile final : public File {
   public:
    FailingFile(const FailingDisk& disk, std::unique_ptr<File> file)
        : disk_(disk), file_(std::move(file)) {}
    Result<size_t> ReadAt(uint64_t offset, std::span<char> out) const override {
      if (disk_.read_fails_) return Status(StatusCode::kIo, "a bad sector");
      return file_->ReadAt(offset, out);
    }
    Status WriteAt(uint64_t offset, std::string_view data) override {
      return file_->WriteAt(offset, data);
    }
    Status WriteVectorAt(uint64_t offset, std::span<const iovec> pieces) override {
      return file_->WriteVectorAt(offset, pieces);
    }
    Status Sync() override { return file_->Sync(); }
    Status Truncate(uint64_t size) override { return file_->Truncate(size); }
    Status Allocate(uint64_t size) override { return file_->Allocate(size); }
    Result<uint64_t> Size() const override { return file_->Size(); }
    /// One that may only be written to is as bad for sendfile as a bad sector.
    int descriptor() const override {
      return disk_.sendfile_fails_ ? disk_.write_only_ : file_->descriptor();
    }

   private:
    const FailingDisk& disk_;
    const std::unique_ptr<File> file_;
  };

  Disk& disk_ = RealDisk();
  const int write_only_ = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  std::atomic<bool> read_fails_{false};
  std::atomic<bool> sendfile_fails_{false};
};

class ReadTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(client_.Write({.block = kBlock, .data = data_}).status.ok());
  }

  TestServer server_{kSelf, {}};
  RawClient client_{server_};
  const std::string data_ = Pattern(1, 100'000);
};

TEST_F(ReadTest, ReturnsPagesWithTheirChecksums) {
  for (const bool verified : {false, true}) {
    const Answer answer = client_.Read(kBlock, kFirst, 5'000, 10'000, verified);
    ASSERT_TRUE(answer.status.ok()) << answer.status.ToString();
    // From the page of byte 5000 to that of byte 14999.
    EXPECT_EQ(answer.payload, data_.substr(4'096, 12'288));
    EXPECT_TRUE(ChecksumsMatch(answer));
  }
}

TEST_F(ReadTest, EndsWhereTheReplicaEnds) {
  const size_t pages = (data_.size() + kPageBytes - 1) / kPageBytes;
  for (const bool verified : {false, true}) {
    const Answer answer = client_.Read(kBlock, kFirst, 0, 1 << 20, verified);
    ASSERT_TRUE(answer.status.ok()) << answer.status.ToString();
    EXPECT_EQ(answer.payload.size(), pages * kPageBytes);
    EXPECT_EQ(answer.payload.substr(0, data_.size()), data_);
    EXPECT_EQ(answer.payload.substr(data_.size()),
              std::string(pages * kPageBytes - data_.size(), '\0'));
    EXPECT_TRUE(ChecksumsMatch(answer));
    EXPECT_TRUE(client_.Read(kBlock, kFirst, 2 << 20, 4096, verified).payload.empty());
  }
}

TEST_F(ReadTest, HolesAreZerosWithTheirChecksums) {
  ASSERT_TRUE(client_.Write({.block = kBlock, .offset = 1'000'000, .data = "x"}).status.ok());
  for (const bool verified : {false, true}) {
    const Answer answer = client_.Read(kBlock, kFirst, 500'000, 4'096, verified);
    ASSERT_TRUE(answer.status.ok()) << answer.status.ToString();
    EXPECT_EQ(answer.payload, std::string(8'192, '\0'));
    EXPECT_TRUE(ChecksumsMatch(answer));
  }
}

TEST_F(ReadTest, AnotherGenerationIsRefused) {
  for (const bool verified : {false, true}) {
    const Answer answer = client_.Read(kBlock, Generation(2), 0, 4'096, verified);
    EXPECT_EQ(answer.status.code(), StatusCode::kStaleGeneration);
    EXPECT_TRUE(answer.payload.empty());
  }
  EXPECT_EQ(server_.data_plane().counters().stale_generations.load(), 2u);
}

TEST_F(ReadTest, OutOfBoundsIsRefusedAndTheConnectionGoesOn) {
  EXPECT_EQ(client_.Read(kBlock, kFirst, 0, 0).status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(client_.Read(kBlock, kFirst, 0, (1 << 20) + 1).status.code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(client_.Read(kBlock, kFirst, 0xffff'ff00u, 10).status.code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(client_.Read(kBlock, kFirst, kMaxBlockBytes, 1).status.code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(client_.Read(BlockId(1234), kFirst, 0, 1).status.code(), StatusCode::kNotFound);
  EXPECT_TRUE(client_.Read(kBlock, kFirst, 0, 1).status.ok());
}

TEST_F(ReadTest, FlippedByteIsSeenByTheReaderAndRefusedWhenVerified) {
  FlipByte(server_, kBlock, 50'000);
  const Answer fast = client_.Read(kBlock, kFirst, 49'152, 4'096);
  ASSERT_TRUE(fast.status.ok());
  EXPECT_FALSE(ChecksumsMatch(fast)) << "the reader has to notice";
  const Answer verified = client_.Read(kBlock, kFirst, 49'152, 4'096, true);
  EXPECT_EQ(verified.status.code(), StatusCode::kCorruption) << verified.status.ToString();
  EXPECT_TRUE(verified.payload.empty());
  EXPECT_EQ(server_.data_plane().counters().corrupt_reads.load(), 1u);
  // Other pages are as good as before.
  const Answer other = client_.Read(kBlock, kFirst, 0, 49'152, true);
  ASSERT_TRUE(other.status.ok()) << other.status.ToString();
  EXPECT_EQ(other.payload, data_.substr(0, 49'152));
}

TEST_F(ReadTest, DiskWithoutDescriptorsIsReadThroughMemory) {
  SimDisk disk;
  TestServer server(ServerId(5), {}, &disk);
  RawClient client(server);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = data_}).status.ok());
  const Answer answer = client.Read(kBlock, kFirst, 0, 1 << 20);
  ASSERT_TRUE(answer.status.ok()) << answer.status.ToString();
  EXPECT_EQ(answer.payload.substr(0, data_.size()), data_);
  EXPECT_TRUE(ChecksumsMatch(answer));
}

TEST_F(ReadTest, ABadSectorThatIsMetWhileItIsSentIsTheDisksFailure) {
  FailingDisk disk;
  TestServer server(ServerId(5), {}, &disk);
  RawClient client(server);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = data_}).status.ok());
  disk.FailReplicas(/*by_read=*/true);
  client.SendRead(kBlock, kFirst, 0, 1 << 20);
  EXPECT_FALSE(client.Receive().ok()) << "the connection has to end in mid-frame";
  EXPECT_TRUE(Eventually([&] { return !server.store().Disks().at(0).healthy; }));
  // Whoever comes next gets an answer.
  EXPECT_EQ(RawClient(server).Read(kBlock, kFirst, 0, 1 << 20).status.code(), StatusCode::kIo);
}

TEST_F(ReadTest, WhatTheStoreCanReadIsNoFailureOfTheDisk) {
  FailingDisk disk;
  TestServer server(ServerId(5), {}, &disk);
  RawClient client(server);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = data_}).status.ok());
  disk.FailReplicas(/*by_read=*/false);
  const uint64_t reads = server.store().counters().reads.load();
  client.SendRead(kBlock, kFirst, 0, 1 << 20);
  EXPECT_FALSE(client.Receive().ok());
  EXPECT_TRUE(Eventually([&] { return server.store().counters().reads.load() == reads + 2; }));
  EXPECT_TRUE(server.store().Disks().at(0).healthy);
}

TEST_F(ReadTest, CountersAreExportedByWhatTheyGrew) {
  DataPlaneCounters exported;
  ExportDataPlaneCounters(server_.data_plane().counters(), &exported);
  const auto value = [](const std::string& name) {
    const std::string text = MetricsText();
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  };
  const double reads = value("tercet_data_plane_reads_total");
  const double bytes = value("tercet_data_plane_read_bytes_total");
  for (int i = 0; i < 3; ++i) client_.Read(kBlock, kFirst, 0, 4'096);
  ExportDataPlaneCounters(server_.data_plane().counters(), &exported);
  ExportDataPlaneCounters(server_.data_plane().counters(), &exported);  // adds nothing
  EXPECT_EQ(value("tercet_data_plane_reads_total"), reads + 3);
  EXPECT_EQ(value("tercet_data_plane_read_bytes_total"), bytes + 3 * 4'096);
}

// A page is torn for a fast reader at most; verified, every read is right while a writer goes on.
TEST_F(ReadTest, VerifiedReadsAreNeverTornByAWriter) {
  constexpr size_t kBytes = 64 << 10;
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    RawClient client(server_);
    for (char value = 'a'; !stop; value = value == 'z' ? 'a' : static_cast<char>(value + 1)) {
      const std::string all(kBytes, value);
      ASSERT_TRUE(client.Write({.block = kBlock, .data = all}).status.ok());
    }
  });
  int changes = 0;
  char last = 0;
  while (changes < 50) {
    const Answer answer = client_.Read(kBlock, kFirst, 0, kBytes, true);
    ASSERT_TRUE(answer.status.ok()) << answer.status.ToString();
    ASSERT_TRUE(ChecksumsMatch(answer));
    if (answer.payload[0] != last) ++changes;
    last = answer.payload[0];
  }
  stop = true;
  writer.join();
}

TEST_F(ReadTest, ReadsAndWritesInFlightOnOneConnectionAreAllAnswered) {
  constexpr int kRounds = 60;
  for (int i = 0; i < kRounds; ++i) {
    client_.SendWrite({.block = kBlock, .data = data_, .sync = i % 10 == 0});
    client_.SendRead(kBlock, kFirst, 0, 1 << 20);
    client_.SendStat(kBlock);
  }
  for (int i = 0; i < 3 * kRounds; ++i) {
    auto answer = client_.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
    if (answer->kind == wire::FrameKind::READ_RESPONSE) {
      EXPECT_EQ(answer->payload.substr(0, data_.size()), data_);
    }
    if (answer->kind == wire::FrameKind::STAT_RESPONSE) {
      EXPECT_EQ(answer->stat.length, static_cast<int32_t>(data_.size()));
      EXPECT_EQ(answer->stat.generation, 1);
      EXPECT_FALSE(answer->stat.disk_path.empty());
    }
  }
}

}  // namespace
}  // namespace tercet
