#include "text/tokenizer_json.h"

#include <simdjson.h>

#include <unordered_set>

#include "text/utf8.h"

namespace hadal {
namespace {

using simdjson::dom::element;

constexpr size_t kMaxAddedTokenBytes = 1024;
constexpr size_t kMaxSteps = 64;

// `text` in quotes for a message, shortened.
std::string Quoted(std::string_view text) {
  return fmt::format("'{}{}'", RepairUtf8(text.substr(0, 60)), text.size() > 60 ? "..." : "");
}

// The member `key`, or nothing if it is not there or null.
std::optional<element> Member(element object, std::string_view key) {
  element value;
  if (object[key].get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
  return value;
}

// A member of type T (bool, std::string_view, dom::array, ...); `where` names the object in the error.
template <typename T>
Result<T> Need(element object, std::string_view key, std::string_view where, const char* type) {
  T value;
  const auto member = Member(object, key);
  if (!member || member->get(value) != simdjson::SUCCESS)
    return InvalidArgument("{}: '{}' is {}; {} is expected", where, key,
                           member ? "of another type" : "missing", type);
  return value;
}

Result<bool> Flag(element object, std::string_view key, bool otherwise, std::string_view where) {
  if (!Member(object, key)) return otherwise;
  return Need<bool>(object, key, where, "true or false");
}

Result<std::string_view> TypeOf(element object, std::string_view where) {
  return Need<std::string_view>(object, "type", where, "a string");
}

Result<int32_t> TokenId(element value, std::string_view content) {
  int64_t id;
  if (value.get(id) != simdjson::SUCCESS || id < 0 || id >= kMaxTokens)
    return InvalidArgument("the token {} has the id {}; ids are integers from 0 to {}", Quoted(content),
                           std::string(simdjson::minify(value)).substr(0, 40), kMaxTokens - 1);
  return static_cast<int32_t>(id);
}

Status CheckNormalizer(element root) {
  const auto normalizer = Member(root, "normalizer");
  if (!normalizer) return {};
  ASSIGN_OR_RETURN(const auto type, TypeOf(*normalizer, "normalizer"));
  if (type != "Sequence") return Unsupported("normalizer: the type '{}' is not supported, only none", type);
  ASSIGN_OR_RETURN(const auto steps,
                   Need<simdjson::dom::array>(*normalizer, "normalizers", "normalizer", "a list"));
  for (const element step : steps) {
    ASSIGN_OR_RETURN(const auto inner, TypeOf(step, "normalizer"));
    return Unsupported("normalizer: the type '{}' is not supported, only none", inner);
  }
  return {};
}

Status CheckDecoder(element root) {
  const auto decoder = Member(root, "decoder");
  if (!decoder) return Unsupported("decoder: there is none; ByteLevel is supported");
  ASSIGN_OR_RETURN(const auto type, TypeOf(*decoder, "decoder"));
  if (type != "ByteLevel")
    return Unsupported("decoder: the type '{}' is not supported, only ByteLevel", type);
  return {};
}

Result<SplitBehavior> BehaviorNamed(std::string_view name) {
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return Unsupported("pre_tokenizer: Split has the behavior '{}', which is not known", name);
}

Result<SplitStep> ParseSplit(element step) {
  constexpr std::string_view kWhere = "pre_tokenizer Split";
  ASSIGN_OR_RETURN(const auto name, Need<std::string_view>(step, "behavior", kWhere, "a string"));
  ASSIGN_OR_RETURN(const SplitBehavior behavior, BehaviorNamed(name));
  ASSIGN_OR_RETURN(const bool invert, Flag(step, "invert", false, kWhere));
  const auto pattern = Member(step, "pattern");
  if (!pattern) return InvalidArgument("{}: 'pattern' is missing", kWhere);
  if (Member(*pattern, "String")) {
    ASSIGN_OR_RETURN(const auto text, Need<std::string_view>(*pattern, "String", kWhere, "a string"));
    ASSIGN_OR_RETURN(Regex regex, Regex::Literal(text));
    return SplitStep{std::move(regex), behavior, invert};
  }
  ASSIGN_OR_RETURN(const auto text, Need<std::string_view>(*pattern, "Regex", kWhere, "a string"));
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(text));
  return SplitStep{std::move(regex), behavior, invert};
}

Result<SplitStep> ParseDigits(element step) {
  ASSIGN_OR_RETURN(const bool individual, Flag(step, "individual_digits", false, "pre_tokenizer Digits"));
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile("\\p{N}"));
  return SplitStep{std::move(regex), individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous,
                   false};
}

Result<ByteLevelStep> ParseByteLevel(element step) {
  ASSIGN_OR_RETURN(const bool prefix, Flag(step, "add_prefix_space", true, "pre_tokenizer ByteLevel"));
  ASSIGN_OR_RETURN(const bool use_regex, Flag(step, "use_regex", true, "pre_tokenizer ByteLevel"));
  ByteLevelStep byte_level{prefix, std::nullopt};
  if (use_regex) {
    ASSIGN_OR_RETURN(byte_level.regex, Regex::Compile(kGpt2Pattern));
  }
  return byte_level;
}

Result<PreTokenizer> ParsePreTokenizer(element root) {
  const auto top = Member(root, "pre_tokenizer");
  if (!top)
    return Unsupported("pre_tokenizer: there is none; one that ends in a ByteLevel step is supported");
  std::vector<element> steps{*top};
  ASSIGN_OR_RETURN(const auto top_type, TypeOf(*top, "pre_tokenizer"));
  if (top_type == "Sequence") {
    ASSIGN_OR_RETURN(const auto list,
                     Need<simdjson::dom::array>(*top, "pretokenizers", "pre_tokenizer", "a list"));
    steps.assign(list.begin(), list.end());
  }
  if (steps.size() > kMaxSteps)
    return InvalidArgument("pre_tokenizer: there are {} steps; at most {} are taken", steps.size(),
                           kMaxSteps);
  std::vector<SplitStep> splits;
  std::optional<ByteLevelStep> byte_level;
  for (const element step : steps) {
    ASSIGN_OR_RETURN(const auto type, TypeOf(step, "pre_tokenizer"));
    if (byte_level)
      return Unsupported("pre_tokenizer: a step of type '{}' after ByteLevel is not supported", type);
    if (type == "ByteLevel") {
      ASSIGN_OR_RETURN(byte_level, ParseByteLevel(step));
    } else if (type == "Split" || type == "Digits") {
      ASSIGN_OR_RETURN(SplitStep split, type == "Split" ? ParseSplit(step) : ParseDigits(step));
      splits.push_back(std::move(split));
    } else {
      return Unsupported("pre_tokenizer: the type '{}' is not supported, only Split, Digits and ByteLevel",
                         type);
    }
  }
  if (!byte_level) return Unsupported("pre_tokenizer: it does not end in a ByteLevel step, which is needed");
  return PreTokenizer(std::move(splits), std::move(*byte_level));
}

Result<TokenMap> ParseVocabulary(element model) {
  ASSIGN_OR_RETURN(const auto vocab, Need<simdjson::dom::object>(model, "vocab", "model", "an object"));
  TokenMap tokens;
  for (const auto [content, value] : vocab) {
    ASSIGN_OR_RETURN(const int32_t id, TokenId(value, content));
    if (!tokens.Insert(content, id)) {
      if (tokens.Has(id) && tokens.At(id) != content)
        return InvalidArgument("model: the tokens {} and {} both have the id {}", Quoted(tokens.At(id)),
                               Quoted(content), id);
      return InvalidArgument("model: the token {} is in the vocabulary twice", Quoted(content));
    }
  }
  return tokens;
}

Result<AddedToken> ParseAddedToken(element entry) {
  constexpr std::string_view kWhere = "added_tokens";
  AddedToken token;
  ASSIGN_OR_RETURN(token.content, Need<std::string_view>(entry, "content", kWhere, "a string"));
  if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes)
    return InvalidArgument("{}: the token {} has {} bytes; 1 to {} are taken", kWhere, Quoted(token.content),
                           token.content.size(), kMaxAddedTokenBytes);
  element id;
  if (entry["id"].get(id) != simdjson::SUCCESS)
    return InvalidArgument("{}: the token {} has no id", kWhere, Quoted(token.content));
  ASSIGN_OR_RETURN(token.id, TokenId(id, token.content));
  ASSIGN_OR_RETURN(token.single_word, Flag(entry, "single_word", false, kWhere));
  ASSIGN_OR_RETURN(token.lstrip, Flag(entry, "lstrip", false, kWhere));
  ASSIGN_OR_RETURN(token.rstrip, Flag(entry, "rstrip", false, kWhere));
  ASSIGN_OR_RETURN(token.special, Flag(entry, "special", false, kWhere));
  ASSIGN_OR_RETURN(token.normalized, Flag(entry, "normalized", !token.special, kWhere));
  return token;
}

