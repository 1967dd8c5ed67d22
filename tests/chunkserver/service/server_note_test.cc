#include "chunkserver/service/server_note.h"

#include <fstream>
#include <sstream>

#include "tests/chunkserver/service/service_fixture.h"

namespace tercet {
namespace {

constexpr const char* kExample = "server_id=3\ncluster_id=43434343434343434343434343434343\n";

std::string ReadText(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(ServerNote, IsTheTextOfTheFormatDocument) {
  const ServerNote note{ServerId(3), std::string(16, 'C')};
  EXPECT_EQ(EncodeServerNote(note), kExample);
  EXPECT_EQ(DecodeServerNote(kExample).value(), note);
  EXPECT_EQ(DecodeServerNote(std::string(kExample) + "more=1\n").value(), note);
}

TEST(ServerNote, AnythingElseIsRefused) {
  for (const char* text :
       {"", "server_id=3\n", "server_id=3\ncluster_id=43", "server_id=\ncluster_id=43\n",
        "server_id=0\ncluster_id=43\n", "server_id=-1\ncluster_id=43\n",
        "server_id=3x\ncluster_id=43\n", "server_id=3\ncluster_id=4\n",
        "server_id=99999999999\ncluster_id=43\n", "cluster_id=43\nserver_id=3\n"}) {
    EXPECT_EQ(DecodeServerNote(text).code(), StatusCode::kCorruption) << text;
  }
}

class ServerNoteTest : public ServiceFixture {};

TEST_F(ServerNoteTest, IsOnEveryDiskOnceTheServerIsRegistered) {
  registry_.With([](auto& state) { state.cluster_id = std::string(16, 'C'); });
  {
    auto server = StartRegistered();
    EXPECT_EQ(ReadText(DiskPath(0) + "/server"), kExample);
    EXPECT_EQ(ReadText(DiskPath(1) + "/server"), kExample);
  }
  // Lost on one disk, damaged on the other: written anew.
  std::filesystem::remove(DiskPath(0) + "/server");
  std::ofstream(DiskPath(1) + "/server") << "nonsense";
  auto server = StartRegistered();
  EXPECT_EQ(ReadText(DiskPath(0) + "/server"), kExample);
  EXPECT_EQ(ReadText(DiskPath(1) + "/server"), kExample);
}

TEST_F(ServerNoteTest, NamesTheServerThatIsRefusedAtAStart) {
  StartRegistered().reset();
  registry_.With([](auto& state) {
    state.register_status = Status(StatusCode::kFailedPrecondition, "was removed");
  });
  auto server = Start();
  EXPECT_NE(server->Wait().message().find("chunk server 3"), std::string::npos);
}

}  // namespace
}  // namespace tercet
