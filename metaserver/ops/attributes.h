// Records of the state as wire structs.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/records.h"
#include "metaserver/namespace/tables.h"
#include "tercet_thrift/common_types.h"

namespace tercet {

/// What a directory shows as its size.
inline constexpr uint64_t kDirectorySizeBytes = 4096;

// Permission bits that operations look at; numbers as in <sys/stat.h>.
inline constexpr uint32_t kModeMask = 07777;
inline constexpr uint32_t kSetUidBit = 04000;
inline constexpr uint32_t kSetGidBit = 02000;
inline constexpr uint32_t kGroupExecuteBit = 00010;

wire::FileType::type ToWire(InodeType type);
wire::Attributes MakeAttributes(InodeId inode, const InodeRecord& record);
wire::BlockInfo MakeBlockInfo(uint64_t index, const FileBlockRecord& record);
/// With what the file has to say about it: whether it has enough replicas to be written to.
wire::BlockInfo MakeBlockInfo(uint64_t index, const FileBlockRecord& record,
                              const InodeRecord& file);

/// Appends the address of every server in the blocks' chains, each once, in order of first
/// appearance. A server without a row is left out.
Status AppendServers(const Tables& tables, const std::vector<wire::BlockInfo>& blocks,
                     std::vector<wire::ServerAddress>* servers);

}  // namespace tercet
