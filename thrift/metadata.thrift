// Client to metaserver: the namespace. Served under the multiplexed name "metadata".
//
// A mutation carries a MutationContext. The active keeps, per session and slot, the sequence number and
// the reply of the newest mutation; a retry with the same pair gets the first answer, also from another
// metaserver. A slot carries one mutation at a time; sequence numbers grow within a session.
namespace cpp tercet.wire

include "common.thrift"
include "registry.thrift"

struct MutationContext {
  1: i64 session_id = 0,
  2: i32 slot = 0,
  3: i64 sequence = 0,
}

/** The caller's identity for ownership of what is created. Permissions were checked by the kernel. */
struct Owner {
  1: i32 uid = 0,
  2: i32 gid = 0,
}

// ---- sessions ----

struct OpenSessionRequest {
  /** Random, 16 bytes, chosen at mount; a retry with the same one gets the same session. */
  1: binary client_uuid,
  2: string host_name,
  3: string mount_point,
  4: string client_version,
}
struct OpenSessionResponse {
  1: common.ReplyInfo info,
  2: i64 session_id = 0,
  3: binary cluster_id,
  /** The session ends when it was not renewed for so long. */
  4: i32 ttl_ms = 0,
  /** Valid slots are 0 … slot_count - 1. */
  5: i32 slot_count = 0,
  6: i64 root_inode = 1,
}

struct RenewSessionRequest {
  1: i64 session_id = 0,
  /** Of the inodes named in `condemned` before: those this client does not hold open. By naming one
   *  here it promises never to open it again. */
  2: list<i64> released,
}
struct RenewSessionResponse {
  1: common.ReplyInfo info,
  /** Inodes without a name whose space can be freed once no session holds them open. */
  2: list<i64> condemned,
}

struct CloseSessionRequest { 1: i64 session_id = 0 }
struct CloseSessionResponse { 1: common.ReplyInfo info }

// ---- reads ----

struct LookupRequest {
  1: i64 parent = 0,
  2: string name,
}
struct LookupResponse {
  1: common.ReplyInfo info,
  2: common.Attributes attributes,
}

struct GetAttributesRequest { 1: i64 inode = 0 }
struct GetAttributesResponse {
  1: common.ReplyInfo info,
  2: common.Attributes attributes,
}

struct ReadLinkRequest { 1: i64 inode = 0 }
struct ReadLinkResponse {
  1: common.ReplyInfo info,
  2: string target,
}

/** Entries come in byte order of their names; "." and ".." are not among them. */
struct ReadDirectoryRequest {
  1: i64 inode = 0,
  /** Continue behind this name; empty starts at the beginning. */
  2: string after_name,
  /** At most so many entries; the server may return fewer. */
  3: i32 max_entries = 1000,
  4: bool with_attributes = true,
}
struct DirectoryEntry {
  1: string name,
  2: i64 inode = 0,
  3: common.FileType type = common.FileType.REGULAR,
  4: optional common.Attributes attributes,
}
struct ReadDirectoryResponse {
  1: common.ReplyInfo info,
  2: list<DirectoryEntry> entries,
  3: bool complete = false,
  /** The directory that holds this one (itself for the root). */
  4: i64 parent = 0,
}

struct StatFileSystemRequest {}
struct StatFileSystemResponse {
  1: common.ReplyInfo info,
  /** Already divided by the number of replicas: what users can store. */
  2: i64 total_bytes = 0,
  3: i64 available_bytes = 0,
  4: i64 inode_count = 0,
}

/** Fresh attributes and the first blocks, for open(2). Not journaled. */
struct OpenFileRequest {
  1: i64 inode = 0,
  2: bool for_write = false,
  3: i32 max_blocks = 4,
}
struct OpenFileResponse {
  1: common.ReplyInfo info,
  2: common.Attributes attributes,
  3: list<common.BlockInfo> blocks,
  4: list<common.ServerAddress> servers,
}

/** Blocks of [first_index, first_index + count); holes and reserved blocks are left out. */
struct GetBlocksRequest {
  1: i64 inode = 0,
  2: i64 first_index = 0,
  3: i32 count = 16,
}
struct GetBlocksResponse {
  1: common.ReplyInfo info,
  2: list<common.BlockInfo> blocks,
  3: list<common.ServerAddress> servers,
  4: i64 size_bytes = 0,
}

