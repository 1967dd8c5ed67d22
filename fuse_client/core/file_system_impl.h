// Inside of FileSystem, shared by its source files.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "fuse_client/core/client_context.h"
#include "fuse_client/core/file_system.h"
#include "fuse_client/core/file_writer.h"
#include "fuse_client/core/flusher.h"
#include "fuse_client/core/open_file.h"

namespace tercet {

inline int64_t ToWire(InodeId inode) { return static_cast<int64_t>(inode.value()); }
inline InodeId InodeOfWire(int64_t inode) { return InodeId(static_cast<uint64_t>(inode)); }

/// A use of an inode for the time of a scope.
class InodeUse {
 public:
  static Result<InodeUse> Take(ClientContext* context, InodeId inode) {
    ASSIGN_OR_RETURN(InodeStatePtr state, context->inodes.Use(inode));
    return InodeUse(context, std::move(state));
  }
  ~InodeUse() {
    if (state_ != nullptr && context_->inodes.Unuse(state_)) context_->metadata->RenewSoon();
  }
  InodeUse(InodeUse&& other) noexcept
      : context_(other.context_), state_(std::exchange(other.state_, nullptr)) {}
  InodeUse& operator=(InodeUse&& other) = delete;

  const InodeStatePtr& state() const { return state_; }
  /// The use goes to somebody else.
  InodeStatePtr Give() { return std::exchange(state_, nullptr); }

 private:
  InodeUse(ClientContext* context, InodeStatePtr state)
      : context_(context), state_(std::move(state)) {}
  ClientContext* context_;
  InodeStatePtr state_;
};

struct FileSystem::Impl {
  static constexpr std::chrono::milliseconds kRootPatience{2'000};

  explicit Impl(std::shared_ptr<ClientContext> shared) : context(std::move(shared)) {}

  template <typename Response, typename Request>
  Result<Response> Read(const char* what, MetadataClient::Method<Response, Request> method,
                        const Request& request) {
    RETURN_IF_ERROR(CheckMounted());
    return context->metadata->Read(what, method, request);
  }
  template <typename Response, typename Request>
  Result<Response> Mutate(const char* what, MetadataClient::Method<Response, Request> method,
                          Request request) {
    RETURN_IF_ERROR(CheckWritable());
    return context->metadata->Mutate(what, method, std::move(request));
  }
  Status CheckMounted() const {
    if (!unmounted.load()) return Status::Ok();
    return Status(StatusCode::kCancelled, "the file system is unmounted");
  }
  Status CheckWritable() const {
    RETURN_IF_ERROR(CheckMounted());
    if (!context->options.read_only) return Status::Ok();
    return Status(StatusCode::kReadOnly, "mounted read-only");
  }
  /// mkdir, mknod, symlink.
  Result<wire::Attributes> Make(const char* what, wire::MakeNodeRequest request) {
    const InodeId parent = InodeOfWire(request.parent);
    auto response = Mutate(what, &wire::MetadataServiceClient::MakeNode, std::move(request));
    context->directories.NoteChange(parent);
    if (!response.ok()) return response.status();
    return context->Merge(response->attributes, true);
  }
  Result<OpenResult> OpenTruncated(InodeUse use, bool writable);

  /// The newest answer to a question that does not wait long for the cluster.
  template <typename Response>
  struct LastAnswer {
    std::mutex mutex;
    std::optional<Response> response;  // guarded by mutex
  };
  /// umount(8) and df(1) look at the root and its space first: without the cluster they must not
  /// hang, so after kRootPatience the last answer does.
  template <typename Response, typename Request>
  Result<Response> ReadPatiently(const char* what, MetadataClient::Method<Response, Request> method,
                                 const Request& request, LastAnswer<Response>* last) {
    RETURN_IF_ERROR(CheckMounted());
    std::optional<std::chrono::milliseconds> limit;
    {
      std::lock_guard lock(last->mutex);
      if (last->response) limit = kRootPatience;
    }
    auto response = context->metadata->Read(what, method, request, limit);
    std::lock_guard lock(last->mutex);
    if (response.ok()) {
      last->response = *response;
    } else if (!last->response || response.code() == StatusCode::kCancelled) {
      return response.status();
    }
    return *last->response;
  }
  Result<wire::GetAttributesResponse> RootAttributes();
  Result<wire::StatFileSystemResponse> Space();

  const std::shared_ptr<ClientContext> context;
  std::atomic<bool> unmounted{false};

  LastAnswer<wire::GetAttributesResponse> root_attributes;
  LastAnswer<wire::StatFileSystemResponse> space;
};

}  // namespace tercet
