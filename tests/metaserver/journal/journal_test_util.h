// Journals on the simulated disk for the tests in this folder.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/env/random.h"
#include "common/env/sim_disk.h"
#include "metaserver/journal/journal.h"

namespace tercet {

inline constexpr char kFolder[] = "/journal";
inline const NodeIdentity kTestIdentity{"CLUSTER-CLUSTER-", "SERVER-A-SERVER-"};

inline JournalOptions SmallJournal(uint64_t segment_bytes = Journal::kMinSegmentBytes) {
  JournalOptions options;
  options.folder = kFolder;
  options.identity = kTestIdentity;
  options.segment_bytes = segment_bytes;
  return options;
}

inline std::unique_ptr<Journal> MustOpen(Disk& disk, Random& random,
                                         JournalOptions options = SmallJournal()) {
  Result<std::unique_ptr<Journal>> journal = Journal::Open(disk, random, std::move(options));
  EXPECT_TRUE(journal.ok()) << journal.status().ToString();
  return journal.ok() ? std::move(journal).value() : nullptr;
}

/// Appends, with a new segment file when one is needed.
inline JournalIndex MustAppend(Journal& journal, Epoch epoch, const std::string& payload) {
  Result<JournalIndex> index = journal.Append(epoch, payload);
  if (index.code() == StatusCode::kNoSpace) {
    Status status = journal.PrepareSpare();
    EXPECT_TRUE(status.ok()) << status.ToString();
    index = journal.Append(epoch, payload);
  }
  EXPECT_TRUE(index.ok()) << index.status().ToString();
  return index.ok() ? *index : JournalIndex();
}

/// All records from the first that is held.
inline std::vector<CommittedRecord> ReadAll(const Journal& journal, uint64_t step_bytes = 1000) {
  std::vector<CommittedRecord> all;
  JournalIndex next = journal.range().first;
  while (true) {
    Result<std::vector<CommittedRecord>> some = journal.ReadRecords(next, step_bytes);
    EXPECT_TRUE(some.ok()) << some.status().ToString();
    if (!some.ok() || some->empty()) return all;
    for (CommittedRecord& record : *some) {
      EXPECT_EQ(record.index, next);
      next = record.index.Next();
      all.push_back(std::move(record));
    }
  }
}

}  // namespace tercet
