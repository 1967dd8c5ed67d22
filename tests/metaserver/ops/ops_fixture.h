// A formatted namespace in memory and short ways to run operations on it, as the proposer would:
// evaluate in a transaction, apply when the status is OK. After each test the whole state is
// checked.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/reads.h"
#include "tests/metaserver/ops/invariants.h"
#include "tests/metaserver/ops/map_view.h"

namespace tercet {

/// Chooses the first servers of a list.
class ListChooser final : public ReplicaChooser {
 public:
  Result<std::vector<ServerId>> Choose(const PlacementRequest& request) override {
    last_bytes = request.bytes;
    last_rule = request.rule != nullptr ? *request.rule : PlacementRule();
    std::vector<ServerId> chosen;
    for (ServerId server : servers) {
      if (std::ranges::find(request.exclude, server) != request.exclude.end()) continue;
      if (std::ranges::find(request.keep, server) != request.keep.end()) continue;
      if (chosen.size() < static_cast<size_t>(request.wanted)) chosen.push_back(server);
    }
    if (chosen.size() < static_cast<size_t>(request.minimum)) {
      return Status(StatusCode::kUnavailable, "too few servers are alive");
    }
    return chosen;
  }

  std::vector<ServerId> servers = {ServerId(1), ServerId(2), ServerId(3), ServerId(4), ServerId(5)};
  uint64_t last_bytes = 0;
  PlacementRule last_rule;
};

inline constexpr uint32_t kTestBlockSize = 4096;
inline constexpr int64_t kRoot = 1;

/// The code of a Status or Result.
inline StatusCode CodeOf(const Status& status) { return status.code(); }
template <typename T>
StatusCode CodeOf(const Result<T>& result) {
  return result.code();
}

class OpsTest : public testing::Test {
 protected:
  OpsTest() {
    FormatOptions options;
    options.cluster_id = kClusterId;
    options.block_size_bytes = kTestBlockSize;
    const Status formatted =
        Do([&](OperationContext& context) { return EvaluateFormat(context, options); });
    EXPECT_TRUE(formatted.ok()) << formatted.ToString();
    session = OpenSession("session-uuid-001");
    for (char i = '1'; i <= '5'; ++i) RegisterServer(std::string("server-uuid-000") + i);
  }

  void TearDown() override { EXPECT_THAT(FindViolations(view), testing::IsEmpty()); }

  /// Evaluates; applies the changes when OK. The clock advances by 1 µs before each operation.
  template <typename Evaluate>
  auto Do(const Evaluate& evaluate) -> decltype(evaluate(std::declval<OperationContext&>())) {
    Transaction transaction(view);
    now_ns += 1000;
    summary.clear();
    OperationContext context{transaction, session, now_ns, chooser, &summary};
    auto outcome = evaluate(context);
    last_changes = WriteSet();
    if (CodeOf(outcome) == StatusCode::kOk) {
      last_changes = transaction.Take();
      view.Apply(last_changes);
    }
    return outcome;
  }
  template <typename Response, typename Request>
  Result<Response> Do(Result<Response> (*operation)(OperationContext&, const Request&),
                      const Request& request) {
    return Do([&](OperationContext& context) { return operation(context, request); });
  }

  SessionId OpenSession(const std::string& uuid) {
    wire::OpenSessionRequest request;
    request.client_uuid = uuid;
    request.host_name = "host";
    request.mount_point = "/mnt";
    auto response = Do(EvaluateOpenSession, request);
    EXPECT_TRUE(response.ok()) << response.status().ToString();
    return SessionId(static_cast<uint64_t>(response->session_id));
  }

  int32_t RegisterServer(const std::string& uuid) {
    wire::RegisterServerRequest request;
    request.server_uuid = uuid;
    request.host = "10.0.0.1";
    request.port = 7000;
    auto response = Do(EvaluateRegisterServer, request);
    EXPECT_TRUE(response.ok()) << response.status().ToString();
    return response->server_id;
  }

  // ---- mutations with the usual arguments ----

