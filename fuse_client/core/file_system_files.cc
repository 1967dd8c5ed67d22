// The calls of FileSystem on open files and directories.
#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "fuse_client/core/directory_stream.h"
#include "fuse_client/core/file_reader.h"
#include "fuse_client/core/file_system_impl.h"

namespace tercet {
namespace {

using Client = wire::MetadataServiceClient;

constexpr int32_t kBlocksWithOpen = 4;
/// A file that was created without O_EXCL may be one that was just deleted and given up.
constexpr int kMaxCreateTries = 4;

bool Writable(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

Status CheckRegular(const wire::Attributes& attributes) {
  if (attributes.type == wire::FileType::REGULAR) return Status::Ok();
  return Status(attributes.type == wire::FileType::DIRECTORY ? StatusCode::kIsDirectory
                                                             : StatusCode::kInvalidArgument,
                "not a regular file");
}

void LearnBlocks(ClientContext& context, InodeState& inode, uint64_t changes_before,
                 const std::vector<wire::BlockInfo>& blocks,
                 const std::vector<wire::ServerAddress>& servers) {
  context.servers.Learn(servers);
  std::lock_guard lock(inode.mutex);
  if (inode.blocks.changes() == changes_before) inode.blocks.LearnFirst(kBlocksWithOpen, blocks);
}

}  // namespace

Result<CreateResult> FileSystem::Create(InodeId parent, const std::string& name, uint32_t mode,
                                        uint32_t uid, uint32_t gid, int flags) {
  ClientContext& context = *impl_->context;
  wire::CreateFileRequest request;
  request.parent = ToWire(parent);
  request.name = name;
  request.mode = static_cast<int32_t>(mode);
  request.owner.uid = static_cast<int32_t>(uid);
  request.owner.gid = static_cast<int32_t>(gid);
  request.exclusive = (flags & O_EXCL) != 0;
  for (int tries = 1;; ++tries) {
    auto response = impl_->Mutate("create", &Client::CreateFile, request);
    context.directories.NoteChange(parent);
    if (!response.ok()) return response.status();
    const wire::Attributes& attributes = response->attributes;
    auto use = InodeUse::Take(&context, InodeOfWire(attributes.inode));
    if (!use.ok()) {
      if (tries < kMaxCreateTries) continue;
      return use.status();
    }
    RETURN_IF_ERROR(CheckRegular(attributes));
    CreateResult result;
    result.attributes = context.Merge(attributes, true);
    result.created = response->created;
    InodeState& inode = *use->state();
    uint64_t changes = 0;
    {
      std::lock_guard lock(inode.mutex);
      changes = inode.blocks.changes();
    }
    if (response->created) {
      LearnBlocks(context, inode, changes, {}, {});
    } else if ((flags & O_TRUNC) != 0 && Writable(flags)) {
      ASSIGN_OR_RETURN(OpenResult opened, impl_->OpenTruncated(std::move(*use), true));
      result.attributes = std::move(opened.attributes);
      result.file = std::move(opened.file);
      return result;
    }
    result.file = std::make_shared<OpenFile>(impl_->context, use->Give(), Writable(flags));
    return result;
  }
}

Result<OpenResult> FileSystem::Open(InodeId inode, int flags) {
  RETURN_IF_ERROR(impl_->CheckMounted());
  if (Writable(flags) || (flags & O_TRUNC) != 0) RETURN_IF_ERROR(impl_->CheckWritable());
  ClientContext& context = *impl_->context;
  // In use from before the metaserver is asked: it cannot be given up meanwhile.
  ASSIGN_OR_RETURN(InodeUse use, InodeUse::Take(&context, inode));
  if ((flags & O_TRUNC) != 0) return impl_->OpenTruncated(std::move(use), Writable(flags));
  uint64_t changes = 0;
  {
    std::lock_guard lock(use.state()->mutex);
    changes = use.state()->blocks.changes();
  }
  wire::OpenFileRequest request;
  request.inode = ToWire(inode);
  request.for_write = Writable(flags);
  request.max_blocks = kBlocksWithOpen;
  ASSIGN_OR_RETURN(const auto response, impl_->Read("open", &Client::OpenFile, request));
  RETURN_IF_ERROR(CheckRegular(response.attributes));
  LearnBlocks(context, *use.state(), changes, response.blocks, response.servers);
  OpenResult result;
  result.attributes = context.Merge(response.attributes, false);
  result.file = std::make_shared<OpenFile>(impl_->context, use.Give(), Writable(flags));
  return result;
}

/// The truncation answers with the attributes, and leaves no blocks to ask for.
Result<OpenResult> FileSystem::Impl::OpenTruncated(InodeUse use, bool writable) {
  wire::SetAttributesRequest request;
  request.inode = ToWire(use.state()->id);
  request.__set_size_bytes(0);
  OpenResult result;
  ASSIGN_OR_RETURN(result.attributes,
                   FileWriter(context.get()).SetAttributes(use.state(), std::move(request)));
  result.file = std::make_shared<OpenFile>(context, use.Give(), writable);
  return result;
}

Result<size_t> FileSystem::Read(const OpenFilePtr& file, uint64_t offset, std::span<char> out) {
  RETURN_IF_ERROR(impl_->CheckMounted());
  const uint64_t size = FileReader::SizeOf(*file->inode());
  if (offset >= size || out.empty()) return size_t{0};
  out = out.first(std::min<uint64_t>(out.size(), size - offset));
  RETURN_IF_ERROR(file->read_ahead().Read(offset, out, size));
  impl_->context->counters.bytes_read.fetch_add(out.size(), std::memory_order_relaxed);
  return out.size();
}

Status FileSystem::Write(const OpenFilePtr& file, uint64_t offset, std::string_view data) {
  RETURN_IF_ERROR(impl_->CheckWritable());
  RETURN_IF_ERROR(file->TakeError());
  const Status status = FileWriter(impl_->context.get()).Write(file->inode(), offset, data);
  if (status.ok()) {
    impl_->context->counters.bytes_written.fetch_add(data.size(), std::memory_order_relaxed);
    return status;
  }
  // The caller hears of it now, and not again.
  const Status noted = file->TakeError();
  return noted.ok() ? status : noted;
}

Status FileSystem::Flush(const OpenFilePtr& file) {
  RETURN_IF_ERROR(impl_->CheckMounted());
  const Status status =
      FileWriter(impl_->context.get()).Flush(file->inode(), FlushGoal::kCommitted);
  const Status noted = file->TakeError();
  return noted.ok() ? status : noted;
}

Status FileSystem::Sync(const OpenFilePtr& file, bool data_only) {
  RETURN_IF_ERROR(impl_->CheckMounted());
  const Status status =
      FileWriter(impl_->context.get())
          .Flush(file->inode(), data_only ? FlushGoal::kDurableData : FlushGoal::kDurable);
  const Status noted = file->TakeError();
  return noted.ok() ? status : noted;
}

void FileSystem::Release(const OpenFilePtr& file) { file->Release(); }

Status FileSystem::Fallocate(const OpenFilePtr& file, uint32_t mode, uint64_t offset,
                             uint64_t length) {
  RETURN_IF_ERROR(impl_->CheckWritable());
  if (mode != 0) {
    return Status(StatusCode::kNotSupported, "fallocate modes other than 0 are not supported");
  }
  if (length == 0 || offset > INT64_MAX || length > INT64_MAX - offset) {
    return Status(length == 0 ? StatusCode::kInvalidArgument : StatusCode::kFileTooLarge,
                  "fallocate: the range is empty or ends beyond 2^63");
  }
  return FileWriter(impl_->context.get()).Extend(file->inode(), offset + length);
}

InodeId FileSystem::InodeOf(const OpenFilePtr& file) const { return file->inode()->id; }

Result<OpenDirectoryPtr> FileSystem::OpenDirectoryHandle(InodeId inode) {
  RETURN_IF_ERROR(impl_->CheckMounted());
  return impl_->context->directories.Open(inode);
}

Status FileSystem::ReadDirectory(const OpenDirectoryPtr& directory, uint64_t offset,
                                 bool with_attributes, const DirectoryVisitor& visitor) {
  RETURN_IF_ERROR(impl_->CheckMounted());
  ClientContext& context = *impl_->context;
  auto merge = [&](const wire::Attributes& fresh) { return context.Merge(fresh, false); };
  return directory->Read(*context.metadata, merge, offset, with_attributes, visitor);
}

}  // namespace tercet
