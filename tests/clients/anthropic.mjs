// The package `@anthropic-ai/sdk` against a running server.
import assert from "node:assert/strict";
import test from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { apiKey, baseUrl, gauge, maxAccepted, metricsToken, token, untilIdle } from "./service.mjs";

const defaults = { baseURL: baseUrl, apiKey, authToken: null, maxRetries: 0 };
const connect = (options = {}) => new Anthropic({ ...defaults, ...options });
const client = connect();
const model = "test";
const messages = [{ role: "user", content: "Why is the sea salt?" }];
const greedy = { model, messages, temperature: 0, max_tokens: 12 };
const tools = [
  {
    name: "weather",
    description: "The weather of a city",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];

test("a message", async () => {
  const message = await client.messages.create(greedy);
  assert.equal(message.type, "message");
  assert.equal(message.role, "assistant");
  assert.equal(message.model, model);
  assert.ok(["max_tokens", "end_turn"].includes(message.stop_reason));
  assert.equal(message.stop_sequence, null);
  assert.equal(message.content[0].type, "text");
  assert.ok(message.usage.input_tokens + message.usage.cache_read_input_tokens > 0);
  assert.ok(message.usage.output_tokens <= 12);
});

test("a bearer token opens it, too", async () => {
  const message = await connect({ apiKey: null, authToken: token }).messages.create(greedy);
  assert.equal(message.type, "message");
});

test("the stream adds up to the same message", async () => {
  const whole = await client.messages.create(greedy);
  const stream = client.messages.stream(greedy);
  let text = "";
  stream.on("text", (delta) => (text += delta));
  const final = await stream.finalMessage();
  assert.deepEqual(final.content, whole.content);
  assert.equal(text, whole.content[0].text);
  assert.equal(final.stop_reason, whole.stop_reason);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
  const input = (usage) => usage.input_tokens + usage.cache_read_input_tokens;
  assert.equal(input(final.usage), input(whole.usage));
});

test("events in their order", async () => {
  const types = [];
  for await (const event of await client.messages.create({ ...greedy, stream: true })) types.push(event.type);
  assert.equal(types[0], "message_start");
  assert.equal(types[1], "content_block_start");
  assert.deepEqual(types.slice(-3), ["content_block_stop", "message_delta", "message_stop"]);
});

test("a stop sequence is named", async () => {
  const whole = (await client.messages.create(greedy)).content[0].text;
  const stop = [...whole].slice(3, 5).join("");
  const stopped = await client.messages.create({ ...greedy, stop_sequences: ["never-to-be-seen", stop] });
  assert.equal(stopped.stop_reason, "stop_sequence");
  assert.equal(stopped.stop_sequence, stop);
  assert.equal(stopped.content[0].text, whole.slice(0, whole.indexOf(stop)));
});

test("a conversation with tools", async () => {
  const turns = [
    ...messages,
    {
      role: "assistant",
      content: [
        { type: "text", text: "Let me see." },
        { type: "tool_use", id: "toolu_1", name: "weather", input: { city: "Bern" } },
      ],
    },
    { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "sunny" }] },
  ];
  const message = await client.messages.create({ ...greedy, messages: turns, tools, system: "Be brief." });
  assert.equal(message.type, "message");
});

test("counting tokens", async () => {
  const request = { model, messages, tools, system: [{ type: "text", text: "Be brief." }] };
  const { input_tokens } = await client.messages.countTokens(request);
  const { usage } = await client.messages.create({ ...request, max_tokens: 1 });
  assert.equal(input_tokens, usage.input_tokens + usage.cache_read_input_tokens);
});

test("errors are typed", async () => {
  const answer = (options, request = greedy) => connect(options).messages.create(request);
  const is = (type, name) => (error) => {
    assert.ok(error instanceof type, String(error));
    assert.equal(error.error.type, "error");
    assert.equal(error.error.error.type, name);
    return true;
  };
  await assert.rejects(answer({ apiKey: "nonsense" }), is(Anthropic.AuthenticationError, "authentication_error"));
  const metrics = { apiKey: null, authToken: metricsToken };
  await assert.rejects(answer(metrics), is(Anthropic.PermissionDeniedError, "permission_error"));
  const hot = { ...greedy, temperature: "hot" };
  await assert.rejects(answer({}, hot), is(Anthropic.BadRequestError, "invalid_request_error"));
  const other = { ...greedy, model: "other" };
  await assert.rejects(answer({}, other), is(Anthropic.NotFoundError, "not_found_error"));
  const image = [{ type: "image", source: { type: "url", url: "https://example.com/a.png" } }];
  const picture = { ...greedy, messages: [{ role: "user", content: image }] };
  await assert.rejects(answer({}, picture), /'image'/);
});

test("a stream that is aborted frees its request; a full server says 429", async () => {
  await untilIdle();
  // Any of them may draw the end early, so more are begun than have room; most go on until the context is full.
  const streams = [];
  let refusal = null;
  for (let i = 0; i < 4 * maxAccepted && !refusal; ++i) {
    try {
      streams.push(await client.messages.create({ ...greedy, max_tokens: 1900, temperature: 1, stream: true }));
    } catch (error) {
      refusal = error;
    }
  }
  assert.ok(refusal instanceof Anthropic.RateLimitError, String(refusal));
  assert.equal(refusal.headers.get("retry-after"), "1");
  assert.ok((await gauge("hadal_requests_running")) > 0);
  streams.forEach((stream) => stream.controller.abort());
  await untilIdle();
});