// The added tokens, each either one of `vocabulary` or new in both content and id.
Result<std::vector<AddedToken>> ParseAddedTokens(element root, const TokenMap& vocabulary) {
  std::vector<AddedToken> added;
  if (!Member(root, "added_tokens")) return added;
  ASSIGN_OR_RETURN(const auto entries,
                   Need<simdjson::dom::array>(root, "added_tokens", "the file", "a list"));
  TokenMap seen;
  for (const element entry : entries) {
    ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(entry));
    const auto known = vocabulary.Find(token.content);
    if (known && *known != token.id)
      return InvalidArgument("added_tokens: {} has the id {}, and in the model's vocabulary {}",
                             Quoted(token.content), token.id, *known);
    if (!known && vocabulary.Has(token.id))
      return InvalidArgument("added_tokens: {} has the id {}, which is {} in the model's vocabulary",
                             Quoted(token.content), token.id, Quoted(vocabulary.At(token.id)));
    if (!seen.Insert(token.content, token.id))
      return InvalidArgument("added_tokens: the token {} or its id {} is there twice", Quoted(token.content),
                             token.id);
    added.push_back(std::move(token));
  }
  return added;
}

// The two parts of a merge: "left right" or ["left", "right"].
Result<std::pair<std::string_view, std::string_view>> MergeParts(element entry, size_t rank) {
  std::string_view text;
  if (entry.get(text) == simdjson::SUCCESS) {
    const size_t blank = text.find(' ');
    if (blank == std::string_view::npos || text.find(' ', blank + 1) != std::string_view::npos)
      return InvalidArgument("model: merge {} is {}; two tokens with one blank between are expected", rank,
                             Quoted(text));
    return std::pair(text.substr(0, blank), text.substr(blank + 1));
  }
  simdjson::dom::array pair;
  std::string_view left, right;
  if (entry.get(pair) != simdjson::SUCCESS || pair.size() != 2 || pair.at(0).get(left) != simdjson::SUCCESS ||
      pair.at(1).get(right) != simdjson::SUCCESS)
    return InvalidArgument("model: merge {} is neither a string nor a pair of strings", rank);
  return std::pair(left, right);
}

