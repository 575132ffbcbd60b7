// The package `openai` against a running server.
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";
import { baseUrl, gauge, maxAccepted, metricsToken, token, until, untilIdle, watchedFetch } from "./service.mjs";

const connect = (options = {}) => new OpenAI({ baseURL: `${baseUrl}/v1`, apiKey: token, maxRetries: 0, ...options });
const client = connect();
const model = "test";
const messages = [{ role: "user", content: "Why is the sea salt?" }];
const greedy = { model, messages, temperature: 0, max_tokens: 12, ignore_eos: true };
const endless = { model, messages, max_tokens: 1900, ignore_eos: true, stream: true };

/** Fills the server with streams that go on until they are aborted. */
async function fill() {
  const streams = [];
  while (streams.length < maxAccepted) streams.push(await client.chat.completions.create(endless));
  return () => streams.forEach((stream) => stream.controller.abort());
}

test("models", async () => {
  const list = await client.models.list();
  assert.deepEqual(list.data.map((each) => each.id), [model]);
  const one = await client.models.retrieve(model);
  assert.equal(one.object, "model");
  assert.ok(one.max_model_len > 0);
});

test("a chat, whole and as a stream, is the same", async () => {
  const whole = await client.chat.completions.create({ ...greedy, return_token_ids: true });
  const { message, finish_reason, token_ids } = whole.choices[0];
  assert.equal(message.role, "assistant");
  assert.equal(finish_reason, "length");
  assert.equal(token_ids.length, 12);
  assert.equal(whole.usage.completion_tokens, 12);
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + 12);

  const request = { ...greedy, return_token_ids: true, stream: true, stream_options: { include_usage: true } };
  const stream = await client.chat.completions.create(request);
  let text = "";
  let usage = null;
  const ids = [];
  for await (const chunk of stream) {
    if (chunk.usage) usage = chunk.usage;
    for (const choice of chunk.choices) {
      text += choice.delta.content ?? "";
      ids.push(...(choice.token_ids ?? []));
    }
  }
  assert.equal(text, message.content);
  assert.deepEqual(ids, token_ids);
  assert.equal(usage.completion_tokens, 12);
});

test("the stream helper adds the same message up", async () => {
  const whole = await client.chat.completions.create(greedy);
  const final = await client.chat.completions.stream(greedy).finalChatCompletion();
  assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
  assert.equal(final.choices[0].finish_reason, "length");
});

test("several choices", async () => {
  const answer = await client.chat.completions.create({ ...greedy, temperature: 1, n: 3, seed: 7 });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2]);
  const texts = new Set(answer.choices.map((choice) => choice.message.content));
  assert.ok(texts.size > 1, "each choice draws on its own");
});

test("logprobs", async () => {
  const answer = await client.chat.completions.create({ ...greedy, logprobs: true, top_logprobs: 3 });
  const { content } = answer.choices[0].logprobs;
  assert.equal(content.length, 12);
  for (const each of content) {
    assert.equal(each.top_logprobs.length, 3);
    assert.equal(each.logprob, each.top_logprobs[0].logprob, "greedy takes the likeliest");
    assert.equal(each.token, each.top_logprobs[0].token);
  }
});

test("stop strings", async () => {
  const whole = (await client.chat.completions.create(greedy)).choices[0].message.content;
  const stop = [...whole].slice(3, 5).join("");
  const stopped = (await client.chat.completions.create({ ...greedy, stop: [stop] })).choices[0];
  assert.equal(stopped.finish_reason, "stop");
  assert.equal(stopped.message.content, whole.slice(0, whole.indexOf(stop)));
});

test("the same seed draws the same tokens", async () => {
  const draw = async (seed) => {
    const request = { ...greedy, temperature: 1, seed, return_token_ids: true };
    return (await client.chat.completions.create(request)).choices[0].token_ids;
  };
  assert.deepEqual(await draw(5), await draw(5));
  assert.notDeepEqual(await draw(5), await draw(6));
});

