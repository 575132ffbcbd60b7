#include "server/http_types.h"

#include "server/secrets.h"

namespace hadal {

HttpRequest::~HttpRequest() {
  Wipe(body);
  for (auto& [name, value] : headers) Wipe(value);
}

}  // namespace hadal
