// A small file system in rows, and backups of it on the simulated disk.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "common/env/random.h"
#include "common/env/sim_disk.h"
#include "metaserver/namespace/backup.h"
#include "metaserver/namespace/tables.h"
#include "tests/metaserver/ops/map_view.h"

namespace tercet {

inline constexpr char kBackupPath[] = "/backups/one";
inline const std::string kClusterId = "CLUSTER-CLUSTER-";

inline BackupHeader SomeBackupHeader() {
  BackupHeader header;
  header.cluster_id = kClusterId;
  header.group_id = 0x1122334455667788;
  header.index = JournalIndex(258);
  header.epoch = Epoch(4);
  header.created_at_ns = 1'767'225'600'000'000'000;
  header.tercet_version = "0.1.0";
  return header;
}

/// Every table has rows; `files` inodes besides, with long names.
inline MapView SomeState(uint64_t files = 0) {
  MapView view;
  Transaction transaction(view);
  MutableTables tables(transaction);
  tables.PutFormatVersion(kNamespaceFormatVersion);
  tables.PutClusterId(kClusterId);
  tables.PutTimeFloor(1'767'225'601'000'000'000);
  tables.PutCounter(Counter::kNextInode, 1000);
  tables.PutCounter(Counter::kNextBlock, 50);
  tables.PutCounter(Counter::kNextServer, 4);
  tables.PutCounter(Counter::kInodeCount, 3);
  InodeRecord root;
  root.type = InodeType::kDirectory;
  root.parent = kRootInode;
  root.nlink = 2;
  tables.PutInode(kRootInode, root);
  InodeRecord file;
  file.nlink = 1;
  file.mode = 0644;
  file.size_bytes = 100;
  file.block_count = 1;
  tables.PutInode(InodeId(2), file);
  tables.PutDentry(kRootInode, "file", {InodeId(2), InodeType::kRegular});
  tables.PutXattr(InodeId(2), "user.colour", {"blue"});
  FileBlockRecord block;
  block.block = BlockId(7);
  block.chain = {ServerId(1), ServerId(2), ServerId(3)};
  tables.PutFileBlock(InodeId(2), 0, block);
  tables.PutBlockOwner(BlockId(7), {InodeId(2), 0});
  for (uint32_t server = 1; server <= 3; ++server) {
    tables.PutReplica(ServerId(server), BlockId(7), {Generation(1)});
    tables.PutServer(ServerId(server), {std::string(16, static_cast<char>('a' + server)), "host",
                                        7000, 1, 5, "0.1.0"});
    tables.PutServerByUuid(std::string(16, static_cast<char>('a' + server)), ServerId(server));
  }
  FileBlockRecord reserved = block;
  reserved.block = BlockId(8);
  reserved.reserved = true;
  reserved.reservers = {SessionId(9)};
  tables.PutFileBlock(InodeId(2), 1, reserved);
  tables.PutBlockOwner(BlockId(8), {InodeId(2), 1});
  tables.PutOrphan(InodeId(3), {77});
  TruncationRecord truncation;
  truncation.cuts = {{2, BlockId(20)}};
  tables.PutTruncation(InodeId(2), truncation);
  tables.PutDeleteTask(ServerId(1), BlockId(5), {Generation(2)});
  RepairRecord repair;
  repair.reasons = kRepairShort;
  repair.since_ns = 5;
  tables.PutRepair(BlockId(7), repair);
  PolicyWalkRecord walk;
  walk.change.replicas = 2;
  tables.PutPolicyWalk(InodeId(2), walk);
  tables.PutDisk(ServerId(1), std::string(16, 'd'), {DiskCommandState::kDraining, 5});
  tables.PutPlacementRule(1, {"rack", {{"medium", "ssd"}}});
  tables.PutLimits({1, 2, 3, 4});
  tables.PutBalance({BalanceState::kDone, 5, 6, 50, 7, 8});
  SessionRecord session;
  session.client_uuid = std::string(16, 'u');
  session.host_name = "client";
  tables.PutSession(SessionId(9), session);
  tables.PutSessionByUuid(session.client_uuid, SessionId(9));
  tables.PutSlotReply(SessionId(9), 0, {3, "reply"});
  for (uint64_t i = 0; i < files; ++i) {
    tables.PutInode(InodeId(10 + i), file);
    tables.PutDentry(kRootInode, std::to_string(i) + std::string(100, 'n'),
                     {InodeId(10 + i), InodeType::kRegular});
  }
  view.Apply(transaction.Take());
  return view;
}

/// In calls of `max_bytes`, as from a server.
inline Result<BackupSummary> MakeBackup(Disk& disk, const View& view, size_t max_bytes = 64 << 10,
                                        const std::string& path = kBackupPath) {
  RETURN_IF_ERROR(disk.MakeDirectories("/backups"));
  ASSIGN_OR_RETURN(std::unique_ptr<BackupWriter> writer,
                   BackupWriter::Create(disk, path, SomeBackupHeader()));
  std::string after;
  while (true) {
    ASSIGN_OR_RETURN(const StateRows rows, ReadStateRows(view, after, max_bytes));
    RETURN_IF_ERROR(writer->Append(rows.rows));
    if (rows.end) return writer->Finish();
    after = rows.last_key;
  }
}

/// All rows of a backup; the reader's error otherwise.
inline Result<MapView> ReadBackup(Disk& disk, const std::string& path = kBackupPath) {
  ASSIGN_OR_RETURN(std::unique_ptr<BackupReader> reader, BackupReader::Open(disk, path));
  MapView view;
  while (true) {
    ASSIGN_OR_RETURN(std::string_view rows, reader->Next());
    if (rows.empty()) return view;
    RETURN_IF_ERROR(VisitStateRows(rows, [&](std::string_view key, std::string_view value) {
      view.rows.emplace(key, value);
      return Status::Ok();
    }));
  }
}

}  // namespace tercet
