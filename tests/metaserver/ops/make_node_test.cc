#include <cstring>

#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using MakeNodeTest = OpsTest;

TEST_F(MakeNodeTest, MakesADirectoryThatCountsInItsParent) {
  const int64_t directory = MakeDirectory(kRoot, "d");
  EXPECT_EQ(Attributes(directory).nlink, 2);
  EXPECT_EQ(Attributes(directory).mode, 0755);
  EXPECT_EQ(Attributes(kRoot).nlink, 3);
  EXPECT_EQ(Attributes(kRoot).mtime_ns, now_ns);
  EXPECT_EQ(InodeOf(directory, ".."), kRoot);
}

TEST_F(MakeNodeTest, MakesDevicesPipesAndSockets) {
  for (auto type : {wire::FileType::CHARACTER_DEVICE, wire::FileType::BLOCK_DEVICE,
                    wire::FileType::FIFO, wire::FileType::SOCKET, wire::FileType::REGULAR}) {
    auto request = NodeRequest(kRoot, "n" + std::to_string(type), type);
    request.rdev = 0x1234567890;
    auto made = Do(EvaluateMakeNode, request);
    ASSERT_OK(made);
    const bool device =
        type == wire::FileType::CHARACTER_DEVICE || type == wire::FileType::BLOCK_DEVICE;
    EXPECT_EQ(made->attributes.type, type);
    EXPECT_EQ(made->attributes.rdev, device ? 0x1234567890 : 0);
    EXPECT_EQ(made->attributes.nlink, 1);
  }
}

TEST_F(MakeNodeTest, MakesASymbolicLinkOfTheTargetsLength) {
  auto request = NodeRequest(kRoot, "l", wire::FileType::SYMLINK);
  request.symlink_target = "somewhere";
  auto made = Do(EvaluateMakeNode, request);
  ASSERT_OK(made);
  EXPECT_EQ(made->attributes.size_bytes, 9);
  EXPECT_EQ(made->attributes.mode, 0777);
  EXPECT_EQ(made->attributes.allocated_bytes, 0);
}

TEST_F(MakeNodeTest, BoundsTheTargetOfASymbolicLink) {
  auto request = NodeRequest(kRoot, "l", wire::FileType::SYMLINK);
  request.symlink_target = "";
  EXPECT_CODE(kNotFound, Do(EvaluateMakeNode, request));
  request.symlink_target = std::string(4096, 'x');
  EXPECT_CODE(kNameTooLong, Do(EvaluateMakeNode, request));
  request.symlink_target = std::string("a\0b", 3);
  EXPECT_CODE(kInvalidArgument, Do(EvaluateMakeNode, request));
}

TEST_F(MakeNodeTest, HandsSetGidDownToDirectoriesOnly) {
  auto request = NodeRequest(kRoot, "d", wire::FileType::DIRECTORY);
  request.mode = 02755;
  request.owner.gid = 7;
  auto outer = Do(EvaluateMakeNode, request);
  ASSERT_OK(outer);
  auto inner =
      Do(EvaluateMakeNode, NodeRequest(outer->attributes.inode, "e", wire::FileType::DIRECTORY));
  ASSERT_OK(inner);
  EXPECT_EQ(inner->attributes.gid, 7);
  EXPECT_EQ(inner->attributes.mode, 02755);
  auto fifo = Do(EvaluateMakeNode, NodeRequest(outer->attributes.inode, "f", wire::FileType::FIFO));
  ASSERT_OK(fifo);
  EXPECT_EQ(fifo->attributes.gid, 7);
  EXPECT_EQ(fifo->attributes.mode, 0755);
}

TEST_F(MakeNodeTest, RefusesWhatExistsAndUnknownTypes) {
  Create(kRoot, "a");
  EXPECT_CODE(kExists, Do(EvaluateMakeNode, NodeRequest(kRoot, "a", wire::FileType::DIRECTORY)));
  EXPECT_CODE(kExists, Do(EvaluateMakeNode, NodeRequest(kRoot, "..", wire::FileType::DIRECTORY)));
  for (int32_t number : {0, 8, -1}) {
    auto request = NodeRequest(kRoot, "x", wire::FileType::FIFO);
    std::memcpy(&request.type, &number, sizeof(number));  // as a peer may send it
    EXPECT_CODE(kInvalidArgument, Do(EvaluateMakeNode, request));
  }
  const int64_t removed = MakeDirectory(kRoot, "d");
  ASSERT_OK(RemoveDirectory(kRoot, "d"));
  EXPECT_CODE(kNotFound, Do(EvaluateMakeNode, NodeRequest(removed, "x", wire::FileType::FIFO)));
}

TEST_F(MakeNodeTest, LetsADirectoryHaveMoreSubdirectoriesThanAFileCanHaveLinks) {
  const InodeId root = kRootInode;
  Transaction transaction(view);
  MutableTables tables(transaction);
  MapView crowded = view;
  InodeRecord record = *tables.GetInode(root);
  record.nlink = kMaxLinks + 10;
  crowded.rows[InodeKey(root)] = record.Encode();
  Transaction on_crowded(crowded);
  OperationContext context{on_crowded, session, now_ns, chooser};
  EXPECT_CODE(kOk, EvaluateMakeNode(context, NodeRequest(kRoot, "d", wire::FileType::DIRECTORY)));
}

}  // namespace
}  // namespace tercet
