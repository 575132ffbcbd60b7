#include "text/utf8.h"

namespace hadal {
namespace {

// The form of a character by its first byte: its length and the range of its second byte (Unicode standard,
// table 3-7). All further bytes are 80..BF.
struct LeadByte {
  uint8_t length;  // 0: no character begins so
  uint8_t low, high;
};

constexpr LeadByte Lead(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step NextUtf8(std::string_view bytes) {
  const LeadByte lead = Lead(static_cast<uint8_t>(bytes[0]));
  if (lead.length == 0) return {Utf8Step::kInvalid, 1};
  for (uint8_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {Utf8Step::kIncomplete, i};
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const uint8_t low = i == 1 ? lead.low : 0x80;
    const uint8_t high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {Utf8Step::kInvalid, i};
  }
  return {Utf8Step::kValid, lead.length};
}

char32_t DecodeUtf8(std::string_view bytes) {
  const auto first = static_cast<uint8_t>(bytes[0]);
  const size_t length = Lead(first).length;
  if (length == 1) return first;
  char32_t scalar = first & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) scalar = (scalar << 6) | (static_cast<uint8_t>(bytes[i]) & 0x3F);
  return scalar;
}

void AppendUtf8(char32_t scalar, std::string& out) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  const auto put_tail = [&](int shift) { put(0x80 | ((scalar >> shift) & 0x3F)); };
  if (scalar < 0x80) {
    put(scalar);
  } else if (scalar < 0x800) {
    put(0xC0 | (scalar >> 6));
    put_tail(0);
  } else if (scalar < 0x10000) {
    put(0xE0 | (scalar >> 12));
    put_tail(6);
    put_tail(0);
  } else {
    put(0xF0 | (scalar >> 18));
    put_tail(12);
    put_tail(6);
    put_tail(0);
  }
}

size_t AppendRepairedUtf8(std::string_view bytes, std::string& out) {
  size_t copied = 0, at = 0;  // bytes[copied, at) is valid and not yet in `out`
  while (at < bytes.size()) {
    const Utf8Step step = NextUtf8(bytes.substr(at));
    if (step.kind == Utf8Step::kIncomplete) break;
    if (step.kind == Utf8Step::kInvalid) {
      out.append(bytes.substr(copied, at - copied));
      out.append(kReplacementCharacter);
      copied = at + step.length;
    }
    at += step.length;
  }
  out.append(bytes.substr(copied, at - copied));
  return bytes.size() - at;
}

std::string RepairUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  if (AppendRepairedUtf8(bytes, out) > 0) out.append(kReplacementCharacter);
  return out;
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

}  // namespace hadal
