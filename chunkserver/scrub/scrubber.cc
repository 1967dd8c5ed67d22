#include "chunkserver/scrub/scrubber.h"

#include <utility>

namespace tercet {

Scrubber::Scrubber(BlockStore& store, Disk& disk, Clock& clock, ScrubberOptions options)
    : clients_active_(std::move(options.clients_active)), period_(options.period) {
  for (const StoreDiskStatus& status : store.Disks()) {
    scrubs_.push_back(std::make_unique<DiskScrub>(store, disk, clock, status));
  }
  for (const auto& scrub : scrubs_) {
    threads_.push_back(std::make_unique<StepThread>(
        "scrub", StepThread::Priority::kIdle,
        [this, &scrub = *scrub] { return scrub.Step(period_.load(), clients_active_()); }));
  }
}

Scrubber::~Scrubber() {
  threads_.clear();
  for (const auto& scrub : scrubs_) scrub->Save();
}

void Scrubber::SetPeriod(std::chrono::milliseconds period) {
  if (period_.exchange(period) == period) return;
  for (const auto& thread : threads_) thread->Wake();
}

std::vector<ScrubProgress> Scrubber::Progress() const {
  std::vector<ScrubProgress> all;
  for (const auto& scrub : scrubs_) all.push_back(scrub->progress());
  return all;
}

}  // namespace tercet
