#include "common/config/config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "common/config/daemon_options.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

struct SampleConfig {
  std::string data_dir;
  bool verify = true;
  uint16_t port = 7000;
  int32_t workers = 4;
  uint64_t segment_size_bytes = 64 << 20;
  milliseconds timeout{5000};
  std::string level = "info";
  std::vector<std::string> disks = {"/a"};
  ConfigSchema schema;

  SampleConfig() {
    schema.AddString("data_dir", &data_dir, {1, 100}, "where the state is kept",
                     {.required = true});
    schema.AddBool("verify", &verify, "check what is read");
    schema.AddInt("listen.port", &port, {1}, "port to listen on");
    schema.AddInt("workers", &workers, {1, 64}, "how many work", {.unit = "threads"});
    schema.AddSize("journal.segment_size", &segment_size_bytes, {1 << 20, 1 << 30}, "of one file");
    schema.AddDuration("journal.timeout", &timeout, {1, 60'000}, "wait for the disk");
    schema.AddChoice("log.level", &level, {"debug", "info"}, "what is logged", {.live = true});
    schema.AddStringList("disks", &disks, {1, 3}, "folders on different disks");
  }
  Status Load(std::string_view text, const std::vector<std::string>& overrides = {}) {
    return schema.LoadText(text, "x.toml", overrides);
  }
  std::string Error(std::string_view text, const std::vector<std::string>& overrides = {}) {
    Status status = Load(text, overrides);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message().find('\n'), std::string::npos) << status.message();
    return status.message();
  }
};

constexpr const char* kFull = R"(data_dir = "/var/lib/x"
verify = false
workers = 64
disks = ["/a", "/b"]
[listen]
port = 65535
[journal]
segment_size = "1GiB"
timeout = "1m"
[log]
level = "debug"
)";

