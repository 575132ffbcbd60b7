#include "train/data/document_encoder.h"

#include <gmock/gmock.h>

#include "train/data/prepare_test_util.h"

namespace hadal::train {
namespace {

class DocumentEncoderTest : public testing::Test {
 protected:
  std::string Line(const std::string& json) {
    const auto encoder = DocumentEncoder::Load(folder_ / "tokenizer");
    if (!encoder) return encoder.error().message;
    TokenDocuments out;
    const Status encoded = encoder->EncodeLine(json, out);
    EXPECT_EQ(encoded.has_value(), !out.tokens.empty());
    EXPECT_EQ(out.tokens.size(), out.flags.size());
    return encoded ? Shown(out.tokens, out.flags) : encoded.error().message;
  }
  PrepareFolderForTest folder_;
};

TEST_F(DocumentEncoderTest, TextIsLearntWholeAndItsMarkersAreText) {
  EXPECT_EQ(Line(R"({"text": "hi <eos>", "id": 7})"), "^<bos>[hi <eos><eos>]");
  const auto encoder = DocumentEncoder::Load(folder_ / "tokenizer").value();
  TokenDocuments out;
  ASSERT_TRUE(encoder.EncodeText("hi <eos>", out));
  EXPECT_EQ(out.tokens.size(), 10u);  // eight characters between two marks
  EXPECT_EQ(std::ranges::count(out.tokens, folder_.kEnd), 1);
}

TEST_F(DocumentEncoderTest, OnlyTheAssistantsTurnsAreLearnt) {
  EXPECT_EQ(Line(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                                  {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"},
                                  {"role": "user", "content": "left out"}]})"),
            "^<bos><user>a<assistant></think>[b<eos>]<user>c<assistant></think>[d<eos>]");
}

TEST_F(DocumentEncoderTest, MarkersInMessagesStayText) {
  const auto encoder = DocumentEncoder::Load(folder_ / "tokenizer").value();
  TokenDocuments out;
  ASSERT_TRUE(encoder.EncodeLine(
      R"({"messages": [{"role": "user", "content": "<assistant>x<eos>"}, {"role": "assistant", "content": "<user>"}]})",
      out));
  EXPECT_EQ(std::ranges::count(out.tokens, folder_.kAssistant), 1);
  EXPECT_EQ(std::ranges::count(out.tokens, folder_.kUser), 1);
  EXPECT_EQ(std::ranges::count(out.tokens, folder_.kEnd), 1);
}

TEST_F(DocumentEncoderTest, ReasoningThatTheTemplateDropsLaterEndsADocument) {
  EXPECT_EQ(Line(R"({"messages": [{"role": "user", "content": "a"},
                                  {"role": "assistant", "content": "b", "reasoning_content": "r"},
                                  {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})"),
            "^<bos><user>a<assistant><think>[r</think>b<eos>]"
            "^<bos><user>a<assistant></think>b<eos><user>c<assistant></think>[d<eos>]");
}

TEST_F(DocumentEncoderTest, AnEndIsAddedWhereTheTemplateWritesNone) {
  folder_.WriteConfig(
      "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}assistant:{% endif %}");
  EXPECT_EQ(
      Line(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})"),
      "^user:a\nassistant:[b\n<eos>]");
  folder_.WriteConfig(
      "{% for m in messages %}<user>{{ m.role }} {{ m.content }}<eos>\n{% endfor %}"
      "{% if add_generation_prompt %}<user>assistant {% endif %}");
  EXPECT_EQ(Line(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                                  {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})"),
            "^<user>user a<eos>\n<user>assistant [b<eos>]\n<user>user c<eos>\n<user>assistant [d<eos>]");
}

TEST_F(DocumentEncoderTest, ToolsAndCallsReachTheTemplate) {
  folder_.WriteConfig(
      "{% for t in tools %}{{ t.function.name }};{% endfor %}{% for m in messages %}{{ m.role }}:"
      "{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.name }}={{ c.function.arguments }}"
      "{% endfor %}{% else %}{{ m.content }}{% endif %}<eos>{% endfor %}"
      "{% if add_generation_prompt %}assistant:{% endif %}");
  EXPECT_EQ(Line(R"({"tools": [{"type": "function", "function": {"name": "f"}}], "messages": [
                     {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                     {"role": "assistant", "content": null, "tool_calls":
                       [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
                     {"role": "tool", "content": "2"}, {"role": "assistant", "content": "two"}]})"),
            "^f;user:ab<eos>assistant:[f={\"x\": 1}<eos>]tool:2<eos>assistant:[two<eos>]");
}

TEST_F(DocumentEncoderTest, WrongLinesAreSentences) {
  using testing::HasSubstr;
  EXPECT_THAT(Line("{"), HasSubstr("not JSON"));
  EXPECT_THAT(Line("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(Line("{}"), HasSubstr("neither"));
  EXPECT_THAT(Line(R"({"text": "a", "messages": []})"), HasSubstr("both"));
  EXPECT_THAT(Line(R"({"text": 3})"), HasSubstr("'text' is no text"));
  EXPECT_THAT(Line(R"({"messages": []})"), HasSubstr("an empty one"));
  EXPECT_THAT(Line(R"({"messages": [{"role": "user", "content": "a"}]})"), HasSubstr("nothing to learn"));
  EXPECT_THAT(Line(R"({"messages": [{"role": "assistant", "content": "a"}]})"), HasSubstr("only answers"));
  EXPECT_THAT(Line(R"({"messages": [{"role": "boss", "content": "a"}]})"),
              HasSubstr("message 1: its 'role' is 'boss'"));
  EXPECT_THAT(Line(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant"}]})"),
              HasSubstr("message 2: it has no 'content'"));
  EXPECT_THAT(Line(R"({"messages": [{"role": "user", "content": 1}]})"), HasSubstr("expected a text"));
  EXPECT_THAT(Line(R"({"messages": [{"role": "user", "content": "a"}], "tools": [{"name": "f"}]})"),
              HasSubstr("a tool is not of the form"));
  EXPECT_THAT(Line(R"({"messages": [{"role": "user", "content": "a"},
                       {"role": "assistant", "content": "b"}], "chat_template_kwargs": {"thinking": true}})"),
              HasSubstr("message 2: the chat template begins this turn otherwise"));
}

}  // namespace
}  // namespace hadal::train
