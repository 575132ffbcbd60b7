// Answers with a form, asked for by both packages as their users ask.
import assert from "node:assert/strict";
import test from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { apiKey, baseUrl, token } from "./service.mjs";

const openai = new OpenAI({ baseURL: `${baseUrl}/v1`, apiKey: token, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: baseUrl, apiKey, authToken: null, maxRetries: 0 });
const model = "test";
// Nothing that the model was made for: only the form makes these answers.
const messages = [{ role: "user", content: "Why is the sea salt?" }];
const chat = { model, messages, temperature: 0, max_tokens: 200 };
const hot = { ...chat, temperature: 2 };
const fill = (properties) => ({
  type: "object", properties, required: Object.keys(properties), additionalProperties: false,
});
const schema = fill({
  verdict: { enum: ["salty", "sweet"] },
  sure: { type: "boolean" },
  depths: { type: "array", items: { type: "integer", minimum: 0, maximum: 99 }, minItems: 2, maxItems: 3 },
});
const pause = fill({ seconds: { enum: [1, 2, 3] } });
const turn = fill({ way: { enum: ["left", "right"] } });

/** The answer's text as the schema above wants it. */
function checkVerdict(text) {
  const answer = JSON.parse(text);
  assert.deepEqual(Object.keys(answer), ["verdict", "sure", "depths"]);
  assert.ok(["salty", "sweet"].includes(answer.verdict));
  assert.equal(typeof answer.sure, "boolean");
  assert.ok(answer.depths.length >= 2 && answer.depths.length <= 3);
  for (const depth of answer.depths) assert.ok(Number.isInteger(depth) && depth >= 0 && depth <= 99);
}

/** A call of `pause` or `turn` with its arguments as the schema wants them. */
function checkCall(name, given) {
  if (name === "pause") assert.ok([1, 2, 3].includes(given.seconds), JSON.stringify(given));
  else assert.ok(name === "turn" && ["left", "right"].includes(given.way), JSON.stringify(given));
  assert.equal(Object.keys(given).length, 1);
}

const format = { type: "json_schema", json_schema: { name: "verdict", strict: true, schema } };
const functions = [
  { type: "function", function: { name: "pause", strict: true, parameters: pause } },
  { type: "function", function: { name: "turn", strict: true, parameters: turn } },
];
const tools = [
  { name: "pause", strict: true, input_schema: pause },
  { name: "turn", strict: true, input_schema: turn },
];

test("openai: response_format json_schema, whole, parsed and streamed", async () => {
  for (let seed = 0; seed < 4; ++seed) {
    const answer = await openai.chat.completions.create({ ...hot, seed, response_format: format });
    assert.equal(answer.choices[0].finish_reason, "stop");
    checkVerdict(answer.choices[0].message.content);
  }
  const parsed = await openai.chat.completions.parse({ ...chat, response_format: format });
  const { message } = parsed.choices[0];
  checkVerdict(message.content);
  assert.deepEqual(message.parsed, JSON.parse(message.content));
  const final = await openai.chat.completions.stream({ ...chat, response_format: format }).finalChatCompletion();
  assert.equal(final.choices[0].message.content, message.content);
});

test("openai: response_format json_object", async () => {
  const question = [{ role: "user", content: "As JSON with the keys name and colour: Carl likes white." }];
  const request = { ...chat, messages: question, response_format: { type: "json_object" } };
  const { choices } = await openai.chat.completions.create(request);
  assert.equal(choices[0].finish_reason, "stop");
  assert.deepEqual(JSON.parse(choices[0].message.content), { name: "Carl", colour: "white" });
});

test("openai: grammar, of chats and completions", async () => {
  const grammar = 'root ::= ("yes" | "no") ", " [0-9]{3} "!"';
  const { choices } = await openai.chat.completions.create({ ...hot, grammar });
  assert.match(choices[0].message.content, /^(yes|no), \d{3}!$/);
  const request = { ...hot, messages: undefined, prompt: "The sea", grammar, n: 4 };
  const drawn = (await openai.completions.create(request)).choices;
  assert.equal(drawn.length, 4);
  for (const { text, finish_reason } of drawn) {
    assert.match(text, /^(yes|no), \d{3}!$/);
    assert.equal(finish_reason, "stop");
  }
});

