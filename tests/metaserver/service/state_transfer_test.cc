// State snapshots, and fetching the namespace from them over cuts.
#include <filesystem>
#include <map>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/env/posix_disk.h"
#include "common/rpc/thrift_server.h"
#include "metaserver/service/state_fetcher.h"
#include "metaserver/service/state_snapshots.h"
#include "tests/metaserver/service/service_fixture.h"

namespace tercet {
namespace {

/// Hands on to the real handler, but a test may break reads.
class FlakyAdmin final : public wire::AdminServiceNull {
 public:
  explicit FlakyAdmin(std::shared_ptr<wire::AdminServiceIf> target) : target_(std::move(target)) {}

  std::function<Status(int read)> before_read;  // of the so-many-th read
  std::atomic<int> reads{0};

  void OpenStateSnapshot(wire::OpenStateSnapshotResponse& response,
                         const wire::OpenStateSnapshotRequest& request) override {
    target_->OpenStateSnapshot(response, request);
  }
  void ReadStateSnapshot(wire::ReadStateSnapshotResponse& response,
                         const wire::ReadStateSnapshotRequest& request) override {
    const int read = ++reads;
    const Status status = before_read ? before_read(read) : Status::Ok();
    target_->ReadStateSnapshot(response, request);
    if (status.code() == StatusCode::kCorruption) {
      response.rows[response.rows.size() / 2] ^= 1;
    } else if (!status.ok()) {
      response = wire::ReadStateSnapshotResponse();
      response.info.status.code = static_cast<int32_t>(status.code());
    }
  }
  void CloseStateSnapshot(wire::CloseStateSnapshotResponse& response,
                          const wire::CloseStateSnapshotRequest& request) override {
    target_->CloseStateSnapshot(response, request);
  }

 private:
  const std::shared_ptr<wire::AdminServiceIf> target_;
};

class StateTransferTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    std::filesystem::remove_all(Next());
    session_ = OpenSession();
    for (int i = 0; i < 300; ++i) CreateOk(session_, "file" + std::to_string(i));
    flaky_ = std::make_shared<FlakyAdmin>(admin_);
    ThriftServerOptions options;
    options.listen = HostPort{"127.0.0.1", 0};
    auto server = ThriftServer::Start(
        options, {{"admin", std::make_shared<wire::AdminServiceProcessor>(flaky_)}});
    ASSERT_TRUE(server.ok());
    server_ = std::move(server).value();
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(Next());
    ServiceTest::TearDown();
  }
  std::string Next() const { return path_ + ".next"; }

  std::unique_ptr<StateFetcher> Fetch(JournalIndex journal_first = JournalIndex(1)) {
    StateFetcherOptions options;
    options.database.path = Next();
    options.cluster_id = kClusterId;
    options.group_id = 7;
    options.min_pause = std::chrono::milliseconds(1);
    options.max_pause = std::chrono::milliseconds(5);
    options.read_bytes = 4096;
    return std::make_unique<StateFetcher>(std::move(options), RealDisk(), [this, journal_first] {
      FetchSources sources;
      // One that nobody listens at, and the one that serves.
      sources.addresses = {"127.0.0.1:1", HostPort{"127.0.0.1", server_->port()}.ToString()};
      sources.journal_first = journal_first;
      return sources;
    });
  }
  void AwaitDone(StateFetcher& fetcher) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!fetcher.done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << fetcher.Progress();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  static std::map<std::string, std::string> RowsOf(const View& view) {
    std::map<std::string, std::string> rows;
    EXPECT_TRUE(view.Scan("\x01", "\xff",
                          [&](std::string_view key, std::string_view value) {
                            rows.emplace(key, value);
                            return true;
                          })
                    .ok());
    return rows;
  }
  /// Opens what was fetched, applies what the journal had behind its base, and compares.
  void ExpectFetched() {
    DatabaseOptions options;
    options.path = Next();
    auto fetched = Database::Open(options);
    ASSERT_TRUE(fetched.ok()) << fetched.status().ToString();
    EXPECT_LE((*fetched)->consistent_from(), database_->applied_index());
    const JournalIndex base = (*fetched)->applied_index();
    std::vector<CommittedRecord> behind;
    for (const CommittedRecord& record : consensus_->log()) {
      if (record.index > base) behind.push_back(record);
    }
    ASSERT_TRUE((*fetched)->Apply(behind).ok());
    EXPECT_EQ(RowsOf((*fetched)->committed()), RowsOf(database_->committed()));
  }

  int64_t session_ = 0;
  std::shared_ptr<FlakyAdmin> flaky_;
  std::unique_ptr<ThriftServer> server_;
};

TEST_F(StateTransferTest, AllRowsArrive) {
  auto fetcher = Fetch();
  AwaitDone(*fetcher);
  EXPECT_GT(flaky_->reads, 3);
  fetcher.reset();
  ExpectFetched();
}

