#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <thread>

namespace hadal {
namespace {

using testing::HasSubstr;

const Path kData = Path(HADAL_TEST_DATA) / "tokenizer";
constexpr const char* kBos = "<｜begin▁of▁sentence｜>";

/// A model folder that goes away with the object.
class Folder {
 public:
  Folder() {
    path_ = std::filesystem::temp_directory_path() / fmt::format("hadal_template_{}", getpid());
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const Folder& With(const std::string& name, const std::string& text) const {
    EXPECT_TRUE(WriteFileAtomic(path_ / name, text));
    return *this;
  }
  const Path& path() const { return path_; }

 private:
  Path path_;
};

ChatTemplate FromFile(const std::string& name) {
  auto source = ReadFile(kData / "templates" / (name + ".jinja"));
  EXPECT_TRUE(source) << name;
  auto parsed = ChatTemplate::Parse(source.value_or(""));
  EXPECT_TRUE(parsed) << parsed.error().message;
  return *std::move(parsed);
}

TEST(ChatTemplate, RendersEveryGoldenCase) {
  auto goldens = jinja::ParseJson(ReadFile(kData / "chat_goldens.json").value_or(""));
  ASSERT_TRUE(goldens);
  std::map<std::string, ChatTemplate> templates;
  int cases = 0;
  for (const jinja::Value& row : goldens->as_dict().Find("cases")->as_sequence().items) {
    const jinja::Dict& fields = row.as_dict();
    const std::string name = fields.Find("template")->as_string();
    if (!templates.contains(name)) templates.emplace(name, FromFile(name));
    jinja::Dict variables = fields;
    variables.Set(jinja::Value::String("bos_token"), jinja::Value::String(kBos));
    const auto given = jinja::Value::Of(std::make_shared<const jinja::Dict>(std::move(variables)));
    auto text = templates.at(name).Render(given);
    ASSERT_TRUE(text) << name << ", " << fields.Find("name")->as_string() << ": " << text.error().message;
    EXPECT_EQ(*text, fields.Find("text")->as_string()) << name << ", " << fields.Find("name")->as_string();
    ++cases;
  }
  EXPECT_EQ(cases, 224);
}

TEST(ChatTemplate, LoadsTheFoldersOfTheTestData) {
  for (const auto& [folder, file] :
       {std::pair("deepseek-v3", "deepseek-v3"), {"deepseek-r1", "deepseek-r1-early"}}) {
    auto loaded = ChatTemplate::Load(kData / folder);
    ASSERT_TRUE(loaded) << loaded.error().message;
    const char* json = R"({"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": true})";
    const std::string want = std::string(kBos) + "<｜User｜>Hi<｜Assistant｜>";
    EXPECT_EQ(loaded->RenderJson(json).value_or("error"), want);
    auto same = FromFile(file).RenderJson(fmt::format(
        R"({{"messages": [{{"role": "user", "content": "Hi"}}], "add_generation_prompt": true,
            "bos_token": "{}"}})",
        kBos));
    EXPECT_EQ(same.value_or("error"), want);
  }
}

TEST(ChatTemplate, TakesTheTemplateWhereverTheFolderHasIt) {
  Folder folder;
  const char* list = R"({"chat_template": [{"name": "tool_use", "template": "tools"},
                         {"name": "default",
                          "template": "{{ bos_token }}{{ eos_token }}{{ x_token is defined }}"}],
            "bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "x_token": null})";
  auto loaded = ChatTemplate::Load(folder.With("tokenizer_config.json", list).path());
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->RenderJson("{}").value_or(""), "<s></s>False");
  EXPECT_EQ(loaded->RenderJson(R"({"bos_token": "B"})").value_or(""), "B</s>False");

  loaded = ChatTemplate::Load(folder.With("chat_template.jinja", "file {{ bos_token }}\n").path());
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->RenderJson("{}").value_or(""), "file <s>");
}

