#include "metaserver/service/orphan_window.h"

namespace tercet {

OrphanWindow::OrphanWindow(size_t capacity) : slots_(capacity) { Clear(); }

void OrphanWindow::Clear() {
  free_slots_.clear();
  for (size_t i = slots_.size(); i > 0; --i) free_slots_.push_back(i - 1);
  by_order_.clear();
  slot_of_.clear();
  released_.clear();
  ready_.clear();
}

void OrphanWindow::AddSession(SessionId session) {
  if (!released_.try_emplace(session, slots_.size(), false).second) return;
  for (const auto& [order, index] : by_order_) {
    Slot& slot = slots_[index];
    ++slot.unreleased;
    // One that was taken already is on its way out: a session that opens now has never seen it.
    ready_.erase({order, index});
  }
}

void OrphanWindow::RemoveSession(SessionId session) {
  auto it = released_.find(session);
  if (it == released_.end()) return;
  const std::vector<bool> released = std::move(it->second);
  released_.erase(it);
  for (const auto& [order, index] : by_order_) {
    if (released[index]) continue;
    --slots_[index].unreleased;
    MaybeReady(index);
  }
}

bool OrphanWindow::Add(InodeId orphan, int64_t now_ms) {
  if (slot_of_.contains(orphan)) return true;
  if (free_slots_.empty()) return false;
  const size_t index = free_slots_.back();
  free_slots_.pop_back();
  slots_[index] = Slot{orphan, now_ms, next_order_++, released_.size(), false};
  for (auto& [session, released] : released_) released[index] = false;
  slot_of_.emplace(orphan, index);
  by_order_.emplace(slots_[index].order, index);
  MaybeReady(index);
  return true;
}

void OrphanWindow::Release(SessionId session, std::span<const InodeId> orphans) {
  auto it = released_.find(session);
  if (it == released_.end()) return;
  for (InodeId orphan : orphans) {
    auto found = slot_of_.find(orphan);
    if (found == slot_of_.end() || it->second[found->second]) continue;
    it->second[found->second] = true;
    --slots_[found->second].unreleased;
    MaybeReady(found->second);
  }
}

std::vector<InodeId> OrphanWindow::Condemned(SessionId session, size_t max) const {
  std::vector<InodeId> condemned;
  auto it = released_.find(session);
  if (it == released_.end()) return condemned;
  for (const auto& [order, index] : by_order_) {
    if (condemned.size() == max) break;
    if (!it->second[index]) condemned.push_back(slots_[index].orphan);
  }
  return condemned;
}

std::vector<InodeId> OrphanWindow::TakeReady(size_t max) {
  std::vector<InodeId> taken;
  while (taken.size() < max && !ready_.empty()) {
    Slot& slot = slots_[ready_.begin()->second];
    slot.taken = true;
    taken.push_back(slot.orphan);
    ready_.erase(ready_.begin());
  }
  return taken;
}

void OrphanWindow::PutBack(InodeId orphan) {
  auto it = slot_of_.find(orphan);
  if (it == slot_of_.end()) return;
  slots_[it->second].taken = false;
  MaybeReady(it->second);
}

void OrphanWindow::Remove(InodeId orphan) {
  auto it = slot_of_.find(orphan);
  if (it != slot_of_.end()) FreeSlot(it->second);
}

size_t OrphanWindow::Rotate(int64_t now_ms, int64_t min_age_ms) {
  std::vector<size_t> old;
  for (const auto& [order, index] : by_order_) {
    const Slot& slot = slots_[index];
    if (slot.unreleased > 0 && !slot.taken && now_ms - slot.added_ms >= min_age_ms) {
      old.push_back(index);
    }
  }
  for (size_t index : old) FreeSlot(index);
  return old.size();
}

void OrphanWindow::FreeSlot(size_t index) {
  const Slot& slot = slots_[index];
  ready_.erase({slot.order, index});
  by_order_.erase(slot.order);
  slot_of_.erase(slot.orphan);
  free_slots_.push_back(index);
}

void OrphanWindow::MaybeReady(size_t index) {
  const Slot& slot = slots_[index];
  if (slot.unreleased == 0 && !slot.taken) ready_.emplace(slot.order, index);
}

}  // namespace tercet
