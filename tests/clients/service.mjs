// Where the service is and who may call it: from the environment, as clients_test.cc sets it.
import assert from "node:assert/strict";

function need(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set; run these files by ctest`);
  return value;
}

export const baseUrl = need("HADAL_URL"); // https://host:port
export const token = need("HADAL_TOKEN"); // scope infer
export const apiKey = need("HADAL_API_KEY"); // scope infer
export const metricsToken = need("HADAL_METRICS_TOKEN"); // scope metrics
export const maxAccepted = 8; // --max-running and --max-waiting of clients_test.cc

/** Waits until `condition()` is true; fails after a minute. */
export async function until(what, condition) {
  const end = Date.now() + 60_000;
  while (!(await condition())) {
    assert.ok(Date.now() < end, `${what} within a minute`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A gauge of /metrics. */
export async function gauge(name) {
  const response = await fetch(`${baseUrl}/metrics`, { headers: { authorization: `Bearer ${metricsToken}` } });
  assert.equal(response.status, 200);
  const line = (await response.text()).match(new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+-]+)$`, "m"));
  assert.ok(line, `/metrics has ${name}`);
  return Number(line[1]);
}

/** Waits until the engine has nothing to do. */
export async function untilIdle() {
  await until("the engine is idle", async () => {
    return (await gauge("hadal_requests_running")) + (await gauge("hadal_requests_waiting")) === 0;
  });
}

/** fetch, and the statuses that it got. */
export function watchedFetch() {
  const watched = async (...args) => {
    const response = await fetch(...args);
    watched.statuses.push(response.status);
    return response;
  };
  watched.statuses = [];
  return watched;
}
