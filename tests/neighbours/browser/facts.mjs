// What holds in a browser. The one argument is JSON: the name of the fact, and the origins.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const { fact, login, app, sibling, evil, email, password } = JSON.parse(process.argv[2]);
const SESSION = "__Host-portcullis_session";
const DEVICE = "__Host-portcullis_device";

// Calls the server as a page does. Returns what the page may read.
const call = (page, method, path, { body, csrf } = {}) =>
  page.evaluate(
    async ([url, method, body, csrf]) => {
      const headers = {};
      if (body) headers["content-type"] = "application/json";
      if (csrf) headers["x-csrf-token"] = csrf;
      try {
        const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body), credentials: "include" });
        const text = await answer.text();
        return {
          status: answer.status,
          json: text ? JSON.parse(text) : null,
          request: answer.headers.get("x-request-id"),
        };
      } catch (error) {
        return { error: String(error) };
      }
    },
    [login + path, method, body, csrf],
  );

const open = async (context, url) => {
  const page = await context.newPage();
  await page.goto(url);
  return page;
};

const logIn = (page) => call(page, "POST", "/v1/login", { body: { email, password, mode: "cookie" } });

const cookie = async (context, name) => (await context.cookies(login)).find((one) => one.name === name);

// Sends a form as a page without scripts does, and returns the answer that the browser shows.
const sendForm = async (page, path, fields, enctype) => {
  const [answer] = await Promise.all([
    page.waitForResponse((answer) => answer.url() === login + path && answer.request().method() === "POST"),
    page.evaluate(
      ([action, fields, enctype]) => {
        const form = document.createElement("form");
        Object.assign(form, { action, method: "post", enctype });
        for (const [name, value] of fields) {
          const input = document.createElement("input");
          Object.assign(input, { name, value });
          form.append(input);
        }
        document.body.append(form);
        form.submit();
      },
      [login + path, fields, enctype],
    ),
  ]);
  return answer;
};

