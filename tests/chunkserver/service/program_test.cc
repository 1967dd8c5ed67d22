// The program itself: exit statuses and what it says.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/chunkserver/service/fake_registry.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

/// A run of tercet-chunkserver with its standard error in a file.
class Program {
 public:
  Program(const std::string& folder, const std::vector<std::string>& arguments)
      : error_path_(folder + "/stderr"), pid_(::fork()) {
    if (pid_ != 0) return;
    std::vector<char*> argv;
    std::string name = std::string(TERCET_BIN_DIR) + "/tercet-chunkserver";
    argv.push_back(name.data());
    for (const std::string& argument : arguments)
      argv.push_back(const_cast<char*>(argument.data()));
    argv.push_back(nullptr);
    if (::freopen(error_path_.c_str(), "w", stderr) == nullptr) ::_exit(99);
    ::execv(name.c_str(), argv.data());
    ::_exit(98);
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  void Signal(int signal) { ::kill(pid_, signal); }
  /// The exit status; negative for a signal.
  int Wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string Errors() const {
    std::ostringstream text;
    text << std::ifstream(error_path_).rdbuf();
    return text.str();
  }

 private:
  const std::string error_path_;
  pid_t pid_;
};

class ProgramTest : public testing::Test {
 protected:
  ProgramTest() { std::filesystem::create_directory(disk()); }
  std::string disk() const { return folder_.path() + "/disk"; }
  std::vector<std::string> Arguments(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"--set", "meta=[\"" + registry_.address() + "\"]",
                                          "--set", "disks=[\"" + disk() + "\"]",
                                          "--set", "listen.host=127.0.0.1",
                                          "--set", "listen.port=0",
                                          "--set", "metrics.port=0",
                                          "--set", "log.file=" + folder_.path() + "/log"};
    for (const std::string& setting : more) {
      arguments.push_back("--set");
      arguments.push_back(setting);
    }
    return arguments;
  }
  /// Ends by itself, with this status and one line that has `part` in it.
  void ExpectFailure(const std::vector<std::string>& arguments, int status,
                     const std::string& part) {
    Program program(folder_.path(), arguments);
    EXPECT_EQ(program.Wait(), status) << program.Errors();
    const std::string errors = program.Errors();
    EXPECT_NE(errors.find(part), std::string::npos) << errors;
    EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
  }

  TemporaryFolder folder_;
  FakeRegistry registry_;
};

TEST_F(ProgramTest, StopsCleanlyOnSigterm) {
  Program program(folder_.path(), Arguments());
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.heartbeats > 0; }));
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0);
  EXPECT_EQ(program.Errors(), "");
}

TEST_F(ProgramTest, RegistersAgainAfterBeingKilled) {
  {
    Program program(folder_.path(), Arguments());
    ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.heartbeats > 0; }));
    program.Signal(SIGKILL);
    EXPECT_EQ(program.Wait(), -SIGKILL);
  }
  Program program(folder_.path(), Arguments());
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.registrations > 1; }));
}

TEST_F(ProgramTest, BadInputGetsOneLineAndTheRightStatus) {
  ExpectFailure(Arguments({"listen.port=70000"}), 2, "listen.port");
  ExpectFailure(Arguments({"store.trash_grace=soon"}), 2, "store.trash_grace");
  ExpectFailure(Arguments({"no.such=1"}), 2, "no.such");
  ExpectFailure({"--config", folder_.path() + "/none.toml"}, 2, "none.toml");
  ExpectFailure(Arguments({"listen.port=" + std::to_string(registry_.port())}), 1,
                std::to_string(registry_.port()));
  ExpectFailure(Arguments({"metrics.port=" + std::to_string(registry_.port())}), 1,
                std::to_string(registry_.port()));
  ExpectFailure(Arguments({"disks=[\"" + folder_.path() + "/none\"]"}), 1, "/none");
  registry_.With([](auto& state) {
    state.register_status = Status(StatusCode::kWrongCluster, "this is cluster two");
  });
  ExpectFailure(Arguments(), 1, "this is cluster two");
}

}  // namespace
}  // namespace tercet
