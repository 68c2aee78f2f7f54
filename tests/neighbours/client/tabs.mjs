// What holds of the printed client in eight tabs of a browser. The one argument is JSON: the name of the fact, where the server
// and the pages are, and which parts of the platform the browser lacks.
import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { createServer, request as pass } from "node:http";
import { chromium } from "playwright-core";

const { fact, url, figures, pages, lacks, email, password } = JSON.parse(process.argv[2]);
const TABS = 8;

const PAGE = `<!doctype html><title>tab</title><script type="module">
  import { createClient } from "./portcullis.js";
  const store = {
    get: (key) => localStorage.getItem(key),
    set: (key, value) => localStorage.setItem(key, value),
    remove: (key) => localStorage.removeItem(key),
  };
  const mode = new URLSearchParams(location.search).get("mode");
  // Through the server of the page, which can be late.
  const baseUrl = "${fact}" === "a_late_cookie_ends_no_session" ? "" : "${url}";
  window.client = createClient({ baseUrl, mode, store });
  window.reasons = [];
  client.onSessionEnd(({ reason }) => reasons.push(reason));
</script>`;

/** By how much the answer to a reauthentication is late. */
const LATE_MS = 1500;

const site = createServer((request, response) => {
  if (request.url.startsWith("/v1/")) {
    const { method, headers } = request;
    const passed = pass(url + request.url, { method, headers }, (answer) => {
      const give = () => (response.writeHead(answer.statusCode, answer.headers), answer.pipe(response));
      setTimeout(give, request.url === "/v1/reauthenticate" ? LATE_MS : 0);
    });
    return request.pipe(passed);
  }
  const isModule = request.url === "/portcullis.js";
  response.setHeader("content-type", isModule ? "text/javascript" : "text/html");
  if (isModule) createReadStream(new URL("portcullis.js", import.meta.url)).pipe(response);
  else response.end(PAGE);
  return undefined;
});
await new Promise((resolve) => site.listen(new URL(pages).port, "127.0.0.1", resolve));

/** Returns how often the server has recorded an event since its start. */
const recorded = async (event) => {
  const text = await (await fetch(`${figures}/metrics`)).text();
  const line = text.split("\n").find((line) => line.startsWith(`portcullis_events_total{event="${event}"}`));
  return line === undefined ? 0 : Number(line.split(" ").pop());
};

const open = async (context, mode) => {
  const page = await context.newPage();
  await page.addInitScript((lacks) => {
    if (lacks.includes("locks")) delete Navigator.prototype.locks;
    if (lacks.includes("channel")) delete window.BroadcastChannel;
    window.held = () => [Boolean(navigator.locks), typeof BroadcastChannel];
  }, lacks);
  await page.goto(`${pages}/?mode=${mode}`);
  await page.waitForFunction(() => window.client);
  return page;
};

/** Opens all tabs, and signs in in the first one. */
const openAll = async (context, mode) => {
  const tabs = await Promise.all(Array.from({ length: TABS }, () => open(context, mode)));
  const expected = [!lacks.includes("locks"), lacks.includes("channel") ? "undefined" : "function"];
  assert.deepEqual(await tabs[0].evaluate(() => held()), expected);
  await tabs[0].evaluate((body) => client.logIn(body), { email, password });
  return tabs;
};

const all = (tabs, work, argument) => Promise.all(tabs.map((tab) => tab.evaluate(work, argument)));
const me = () => client.getMe().then((me) => me.email);
const isEmail = (answers) => assert.deepEqual(answers, answers.map(() => email));
const reasons = (tab) => tab.evaluate(() => window.reasons);
/** Lets the time of the tabs pass, and not that of the server. */
const later = (tabs, ms) =>
  all(tabs, (ms) => {
    const now = (window.realNow ??= Date.now);
    Date.now = () => now.call(Date) + ms;
  }, ms);

