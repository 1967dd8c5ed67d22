// Random walks over a model of one block: servers that die, come back, lose their machine or their
// file; writers that get stuck half-way; attempts that are abandoned at any step while their
// commands still arrive. Whatever happens: a chain that is committed has equal members, and each
// has every acknowledged write.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "metaserver/repair/reconfiguration.h"

namespace tercet {
namespace {

constexpr int kPages = 4;
constexpr int kServers = 5;

/// A replica: of each page the number of the write that it holds; 0: never written.
struct Replica {
  uint64_t generation = 0;  // 0: incomplete
  std::array<int, kPages> pages{};
  std::array<int, kPages> synced{};
  std::array<bool, kPages> damaged{};  // the page is not what its checksum says
  bool suspect = false;
  bool ever_synced = false;

  uint32_t length() const {
    for (int page = kPages; page > 0; --page) {
      if (pages[static_cast<size_t>(page - 1)] != 0) return static_cast<uint32_t>(page);
    }
    return 0;
  }
  uint32_t crc() const {
    uint32_t crc = 17;
    for (const int page : pages) crc = crc * 1'000'003 + static_cast<uint32_t>(page);
    return crc;
  }
  uint32_t damage() const {
    return static_cast<uint32_t>(std::count(damaged.begin(), damaged.end(), true));
  }
};

struct Server {
  bool up = true;
  std::optional<Replica> replica;
};

struct Journal {
  uint64_t generation = 1;
  std::vector<ServerId> chain{ServerId(1), ServerId(2), ServerId(3)};
  uint64_t sealing = 0;
  bool reserved = true;
};

/// A write on its way down a chain.
struct Frame {
  uint64_t generation;
  std::vector<ServerId> chain;
  bool create;
  size_t page;
  int number;
  size_t hop = 0;
};

class Walk {
 public:
  explicit Walk(uint32_t seed) : random_(seed) {}

  void Run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) Step();
    Calm();
  }
  int commits() const { return commits_; }

 private:
  struct Attempt {
    Reconfiguration machine;
    ReconfigurationEffects open;
    bool abandoned = false;
    explicit Attempt(ReconfigurationGoal goal) : machine(std::move(goal)) {}
  };

  int Random(int below) { return static_cast<int>(random_() % static_cast<uint32_t>(below)); }
  bool Chance(int percent) { return Random(100) < percent; }
  Server& At(ServerId id) { return servers_[id.value() - 1]; }
  ServerId Any() { return ServerId(static_cast<uint32_t>(1 + Random(kServers))); }

  void Step() {
    switch (Random(12)) {
      case 0:
      case 1:
        return BeginWrite();
      case 2:
      case 3:
      case 4:
        return MoveFrame();
      case 5:
        return Disturb();
      case 6:
        if (Chance(30)) return BeginAttempt(false);
        return;
      default:
        return MoveAttempt();
    }
  }

  // ---- writers ----

  void BeginWrite() {
    if (frames_.size() > 4) return;
    frames_.push_back({journal_.generation, journal_.chain, journal_.reserved,
                       static_cast<size_t>(Random(kPages)), ++last_write_});
  }
  /// Frames of one generation keep their order on each link; a frame that fails is gone.
  void MoveFrame() {
    if (frames_.empty()) return;
    const auto index = static_cast<size_t>(Random(static_cast<int>(frames_.size())));
    Frame& frame = frames_[index];
    for (size_t i = 0; i < index; ++i) {
      if (frames_[i].generation == frame.generation && frames_[i].hop <= frame.hop) return;
    }
    if (!Apply(frame) || ++frame.hop == frame.chain.size()) {
      if (frame.hop == frame.chain.size()) Acknowledge(frame);
      frames_.erase(frames_.begin() + static_cast<std::ptrdiff_t>(index));
    }
  }
  bool Apply(const Frame& frame) {
    Server& server = At(frame.chain[frame.hop]);
    if (!server.up) return false;
    // Frames that say `create` are those sent before anything was acknowledged, in the block's
    // present generation.
    if (!server.replica && frame.create && !anything_acknowledged_ && !file_lost_ &&
        frame.generation == journal_.generation) {
      server.replica.emplace();
      server.replica->generation = frame.generation;
    }
    if (!server.replica || server.replica->generation != frame.generation ||
        server.replica->suspect) {
      return false;
    }
    server.replica->pages[frame.page] = frame.number;
    server.replica->damaged[frame.page] = false;
    return true;
  }
  void Acknowledge(const Frame& frame) {
    acknowledged_[frame.page] = std::max(acknowledged_[frame.page], frame.number);
    anything_acknowledged_ = true;
    if (Chance(50)) journal_.reserved = false;
  }

