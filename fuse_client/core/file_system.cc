// Mounting and unmounting, and the calls on names and attributes. Those on files and directories
// are in file_system_files.cc.
#include "fuse_client/core/file_system.h"

#include <linux/fs.h>
#include <sys/xattr.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "common/log/log.h"
#include "fuse_client/core/file_system_impl.h"

namespace tercet {
namespace {

/// How long getxattr trusts that an inode has no extended attributes: about as long as the kernel
/// caches other attributes.
constexpr std::chrono::milliseconds kXattrCountMaxAge{1'000};

wire::Owner OwnerOf(uint32_t uid, uint32_t gid) {
  wire::Owner owner;
  owner.uid = static_cast<int32_t>(uid);
  owner.gid = static_cast<int32_t>(gid);
  return owner;
}

using Client = wire::MetadataServiceClient;

}  // namespace

FileSystem::FileSystem(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

FileSystem::~FileSystem() {
  if (impl_->unmounted.load()) return;
  const Status status = Unmount();
  if (!status.ok()) LOG_ERROR("unmounting: {}", status);
}

Result<std::unique_ptr<FileSystem>> FileSystem::Mount(FileSystemOptions options) {
  auto context = std::make_shared<ClientContext>(std::move(options));
  RETURN_IF_ERROR(context->Start());
  auto impl = std::make_unique<Impl>(std::move(context));
  // From now on there are last answers to fall back on.
  RETURN_IF_ERROR(impl->RootAttributes().status());
  RETURN_IF_ERROR(impl->Space().status());
  return std::unique_ptr<FileSystem>(new FileSystem(std::move(impl)));
}

Status FileSystem::Unmount() {
  if (impl_->unmounted.exchange(true)) return Status::Ok();
  ClientContext& context = *impl_->context;
  Status flushed;
  {
    // Unmounting always ends, also with a cluster that does not answer.
    bool done = false;
    std::condition_variable wake;
    std::mutex mutex;
    std::thread watchdog([&] {
      std::unique_lock lock(mutex);
      const bool in_time = wake.wait_for(lock, context.options.data_deadline, [&] { return done; });
      lock.unlock();
      if (in_time) return;
      LOG_ERROR("unmounting: the cluster does not take what is buffered, giving up");
      context.Interrupt();
    });
    flushed = context.flusher->FlushAll();
    {
      std::lock_guard lock(mutex);
      done = true;
      wake.notify_all();
    }
    watchdog.join();
  }
  context.flusher->Stop();
  context.metadata->Close();
  context.Interrupt();
  context.bad_replicas->Stop();
  context.flush_pool.Stop();
  context.allocate_pool.Stop();
  context.read_pool.Stop();
  return flushed;
}

void FileSystem::Interrupt() { impl_->context->Interrupt(); }

std::vector<double> FileSystem::TakeRecoverySeconds() {
  return impl_->context->recovery_times.Take();
}

InodeId FileSystem::root() const { return impl_->context->metadata->root(); }

FileSystemCounters FileSystem::counters() const {
  const ClientContext& context = *impl_->context;
  FileSystemCounters counters;
  counters.metadata_calls = context.metadata->group().call_count();
  counters.metadata_retries = context.metadata->group().retry_count();
  counters.bytes_written = context.counters.bytes_written.load();
  counters.bytes_read = context.counters.bytes_read.load();
  counters.read_ahead_hits = context.counters.read_ahead_hits.load();
  counters.commits = context.counters.commits.load();
  counters.chain_recoveries = context.counters.chain_recoveries.load();
  counters.chain_changes = context.counters.chain_changes.load();
  counters.bad_replicas_reported = context.bad_replicas->reported();
  counters.dirty_bytes = context.write_budget.used_bytes();
  return counters;
}

// ---- names ----

Result<wire::Attributes> FileSystem::Lookup(InodeId parent, const std::string& name) {
  wire::LookupRequest request;
  request.parent = ToWire(parent);
  request.name = name;
  ASSIGN_OR_RETURN(const auto response, impl_->Read("lookup", &Client::Lookup, request));
  return impl_->context->Merge(response.attributes, false);
}

Result<wire::Attributes> FileSystem::MakeDirectory(InodeId parent, const std::string& name,
                                                   uint32_t mode, uint32_t uid, uint32_t gid) {
  wire::MakeNodeRequest request;
  request.parent = ToWire(parent);
  request.name = name;
  request.type = wire::FileType::DIRECTORY;
  request.mode = static_cast<int32_t>(mode);
  request.owner = OwnerOf(uid, gid);
  return impl_->Make("mkdir", std::move(request));
}

Result<wire::Attributes> FileSystem::MakeNode(InodeId parent, const std::string& name,
                                              wire::FileType::type type, uint32_t mode,
                                              uint64_t rdev, uint32_t uid, uint32_t gid) {
  wire::MakeNodeRequest request;
  request.parent = ToWire(parent);
  request.name = name;
  request.type = type;
  request.mode = static_cast<int32_t>(mode);
  request.rdev = static_cast<int64_t>(rdev);
  request.owner = OwnerOf(uid, gid);
  return impl_->Make("mknod", std::move(request));
}

Result<wire::Attributes> FileSystem::MakeSymlink(InodeId parent, const std::string& name,
                                                 const std::string& target, uint32_t uid,
                                                 uint32_t gid) {
  wire::MakeNodeRequest request;
  request.parent = ToWire(parent);
  request.name = name;
  request.type = wire::FileType::SYMLINK;
  request.mode = 0777;
  request.symlink_target = target;
  request.owner = OwnerOf(uid, gid);
  return impl_->Make("symlink", std::move(request));
}

Result<std::string> FileSystem::ReadLink(InodeId inode) {
  wire::ReadLinkRequest request;
  request.inode = ToWire(inode);
  ASSIGN_OR_RETURN(auto response, impl_->Read("readlink", &Client::ReadLink, request));
  return std::move(response.target);
}

Result<wire::Attributes> FileSystem::Link(InodeId inode, InodeId new_parent,
                                          const std::string& new_name) {
  wire::LinkRequest request;
  request.inode = ToWire(inode);
  request.new_parent = ToWire(new_parent);
  request.new_name = new_name;
  ASSIGN_OR_RETURN(const auto response, impl_->Mutate("link", &Client::Link, std::move(request)));
  impl_->context->directories.NoteChange(new_parent);
  return impl_->context->Merge(response.attributes, true);
}

Status FileSystem::Unlink(InodeId parent, const std::string& name) {
  wire::UnlinkRequest request;
  request.parent = ToWire(parent);
  request.name = name;
  const auto response = impl_->Mutate("unlink", &Client::Unlink, std::move(request));
  impl_->context->directories.NoteChange(parent);
  return response.status();
}

Status FileSystem::RemoveDirectory(InodeId parent, const std::string& name) {
  wire::RemoveDirectoryRequest request;
  request.parent = ToWire(parent);
  request.name = name;
  const auto response = impl_->Mutate("rmdir", &Client::RemoveDirectory, std::move(request));
  impl_->context->directories.NoteChange(parent);
  return response.status();
}

Status FileSystem::Rename(InodeId parent, const std::string& name, InodeId new_parent,
                          const std::string& new_name, uint32_t flags) {
  if ((flags & ~static_cast<uint32_t>(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) {
    return Status(StatusCode::kInvalidArgument, "unknown rename flags");
  }
  wire::RenameRequest request;
  request.parent = ToWire(parent);
  request.name = name;
  request.new_parent = ToWire(new_parent);
  request.new_name = new_name;
  request.no_replace = (flags & RENAME_NOREPLACE) != 0;
  request.exchange = (flags & RENAME_EXCHANGE) != 0;
  const auto response = impl_->Mutate("rename", &Client::Rename, std::move(request));
  impl_->context->directories.NoteChange(parent);
  impl_->context->directories.NoteChange(new_parent);
  return response.status();
}

// ---- attributes ----

Result<wire::GetAttributesResponse> FileSystem::Impl::RootAttributes() {
  wire::GetAttributesRequest request;
  request.inode = ToWire(context->metadata->root());
  return ReadPatiently("getattr of the root", &Client::GetAttributes, request, &root_attributes);
}

Result<wire::StatFileSystemResponse> FileSystem::Impl::Space() {
  return ReadPatiently("statfs", &Client::StatFileSystem, wire::StatFileSystemRequest(), &space);
}

Result<wire::Attributes> FileSystem::GetAttributes(InodeId inode) {
  if (inode == root()) {
    ASSIGN_OR_RETURN(const auto response, impl_->RootAttributes());
    return response.attributes;
  }
  wire::GetAttributesRequest request;
  request.inode = ToWire(inode);
  ASSIGN_OR_RETURN(const auto response, impl_->Read("getattr", &Client::GetAttributes, request));
  return impl_->context->Merge(response.attributes, false);
}

Result<wire::Attributes> FileSystem::SetAttributes(InodeId inode, const AttributeChange& change) {
  RETURN_IF_ERROR(impl_->CheckWritable());
  wire::SetAttributesRequest request;
  request.inode = ToWire(inode);
  if (change.mode) request.__set_mode(static_cast<int32_t>(*change.mode));
  if (change.uid) request.__set_uid(static_cast<int32_t>(*change.uid));
  if (change.gid) request.__set_gid(static_cast<int32_t>(*change.gid));
  if (change.size_bytes) request.__set_size_bytes(static_cast<int64_t>(*change.size_bytes));
  if (change.atime_ns) request.__set_atime_ns(*change.atime_ns);
  if (change.mtime_ns) request.__set_mtime_ns(*change.mtime_ns);
  request.atime_now = change.atime_now;
  request.mtime_now = change.mtime_now;
  const bool concerns_data = change.size_bytes || change.mtime_ns || change.mtime_now;
  if (concerns_data && impl_->context->inodes.Find(inode) != nullptr) {
    // A use of its own: the last handle may be released meanwhile.
    ASSIGN_OR_RETURN(const InodeUse use, InodeUse::Take(impl_->context.get(), inode));
    return FileWriter(impl_->context.get()).SetAttributes(use.state(), std::move(request));
  }
  ASSIGN_OR_RETURN(const auto response,
                   impl_->Mutate("set attributes", &Client::SetAttributes, std::move(request)));
  return impl_->context->Merge(response.attributes, true);
}

Result<std::string> FileSystem::GetXattr(InodeId inode, const std::string& name) {
  // The kernel asks for security.capability before every write.
  auto attributes = impl_->context->attributes.Find(inode, kXattrCountMaxAge);
  if (!attributes) {
    ASSIGN_OR_RETURN(attributes, GetAttributes(inode));
  }
  if (attributes->xattr_count == 0) {
    return Status(StatusCode::kNoAttribute, "the inode has no extended attributes");
  }
  wire::GetXattrRequest request;
  request.inode = ToWire(inode);
  request.name = name;
  ASSIGN_OR_RETURN(auto response, impl_->Read("getxattr", &Client::GetXattr, request));
  return std::move(response.value);
}

Result<std::vector<std::string>> FileSystem::ListXattr(InodeId inode) {
  wire::ListXattrRequest request;
  request.inode = ToWire(inode);
  ASSIGN_OR_RETURN(auto response, impl_->Read("listxattr", &Client::ListXattr, request));
  return std::move(response.names);
}

Status FileSystem::SetXattr(InodeId inode, const std::string& name, std::string_view value,
                            uint32_t flags) {
  if ((flags & ~static_cast<uint32_t>(XATTR_CREATE | XATTR_REPLACE)) != 0) {
    return Status(StatusCode::kInvalidArgument, "unknown setxattr flags");
  }
  wire::SetXattrRequest request;
  request.inode = ToWire(inode);
  request.name = name;
  request.value = value;
  request.create_only = (flags & XATTR_CREATE) != 0;
  request.replace_only = (flags & XATTR_REPLACE) != 0;
  const auto response = impl_->Mutate("setxattr", &Client::SetXattr, std::move(request));
  impl_->context->attributes.Forget(inode);
  return response.status();
}

Status FileSystem::RemoveXattr(InodeId inode, const std::string& name) {
  wire::RemoveXattrRequest request;
  request.inode = ToWire(inode);
  request.name = name;
  const auto response = impl_->Mutate("removexattr", &Client::RemoveXattr, std::move(request));
  impl_->context->attributes.Forget(inode);
  return response.status();
}

Result<FileSystemSpace> FileSystem::StatFileSystem() {
  ASSIGN_OR_RETURN(const auto response, impl_->Space());
  FileSystemSpace space;
  space.total_bytes = static_cast<uint64_t>(response.total_bytes);
  space.available_bytes = static_cast<uint64_t>(response.available_bytes);
  space.inode_count = static_cast<uint64_t>(response.inode_count);
  return space;
}

}  // namespace tercet
