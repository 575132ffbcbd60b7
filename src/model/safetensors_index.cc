#include <algorithm>
#include <utility>

#include "model/safetensors.h"
#include "model/safetensors_json.h"

namespace hadal {
namespace {

/// That `file` can only mean a file of the same folder.
Status CheckShardName(std::string_view file) {
  if (file.empty() || file.starts_with('.') || file.find_first_of(std::string_view("/\\\0", 3)) != file.npos)
    return DataLoss("'{}' is not a plain file name; shards stand in the model's own folder", Shown(file));
  if (!file.ends_with(".safetensors"))
    return Unsupported("'{}' does not end in .safetensors, the only format that is read", Shown(file));
  return {};
}

/// The value of `key`, which an object may hold once. Not there: kDataLoss.
Result<simdjson::dom::element> Only(simdjson::dom::object object, std::string_view key) {
  simdjson::dom::element value;
  int count = 0;
  for (auto field : object) {
    if (field.key != key) continue;
    value = field.value;
    ++count;
  }
  if (count == 0) return DataLoss("the index has no {}", key);
  if (count > 1) return DataLoss("the index has {} twice", key);
  return value;
}

}  // namespace

Result<std::vector<IndexEntry>> ParseSafetensorsIndex(std::string_view text) {
  simdjson::dom::parser parser;
  ASSIGN_OR_RETURN(const simdjson::dom::element root, ParseBoundedJson(parser, text, "the index"));
  simdjson::dom::object object, map;
  if (root.get(object)) return DataLoss("the index is not a JSON object");
  ASSIGN_OR_RETURN(const simdjson::dom::element value, Only(object, "weight_map"));
  if (value.get(map)) return DataLoss("weight_map is not an object that maps tensor names to files");

  std::vector<IndexEntry> entries;
  for (auto field : map) {
    if (entries.size() == kMaxCheckpointTensors)
      return ResourceExhausted("the index names more than the {} tensors that a folder may hold",
                               kMaxCheckpointTensors);
    std::string_view file;
    if (field.value.get(file))
      return DataLoss("weight_map: the file of tensor '{}' is not a string", Shown(field.key));
    if (auto status = CheckShardName(file); !status)
      return MakeError(status.error().code, "weight_map: the file of tensor '{}': {}", Shown(field.key),
                       status.error().message);
    entries.push_back({std::string(field.key), std::string(file)});
  }
  auto by_name = [](const IndexEntry& a, const IndexEntry& b) { return a.tensor < b.tensor; };
  std::sort(entries.begin(), entries.end(), by_name);
  auto same_name = [](const IndexEntry& a, const IndexEntry& b) { return a.tensor == b.tensor; };
  const auto twin = std::adjacent_find(entries.begin(), entries.end(), same_name);
  if (twin != entries.end()) return DataLoss("weight_map names tensor '{}' twice", Shown(twin->tensor));
  return entries;
}

}  // namespace hadal
