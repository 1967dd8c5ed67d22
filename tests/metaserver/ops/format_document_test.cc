// The worked example of metaserver/namespace/format.md, made again: the document must show these
// bytes.
#include <fstream>
#include <sstream>

#include "common/base/hex.h"
#include "metaserver/ops/replica_operations.h"
#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class FormatDocumentTest : public testing::Test {
 protected:
  FormatDocumentTest() {
    std::ifstream file(std::string(TERCET_SOURCE_DIR) + "/metaserver/namespace/format.md");
    std::ostringstream text;
    text << file.rdbuf();
    document_ = text.str();
  }

  static std::string Hex(std::string_view bytes) {
    std::string out;
    for (size_t i = 0; i < bytes.size(); ++i) {
      out += (out.empty() ? "" : " ") + HexOf(bytes.substr(i, 1));
    }
    return out;
  }

  template <typename Response, typename Request>
  void DoAndExpectRows(Result<Response> (*operation)(OperationContext&, const Request&),
                       const Request& request, int64_t now_ns) {
    Transaction transaction(view_);
    OperationContext context{transaction, SessionId(1), now_ns, chooser_};
    auto outcome = operation(context, request);
    ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
    const WriteSet changes = transaction.Take();
    for (const WriteSetEntry& entry : changes.entries) {
      const std::string row = entry.value ? Hex(entry.key) + " -> " + Hex(*entry.value)
                                          : Hex(entry.key) + " is removed";
      EXPECT_NE(document_.find(row), std::string::npos) << row;
    }
    view_.Apply(changes);
  }

  std::string document_;
  MapView view_;
  ListChooser chooser_;
};

Result<BegunReconfiguration> EvaluateBegin(OperationContext& context, const BlockId& block) {
  return EvaluateBeginReconfiguration(context, block, Generation(1));
}

TEST_F(FormatDocumentTest, ShowsTheRowsOfItsExample) {
  constexpr int64_t kStart = 1'700'000'000'000'000'000;
  Transaction transaction(view_);
  OperationContext context{transaction, SessionId(0), kStart, chooser_};
  FormatOptions options;
  options.cluster_id = "0123456789abcdef";
  ASSERT_TRUE(EvaluateFormat(context, options).ok());
  view_.Apply(transaction.Take());

  wire::CreateFileRequest create;
  create.parent = kRoot;
  create.name = "a";
  create.mode = 0644;
  create.owner.uid = 1000;
  create.owner.gid = 100;
  ASSERT_NO_FATAL_FAILURE(DoAndExpectRows(EvaluateCreateFile, create, kStart + 1'000'000'000));

  wire::AllocateBlockRequest allocate;
  allocate.inode = 2;
  ASSERT_NO_FATAL_FAILURE(DoAndExpectRows(EvaluateAllocateBlock, allocate, kStart + 2'000'000'000));

  wire::CommitWriteRequest commit;
  commit.inode = 2;
  commit.written_blocks = {1};
  commit.end_offset = 100;
  ASSERT_NO_FATAL_FAILURE(DoAndExpectRows(EvaluateCommitWrite, commit, kStart + 3'000'000'000));

  ASSERT_NO_FATAL_FAILURE(DoAndExpectRows(EvaluateBegin, BlockId(1), kStart + 4'000'000'000));
  CommitReconfigurationArguments chain;
  chain.block = BlockId(1);
  chain.from = Generation(1);
  chain.sealing = Generation(2);
  chain.chain = {ServerId(1), ServerId(2)};
  ASSERT_NO_FATAL_FAILURE(
      DoAndExpectRows(EvaluateCommitReconfiguration, chain, kStart + 5'000'000'000));
}

}  // namespace
}  // namespace tercet
