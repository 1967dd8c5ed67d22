#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class FormatTest : public testing::Test {
 protected:
  Status Format(const FormatOptions& options) {
    Transaction transaction(view);
    OperationContext context{transaction, SessionId(0), 5, chooser};
    Status status = EvaluateFormat(context, options);
    if (status.ok()) view.Apply(transaction.Take());
    return status;
  }
  static FormatOptions Options() {
    FormatOptions options;
    options.cluster_id = "0123456789abcdef";
    return options;
  }

  MapView view;
  ListChooser chooser;
};

TEST_F(FormatTest, MakesAnEmptyFileSystem) {
  EXPECT_CODE(kFailedPrecondition, CheckFormat(view));
  EXPECT_CODE(kFailedPrecondition, Tables(view).GetClusterId());
  ASSERT_OK(Format(Options()));
  EXPECT_CODE(kOk, CheckFormat(view));
  EXPECT_EQ(*Tables(view).GetClusterId(), "0123456789abcdef");
  const InodeRecord root = *Tables(view).GetInode(kRootInode);
  EXPECT_EQ(root.parent, kRootInode);
  EXPECT_EQ(root.block_size_bytes, 64u * 1024 * 1024);
  EXPECT_EQ(root.replicas, 3);
  EXPECT_EQ(root.min_replicas, 2);
  EXPECT_THAT(FindViolations(view), testing::IsEmpty());
}

TEST_F(FormatTest, DoesNotFormatTwice) {
  ASSERT_OK(Format(Options()));
  EXPECT_CODE(kFailedPrecondition, Format(Options()));
}

TEST_F(FormatTest, RefusesImpossibleOptions) {
  auto options = Options();
  options.cluster_id = "short";
  EXPECT_CODE(kInvalidArgument, Format(options));
  options = Options();
  for (uint32_t size : {0u, 2048u, 4097u, 128u * 1024 * 1024}) {
    options.block_size_bytes = size;
    EXPECT_CODE(kInvalidArgument, Format(options));
  }
  options = Options();
  options.min_replicas = 4;
  EXPECT_CODE(kInvalidArgument, Format(options));
  options.min_replicas = 0;
  EXPECT_CODE(kInvalidArgument, Format(options));
  options.min_replicas = 2;
  options.replicas = 17;
  EXPECT_CODE(kInvalidArgument, Format(options));
  EXPECT_TRUE(view.rows.empty());
}

TEST_F(FormatTest, RefusesAStateOfANewerVersion) {
  ASSERT_OK(Format(Options()));
  view.rows[ClusterKey(ClusterField::kFormatVersion)] =
      NumberRecord{kNamespaceFormatVersion + 1}.Encode();
  EXPECT_CODE(kVersionTooNew, CheckFormat(view));
}

}  // namespace
}  // namespace tercet
