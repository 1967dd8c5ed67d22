#include "tools/drill/register_check.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>

namespace tercet {
namespace {

using std::chrono::milliseconds;
using Service = wire::MetadataServiceClient;

constexpr const char* kXattr = "user.tercet.drill";
constexpr milliseconds kBetweenWrites{5};
constexpr milliseconds kBetweenReads{4};
constexpr milliseconds kBetweenPinnedReads{4};
constexpr milliseconds kAfterNoAnswer{20};
constexpr milliseconds kPinnedTimeout{10'000};
constexpr int kPinnedReaders = 2;
constexpr int kLateReaders = 8;
constexpr size_t kMaxFindings = 10;

int64_t ParseValue(const std::string& text) {
  int64_t value = -1;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

void RegisterModel::Raise(std::atomic<int64_t>* at, int64_t value) {
  int64_t current = at->load();
  while (current < value && !at->compare_exchange_weak(current, value)) {
  }
}

std::string RegisterModel::Check(int64_t floor, int64_t value) {
  if (value < floor) return fmt::format("{} was read when {} was known before", value, floor);
  if (value > attempted_.load()) return fmt::format("{} was read, which nobody ever wrote", value);
  // Whoever reads after this read must not see less.
  Raise(&floor_, value);
  return "";
}

Result<std::unique_ptr<RegisterCheck>> RegisterCheck::Start(
    const std::vector<HostPort>& metaservers, int64_t directory,
    const std::vector<HostPort>& pinned) {
  std::unique_ptr<RegisterCheck> check(new RegisterCheck());
  ASSIGN_OR_RETURN(check->sessions_, BenchSessions::Open(metaservers, 2, "drill: registers"));
  MetadataClient& client = check->sessions_->Of(0);
  for (int i = 0; i < kRegisters; ++i) {
    Register& reg = check->registers_[i];
    reg.in_xattr = i == 0;
    wire::CreateFileRequest create;
    create.parent = directory;
    create.name = fmt::format("register{}", i);
    create.mode = 0600;
    create.owner.uid = static_cast<int32_t>(::getuid());
    create.owner.gid = static_cast<int32_t>(::getgid());
    ASSIGN_OR_RETURN(const auto made, client.Mutate("create", &Service::CreateFile, create));
    reg.inode = made.attributes.inode;
  }
  // Their first values, so that every read finds one.
  wire::SetXattrRequest xattr;
  xattr.inode = check->registers_[0].inode;
  xattr.name = kXattr;
  xattr.value = "0";
  RETURN_IF_ERROR(client.Mutate("setxattr", &Service::SetXattr, xattr).status());
  wire::SetAttributesRequest attributes;
  attributes.inode = check->registers_[1].inode;
  attributes.__set_mtime_ns(0);
  RETURN_IF_ERROR(client.Mutate("setattr", &Service::SetAttributes, attributes).status());

  std::lock_guard lock(check->mutex_);
  RegisterCheck* self = check.get();
  for (Register& reg : self->registers_) {
    self->threads_.emplace_back([self, r = &reg] { self->Write(r); });
    self->threads_.emplace_back([self, r = &reg] { self->Read(r); });
  }
  for (const HostPort& address : pinned) {
    for (int i = 0; i < kPinnedReaders; ++i) {
      self->threads_.emplace_back([self, address] { self->ReadPinned(address); });
    }
  }
  return check;
}

RegisterCheck::~RegisterCheck() { Stop(); }

void RegisterCheck::Stop() {
  stopping_ = true;
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex_);
    threads.swap(threads_);
    for (std::thread& thread : late_threads_) threads.push_back(std::move(thread));
    late_threads_.clear();
  }
  for (std::thread& thread : threads) thread.join();
}

void RegisterCheck::Write(Register* reg) {
  MetadataClient& client = sessions_->Of(0);
  for (int64_t value = 1; !stopping_; ++value) {
    reg->model.Attempt(value);
    Status status;
    if (reg->in_xattr) {
      wire::SetXattrRequest request;
      request.inode = reg->inode;
      request.name = kXattr;
      request.value = std::to_string(value);
      status = client.Mutate("setxattr", &Service::SetXattr, request).status();
    } else {
      wire::SetAttributesRequest request;
      request.inode = reg->inode;
      request.__set_mtime_ns(value);
      status = client.Mutate("setattr", &Service::SetAttributes, request).status();
    }
    if (status.ok()) {
      reg->model.Acknowledge(value);
      ++writes_;
    } else {
      ++write_errors_;
      Note("write of a register: " + status.ToString());
    }
    std::this_thread::sleep_for(kBetweenWrites);
  }
}

void RegisterCheck::Read(Register* reg) {
  MetadataClient& client = sessions_->Of(1);
  while (!stopping_) {
    const int64_t floor = reg->model.floor();
    int64_t value = -1;
    Status status;
    if (reg->in_xattr) {
      wire::GetXattrRequest request;
      request.inode = reg->inode;
      request.name = kXattr;
      auto response = client.Read("getxattr", &Service::GetXattr, request);
      status = response.status();
      if (response.ok()) value = ParseValue(response->value);
    } else {
      wire::GetAttributesRequest request;
      request.inode = reg->inode;
      auto response = client.Read("getattr", &Service::GetAttributes, request);
      status = response.status();
      if (response.ok()) value = response->attributes.mtime_ns;
    }
    if (status.ok()) {
      ++reads_;
      Judge(reg, floor, value, "a client");
    } else {
      ++write_errors_;
      Note("read of a register: " + status.ToString());
    }
    std::this_thread::sleep_for(kBetweenReads);
  }
}

Status RegisterCheck::ReadAt(RpcClientPool<Service>& pool, Register* reg, milliseconds timeout) {
  const int64_t floor = reg->model.floor();
  wire::ReplyInfo info;
  int64_t value = -1;
  const Status transport = pool.Call(timeout, [&](Service& client) {
    if (reg->in_xattr) {
      wire::GetXattrRequest request;
      request.inode = reg->inode;
      request.name = kXattr;
      wire::GetXattrResponse response;
      client.GetXattr(response, request);
      info = response.info;
      value = ParseValue(response.value);
    } else {
      wire::GetAttributesRequest request;
      request.inode = reg->inode;
      wire::GetAttributesResponse response;
      client.GetAttributes(response, request);
      info = response.info;
      value = response.attributes.mtime_ns;
    }
  });
  RETURN_IF_ERROR(transport);
  const Status status = FromWire(info.status);
  if (status.ok()) {
    ++pinned_reads_;
    Judge(reg, floor, value, pool.peer().ToString());
  } else if (status.code() == StatusCode::kNotActive) {
    ++refused_;
  } else if (status.code() == StatusCode::kNotFound || status.code() == StatusCode::kStaleHandle ||
             status.code() == StatusCode::kNoAttribute) {
    // An answer, and a wrong one: the register is there since before the first read.
    ++stale_reads_;
    Note(pool.peer().ToString() + ": " + status.ToString());
  }
  return status;
}

void RegisterCheck::ReadPinned(const HostPort& address) {
  RpcClientPool<Service> pool(address, "metadata", 1);
  for (size_t i = 0; !stopping_; ++i) {
    const Status status = ReadAt(pool, &registers_[i % kRegisters], kPinnedTimeout);
    const bool answered = status.ok() || status.code() == StatusCode::kNotActive;
    std::this_thread::sleep_for(answered ? kBetweenPinnedReads : kAfterNoAnswer);
  }
}

void RegisterCheck::ReadWhilePaused(const HostPort& address, milliseconds hold) {
  std::vector<std::thread> earlier;
  {
    std::lock_guard lock(mutex_);
    earlier.swap(late_threads_);
  }
  for (std::thread& thread : earlier) thread.join();
  std::lock_guard lock(mutex_);
  for (int i = 0; i < kLateReaders; ++i) {
    late_threads_.emplace_back([this, address, hold, i] {
      ReadLate(address, hold * i / kLateReaders, hold + kPinnedTimeout);
    });
  }
}

void RegisterCheck::ReadLate(const HostPort& address, milliseconds delay, milliseconds timeout) {
  const auto begin = std::chrono::steady_clock::now() + delay;
  while (std::chrono::steady_clock::now() < begin) {
    if (stopping_) return;
    std::this_thread::sleep_for(kAfterNoAnswer);
  }
  RpcClientPool<Service> pool(address, "metadata", 1);
  // What it says is judged in ReadAt; that it says nothing is no fault.
  for (Register& reg : registers_) (void)ReadAt(pool, &reg, timeout);
}

void RegisterCheck::Judge(Register* reg, int64_t floor, int64_t value, const std::string& whose) {
  const std::string wrong = reg->model.Check(floor, value);
  if (wrong.empty()) return;
  ++stale_reads_;
  Note(fmt::format("stale read by {}: {} in the {}", whose, wrong,
                   reg->in_xattr ? "extended attribute" : "modification time"));
}

void RegisterCheck::Note(const std::string& finding) {
  std::lock_guard lock(mutex_);
  if (findings_.size() < kMaxFindings) findings_.push_back(finding);
}

RegisterCounts RegisterCheck::counts() const {
  return {.writes = writes_,
          .write_errors = write_errors_,
          .reads = reads_,
          .pinned_reads = pinned_reads_,
          .refused = refused_,
          .stale_reads = stale_reads_};
}

std::vector<std::string> RegisterCheck::findings() const {
  std::lock_guard lock(mutex_);
  return findings_;
}

}  // namespace tercet