test("openai: a call that is forced, of any tool or of one", async () => {
  for (const tool_choice of ["required", { type: "function", function: { name: "turn" } }]) {
    for (let seed = 0; seed < 3; ++seed) {
      const request = { ...hot, seed, tools: functions, tool_choice, parallel_tool_calls: false };
      const [choice] = (await openai.chat.completions.create(request)).choices;
      assert.equal(choice.finish_reason, "tool_calls");
      assert.equal(choice.message.tool_calls.length, 1);
      const { name, arguments: given } = choice.message.tool_calls[0].function;
      checkCall(name, JSON.parse(given));
      if (tool_choice !== "required") assert.equal(name, "turn");
      const final = await openai.chat.completions.stream(request).finalChatCompletion();
      assert.deepEqual(final.choices[0].message.tool_calls[0].function.arguments, given);
    }
  }
});

test("openai: strict tools bind a call that the model makes of itself", async () => {
  const question = [{ role: "user", content: "What is the weather in Bern?" }];
  const parameters = fill({ city: { enum: ["Bern", "Rome"] }, unit: { enum: ["C", "F"] } });
  const weather = { type: "function", function: { name: "get_weather", strict: true, parameters } };
  const request = { ...chat, messages: question, tools: [weather] };
  const [choice] = (await openai.chat.completions.create(request)).choices;
  assert.equal(choice.finish_reason, "tool_calls");
  const given = JSON.parse(choice.message.tool_calls[0].function.arguments);
  assert.equal(given.city, "Bern");
  assert.ok(["C", "F"].includes(given.unit), "which the model was never taught");
});

test("openai: what is no form is refused with its place", async () => {
  const refused = (more, param) =>
    assert.rejects(openai.chat.completions.create({ ...chat, ...more }), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError, String(error));
      assert.equal(error.param, param);
      return true;
    });
  const wrong = { type: "json_schema", json_schema: { name: "x", schema: { type: "thing" } } };
  await refused({ response_format: wrong }, "response_format.json_schema.schema");
  await refused({ grammar: "root ::= undefined-rule" }, "grammar");
  await refused({ tool_choice: "required" }, "tool_choice");
});

test("anthropic: output_config.format, whole, parsed and streamed", async () => {
  const form = { output_config: { format: { type: "json_schema", schema } } };
  for (let seed = 0; seed < 4; ++seed) {
    const message = await anthropic.messages.create({ ...hot, ...form, seed });
    assert.equal(message.stop_reason, "end_turn");
    assert.equal(message.content.length, 1);
    checkVerdict(message.content[0].text);
  }
  const parsed = await anthropic.messages.parse({ ...chat, ...form });
  checkVerdict(parsed.content[0].text);
  const final = await anthropic.messages.stream({ ...chat, ...form }).finalMessage();
  assert.equal(final.content[0].text, parsed.content[0].text);
});

test("anthropic: a call that is forced, of any tool or of one", async () => {
  for (const type of ["any", "tool"]) {
    const tool_choice = { type, disable_parallel_tool_use: true, ...(type === "tool" && { name: "turn" }) };
    for (let seed = 0; seed < 3; ++seed) {
      const request = { ...hot, seed, tools, tool_choice };
      const message = await anthropic.messages.create(request);
      assert.equal(message.stop_reason, "tool_use");
      assert.deepEqual(message.content.map((block) => block.type), ["tool_use"]);
      const { name, input } = message.content[0];
      checkCall(name, input);
      if (type === "tool") assert.equal(name, "turn");
      const final = await anthropic.messages.stream(request).finalMessage();
      assert.deepEqual(final.content[0].input, input);
    }
  }
});

test("anthropic: strict tools bind a call that the model makes of itself", async () => {
  const question = [{ role: "user", content: "What is the weather in Bern?" }];
  const input_schema = fill({ city: { enum: ["Bern", "Rome"] }, unit: { enum: ["C", "F"] } });
  const weather = [{ name: "get_weather", strict: true, input_schema }];
  const message = await anthropic.messages.create({ ...chat, messages: question, tools: weather });
  assert.equal(message.stop_reason, "tool_use");
  const call = message.content.find((block) => block.type === "tool_use");
  assert.equal(call.input.city, "Bern");
  assert.ok(["C", "F"].includes(call.input.unit), "which the model was never taught");
});

test("anthropic: what is no form is refused with its place", async () => {
  const refused = (more, part) =>
    assert.rejects(anthropic.messages.create({ ...chat, ...more }), (error) => {
      assert.ok(error instanceof Anthropic.BadRequestError, String(error));
      assert.match(error.error.error.message, part);
      return true;
    });
  const format = { type: "json_schema", schema: { type: "thing" } };
  await refused({ output_config: { format } }, /'output_config\.format\.schema'/);
  await refused({ tool_choice: { type: "any" } }, /there are no tools/);
  await refused({ tools, tool_choice: { type: "tool", name: "other" } }, /'other'/);
});