test("logit_bias forces a token", async () => {
  const request = { ...greedy, logit_bias: { 65: 100 }, return_token_ids: true };
  const answer = await client.chat.completions.create(request);
  assert.deepEqual(answer.choices[0].token_ids, Array(12).fill(65));
});

const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "The weather of a city",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

test("a conversation with tools", async () => {
  const turns = [
    ...messages,
    {
      role: "assistant",
      content: null,
      tool_calls: [{ id: "call_1", type: "function", function: { name: "weather", arguments: '{"city": "Bern"}' } }],
    },
    { role: "tool", tool_call_id: "call_1", content: "sunny" },
  ];
  const request = { ...greedy, tools, return_token_ids: true };
  const first = await client.chat.completions.create(request);
  const second = await client.chat.completions.create({ ...request, messages: turns });
  assert.ok(second.usage.prompt_tokens > first.usage.prompt_tokens);
  assert.equal(second.usage.prompt_tokens_details.cached_tokens < second.usage.prompt_tokens, true);
  const none = await client.chat.completions.create({ ...request, tool_choice: "none" });
  assert.ok(none.usage.prompt_tokens < first.usage.prompt_tokens, "tools that may not be called are not offered");
});

test("completions of token ids", async () => {
  const prompt = [5, 6, 7, 8];
  const request = { ...greedy, messages: undefined, prompt, max_tokens: 6, return_token_ids: true };
  const one = await client.completions.create(request);
  assert.equal(one.choices[0].token_ids.length, 6);
  assert.equal(one.usage.prompt_tokens, 4);
  const two = await client.completions.create({ ...request, prompt: [prompt, [9, 10]], n: 2 });
  assert.deepEqual(two.choices.map((choice) => choice.index), [0, 1, 2, 3]);
  assert.deepEqual(two.choices[0].token_ids, one.choices[0].token_ids);
  let text = "";
  const stream = await client.completions.create({ ...request, stream: true });
  for await (const chunk of stream) text += chunk.choices[0].text;
  assert.equal(text, one.choices[0].text);
});

test("a stream that is aborted frees its request", async () => {
  await untilIdle();
  const stream = await client.chat.completions.create(endless);
  let chunks = 0;
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    if (++chunks === 1) assert.equal(await gauge("hadal_requests_running"), 1);
    if (chunks === 3) break; // the helper aborts what is left
  }
  await untilIdle();
});

test("errors are typed", async () => {
  const answer = (options, request = greedy) => connect(options).chat.completions.create(request);
  await assert.rejects(answer({ apiKey: "nonsense" }), OpenAI.AuthenticationError);
  await assert.rejects(answer({ apiKey: metricsToken }), OpenAI.PermissionDeniedError);
  await assert.rejects(answer({}, { ...greedy, temperature: "hot" }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
    assert.equal(error.type, "invalid_request_error");
    assert.ok(error.requestID, "the request's id");
    return true;
  });
  await assert.rejects(answer({}, { ...greedy, model: "other" }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    return true;
  });
  await assert.rejects(answer({}, { ...greedy, max_tokens: 10_000_000 }), OpenAI.BadRequestError);
});

test("a full server says when to come back, and the client does", async () => {
  await untilIdle();
  const empty = await fill();
  await assert.rejects(client.chat.completions.create(greedy), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    assert.equal(error.headers.get("retry-after"), "1");
    return true;
  });
  const watched = watchedFetch();
  const patient = connect({ maxRetries: 5, fetch: watched });
  const waiting = patient.chat.completions.create(greedy);
  await until("the first refusal", () => watched.statuses.length > 0);
  empty();
  assert.equal((await waiting).usage.completion_tokens, 12);
  assert.equal(watched.statuses[0], 429);
  assert.equal(watched.statuses.at(-1), 200);
  await untilIdle();
});

test("what cannot be mended is not tried again", async () => {
  const watched = watchedFetch();
  const eager = connect({ maxRetries: 3, fetch: watched });
  await assert.rejects(eager.chat.completions.create({ ...greedy, temperature: "hot" }), OpenAI.BadRequestError);
  assert.deepEqual(watched.statuses, [400]);
});
