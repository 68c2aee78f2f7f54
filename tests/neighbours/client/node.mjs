// What holds of the printed client in Node. The one argument is JSON: the name of the fact, and where the server is.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { PortcullisNetworkError, PortcullisProblem, PortcullisStoreError, createClient } from "./portcullis.js";

const { fact, url, figures, outbox, email, password } = JSON.parse(process.argv[2]);
const REFRESHED = "refresh.rotated";

/** Returns how often the server has recorded an event since its start. */
const recorded = async (event) => {
  const text = await (await fetch(`${figures}/metrics`)).text();
  const line = text.split("\n").find((line) => line.startsWith(`portcullis_events_total{event="${event}"}`));
  return line === undefined ? 0 : Number(line.split(" ").pop());
};

/** A store that several clients can share, with the keys that the secure store of a phone takes. */
const memory = (kept = new Map()) => ({
  kept,
  get: async (key) => (assert.match(key, /^[\w.-]+$/), kept.get(key)),
  set: async (key, value) => (assert.match(key, /^[\w.-]+$/), assert.ok(value.length < 2048), kept.set(key, value)),
  remove: async (key) => kept.delete(key),
});

/** A `fetch` that notes every request, and does with each what `change` says. */
const noting = (change = (send) => send()) => {
  const requests = [];
  const noted = (target, init) => {
    requests.push({ method: init.method, path: target.slice(url.length), headers: init.headers, body: init.body });
    return change(() => fetch(target, init), requests.at(-1), init);
  };
  return Object.assign(noted, {
    requests,
    count: (path) => requests.filter((request) => request.path === path).length,
  });
};

/** A `fetch` with the cookies and the origin of a browser, which gets the answer to a request after `late` alone. */
const browser = (jar = new Map(), late = () => {}) =>
  noting((_send, request, init) => {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const headers = { ...init.headers, origin: url, ...(cookie && { cookie }) };
    return fetch(url + request.path, { ...init, headers }).then(async (answer) => {
      await late(request);
      for (const line of answer.headers.getSetCookie()) {
        const [pair, ...attributes] = line.split("; ");
        const [name, value] = pair.split("=");
        if (attributes.includes("Max-Age=0")) jar.delete(name);
        else jar.set(name, value);
      }
      return answer;
    });
  });

const tokens = (options = {}) => createClient({ baseUrl: url, mode: "token", store: memory(), ...options });
const refused = (code) => (error) => error instanceof PortcullisProblem && error.code === code;
const ends = (client) => {
  const reasons = [];
  client.onSessionEnd(({ reason }) => reasons.push(reason));
  return reasons;
};

/** Lets the time of the client pass, and not that of the server. */
const realNow = Date.now;
const later = (ms) => {
  Date.now = () => realNow() + ms;
};

