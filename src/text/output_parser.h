// From a model's text to what a client wants apart: the reasoning, the answer, the tool calls.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hadal {

/// How a model writes tool calls.
enum class ToolCallFormat {
  kNone,
  /// V3 and R1: <｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\nARGUMENTS\n```<｜tool▁call▁end｜>
  kDeepSeekV3,
  /// V3.1: <｜tool▁call▁begin｜>NAME<｜tool▁sep｜>ARGUMENTS<｜tool▁call▁end｜>
  kDeepSeekV31,
};

struct OutputFormat {
  bool reasoning = false;  // the model thinks between <think> and </think>
  ToolCallFormat tools = ToolCallFormat::kNone;
};

/// The format of a model by the markers in its chat template, which prints earlier turns as the model writes
/// them.
OutputFormat DetectOutputFormat(std::string_view chat_template);

/// Whether the model goes on inside a think block that the prompt's last line has opened.
bool EndsInsideThinking(std::string_view prompt);

struct ToolCall {
  std::string name;
  std::string arguments;  // as the model wrote them: JSON, if it did well

  bool operator==(const ToolCall&) const = default;
};

/// Divides a text that comes in pieces. What Push and Finish give, one after the other, depends on the text
/// alone and not on how it was cut, even inside a character or a marker; pieces of whole characters give
/// whole characters.
///
/// - Reasoning is what stands before the first </think>, if the text begins with <think> (white space before
///   it is dropped) or continues a think block. Line breaks next to the two markers are dropped. Without
///   </think> all is reasoning.
/// - Tool calls stand between <｜tool▁calls▁begin｜> and <｜tool▁calls▁end｜>, with white space between them,
///   which is dropped. A call is given when it is complete. The end marker may be missing after the last.
/// - Everything else is content. Markup that is not well-formed is content too, from its first marker (or
///   the end of the last complete call) to the place where it fails, and no byte of it is lost.
///
/// Holds back what may belong to a marker, and the text of an unfinished call. Cost: O(text). Used by one
/// thread.
class OutputParser {
 public:
  struct Options {
    OutputFormat format;
    bool inside_thinking = false;  // see EndsInsideThinking; only with format.reasoning
    bool parse_tools = true;       // false where no tool was offered: then markup of calls is content
  };
  struct Delta {
    std::string reasoning, content;
    std::vector<ToolCall> calls;
    bool empty() const { return reasoning.empty() && content.empty() && calls.empty(); }
  };

  explicit OutputParser(const Options& options);

  /// What `piece` makes certain.
  Delta Push(std::string_view piece);
  /// The end of the text: what was held back. Nothing may follow.
  Delta Finish();

 private:
  enum class State {
    kStart,           // <think> may follow
    kReasoningStart,  // line breaks after <think>
    kReasoning,
    kContentStart,  // line breaks after </think>
    kContent,
    kCalls,  // after <｜tool▁calls▁begin｜> or a call: another, or the end
    kCall,   // after <｜tool▁call▁begin｜>
  };

  bool Step(Delta& out);
  bool StepStart();
  bool StepLineBreaks(State next);
  bool StepReasoning(Delta& out);
  bool StepContent(Delta& out);
  bool StepCalls(Delta& out);
  bool StepCall(Delta& out);
  bool Advance(size_t bytes, State next);
  bool Fail(size_t end, Delta& out);

  ToolCallFormat tools_;
  State state_;
  std::string
      held_;  // not yet decided; kCalls, kCall: all since the section's start or the last complete call
  size_t scanned_ = 0;     // kCalls, kCall: held_ up to here is understood
  bool any_call_ = false;  // in this section
};

}  // namespace hadal
