// One attempt: every combination of answers of two members and a new one, and the cases that decide
// whose content is kept.
#include "metaserver/repair/reconfiguration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "metaserver/repair/replica_comparison.h"

namespace tercet {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr ServerId kA{1};
constexpr ServerId kB{2};
constexpr ServerId kC{3};
constexpr ServerId kD{4};
constexpr Generation kFrom{4};
constexpr Generation kSealing{5};

Status Error(StatusCode code) { return Status(code, "made up"); }

SealAnswer Content(uint32_t crc, uint32_t length = 4096) {
  SealAnswer answer;
  answer.before = kFrom;
  answer.length = length;
  answer.table_crc = crc;
  return answer;
}
SealAnswer Suspect(uint32_t crc, uint32_t damaged = 0, uint32_t length = 4096) {
  SealAnswer answer = Content(crc, length);
  answer.suspect = true;
  answer.damaged_pages = damaged;
  return answer;
}
SealAnswer Damaged(uint32_t crc, uint32_t pages = 1) {
  SealAnswer answer = Content(crc);
  answer.damaged_pages = pages;
  return answer;
}
SealAnswer Absent() {
  SealAnswer answer;
  answer.absent = true;
  return answer;
}

ReconfigurationGoal Goal(int minimum = 1) {
  ReconfigurationGoal goal;
  goal.block = BlockId(77);
  goal.from = kFrom;
  goal.minimum = minimum;
  return goal;
}

/// Starts the attempt over `chain` and answers the begin record.
ReconfigurationEffects Begin(Reconfiguration& attempt, std::vector<ServerId> chain,
                             bool reserved = false) {
  const auto start = attempt.Start();
  EXPECT_EQ(start.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<BeginEffect>(start.at(0)));
  return attempt.OnBegun(BegunReconfiguration{kSealing, std::move(chain), reserved});
}

template <typename Effect>
std::vector<Effect> All(const ReconfigurationEffects& effects) {
  std::vector<Effect> of_kind;
  for (const auto& effect : effects) {
    if (const auto* one = std::get_if<Effect>(&effect)) of_kind.push_back(*one);
  }
  return of_kind;
}

std::vector<ServerId> Sealed(const ReconfigurationEffects& effects) {
  std::vector<ServerId> servers;
  for (const auto& seal : All<SealEffect>(effects)) servers.push_back(seal.server);
  return servers;
}

TEST(ReconfigurationTest, EqualMembersAreCommittedWithoutCopying) {
  Reconfiguration attempt(Goal(2));
  EXPECT_THAT(Sealed(Begin(attempt, {kA, kB, kC})), ElementsAre(kA, kB, kC));
  EXPECT_THAT(attempt.OnSealed(kB, Content(9)), IsEmpty());
  EXPECT_THAT(attempt.OnSealed(kA, Content(9)), IsEmpty());
  const auto commits = All<CommitEffect>(attempt.OnSealed(kC, Content(9)));
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_FALSE(commits[0].unwritten);
  EXPECT_THAT(commits[0].chain, ElementsAre(kA, kB, kC));
  EXPECT_THAT(commits[0].dropped, IsEmpty());
  EXPECT_EQ(commits[0].sealing, kSealing);
  EXPECT_FALSE(attempt.done());
  attempt.OnCommitted(Status::Ok());
  ASSERT_TRUE(attempt.done());
  EXPECT_TRUE(attempt.outcome().ok());
  EXPECT_EQ(attempt.generation(), kSealing);
  EXPECT_THAT(attempt.chain(), ElementsAre(kA, kB, kC));
}

TEST(ReconfigurationTest, OthersPullFromTheMostUpstreamThatAnswered) {
  Reconfiguration attempt(Goal(2));
  Begin(attempt, {kA, kB, kC});
  attempt.OnSealed(kA, Error(StatusCode::kUnavailable));
  attempt.OnSealed(kC, Content(7));
  const auto pulls = All<PullEffect>(attempt.OnSealed(kB, Content(9)));
  ASSERT_EQ(pulls.size(), 1u);
  EXPECT_EQ(pulls[0].target, kC);
  EXPECT_EQ(pulls[0].source, kB);
  EXPECT_EQ(pulls[0].generation, kSealing);
  EXPECT_FALSE(pulls[0].verify_base);
  const auto commits = All<CommitEffect>(attempt.OnPulled(kC, Status::Ok(), ServerId()));
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_THAT(commits[0].chain, ElementsAre(kB, kC));
  EXPECT_THAT(commits[0].dropped, ElementsAre(kA));
}

TEST(ReconfigurationTest, UnreachableMembersAreNotAsked) {
  auto goal = Goal(1);
  goal.unreachable = {kA};
  Reconfiguration attempt(goal);
  EXPECT_THAT(Sealed(Begin(attempt, {kA, kB})), ElementsAre(kB));
  EXPECT_EQ(All<CommitEffect>(attempt.OnSealed(kB, Content(1))).size(), 1u);
  EXPECT_EQ(attempt.failed().at(kA).code(), StatusCode::kUnavailable);
}

TEST(ReconfigurationTest, WhoIsToGoIsSealedAndMayBeTheSource) {
  auto goal = Goal(2);
  goal.drop = {kA};
  goal.add = {kC, kD};
  Reconfiguration attempt(goal);
  EXPECT_THAT(Sealed(Begin(attempt, {kA})), ElementsAre(kA));
  const auto pulls = All<PullEffect>(attempt.OnSealed(kA, Content(1)));
  ASSERT_EQ(pulls.size(), 2u);
  EXPECT_EQ(pulls[0].source, kA);
  EXPECT_EQ(pulls[1].source, kA);
  EXPECT_THAT(attempt.OnPulled(kD, Status::Ok(), ServerId()), IsEmpty());
  const auto commits = All<CommitEffect>(attempt.OnPulled(kC, Status::Ok(), ServerId()));
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_THAT(commits[0].chain, ElementsAre(kC, kD));
  EXPECT_THAT(commits[0].dropped, ElementsAre(kA));
  EXPECT_THAT(attempt.targets(), ElementsAre(kC, kD));
}

TEST(ReconfigurationTest, AnEmptyReplicaIsNotTheRootWhileAnotherHoldsData) {
  Reconfiguration attempt(Goal(2));
  const auto seals = All<SealEffect>(Begin(attempt, {kA, kB}, true));
  ASSERT_EQ(seals.size(), 2u);
  EXPECT_TRUE(seals[0].create_if_absent);
  attempt.OnSealed(kA, Content(0, 0));
  const auto pulls = All<PullEffect>(attempt.OnSealed(kB, Content(9)));
  ASSERT_EQ(pulls.size(), 1u);
  EXPECT_EQ(pulls[0].target, kA);
  EXPECT_EQ(pulls[0].source, kB);
}

TEST(ReconfigurationTest, EmptyReplicasAreRefusedWhereDataWasAcknowledged) {
  for (const bool has_data : {false, true}) {
    auto goal = Goal(1);
    goal.has_data = has_data;
    Reconfiguration attempt(goal);
    Begin(attempt, {kA, kB}, true);
    attempt.OnSealed(kB, Error(StatusCode::kUnavailable));
    const auto effects = attempt.OnSealed(kA, Content(0, 0));
    const auto commits = All<CommitEffect>(effects);
    ASSERT_EQ(commits.size(), has_data ? 0u : 1u);
    EXPECT_EQ(attempt.done(), has_data);
    if (!has_data) {
      EXPECT_TRUE(commits[0].unwritten) << "something may be committed meanwhile";
    }
  }
}

TEST(ReconfigurationTest, AMemberWithAnOlderGenerationLostItsReplica) {
  Reconfiguration attempt(Goal(1));
  Begin(attempt, {kA, kB});
  SealAnswer older = Content(1);
  older.before = Generation(kFrom.value() - 1);
  attempt.OnSealed(kA, older);
  const auto commits = All<CommitEffect>(attempt.OnSealed(kB, Content(2)));
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_THAT(commits[0].chain, ElementsAre(kB));
}

TEST(ReconfigurationTest, ASuspectIsMendedFromOneThatIsNot) {
  Reconfiguration attempt(Goal(2));
  Begin(attempt, {kA, kB});
  attempt.OnSealed(kA, Suspect(9));
  // The checksums are equal, but the suspect's pages need not be.
  const auto pulls = All<PullEffect>(attempt.OnSealed(kB, Content(9)));
  ASSERT_EQ(pulls.size(), 1u);
  EXPECT_EQ(pulls[0].target, kA);
  EXPECT_TRUE(pulls[0].verify_base);
  const auto commits = All<CommitEffect>(attempt.OnPulled(kA, Status::Ok(), ServerId()));
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_THAT(commits[0].chain, ElementsAre(kA, kB));
  EXPECT_EQ(commits[0].lost_pages, 0u);
}

TEST(ReconfigurationTest, OnlySuspectsAreNotCommittedUnlessAccepted) {
  Reconfiguration attempt(Goal(1));
  Begin(attempt, {kA, kB});
  attempt.OnSealed(kA, Suspect(9));
  EXPECT_THAT(attempt.OnSealed(kB, Suspect(9)), IsEmpty());
  ASSERT_TRUE(attempt.done());
  EXPECT_EQ(attempt.outcome().code(), StatusCode::kUnavailable);
  EXPECT_TRUE(attempt.only_suspects());
}

TEST(ReconfigurationTest, TheBestSuspectIsKeptWhenThatIsAccepted) {
  auto goal = Goal(2);
  goal.accept_suspect = true;
  Reconfiguration attempt(goal);
  for (const auto& seal : All<SealEffect>(Begin(attempt, {kA, kB, kC}))) {
    EXPECT_TRUE(seal.verify);
    EXPECT_FALSE(seal.accept_suspect) << "before all have answered";
  }
  attempt.OnSealed(kA, Suspect(1, 2, 9000));
  attempt.OnSealed(kB, Suspect(2, 1, 5000));
  const auto accept = All<SealEffect>(attempt.OnSealed(kC, Suspect(3, 1, 8192)));
  ASSERT_EQ(accept.size(), 1u);
  EXPECT_EQ(accept[0].server, kC);
  EXPECT_TRUE(accept[0].accept_suspect);
  const auto pulls = All<PullEffect>(attempt.OnSealed(kC, Suspect(3, 0, 8192)));
  ASSERT_EQ(pulls.size(), 2u);
  EXPECT_EQ(pulls[0].source, kC);
  EXPECT_TRUE(pulls[0].verify_base);
  attempt.OnPulled(kA, Status::Ok(), ServerId());
  const auto commits = All<CommitEffect>(attempt.OnPulled(kB, Status::Ok(), ServerId()));
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_EQ(commits[0].lost_pages, 1u);
  EXPECT_THAT(commits[0].chain, ElementsAre(kA, kB, kC));
}

TEST(ReconfigurationTest, NoSuspectIsAcceptedWhereOneAboveSuspicionAnswered) {
  auto goal = Goal(2);
  goal.accept_suspect = true;
  Reconfiguration attempt(goal);
  Begin(attempt, {kA, kB});
  attempt.OnSealed(kA, Suspect(1));
  const auto pulls = All<PullEffect>(attempt.OnSealed(kB, Content(2)));
  ASSERT_EQ(pulls.size(), 1u);
  EXPECT_EQ(pulls[0].source, kB);
  // It dies: the suspect is not accepted in its place.
  EXPECT_THAT(attempt.OnPulled(kA, Error(StatusCode::kIo), kA), IsEmpty());
  ASSERT_TRUE(attempt.done());
  EXPECT_FALSE(attempt.outcome().ok());
  EXPECT_FALSE(attempt.only_suspects());
}

TEST(ReconfigurationTest, NoSuspectIsAcceptedWhileAMemberThatMayHaveMoreIsSilent) {
  auto goal = Goal(1);
  goal.accept_suspect = true;
  for (const bool known_to_be_gone : {false, true}) {
    if (known_to_be_gone) goal.unreachable = {kB};
    Reconfiguration attempt(goal);
    const auto seals = Begin(attempt, {kA, kB});
    if (!known_to_be_gone) attempt.OnSealed(kB, Error(StatusCode::kDeadlineExceeded));
    const auto accept = All<SealEffect>(attempt.OnSealed(kA, Suspect(1)));
    EXPECT_EQ(accept.size(), known_to_be_gone ? 1u : 0u);
    EXPECT_EQ(attempt.done(), !known_to_be_gone);
  }
}

TEST(ReconfigurationTest, WhatAGivenUpAttemptAcceptedIsASuspectAsBefore) {
  for (const bool accept : {false, true}) {
    for (const bool better : {false, true}) {
      auto goal = Goal(1);
      goal.accept_suspect = accept;
      goal.suspects = {kA};
      Reconfiguration attempt(goal);
      Begin(attempt, {kA, kB});
      // It was a suspect; now it says no more that it is one.
      attempt.OnSealed(kA, Content(1));
      const auto effects = attempt.OnSealed(kB, better ? Content(2) : Suspect(2, 0, 8192));
      if (better) {
        ASSERT_EQ(All<PullEffect>(effects).size(), 1u);
        EXPECT_EQ(All<PullEffect>(effects)[0].source, kB);
      } else if (accept) {
        // The other one may have pulled half of it.
        EXPECT_THAT(Sealed(effects), ElementsAre(kA));
        const auto pulls = All<PullEffect>(attempt.OnSealed(kA, Content(1)));
        ASSERT_EQ(pulls.size(), 1u);
        EXPECT_EQ(pulls[0].source, kA);
      } else {
        ASSERT_TRUE(attempt.done());
        EXPECT_TRUE(attempt.only_suspects());
      }
    }
  }
}

TEST(ReconfigurationTest, AGenerationThatTheJournalDoesNotKnowEndsTheAttemptWithIt) {
  SealAnswer newer;
  newer.newer = Generation(90);
  Reconfiguration attempt(Goal(1));
  Begin(attempt, {kA, kB, kC});
  attempt.OnSealed(kA, Content(1));
  attempt.OnSealed(kB, newer);
  newer.newer = Generation(88);
  EXPECT_THAT(attempt.OnSealed(kC, newer), IsEmpty());
  ASSERT_TRUE(attempt.done());
  EXPECT_EQ(attempt.outcome().code(), StatusCode::kConflict);
  EXPECT_EQ(attempt.newer(), Generation(90));

  auto goal = Goal(1);
  goal.above = attempt.newer();
  Reconfiguration next(goal);
  const auto start = next.Start();
  ASSERT_EQ(All<BeginEffect>(start).size(), 1u);
  EXPECT_EQ(All<BeginEffect>(start)[0].above, Generation(90));
  next.OnBegun(BegunReconfiguration{Generation(91), {kA, kB, kC}, false});
  // The newest chain has most of what was written.
  next.OnSealed(kA, Content(1));
  SealAnswer newest = Content(2);
  newest.before = Generation(90);
  next.OnSealed(kB, newest);
  SealAnswer other = Content(3);
  other.before = Generation(88);
  const auto pulls = All<PullEffect>(next.OnSealed(kC, other));
  ASSERT_EQ(pulls.size(), 2u);
  EXPECT_EQ(pulls[0].source, kB);
  EXPECT_EQ(pulls[1].source, kB);
}

TEST(ReconfigurationTest, DamagedPagesInDifferentPlacesMendEachOther) {
  auto goal = Goal(2);
  goal.verify = {kA, kB};
  Reconfiguration attempt(goal);
  Begin(attempt, {kA, kB});
  attempt.OnSealed(kA, Damaged(9));
  auto pulls = All<PullEffect>(attempt.OnSealed(kB, Damaged(9)));
  ASSERT_EQ(pulls.size(), 1u);
  const ServerId first = pulls[0].target;
  EXPECT_TRUE(pulls[0].verify_base);
  pulls = All<PullEffect>(attempt.OnPulled(first, Status::Ok(), ServerId()));
  ASSERT_EQ(pulls.size(), 1u);
  EXPECT_EQ(pulls[0].source, first);
  const auto commits =
      All<CommitEffect>(attempt.OnPulled(pulls[0].target, Status::Ok(), ServerId()));
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_THAT(commits[0].chain, ElementsAre(kA, kB));
  EXPECT_EQ(commits[0].lost_pages, 0u);
}

TEST(ReconfigurationTest, ADamagedSourceIsReplacedByAnotherContent) {
  Reconfiguration attempt(Goal(2));
  Begin(attempt, {kA, kB, kC});
  attempt.OnSealed(kA, Content(1));
  attempt.OnSealed(kB, Content(2));
  auto pulls = All<PullEffect>(attempt.OnSealed(kC, Content(2)));
  ASSERT_EQ(pulls.size(), 2u);
  attempt.OnPulled(kB, Error(StatusCode::kCorruption), kA);
  // Its only copy of that page is damaged: the others' content is taken. C was told to pull, so
  // what it holds now is not known.
  pulls = All<PullEffect>(attempt.OnPulled(kC, Error(StatusCode::kCorruption), kA));
  ASSERT_EQ(pulls.size(), 2u);
  for (const auto& pull : pulls) {
    EXPECT_EQ(pull.source, kB);
    EXPECT_EQ(pull.verify_base, pull.target == kA);
  }
  attempt.OnPulled(kA, Status::Ok(), ServerId());
  const auto commits = All<CommitEffect>(attempt.OnPulled(kC, Status::Ok(), ServerId()));
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_THAT(commits[0].chain, ElementsAre(kA, kB, kC));
}

TEST(ReconfigurationTest, DamageThatNobodyCanMendIsKeptAndCounted) {
  auto goal = Goal(1);
  goal.add = {kD};
  Reconfiguration attempt(goal);
  Begin(attempt, {kA});
  ASSERT_EQ(All<PullEffect>(attempt.OnSealed(kA, Content(1))).size(), 1u);
  const auto commits = All<CommitEffect>(attempt.OnPulled(kD, Error(StatusCode::kCorruption), kA));
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_THAT(commits[0].chain, ElementsAre(kA)) << "readable where it is not damaged";
  EXPECT_EQ(commits[0].lost_pages, 1u);
}

TEST(ReconfigurationTest, ASourceThatDiesAfterSealingLeavesTheChain) {
  Reconfiguration attempt(Goal(2));
  Begin(attempt, {kA, kB, kC});
  attempt.OnSealed(kA, Content(1));
  attempt.OnSealed(kB, Content(1));
  ASSERT_EQ(All<PullEffect>(attempt.OnSealed(kC, Content(2))).size(), 1u);
  const auto again = All<PullEffect>(attempt.OnPulled(kC, Error(StatusCode::kUnavailable), kA));
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].source, kB);
  const auto commits = All<CommitEffect>(attempt.OnPulled(kC, Status::Ok(), ServerId()));
  ASSERT_EQ(commits.size(), 1u);
}