  // ---- what happens to servers ----

  void Disturb() {
    Server& server = At(Any());
    switch (Random(5)) {
      case 0:
        server.up = false;
        return;
      case 1:
      case 2:
        server.up = true;
        return;
      case 3:
        if (server.replica && Chance(50)) {
          server.replica->synced = server.replica->pages;
          server.replica->ever_synced = true;
        }
        return;
      default:
        if (Chance(30)) PowerCut(server);
    }
  }
  /// Of what was not synced each page survives or not, with its checksum or without.
  void PowerCut(Server& server) {
    if (!server.replica) return;
    Replica& replica = *server.replica;
    for (size_t page = 0; page < kPages; ++page) {
      if (replica.pages[page] == replica.synced[page]) continue;
      replica.suspect = true;
      switch (Random(3)) {
        case 0:
          replica.pages[page] = replica.synced[page];
          break;
        case 1:
          replica.damaged[page] = true;
          break;
        default:
          break;
      }
    }
    if (!replica.ever_synced && Chance(20)) {
      server.replica.reset();
      file_lost_ = true;
    }
    // Connections do not outlive a machine, and no answer comes back through it: the writers have
    // the block recovered before they write on.
    std::erase_if(frames_, [&](const Frame& frame) {
      return std::any_of(frame.chain.begin(), frame.chain.end(),
                         [&](ServerId id) { return &At(id) == &server; });
    });
  }

  // ---- attempts ----

  void BeginAttempt(bool calm) {
    if (attempts_.size() > 3) return;
    for (auto& attempt : attempts_) attempt->abandoned = true;
    ReconfigurationGoal goal;
    goal.block = BlockId(1);
    goal.from = Generation(journal_.generation);
    goal.minimum = calm ? 1 : 1 + Random(2);
    goal.has_data = anything_acknowledged_;
    goal.accept_suspect = only_suspects_ && (calm || Chance(20));
    for (const ServerId id : journal_.chain) {
      if (!At(id).up && (calm || Chance(50))) {
        goal.unreachable.push_back(id);
        goal.drop.push_back(id);
      } else if (!calm && Chance(10)) {
        goal.drop.push_back(id);
      }
      if (calm || Chance(20)) goal.verify.push_back(id);
    }
    for (uint32_t i = 1; i <= kServers; ++i) {
      const ServerId id(i);
      const bool member =
          std::find(journal_.chain.begin(), journal_.chain.end(), id) != journal_.chain.end();
      if (!member && (calm ? journal_.chain.size() + goal.add.size() < 3 : Chance(30))) {
        goal.add.push_back(id);
      }
    }
    auto attempt = std::make_unique<Attempt>(goal);
    attempt->open = attempt->machine.Start();
    attempts_.push_back(std::move(attempt));
  }

  void MoveAttempt() {
    if (attempts_.empty()) return;
    const auto index = static_cast<size_t>(Random(static_cast<int>(attempts_.size())));
    Attempt& attempt = *attempts_[index];
    if (attempt.open.empty()) {
      attempts_.erase(attempts_.begin() + static_cast<std::ptrdiff_t>(index));
      return;
    }
    const auto pick = static_cast<size_t>(Random(static_cast<int>(attempt.open.size())));
    const ReconfigurationEffect effect = attempt.open[pick];
    attempt.open.erase(attempt.open.begin() + static_cast<std::ptrdiff_t>(pick));
    ReconfigurationEffects next = Carry(attempt, effect);
    if (attempt.machine.done() && !attempt.abandoned) {
      only_suspects_ = attempt.machine.only_suspects();
    }
    for (auto& more : next) attempt.open.push_back(std::move(more));
  }

