#include "common/rpc/host_port.h"

#include <gtest/gtest.h>

namespace tercet {
namespace {

TEST(HostPortTest, ParsesNamesAndAddresses) {
  EXPECT_EQ(ParseHostPort("meta1:9400").value(), (HostPort{"meta1", 9400}));
  EXPECT_EQ(ParseHostPort("127.0.0.1:0").value(), (HostPort{"127.0.0.1", 0}));
  EXPECT_EQ(ParseHostPort("[::1]:65535").value(), (HostPort{"::1", 65535}));
}

TEST(HostPortTest, PrintsWhatItParses) {
  for (const char* text : {"meta1:9400", "10.0.0.1:1", "[fe80::1]:22"}) {
    EXPECT_EQ(ParseHostPort(text).value().ToString(), text);
  }
}

TEST(HostPortTest, RefusesWithAReason) {
  for (const char* text : {"", "host", "host:", ":1", "host:65536", "host:-1", "host:1x", "host: 1",
                           "::1:80", "[::1:80", "[]:80", "a b:80"}) {
    auto parsed = ParseHostPort(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_NE(parsed.status().message().find("'" + std::string(text) + "'"), std::string::npos)
        << parsed.status().message();
  }
}

TEST(HostPortTest, ParsesLists) {
  EXPECT_EQ(ParseHostPorts("a:1, b:2,[::1]:3").value(),
            (std::vector<HostPort>{{"a", 1}, {"b", 2}, {"::1", 3}}));
  EXPECT_FALSE(ParseHostPorts("").ok());
  EXPECT_FALSE(ParseHostPorts("a:1,").ok());
  EXPECT_FALSE(ParseHostPorts("a:1,,b:2").ok());
}

}  // namespace
}  // namespace tercet