const facts = {
  async one_refresh_is_shared(context) {
    const tabs = await openAll(context, "token");
    isEmail(await all(tabs, me));
    const first = await recorded("refresh.rotated");
    for (let round = 1; round <= 3; round += 1) {
      await later(tabs, round * 3_600_000);
      isEmail(await all(tabs, me));
      assert.equal((await recorded("refresh.rotated")) - first, round, `round ${round}`);
    }
    assert.equal(await recorded("refresh.reused"), 0);
  },

  async one_refresh_is_shared_after_a_refusal(context) {
    const tabs = await openAll(context, "token");
    isEmail(await all(tabs, me));
    // The tabs believe that the token is good, and the server refuses it.
    await all(tabs, () => {
      const frozen = Date.now();
      Date.now = () => frozen;
    });
    const refused = async () => {
      const token = await tabs[0].evaluate(() => client.accessToken());
      const answer = await fetch(`${url}/v1/me`, { headers: { authorization: `Bearer ${token}` } });
      return answer.status === 401;
    };
    while (!(await refused())) await new Promise((resolve) => setTimeout(resolve, 100));
    const before = await recorded("refresh.rotated");
    isEmail(await all(tabs, me));
    assert.equal((await recorded("refresh.rotated")) - before, 1);
    assert.equal(await recorded("refresh.reused"), 0);
  },

  async a_tab_that_is_killed_loses_no_session(context) {
    const [first, ...others] = await openAll(context, "token");
    isEmail(await all(others, me));
    await later([first, ...others], 3_600_000);
    const before = await recorded("refresh.rotated");
    const killed = new Promise((resolve, reject) => {
      let isFirst = true;
      first.route("**/v1/refresh", async (route) => {
        if (!isFirst) return;
        isFirst = false;
        // The server has renewed, and nobody has read its answer.
        await route.fetch().catch(reject);
        await first.close();
        resolve();
      });
    });
    first.evaluate(me).catch(() => {});
    await killed;
    isEmail(await all(others, me));
    assert.equal((await recorded("refresh.rotated")) - before, 1);
    // A tab that is closed may let its request go after all, and without locks a slow machine may let several tabs ask.
    const replayed = await recorded("refresh.replayed");
    assert.ok(replayed >= 1 && replayed <= others.length + 1, `${replayed} repeated`);
    assert.equal(await recorded("refresh.reused"), 0);
    // And they go on from there.
    await later(others, 7_200_000);
    isEmail(await all(others, me));
    assert.equal((await recorded("refresh.rotated")) - before, 2);
    assert.deepEqual(await Promise.all(others.map(reasons)), others.map(() => []));
  },

  async a_log_out_is_everywhere(context) {
    for (const mode of ["token", "cookie"]) {
      const tabs = await openAll(context, mode);
      isEmail(await all(tabs, me));
      if (mode === "cookie") isEmail(await all(tabs, () => client.updateMe({ name: "Ada" }).then((me) => me.email)));
      await tabs[3].evaluate(() => client.logOut());
      await Promise.all(tabs.map((tab) => tab.waitForFunction(() => reasons.length > 0)));
      assert.deepEqual(await Promise.all(tabs.map(reasons)), tabs.map(() => ["logged_out"]), mode);
      assert.deepEqual(await all(tabs, () => client.currentSession()), tabs.map(() => null));
      const codes = await all(tabs, () => client.getMe().catch((error) => error.code));
      assert.deepEqual(codes, tabs.map(() => "unauthenticated"));
      // Signed in again, they all are.
      await tabs[5].evaluate((body) => client.logIn(body), { email, password });
      isEmail(await all(tabs, me));
      await Promise.all(tabs.map((tab) => tab.close()));
    }
    assert.equal(await recorded("refresh.reused"), 0);
  },

  async somebody_else_is_never_written_to(context) {
    for (const mode of ["token", "cookie"]) {
      const [first, second, ...others] = await openAll(context, mode);
      await Promise.all(others.map((tab) => tab.close()));
      isEmail(await all([first, second], me));
      const eve = `eve-${mode}@near.test`;
      const save = () => client.updateMe({ name: "Ada" }).then((me) => me.email, (error) => error.code);
      await second.evaluate((body) => client.signUp(body), { email: eve, password });
      await first.waitForFunction(() => reasons.length > 0);
      for (let presses = 0; presses < 2; presses += 1) assert.equal(await first.evaluate(save), "session_replaced", mode);
      assert.deepEqual(await reasons(first), ["replaced"]);
      assert.equal(await second.evaluate(() => client.getMe().then((me) => me.name)), null, mode);
      assert.equal(await first.evaluate(() => client.currentSession().then((session) => session.user.email)), eve);
      assert.equal(await first.evaluate(save), eve);

      // Saves that go on meanwhile are of the user of before, or refused.
      const codes = first.evaluate(async () => {
        const found = [];
        for (let saves = 0; saves < 40; saves += 1) {
          found.push(await client.updateMe({ name: "Eve" }).then((me) => me.email, (error) => error.code));
        }
        return found;
      });
      await second.evaluate((body) => client.logIn(body), { email, password });
      assert.deepEqual((await codes).filter((code) => code !== eve && code !== "session_replaced"), [], mode);
      assert.notEqual(await second.evaluate(() => client.getMe().then((me) => me.name)), "Eve", mode);
      await second.evaluate(() => client.logOut());
      await Promise.all([first, second].map((tab) => tab.close()));
    }
  },

  async a_late_cookie_ends_no_session(context) {
    const tabs = await openAll(context, "cookie");
    isEmail(await all(tabs, me));
    const proved = tabs[0].evaluate((password) => client.reauthenticate({ password }), password);
    await new Promise((resolve) => setTimeout(resolve, LATE_MS / 2));
    // The server has replaced the cookie by now.
    isEmail(await all(tabs, me));
    await proved;
    isEmail(await all(tabs, () => client.updateMe({ name: "Ada" }).then((me) => me.email)));
    assert.deepEqual(await Promise.all(tabs.map(reasons)), tabs.map(() => []));
    assert.deepEqual(await tabs[0].evaluate(() => Object.keys(localStorage)), []);
  },

  async a_reload_needs_no_password(context) {
    const [tab, ...others] = await openAll(context, "token");
    await Promise.all(others.map((tab) => tab.close()));
    await tab.reload();
    await tab.waitForFunction(() => window.client);
    assert.equal((await tab.evaluate(() => client.currentSession())).user.email, email);
    assert.equal(await tab.evaluate(() => Object.values(localStorage).join().includes("eyJ")), false);
  },
};

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const watchdog = setTimeout(() => browser.close().finally(() => process.exit(2)), 100_000);
try {
  await facts[fact](await browser.newContext());
} finally {
  clearTimeout(watchdog);
  await browser.close();
  site.close();
}
