// Making a replica equal to another server's: which pages to ask for, and what to do with them.
//
// Step by step, without I/O to the source, so that the driver over frames (pull_session.h) and the
// simulator share it:
//   1. Start     with the source's table: opens or makes the base, cuts off what is behind the
//   source's
//                end, finds the pages that differ
//   2. NextRange until it has no more: what to read from the source; several may be under way at
//   once
//      Apply     the pages that came, in any order
//   3. Finish    when all ranges were applied
//
// What a crash, or giving up, leaves behind each step: prepare: a replica of generation 0 with some
// more of the source's pages, which a later pull starts from. Finish on a new target: the same.
// Finish on a sealed member: a replica of that generation whose pages are each as before or as the
// source's; nobody is told to read it, because a chain with it is journaled only after Finish
// answered OK.
//
// Invariants:
//  - Every change names the generation that Start found (0, or the sealed one): once the replica
//    was sealed higher the store refuses, and nothing more is changed.
//  - Nothing is written whose checksum does not match; when finishing: the checksum in the table
//    that Start was given.
//  - Finish answers OK only when the replica's length and table are the source's, and all of it is
//    durable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chunkserver/store/block_store.h"
#include "common/base/ids.h"
#include "common/base/status.h"

namespace tercet {

struct ReplicaPullOptions {
  BlockId block;
  /// What the source's replica has; above 0.
  Generation source_generation;
  /// 0: prepare; otherwise what this replica has in the end, which is the source's generation.
  Generation finish;
  /// Compare the base with its own checksums first.
  bool verify_base = false;
  /// Whole pages; at most so much is asked for at once.
  uint32_t max_range_bytes = 1 << 20;
};

/// Whole pages, but for the end of the source's replica.
struct PullRange {
  uint32_t offset = 0;
  uint32_t length = 0;
  friend bool operator==(const PullRange&, const PullRange&) = default;
};

/// Of one thread at a time.
class ReplicaPull {
 public:
  /// `store` must outlive it.
  ReplicaPull(BlockStore& store, const ReplicaPullOptions& options)
      : store_(store), options_(options) {}

  /// Errors as BlockStore::OpenPullBase: kConflict (the replica here is none to be changed),
  /// kNoSpace, …
  Status Start(const PageTable& source);
  /// Nothing: all has been asked for.
  std::optional<PullRange> NextRange();
  /// `pages` as READ_RESPONSE has them: whole pages from `range.offset` on, cut where the source's
  /// replica ends; `page_crcs`: theirs, as the source sent them.
  ///   kCorruption       a page does not match its checksum, or not the table; nothing was changed
  ///   kStaleGeneration  the replica here was sealed meanwhile: to be given up
  ///   kNoSpace, kIo     of the own disk
  Status Apply(const PullRange& range, std::string_view pages, std::string_view page_crcs);
  /// What was applied so far is on disk, so that what Finish has to sync is little.
  Status SyncApplied();
  /// Prepare: the pages are on disk, so that finishing later is quick. Finish: see the invariants;
  /// kConflict when the replica here is not equal to the source's after all.
  Status Finish();

  uint64_t copied_bytes() const { return copied_bytes_; }
  /// Bytes that differ and were not applied yet; whole pages.
  uint64_t left_bytes() const { return left_bytes_; }
  uint32_t source_length() const { return source_.length; }

 private:
  bool finishing() const { return options_.finish != Generation(); }
  Status CheckPages(const PullRange& range, std::string_view pages,
                    std::string_view page_crcs) const;

  // Constant after construction.
  BlockStore& store_;
  const ReplicaPullOptions options_;

  PageTable source_;
  Generation base_;              // of the replica here while it is filled
  std::vector<bool> differing_;  // by page; those that were not asked for yet
  uint32_t next_page_ = 0;
  uint64_t copied_bytes_ = 0;
  uint64_t left_bytes_ = 0;
};

}  // namespace tercet