TEST(ReconfigurationTest, TheOnlyOneWithTheContentStaysWhenTheNewOneCannotReachIt) {
  auto goal = Goal(1);
  goal.add = {kD};
  Reconfiguration attempt(goal);
  Begin(attempt, {kA});
  attempt.OnSealed(kA, Content(1));
  const auto commits = All<CommitEffect>(attempt.OnPulled(kD, Error(StatusCode::kUnavailable), kA));
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_THAT(commits[0].chain, ElementsAre(kA));
  EXPECT_TRUE(attempt.failed().contains(kD));
}

TEST(ReconfigurationTest, FailuresSayWhatIsMissing) {
  {
    auto goal = Goal(2);
    goal.add = {kD};
    Reconfiguration attempt(goal);
    Begin(attempt, {kA});
    attempt.OnSealed(kA, Content(1));
    attempt.OnPulled(kD, Error(StatusCode::kNoSpace), kD);
    EXPECT_EQ(attempt.outcome().code(), StatusCode::kNoSpace);
  }
  {
    Reconfiguration attempt(Goal(1));
    Begin(attempt, {kA, kB});
    attempt.OnSealed(kA, Absent());
    attempt.OnSealed(kB, Absent());
    EXPECT_EQ(attempt.outcome().code(), StatusCode::kCorruption);
  }
  {
    Reconfiguration attempt(Goal(1));
    Begin(attempt, {kA, kB});
    attempt.OnSealed(kA, Absent());
    attempt.OnSealed(kB, Error(StatusCode::kDeadlineExceeded));
    EXPECT_EQ(attempt.outcome().code(), StatusCode::kUnavailable);
  }
  {
    Reconfiguration attempt(Goal(1));
    Begin(attempt, {kA, kB});
    attempt.OnSealed(kA, Error(StatusCode::kStaleEpoch));
    EXPECT_EQ(attempt.outcome().code(), StatusCode::kStaleEpoch);
    EXPECT_THAT(attempt.OnSealed(kB, Content(1)), IsEmpty()) << "late answers change nothing";
  }
  {
    Reconfiguration attempt(Goal(1));
    attempt.Start();
    attempt.OnBegun(Error(StatusCode::kConflict));
    EXPECT_EQ(attempt.outcome().code(), StatusCode::kConflict);
  }
}

