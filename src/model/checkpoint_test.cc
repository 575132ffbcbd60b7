#include "model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal {
namespace {

Path Golden(const char* name) { return Path(HADAL_TEST_DATA) / "golden" / name; }

std::vector<int64_t> ShapeOf(const Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* tensor = checkpoint.Find(name);
  return tensor ? tensor->shape : std::vector<int64_t>{-1};
}

TEST(Checkpoint, OpensTheGoldenFolders) {
  for (const char* name : {"v3-tiny-f32", "v3-tiny-bf16", "v3-tiny-fp8", "moonlight-tiny", "v2lite-tiny",
                           "v3-tiny-mtp"}) {
    SCOPED_TRACE(name);
    const auto model = Checkpoint::Open(Golden(name));
    ASSERT_TRUE(model) << model.error().message;
    const std::vector<int64_t> embedding = ShapeOf(**model, "model.embed_tokens.weight");
    ASSERT_EQ(embedding.size(), 2u);
    EXPECT_EQ(embedding, ShapeOf(**model, "lm_head.weight"));
    EXPECT_EQ(ShapeOf(**model, "model.norm.weight"), std::vector<int64_t>{embedding[1]});
    EXPECT_GT((*model)->TotalBytes(), 900'000u);
    EXPECT_TRUE((*model)->Verify());

    const auto golden = Checkpoint::OpenFile(Golden(name) / "golden.safetensors");
    ASSERT_TRUE(golden) << golden.error().message;
    EXPECT_EQ(ReadI64(**golden, "p0.input_ids").value().size(), 7u);
    EXPECT_EQ(ReadF32(**golden, "p0.logits").value().size(), 7u * static_cast<size_t>(embedding[0]));
    EXPECT_TRUE((*golden)->metadata().contains("softmax_scale"));
  }
}

}  // namespace
}  // namespace hadal