  ReconfigurationEffects Carry(Attempt& attempt, const ReconfigurationEffect& effect) {
    Reconfiguration& machine = attempt.machine;
    if (std::holds_alternative<BeginEffect>(effect)) {
      const auto begun = Begin(attempt);
      return attempt.abandoned ? ReconfigurationEffects() : machine.OnBegun(begun);
    }
    if (const auto* seal = std::get_if<SealEffect>(&effect)) {
      auto answer = Seal(*seal);
      if (Chance(5)) answer = Status(StatusCode::kDeadlineExceeded, "the answer got lost");
      return attempt.abandoned || machine.done() ? ReconfigurationEffects()
                                                 : machine.OnSealed(seal->server, answer);
    }
    if (const auto* pull = std::get_if<PullEffect>(&effect)) {
      ServerId failed;
      Status status = Pull(*pull, &failed);
      if (status.ok() && Chance(5)) {
        status = Status(StatusCode::kDeadlineExceeded, "the answer got lost");
        failed = pull->target;
      }
      return attempt.abandoned || machine.done() ? ReconfigurationEffects()
                                                 : machine.OnPulled(pull->target, status, failed);
    }
    const auto& commit = std::get<CommitEffect>(effect);
    if (attempt.abandoned) return {};
    const Status status = Commit(commit);
    return machine.OnCommitted(status);
  }

  Result<BegunReconfiguration> Begin(const Attempt& attempt) {
    if (attempt.abandoned) return Status(StatusCode::kNotActive, "deposed");
    journal_.sealing = std::max(journal_.sealing, journal_.generation) + 1;
    return BegunReconfiguration{Generation(journal_.sealing), journal_.chain, journal_.reserved};
  }

  Result<SealAnswer> Seal(const SealEffect& seal) {
    Server& server = At(seal.server);
    if (!server.up) return Status(StatusCode::kUnavailable, "down");
    const uint64_t to = seal.generation.value();
    SealAnswer answer;
    if (!server.replica || server.replica->generation == 0) {
      if (!seal.create_if_absent) {
        answer.absent = true;
        return answer;
      }
      server.replica.emplace();
      server.replica->generation = to;
      return answer;
    }
    Replica& replica = *server.replica;
    if (replica.generation > to) return Status(StatusCode::kStaleGeneration, "sealed higher");
    answer.before = Generation(replica.generation);
    replica.generation = to;
    answer.suspect = replica.suspect;
    answer.length = replica.length();
    answer.table_crc = replica.crc();
    if (seal.verify) answer.damaged_pages = replica.damage();
    if (seal.accept_suspect) {
      // The decision counts from here on, whether the attempt gets to its commit or not.
      accepted_ = true;
      replica.suspect = false;
      replica.damaged.fill(false);
    }
    return answer;
  }

  Status Pull(const PullEffect& pull, ServerId* failed) {
    *failed = pull.target;
    Server& target = At(pull.target);
    Server& source = At(pull.source);
    if (!target.up) return Status(StatusCode::kUnavailable, "down");
    *failed = pull.source;
    if (!source.up) return Status(StatusCode::kUnavailable, "down");
    if (!source.replica || source.replica->generation != pull.generation.value()) {
      return Status(StatusCode::kStaleGeneration, "the source has another generation");
    }
    // Its machine crashed after it was sealed.
    if (source.replica->suspect) return Status(StatusCode::kUnavailable, "suspect");
    *failed = pull.target;
    if (!target.replica) target.replica.emplace();
    Replica& to = *target.replica;
    const Replica& from = *source.replica;
    if (to.generation > pull.generation.value()) {
      return Status(StatusCode::kConflict, "sealed higher");
    }
    const bool verify = pull.verify_base || to.suspect || to.generation < pull.generation.value();
    // An empty member may have been made by a seal: half of it must not pass for a replica.
    if (to.generation != pull.generation.value() || (to.length() == 0 && from.length() > 0)) {
      to.generation = 0;
    }
    for (size_t page = 0; page < kPages; ++page) {
      const bool differs = to.pages[page] != from.pages[page] || (verify && to.damaged[page]);
      if (!differs) continue;
      if (from.damaged[page]) {
        *failed = pull.source;
        return Status(StatusCode::kCorruption, "damaged page");
      }
      if (Chance(5)) return Status(StatusCode::kIo, "broke off");
      to.pages[page] = from.pages[page];
      to.damaged[page] = false;
    }
    to.generation = pull.generation.value();
    to.suspect = false;
    to.synced = to.pages;
    to.ever_synced = true;
    return Status::Ok();
  }