TEST(ConfigTest, ReadsEveryType) {
  SampleConfig config;
  ASSERT_TRUE(config.Load(kFull).ok());
  EXPECT_EQ(config.data_dir, "/var/lib/x");
  EXPECT_FALSE(config.verify);
  EXPECT_EQ(config.workers, 64);
  EXPECT_EQ(config.port, 65535);
  EXPECT_EQ(config.segment_size_bytes, uint64_t{1} << 30);
  EXPECT_EQ(config.timeout, milliseconds(60'000));
  EXPECT_EQ(config.level, "debug");
  EXPECT_EQ(config.disks, (std::vector<std::string>{"/a", "/b"}));
}

TEST(ConfigTest, WhatIsNotSetKeepsItsDefault) {
  SampleConfig config;
  ASSERT_TRUE(config.Load("data_dir = '/x'").ok());
  EXPECT_EQ(config.port, 7000);
  EXPECT_EQ(config.segment_size_bytes, uint64_t{64} << 20);
  EXPECT_EQ(config.disks, (std::vector<std::string>{"/a"}));
}

TEST(ConfigTest, UnknownKeysAreErrorsWithLineAndSuggestion) {
  SampleConfig config;
  EXPECT_EQ(config.Error("data_dir = '/x'\nworker = 3\n"),
            "x.toml:2: unknown key 'worker'; did you mean 'workers'?");
  EXPECT_EQ(config.Error("data_dir = '/x'\n[jornal]\nsegment_size = 4\n"),
            "x.toml:2: unknown key 'jornal'; --print-config lists all keys");
  EXPECT_EQ(config.Error("data_dir = '/x'\n\n[journal]\nsegmentsize = 4\n"),
            "x.toml:4: unknown key 'journal.segmentsize'; did you mean 'journal.segment_size'?");
}

TEST(ConfigTest, WrongTypesAreErrorsThatSayWhatIsAllowed) {
  SampleConfig config;
  EXPECT_EQ(config.Error("workers = '3'"),
            "x.toml:1: workers must be an integer from 1 to 64 threads");
  EXPECT_EQ(config.Error("workers = 3.0"),
            "x.toml:1: workers must be an integer from 1 to 64 threads");
  EXPECT_EQ(config.Error("verify = 1"), "x.toml:1: verify must be true or false");
  EXPECT_EQ(config.Error("log.level = 'loud'"),
            "x.toml:1: log.level must be one of \"debug\", \"info\"");
  EXPECT_EQ(config.Error("disks = ['/a', 3]"), "x.toml:1: disks must be a list of 1 to 3 strings");
  EXPECT_EQ(config.Error("listen = 3"),
            "x.toml:1: unknown key 'listen'; --print-config lists all keys");
  EXPECT_EQ(config.Error("data_dir = 3"),
            "x.toml:1: data_dir must be a string of 1 to 100 characters");
}

TEST(ConfigTest, BoundsAreInclusiveAndNarrowedToTheType) {
  EXPECT_NE(SampleConfig().Error("data_dir='/x'\nworkers = 65").find("x.toml:2: workers"),
            std::string::npos);
  EXPECT_EQ(SampleConfig().Error("data_dir='/x'\n[listen]\nport = 65536"),
            "x.toml:3: listen.port must be an integer from 1 to 65535");
  EXPECT_EQ(SampleConfig().Error("[journal]\nsegment_size = '1023KiB'"),
            "x.toml:2: journal.segment_size must be a size from 1MiB to 1GiB, such as \"64MiB\"");
  EXPECT_TRUE(SampleConfig().Load("data_dir='/x'\n[journal]\nsegment_size = '1024KiB'").ok());
  EXPECT_EQ(SampleConfig().Error("[journal]\ntimeout = '61s'"),
            "x.toml:2: journal.timeout must be a duration from 1ms to 1m, such as \"500ms\"");
  EXPECT_FALSE(SampleConfig().Load("data_dir='/x'\ndisks = []").ok());
}

TEST(ConfigTest, ADurationNeedsAUnit) {
  EXPECT_NE(SampleConfig().Error("[journal]\ntimeout = 5").find("journal.timeout must be"),
            std::string::npos);
}

TEST(ConfigTest, BadSyntaxNamesTheLine) {
  EXPECT_EQ(SampleConfig().Error("data_dir = '/x'\nworkers = = 3\n").find("x.toml:2: "), 0u);
}

TEST(ConfigTest, MissingRequiredKeysAreErrors) {
  EXPECT_EQ(SampleConfig().Error(""),
            "x.toml: data_dir is missing (where the state is kept): must be a string of 1 to 100 "
            "characters");
}

TEST(ConfigTest, OverridesWinAndNeedNoQuotes) {
  SampleConfig config;
  ASSERT_TRUE(config
                  .Load(kFull, {"data_dir=/y's", "listen.port=1", "journal.segment_size=2MiB",
                                "journal.timeout=\"3s\"", "disks=/p,/q", "verify=true"})
                  .ok());
  EXPECT_EQ(config.data_dir, "/y's");
  EXPECT_EQ(config.port, 1);
  EXPECT_EQ(config.segment_size_bytes, uint64_t{2} << 20);
  EXPECT_EQ(config.timeout, milliseconds(3000));
  EXPECT_EQ(config.disks, (std::vector<std::string>{"/p", "/q"}));
  EXPECT_TRUE(config.verify);
}

TEST(ConfigTest, BadOverridesNameThemselves) {
  SampleConfig config;
  EXPECT_EQ(config.Error(kFull, {"workers"}), "--set workers: is not of the form key=value");
  EXPECT_EQ(config.Error(kFull, {"workers=x"}),
            "--set workers=x: must be an integer from 1 to 64 threads");
  EXPECT_EQ(config.Error(kFull, {"workrs=1"}),
            "--set workrs=1: unknown key 'workrs'; did you mean 'workers'?");
}

TEST(ConfigTest, ChecksBetweenFieldsAreMade) {
  SampleConfig config;
  config.schema.AddCheck([&] {
    return config.workers < 4 ? Status(StatusCode::kInvalidArgument, "workers must be 4 or more")
                              : Status::Ok();
  });
  EXPECT_EQ(config.Error("data_dir='/x'\nworkers=3"), "x.toml: workers must be 4 or more");
  EXPECT_TRUE(config.Load("data_dir='/x'\nworkers=4").ok());
}

TEST(ConfigTest, TheReferenceIsAConfigurationOfDefaults) {
  SampleConfig config;
  std::string reference = config.schema.Reference();
  EXPECT_NE(reference.find("# required\n# data_dir ="), std::string::npos);
  EXPECT_NE(
      reference.find("# of one file\n# a size from 1MiB to 1GiB, such as \"64MiB\"; takes effect "
                     "at a restart\nsegment_size = \"64MiB\""),
      std::string::npos)
      << reference;
  EXPECT_NE(reference.find("takes effect at once\nlevel = \"info\""), std::string::npos);
  Status status = config.Load("data_dir = '/x'\n" + reference);
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST(ConfigTest, AMissingFileIsNamed) {
  SampleConfig config;
  Status status = config.schema.Load("/nonexistent/x.toml");
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_NE(status.message().find("/nonexistent/x.toml"), std::string::npos);
}

TEST(ConfigValuesTest, SizesAndDurationsParseAndFormat) {
  EXPECT_EQ(*ParseSize("4096"), 4096u);
  EXPECT_EQ(*ParseSize("1KiB"), 1024u);
  EXPECT_EQ(*ParseSize("3 GiB"), uint64_t{3} << 30);
  for (const char* bad : {"", "MiB", "-1", "1MB", "1.5GiB", "99999999999TiB", "1MiBx"}) {
    EXPECT_FALSE(ParseSize(bad).ok()) << bad;
  }
  EXPECT_EQ(*ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(*ParseDuration("2h"), milliseconds(7'200'000));
  EXPECT_EQ(*ParseDuration("0"), milliseconds(0));
  for (const char* bad : {"", "5", "s", "-1s", "1 year"})
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  for (uint64_t size : {0ul, 1ul, 1024ul, 1025ul, 3ul << 40}) {
    EXPECT_EQ(*ParseSize(FormatSize(size)), size);
  }
  for (int64_t ms : {0, 1, 1000, 1001, 86'400'000}) {
    EXPECT_EQ(ParseDuration(FormatDuration(milliseconds(ms)))->count(), ms);
  }
}

class DaemonOptionsTest : public testing::Test {
 protected:
  DaemonOptionsTest() : file_(testing::TempDir() + "daemon_options_test.toml") {
    std::ofstream(file_) << kFull;
  }
  ~DaemonOptionsTest() override { std::filesystem::remove(file_); }

  std::optional<int> Run(std::vector<std::string> arguments) {
    std::vector<char*> argv = {const_cast<char*>("sampled")};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    return LoadDaemonConfig(static_cast<int>(argv.size()), argv.data(), "sampled", "A sample.",
                            config_.schema);
  }

  const std::string file_;
  SampleConfig config_;
};

TEST_F(DaemonOptionsTest, LoadsTheFileAndSeveralOverrides) {
  EXPECT_EQ(Run({"--config", file_, "--set", "workers=7", "--set", "listen.port=99"}),
            std::nullopt);
  EXPECT_EQ(config_.workers, 7);
  EXPECT_EQ(config_.port, 99);
  EXPECT_EQ(config_.level, "debug");
}

TEST_F(DaemonOptionsTest, BadUseAndBadConfigurationEndWithTwo) {
  EXPECT_EQ(Run({"--nonsense"}), 2);
  EXPECT_EQ(Run({"--config", file_ + ".none"}), 2);
  EXPECT_EQ(Run({"--config", file_, "--set", "workers=0"}), 2);
  EXPECT_EQ(Run({}), 2);  // data_dir is required
}

TEST_F(DaemonOptionsTest, HelpVersionAndReferenceEndWithZero) {
  EXPECT_EQ(Run({"--help"}), 0);
  EXPECT_EQ(Run({"--version"}), 0);
  EXPECT_EQ(Run({"--print-config"}), 0);
}

struct MapConfig {
  std::map<std::string, std::string> labels = {{"zone", "z1"}};
  ConfigSchema schema;
  MapConfig() { schema.AddStringMap("labels", &labels, {0, 2}, "where it is"); }
};

TEST(ConfigStringMap, ComesFromATableAndFromTheCommandLine) {
  using Map = std::map<std::string, std::string>;
  for (const char* text :
       {"labels = { rack = 'r1', zone = 'a b' }", "[labels]\nrack = 'r1'\nzone = 'a b'"}) {
    MapConfig config;
    ASSERT_TRUE(config.schema.LoadText(text, "x.toml").ok());
    EXPECT_EQ(config.labels, (Map{{"rack", "r1"}, {"zone", "a b"}})) << text;
  }
  for (const char* setting : {"labels=rack=r1,zone=z=2", "labels={rack='r1', zone='z=2'}"}) {
    MapConfig config;
    const Status loaded =
        config.schema.LoadText("labels = { medium = 'ssd' }", "x.toml", {setting});
    ASSERT_TRUE(loaded.ok()) << loaded.ToString();
    EXPECT_EQ(config.labels, (Map{{"rack", "r1"}, {"zone", "z=2"}})) << setting;
  }
  MapConfig none;
  ASSERT_TRUE(none.schema.LoadText("labels = {}", "x.toml").ok());
  EXPECT_TRUE(none.labels.empty());
}

TEST(ConfigStringMap, AnythingElseIsRefused) {
  for (const char* text : {"labels = 'rack'", "labels = { rack = 1 }", "labels = ['rack=r1']",
                           "labels = { a = '1', b = '2', c = '3' }", "labels.rack.x = 'r'"}) {
    MapConfig config;
    const Status loaded = config.schema.LoadText(text, "x.toml");
    EXPECT_EQ(loaded.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_NE(loaded.message().find("a table of at most 2 strings"), std::string::npos)
        << loaded.message();
  }
  for (const char* setting : {"labels=rack", "labels=a=1,a=2"}) {
    MapConfig config;
    EXPECT_FALSE(config.schema.LoadText("", "x.toml", {setting}).ok()) << setting;
  }
}

TEST(ConfigStringMap, TheReferenceCanBeReadBack) {
  MapConfig config;
  EXPECT_NE(config.schema.Reference().find("labels = { \"zone\" = \"z1\" }"), std::string::npos);
  MapConfig again;
  again.labels.clear();
  ASSERT_TRUE(again.schema.LoadText(config.schema.Reference(), "x.toml").ok());
  EXPECT_EQ(again.labels, config.labels);
}

}  // namespace
}  // namespace tercet