const facts = {
  async one_refresh_is_shared() {
    const sent = noting();
    const client = tokens({ fetch: sent });
    assert.equal(await client.currentSession(), null);
    const opened = await client.logIn({ email, password });
    assert.equal(opened.user.email, email);
    later(3_600_000);
    const before = await recorded(REFRESHED);
    const answers = await Promise.all(Array.from({ length: 20 }, () => client.getMe()));
    assert.ok(answers.every((me) => me.email === email));
    assert.equal(sent.count("/v1/refresh"), 1);
    assert.equal((await recorded(REFRESHED)) - before, 1);
    assert.equal((await client.currentSession()).user.email, email);
    assert.equal(sent.count("/v1/refresh"), 1);
  },

  async a_late_refusal_of_the_token_of_before_renews_nothing() {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    const sent = noting(async (send, request) => {
      const answer = await send();
      if (request.path === "/v1/devices") await held;
      return answer;
    });
    const client = tokens({ fetch: sent });
    const { expires_in } = await client.logIn({ email, password });
    // The server has ended the token, and the client does not know it yet.
    Date.now = (() => (frozen) => () => frozen)()(realNow());
    await sleep(expires_in * 1000 + 100);
    const late = client.listDevices();
    assert.equal((await client.getMe()).email, email);
    assert.equal(sent.count("/v1/refresh"), 1);
    release();
    assert.ok(Array.isArray((await late).items));
    assert.equal(sent.count("/v1/refresh"), 1);
    assert.equal(sent.count("/v1/devices"), 2);
  },

  async a_lost_answer_is_asked_for_again() {
    let lost = 0;
    const sent = noting(async (send, request) => {
      const answer = await send();
      if (request.path !== "/v1/refresh" || (lost += 1) > 2) return answer;
      throw new TypeError("the connection was lost");
    });
    const store = memory();
    const client = tokens({ fetch: sent, store });
    await client.logIn({ email, password });
    later(3_600_000);
    assert.equal((await client.getMe()).email, email);
    assert.equal(sent.count("/v1/refresh"), 3);
    // Another process goes on with what the store has.
    const again = tokens({ store: memory(store.kept) });
    assert.equal((await again.getMe()).email, email);
    assert.equal(await recorded("refresh.reused"), 0);
  },

  async without_a_network_the_session_stays() {
    let isOff = false;
    const sent = noting((send) => (isOff ? Promise.reject(new TypeError("no network")) : send()));
    const client = tokens({ fetch: sent });
    const reasons = ends(client);
    await client.logIn({ email, password });
    later(3_600_000);
    isOff = true;
    const asked = client.getMe();
    // Nobody waits for the last try.
    setTimeout(() => later(3_700_000), 300);
    await assert.rejects(asked, PortcullisNetworkError);
    isOff = false;
    assert.equal((await client.getMe()).email, email);
    assert.deepEqual(reasons, []);

    isOff = true;
    await assert.rejects(client.logOut(), PortcullisNetworkError);
    assert.deepEqual(reasons, ["logged_out"]);
    isOff = false;
    assert.equal(await client.currentSession(), null);
  },

  async refusals_are_problems_with_types() {
    const client = tokens();
    await assert.rejects(client.logIn({ email, password: "a wrong long password" }), (error) => {
      assert.ok(error instanceof PortcullisProblem && error instanceof Error);
      assert.deepEqual([error.status, error.code, error.title], [401, "invalid_credentials", "Invalid credentials"]);
      assert.match(error.requestId, /^[0-9a-f]{24}$/);
      assert.match(error.type, /\/problems\/invalid-credentials$/);
      assert.equal(error.message, error.detail);
      return true;
    });
    await assert.rejects(client.logIn({ email }), (error) => {
      assert.equal(error.code, "unprocessable");
      assert.equal(error.fields[0].pointer, "/password");
      return true;
    });
    await assert.rejects(client.getMe(), refused("unauthenticated"));
    for (let tries = 0; ; tries += 1) {
      assert.ok(tries < 10, "the name is never locked");
      const guess = `wrong password number ${tries}`;
      const error = await client.logIn({ email: "locked@near.test", password: guess }).catch((error) => error);
      if (error.code !== "too_many_attempts") continue;
      assert.ok(error.retryAfter > 0, `${error.retryAfter}`);
      break;
    }

    // Answers of others.
    for (const [status, type, text] of [
      [200, "text/html", "<!doctype html><title>An application</title>"],
      [502, "text/html", "Bad gateway"],
      [200, "application/json", "{\"cut"],
      [500, "application/json", "{}"],
    ]) {
      const answer = async () => new Response(text, { status, headers: { "content-type": type } });
      await assert.rejects(tokens({ fetch: answer }).getHealth(), refused("unexpected_answer"), text);
    }
    const nobody = createClient({ baseUrl: "http://127.0.0.1:1", mode: "token" });
    await assert.rejects(nobody.getHealth(), (error) => error instanceof PortcullisNetworkError && error.cause instanceof Error);

    const reason = new Error("no more");
    await assert.rejects(client.getHealth({ signal: AbortSignal.abort(reason) }), (error) => error === reason);
    const slow = tokens({ fetch: () => new Promise(() => {}) });
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 20);
    const stuck = new Promise((_, reject) => controller.signal.addEventListener("abort", () => reject(reason)));
    await assert.rejects(Promise.race([slow.getHealth({ signal: controller.signal }), stuck]), (error) => error === reason);
    assert.throws(() => createClient({ baseUrl: url }), /mode/);
  },

  async a_call_that_is_given_up_leaves_the_refresh_to_the_others() {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    const sent = noting(async (send, request) => {
      if (request.path === "/v1/refresh") await held;
      return send();
    });
    const client = tokens({ fetch: sent });
    await client.logIn({ email, password });
    later(3_600_000);
    const controller = new AbortController();
    const given = client.getMe({ signal: controller.signal });
    const other = client.getMe();
    await sleep(20);
    controller.abort();
    await assert.rejects(given, { name: "AbortError" });
    release();
    assert.equal((await other).email, email);
    assert.equal(sent.count("/v1/refresh"), 1);
  },

  async a_device_is_remembered_over_log_outs() {
    const sent = noting();
    const client = tokens({ fetch: sent });
    const reasons = ends(client);
    await client.logIn({ email, password });
    const access = await client.accessToken();
    assert.equal(sent.requests.at(-1).headers["x-device-token"], undefined);
    const devices = async () => (await client.listDevices()).items.reduce((sum, of) => sum + of.count, 0);
    const known = await devices();
    await client.logOut();
    assert.deepEqual(reasons, ["logged_out"]);
    assert.equal(await client.accessToken(), undefined);
    const answer = await fetch(`${url}/v1/me`, { headers: { authorization: `Bearer ${access}` } });
    assert.equal(answer.status, 401);
    await client.logOut();
    await client.logIn({ email, password });
    assert.ok(sent.requests.at(-1).headers["x-device-token"].length > 20);
    assert.equal(await devices(), known);
  },

  async a_session_that_was_ended_elsewhere_is_over_here() {
    const [client, other] = [tokens(), tokens()];
    const reasons = ends(client);
    await client.logIn({ email, password });
    await other.logIn({ email, password });
    // From another machine, which tells nobody here.
    other.close();
    await other.logOut({ scope: "global" });
    assert.equal(await client.currentSession(), null);
    assert.deepEqual(reasons, ["expired"]);

    // A copy of the refresh token was used before.
    const store = memory();
    const third = tokens({ store });
    const thirds = ends(third);
    const { refresh_token } = await third.logIn({ email, password });
    const refresh = async (refresh_token, agent) => {
      const headers = { "content-type": "application/json", "user-agent": agent };
      const answer = await fetch(`${url}/v1/refresh`, { method: "POST", headers, body: JSON.stringify({ refresh_token }) });
      return (await answer.json()).refresh_token;
    };
    await refresh(await refresh(refresh_token, "thief"), "thief");
    later(3_600_000);
    await assert.rejects(third.getMe(), refused("refresh_token_reused"));
    assert.deepEqual(thirds, ["reused"]);
    assert.equal(await third.currentSession(), null);
  },

  async a_new_password_goes_on_with_the_new_pair() {
    const kept = new Map();
    const [client, beside] = [tokens({ store: memory(kept) }), tokens({ store: memory(kept) })];
    const reasons = [ends(client), ends(beside)];
    const address = "grace@near.test";
    await client.signUp({ email: address, password });
    assert.equal((await beside.getMe()).email, address);
    await client.reauthenticate({ password });
    await client.updateMe({ new_device_mail: false });
    const next = "another rather long phrase";
    await client.changePassword({ current_password: password, new_password: next });
    assert.equal((await client.getMe()).email, address);
    assert.equal((await beside.getMe()).email, address);
    assert.deepEqual(reasons, [[], []]);
    await client.reauthenticate({ password: next });
    await client.deleteMe({ password: next });
    await sleep(50);
    assert.deepEqual(reasons, [["deleted"], ["deleted"]]);
    assert.equal(await beside.currentSession(), null);
    for (const one of [client, beside]) one.close();
  },

  async somebody_else_takes_over_no_request() {
    const kept = new Map();
    const [client, beside] = [tokens({ store: memory(kept) }), tokens({ store: memory(kept) })];
    const reasons = ends(beside);
    await client.logIn({ email, password });
    assert.equal((await beside.getMe()).email, email);
    // As if it had not heard of the other one.
    beside.close();
    beside.onSessionEnd(({ reason }) => reasons.push(reason));
    await client.signUp({ email: "eve@near.test", password });
    later(3_600_000);
    await assert.rejects(beside.updateMe({ name: "Ada" }), refused("session_replaced"));
    assert.deepEqual(reasons, ["replaced"]);
    assert.equal((await client.getMe()).name, null);
    client.close();
  },

  async a_store_that_fails_loses_no_session() {
    let isFull = false;
    const store = memory();
    const failing = { ...store, set: (...args) => (isFull ? Promise.reject(new Error("full")) : store.set(...args)) };
    const client = tokens({ store: failing });
    await client.logIn({ email, password });
    isFull = true;
    for (const ms of [3_600_000, 7_200_000]) {
      later(ms);
      assert.equal((await client.getMe()).email, email);
    }
    isFull = false;
    later(10_800_000);
    assert.equal((await client.getMe()).email, email);
    assert.equal((await tokens({ store: memory(store.kept) }).getMe()).email, email);
    isFull = true;
    const isFailed = (error) => error instanceof PortcullisStoreError && error.cause.message === "full" && /full/.test(error);
    await assert.rejects(tokens({ store: failing }).logIn({ email, password }), isFailed);
    // What is no record of a session is none.
    const odd = memory(new Map(store.kept));
    for (const key of odd.kept.keys()) if (key.endsWith(".session")) odd.kept.set(key, "{}");
    assert.equal(await tokens({ store: odd }).currentSession(), null);
    assert.equal(await recorded("refresh.reused"), 0);
  },

  async a_store_that_cannot_be_read_ends_no_session() {
    let isLocked = false;
    const store = memory();
    const locked = { ...store, get: (key) => (isLocked ? Promise.reject(new Error("locked")) : store.get(key)) };
    const client = tokens({ store: locked });
    const reasons = ends(client);
    await client.logIn({ email, password });
    later(3_600_000);
    isLocked = true;
    await assert.rejects(client.getMe(), PortcullisStoreError);
    isLocked = false;
    assert.equal((await client.getMe()).email, email);
    assert.deepEqual(reasons, []);
  },

  async a_page_with_a_cookie_keeps_its_csrf_token() {
    const jar = new Map();
    const sent = browser(jar);
    const page = () => createClient({ baseUrl: url, mode: "cookie", fetch: sent });
    const client = page();
    const reasons = ends(client);
    assert.equal(await client.currentSession(), null);
    assert.equal((await client.logIn({ email, password })).user.email, email);
    assert.equal((await client.updateMe({ name: "Ada" })).name, "Ada");

    // After a reload.
    const again = page();
    assert.equal((await again.updateMe({ name: "Ada L." })).name, "Ada L.");
    assert.match(await again.csrfToken(), /^[\w-]{43}$/);

    // The other one has replaced the cookie, and so the CSRF token.
    await again.reauthenticate({ password });
    const before = sent.requests.length;
    assert.equal((await client.updateMe({ name: "Ada" })).name, "Ada");
    assert.equal(sent.requests.length - before, 3, "refused, asked, repeated");
    assert.deepEqual(reasons, []);

    // Somebody else logs in: nothing is done in their name.
    const other = createClient({ baseUrl: url, mode: "cookie", fetch: sent });
    const { user } = await other.signUp({ email: "mallory@near.test", password });
    await assert.rejects(client.updateMe({ name: "Ada" }), refused("session_replaced"));
    assert.equal((await other.getMe()).name, null);
    assert.deepEqual(reasons, ["replaced"]);
    assert.equal((await client.currentSession()).user.id, user.id);

    const lasts = ends(other);
    await other.logOut();
    await sleep(50);
    assert.deepEqual([lasts, reasons], [["logged_out"], ["replaced", "logged_out"]]);
    assert.equal(await client.currentSession(), null);
    assert.ok(jar.has("portcullis_device"));
    await client.logOut();
    for (const one of [client, again, other]) one.close();
  },

  async the_end_of_a_cookie_is_heard_of_with_the_next_request() {
    const jar = new Map();
    const sent = browser(jar);
    const client = createClient({ baseUrl: url, mode: "cookie", fetch: sent });
    const reasons = ends(client);
    await client.logIn({ email, password });
    const [[name, value]] = [...jar].filter(([name]) => name.endsWith("session"));
    const csrf = await client.csrfToken();
    const headers = { origin: url, cookie: `${name}=${value}`, "x-csrf-token": csrf };
    assert.equal((await fetch(`${url}/v1/logout`, { method: "POST", headers })).status, 204);
    await assert.rejects(client.getMe(), refused("unauthenticated"));
    assert.deepEqual(reasons, ["expired"]);
    assert.ok((await client.logIn({ email, password })).csrf_token);
    client.close();
  },

  async nothing_is_done_for_somebody_else_until_the_program_has_asked() {
    const Channel = globalThis.BroadcastChannel;
    for (const mode of ["cookie", "token"]) {
      for (const isHeard of [true, false]) {
        // Without a channel a tab finds out by itself.
        globalThis.BroadcastChannel = isHeard ? Channel : undefined;
        const told = `${mode} ${isHeard}`;
        const eve = `eve-${mode}-${isHeard}@near.test`;
        const [jar, kept] = [new Map(), new Map()];
        const sent = mode === "cookie" ? browser(jar) : noting();
        const make = (fetch) => createClient({ baseUrl: url, mode, fetch, store: memory(kept) });
        const beside = mode === "cookie" ? browser(jar) : noting();
        const [client, other] = [make(sent), make(beside)];
        const reasons = ends(client);
        await client.logIn({ email, password });
        await other.signUp({ email: eve, password });
        await sleep(50);
        later(isHeard ? 0 : 3_600_000);
        const save = () => client.updateMe({ name: "Ada" });
        await assert.rejects(save(), refused("session_replaced"), told);
        assert.deepEqual(reasons, ["replaced"], told);

        const before = sent.requests.length;
        await assert.rejects(save(), refused("session_replaced"), told);
        await assert.rejects(client.getMe(), refused("session_replaced"), told);
        await assert.rejects(client.logOut(), refused("session_replaced"), told);
        await assert.rejects(client.logOut({ scope: "global" }), refused("session_replaced"), told);
        await assert.rejects(client[mode === "cookie" ? "csrfToken" : "accessToken"](), refused("session_replaced"), told);
        assert.equal(sent.requests.length, before, told);
        assert.equal((await other.getMe()).name, null, told);

        // A save that has begun before the program has asked is still that of the user of before.
        const [asked, saved] = await Promise.allSettled([client.currentSession(), save()]);
        assert.equal(asked.value.user.email, eve, told);
        assert.equal(saved.reason.code, "session_replaced", told);
        assert.equal((await save()).email, eve, told);
        await client.logIn({ email, password });
        assert.equal((await save()).email, email, told);
        later(0);
        for (const one of [client, other]) one.close();
      }
    }
  },

  async a_page_that_is_not_told_of_somebody_else_shows_nothing_of_theirs() {
    const jar = new Map();
    const client = createClient({ baseUrl: url, mode: "cookie", fetch: browser(jar) });
    const reasons = ends(client);
    await client.logIn({ email, password });
    const body = JSON.stringify({ email: "trudy@near.test", password, mode: "cookie" });
    const headers = { "content-type": "application/json" };
    await browser(jar)(`${url}/v1/signup`, { method: "POST", headers, body });
    await assert.rejects(client.getMe(), refused("session_replaced"));
    assert.deepEqual(reasons, ["replaced"]);
    client.close();
  },

  async a_cookie_that_is_late_ends_no_session() {
    const jar = new Map();
    let arrive = sleep(0);
    const isReplacing = ({ path }) => ["/v1/reauthenticate", "/v1/password/change"].includes(path);
    const sent = browser(jar, (request) => isReplacing(request) && arrive);
    const make = () => createClient({ baseUrl: url, mode: "cookie", fetch: sent });
    const [client, beside] = [make(), make()];
    const reasons = [ends(client), ends(beside)];
    const address = "noether@near.test";
    await client.signUp({ email: address, password });
    assert.equal((await beside.currentSession()).user.email, address);

    const next = "another rather long phrase";
    const calls = [
      () => client.reauthenticate({ password }),
      () => client.changePassword({ current_password: password, new_password: next }),
    ];
    for (const replace of calls) {
      arrive = sleep(700);
      const replaced = replace();
      await sleep(300);
      const reads = [client.getMe(), beside.getMe(), beside.listSessions(), client.updateMe({ name: "Emmy" }), make().currentSession()];
      assert.deepEqual((await Promise.allSettled(reads)).map(({ reason }) => reason), reads.map(() => undefined));
      await replaced;
      assert.deepEqual(reasons, [[], []]);
    }

    // A double click.
    const change = () => client.changePassword({ current_password: next, new_password: password });
    arrive = sleep(200);
    const [first, second] = await Promise.allSettled([change(), change()]);
    assert.equal(first.status, "fulfilled");
    assert.equal(second.reason.code, "invalid_credentials");
    const proofs = [client.reauthenticate({ password }), client.reauthenticate({ password })];
    await Promise.all(proofs);
    assert.equal((await beside.updateMe({ name: null })).email, address);
    assert.deepEqual(reasons, [[], []]);

    // One whose answer is lost ends the session.
    arrive = sleep(100).then(() => Promise.reject(new TypeError("the connection was lost")));
    // The request may be on its way for longer.
    arrive.catch(() => {});
    await assert.rejects(client.reauthenticate({ password }), PortcullisNetworkError);
    await assert.rejects(client.getMe(), refused("unauthenticated"));
    assert.deepEqual(reasons[0], ["expired"]);
    for (const one of [client, beside]) one.close();
  },

  async clients_with_stores_of_their_own_are_apart() {
    const posted = [];
    const Channel = globalThis.BroadcastChannel;
    globalThis.BroadcastChannel = class extends Channel {
      postMessage(message) {
        posted.push(message);
        super.postMessage(message);
      }
    };
    let isHung = false;
    const hanging = noting((send, request) => (isHung && request.path === "/v1/refresh" ? sleep(3000).then(send) : send()));
    const [one, other] = [tokens({ fetch: hanging }), tokens()];
    const reasons = [ends(one), ends(other)];
    const { session_id } = await one.logIn({ email, password });
    await other.signUp({ email: "lovelace@near.test", password });
    await sleep(50);
    assert.equal((await one.getMe()).email, email);
    assert.equal((await other.getMe()).email, "lovelace@near.test");
    // Of the same user too.
    await other.logIn({ email, password });
    await sleep(50);
    assert.equal((await one.currentSession()).session.id, session_id);
    isHung = true;
    const renewed = one.refresh();
    await sleep(20);
    const begun = performance.now();
    await other.logOut();
    assert.ok(performance.now() - begun < 2000, "waits for the refresh of another store");
    await renewed;
    assert.equal((await one.getMe()).email, email);
    assert.deepEqual(reasons, [[], ["logged_out"]]);
    assert.equal(JSON.stringify(posted).includes("eyJ"), false, "an access token for nobody");

    // Those with one store are one.
    const kept = new Map();
    const pair = [tokens({ store: memory(kept) }), tokens({ store: memory(kept) })];
    await sleep(50);
    await pair[0].logIn({ email, password });
    const before = await recorded(REFRESHED);
    assert.equal((await pair[1].getMe()).email, email);
    assert.equal(await recorded(REFRESHED), before);
    assert.ok(JSON.stringify(posted).includes("eyJ"));
    for (const client of [one, other, ...pair]) client.close();
  },

  async a_log_in_beside_is_heard_of() {
    for (const mode of ["cookie", "token"]) {
      const [jar, kept] = [browser(), new Map()];
      const make = () => createClient({ baseUrl: url, mode, store: memory(kept), fetch: mode === "cookie" ? jar : fetch });
      const [client, beside] = [make(), make()];
      let starts = 0;
      client.onSessionStart(() => (starts += 1));
      assert.equal(await client.currentSession(), null);
      await beside.logIn({ email, password });
      await sleep(50);
      assert.equal(starts, 1, mode);
      assert.equal((await client.currentSession()).user.email, email);
      await beside.logIn({ email, password });
      await sleep(50);
      assert.equal(starts, 1, mode);
      for (const one of [client, beside]) one.close();
    }
  },

  async a_part_of_a_path_leads_to_no_other_operation() {
    const sent = noting();
    const client = tokens({ fetch: sent });
    for (const part of ["", ".", "..", undefined, null]) {
      await assert.rejects(client.deleteUser(part), TypeError, String(part));
      await assert.rejects(client.endSession(part), TypeError, String(part));
    }
    assert.equal(sent.requests.length, 0);
    await assert.rejects(client.explainProblem("../v1/me"), refused("not_found"));
    assert.equal(sent.requests[0].path, "/problems/..%2Fv1%2Fme");
  },

  async a_redirect_gets_no_password() {
    const asked = [];
    const thief = createServer((request, response) => response.end(asked.push(request.url)));
    await new Promise((resolve) => thief.listen(0, "127.0.0.1", resolve));
    const proxy = createServer((_, response) => {
      response.writeHead(307, { location: `http://127.0.0.1:${thief.address().port}/` });
      response.end();
    });
    await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const client = tokens({ baseUrl: `http://127.0.0.1:${proxy.address().port}` });
    await assert.rejects(client.logIn({ email, password }), PortcullisNetworkError);
    assert.deepEqual(asked, []);
    for (const server of [thief, proxy]) server.close(), server.closeAllConnections();
  },

  async a_save_while_another_tab_replaces_the_cookie_twice_is_done() {
    const jar = new Map();
    const other = createClient({ baseUrl: url, mode: "cookie", fetch: browser(jar) });
    const inner = browser(jar);
    const saves = () => inner.requests.filter(({ method }) => method === "PATCH").length;
    let replacements = 0;
    const meanwhile = async (target, init) => {
      if (init.method === "PATCH" && replacements > 0) {
        replacements -= 1;
        await other.reauthenticate({ password });
      }
      return inner(target, init);
    };
    const client = createClient({ baseUrl: url, mode: "cookie", fetch: meanwhile });
    await client.logIn({ email, password });
    await other.currentSession();
    replacements = 2;
    assert.equal((await client.updateMe({ name: "Ada" })).name, "Ada");
    assert.equal(saves(), 3);
    // It comes to an end, whatever the other tab does.
    replacements = 99;
    await assert.rejects(client.updateMe({ name: "Eve" }), refused("csrf_rejected"));
    assert.equal(saves(), 6);
    replacements = 0;
    assert.equal((await client.getMe()).name, "Ada");
    other.close();
    client.close();
  },

  async the_half_of_a_sign_up_is_sent_again_for_a_while() {
    const sent = noting();
    const store = memory();
    const client = tokens({ fetch: sent, store });
    const address = "hopper@near.test";
    assert.equal((await client.signUp({ email: address, password })).status, "verification_sent");
    const mail = () => readdirSync(outbox).map((file) => readFileSync(join(outbox, file), "utf8")).join("").replaceAll("=\r\n", "");
    const token = () => mail().replaceAll("=3D", "=").match(/\/verify#token=([\w-]+)/)?.[1];
    while (!token()) await sleep(50);
    const half = () => JSON.parse(sent.requests.at(-1).body).signup_token;
    assert.equal(await client.verifyEmail({ token: token() }), undefined);
    const first = half();
    assert.ok(first.length > 20);
    // The page is loaded again.
    assert.equal(await tokens({ fetch: sent, store }).verifyEmail({ token: token() }), undefined);
    assert.equal(half(), first);
    await client.resendVerification({ email: address });
    assert.equal(half(), undefined);
    later(3_660_000);
    await assert.rejects(client.verifyEmail({ token: token() }), PortcullisProblem);
    assert.equal(half(), undefined);
    later(0);
    assert.equal((await client.logIn({ email: address, password })).user.email_verified, true);
  },
};

await facts[fact]();