  Status Commit(const CommitEffect& commit) {
    if (journal_.generation != commit.from.value() || journal_.sealing != commit.sealing.value()) {
      return Status(StatusCode::kConflict, "overtaken");
    }
    const Replica* first = nullptr;
    for (const ServerId id : commit.chain) {
      const auto& replica = At(id).replica;
      // Its machine may have lost power since: then it is suspect, or its file is gone.
      if (!replica || replica->suspect) continue;
      EXPECT_EQ(replica->generation, commit.sealing.value());
      if (first == nullptr) first = &*replica;
      EXPECT_EQ(replica->pages, first->pages) << "members differ";
      for (size_t page = 0; page < kPages; ++page) {
        if (commit.lost_pages > 0 || accepted_) continue;
        EXPECT_GE(replica->pages[page], acknowledged_[page]) << "an acknowledged write is lost";
      }
    }
    journal_.generation = commit.sealing.value();
    journal_.sealing = 0;
    journal_.chain = commit.chain;
    ++commits_;
    if ((commit.lost_pages > 0 || accepted_) && first != nullptr) {
      for (size_t page = 0; page < kPages; ++page) {
        acknowledged_[page] = std::min(acknowledged_[page], first->pages[page]);
      }
    }
    accepted_ = false;
    // Some of those that left delete what they have.
    for (const ServerId id : commit.dropped) {
      if (Chance(50) && At(id).up) At(id).replica.reset();
    }
    return Status::Ok();
  }

  /// All come back and nothing fails any more: a few attempts make the block whole, unless all of
  /// it is gone.
  void Calm() {
    frames_.clear();
    for (Server& server : servers_) server.up = true;
    const bool there = std::any_of(journal_.chain.begin(), journal_.chain.end(), [&](ServerId id) {
      const auto& replica = At(id).replica;
      return replica && replica->generation > 0 &&
             (replica->length() > 0 || !anything_acknowledged_);
    });
    if (!there) return;
    for (int round = 0; round < 40 && !testing::Test::HasFailure(); ++round) {
      attempts_.clear();
      BeginAttempt(true);
      while (!attempts_.empty()) MoveAttempt();
      // A page that is damaged in the last replica cannot be copied, and stays as it is.
      if (Whole() || Damaged()) return;
    }
    ADD_FAILURE() << "the block is not whole again: generation " << journal_.generation
                  << " members " << journal_.chain.size();
  }
  bool Damaged() {
    return std::any_of(journal_.chain.begin(), journal_.chain.end(),
                       [&](ServerId id) { return At(id).replica && At(id).replica->damage() > 0; });
  }
  bool Whole() {
    if (journal_.chain.size() < 3 || journal_.sealing != 0) return false;
    for (const ServerId id : journal_.chain) {
      const auto& replica = At(id).replica;
      if (!replica || replica->generation != journal_.generation || replica->suspect) return false;
    }
    return true;
  }

  std::mt19937 random_;
  std::array<Server, kServers> servers_;
  Journal journal_;
  std::array<int, kPages> acknowledged_{};
  bool anything_acknowledged_ = false;
  bool file_lost_ = false;
  int last_write_ = 0;
  std::vector<Frame> frames_;
  std::vector<std::unique_ptr<Attempt>> attempts_;
  bool only_suspects_ = false;
  bool accepted_ = false;  // since the last commit
  int commits_ = 0;
};

TEST(ReconfigurationWalkTest, NoAcknowledgedWriteIsLostAndMembersNeverDiffer) {
  int commits = 0;
  for (uint32_t seed = 1; seed <= 3000; ++seed) {
    Walk walk(seed);
    walk.Run(400);
    commits += walk.commits();
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  EXPECT_GT(commits, 3000);
}

}  // namespace
}  // namespace tercet