// ---- every combination ----

/// Hands out choices; Next() goes to the next combination, like an odometer.
class Choices {
 public:
  int Choose(int options) {
    if (position_ == digits_.size()) digits_.push_back({0, options});
    return digits_[position_++].value;
  }
  bool Next() {
    position_ = 0;
    while (!digits_.empty() && ++digits_.back().value == digits_.back().options) digits_.pop_back();
    return !digits_.empty();
  }

 private:
  struct Digit {
    int value;
    int options;
  };
  std::vector<Digit> digits_;
  size_t position_ = 0;
};

/// Plays one attempt with every answer taken from `choices`, and checks what it commits.
class Player {
 public:
  Player(Choices& choices, ReconfigurationGoal goal, std::vector<ServerId> chain)
      : choices_(choices), goal_(goal), attempt_(goal), chain_(std::move(chain)) {}

  void Play() {
    Take(Begin(attempt_, chain_));
    int steps = 0;
    while (!attempt_.done()) {
      ASSERT_FALSE(open_.empty()) << "it waits for nothing";
      ASSERT_LT(++steps, 100);
      // Later ones first in half of the cases: answers come in any order.
      const size_t pick =
          open_.size() > 1 && attempt_.chain().empty() && pulls_ > 0 && choices_.Choose(2) == 1
              ? open_.size() - 1
              : 0;
      const ReconfigurationEffect effect = open_[pick];
      open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(pick));
      Carry(effect);
      if (testing::Test::HasFatalFailure()) return;
    }
    EXPECT_EQ(attempt_.outcome().ok(), committed_);
  }
  bool committed() const { return committed_; }

 private:
  void Take(ReconfigurationEffects effects) {
    for (auto& effect : effects) open_.push_back(std::move(effect));
  }
  void Carry(const ReconfigurationEffect& effect) {
    if (const auto* seal = std::get_if<SealEffect>(&effect)) return Seal(*seal);
    if (const auto* pull = std::get_if<PullEffect>(&effect)) return Pull(*pull);
    Commit(std::get<CommitEffect>(effect));
  }
  void Seal(const SealEffect& seal) {
    if (seal.accept_suspect) {
      ASSERT_TRUE(goal_.accept_suspect);
      for (const auto& [server, answer] : answers_) {
        ASSERT_TRUE(answer.suspect || answer.absent || answer.length == 0);
      }
      ASSERT_TRUE(answers_.at(seal.server).suspect);
      if (choices_.Choose(2) == 1) {
        return Take(attempt_.OnSealed(seal.server, Error(StatusCode::kIo)));
      }
      suspect_.erase(seal.server);
      return Take(attempt_.OnSealed(seal.server, answers_.at(seal.server)));
    }
    ASSERT_TRUE(asked_.insert(seal.server).second) << "asked twice";
    static const std::vector<SealAnswer> kAnswers = {Content(1), Content(2), Suspect(1),
                                                     Damaged(1), Absent(),   Content(0, 0)};
    const int choice = choices_.Choose(static_cast<int>(kAnswers.size()) + 1);
    if (choice == static_cast<int>(kAnswers.size())) {
      return Take(attempt_.OnSealed(seal.server, Error(StatusCode::kUnavailable)));
    }
    const SealAnswer& answer = kAnswers[static_cast<size_t>(choice)];
    answers_[seal.server] = answer;
    if (!answer.absent) content_[seal.server] = answer.length == 0 ? 0 : answer.table_crc;
    if (answer.suspect) suspect_.insert(seal.server);
    Take(attempt_.OnSealed(seal.server, answer));
  }
  void Pull(const PullEffect& pull) {
    ASSERT_TRUE(content_.contains(pull.source)) << "pulls from one that holds nothing";
    ASSERT_FALSE(suspect_.contains(pull.source));
    if (suspect_.contains(pull.target)) {
      EXPECT_TRUE(pull.verify_base);
    }
    // Beyond so many all goes well: the number of combinations has an end.
    const int choice = ++pulls_ <= 4 ? choices_.Choose(4) : 0;
    if (choice != 0 &&
        (!content_.contains(pull.target) || content_.at(pull.target) != content_.at(pull.source))) {
      content_[pull.target] = 1000 + pull.target.value();  // some of it came
    }
    switch (choice) {
      case 0:
        content_[pull.target] = content_.at(pull.source);
        suspect_.erase(pull.target);
        pulled_.insert(pull.target);
        return Take(attempt_.OnPulled(pull.target, Status::Ok(), ServerId()));
      case 1:
        return Take(attempt_.OnPulled(pull.target, Error(StatusCode::kIo), pull.target));
      case 2:
        return Take(attempt_.OnPulled(pull.target, Error(StatusCode::kUnavailable), pull.source));
      default:
        return Take(attempt_.OnPulled(pull.target, Error(StatusCode::kCorruption), pull.source));
    }
  }
  void Commit(const CommitEffect& commit) {
    committed_ = true;
    ASSERT_GE(static_cast<int>(commit.chain.size()), goal_.minimum);
    std::set<uint32_t> contents;
    bool old_one_answered_with_data = false;
    for (const auto& [server, answer] : answers_) {
      old_one_answered_with_data |= !answer.absent && answer.length > 0;
    }
    for (const ServerId server : commit.chain) {
      ASSERT_TRUE(content_.contains(server));
      contents.insert(content_.at(server));
      EXPECT_FALSE(suspect_.contains(server));
      EXPECT_TRUE(asked_.contains(server) ? answers_.contains(server) : pulled_.contains(server));
      EXPECT_EQ(std::count(commit.chain.begin(), commit.chain.end(), server), 1);
      EXPECT_EQ(std::count(commit.dropped.begin(), commit.dropped.end(), server), 0);
    }
    EXPECT_EQ(contents.size(), 1u) << "the members differ";
    EXPECT_EQ(contents.contains(0), !old_one_answered_with_data);
    for (const ServerId server : chain_) {
      EXPECT_TRUE(std::count(commit.chain.begin(), commit.chain.end(), server) +
                      std::count(commit.dropped.begin(), commit.dropped.end(), server) ==
                  1);
    }
    Take(attempt_.OnCommitted(Status::Ok()));
  }

  Choices& choices_;
  const ReconfigurationGoal goal_;
  Reconfiguration attempt_;
  const std::vector<ServerId> chain_;
  ReconfigurationEffects open_;
  std::set<ServerId> asked_;
  std::map<ServerId, SealAnswer> answers_;
  std::map<ServerId, uint32_t> content_;
  std::set<ServerId> suspect_;
  std::set<ServerId> pulled_;
  int pulls_ = 0;
  bool committed_ = false;
};

