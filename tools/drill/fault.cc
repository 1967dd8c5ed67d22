#include "tools/drill/fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "tools/admin_client.h"
#include "tools/drill/guardian.h"
#include "tools/drill/link_cutter.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::seconds kGoneWithin{10};
constexpr AdminOptions kTransferOptions{.timeout = milliseconds(5'000),
                                        .patience = milliseconds(5'000)};

void Quiet(const std::string&) {}

const DevNode* NodeAt(const DevCluster& dev, const std::string& address) {
  for (const DevNode& node : dev.nodes()) {
    if (node.IsMember() && node.Where() == address) return &node;
  }
  return nullptr;
}

/// The node that the fault hits in this round.
Result<const DevNode*> ChooseVictim(FaultTarget target, int round, const DevCluster& dev,
                                    const GroupSurvey& before) {
  std::vector<const SurveyedMember*> choice;
  for (const SurveyedMember& member : before.members) {
    if (member.id == 0) continue;
    const bool active = member.id == before.active_id;
    const bool wanted = target == FaultTarget::kAny || (target == FaultTarget::kActive && active) ||
                        (target == FaultTarget::kStandby && !active && !member.witness) ||
                        (target == FaultTarget::kWitness && member.witness);
    if (wanted) choice.push_back(&member);
  }
  if (choice.empty()) {
    return Status(StatusCode::kFailedPrecondition,
                  fmt::format("there is no {} to hit", FaultTargetName(target)));
  }
  const SurveyedMember& chosen = *choice[static_cast<size_t>(round) % choice.size()];
  const DevNode* node = NodeAt(dev, chosen.address);
  if (node == nullptr) {
    return Status(StatusCode::kFailedPrecondition,
                  chosen.address + " is a member, but no node of " + dev.directory());
  }
  return node;
}

std::optional<ProcessId> ProcessOf(const DevCluster& dev, const DevNode& node) {
  return ReadPidFile(dev.directory() + "/" + node.name + "/pid");
}

/// kill -9, and a start when it is over.
class KillFault final : public Fault {
 public:
  KillFault(const DrillOptions& options, DevCluster* dev) : target_(options.target), dev_(dev) {}

  Result<std::string> Inject(int round, const GroupSurvey& before) override {
    ASSIGN_OR_RETURN(const DevNode* victim, ChooseVictim(target_, round, *dev_, before));
    killed_ = victim->name;
    moves_active_ = victim->Where() == before.active()->address;
    RETURN_IF_ERROR(dev_->Signal(killed_, SIGKILL));
    return "kill -9 " + killed_;
  }
  Status Restore() override {
    if (killed_.empty()) return Status::Ok();
    RETURN_IF_ERROR(dev_->Start(killed_, Quiet));
    killed_.clear();
    return Status::Ok();
  }
  bool MovesActive() const override { return moves_active_; }

 private:
  const FaultTarget target_;
  DevCluster* const dev_;
  std::string killed_;
  bool moves_active_ = true;
};

/// SIGSTOP, and SIGCONT after a while: the process believes that no time has passed.
class StopFault final : public Fault {
 public:
  StopFault(const DrillOptions& options, const DrillPlace& place, PauseObserver paused)
      : target_(options.target),
        hold_(options.hold),
        dev_(place.dev),
        guardian_(place.guardian),
        paused_(std::move(paused)) {}

  Result<std::string> Inject(int round, const GroupSurvey& before) override {
    ASSIGN_OR_RETURN(const DevNode* victim, ChooseVictim(target_, round, *dev_, before));
    const std::optional<ProcessId> process = ProcessOf(*dev_, *victim);
    if (!process) return Status(StatusCode::kFailedPrecondition, victim->name + " is not running");
    moves_active_ = victim->Where() == before.active()->address;
    RETURN_IF_ERROR(guardian_->Paused(*process));
    process_ = process;
    RETURN_IF_ERROR(SendSignal(*process, SIGSTOP));
    if (victim->role == DevRole::kMetaserver) paused_(victim->address, hold_);
    return fmt::format("stop {} for {:.1f} s", victim->name,
                       std::chrono::duration<double>(hold_).count());
  }
  Status Restore() override {
    if (!process_) return Status::Ok();
    RETURN_IF_ERROR(SendSignal(*process_, SIGCONT));
    RETURN_IF_ERROR(guardian_->Continued(*process_));
    process_.reset();
    return Status::Ok();
  }
  bool MovesActive() const override { return moves_active_; }
  milliseconds hold() const override { return hold_; }

 private:
  const FaultTarget target_;
  const milliseconds hold_;
  DevCluster* const dev_;
  Guardian* const guardian_;
  const PauseObserver paused_;
  std::optional<ProcessId> process_;
  bool moves_active_ = true;
};

/// As `tercet meta switchover` does it.
class SwitchoverFault final : public Fault {
 public:
  explicit SwitchoverFault(std::vector<HostPort> metaservers)
      : metaservers_(std::move(metaservers)) {}

  Result<std::string> Inject(int, const GroupSurvey&) override {
    RETURN_IF_ERROR(AdminClient(metaservers_, kTransferOptions)
                        .TransferActive(wire::TransferActiveRequest())
                        .status());
    return std::string("switchover");
  }
  Status Restore() override { return Status::Ok(); }

 private:
  const std::vector<HostPort> metaservers_;
};

/// The active is cut off from all other members; clients and chunk servers reach everybody.
class PartitionFault final : public Fault {
 public:
  PartitionFault(const DrillOptions& options, std::unique_ptr<LinkCutter> cutter)
      : hold_(options.hold), cutter_(std::move(cutter)) {}

  Result<std::string> Inject(int round, const GroupSurvey& before) override {
    ASSIGN_OR_RETURN(const HostPort active, ParseHostPort(before.active()->address));
    constexpr const char* kWays[] = {"active cut off", "active cannot send",
                                     "active cannot receive"};
    const int way = round % 3;
    std::vector<CutLink> links;
    for (const SurveyedMember& member : before.members) {
      if (member.id == 0 || member.id == before.active_id) continue;
      ASSIGN_OR_RETURN(const HostPort other, ParseHostPort(member.address));
      if (way != 2) links.push_back({.from = active, .to = other});
      if (way != 1) links.push_back({.from = other, .to = active});
    }
    RETURN_IF_ERROR(cutter_->Cut(links));
    return std::string(kWays[way]);
  }
  Status Restore() override { return cutter_->Heal(); }
  milliseconds hold() const override { return hold_; }

 private:
  const milliseconds hold_;
  const std::unique_ptr<LinkCutter> cutter_;
};

/// All members at once, with what they had not synced where that can be dropped.
class PowerFault final : public Fault {
 public:
  explicit PowerFault(DevCluster* dev) : dev_(dev) {
    for (const DevNode& node : dev->nodes()) {
      if (!node.IsMember()) continue;
      names_.push_back(node.name);
      images_ += node.data_image ? 1 : 0;
    }
  }

  Result<std::string> Inject(int, const GroupSurvey&) override {
    killed_ = true;
    std::vector<ProcessId> processes;
    for (const std::string& name : names_) {
      const std::optional<ProcessId> process = ProcessOf(*dev_, *dev_->Find(name));
      if (process) processes.push_back(*process);
    }
    // One that is gone already is no failure.
    for (const ProcessId& process : processes) (void)SendSignal(process, SIGKILL);
    for (const ProcessId& process : processes) {
      if (WaitUntilGone(process, kGoneWithin)) continue;
      return Status(StatusCode::kDeadlineExceeded, "a killed metaserver does not end");
    }
    for (const std::string& name : names_) {
      if (dev_->Find(name)->data_image) RETURN_IF_ERROR(dev_->CutPowerOf(name));
    }
    return fmt::format("power cut of {}{}", fmt::join(names_, ", "),
                       images_ == names_.size() ? "" : " (page cache kept)");
  }
  Status Restore() override {
    if (!killed_) return Status::Ok();
    RETURN_IF_ERROR(dev_->StartAll(names_, Quiet));
    killed_ = false;
    return Status::Ok();
  }
  bool MovesActive() const override { return false; }
  bool LeavesService() const override { return false; }
  std::string note() const override {
    if (images_ == names_.size()) return "what was not synced was dropped";
    return "page cache kept: what was not synced survived. Only a cluster that was made with "
           "`tercet "
           "dev up --data-images` (root, loop devices) can drop it";
  }

 private:
  DevCluster* const dev_;
  std::vector<std::string> names_;
  size_t images_ = 0;
  bool killed_ = false;
};

/// Members that share an address with clients and chunk servers cannot be cut off from each other
/// alone.
Status CheckOwnAddresses(const DevCluster& dev) {
  for (const DevNode& node : dev.nodes()) {
    if (node.IsMember() && node.address.host == "127.0.0.1") {
      return Status(StatusCode::kFailedPrecondition,
                    node.name + " has no address of its own yet: `tercet dev down --dir " +
                        dev.directory() + "`, then `tercet dev up` gives it one");
    }
  }
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<Fault>> MakeFault(const DrillOptions& options, const DrillPlace& place,
                                         PauseObserver paused) {
  if (options.kind == FaultKind::kSwitchover) {
    return std::unique_ptr<Fault>(std::make_unique<SwitchoverFault>(place.metaservers));
  }
  if (place.dev == nullptr) {
    return Status(
        StatusCode::kNotSupported,
        fmt::format("--kind {} needs the processes on this machine: it is for `tercet dev` "
                    "clusters (--dir); here only --kind switchover is possible",
                    FaultKindName(options.kind)));
  }
  switch (options.kind) {
    case FaultKind::kKill:
      return std::unique_ptr<Fault>(std::make_unique<KillFault>(options, place.dev));
    case FaultKind::kStop:
      return std::unique_ptr<Fault>(std::make_unique<StopFault>(options, place, std::move(paused)));
    case FaultKind::kPartition: {
      RETURN_IF_ERROR(CheckOwnAddresses(*place.dev));
      ASSIGN_OR_RETURN(auto cutter, LinkCutter::Make(place.guardian));
      return std::unique_ptr<Fault>(std::make_unique<PartitionFault>(options, std::move(cutter)));
    }
    case FaultKind::kPower:
      return std::unique_ptr<Fault>(std::make_unique<PowerFault>(place.dev));
    case FaultKind::kSwitchover:
      break;
  }
  return Status(StatusCode::kInternal, "unknown kind of fault");
}

}  // namespace tercet
