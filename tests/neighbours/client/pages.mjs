// The code of the pages, in Chromium, as their readers would use it. The one argument is JSON: the name of the page, where the
// server is and its mails, and at which origin the application is.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createServer, request as send } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";

const { fact, url, origin, outbox, email, password } = JSON.parse(process.argv[2]);

/** Returns the link to `page` in the mail to `address`, once that is there. */
const link = async (page, address) => {
  for (;;) {
    for (const file of readdirSync(outbox).filter((name) => name.endsWith(".eml"))) {
      const text = readFileSync(join(outbox, file), "utf8").replaceAll("=\r\n", "").replaceAll("=3D", "=");
      const found = text.match(new RegExp(`${origin}/${page}#[\\w&=.%@-]+`))?.[0];
      if (found && text.includes(`To: ${address}`)) return found;
    }
    await sleep(50);
  }
};

/** Serves an application at the origin, and sends what begins with /v1 on to the server, as a proxy does. */
const serve = (files) => {
  const site = createServer((request, response) => {
    if (request.url.startsWith("/v1/")) {
      const { method, headers } = request;
      const passed = send(url + request.url, { method, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      return request.pipe(passed);
    }
    const file = files[request.url.split(/[?#]/)[0]];
    response.setHeader("content-type", file ? "text/javascript" : "text/html");
    return response.end(file ?? "<!doctype html><title>application</title>");
  });
  return new Promise((resolve) => site.listen(new URL(origin).port, "127.0.0.1", () => resolve(site)));
};

const facts = {
  async plain_fetch(browser) {
    const site = await serve({ "/auth.js": readFileSync(new URL("auth.js", import.meta.url)) });
    const context = await browser.newContext();
    let page = await context.newPage();
    await page.goto(origin);
    /** Calls a function of the page's module. Gives its result, or the code of its problem. */
    const call = (name, ...args) =>
      page.evaluate(
        async ([name, args]) => {
          const auth = await import("/auth.js");
          return auth[name](...args).catch((problem) => problem.code ?? String(problem));
        },
        [name, args],
      );
    const address = "grace@near.test";
    assert.deepEqual(await call("signUp", address, password, "Grace"), { status: "verification_sent" });
    assert.equal(await call("signUp", address, "short"), "weak_password");
    assert.equal(await call("logIn", address, password), "invalid_credentials");
    await page.goto(await link("verify", address));
    assert.equal(await call("verify"), undefined);
    assert.equal(new URL(page.url()).hash, "");

    assert.equal(await call("session"), null);
    assert.equal((await call("logIn", address, password)).name, "Grace");
    assert.equal((await call("rename", "Grace H.")).name, "Grace H.");
    await page.reload();
    assert.equal((await call("session")).name, "Grace H.");
    // Another tab replaces the cookie.
    const other = await context.newPage();
    await other.goto(origin);
    await other.evaluate(async (password) => {
      const auth = await import("/auth.js");
      await auth.session();
      await auth.proveAgain(password);
    }, password);
    assert.equal((await call("rename", "Grace M.")).name, "Grace M.");
    const next = "another rather long phrase";
    assert.equal(await call("changePassword", password, next), undefined);
    assert.equal((await call("rename", "Grace B.")).name, "Grace B.");
    assert.equal(await call("logOutElsewhere"), undefined);
    assert.equal(await call("logOut"), undefined);
    assert.equal(await call("session"), null);
    assert.equal(await call("rename", "Nobody"), "unauthenticated");

    assert.deepEqual(await call("forgot", address), { status: "reset_sent" });
    await page.goto(await link("reset", address));
    const token = await page.evaluate(async () => (await import("/auth.js")).tokenOfLink());
    assert.equal(await call("setPassword", token, "short"), "weak_password");
    assert.equal(await call("setPassword", token, "a third and quite long phrase"), undefined);
    assert.equal((await call("logIn", address, "a third and quite long phrase", true)).email, address);

    // The link of a sign-up in another browser proves the address alone.
    await call("signUp", "hopper@near.test", password);
    const sent = await link("verify", "hopper@near.test");
    page = await (await browser.newContext()).newPage();
    await page.goto(sent);
    const step = await call("verify");
    assert.equal(step.next, "set_password");
    assert.equal(await call("setPassword", step.token, password), undefined);
    assert.equal((await call("logIn", "hopper@near.test", password)).name, null);

    // Somebody else logs in in another tab: no press of the button writes to their account.
    const beside = await page.context().newPage();
    await beside.goto(origin);
    await beside.evaluate(async ([address, phrase]) => (await import("/auth.js")).logIn(address, phrase), [
      address,
      "a third and quite long phrase",
    ]);
    for (let presses = 0; presses < 2; presses += 1) assert.equal(await call("rename", "Hopper"), "csrf_rejected");
    assert.equal((await call("session")).name, "Grace B.");
    assert.equal((await call("rename", "Grace")).email, address);
    site.close();
    site.closeAllConnections();
  },

  async react(browser) {
    const context = await browser.newContext();
    const page = await context.newPage();
    const faults = [];
    page.on("pageerror", (error) => faults.push(String(error)));
    await page.goto(origin);
    const fill = async (password) => {
      await page.getByLabel("E-mail address").fill(email);
      await page.getByLabel("Password").fill(password);
      await page.getByRole("button", { name: "Log in" }).click();
    };
    await fill("a wrong long password");
    await page.getByText("The address or the password is wrong.").waitFor();
    await fill(password);
    await page.getByRole("heading", { name: `Hello ${email}` }).waitFor();
    await page.reload();
    await page.getByRole("heading", { name: `Hello ${email}` }).waitFor();

    const other = await context.newPage();
    await other.goto(origin);
    await other.getByRole("button", { name: "Log out" }).click();
    await other.getByRole("button", { name: "Log in" }).waitFor();
    await page.getByRole("button", { name: "Log in" }).waitFor();

    // A log-in in one tab is one in the other.
    await fill(password);
    await other.getByRole("heading", { name: `Hello ${email}` }).waitFor();
    // Without a network nobody is told that they are signed out.
    await context.route("**/v1/**", (route) => route.abort());
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByText("There is no network.").waitFor();
    await page.getByRole("heading", { name: `Hello ${email}` }).waitFor();
    await page.reload();
    await page.getByText("There is no network.").waitFor();
    assert.equal(await page.getByRole("button", { name: "Log in" }).count(), 0);
    await context.unroute("**/v1/**");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("heading", { name: `Hello ${email}` }).waitFor();
    // Somebody else logs in in another tab: it is they whom all tabs show.
    const eve = "eve@near.test";
    await other.evaluate(async ([email, password]) => {
      const { client } = await import("/src/auth.tsx");
      await client.signUp({ email, password });
    }, [eve, password]);
    await page.getByRole("heading", { name: `Hello ${eve}` }).waitFor();
    assert.deepEqual(faults, []);
  },
};

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const watchdog = setTimeout(() => browser.close().finally(() => process.exit(2)), 100_000);
try {
  await facts[fact](browser);
} finally {
  clearTimeout(watchdog);
  await browser.close();
}
