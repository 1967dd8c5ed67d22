#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

constexpr size_t kMaxShownNameBytes = 60;

}  // namespace

Summary::Summary(OperationContext& context, std::string_view verb) : out_(context.summary) {
  if (out_ != nullptr) out_->assign(verb);
}

Summary& Summary::Add(std::string_view key, uint64_t value) {
  if (out_ != nullptr) out_->append(" ").append(key).append("=").append(std::to_string(value));
  return *this;
}

Summary& Summary::AddName(std::string_view key, std::string_view name) {
  if (out_ == nullptr) return *this;
  static constexpr char kHex[] = "0123456789abcdef";
  out_->append(" ").append(key).append("=");
  for (char c : name.substr(0, kMaxShownNameBytes)) {
    if (c > ' ' && c < 0x7f && c != '\\') {
      out_->push_back(c);
    } else {
      const auto byte = static_cast<uint8_t>(c);
      out_->append("\\x");
      out_->push_back(kHex[byte >> 4]);
      out_->push_back(kHex[byte & 15]);
    }
  }
  if (name.size() > kMaxShownNameBytes) out_->append("...");
  return *this;
}

}  // namespace tercet
