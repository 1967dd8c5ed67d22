#include "fuse_client/core/write_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace tercet {
namespace {

constexpr uint64_t kExtent = 4096;

class WriteBufferTest : public testing::Test {
 protected:
  std::vector<Piece> Write(uint64_t offset, std::string_view data) {
    std::vector<Piece> full;
    buffer_.Write(offset, data, &full);
    return full;
  }
  std::string Read(uint64_t offset, size_t size) {
    std::string out(size, '.');
    IntervalSet covered;
    buffer_.CopyTo(offset, out, &covered);
    return out;
  }

  WriteBuffer buffer_{kExtent, std::make_shared<PieceBufferPool>(4)};
};

TEST_F(WriteBufferTest, AppendsBecomeOnePiece) {
  for (int i = 0; i < 10; ++i) Write(static_cast<uint64_t>(i) * 3, "abc");
  EXPECT_EQ(buffer_.piece_count(), 1u);
  EXPECT_EQ(buffer_.bytes(), 30u);
}

TEST_F(WriteBufferTest, APieceThatReachesItsExtentsEndLeaves) {
  EXPECT_TRUE(Write(0, std::string(kExtent - 1, 'a')).empty());
  const std::vector<Piece> full = Write(kExtent - 1, "bcd");
  ASSERT_EQ(full.size(), 1u);
  EXPECT_EQ(full[0].offset, 0u);
  EXPECT_EQ(full[0].data(), std::string(kExtent - 1, 'a') + "b");
  EXPECT_EQ(Read(kExtent, 3), "cd.");
  EXPECT_EQ(buffer_.bytes(), 2u);
}

TEST_F(WriteBufferTest, ALargeWriteIsCutAtExtents) {
  const std::vector<Piece> full = Write(100, std::string(3 * kExtent, 'a'));
  ASSERT_EQ(full.size(), 3u);
  EXPECT_EQ(full[0].size, kExtent - 100);
  EXPECT_EQ(full[1].size, kExtent);
  EXPECT_EQ(full[2].offset, 2 * kExtent);
  EXPECT_EQ(buffer_.bytes(), 100u);
}

TEST_F(WriteBufferTest, NewerDataWinsOverFollowers) {
  Write(10, "bbbb");
  Write(20, "cccc");
  Write(5, "aaaaaaaaaaaaaaaaa");  // over all of the first, half of the second
  EXPECT_EQ(Read(4, 22), ".aaaaaaaaaaaaaaaaacc..");
  EXPECT_EQ(buffer_.bytes(), 19u);
}

TEST_F(WriteBufferTest, CutDropsWhatIsBehind) {
  Write(10, "aaaa");
  Write(20, "bbbb");
  buffer_.Cut(22);
  EXPECT_EQ(Read(10, 14), "aaaa......bb..");
  buffer_.Cut(12);
  EXPECT_EQ(Read(10, 14), "aa............");
  EXPECT_EQ(buffer_.bytes(), 2u);
  EXPECT_EQ(buffer_.end(), 12u);
}

TEST_F(WriteBufferTest, BehavesLikeAFileWithHoles) {
  const uint64_t seed = 11;
  std::mt19937_64 random(seed);
  constexpr size_t kSize = 3 * kExtent;
  std::string model(kSize, '.');  // '.': not in the buffer
  for (int step = 0; step < 5'000; ++step) {
    const uint64_t offset = random() % kSize;
    const size_t size = 1 + random() % std::min<uint64_t>(random() % 2 ? 64 : 2000, kSize - offset);
    const char letter = static_cast<char>('a' + random() % 26);
    switch (random() % 16) {
      case 0: {
        for (const Piece& piece : buffer_.Take(offset, offset + size)) {
          ASSERT_EQ(piece.data(), model.substr(piece.offset, piece.size)) << "step " << step;
          std::fill_n(model.begin() + piece.offset, piece.size, '.');
        }
        ASSERT_FALSE(buffer_.Overlaps(offset, offset + size));
        break;
      }
      case 1:
        buffer_.Cut(offset);
        std::fill(model.begin() + offset, model.end(), '.');
        break;
      default:
        model.replace(offset, size, std::string(size, letter));
        for (const Piece& piece : Write(offset, std::string(size, letter))) {
          ASSERT_EQ(piece.end() % kExtent, 0u);
          ASSERT_EQ(piece.data(), model.substr(piece.offset, piece.size)) << "step " << step;
          std::fill_n(model.begin() + piece.offset, piece.size, '.');
        }
    }
    ASSERT_EQ(Read(0, kSize), model) << "seed " << seed << " step " << step;
    ASSERT_EQ(buffer_.bytes(), kSize - std::count(model.begin(), model.end(), '.'));
  }
}

}  // namespace
}  // namespace tercet
