// The same request gives the same tokens, whatever else the server does. What it does is chance from a fixed seed.
//
//   alone FILE    asks for each answer with nothing else under way and writes them into FILE
//   crowd FILE    asks in a random order, many at once, some streamed, some left in the middle, and compares
import assert from "node:assert/strict";
import fs from "node:fs";
import { baseUrl, gauge, token, untilIdle } from "./service.mjs";

const [mode, file] = process.argv.slice(2);

/** Whole numbers below `bound` from a fixed seed (mulberry32). */
function numbers(seed) {
  let state = seed;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * bound);
  };
}

/** Requests whose prompts share beginnings, so that the prefix cache has something to find. */
function makeRequests(count) {
  const below = numbers(1);
  const ids = (length) => Array.from({ length }, () => 3 + below(200));
  const beginnings = [ids(40), ids(64), ids(100)];
  return Array.from({ length: count }, (_, i) => ({
    model: "test",
    prompt: [...beginnings[below(3)], ...ids(1 + below(30))],
    max_tokens: 8 + below(80),
    temperature: [0, 0.8, 1.2][below(3)],
    seed: i,
    presence_penalty: below(4) === 0 ? 0.5 : 0,
    ignore_eos: true,
    return_token_ids: true,
  }));
}

async function post(request, signal) {
  const response = await fetch(`${baseUrl}/v1/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(request),
    signal,
  });
  assert.equal(response.status, 200, response.ok ? "" : await response.text());
  return response;
}

async function whole(request) {
  return (await (await post(request)).json()).choices[0].token_ids;
}

/** The tokens of a stream; with `limit`, it is left after so many events. */
async function streamed(request, limit = Infinity) {
  const abort = new AbortController();
  const response = await post({ ...request, stream: true }, abort.signal);
  const ids = [];
  let text = "";
  let events = 0;
  for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
    text += bytes;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const data = text.slice("data: ".length, end);
      if (data === "[DONE]") return ids;
      ids.push(...JSON.parse(data).choices[0].token_ids);
      if (++events >= limit) {
        abort.abort();
        return null;
      }
    }
  }
  assert.fail("the stream ends without [DONE]");
}

const requests = makeRequests(60);
if (mode === "alone") {
  const answers = [];
  for (const request of requests) answers.push(await whole(request));
  fs.writeFileSync(file, JSON.stringify(answers));
} else {
  const alone = JSON.parse(fs.readFileSync(file));
  const below = numbers(2);
  const order = [...requests.keys(), ...requests.keys(), ...requests.keys()];
  for (let i = order.length - 1; i > 0; --i) {
    const j = below(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  let compared = 0;
  let left = 0;
  const worker = async () => {
    for (let index; (index = order.pop()) !== undefined; ) {
      const kind = below(4);
      const request = requests[index];
      let ids;
      if (kind === 0) ids = await streamed(request, 1 + below(6));
      else if (kind === 1) ids = await streamed(request);
      else ids = await whole(request);
      if (ids === null) {
        left += 1;
        continue;
      }
      assert.deepEqual(ids, alone[index], `request ${index}`);
      compared += 1;
    }
  };
  await Promise.all(Array.from({ length: 12 }, worker));
  await untilIdle();
  const preemptions = await gauge("hadal_preemptions_total");
  const hits = await gauge("hadal_prefix_hit_tokens_total");
  console.log(`${compared} answers compared, ${left} streams left, ${preemptions} preemptions, ${hits} tokens cached`);
  assert.ok(compared > 100 && left > 20);
  assert.ok(preemptions > 0, "the cache is small enough for preemptions");
  assert.ok(hits > 0, "prefixes were found");
}