  Result<wire::CreateFileResponse> TryCreate(int64_t parent, const std::string& name,
                                             bool exclusive = true, int32_t mode = 0644) {
    wire::CreateFileRequest request;
    request.parent = parent;
    request.name = name;
    request.mode = mode;
    request.owner.uid = 1000;
    request.owner.gid = 100;
    request.exclusive = exclusive;
    return Do(EvaluateCreateFile, request);
  }
  int64_t Create(int64_t parent, const std::string& name) {
    auto response = TryCreate(parent, name);
    EXPECT_TRUE(response.ok()) << response.status().ToString();
    return response.ok() ? response->attributes.inode : 0;
  }

  static wire::MakeNodeRequest NodeRequest(int64_t parent, const std::string& name,
                                           wire::FileType::type type) {
    wire::MakeNodeRequest request;
    request.parent = parent;
    request.name = name;
    request.type = type;
    request.mode = 0755;
    request.owner.uid = 1000;
    request.owner.gid = 100;
    if (type == wire::FileType::SYMLINK) request.symlink_target = "target";
    return request;
  }
  int64_t Make(int64_t parent, const std::string& name, wire::FileType::type type) {
    auto response = Do(EvaluateMakeNode, NodeRequest(parent, name, type));
    EXPECT_TRUE(response.ok()) << response.status().ToString();
    return response.ok() ? response->attributes.inode : 0;
  }
  int64_t MakeDirectory(int64_t parent, const std::string& name) {
    return Make(parent, name, wire::FileType::DIRECTORY);
  }

  Result<wire::LinkResponse> Link(int64_t inode, int64_t parent, const std::string& name) {
    wire::LinkRequest request;
    request.inode = inode;
    request.new_parent = parent;
    request.new_name = name;
    return Do(EvaluateLink, request);
  }
  Result<wire::UnlinkResponse> Unlink(int64_t parent, const std::string& name) {
    wire::UnlinkRequest request;
    request.parent = parent;
    request.name = name;
    return Do(EvaluateUnlink, request);
  }
  Result<wire::RemoveDirectoryResponse> RemoveDirectory(int64_t parent, const std::string& name) {
    wire::RemoveDirectoryRequest request;
    request.parent = parent;
    request.name = name;
    return Do(EvaluateRemoveDirectory, request);
  }
  enum class RenameFlag { kNone, kNoReplace, kExchange };
  Result<wire::RenameResponse> Rename(int64_t parent, const std::string& name, int64_t new_parent,
                                      const std::string& new_name,
                                      RenameFlag flag = RenameFlag::kNone) {
    wire::RenameRequest request;
    request.parent = parent;
    request.name = name;
    request.new_parent = new_parent;
    request.new_name = new_name;
    request.no_replace = flag == RenameFlag::kNoReplace;
    request.exchange = flag == RenameFlag::kExchange;
    return Do(EvaluateRename, request);
  }
  Result<wire::SetAttributesResponse> Truncate(int64_t inode, int64_t size) {
    wire::SetAttributesRequest request;
    request.inode = inode;
    request.__set_size_bytes(size);
    return Do(EvaluateSetAttributes, request);
  }
  Result<wire::SetXattrResponse> SetXattr(int64_t inode, const std::string& name,
                                          const std::string& value) {
    wire::SetXattrRequest request;
    request.inode = inode;
    request.name = name;
    request.value = value;
    return Do(EvaluateSetXattr, request);
  }
  Result<wire::AllocateBlockResponse> Allocate(int64_t inode, int64_t index,
                                               std::vector<int32_t> exclude = {},
                                               int64_t replace = 0) {
    wire::AllocateBlockRequest request;
    request.inode = inode;
    request.block_index = index;
    request.exclude_servers = std::move(exclude);
    request.replace_block_id = replace;
    return Do(EvaluateAllocateBlock, request);
  }
  Result<wire::CommitWriteResponse> Commit(int64_t inode, std::vector<int64_t> written,
                                           int64_t end_offset, std::vector<int64_t> trimmed = {}) {
    wire::CommitWriteRequest request;
    request.inode = inode;
    request.written_blocks = std::move(written);
    request.trimmed_blocks = std::move(trimmed);
    request.end_offset = end_offset;
    return Do(EvaluateCommitWrite, request);
  }
  /// Allocates and commits whole blocks [first, end) of a file; their ids.
  std::vector<int64_t> WriteBlocks(int64_t inode, int64_t first, int64_t end) {
    std::vector<int64_t> ids;
    for (int64_t index = first; index < end; ++index) {
      auto block = Allocate(inode, index);
      EXPECT_TRUE(block.ok()) << block.status().ToString();
      if (block.ok()) ids.push_back(block->block.block_id);
    }
    auto committed = Commit(inode, ids, end * int64_t{kTestBlockSize});
    EXPECT_TRUE(committed.ok()) << committed.status().ToString();
    return ids;
  }
  Result<BatchResult> Reclaim(int64_t inode, int max_blocks = 1000) {
    return Do([&](OperationContext& context) {
      return EvaluateReclaimOrphan(context, InodeId(static_cast<uint64_t>(inode)), max_blocks);
    });
  }
  Result<BatchResult> ReclaimTruncation(int64_t inode, int max_blocks = 1000) {
    return Do([&](OperationContext& context) {
      return EvaluateReclaimTruncation(context, InodeId(static_cast<uint64_t>(inode)), max_blocks);
    });
  }
  Result<BatchResult> ExpireSession(SessionId ended, int max_slots = 1000) {
    return Do([&](OperationContext& context) {
      return EvaluateExpireSession(context, ended, max_slots);
    });
  }

