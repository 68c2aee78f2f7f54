// Uses of the printed types, which must compile, and misuses, which must not.
import { PortcullisNetworkError, PortcullisProblem, PortcullisStoreError, createClient } from "./portcullis.js";
import type { Client, CookieSession, CurrentSession, Mode, NextStep, ProblemCode, Refusals, SessionEndReason, TokenPair } from "./portcullis.js";

const page = createClient({ mode: "cookie" });
const app: Client<"token"> = createClient({
  baseUrl: "https://login.example.org",
  mode: "token",
  store: { get: async () => null, set: () => undefined, remove: (key) => key.length },
  fetch: (url, init) => fetch(url, init),
});

export async function uses(): Promise<void> {
  const opened: CookieSession = await page.logIn({ email: "ada@example.org", password: "…", remember: true });
  const pair: TokenPair = await app.logIn({ email: "ada@example.org", password: "…", audience: "admin" });
  const text: string = opened.csrf_token + pair.refresh_token;
  const session: CurrentSession | null = await page.currentSession();
  const plan: unknown = session?.user.app_metadata?.["plan"];
  const next: NextStep | undefined = await app.verifyEmail({ token: text });
  const found = await page.getSession({ optional: "" });
  const name: string | null = found.session === null ? null : found.session.network;
  await app.updateMe({ locale: null, user_metadata: { theme: "dark" } }, { signal: AbortSignal.timeout(1000) });
  await app.endSession("id");
  await app.listUsers({ status: "pending", limit: 10 }, { headers: { authorization: "Bearer pck_…" } });
  await app.logOut({ scope: "others" });
  const token: string | undefined = await app.accessToken();
  const figures: string = await app.getMetrics();
  const reason = (why: SessionEndReason): ProblemCode => (why === "reused" ? "refresh_token_reused" : "session_expired");
  page.onSessionEnd(({ reason: why }) => reason(why))();
  page.onSessionStart(() => undefined)();
  const csrf: string | undefined = await page.csrfToken();
  await app.refresh();
  const either = async <M extends Mode>(client: Client<M>): Promise<string> => (await client.getMe()).email;
  await Promise.all([either(page), either(app)]);
  try {
    await app.changePassword({ current_password: "…", new_password: "…" });
  } catch (error) {
    if (error instanceof PortcullisNetworkError || error instanceof PortcullisStoreError) return void error.cause;
    if (!(error instanceof PortcullisProblem)) throw error;
    const code = error.code;
    const own: Refusals["changePassword"] | undefined = code === "weak_password" ? code : undefined;
    const after: number | undefined = error.retryAfter;
    void [error.fields?.map(({ pointer, message }) => pointer + message), own, after, plan, next, name, token, figures, csrf];
  }
}

export async function misuses(): Promise<void> {
  // @ts-expect-error: there is no such mode.
  createClient({ mode: "magic" });
  // @ts-expect-error: a client says its mode by itself.
  await page.logIn({ email: "a@b.org", password: "…", mode: "token" });
  // @ts-expect-error: a member is missing.
  await page.logIn({ email: "a@b.org" });
  // @ts-expect-error: there is no such member.
  await page.updateMe({ nmae: "Ada" });
  // @ts-expect-error: a page gets no tokens.
  (await page.logIn({ email: "a@b.org", password: "…" })).refresh_token;
  // @ts-expect-error: the path has a part.
  await app.endSession();
  // @ts-expect-error: there is no such code.
  const code: ProblemCode = "wrong_password";
  // @ts-expect-error: a page has no access token.
  await page.accessToken();
  // @ts-expect-error: a page has nothing to refresh.
  await page.refresh();
  // @ts-expect-error: an app has no CSRF token.
  await app.csrfToken();
  // @ts-expect-error: cookies have no audience.
  await page.logIn({ email: "a@b.org", password: "…", audience: "admin" });
  // @ts-expect-error: an app is remembered by its store.
  await app.logIn({ email: "a@b.org", password: "…", remember: true });
  // @ts-expect-error: the refresh token is the client's own business.
  await app.refresh({ refresh_token: code });
}
