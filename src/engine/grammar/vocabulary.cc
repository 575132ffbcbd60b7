#include "engine/grammar/vocabulary.h"

#include <algorithm>

#include "text/utf8.h"

namespace hadal::grammar {
namespace {

constexpr size_t kMaxTokenBytes = 0xFFFF;  // TokenTree::Node::depth

bool IsPlainToken(std::string_view bytes) {
  int characters = 0;
  while (!bytes.empty()) {
    const Utf8Step step = NextUtf8(bytes);
    if (step.kind != Utf8Step::kValid || !IsPlain(DecodeUtf8(bytes)) || ++characters > kPlainCharacters)
      return false;
    bytes.remove_prefix(step.length);
  }
  return true;
}

}  // namespace

bool IsPlain(char32_t c) { return c >= 0x20 && c != U'"' && c != U'\\' && c != U'<' && c != U'｜'; }

TokenTree::TokenTree(std::vector<Entry> entries) {
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.id < b.id;
  });
  std::vector<int32_t> way;  // nodes of the previous entry's bytes
  std::string_view previous;
  const auto close = [&](size_t depth) {
    for (; way.size() > depth; way.pop_back()) nodes_[way.back()].end = static_cast<int32_t>(nodes_.size());
  };
  for (const auto& [bytes, id] : entries) {
    size_t common = 0;
    while (common < std::min(bytes.size(), previous.size()) && bytes[common] == previous[common]) ++common;
    // Two tokens of the same bytes: the second gets a node beside the first.
    if (common == bytes.size()) --common;
    close(common);
    for (size_t i = common; i < bytes.size(); ++i) {
      way.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back({0, -1, static_cast<uint16_t>(i), static_cast<uint8_t>(bytes[i])});
    }
    nodes_.back().token = id;
    depth_ = std::max(depth_, bytes.size());
    previous = bytes;
  }
  close(0);
  nodes_.shrink_to_fit();
}

Result<std::shared_ptr<const Vocabulary>> Vocabulary::Create(Tokenizer tokenizer,
                                                             std::span<const int64_t> stop_ids) {
  std::shared_ptr<Vocabulary> made(new Vocabulary(std::move(tokenizer)));
  std::vector<TokenTree::Entry> all, rest;
  made->plain_.resize((static_cast<size_t>(made->size()) + 63) / 64);
  for (int32_t id = 0; id < made->size(); ++id) {
    const auto bytes = made->tokenizer_.TokenBytes(id);
    if (!bytes || bytes->empty() || made->tokenizer_.IsSpecial(id)) continue;
    if (std::ranges::find(stop_ids, id) != stop_ids.end()) continue;
    if (bytes->size() > kMaxTokenBytes)
      return InvalidArgument("token {} has {} bytes; at most {} are supported", id, bytes->size(),
                             kMaxTokenBytes);
    all.push_back({*bytes, id});
    if (IsPlainToken(*bytes))
      made->plain_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
    else
      rest.push_back({*bytes, id});
  }
  made->all_ = TokenTree(std::move(all));
  made->rest_ = TokenTree(std::move(rest));
  return std::shared_ptr<const Vocabulary>(std::move(made));
}

}  // namespace hadal::grammar
