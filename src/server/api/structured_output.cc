#include "server/api/structured_output.h"

#include "engine/grammar/gbnf.h"
#include "engine/grammar/json_schema.h"

namespace hadal::api {
namespace {

using grammar::ExprId;
using grammar::Grammar;
using grammar::RuleId;

constexpr std::string_view kThinkBegin = "<think>", kThinkEnd = "</think>";
constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>", kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>", kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kSeparator = "<｜tool▁sep｜>";

class OutputGrammar {
 public:
  OutputGrammar(const ApiContext& api, const OutputSpec& spec) : api_(api), spec_(spec) {
    json_.escape_bars = !spec.tools.empty();
  }

  ApiResult<std::shared_ptr<const grammar::Program>> Compile(Thinking thinking) {
    // A caller's own rules may have any name without a space.
    const RuleId answer = grammar_.RuleNamed("the answer"), whole = grammar_.RuleNamed("the whole text");
    ASSIGN_OR_RETURN(const ExprId body, Answer());
    grammar_.Define(answer, body);
    grammar_.Define(whole, WithThinking(thinking, grammar_.Ref(answer)));
    auto program = grammar::Program::Compile(grammar_, whole);
    if (!program) return Refuse(spec_.place.empty() ? "tools" : spec_.place, program.error());
    return *std::move(program);
  }

 private:
  static tl::unexpected<ApiError> Refuse(const std::string& place, const Error& error) {
    return BadField(place, "'{}': {}", place, error.message);
  }

  /// As the model's own token where it has one that a text shows.
  ExprId Marker(std::string_view text) {
    const std::optional<int32_t> id = api_.tokenizer.IdOf(text);
    if (id && !api_.tokenizer.IsSpecial(*id)) return grammar_.Token(*id);
    return grammar_.Literal(std::string(text));
  }
  ExprId Text(std::string_view text) { return grammar_.Literal(std::string(text)); }

  ApiResult<ExprId> Answer() {
    const bool may_call = !spec_.tools.empty() && spec_.content != OutputSpec::kGbnf;
    if (!may_call) return Content();
    ASSIGN_OR_RETURN(const ExprId calls, Calls());
    if (spec_.must_call) return calls;
    if (spec_.content == OutputSpec::kAnyText)
      return grammar_.Sequence({grammar_.TextWithout(std::string(kCallsBegin)), grammar_.Optional(calls)});
    ASSIGN_OR_RETURN(const ExprId content, Content());
    return grammar_.Choice({content, calls});
  }

  ApiResult<ExprId> Content() {
    if (spec_.content == OutputSpec::kJsonObject) return AnyObject();
    if (spec_.content == OutputSpec::kJsonSchema) return Schema(spec_.schema, spec_.place);
    const auto find_token = [this](std::string_view text) { return api_.tokenizer.IdOf(text); };
    if (Status parsed = ParseGbnf(spec_.gbnf, grammar_, find_token); !parsed)
      return Refuse(spec_.place, parsed.error());
    const std::optional<RuleId> root = grammar_.FindRule("root");
    if (!root) return BadField(spec_.place, "'{}' has no rule 'root'", spec_.place);
    return grammar_.Ref(*root);
  }

  ExprId AnyObject() {
    AddJsonRules(grammar_, json_);
    return grammar_.Ref(grammar_.RuleNamed("json-object"));
  }

  ApiResult<ExprId> Schema(Json schema, const std::string& place) {
    const Result<ExprId> made = SchemaExpression(grammar_, schema, place, json_);
    if (!made) return Refuse(place, made.error());
    return *made;
  }

  ApiResult<ExprId> Arguments(const OutputSpec::Tool& tool) {
    if (!tool.strict) return AnyObject();
    if (!tool.parameters) return Text("{}");
    return Schema(*tool.parameters, tool.place);
  }

  ApiResult<ExprId> Calls() {
    if (api_.format.tools == ToolCallFormat::kNone)
      return BadField("tools", "this model's chat template has no form for tool calls");
    const bool v31 = api_.format.tools == ToolCallFormat::kDeepSeekV31;
    std::vector<ExprId> ways;
    for (const OutputSpec::Tool& tool : spec_.tools) {
      ASSIGN_OR_RETURN(const ExprId arguments, Arguments(tool));
      if (v31)
        ways.push_back(grammar_.Sequence({Text(tool.name), Marker(kSeparator), arguments}));
      else
        ways.push_back(grammar_.Sequence({Text("function"), Marker(kSeparator),
                                          Text(tool.name + "\n```json\n"), arguments, Text("\n```")}));
    }
    const RuleId call = grammar_.RuleNamed("a call");
    grammar_.Define(
        call, grammar_.Sequence({Marker(kCallBegin), grammar_.Choice(std::move(ways)), Marker(kCallEnd)}));
    std::vector<ExprId> parts = {Marker(kCallsBegin), grammar_.Ref(call)};
    if (!spec_.one_call)
      parts.push_back(grammar_.Repeat(grammar_.Sequence({Text(v31 ? "" : "\n"), grammar_.Ref(call)}), 0));
    parts.push_back(Marker(kCallsEnd));
    return grammar_.Sequence(std::move(parts));
  }

  /// Line breaks after the end of thinking belong to neither side.
  ExprId WithThinking(Thinking thinking, ExprId answer) {
    if (thinking == Thinking::kNone) return answer;
    const ExprId thought = grammar_.Sequence({grammar_.TextWithout(std::string(kThinkEnd)), Marker(kThinkEnd),
                                              grammar_.Repeat(Text("\n"), 0, 2), answer});
    if (thinking == Thinking::kInside) return thought;
    return grammar_.Choice(
        {answer, grammar_.Sequence({grammar_.Repeat(Text("\n"), 0, 2), Marker(kThinkBegin), thought})});
  }

  const ApiContext& api_;
  const OutputSpec& spec_;
  grammar::JsonOptions json_;
  Grammar grammar_;
};

}  // namespace

Thinking ThinkingAfter(const OutputFormat& format, std::string_view prompt) {
  if (!format.reasoning) return Thinking::kNone;
  if (EndsInsideThinking(prompt)) return Thinking::kInside;
  const std::string_view text = prompt.substr(0, prompt.find_last_not_of(" \t\r\n") + 1);
  return text.ends_with(kThinkEnd) ? Thinking::kNone : Thinking::kMay;
}

ApiResult<std::shared_ptr<const grammar::Program>> CompileOutput(const ApiContext& api,
                                                                 const GenerationOptions& options,
                                                                 Thinking thinking) {
  if (!options.output.binds()) return std::shared_ptr<const grammar::Program>();
  if (options.sampling.ignore_eos)
    return BadField("ignore_eos", "'ignore_eos' is not possible where the answer has a form, which ends it");
  ASSIGN_OR_RETURN(auto program, OutputGrammar(api, options.output).Compile(thinking));
  ASSIGN_OR_RETURN(program, api.programs->Keep(std::move(program)));
  return program;
}

}  // namespace hadal::api