const facts = {
  async stays_logged_in(browser) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    let page = await open(context, app + "/");
    const opened = await logIn(page);
    assert.equal(opened.status, 200, JSON.stringify(opened));
    assert.match(opened.request, /^[0-9a-f]{24}$/);
    const session = await cookie(context, SESSION);
    assert.deepEqual([session.httpOnly, session.secure, session.path], [true, true, "/"]);
    assert.ok(["Lax", "Strict"].includes(session.sameSite), session.sameSite);
    assert.equal(await page.evaluate(() => document.cookie), "");

    await page.reload();
    assert.equal((await call(page, "GET", "/v1/session")).status, 200);
    await page.close();
    page = await open(context, app + "/later");
    assert.equal((await call(page, "GET", "/v1/session")).status, 200);

    const { json } = await call(page, "GET", "/v1/csrf");
    const body = { new_device_mail: false };
    assert.equal((await call(page, "PATCH", "/v1/me", { body })).status, 403);
    assert.equal((await call(page, "PATCH", "/v1/me", { body, csrf: json.csrf_token })).status, 200);
    assert.equal((await call(page, "POST", "/v1/logout", { csrf: json.csrf_token })).status, 204);
    assert.equal((await call(page, "GET", "/v1/session")).status, 401);
    assert.equal(await cookie(context, SESSION), undefined);

    // The device is still known, and logs in again.
    assert.ok(await cookie(context, DEVICE));
    assert.equal((await logIn(page)).status, 200);
  },

  async another_site_is_refused(browser) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const own = await open(context, app + "/");
    assert.equal((await logIn(own)).status, 200);
    const before = await context.cookies(login);

    // Its origin is allowed, so that its page can read why: cookies do not go along from another site.
    const page = await open(context, evil + "/");
    const refused = await logIn(page);
    assert.equal(refused.status, 403, JSON.stringify(refused));
    assert.equal(refused.json.code, "cookie_needs_same_site");
    assert.ok(refused.json.detail.length > 20, refused.json.detail);
    assert.equal((await call(page, "GET", "/v1/session")).status, 401);
    assert.deepEqual(await context.cookies(login), before);
    assert.equal((await call(own, "GET", "/v1/session")).status, 200);

    // The origin of a sibling host is not allowed: its page reads nothing.
    const unknown = await open(context, sibling + "/");
    assert.match((await call(unknown, "GET", "/v1/session")).error, /^TypeError/);
    assert.match((await logIn(unknown)).error, /^TypeError/);
    assert.deepEqual(await context.cookies(login), before);
  },

  async forms_are_refused(browser) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const own = await open(context, app + "/");
    const eve = { email: "eve@evil.test", mode: "cookie", password: "an entirely=different phrase" };
    const signUp = { email: eve.email, password: eve.password };
    assert.equal((await call(own, "POST", "/v1/signup", { body: signUp })).status, 201);
    assert.equal((await logIn(own)).status, 200);
    const before = await context.cookies(login);
    // A form of text/plain is sent as the name of its field, "=", and its value: here both halves of an object.
    const asJson = (body) => {
      const text = JSON.stringify(body);
      const at = text.indexOf("=");
      return [[text.slice(0, at), text.slice(at + 1)]];
    };
    const change = { current_password: password, new_password: eve.password };
    for (const origin of [evil, sibling]) {
      // From another site no cookie goes along.
      const refusals = origin === evil ? [401, 403, 415] : [403, 415];
      for (const [path, body] of [
        ["/v1/logout", undefined],
        ["/v1/password/change", change],
        ["/v1/login", eve],
      ]) {
        for (const enctype of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
          const fields = !body ? [] : enctype === "text/plain" ? asJson(body) : Object.entries(body);
          const page = await open(context, origin + "/");
          const answer = await sendForm(page, path, fields, enctype);
          const what = `${origin} ${path} ${enctype}: ${answer.status()}`;
          assert.ok(refusals.includes(answer.status()), what);
          assert.equal((await answer.allHeaders())["set-cookie"], undefined, what);
          await page.close();
        }
      }
    }
    assert.deepEqual(await context.cookies(login), before);
    assert.equal((await call(own, "GET", "/v1/session")).status, 200);

    // A browser without cookies is logged in to nobody's account.
    const fresh = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await open(fresh, evil + "/");
    const answer = await sendForm(page, "/v1/login", asJson(eve), "text/plain");
    assert.ok([403, 415].includes(answer.status()), `${answer.status()}`);
    assert.deepEqual(await fresh.cookies(login), []);
    // The same account and words from a page of ours do log in.
    assert.equal((await call(own, "POST", "/v1/login", { body: eve })).status, 200);
  },

  async no_javascript(browser) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, javaScriptEnabled: false });
    const page = await context.newPage();
    const faults = [];
    page.on("pageerror", (error) => faults.push(String(error)));
    for (const [path, status] of [
      ["/healthz", 200],
      ["/.well-known/jwks.json", 200],
      ["/v1/session", 401],
      ["/v1/session?optional", 200],
      ["/v1/login", 405],
      ["/nothing", 404],
    ]) {
      const answer = await page.goto(login + path);
      assert.equal(answer.status(), status, path);
      const shown = await page.locator("body").innerText();
      assert.equal(typeof JSON.parse(shown), "object", `${path}: ${shown}`);
    }
    assert.deepEqual(faults, []);
  },
};

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  // The names are nobody's; the sandbox needs rights that containers do not have.
  args: ["--no-sandbox", "--host-resolver-rules=MAP *.test 127.0.0.1"],
});
// Ends the browser, too, where a page never answers.
const watchdog = setTimeout(() => browser.close().finally(() => process.exit(2)), 100_000);
try {
  await facts[fact](browser);
} finally {
  clearTimeout(watchdog);
  await browser.close();
}
