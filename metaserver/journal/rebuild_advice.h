// What an operator is told when a member of a metadata group lost or damaged what it had
// acknowledged. Such a member never repairs itself: it might vote, or vouch, for what it forgot.
#pragma once

#include <string_view>

namespace tercet {

/// Goes behind the sentence that says what is wrong.
inline constexpr std::string_view kRebuildAdvice =
    "Nothing was changed. Do not remove single files. Rebuild this member from the others of its "
    "group: stop it, check the disk, move its data_dir away, run `tercet meta remove ID`, start it "
    "with group.join=true and an empty data_dir, and run `tercet meta add HOST:PORT`. If no other "
    "member is left, restore a backup with `tercet meta restore`";

}  // namespace tercet