void PlayAll(ReconfigurationGoal goal, std::vector<ServerId> chain) {
  Choices choices;
  int64_t plays = 0;
  int64_t commits = 0;
  do {
    Player player(choices, goal, chain);
    player.Play();
    ++plays;
    commits += player.committed();
    if (testing::Test::HasFailure()) return;
  } while (choices.Next());
  EXPECT_GT(commits, 0);
  EXPECT_GT(plays, commits);
  testing::Test::RecordProperty("plays", static_cast<int>(plays));
}

TEST(ReconfigurationTest, EveryCombinationOfAnswersOfTwoMembers) {
  for (const int minimum : {1, 2}) {
    for (const bool accept : {false, true}) {
      auto goal = Goal(minimum);
      goal.accept_suspect = accept;
      PlayAll(goal, {kA, kB});
      if (HasFailure()) return;
    }
  }
}

TEST(ReconfigurationTest, EveryCombinationOfAnswersOfTwoMembersAndANewOne) {
  auto goal = Goal(2);
  goal.add = {kD};
  PlayAll(goal, {kA, kB});
  goal.drop = {kA};
  PlayAll(goal, {kA, kB});
  goal.accept_suspect = true;
  goal.minimum = 1;
  PlayAll(goal, {kA});
}

TEST(CompareReplicasTest, OnlyAnswersOfAllTellWhetherTheyAreEqual) {
  using Answer = Result<ReplicaContent>;
  const auto compare = [](std::vector<Answer> answers) { return CompareReplicas(answers); };
  const ReplicaContent one{4096, 7};
  EXPECT_EQ(compare({one, one, one}), Comparison::kEqual);
  EXPECT_EQ(compare({one, one, ReplicaContent{4096, 8}}), Comparison::kDifferent);
  EXPECT_EQ(compare({one, ReplicaContent{8192, 7}}), Comparison::kDifferent);
  for (const StatusCode code : {StatusCode::kNotFound, StatusCode::kStaleGeneration,
                                StatusCode::kCorruption, StatusCode::kIo}) {
    EXPECT_EQ(compare({Answer(Error(code)), one}), Comparison::kDifferent);
    EXPECT_EQ(compare({one, Answer(Error(code))}), Comparison::kDifferent);
  }
  for (const StatusCode code :
       {StatusCode::kUnavailable, StatusCode::kDeadlineExceeded, StatusCode::kCancelled}) {
    EXPECT_EQ(compare({one, Answer(Error(code)), ReplicaContent{4096, 8}}), Comparison::kUnknown);
  }
}

}  // namespace
}  // namespace tercet
