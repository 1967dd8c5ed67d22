#include "common/rpc/frame.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {
namespace {

FramePrelude SomePrelude() {
  FramePrelude prelude;
  prelude.kind = wire::FrameKind::WRITE;
  prelude.header_bytes = 100;
  prelude.payload_bytes = 4096;
  prelude.request_id = 0x1122334455667788;
  prelude.header_crc = 0xdeadbeef;
  return prelude;
}

std::string Encoded(const FramePrelude& prelude) {
  std::string bytes(kFramePreludeBytes, '\0');
  prelude.Encode(bytes.data());
  return bytes;
}

/// Makes the prelude's checksum right again after a change.
std::string Resealed(std::string bytes) {
  EncodeFixed32(bytes.data() + 28, Crc32c(bytes.data(), 28));
  return bytes;
}

wire::WriteHeader SomeWriteHeader() {
  wire::WriteHeader header;
  header.block_id = 300;
  header.generation = 2;
  header.offset = 4095;
  header.piece_crcs = std::string("\x00\x01\x02\x03\xff\xfe\xfd\xfc", 8);
  for (int server : {7, 9}) {
    wire::ChainHop hop;
    hop.server_id = server;
    hop.host = "10.0.0." + std::to_string(server);
    hop.port = 7100;
    header.downstream.push_back(hop);
  }
  header.create = true;
  return header;
}

TEST(FramePreludeTest, RoundTrip) {
  auto decoded = FramePrelude::Decode(Encoded(SomePrelude()));
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->kind, wire::FrameKind::WRITE);
  EXPECT_EQ(decoded->header_bytes, 100u);
  EXPECT_EQ(decoded->payload_bytes, 4096u);
  EXPECT_EQ(decoded->request_id, 0x1122334455667788u);
  EXPECT_EQ(decoded->header_crc, 0xdeadbeefu);
}

TEST(FramePreludeTest, AnyFlippedBitIsCorruption) {
  const std::string good = Encoded(SomePrelude());
  for (size_t bit = 0; bit < 8 * kFramePreludeBytes; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(FramePrelude::Decode(bad).code(), StatusCode::kCorruption) << "bit " << bit;
  }
}

TEST(FramePreludeTest, SaysThatTheMagicIsWrong) {
  auto decoded = FramePrelude::Decode("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n");
  EXPECT_EQ(decoded.code(), StatusCode::kCorruption);
  EXPECT_NE(decoded.status().message().find("magic"), std::string::npos);
}

TEST(FramePreludeTest, AnotherVersionIsNamed) {
  std::string bytes = Encoded(SomePrelude());
  bytes[4] = 9;
  auto decoded = FramePrelude::Decode(Resealed(bytes));
  EXPECT_EQ(decoded.code(), StatusCode::kVersionTooNew);
  EXPECT_NE(decoded.status().message().find("version 9"), std::string::npos);
}

TEST(FramePreludeTest, LengthsAtTheLimitsPassAndOverThemFail) {
  FramePrelude prelude = SomePrelude();
  prelude.header_bytes = kMaxFrameHeaderBytes;
  prelude.payload_bytes = kMaxFramePayloadBytes;
  EXPECT_TRUE(FramePrelude::Decode(Encoded(prelude)).ok());

  prelude.header_bytes = kMaxFrameHeaderBytes + 1;
  EXPECT_EQ(FramePrelude::Decode(Encoded(prelude)).code(), StatusCode::kCorruption);
  prelude.header_bytes = 0;
  prelude.payload_bytes = 0xffffffff;
  auto decoded = FramePrelude::Decode(Encoded(prelude));
  EXPECT_EQ(decoded.code(), StatusCode::kCorruption);
  EXPECT_NE(decoded.status().message().find("4294967295"), std::string::npos);
}

TEST(FramePreludeTest, CutShort) {
  const std::string good = Encoded(SomePrelude());
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(FramePrelude::Decode(good.substr(0, size)).code(), StatusCode::kCorruption);
  }
}

TEST(FramePreludeTest, RandomBytesNeverDecode) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(kFramePreludeBytes, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (round % 2 == 1) EncodeFixed32(bytes.data(), kFrameMagic);
    EXPECT_FALSE(FramePrelude::Decode(bytes).ok());
  }
}

TEST(FrameHeaderTest, RoundTripReplacesWhatTheStructHeld) {
  std::string bytes = "left over";
  EncodeFrameHeader(SomeWriteHeader(), &bytes);
  wire::WriteHeader decoded;
  decoded.sync = true;  // a default on the wire: not sent or sent as false
  decoded.piece_crcs = "old";
  decoded.downstream.resize(5);
  ASSERT_TRUE(DecodeFrameHeader(bytes, &decoded).ok());
  EXPECT_TRUE(decoded == SomeWriteHeader());
}

TEST(FrameHeaderTest, EveryStructIsInstantiated) {
  std::string bytes;
  const auto round_trip = [&bytes](auto header) {
    EncodeFrameHeader(header, &bytes);
    EXPECT_TRUE(DecodeFrameHeader(bytes, &header).ok());
  };
  round_trip(wire::HelloHeader());
  round_trip(wire::HelloResponseHeader());
  round_trip(wire::ReadHeader());
  round_trip(wire::ReadResponseHeader());
  round_trip(wire::WriteHeader());
  round_trip(wire::WriteResponseHeader());
  round_trip(wire::SyncHeader());
  round_trip(wire::SyncResponseHeader());
  round_trip(wire::TruncateHeader());
  round_trip(wire::TruncateResponseHeader());
  round_trip(wire::StatHeader());
  round_trip(wire::StatResponseHeader());
}

