// A register is a place in the namespace that one writer gives growing values. Whoever reads it
// must never get a value that is older than one known before the read began: one that was
// acknowledged to the writer, or that another read had returned already. (Linearizability of one
// register.)
//
// There are readers that follow the active as every client does, and readers that ask one
// metaserver only, whatever it is: a deposed or paused active that still answers would be caught by
// these.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "tools/bench_common.h"

namespace tercet {

/// What is known of one register. Thread-safe.
class RegisterModel {
 public:
  /// Before a write of it is sent.
  void Attempt(int64_t value) { Raise(&attempted_, value); }
  /// A write of it was acknowledged.
  void Acknowledge(int64_t value) { Raise(&floor_, value); }
  /// A read that begins now must return at least this.
  int64_t floor() const { return floor_.load(); }
  /// Empty when a read that began at `floor` may return `value`, else what is wrong.
  std::string Check(int64_t floor, int64_t value);

 private:
  static void Raise(std::atomic<int64_t>* at, int64_t value);

  std::atomic<int64_t> floor_{0};
  std::atomic<int64_t> attempted_{0};
};

struct RegisterCounts {
  uint64_t writes = 0;
  uint64_t write_errors = 0;
  uint64_t reads = 0;         // answered
  uint64_t pinned_reads = 0;  // answered, of readers that ask one metaserver
  uint64_t refused = 0;       // "not active", as it has to be
  uint64_t stale_reads = 0;
};

/// Thread-safe.
class RegisterCheck {
 public:
  /// Makes the registers' files in the directory and starts all threads. `pinned`: the metaservers
  /// that get readers of their own.
  static Result<std::unique_ptr<RegisterCheck>> Start(const std::vector<HostPort>& metaservers,
                                                      int64_t directory,
                                                      const std::vector<HostPort>& pinned);
  ~RegisterCheck();

  /// For a metaserver that is paused now and goes on in `hold` or so: reads that begin one after
  /// the other meanwhile and wait for its answer, each once.
  void ReadWhilePaused(const HostPort& address, std::chrono::milliseconds hold);

  void Stop();
  RegisterCounts counts() const;
  /// The first few stale reads and write errors, in words.
  std::vector<std::string> findings() const;

 private:
  struct Register {
    int64_t inode = 0;
    bool in_xattr = false;  // else it is the modification time
    RegisterModel model;
  };
  RegisterCheck() = default;

  void Write(Register* reg);
  void Read(Register* reg);
  void ReadPinned(const HostPort& address);
  void ReadLate(const HostPort& address, std::chrono::milliseconds delay,
                std::chrono::milliseconds timeout);
  /// One read at that metaserver.
  Status ReadAt(RpcClientPool<wire::MetadataServiceClient>& pool, Register* reg,
                std::chrono::milliseconds timeout);
  void Judge(Register* reg, int64_t floor, int64_t value, const std::string& whose);
  void Note(const std::string& finding);

  static constexpr int kRegisters = 2;
  Register registers_[kRegisters];
  std::unique_ptr<BenchSessions> sessions_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> writes_{0};
  std::atomic<uint64_t> write_errors_{0};
  std::atomic<uint64_t> reads_{0};
  std::atomic<uint64_t> pinned_reads_{0};
  std::atomic<uint64_t> refused_{0};
  std::atomic<uint64_t> stale_reads_{0};

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<std::thread> threads_;
  std::vector<std::thread> late_threads_;  // of the last pause
  std::vector<std::string> findings_;
};

}  // namespace tercet
