#include "tools/storage_reports.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "common/base/hex.h"
#include "common/config/config.h"
#include "common/rpc/host_port.h"
#include "tools/output.h"

namespace tercet {
namespace {

using nlohmann::json;

std::string Address(const wire::ServerStatus& server) {
  return HostPort{.host = server.host, .port = static_cast<uint16_t>(server.port)}.ToString();
}

std::string Bytes(int64_t bytes) {
  return HumanBytes(static_cast<uint64_t>(std::max<int64_t>(0, bytes)));
}

double PercentOf(int64_t part, int64_t whole) {
  return whole <= 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string DiskStateName(const wire::DiskReport& disk) {
  if (!disk.healthy || disk.state == wire::DiskState::EJECTED) return "ejected";
  return disk.state == wire::DiskState::DRAINING ? "draining" : "in_service";
}

std::string LimitText(int64_t bytes_per_second) {
  return bytes_per_second == 0 ? "none" : HumanRate(bytes_per_second) + " per server";
}

json LoadJson(const wire::ServerLoad& load) {
  return {{"read_p99_us", load.read_p99_us},
          {"write_p99_us", load.write_p99_us},
          {"client_bytes_per_second", load.client_bytes_per_second},
          {"client_requests_per_second", load.client_requests_per_second},
          {"pulled_bytes", load.pulled_bytes},
          {"pulls_running", load.pulls_running},
          {"scrubbed_bytes", load.scrubbed_bytes}};
}

json BalanceServersJson(const std::vector<wire::BalanceServer>& servers) {
  json list = json::array();
  for (const wire::BalanceServer& server : servers) {
    list.push_back({{"server_id", server.server_id},
                    {"total_bytes", server.total_bytes},
                    {"used_before_bytes", server.used_before_bytes},
                    {"used_after_bytes", server.used_after_bytes},
                    {"percent_before", PercentOf(server.used_before_bytes, server.total_bytes)},
                    {"percent_after", PercentOf(server.used_after_bytes, server.total_bytes)}});
  }
  return list;
}

std::string BalanceTable(const std::vector<wire::BalanceServer>& servers, const char* before,
                         const char* after) {
  Table table({{"SERVER", true},
               {"SIZE", true},
               {before, true},
               {"%", true},
               {after, true},
               {"%", true},
               {"CHANGE", true}});
  for (const wire::BalanceServer& server : servers) {
    const int64_t change = server.used_after_bytes - server.used_before_bytes;
    table.Add({std::to_string(server.server_id), Bytes(server.total_bytes),
               Bytes(server.used_before_bytes),
               fmt::format("{:.1f}", PercentOf(server.used_before_bytes, server.total_bytes)),
               Bytes(server.used_after_bytes),
               fmt::format("{:.1f}", PercentOf(server.used_after_bytes, server.total_bytes)),
               change == 0 ? "-" : (change > 0 ? "+" : "-") + Bytes(std::abs(change))});
  }
  return table.ToString();
}

}  // namespace

std::string ServiceStateName(wire::ServiceState::type state) {
  switch (state) {
    case wire::ServiceState::IN_SERVICE:
      return "in_service";
    case wire::ServiceState::DRAINING:
      return "draining";
    case wire::ServiceState::MAINTENANCE:
      return "maintenance";
    case wire::ServiceState::REMOVED:
      return "removed";
  }
  return "unknown";
}

std::string ServerStateText(const wire::ServerStatus& server) {
  const bool commanded = server.state != wire::ServiceState::IN_SERVICE;
  if (server.state == wire::ServiceState::REMOVED) return Coloured(Colour::kYellow, "removed");
  std::string live = "alive";
  if (!server.alive) live = "dead";
  if (server.alive && server.suspected) live = "suspected";
  const Colour colour = server.alive
                            ? (server.suspected || commanded ? Colour::kYellow : Colour::kGreen)
                            : Colour::kRed;
  if (!commanded) return Coloured(colour, live);
  const std::string name = ServiceStateName(server.state);
  return Coloured(colour, live == "alive" ? name : name + " (" + live + ")");
}

std::string LabelsText(const std::map<std::string, std::string>& labels) {
  std::string text;
  for (const auto& [key, value] : labels) text += (text.empty() ? "" : " ") + key + "=" + value;
  return text.empty() ? "-" : text;
}

ServerSpace SpaceOf(const wire::ServerStatus& server) {
  ServerSpace space;
  for (const wire::DiskReport& disk : server.disks) {
    if (!disk.healthy) continue;
    space.total_bytes += disk.total_bytes;
    space.available_bytes += disk.available_bytes;
  }
  return space;
}

json DiskJson(const wire::DiskReport& disk) {
  return {{"disk_uuid", Hex(disk.disk_uuid)}, {"path", disk.path},
          {"total_bytes", disk.total_bytes},  {"available_bytes", disk.available_bytes},
          {"replicas", disk.replica_count},   {"replica_bytes", disk.replica_bytes},
          {"trash_bytes", disk.trash_bytes},  {"quarantine_bytes", disk.quarantine_bytes},
          {"healthy", disk.healthy},          {"state", DiskStateName(disk)},
          {"no_room", disk.no_room},          {"scrubbed_since_ns", disk.scrubbed_since_ns}};
}

json ServerJson(const wire::ServerStatus& server) {
  const ServerSpace space = SpaceOf(server);
  json disks = json::array();
  for (const wire::DiskReport& disk : server.disks) disks.push_back(DiskJson(disk));
  return {{"server_id", server.server_id},
          {"server_uuid", Hex(server.server_uuid)},
          {"address", Address(server)},
          {"alive", server.alive},
          {"state", ServiceStateName(server.state)},
          {"suspected", server.suspected},
          {"maintenance_left_s", server.maintenance_left_s},
          {"labels", server.labels},
          {"last_heartbeat_ms", server.last_heartbeat_ms},
          {"total_bytes", space.total_bytes},
          {"available_bytes", space.available_bytes},
          {"used_bytes", server.used_bytes},
          {"replicas", server.replica_count},
          {"missing_replicas", server.missing_replicas},
          {"pending_deletes", server.pending_deletes},
          {"drain",
           {{"replicas_at_start", server.drain_replicas_at_start},
            {"bytes_left", server.drain_bytes_left},
            {"bytes_per_second", server.drain_bytes_per_second},
            {"eta_s", server.drain_eta_s}}},
          {"load", LoadJson(server.load)},
          {"version", server.version},
          {"disks", disks}};
}

std::string ServerListText(const std::vector<wire::ServerStatus>& servers) {
  Table table({{"SERVER", true},
               {"ADDRESS"},
               {"STATE"},
               {"LABELS"},
               {"SIZE", true},
               {"FREE", true},
               {"REPLICAS", true},
               {"HELD", true},
               {"CLIENTS", true},
               {"P99 READ", true},
               {"P99 WRITE", true},
               {"NOTE"}});
  const auto p99 = [](int64_t micros) {
    return micros == 0 ? std::string("-")
                       : fmt::format("{:.1f} ms", static_cast<double>(micros) / 1'000);
  };
  for (const wire::ServerStatus& server : servers) {
    const ServerSpace space = SpaceOf(server);
    std::string note;
    if (server.state == wire::ServiceState::DRAINING) note = DrainText(server);
    if (server.state == wire::ServiceState::MAINTENANCE && server.maintenance_left_s > 0) {
      note = "for another " + HumanSeconds(server.maintenance_left_s);
    }
    table.Add({std::to_string(server.server_id), Address(server), ServerStateText(server),
               LabelsText(server.labels), Bytes(space.total_bytes), Bytes(space.available_bytes),
               Grouped(server.replica_count), Bytes(server.used_bytes),
               HumanRate(server.load.client_bytes_per_second), p99(server.load.read_p99_us),
               p99(server.load.write_p99_us), note});
  }
  return table.ToString();
}

std::string DrainText(const wire::ServerStatus& server) {
  const int64_t start = std::max(server.drain_replicas_at_start, server.replica_count);
  if (server.replica_count == 0) {
    return "all replicas are elsewhere: it can be removed";
  }
  std::string text =
      fmt::format("{} of {} replicas moved, {} left", Grouped(start - server.replica_count),
                  Grouped(start), Bytes(server.drain_bytes_left));
  if (server.drain_bytes_per_second > 0) text += ", " + HumanRate(server.drain_bytes_per_second);
  if (server.drain_eta_s >= 0) text += ", done in " + HumanSeconds(server.drain_eta_s);
  return text;
}

std::string ServerInfoText(const wire::ServerStatus& server) {
  std::string out = fmt::format(
      "{}\n"
      "  state      {}\n"
      "  labels     {}\n"
      "  heartbeat  {} ago, version {}\n"
      "  uuid       {}\n"
      "  replicas   {} ({}), {} missing or damaged, {} deletions to be confirmed\n"
      "  clients    {}, {} requests/s, p99 read {:.1f} ms, write {:.1f} ms\n"
      "  background {} pulls running, {} pulled, {} scrubbed since its start\n",
      Coloured(Colour::kBold, fmt::format("server {} ({})", server.server_id, Address(server))),
      ServerStateText(server), LabelsText(server.labels), HumanMillis(server.last_heartbeat_ms),
      server.version, Hex(server.server_uuid), Grouped(server.replica_count),
      Bytes(server.used_bytes), Grouped(server.missing_replicas), Grouped(server.pending_deletes),
      HumanRate(server.load.client_bytes_per_second),
      Grouped(server.load.client_requests_per_second),
      static_cast<double>(server.load.read_p99_us) / 1'000,
      static_cast<double>(server.load.write_p99_us) / 1'000, server.load.pulls_running,
      Bytes(server.load.pulled_bytes), Bytes(server.load.scrubbed_bytes));
  if (server.state == wire::ServiceState::DRAINING) {
    out += "  drain      " + DrainText(server) + "\n";
  }
  if (server.state == wire::ServiceState::MAINTENANCE) {
    out += "  maintenance " +
           (server.maintenance_left_s > 0 ? "for another " + HumanSeconds(server.maintenance_left_s)
                                          : std::string("until it is ended")) +
           "\n";
  }
  return out + "\n" + DiskListText({server});
}

std::string DiskListText(const std::vector<wire::ServerStatus>& servers) {
  Table table({{"SERVER", true},
               {"DISK"},
               {"PATH"},
               {"STATE"},
               {"SIZE", true},
               {"FREE", true},
               {"REPLICAS", true},
               {"HELD", true},
               {"TRASH", true},
               {"QUARANTINE", true},
               {"SCRUBBED SINCE"}});
  for (const wire::ServerStatus& server : servers) {
    for (const wire::DiskReport& disk : server.disks) {
      std::string state = DiskStateName(disk);
      if (state == "ejected") state = Coloured(Colour::kRed, state);
      if (state == "draining") {
        state = disk.no_room ? Coloured(Colour::kRed, "draining: no room on the other disks")
                             : Coloured(Colour::kYellow, state);
      }
      table.Add({std::to_string(server.server_id), Hex(disk.disk_uuid).substr(0, 8), disk.path,
                 state, Bytes(disk.total_bytes), Bytes(disk.available_bytes),
                 Grouped(disk.replica_count), Bytes(disk.replica_bytes), Bytes(disk.trash_bytes),
                 Bytes(disk.quarantine_bytes), HumanTime(disk.scrubbed_since_ns)});
    }
  }
  return table.ToString();
}

json RepairJson(const wire::GetRepairStatusResponse& reply) {
  json queue = json::array();
  for (const wire::RepairClassStatus& entry : reply.queue) {
    queue.push_back(
        {{"class", entry.name}, {"blocks", entry.blocks}, {"oldest_ms", entry.oldest_ms}});
  }
  return {{"queue", queue},
          {"running", reply.running},
          {"bytes_per_second", reply.bytes_per_second},
          {"repaired_blocks", reply.repaired_blocks},
          {"failed_attempts", reply.failed_attempts},
          {"recoveries", reply.recoveries},
          {"limits",
           {{"repair_bytes_per_second", reply.limits.repair_bytes_per_second},
            {"move_bytes_per_second", reply.limits.move_bytes_per_second},
            {"scrub_period_s", reply.limits.scrub_period_s},
            {"repair_delay_ms", reply.repair_delay_ms}}}};
}

std::string RepairText(const wire::GetRepairStatusResponse& reply) {
  Table table({{"WAITING FOR REPAIR"}, {"BLOCKS", true}, {"OLDEST", true}});
  int64_t waiting = 0;
  for (const wire::RepairClassStatus& entry : reply.queue) {
    waiting += entry.blocks;
    const bool grave = entry.name == "lost" || entry.name == "one_left";
    std::string blocks = Grouped(entry.blocks);
    if (entry.blocks > 0 && grave) blocks = Coloured(Colour::kRed, blocks);
    table.Add({entry.name, blocks, entry.blocks == 0 ? "-" : HumanSeconds(entry.oldest_ms / 1000)});
  }
  std::string out = reply.queue.empty() ? "" : table.ToString() + "\n";
  out += fmt::format(
      "{} waiting, {} running, {}\n"
      "{} blocks repaired, {} attempts failed, {} chains recovered for writers since this "
      "metaserver became active\n"
      "limits: repair {}, moves {}; repair delay {}; scrub {}\n",
      Grouped(waiting), reply.running, HumanRate(reply.bytes_per_second),
      Grouped(reply.repaired_blocks), Grouped(reply.failed_attempts), Grouped(reply.recoveries),
      LimitText(reply.limits.repair_bytes_per_second),
      LimitText(reply.limits.move_bytes_per_second), HumanSeconds(reply.repair_delay_ms / 1000),
      reply.limits.scrub_period_s == 0 ? "off"
                                       : "each " + HumanSeconds(reply.limits.scrub_period_s));
  return out;
}

std::string RepairSummary(const wire::GetRepairStatusResponse& reply) {
  std::string text;
  for (const wire::RepairClassStatus& entry : reply.queue) {
    if (entry.blocks == 0) continue;
    const bool grave = entry.name == "lost" || entry.name == "one_left";
    std::string part = fmt::format("{} {}", Grouped(entry.blocks), entry.name);
    if (grave) part = Coloured(Colour::kRed, part);
    text += (text.empty() ? "repair: " : ", ") + part;
  }
  if (text.empty() && reply.running == 0) return "";
  if (text.empty()) text = "repair:";
  return text + fmt::format("; {} running, {}", reply.running, HumanRate(reply.bytes_per_second));
}

json BalancePlanJson(const wire::PlanBalanceResponse& reply) {
  return {{"plan", Hex(reply.plan)},
          {"servers", BalanceServersJson(reply.servers)},
          {"bytes_to_move", reply.bytes_to_move},
          {"expected_s", reply.expected_s},
          {"notes", reply.notes}};
}

std::string BalancePlanText(const wire::PlanBalanceResponse& reply) {
  std::string out = BalanceTable(reply.servers, "USED NOW", "USED AFTER") + "\n";
  if (reply.bytes_to_move == 0) {
    out += "nothing to move: it is even enough\n";
  } else {
    out += fmt::format("{} to move, expected to take {}\n", Bytes(reply.bytes_to_move),
                       reply.expected_s < 0 ? "an unknown time" : HumanSeconds(reply.expected_s));
  }
  for (const std::string& note : reply.notes) out += "note: " + note + "\n";
  return out;
}

json BalanceJson(const wire::GetBalanceResponse& reply) {
  return {{"state", reply.state},
          {"started_at_ns", reply.started_at_ns},
          {"moved_bytes", reply.moved_bytes},
          {"moved_blocks", reply.moved_blocks},
          {"left_bytes", reply.left_bytes},
          {"bytes_per_second", reply.bytes_per_second},
          {"limit_bytes_per_second", reply.limit_bytes_per_second},
          {"eta_s", reply.eta_s},
          {"threshold_points", reply.threshold_points},
          {"note", reply.note},
          {"servers", BalanceServersJson(reply.servers)}};
}

std::string BalanceProgress(const wire::GetBalanceResponse& reply) {
  std::string text =
      fmt::format("balance {}: {} moved, {} left, {}", reply.state, Bytes(reply.moved_bytes),
                  Bytes(reply.left_bytes), HumanRate(reply.bytes_per_second));
  if (reply.eta_s >= 0) text += ", done in " + HumanSeconds(reply.eta_s);
  if (!reply.note.empty()) text += " (" + reply.note + ")";
  return text;
}

std::string BalanceText(const wire::GetBalanceResponse& reply) {
  if (reply.state == "none") return "no balance was ever started\n";
  return fmt::format("{}\nstarted {}, {} blocks moved; may use {}\n\n", BalanceProgress(reply),
                     HumanTime(reply.started_at_ns), Grouped(reply.moved_blocks),
                     LimitText(reply.limit_bytes_per_second)) +
         BalanceTable(reply.servers, "USED NOW", "USED AFTER");
}

}  // namespace tercet
