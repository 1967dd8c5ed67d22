// Consensus with one voter: what is durable in this machine's journal is committed.
//
// A record's way; in brackets what a crash between a step and the next leaves:
//  1. Append gives it an index and puts it into the journal's buffer [gone; nobody was answered]
//  2. one write and one fdatasync for all records in the buffer [replayed by the next start; in the
//     middle of this step: there or not, and the retry of whoever waited finds out]
//  3. the records are applied to the state as one batch [there; the retry gets its first answer]
//  4. those who wait for them are woken
//  5. checkpoint: the state is synced, then the journal behind it released [released later]
//
// Steps 2 and 3 are done by the threads that wait, not by one of the voter's own: with one client
// there is no hand-over between threads. Each step is done by one thread at a time, in index order;
// while one applies a batch another may sync the next. Who is done with a step hands it to one that
// still waits, if there is work for it.
//
// Invariants:
//  - Appended, durable, applied: each index only grows, and applied <= durable <= last.
//  - After an error in step 2, 3 or 5 the voter is inactive for good: everyone who waits, and
//    everyone who comes, is told so. Only a restart, which reads what the disk really holds, goes
//    on.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "common/env/disk.h"
#include "metaserver/journal/journal.h"
#include "metaserver/raft/consensus.h"

namespace tercet {

struct SingleVoterOptions {
  /// Payload of the record that opens this voter's epoch: something that changes nothing when it is
  /// applied.
  std::string epoch_payload;
  /// "HOST:PORT" under which clients reach this metaserver.
  std::string address;
  /// Payload bytes that are appended but not applied. Above, Append waits (and helps).
  uint64_t max_queued_bytes = 16 << 20;
  /// A checkpoint comes after so many bytes of journal.
  uint64_t checkpoint_bytes = 16 << 20;
  /// Append answers kNoSpace while the file system of one of the folders has less room than this
  /// for us, so that the state database never meets a full disk. 0: no such watch.
  uint64_t min_free_bytes = 64 << 20;
  std::vector<std::string> watched_folders;
};

/// Since the start.
struct SingleVoterCounters {
  uint64_t records = 0;
  uint64_t payload_bytes = 0;
  uint64_t syncs = 0;
  uint64_t sync_nanos = 0;
  uint64_t max_batch_records = 0;  // of one sync
  uint64_t applies = 0;
  uint64_t apply_nanos = 0;
  uint64_t checkpoints = 0;
  uint64_t spares_prepared = 0;  // segment files made ahead
  uint64_t no_space_refusals = 0;
  uint64_t replayed_records = 0;
};

class SingleVoter final : public Consensus {
 public:
  /// Replays what the applier has not yet applied and opens a new epoch. kCorruption when the
  /// journal and the state do not fit together. `applier` and `disk` (of watched_folders) must
  /// outlive the voter.
  static Result<std::unique_ptr<SingleVoter>> Start(SingleVoterOptions options,
                                                    std::unique_ptr<Journal> journal,
                                                    Applier& applier, Disk& disk);
  /// No call may be in progress: StepDown first, then let them return. What was appended but not
  /// waited for is lost.
  ~SingleVoter() override;

  /// Blocks while the queue is full or the next segment is being prepared; kNoSpace when that fails
  /// for want of room, kArgumentTooBig when the payload is above the journal's limit. A record that
  /// no thread waits for becomes durable with the next one that is waited for.
  Result<JournalIndex> Append(Epoch epoch, std::string payload) override;
  Status WaitApplied(JournalIndex index) override;
  bool HoldsLease(Epoch epoch) const override;
  ConsensusState state() const override;

  /// Makes the voter inactive: whoever waits is answered kNotActive.
  void StepDown(const std::string& reason);
  /// Why the voter is inactive; OK while it is active.
  Status failure() const;
  SingleVoterCounters counters() const;
  const NodeIdentity& identity() const { return journal_->identity(); }

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct Waiter {
    explicit Waiter(JournalIndex waited_index) : index(waited_index) {}
    const JournalIndex index;
    bool signalled = false;
    std::condition_variable wakeup;
  };

  SingleVoter(SingleVoterOptions options, std::unique_ptr<Journal> journal, Applier& applier,
              Disk& disk);

  Status Replay();
  Status OpenEpoch();

  // All these need mutex_; those with a Lock release it in between.
  Status CheckActive(Epoch epoch) const;
  Status NotActive() const;
  void Fail(const Status& status);
  /// Does a step that nobody does, if there is work for it; false when there is none.
  bool Work(Lock& lock);
  void SyncStep(Lock& lock);
  void ApplyStep(Lock& lock);
  /// Wakes those whose record is applied, and one for each step that has work and nobody doing it.
  void WakeWaiters();
  void Sleep(Lock& lock, JournalIndex index);
  Status AwaitSpare(Lock& lock);
  void Checkpoint(Lock& lock);
  void MaintainSpare(Lock& lock);
  void WatchSpace(Lock& lock);

  void RunMaintenance();

  // Constant after construction.
  const SingleVoterOptions options_;
  Applier& applier_;
  Disk& disk_;

  // Self-synchronised.
  const std::unique_ptr<Journal> journal_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  Status failure_;
  Epoch epoch_;
  JournalIndex last_;
  JournalIndex durable_;
  JournalIndex applied_;
  std::deque<CommittedRecord> queue_;   // appended, in the journal's buffer or being synced
  std::vector<CommittedRecord> ready_;  // durable, to be applied
  uint64_t queued_bytes_ = 0;           // of both, and of what is being applied
  bool syncing_ = false;                // a thread is in SyncStep
  bool applying_ = false;               // a thread is in ApplyStep
  std::list<Waiter*> waiters_;          // asleep; one per thread
  uint64_t bytes_since_checkpoint_ = 0;
  uint64_t spares_wanted_ = 0;  // attempts asked for
  uint64_t spares_tried_ = 0;   // attempts done
  Status spare_status_;         // of the newest attempt
  Status space_status_;         // of the newest look at the free space
  bool stop_ = false;
  SingleVoterCounters counters_;
  std::condition_variable spare_tried_;
  std::condition_variable maintenance_wakeup_;

  std::thread maintenance_;  // checkpoints, spare segments, free space; started last
};

}  // namespace tercet