Result<std::vector<Merge>> ParseMerges(element model, const TokenMap& vocabulary) {
  ASSIGN_OR_RETURN(const auto entries, Need<simdjson::dom::array>(model, "merges", "model", "a list"));
  std::vector<Merge> merges;
  std::string whole;
  for (const element entry : entries) {
    if (merges.size() == kMaxTokens)
      return InvalidArgument("model: there are more than {} merges", kMaxTokens);
    ASSIGN_OR_RETURN(const auto parts, MergeParts(entry, merges.size()));
    whole.assign(parts.first).append(parts.second);
    int32_t ids[3];
    int count = 0;
    for (const std::string_view part : {parts.first, parts.second, std::string_view(whole)}) {
      const auto id = vocabulary.Find(part);
      if (!id)
        return InvalidArgument("model: merge {} needs the token {}, which is not in the vocabulary",
                               merges.size(), Quoted(part));
      ids[count++] = *id;
    }
    merges.push_back({ids[0], ids[1], ids[2]});
  }
  return merges;
}

// Refuses what would change the result and is not implemented.
Status CheckModel(element model) {
  ASSIGN_OR_RETURN(const auto type, TypeOf(model, "model"));
  if (type != "BPE") return Unsupported("model: the type '{}' is not supported, only BPE", type);
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!Member(model, key)) continue;
    ASSIGN_OR_RETURN(const auto affix, Need<std::string_view>(model, key, "model", "a string or null"));
    if (!affix.empty()) return Unsupported("model: '{}' is {}; only none is supported", key, Quoted(affix));
  }
  if (Member(model, "dropout")) {
    ASSIGN_OR_RETURN(const double dropout, Need<double>(model, "dropout", "model", "a number or null"));
    if (dropout != 0) return Unsupported("model: 'dropout' is {}; only none is supported", dropout);
  }
  return {};
}