TEST_F(StateTransferTest, CutsLostSnapshotsAndDamageOnTheWayAreSurvived) {
  flaky_->before_read = [this](int read) -> Status {
    // Meanwhile the namespace goes on, at both ends of the key range.
    CreateOk(session_, "meanwhile" + std::to_string(read));
    Unlink(session_, "file" + std::to_string(read));
    if (read % 4 == 1) return Status(StatusCode::kNotFound, "forgotten");
    if (read % 4 == 2) return Status(StatusCode::kCorruption, "");
    return Status::Ok();
  };
  auto fetcher = Fetch();
  AwaitDone(*fetcher);
  fetcher.reset();
  ExpectFetched();
}

TEST_F(StateTransferTest, AFetchGoesOnAfterItsEnd) {
  std::atomic<bool> hold{true};
  flaky_->before_read = [&](int read) -> Status {
    if (read > 3 && hold) return Status(StatusCode::kUnavailable, "held");
    return Status::Ok();
  };
  auto fetcher = Fetch();
  while (flaky_->reads < 5) std::this_thread::yield();
  fetcher.reset();
  {
    DatabaseOptions options;
    options.path = Next();
    EXPECT_EQ(Database::Open(options).status().code(), StatusCode::kFailedPrecondition);
  }
  CreateOk(session_, "in between");
  hold = false;
  const int before = flaky_->reads;
  fetcher = Fetch();
  AwaitDone(*fetcher);
  fetcher.reset();
  ExpectFetched();
  // It did not begin anew.
  const int second = flaky_->reads - before;
  std::filesystem::remove_all(Next());
  const int then = flaky_->reads;
  fetcher = Fetch();
  AwaitDone(*fetcher);
  EXPECT_LT(second, flaky_->reads - then);
}

TEST_F(StateTransferTest, WhatTheJournalNoLongerReachesIsFetchedAnew) {
  std::atomic<bool> hold{true};
  flaky_->before_read = [&](int read) -> Status {
    if (read > 3 && hold) return Status(StatusCode::kUnavailable, "held");
    return Status::Ok();
  };
  auto fetcher = Fetch();
  while (flaky_->reads < 5) std::this_thread::yield();
  fetcher.reset();
  const JournalIndex old_base = database_->applied_index();
  CreateOk(session_, "in between");
  hold = false;
  // The journal begins behind the record after the base.
  fetcher = Fetch(old_base.Next().Next());
  AwaitDone(*fetcher);
  fetcher.reset();
  DatabaseOptions options;
  options.path = Next();
  auto fetched = Database::Open(options);
  ASSERT_TRUE(fetched.ok());
  EXPECT_GT((*fetched)->applied_index(), old_base);
  fetched->reset();
  ExpectFetched();
}

TEST_F(StateTransferTest, SnapshotsStandStillAreBoundedAndForgotten) {
  wire::OpenStateSnapshotResponse opened;
  admin_->OpenStateSnapshot(opened, {});
  ASSERT_EQ(opened.info.status.code, 0) << opened.info.status.message;
  EXPECT_EQ(opened.cluster_id, kClusterId);
  EXPECT_EQ(opened.group_id, 7);
  EXPECT_EQ(opened.index, static_cast<int64_t>(database_->applied_index().value()));
  CreateOk(session_, "later");
  wire::ReadStateSnapshotRequest read;
  read.snapshot_id = opened.snapshot_id;
  read.max_bytes = 4 << 20;
  wire::ReadStateSnapshotResponse rows;
  admin_->ReadStateSnapshot(rows, read);
  ASSERT_EQ(rows.info.status.code, 0);
  EXPECT_TRUE(rows.at_end);
  EXPECT_EQ(rows.rows.find("later"), std::string::npos);
  EXPECT_EQ(static_cast<uint32_t>(rows.rows_crc32c), Crc32c(rows.rows));
  for (size_t i = 1; i < StateSnapshots::kMaxOpen; ++i) {
    wire::OpenStateSnapshotResponse another;
    admin_->OpenStateSnapshot(another, {});
    EXPECT_EQ(another.info.status.code, 0);
  }
  wire::OpenStateSnapshotResponse refused;
  admin_->OpenStateSnapshot(refused, {});
  EXPECT_EQ(refused.info.status.code, Code(StatusCode::kUnavailable));
  wire::CloseStateSnapshotRequest close;
  close.snapshot_id = opened.snapshot_id;
  wire::CloseStateSnapshotResponse closed;
  admin_->CloseStateSnapshot(closed, close);
  admin_->ReadStateSnapshot(rows, read);
  EXPECT_EQ(rows.info.status.code, Code(StatusCode::kNotFound));
  Advance(60'001);
  snapshots_->Expire();
  EXPECT_EQ(snapshots_->open_count(), 0u);
}

}  // namespace
}  // namespace tercet
