#include "server/oauth_form.h"

#include <algorithm>

#include "server/base64url.h"

namespace hadal {
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 127; });
}

bool IsBasic(std::string_view header) {
  constexpr std::string_view kBasic = "basic ";
  return header.size() > kBasic.size() &&
         std::equal(kBasic.begin(), kBasic.end(), header.begin(),
                    [](char want, char c) { return want == (c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
}

}  // namespace

std::optional<std::string> DecodeFormText(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      bytes += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    if (i + 2 >= text.size() || HexValue(text[i + 1]) < 0 || HexValue(text[i + 2]) < 0) return std::nullopt;
    bytes += static_cast<char>(HexValue(text[i + 1]) * 16 + HexValue(text[i + 2]));
    i += 2;
  }
  return bytes;
}

Result<Form> ParseForm(std::string_view body) {
  if (body.size() > kMaxFormBytes) return InvalidArgument("the form is longer than {} bytes", kMaxFormBytes);
  Form form;
  while (!body.empty()) {
    const std::string_view pair = body.substr(0, body.find('&'));
    body.remove_prefix(std::min(body.size(), pair.size() + 1));
    if (pair.empty()) continue;
    const size_t equals = std::min(pair.find('='), pair.size());
    const auto name = DecodeFormText(pair.substr(0, equals));
    auto value = DecodeFormText(pair.substr(std::min(equals + 1, pair.size())));
    if (!name || !value) return InvalidArgument("the form holds a % without two hexadecimal digits");
    if (HasControl(*name) || HasControl(*value)) return InvalidArgument("the form holds a control character");
    if (!form.emplace(*name, std::move(*value)).second)
      return InvalidArgument("a parameter of the form stands twice");
  }
  std::erase_if(form, [](const auto& item) { return item.second.empty(); });
  return form;
}

Result<std::optional<ClientCredentials>> ReadClient(const HttpRequest& request, const Form& form) {
  if (request.CountHeader("authorization") > 1)
    return InvalidArgument("there is more than one Authorization header");
  ClientCredentials client;
  const auto id = form.find("client_id"), secret = form.find("client_secret");
  if (const std::string* header = request.Header("authorization")) {
    if (!IsBasic(*header)) return InvalidArgument("the Authorization header is not Basic");
    if (secret != form.end()) return InvalidArgument("the client's credentials are there twice");
    std::optional<std::string> text = Base64Decode(std::string_view(*header).substr(6));
    const size_t colon = text ? text->find(':') : std::string::npos;
    if (colon == std::string::npos) return InvalidArgument("the Authorization header is malformed");
    // RFC 6749, section 2.3.1: both are form-encoded before they are joined.
    const auto name = DecodeFormText(std::string_view(*text).substr(0, colon));
    auto word = DecodeFormText(std::string_view(*text).substr(colon + 1));
    Wipe(*text);
    if (!name || !word) return InvalidArgument("the Authorization header is malformed");
    if (id != form.end() && id->second != *name)
      return InvalidArgument("client_id is not the client of the header");
    client = {*name, Secret(*word), true, true};
    Wipe(*word);
    return client;
  }
  if (id == form.end()) {
    if (secret != form.end()) return InvalidArgument("there is a client_secret without client_id");
    return std::nullopt;
  }
  client.name = id->second;
  client.has_secret = secret != form.end();
  if (client.has_secret) client.secret = Secret(secret->second);
  return client;
}

}  // namespace hadal
