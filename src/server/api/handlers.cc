#include "server/api/handlers.h"

#include <algorithm>

namespace hadal::api {
namespace {

/// The media type must be JSON: a browser's form can't forge that without asking first.
ApiStatus CheckContentType(const HttpRequest& request) {
  const std::string* header = request.Header("content-type");
  std::string type = header ? header->substr(0, header->find(';')) : std::string();
  type.erase(type.find_last_not_of(" \t") + 1);
  std::ranges::transform(type, type.begin(), [](unsigned char c) { return std::tolower(c); });
  if (type == "application/json" && request.CountHeader("content-type") == 1) return {};
  return tl::unexpected(ApiError(
      415, fmt::format("the Content-Type is '{}', expected 'application/json'", type.substr(0, 64))));
}

/// What `use` makes of the members of the body.
template <typename Use>
auto WithFields(std::string_view text, Use use) -> decltype(use(std::declval<const Fields&>())) {
  ASSIGN_OR_RETURN(const JsonBody body, JsonBody::Parse(text));
  ASSIGN_OR_RETURN(const Fields fields, Fields::Of(body.root()));
  return use(fields);
}

/// Runs `answer(body, identity, writer)` after the checks that all POST routes share; elsewhere if the body
/// is large.
template <typename Answer>
Handler PostHandler(const ApiContext& api, ErrorFormat format, Answer answer) {
  return [&api, format, answer](HttpRequest& request, std::shared_ptr<ResponseWriter> writer) {
    if (ApiStatus type = CheckContentType(request); !type) return SendError(*writer, type.error(), format);
    if (!api.run_elsewhere || request.body.size() <= kInlineBodyBytes)
      return answer(request.body, request.identity, std::move(writer));
    // With its room: it is one of the bodies that are here until it has been read.
    const bool taken = api.run_elsewhere([answer, writer, held = std::make_shared<HttpRequest>(std::move(request))] {
      answer(held->body, held->identity, writer);
    });
    // Not here instead: this thread has other connections to serve.
    if (!taken) SendError(*writer, ApiError(503, "too many large requests are waiting; try again shortly"), format);
  };
}

}  // namespace

Handler CallHandler(const ApiContext& api, Planner planner, ErrorFormat format) {
  return PostHandler(api, format,
                     [&api, planner, format](std::string_view body, std::shared_ptr<const Identity> identity,
                                             std::shared_ptr<ResponseWriter> writer) {
                       auto plan =
                           WithFields(body, [&](const Fields& fields) { return planner(api, fields); });
                       if (!plan) return SendError(*writer, plan.error(), format);
                       plan->identity = std::move(identity);
                       StartCall(api, *std::move(plan), std::move(writer));
                     });
}

Handler JsonHandler(const ApiContext& api, JsonAnswer answer, ErrorFormat format) {
  return PostHandler(api, format,
                     [&api, answer, format](std::string_view body, const std::shared_ptr<const Identity>&,
                                            const std::shared_ptr<ResponseWriter>& writer) {
                       ApiResult<std::string> made =
                           WithFields(body, [&](const Fields& fields) { return answer(api, fields); });
                       if (!made) return SendError(*writer, made.error(), format);
                       if (api.responses && made->size() > kFairResponseBytes && !api.responses->Fits(made->size()))
                         return SendError(*writer, TooManyResponses(), format);
                       SendJson(*writer, *std::move(made));
                     });
}

}  // namespace hadal::api