Result<BpeOptions> ParseBpeOptions(element model, const TokenMap& vocabulary) {
  BpeOptions options;
  ASSIGN_OR_RETURN(options.fuse_unknown, Flag(model, "fuse_unk", false, "model"));
  ASSIGN_OR_RETURN(options.byte_fallback, Flag(model, "byte_fallback", false, "model"));
  ASSIGN_OR_RETURN(options.ignore_merges, Flag(model, "ignore_merges", false, "model"));
  if (Member(model, "unk_token")) {
    ASSIGN_OR_RETURN(const auto unknown,
                     Need<std::string_view>(model, "unk_token", "model", "a string or null"));
    options.unknown_id = vocabulary.Find(unknown);
    if (!options.unknown_id)
      return InvalidArgument("model: 'unk_token' is {}, which is not in the vocabulary", Quoted(unknown));
  }
  return options;
}

Result<Bpe> ParseBpe(element model, const TokenMap& vocabulary, const std::vector<AddedToken>& added) {
  ASSIGN_OR_RETURN(const std::vector<Merge> merges, ParseMerges(model, vocabulary));
  ASSIGN_OR_RETURN(const BpeOptions options, ParseBpeOptions(model, vocabulary));
  // A text that holds an added token is cut there before merging, so merging can give its id only where the
  // token was not looked for: in untrusted text, where it must not. Only a single_word token may be text
  // beside a word.
  std::unordered_set<int32_t> only_matched;
  for (const AddedToken& token : added)
    if (!token.single_word) only_matched.insert(token.id);
  auto bpe = Bpe::Create(vocabulary, merges, options, [&](int32_t id) { return only_matched.count(id) > 0; });
  if (!bpe) return MakeError(bpe.error().code, "model: {}", bpe.error().message);
  return bpe;
}

}  // namespace

Result<TokenizerParts> ParseTokenizerJson(std::string_view json) {
  simdjson::dom::parser parser;
  element root;
  if (const auto error = parser.parse(json.data(), json.size()).get(root))
    return InvalidArgument("it is not valid JSON: {}", simdjson::error_message(error));
  RETURN_IF_ERROR(CheckNormalizer(root));
  RETURN_IF_ERROR(CheckDecoder(root));
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, ParsePreTokenizer(root));
  const auto model = Member(root, "model");
  if (!model) return InvalidArgument("'model' is missing");
  RETURN_IF_ERROR(CheckModel(*model));
  ASSIGN_OR_RETURN(TokenMap tokens, ParseVocabulary(*model));
  ASSIGN_OR_RETURN(std::vector<AddedToken> added, ParseAddedTokens(root, tokens));
  ASSIGN_OR_RETURN(Bpe bpe, ParseBpe(*model, tokens, added));
  ASSIGN_OR_RETURN(AddedTokens matcher, AddedTokens::Create(added));
  for (const AddedToken& token : added)
    tokens.Insert(token.content, token.id);  // or is there with the same id
  return TokenizerParts{std::move(tokens), std::move(added), std::move(matcher), std::move(pre_tokenizer),
                        std::move(bpe)};
}

}  // namespace hadal