  // ---- what is there ----

  wire::Attributes Attributes(int64_t inode) const {
    wire::GetAttributesRequest request;
    request.inode = inode;
    auto response = GetAttributes(view, request);
    EXPECT_TRUE(response.ok()) << response.status().ToString();
    return response.ok() ? response->attributes : wire::Attributes();
  }
  /// The inode that a name leads to; 0 when there is none.
  int64_t InodeOf(int64_t parent, const std::string& name) const {
    wire::LookupRequest request;
    request.parent = parent;
    request.name = name;
    auto response = Lookup(view, request);
    return response.ok() ? response->attributes.inode : 0;
  }
  std::vector<std::string> NamesIn(int64_t directory) const {
    wire::ReadDirectoryRequest request;
    request.inode = directory;
    std::vector<std::string> names;
    auto response = ReadDirectory(view, request);
    EXPECT_TRUE(response.ok()) << response.status().ToString();
    if (response.ok()) {
      for (const auto& entry : response->entries) names.push_back(entry.name);
    }
    return names;
  }
  std::vector<wire::BlockInfo> Blocks(int64_t inode, int64_t first = 0,
                                      int32_t count = 4096) const {
    wire::GetBlocksRequest request;
    request.inode = inode;
    request.first_index = first;
    request.count = count;
    auto response = GetBlocks(view, request);
    EXPECT_TRUE(response.ok()) << response.status().ToString();
    return response.ok() ? response->blocks : std::vector<wire::BlockInfo>();
  }
  /// (server, block) of all delete tasks.
  std::vector<std::pair<uint64_t, uint64_t>> DeleteTasks() const {
    std::vector<std::pair<uint64_t, uint64_t>> tasks;
    const KeyRange range = TableRange(TableId::kDeleteTask);
    EXPECT_TRUE(view.Scan(range.from, range.to,
                          [&](std::string_view key, std::string_view) {
                            auto parsed = ParseKey(key);
                            tasks.emplace_back(parsed->first, parsed->second);
                            return true;
                          })
                    .ok());
    return tasks;
  }
  uint64_t CounterValue(Counter counter) const { return *Tables(view).GetCounter(counter); }

  static constexpr std::string_view kClusterId = "cluster-uuid-001";
  MapView view;
  ListChooser chooser;
  SessionId session;
  int64_t now_ns = 1'000'000'000;
  std::string summary;    // of the last operation
  WriteSet last_changes;  // of the last operation; empty when it failed
};

#define ASSERT_OK(expr)                                               \
  do {                                                                \
    const auto& _outcome = (expr);                                    \
    ASSERT_EQ(::tercet::CodeOf(_outcome), ::tercet::StatusCode::kOk); \
  } while (false)
#define EXPECT_CODE(code, expr) EXPECT_EQ(::tercet::CodeOf(expr), ::tercet::StatusCode::code)

}  // namespace tercet