struct GetXattrRequest {
  1: i64 inode = 0,
  2: string name,
}
struct GetXattrResponse {
  1: common.ReplyInfo info,
  2: binary value,
}
struct ListXattrRequest { 1: i64 inode = 0 }
struct ListXattrResponse {
  1: common.ReplyInfo info,
  2: list<string> names,
}

// ---- mutations ----

struct CreateFileRequest {
  1: MutationContext context,
  2: i64 parent = 0,
  3: string name,
  4: i32 mode = 0,
  5: Owner owner,
  /** O_EXCL: EXISTS when there is an entry; otherwise the existing regular file is returned. */
  6: bool exclusive = false,
}
struct CreateFileResponse {
  1: common.ReplyInfo info,
  2: common.Attributes attributes,
  3: bool created = false,
  /** As in OpenFileResponse, for a file that existed. */
  4: list<common.BlockInfo> blocks,
  5: list<common.ServerAddress> servers,
}

/** mkdir, mknod and symlink. Regular files may be made with it too (mknod of S_IFREG). */
struct MakeNodeRequest {
  1: MutationContext context,
  2: i64 parent = 0,
  3: string name,
  4: common.FileType type = common.FileType.DIRECTORY,
  5: i32 mode = 0,
  6: Owner owner,
  7: i64 rdev = 0,
  /** For a symlink: its target, 1 to 4095 bytes. */
  8: string symlink_target,
}
struct MakeNodeResponse {
  1: common.ReplyInfo info,
  2: common.Attributes attributes,
}

struct LinkRequest {
  1: MutationContext context,
  2: i64 inode = 0,
  3: i64 new_parent = 0,
  4: string new_name,
}
struct LinkResponse {
  1: common.ReplyInfo info,
  2: common.Attributes attributes,
}

/** Anything but a directory. */
struct UnlinkRequest {
  1: MutationContext context,
  2: i64 parent = 0,
  3: string name,
}
struct UnlinkResponse { 1: common.ReplyInfo info }

struct RemoveDirectoryRequest {
  1: MutationContext context,
  2: i64 parent = 0,
  3: string name,
}
struct RemoveDirectoryResponse { 1: common.ReplyInfo info }

struct RenameRequest {
  1: MutationContext context,
  2: i64 parent = 0,
  3: string name,
  4: i64 new_parent = 0,
  5: string new_name,
  /** RENAME_NOREPLACE. */
  6: bool no_replace = false,
  /** RENAME_EXCHANGE. */
  7: bool exchange = false,
}
struct RenameResponse { 1: common.ReplyInfo info }

/** Only the fields that are present change. */
struct SetAttributesRequest {
  1: MutationContext context,
  2: i64 inode = 0,
  3: optional i32 mode,
  4: optional i32 uid,
  5: optional i32 gid,
  /** Truncates or extends with zeros. */
  6: optional i64 size_bytes,
  7: optional i64 atime_ns,
  8: optional i64 mtime_ns,
  /** The active's own time instead of a value. */
  9: bool atime_now = false,
  10: bool mtime_now = false,
}
struct SetAttributesResponse {
  1: common.ReplyInfo info,
  2: common.Attributes attributes,
}

struct SetXattrRequest {
  1: MutationContext context,
  2: i64 inode = 0,
  3: string name,
  4: binary value,
  /** XATTR_CREATE / XATTR_REPLACE. */
  5: bool create_only = false,
  6: bool replace_only = false,
}
struct SetXattrResponse { 1: common.ReplyInfo info }
struct RemoveXattrRequest {
  1: MutationContext context,
  2: i64 inode = 0,
  3: string name,
}
struct RemoveXattrResponse { 1: common.ReplyInfo info }

/** The block at an index of a file, made with the first call. A block that exists is returned as it is. */
struct AllocateBlockRequest {
  1: MutationContext context,
  2: i64 inode = 0,
  3: i64 block_index = 0,
  /** Servers the client could not reach just now: not to be chosen. */
  4: list<i32> exclude_servers,
  /** When this reserved block (never committed) is still the one at the index: give a new one in its
   *  place, on other servers. 0: no such wish. */
  5: i64 replace_block_id = 0,
}
struct AllocateBlockResponse {
  1: common.ReplyInfo info,
  2: common.BlockInfo block,
  3: list<common.ServerAddress> servers,
}

