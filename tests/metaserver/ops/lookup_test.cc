#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using LookupTest = OpsTest;

Result<wire::LookupResponse> LookUp(const View& view, int64_t parent, const std::string& name) {
  wire::LookupRequest request;
  request.parent = parent;
  request.name = name;
  return Lookup(view, request);
}

TEST_F(LookupTest, FindsAnEntryWithItsAttributes) {
  const int64_t file = Create(kRoot, "a");
  auto found = LookUp(view, kRoot, "a");
  ASSERT_OK(found);
  EXPECT_EQ(found->attributes.inode, file);
  EXPECT_EQ(found->attributes.type, wire::FileType::REGULAR);
  EXPECT_EQ(found->attributes.uid, 1000);
}

TEST_F(LookupTest, NamesTheDirectoryItselfAndItsParent) {
  const int64_t directory = MakeDirectory(kRoot, "d");
  const int64_t inner = MakeDirectory(directory, "e");
  EXPECT_EQ(InodeOf(inner, "."), inner);
  EXPECT_EQ(InodeOf(inner, ".."), directory);
  EXPECT_EQ(InodeOf(kRoot, ".."), kRoot);
}

TEST_F(LookupTest, RefusesWhatIsNotThereOrNotAName) {
  const int64_t file = Create(kRoot, "a");
  EXPECT_CODE(kNotFound, LookUp(view, kRoot, "b"));
  EXPECT_CODE(kNotFound, LookUp(view, kRoot, ""));
  EXPECT_CODE(kNotDirectory, LookUp(view, file, "b"));
  EXPECT_CODE(kStaleHandle, LookUp(view, 4711, "b"));
  EXPECT_CODE(kNameTooLong, LookUp(view, kRoot, std::string(256, 'x')));
  EXPECT_CODE(kInvalidArgument, LookUp(view, kRoot, "a/b"));
  EXPECT_CODE(kInvalidArgument, LookUp(view, kRoot, std::string("a\0b", 3)));
}

TEST_F(LookupTest, FindsNamesOfAnyBytesAndOfTheFullLength) {
  const std::string longest(255, '\xff');
  const int64_t file = Create(kRoot, longest);
  EXPECT_EQ(InodeOf(kRoot, longest), file);
  EXPECT_EQ(InodeOf(kRoot, std::string(254, '\xff')), 0);
}

}  // namespace
}  // namespace tercet
