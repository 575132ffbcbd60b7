#include "server/strict_json.h"

#include <string>
#include <utility>
#include <vector>

namespace hadal {
namespace {

using nlohmann::json;

/// Builds the value as the parser reports it, and stops it at what is not to be read.
class StrictReader : public json::json_sax_t {
 public:
  explicit StrictReader(int max_depth) : max_depth_(static_cast<size_t>(max_depth)) {}

  json root;
  const char* problem = "is not JSON";

  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t&) override { return Add(value); }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(json::object()); }
  bool start_array(size_t) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    if (open_.back()->contains(name)) return Refuse("has a member twice");
    key_ = std::move(name);
    return true;
  }
  bool parse_error(size_t, const std::string&, const json::exception&) override { return false; }

 private:
  bool Refuse(const char* why) {
    problem = why;
    return false;
  }

  json* Place(json value) {
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    json& member = parent[key_];
    member = std::move(value);
    return &member;
  }

  bool Add(json value) {
    Place(std::move(value));
    return true;
  }

  bool Open(json value) {
    if (open_.size() >= max_depth_) return Refuse("is nested too deeply");
    // A parent's place stays put while its child is open: nothing is added to the parent meanwhile.
    open_.push_back(Place(std::move(value)));
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  size_t max_depth_;
  std::vector<json*> open_;
  std::string key_;
};

}  // namespace

Result<json> ParseStrictObject(std::string_view text, int max_depth) {
  if (text.starts_with("\xEF\xBB\xBF")) return DataLoss("the JSON text begins with a byte order mark");
  StrictReader reader(max_depth);
  if (!json::sax_parse(text.begin(), text.end(), &reader))
    return DataLoss("the JSON text {}", reader.problem);
  if (!reader.root.is_object()) return DataLoss("the JSON text is not an object");
  return std::move(reader.root);
}

}  // namespace hadal