/** Makes written data part of the file: it is on every replica of the named blocks already. */
struct CommitWriteRequest {
  1: MutationContext context,
  2: i64 inode = 0,
  /** Block ids written for the first time since they were reserved. */
  3: list<i64> written_blocks,
  /** Block ids with valid_bytes whose tail was cut off on all replicas before writing beyond it. */
  4: list<i64> trimmed_blocks,
  /** The file's size becomes the maximum of its own and this. */
  5: i64 end_offset = 0,
  6: optional i64 mtime_ns,
}
struct CommitWriteResponse {
  1: common.ReplyInfo info,
  2: common.Attributes attributes,
}

/** A writer cannot go on with a block's chain: the active takes the failed servers out of it, makes the others equal under
 *  a new generation, and answers with what the block is then. Answered with the block as it is when its generation is not the
 *  named one any more. Does nothing twice; no context is needed. kUnavailable: too few servers just now, try again; kNoSpace;
 *  kConflict: the block left the file. */
struct RecoverBlockRequest {
  1: i64 session_id = 0,
  2: i64 inode = 0,
  3: i64 block_index = 0,
  4: i64 block_id = 0,
  /** With which the writer failed. */
  5: i64 generation = 0,
  /** Whom the writer could not write to; may be empty (kStaleGeneration was answered). */
  6: list<i32> failed_servers,
  /** StatusCode of the failure. */
  7: i32 failure = 0,
  /** Something that was written to this block under this id was acknowledged to this writer. */
  8: bool has_data = false,
  /** Servers this client could not reach just now: not to be chosen as new ones. */
  9: list<i32> exclude_servers,
}
struct RecoverBlockResponse {
  1: common.ReplyInfo info,
  /** Another block id than before when the old one held nothing. */
  2: common.BlockInfo block,
  3: list<common.ServerAddress> servers,
}

/** Replicas that readers found bad. Taken as hints: the active has them checked. */
struct ReportBadReplicasRequest {
  1: i64 session_id = 0,
  2: list<BadReplicaReport> replicas,
}
struct BadReplicaReport {
  1: i64 block_id = 0,
  2: i64 generation = 0,
  3: i32 server_id = 0,
  4: registry.BadReplicaReason reason = registry.BadReplicaReason.DAMAGED,
}
struct ReportBadReplicasResponse { 1: common.ReplyInfo info }

/** Answered at once by every member of the group: kOk by the active, else kNotActive; `epoch` is the
 *  newest the member knows, and active_hint the leader of that epoch if it knows one that serves. */
struct FindActiveRequest {}
struct FindActiveResponse {
  1: common.ReplyInfo info,
}

service MetadataService {
  FindActiveResponse FindActive(1: FindActiveRequest request),
  OpenSessionResponse OpenSession(1: OpenSessionRequest request),
  RenewSessionResponse RenewSession(1: RenewSessionRequest request),
  CloseSessionResponse CloseSession(1: CloseSessionRequest request),

  LookupResponse Lookup(1: LookupRequest request),
  GetAttributesResponse GetAttributes(1: GetAttributesRequest request),
  ReadLinkResponse ReadLink(1: ReadLinkRequest request),
  ReadDirectoryResponse ReadDirectory(1: ReadDirectoryRequest request),
  StatFileSystemResponse StatFileSystem(1: StatFileSystemRequest request),
  OpenFileResponse OpenFile(1: OpenFileRequest request),
  GetBlocksResponse GetBlocks(1: GetBlocksRequest request),
  GetXattrResponse GetXattr(1: GetXattrRequest request),
  ListXattrResponse ListXattr(1: ListXattrRequest request),

  CreateFileResponse CreateFile(1: CreateFileRequest request),
  MakeNodeResponse MakeNode(1: MakeNodeRequest request),
  LinkResponse Link(1: LinkRequest request),
  UnlinkResponse Unlink(1: UnlinkRequest request),
  RemoveDirectoryResponse RemoveDirectory(1: RemoveDirectoryRequest request),
  RenameResponse Rename(1: RenameRequest request),
  SetAttributesResponse SetAttributes(1: SetAttributesRequest request),
  SetXattrResponse SetXattr(1: SetXattrRequest request),
  RemoveXattrResponse RemoveXattr(1: RemoveXattrRequest request),
  AllocateBlockResponse AllocateBlock(1: AllocateBlockRequest request),
  CommitWriteResponse CommitWrite(1: CommitWriteRequest request),
  RecoverBlockResponse RecoverBlock(1: RecoverBlockRequest request),
  ReportBadReplicasResponse ReportBadReplicas(1: ReportBadReplicasRequest request),
}
