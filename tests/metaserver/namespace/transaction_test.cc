#include "metaserver/namespace/view.h"

#include "common/env/random.h"
#include "tests/metaserver/namespace/state_test_util.h"

namespace tercet {
namespace {

// Rows in memory.
class FixedView final : public View {
 public:
  explicit FixedView(Rows rows) : rows_(std::move(rows)) {}
  Result<std::optional<std::string>> Get(std::string_view key) const override {
    auto row = rows_.find(std::string(key));
    if (row == rows_.end()) return std::optional<std::string>();
    return std::optional<std::string>(row->second);
  }
  Status Scan(std::string_view from, std::string_view to, const RowFunction& row) const override {
    for (auto it = rows_.lower_bound(std::string(from)); it != rows_.end() && it->first < to;
         ++it) {
      if (!row(it->first, it->second)) break;
    }
    return Status::Ok();
  }

 private:
  const Rows rows_;
};

TEST(TransactionTest, ChangesHideTheBase) {
  FixedView base({{"a", "1"}, {"b", "2"}, {"c", "3"}});
  Transaction transaction(base);
  transaction.Put("b", "two");
  transaction.Delete("c");
  transaction.Put("d", "four");
  EXPECT_EQ(MustGet(transaction, "a"), "1");
  EXPECT_EQ(MustGet(transaction, "b"), "two");
  EXPECT_EQ(MustGet(transaction, "c"), std::nullopt);
  EXPECT_EQ(ScanAll(transaction), (Rows{{"a", "1"}, {"b", "two"}, {"d", "four"}}));
  EXPECT_EQ(ScanAll(base), (Rows{{"a", "1"}, {"b", "2"}, {"c", "3"}}));
}

TEST(TransactionTest, TakeGivesTheLastChangeOfEachKeyAndEmptiesIt) {
  FixedView base({});
  Transaction transaction(base);
  EXPECT_TRUE(transaction.empty());
  transaction.Put("b", "1");
  transaction.Delete("a");
  transaction.Put("b", "2");
  WriteSet set = transaction.Take();
  ASSERT_EQ(set.entries.size(), 2u);
  EXPECT_EQ(set.entries[0].key, "a");
  EXPECT_EQ(set.entries[0].value, std::nullopt);
  EXPECT_EQ(set.entries[1].value, "2");
  EXPECT_TRUE(transaction.empty());
  EXPECT_EQ(MustGet(transaction, "b"), std::nullopt);
}

TEST(TransactionTest, AScanStopsWhereItIsTold) {
  FixedView base({{"a", ""}, {"c", ""}, {"e", ""}});
  Transaction transaction(base);
  transaction.Put("b", "");
  transaction.Put("d", "");
  transaction.Put("f", "");
  for (size_t limit = 1; limit <= 6; ++limit) {
    std::string seen;
    ASSERT_TRUE(transaction
                    .Scan("a", "z",
                          [&](std::string_view key, std::string_view) {
                            seen += key;
                            return seen.size() < limit;
                          })
                    .ok());
    EXPECT_EQ(seen, std::string("abcdef").substr(0, limit));
  }
}

TEST(TransactionTest, AScanOfARangeWithItsEndBeforeItsStartIsEmpty) {
  FixedView base({{"a", ""}, {"b", ""}});
  Transaction transaction(base);
  transaction.Put("c", "");
  EXPECT_TRUE(ScanAll(transaction, "c", "a").empty());
  EXPECT_TRUE(ScanAll(transaction, "b", "b").empty());
}

TEST(TransactionTest, RandomChangesGiveTheSameAsAMap) {
  SeededRandom random(3);
  auto key = [&] { return "k" + std::to_string(random.Below(40)); };
  for (int round = 0; round < 50; ++round) {
    Rows model;
    for (uint64_t i = random.Below(30); i > 0; --i) model[key()] = std::to_string(random.Next());
    FixedView base(model);
    Transaction transaction(base);
    for (uint64_t i = random.Below(30); i > 0; --i) {
      const std::string changed = key();
      if (random.Below(2) == 0) {
        const std::string value = std::to_string(random.Next());
        transaction.Put(changed, value);
        model[changed] = value;
      } else {
        transaction.Delete(changed);
        model.erase(changed);
      }
      std::string from = key();
      std::string to = key();
      Rows expected;
      for (const auto& [name, value] : model) {
        if (name >= from && name < to) expected[name] = value;
      }
      ASSERT_EQ(ScanAll(transaction, from, to), expected);
    }
    ASSERT_EQ(ScanAll(transaction), model);
  }
}

}  // namespace
}  // namespace tercet