TEST(ChatTemplate, SaysWhatIsWrongWithAFolder) {
  Folder folder;
  EXPECT_EQ(ChatTemplate::Load(folder.path()).error().code, Code::kNotFound);
  auto error_of = [&](const char* config) {
    return ChatTemplate::Load(folder.With("tokenizer_config.json", config).path()).error();
  };
  EXPECT_EQ(error_of(R"({"bos_token": "x"})").code, Code::kNotFound);
  EXPECT_EQ(error_of(R"({"chat_template": 3})").code, Code::kDataLoss);
  EXPECT_EQ(error_of(R"({"chat_template": [{"name": "x", "template": "y"}]})").code, Code::kDataLoss);
  EXPECT_EQ(error_of("[]").code, Code::kDataLoss);
  EXPECT_EQ(error_of("{").code, Code::kInvalidArgument);
  const Error error = error_of(R"({"chat_template": "a\n{{ b"})");
  EXPECT_THAT(error.message, HasSubstr("tokenizer_config.json"));
  EXPECT_THAT(error.message, HasSubstr("line 2, column 1"));
}

TEST(ChatTemplate, AbsentVariablesAreAsInHuggingFacesLibrary) {
  auto parsed = ChatTemplate::Parse(
      "{{ tools }} {{ documents }} {{ add_generation_prompt }} {{ thinking is defined }}");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->RenderJson("{}").value_or(""), "None None False False");
  EXPECT_EQ(parsed->RenderJson(R"({"thinking": true, "tools": []})").value_or(""), "[] None False True");
  EXPECT_EQ(parsed->RenderJson("[]").error().code, Code::kInvalidArgument);
}

TEST(ChatTemplate, MessagesOfUnexpectedShapeAreErrorsThatNameTheTypes) {
  const ChatTemplate v3 = FromFile("deepseek-v3.1");
  auto error_of = [&](const std::string& message) {
    auto text = v3.RenderJson(fmt::format(R"({{"messages": [{}], "bos_token": "B"}})", message));
    EXPECT_FALSE(text) << message;
    return text ? std::string() : text.error().message;
  };
  EXPECT_THAT(error_of(R"({"role": "user", "content": null})"), HasSubstr("cannot add str and NoneType"));
  EXPECT_THAT(error_of(R"({"role": "user"})"), HasSubstr("'dict object' has no attribute 'content'"));
  EXPECT_THAT(error_of(R"({"role": "user", "content": [{"type": "text", "text": "x"}]})"),
              HasSubstr("cannot add str and list"));
  EXPECT_THAT(error_of(R"({"role": "assistant", "content": null,
                           "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]})"),
              HasSubstr("cannot add str and dict"));
  EXPECT_THAT(error_of(R"({"role": "assistant", "content": null})"), HasSubstr("NoneType"));
  EXPECT_THAT(error_of(R"({"role": "assistant", "content": null, "tool_calls": 3})"), HasSubstr("int"));
  EXPECT_THAT(error_of(R"({"role": "user", "content": 3})"), HasSubstr("cannot add str and int"));
  EXPECT_FALSE(v3.RenderJson(R"({"messages": 3})"));
  EXPECT_EQ(v3.RenderJson(R"({"messages": [1, "x", null, []], "bos_token": "B"})").value_or("error"),
            "B");  // no roles
}

TEST(ChatTemplate, ShowsTheTimeItIsGiven) {
  auto parsed = ChatTemplate::Parse("{{ strftime_now('%Y') }}");
  ASSERT_TRUE(parsed);
  RenderOptions options;
  options.now = [] { return std::time_t{1'700'000'000}; };
  EXPECT_EQ(parsed->RenderJson("{}", options).value_or(""), "2023");
}

TEST(ChatTemplate, RendersInSeveralThreadsAtOnce) {
  const ChatTemplate v3 = FromFile("deepseek-v3");
  const char* json = R"({"messages": [{"role": "user", "content": "Hi"}], "bos_token": "B"})";
  const std::string want = v3.RenderJson(json).value_or("error");
  std::vector<std::string> got(4);
  {
    std::vector<std::jthread> threads;
    for (std::string& text : got)
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) text = v3.RenderJson(json).value_or("error");
      });
  }
  EXPECT_THAT(got, testing::Each(want));
}

}  // namespace
}  // namespace hadal