TEST(FrameHeaderTest, LargeHeaders) {
  wire::ReadResponseHeader header;
  header.page_crcs = std::string(60'000, 'x');
  std::string bytes;
  EncodeFrameHeader(header, &bytes);
  wire::ReadResponseHeader decoded;
  ASSERT_TRUE(DecodeFrameHeader(bytes, &decoded).ok());
  EXPECT_EQ(decoded.page_crcs, header.page_crcs);
}

TEST(FrameHeaderTest, CutShortAndBytesTooMany) {
  std::string bytes;
  EncodeFrameHeader(SomeWriteHeader(), &bytes);
  wire::WriteHeader decoded;
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeFrameHeader(std::string_view(bytes).substr(0, size), &decoded).code(),
              StatusCode::kCorruption)
        << size;
  }
  EXPECT_EQ(DecodeFrameHeader(bytes + "x", &decoded).code(), StatusCode::kCorruption);
  EXPECT_TRUE(DecodeFrameHeader(bytes, &decoded).ok()) << "the decoder recovers from bad input";
}

TEST(FrameHeaderTest, HugeListsAndStringsAreRefusedBeforeMemoryIsTaken) {
  // Field 5 of WriteHeader, a list of structs, with a claimed size of 2^31 - 1 elements.
  const std::string list("\x59\xfc\xff\xff\xff\xff\x07\x00", 8);
  wire::WriteHeader decoded;
  EXPECT_EQ(DecodeFrameHeader(list, &decoded).code(), StatusCode::kCorruption);
  // Field 4, a string of 2^31 - 1 bytes.
  const std::string text(
      "\x48\xff\xff\xff\xff\x07"
      "abc",
      9);
  EXPECT_EQ(DecodeFrameHeader(text, &decoded).code(), StatusCode::kCorruption);
}

TEST(FrameHeaderTest, DeepNestingIsRefused) {
  // Unknown field 15, a list of lists of lists...
  std::string bytes = "\xf9";
  bytes += std::string(50'000, '\x19');
  wire::WriteHeader decoded;
  EXPECT_EQ(DecodeFrameHeader(bytes, &decoded).code(), StatusCode::kCorruption);
}

TEST(FrameHeaderTest, MutatedHeadersNeverCrash) {
  std::string good;
  EncodeFrameHeader(SomeWriteHeader(), &good);
  std::mt19937_64 random(2);
  size_t decoded_count = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes = good;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int change = 0; change < changes; ++change) {
      switch (random() % 3) {
        case 0:
          bytes[random() % bytes.size()] = static_cast<char>(random());
          break;
        case 1:
          bytes.insert(random() % bytes.size(), 1, static_cast<char>(random()));
          break;
        default:
          bytes.resize(1 + random() % bytes.size());
      }
    }
    wire::WriteHeader decoded;
    const Status status = DecodeFrameHeader(bytes, &decoded);
    decoded_count += status.ok() ? 1 : 0;
    ASSERT_TRUE(status.ok() || status.code() == StatusCode::kCorruption);
  }
  EXPECT_GT(decoded_count, 0u) << "some changes leave a valid header";
  wire::WriteHeader decoded;
  ASSERT_TRUE(DecodeFrameHeader(good, &decoded).ok());
  EXPECT_TRUE(decoded == SomeWriteHeader());
}

TEST(FrameHeaderTest, RandomBytesNeverCrash) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes(random() % 200, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    wire::WriteHeader write;
    wire::HelloHeader hello;
    wire::StatResponseHeader stat;
    for (const Status& status : {DecodeFrameHeader(bytes, &write), DecodeFrameHeader(bytes, &hello),
                                 DecodeFrameHeader(bytes, &stat)}) {
      ASSERT_TRUE(status.ok() || status.code() == StatusCode::kCorruption);
    }
  }
}

/// The bytes of the example in the format document: pairs of hex digits up to a wide gap.
std::string BytesOfDocument(const std::string& path) {
  std::ifstream file(path);
  std::string line, bytes;
  bool in_example = false;
  while (std::getline(file, line)) {
    if (line == "```") in_example = !in_example;
    if (!in_example || line == "```") continue;
    std::istringstream digits(line.substr(0, line.find("  ")));
    int value;
    while (digits >> std::hex >> value) bytes.push_back(static_cast<char>(value));
  }
  return bytes;
}

TEST(FrameFormatTest, TheDocumentsExamplesAreTrue) {
  wire::ReadHeader header;
  header.block_id = 300;
  header.generation = 2;
  header.offset = 4096;
  header.length = 8192;
  std::string header_bytes;
  EncodeFrameHeader(header, &header_bytes);
  FramePrelude prelude;
  prelude.kind = wire::FrameKind::READ;
  prelude.header_bytes = static_cast<uint32_t>(header_bytes.size());
  prelude.request_id = 7;
  prelude.header_crc = Crc32c(header_bytes);
  FramePrelude working;
  working.kind = wire::FrameKind::WORKING;
  working.header_crc = Crc32c("");
  EXPECT_EQ(BytesOfDocument(TERCET_SOURCE_DIR "/common/rpc/frame_format.md"),
            Encoded(prelude) + header_bytes + Encoded(working));
}

}  // namespace
}  // namespace tercet
