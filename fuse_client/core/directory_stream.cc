#include "fuse_client/core/directory_stream.h"

#include <algorithm>

namespace tercet {
namespace {

constexpr uint64_t kFirstEntry = 2;  // behind "." and ".."
constexpr int32_t kBatchEntries = 1'000;
constexpr std::chrono::milliseconds kBatchMaxAge{2'000};

}  // namespace

void OpenDirectory::Rewind() {
  loaded_ = false;
  batch_.clear();
  marks_.clear();
  marks_.push_back({kFirstEntry, ""});
}

bool OpenDirectory::BatchIsFresh() const {
  return batch_changes_ == changes_.load() && Clock::now() - fetched_ < kBatchMaxAge;
}

Status OpenDirectory::Fetch(MetadataClient& metadata, const Mark& mark, bool with_attributes) {
  wire::ReadDirectoryRequest request;
  request.inode = static_cast<int64_t>(inode_.value());
  request.after_name = mark.after_name;
  request.max_entries = kBatchEntries;
  request.with_attributes = with_attributes;
  const uint64_t changes = changes_.load();
  auto response = metadata.Read("readdir", &wire::MetadataServiceClient::ReadDirectory, request);
  if (response.code() == StatusCode::kStaleHandle || response.code() == StatusCode::kNotFound) {
    // Removed while open: an empty directory, as on a local file system.
    response = wire::ReadDirectoryResponse();
    response->complete = true;
    response->parent = request.inode;
  }
  if (!response.ok()) return response.status();
  if (response->entries.empty() && !response->complete) {
    return Status(StatusCode::kInternal, "the metaserver sent an empty part of a directory");
  }
  batch_start_ = mark.ordinal;
  batch_after_ = mark.after_name;
  batch_ = std::move(response->entries);
  batch_is_last_ = response->complete;
  batch_changes_ = changes;
  fetched_ = Clock::now();
  parent_ = InodeId(static_cast<uint64_t>(response->parent));
  loaded_ = true;
  while (!marks_.empty() && marks_.back().ordinal >= batch_start_) {
    // Later marks would go by names whose ordinals may have moved.
    if (marks_.back().ordinal == batch_start_ && marks_.back().after_name == batch_after_) break;
    marks_.pop_back();
  }
  if (marks_.empty() || marks_.back().ordinal < batch_start_) {
    marks_.push_back({batch_start_, batch_after_});
  }
  return Status::Ok();
}

/// Makes the batch one that holds `offset`, or finds that the directory ends before it.
Status OpenDirectory::Locate(MetadataClient& metadata, uint64_t offset, bool with_attributes,
                             bool* found) {
  *found = false;
  if (!loaded_ || offset < batch_start_) {
    auto behind = std::upper_bound(marks_.begin(), marks_.end(), offset,
                                   [](uint64_t o, const Mark& mark) { return o < mark.ordinal; });
    // The first mark is at the first entry, and no offset before it gets here.
    const Mark mark = *std::prev(behind);
    RETURN_IF_ERROR(Fetch(metadata, mark, with_attributes));
  } else if (offset <= BatchEnd() && !BatchIsFresh()) {
    const Mark mark{offset,
                    offset == batch_start_ ? batch_after_ : batch_[offset - batch_start_ - 1].name};
    RETURN_IF_ERROR(Fetch(metadata, mark, with_attributes));
  }
  while (offset >= BatchEnd()) {
    if (batch_is_last_) return Status::Ok();
    const Mark mark{BatchEnd(), batch_.empty() ? batch_after_ : batch_.back().name};
    RETURN_IF_ERROR(Fetch(metadata, mark, with_attributes));
  }
  *found = true;
  return Status::Ok();
}

bool OpenDirectory::Emit(const MergeAttributes& merge, uint64_t ordinal,
                         const FileSystem::DirectoryVisitor& visitor) const {
  const wire::DirectoryEntry& entry = batch_[ordinal - batch_start_];
  DirectoryItem item{entry.name, InodeId(static_cast<uint64_t>(entry.inode)), entry.type, nullptr,
                     ordinal + 1};
  wire::Attributes merged;
  if (entry.__isset.attributes && batch_changes_ == changes_.load()) {
    merged = merge(entry.attributes);
    item.attributes = &merged;
  }
  return visitor(item);
}

Status OpenDirectory::Read(MetadataClient& metadata, const MergeAttributes& merge, uint64_t offset,
                           bool with_attributes, const FileSystem::DirectoryVisitor& visitor) {
  std::lock_guard lock(mutex_);
  if (offset == 0 || marks_.empty()) Rewind();
  bool found = false;
  if (offset < kFirstEntry) {
    RETURN_IF_ERROR(Locate(metadata, kFirstEntry, with_attributes, &found));
    const DirectoryItem dots[2] = {{".", inode_, wire::FileType::DIRECTORY, nullptr, 1},
                                   {"..", parent_, wire::FileType::DIRECTORY, nullptr, 2}};
    for (; offset < kFirstEntry; ++offset) {
      if (!visitor(dots[offset])) return Status::Ok();
    }
  }
  for (;; ++offset) {
    RETURN_IF_ERROR(Locate(metadata, offset, with_attributes, &found));
    if (!found || !Emit(merge, offset, visitor)) return Status::Ok();
  }
}

OpenDirectoryPtr OpenDirectories::Open(InodeId inode) {
  auto directory = std::make_shared<OpenDirectory>(inode);
  std::lock_guard lock(mutex_);
  if (open_.size() >= sweep_at_) {
    std::erase_if(open_, [](const auto& entry) { return entry.second.expired(); });
    sweep_at_ = std::max<size_t>(1024, 2 * open_.size());
  }
  open_.emplace(inode, directory);
  return directory;
}

void OpenDirectories::NoteChange(InodeId inode) {
  std::lock_guard lock(mutex_);
  auto [begin, end] = open_.equal_range(inode);
  for (auto it = begin; it != end;) {
    if (auto directory = it->second.lock()) {
      directory->changes_.fetch_add(1);
      ++it;
    } else {
      it = open_.erase(it);
    }
  }
}

}  // namespace tercet
