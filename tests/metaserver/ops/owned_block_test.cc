// FindOwnedBlock over a view that moves on, as that of what is committed does.
#include "metaserver/ops/repairs.h"
#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

/// Rows that change right after the first one was read.
class MovingView final : public View {
 public:
  MovingView(const MapView& before, const MapView& after) : before_(before), after_(after) {}

  Result<std::optional<std::string>> Get(std::string_view key) const override {
    return gets_++ == 0 ? before_.Get(key) : after_.Get(key);
  }
  Status Scan(std::string_view from, std::string_view to, const RowFunction& row) const override {
    return after_.Scan(from, to, row);
  }

 private:
  const MapView& before_;
  const MapView& after_;
  mutable int gets_ = 0;
};

using OwnedBlockTest = ReplicaTest;

TEST_F(OwnedBlockTest, ABlockThatGoesWhileItIsLookedForIsGone) {
  MakeFile("a");
  const MapView before = view;
  ASSERT_OK(Truncate(file, 0));
  const MovingView moving(before, view);
  const auto owned = FindOwnedBlock(Tables(moving), Block(blocks[0]));
  ASSERT_TRUE(owned.ok()) << owned.status().ToString();
  EXPECT_FALSE(*owned);
}

TEST_F(OwnedBlockTest, RowsThatContradictEachOtherAreDamage) {
  MakeFile("a");
  const std::string key = FileBlockKey(Inode(file), 0);
  const std::string row = view.rows.at(key);
  view.rows.erase(key);
  EXPECT_EQ(FindOwnedBlock(tables(), Block(blocks[0])).code(), StatusCode::kCorruption);
  view.rows[key] = row;
  EXPECT_TRUE(*FindOwnedBlock(tables(), Block(blocks[0])));
}

}  // namespace
}  // namespace tercet
