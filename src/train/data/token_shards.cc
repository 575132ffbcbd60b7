#include "train/data/token_shards.h"

#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/checksum.h"

namespace hadal::train {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are mapped as they are");

using Json = nlohmann::ordered_json;
constexpr const char* kIndexName = "index.json";
constexpr int kFormat = 1;

struct Header {
  char magic[8];
  uint32_t version, zero;
  uint64_t tokens, documents;
};
constexpr char kMagic[8] = {'h', 'a', 'd', 'a', 'l', 't', 'o', 'k'};
constexpr uint64_t kBytesPerToken = sizeof(int32_t) + sizeof(uint8_t);

int64_t CountDocuments(std::span<const uint8_t> flags) {
  int64_t count = 0;
  for (const uint8_t flag : flags) count += flag & kDocumentStart;
  return count;
}

uint64_t ChecksumOf(std::span<const std::byte> bytes) {
  Checksum sum;
  sum.Add(bytes);
  return sum.value();
}

}  // namespace

std::string TokenShardName(int64_t number) { return fmt::format("tokens-{:05d}.bin", number); }

Result<ShardInfo> WriteTokenShard(const Path& path, std::span<const int32_t> tokens,
                                  std::span<const uint8_t> flags) {
  if (tokens.empty() || tokens.size() != flags.size() || !(flags[0] & kDocumentStart))
    return InvalidArgument("{}: {} tokens with {} flags; a shard begins with a document", path.string(),
                           tokens.size(), flags.size());
  Header header{.magic = {}, .version = kFormat, .zero = 0, .tokens = tokens.size(),
                .documents = static_cast<uint64_t>(CountDocuments(flags))};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(&header, 1))));
  RETURN_IF_ERROR(file.Write(std::as_bytes(tokens)));
  RETURN_IF_ERROR(file.Write(std::as_bytes(flags)));
  RETURN_IF_ERROR(file.Commit());
  ASSIGN_OR_RETURN(const MappedFile written, MappedFile::Open(path));
  return ShardInfo{.name = path.filename().string(),
                   .tokens = static_cast<int64_t>(tokens.size()),
                   .documents = static_cast<int64_t>(header.documents),
                   .checksum = ChecksumOf(written.bytes())};
}

Status WriteTokenIndex(const Path& dir, const TokenIndex& index) {
  Json shards = Json::array();
  for (const ShardInfo& s : index.shards)
    shards.push_back({{"name", s.name}, {"tokens", s.tokens}, {"documents", s.documents},
                      {"checksum", fmt::format("{:016x}", s.checksum)}});
  const Json json = {{"format", kFormat}, {"vocab_size", index.vocab_size}, {"tokenizer", index.tokenizer},
                     {"shards", shards}};
  return WriteFileAtomic(dir / kIndexName, json.dump(1) + "\n");
}

Result<TokenIndex> LoadTokenIndex(const Path& dir) {
  const Path path = dir / kIndexName;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return DataLoss("{} is no JSON object", path.string());
  try {
    if (json.at("format") != kFormat)
      return Unsupported("{} is of format {}, expected {}", path.string(), json.at("format").dump(), kFormat);
    TokenIndex index{.vocab_size = json.at("vocab_size"), .tokenizer = json.at("tokenizer"), .shards = {}};
    for (const Json& s : json.at("shards")) {
      const std::string name = s.at("name");
      if (name.empty() || name.find('/') != std::string::npos)
        return DataLoss("{} names a shard '{}', expected a plain name", path.string(), name);
      index.shards.push_back({name, s.at("tokens"), s.at("documents"),
                              std::stoull(s.at("checksum").get<std::string>(), nullptr, 16)});
    }
    return index;
  } catch (const std::exception& error) {
    return DataLoss("{} is no index of token shards: {}", path.string(), error.what());
  }
}

Result<TokenDataset> TokenDataset::Open(const Path& dir, bool verify) {
  TokenDataset set;
  ASSIGN_OR_RETURN(set.index_, LoadTokenIndex(dir));
  Checksum all;
  for (const ShardInfo& info : set.index_.shards) {
    RETURN_IF_ERROR(set.AddShard(dir, info, verify));
    all.Add(std::as_bytes(std::span(&info.checksum, 1)));
  }
  if (set.documents_.empty()) return DataLoss("{} holds no document", dir.string());
  set.fingerprint_ = all.value();
  return set;
}

Status TokenDataset::AddShard(const Path& dir, const ShardInfo& info, bool verify) {
  const Path path = dir / info.name;
  ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  const std::span<const std::byte> bytes = file.bytes();
  Header header;
  if (bytes.size() < sizeof header)
    return DataLoss("{} has {} bytes, a shard has a header of {}", path.string(), bytes.size(),
                    sizeof header);
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto tokens = static_cast<uint64_t>(info.tokens);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.version != kFormat)
    return DataLoss("{} is no shard of tokens of format {}", path.string(), kFormat);
  const uint64_t payload = bytes.size() - sizeof header;  // divided, since a product could wrap
  if (info.tokens < 1 || header.tokens != tokens || payload / kBytesPerToken != tokens ||
      payload % kBytesPerToken != 0 || header.documents != static_cast<uint64_t>(info.documents))
    return DataLoss("{}: {} bytes and {} tokens, its index says {} tokens", path.string(), bytes.size(),
                    header.tokens, info.tokens);
  if (verify && ChecksumOf(bytes) != info.checksum)
    return DataLoss("{} is damaged: its checksum differs from the index", path.string());
  const auto* ids = reinterpret_cast<const int32_t*>(bytes.data() + sizeof header);
  const auto* flags = reinterpret_cast<const uint8_t*>(ids + tokens);
  if (!(flags[0] & kDocumentStart)) return DataLoss("{} does not begin with a document", path.string());
  for (uint64_t t = 0; verify && t < tokens; ++t)
    if (ids[t] < 0 || ids[t] >= index_.vocab_size)
      return DataLoss("{}: token {} is {}, the vocabulary has {}", path.string(), t, ids[t],
                      index_.vocab_size);
  const size_t before = documents_.size();
  for (uint64_t t = 0; t < tokens; ++t) {
    if (flags[t] & kDocumentStart) documents_.push_back({static_cast<uint32_t>(files_.size()), 0, t});
    if (documents_.back().tokens == std::numeric_limits<uint32_t>::max())
      return Unsupported("{}: a document of more than {} tokens", path.string(),
                         std::numeric_limits<uint32_t>::max());
    ++documents_.back().tokens;
  }
  if (documents_.size() - before != header.documents)
    return DataLoss("{}: {} documents, its header says {}", path.string(), documents_.size() - before,
                    header.documents);
  files_.push_back(std::move(file));
  tokens_ += info.tokens;
  return {};
}

TokenDataset::Document TokenDataset::document(int64_t i) const {
  const Place& place = documents_[static_cast<size_t>(i)];
  const std::byte* base = files_[place.shard].bytes().data() + sizeof(Header);
  const auto total = static_cast<size_t>(index_.shards[place.shard].tokens);
  return {{reinterpret_cast<const int32_t*>(base) + place.first, place.tokens},
          {reinterpret_cast<const uint8_t*>(base) + total * sizeof(int32_t) + place.first, place.tokens}};
}

}  // namespace hadal::train
