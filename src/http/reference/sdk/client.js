/**
 * A request that the server has refused, as a problem document (RFC 9457). Decide by `code`, which never changes. An answer
 * that is no problem of the server, such as the page of a proxy, has the code `unexpected_answer`.
 */
export class PortcullisProblem extends Error {
  constructor(status, problem, headers) {
    super(problem.detail ?? problem.title ?? problem.code);
    this.name = "PortcullisProblem";
    this.status = status;
    this.code = problem.code;
    this.type = problem.type;
    this.title = problem.title;
    this.detail = problem.detail;
    // In seconds. The header may be a proxy's, and a date.
    const after = problem.retry_after ?? Number(headers.get("retry-after") ?? NaN);
    this.retryAfter = Number.isFinite(after) ? after : undefined;
    this.requestId = problem.request_id ?? headers.get("x-request-id") ?? undefined;
    this.fields = problem.errors;
    this.reasons = problem.reasons;
  }
}

/** No answer came: there is no network, or the connection was lost. Whether the server has acted is not known. */
export class PortcullisNetworkError extends Error {
  constructor(cause) {
    super(`no answer: ${cause?.message ?? cause}`);
    this.name = "PortcullisNetworkError";
    this.cause = cause;
  }
}

/** The store of the client has thrown: it is full, locked or blocked. What the server had to do may be done. */
export class PortcullisStoreError extends Error {
  constructor(cause) {
    super(`the store has failed: ${cause?.message ?? cause}`);
    this.name = "PortcullisStoreError";
    this.cause = cause;
  }
}

/** An access token is renewed this long before it expires, or in the last fifth of its life if that is shorter. */
const MARGIN_MS = 10_000;
/** How long to wait for each answer to a refresh. */
const REFRESH_ANSWER_MS = 5_000;
/** How long after the first try a refresh may be repeated: the server repeats its answer for 10 s (`refresh.grace_secs`). */
const REFRESH_REPEAT_MS = 8_000;
/** How long to wait for the access token of another tab: one that has just refreshed; one that may be there. */
const TAB_ANSWER_MS = 3_000;
const TAB_LOOKUP_MS = 200;
/** How long the half of a sign-up that has been used is sent again: as long as the server gives the same answer. */
const HALF_MS = 3_600_000;
/** How often a request is repeated whose cookie was replaced: another tab may replace it again before the first repeat. */
const COOKIE_REPEATS = 2;
/** The calls that replace or remove the cookie of the session: until one is answered, the browser has a dead one. */
const REPLACING = new Set([
  "logIn",
  "signUp",
  "reauthenticate",
  "changePassword",
  "confirmEmailChange",
  "logOut",
  "deleteMe",
  "deleteMeByPost",
]);
/** The problems of a refresh after which the session is over, and what `onSessionEnd` is told. */
const ENDS = {
  invalid_refresh_token: "expired",
  refresh_token_reused: "reused",
  session_expired: "expired",
};

/** Returns the refusal of a call of a user in whose place somebody else is signed in. It is not sent. */
function isSomebodyElse() {
  const detail = "Somebody else has logged in in this browser. Reload the page to go on.";
  const problem = { code: "session_replaced", title: "Session replaced", detail };
  return new PortcullisProblem(401, problem, { get: () => null });
}

/** Returns a part of a path. Some would lead to another operation: an empty one, and those that URLs resolve. */
function pathPart(operation, name, value) {
  const text = String(value ?? "");
  if (["", ".", ".."].includes(text)) throw new TypeError(`${operation.id}: \`${name}\` is ${JSON.stringify(text)}`);
  return encodeURIComponent(text);
}

/** Returns `store` with its failures as errors of their own. */
function guarded(store) {
  const guard = (method) => async (...args) => {
    try {
      return await store[method](...args);
    } catch (error) {
      throw new PortcullisStoreError(error);
    }
  };
  return { get: guard("get"), set: guard("set"), remove: guard("remove") };
}

/** Rejects as soon as `signal` is aborted. Other callers of the same work still get its result. */
function unlessAborted(work, signal) {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason ?? new Error("aborted"));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Reads an answer: its body, or why it is none. */
function read(response, text, operation) {
  const { status, headers } = response;
  const isJson = /\bjson\b/.test(headers.get("content-type") ?? "");
  let body;
  try {
    body = isJson && text ? JSON.parse(text) : undefined;
  } catch {
    // A body that was cut, or that is none of the server.
  }
  if (status >= 400 && typeof body?.code === "string") throw new PortcullisProblem(status, body, headers);
  const isExpected = operation.statuses.includes(status) && (body !== undefined || !text || operation.text);
  if (!isExpected) {
    const detail = `The answer is of status ${status} and none of the server. Is the base URL right, and is a proxy before it?`;
    const problem = { code: "unexpected_answer", title: "Unexpected answer", detail };
    throw new PortcullisProblem(status, problem, headers);
  }
  return { status, headers, body: body ?? (text && operation.text ? text : undefined) };
}

/** Makes a client. */
export function createClient({ baseUrl = "", mode, store: ownStore, fetch: ownFetch } = {}) {
  if (mode !== "cookie" && mode !== "token") throw new TypeError('createClient: `mode` is "cookie" or "token"');
  const base = baseUrl.replace(/\/+$/, "");
  const isToken = mode === "token";
  const store = guarded(ownStore ?? memoryStore());
  // Cookies are those of the browser, and a store may be that of several tabs.
  const isShared = !isToken || ownStore !== undefined;
  // Secure stores of phones take these characters alone.
  const name = ["portcullis", mode, base.replace(/[^A-Za-z0-9]+/g, "_")].filter(Boolean).join(".");
  const keys = { session: `${name}.session`, device: `${name}.device`, signUp: `${name}.signup`, id: `${name}.id` };
  /** The listeners to the end of the session, and to a log-in in another tab. */
  const listeners = new Set();
  const starts = new Set();
  const waiting = new Set();

  /**
   * What this tab knows of the session: ids of the session and its user; in cookie mode the CSRF token, in token mode the
   * access token, when it is to be renewed, and the number of the refresh that it came from.
   */
  let now = {};
  /** The user for whom the program calls: whom it has heard of last. An end of the session changes nothing about that. */
  let owner;
  /** Whether somebody else is signed in by now, and the program has not asked who it is. */
  let isReplaced = false;
  /** How many log-ins of other tabs were heard of. */
  let openings = 0;
  /** A record that the store could not keep. */
  let unkept;
  let renewal;
  let lookup;

  /** What the work of one client at a time is named after. */
  let turn = isShared ? name : Symbol(name);
  const replacements = Symbol(name);
  let channel = isToken ? undefined : openChannel(turn, hear);
  /** The id of the store, as last read, and whether another client has that store. */
  let storeId;
  let hasPeers = false;
  let isClosed = false;

  /**
   * Reads which store this is: clients share a session, a lock and a channel if their stores have the same id, and nobody else
   * knows the name of that channel. A store without an id gets one.
   */
  async function identify() {
    if (!isToken || ownStore === undefined) return turn;
    let id;
    try {
      id = (await store.get(keys.id)) || (await exclusively(keys.id, true, nameStore));
    } catch {
      // Until the store can be read, this client is alone.
      id = storeId ?? randomName();
    }
    if (id !== storeId) {
      storeId = id;
      turn = `${name}.${id}`;
      channel?.close();
      channel = isClosed ? undefined : openChannel(turn, hear);
      tell({ kind: "hello" });
    }
    return turn;
  }

  async function nameStore() {
    const id = (await store.get(keys.id)) || storeId || randomName();
    await store.set(keys.id, id);
    return id;
  }

  /** Runs `work` while no client with the same store does. */
  const alone = async (work) => exclusively(await identify(), isShared, work);

  function tell(message) {
    try {
      channel?.post(message);
    } catch {
      // A closed channel, or a full storage: the other tabs find out by their next request.
    }
  }

  /** Hears another tab. */
  function hear(message) {
    hasPeers = true;
    const isSameUser = message.user !== undefined && message.user === now.user;
    if (message.kind === "end" && (isToken ? message.session === now.session || (message.all && isSameUser) : isSameUser)) {
      forget(message.reason);
    } else if (message.kind === "opened") {
      openings += 1;
      const isNews = now.user === undefined;
      if (owner !== undefined && message.user !== owner) forget("replaced");
      if (isNews) notify(starts, {});
    } else if (message.kind === "access") {
      for (const heard of waiting) heard(message);
      // A token with a fresh proof is kept as long as it lasts.
      if (isSameUser && (!isUsable(now.access) || message.session !== now.session)) adopt(message);
    } else if (message.kind === "ask" && message.session === now.session && isUsable(now.access)) {
      tellAccess();
    } else if (message.kind === "hello") {
      tell({ kind: "here" });
    }
  }

  /** Calls listeners, but not at once: one that throws must not stop what goes on here. */
  function notify(those, event) {
    for (const listener of those) Promise.resolve(event).then(listener);
  }

  const adopt = ({ session, user, number, access }) => {
    now = { session, user, number, access };
    if (!isReplaced) owner ??= user;
  };

  /** Remembers for whom the program calls from here on. */
  const bind = (user) => {
    owner = user;
    isReplaced = false;
  };

  /** Lets those with the same store have the access token, if there are any. */
  const tellAccess = () => {
    if (!hasPeers) return;
    const { session, user, number, access } = now;
    tell({ kind: "access", session, user, number, access });
  };

  const isUsable = (access) => access !== undefined && Date.now() < access.renewAt;

  const accessOf = (answer, asked) => {
    const life = answer.expires_in * 1000;
    return { token: answer.access_token, renewAt: asked + life - Math.min(MARGIN_MS, life / 5) };
  };

  /** Forgets the session, and says so if there was one. */
  function forget(reason) {
    const had = now.user !== undefined || now.session !== undefined;
    now = {};
    if (reason === "replaced") isReplaced = true;
    if (had) notify(listeners, { reason });
  }

  /** Ends the session here and in every tab. */
  async function end(reason, all = false) {
    const { session, user } = now;
    try {
      const kept = isToken ? await load() : undefined;
      unkept = undefined;
      if (kept && (session === undefined || kept.session === session)) await store.remove(keys.session);
      tell({ kind: "end", reason, all, session: session ?? kept?.session, user: user ?? kept?.user });
    } finally {
      forget(reason);
    }
  }

  /** Sends one request. */
  async function send(operation, path, { headers = {}, body, signal } = {}) {
    const init = { method: operation.method, headers, credentials: isToken ? "omit" : "include", signal };
    // The server sends nobody elsewhere, so whoever does must not get the password or the token.
    init.redirect = "error";
    if (body !== undefined) {
      init.body = operation.lines ? body : JSON.stringify(body);
      init.headers = { "content-type": operation.lines ? "application/x-ndjson" : "application/json", ...headers };
    }
    let response;
    let text;
    try {
      response = await (ownFetch ?? globalThis.fetch)(base + path, init);
      text = await response.text();
    } catch (error) {
      if (signal?.aborted) throw signal.reason ?? error;
      throw new PortcullisNetworkError(error);
    }
    return read(response, text, operation);
  }

  // Token mode.

  /** Returns the record of the session in the store: its ids, its refresh token, and how often that was renewed. */
  async function load() {
    if (unkept) {
      const kept = unkept;
      await write(kept).catch(() => {});
      return kept;
    }
    // A store that cannot be read, such as that of a locked phone, ends no session.
    const text = await store.get(keys.session);
    try {
      const kept = JSON.parse(text ?? "null");
      const isWhole = [kept.session, kept.user, kept.refresh].every((part) => typeof part === "string");
      return isWhole ? kept : undefined;
    } catch {
      return undefined;
    }
  }

  async function write(kept) {
    unkept = kept;
    await store.set(keys.session, JSON.stringify(kept));
    unkept = undefined;
  }

  /** Keeps a new pair of tokens, and lets the other tabs have the access token. */
  async function keep(pair, asked, number, isLogIn = false) {
    const kept = { session: pair.session_id, user: pair.user.id, number, refresh: pair.refresh_token };
    if (isLogIn) bind(kept.user);
    adopt({ ...kept, access: accessOf(pair, asked) });
    try {
      await write(kept);
    } catch (error) {
      // After a log-in nothing is lost. Else the one before is spent: the new one is kept here meanwhile.
      if (isLogIn) {
        unkept = undefined;
        now = {};
        throw error;
      }
    }
    tellAccess();
  }

  /** Asks the other tabs for the access token of `kept`. */
  function askTabs(kept, patience) {
    if (!channel) return undefined;
    return new Promise((resolve) => {
      const heard = (message) => {
        if (message?.session !== kept.session || message.number !== kept.number) return;
        finish(message);
      };
      const finish = (message) => {
        waiting.delete(heard);
        clearTimeout(timer);
        resolve(message);
      };
      const timer = setTimeout(finish, patience);
      waiting.add(heard);
      tell({ kind: "ask", session: kept.session });
    });
  }

  /** Exchanges the refresh token of `kept`. One whose answer is lost is sent again: the server gives the same answer. */
  async function exchange(kept) {
    const begun = Date.now();
    for (let pause = 200; ; pause *= 2) {
      const controller = new AbortController();
      const timer = setTimeout(() => controller.abort(new Error("the answer took too long")), REFRESH_ANSWER_MS);
      const asked = Date.now();
      try {
        const body = { refresh_token: kept.refresh };
        const { body: pair } = await send(OPERATIONS.refresh, OPERATIONS.refresh.path, { body, signal: controller.signal });
        return await keep(pair, asked, kept.number + 1);
      } catch (error) {
        const isLost = !(error instanceof PortcullisProblem) || (error.code === "unexpected_answer" && error.status >= 500);
        const lost = controller.signal.aborted ? new PortcullisNetworkError(error) : error;
        if (!isLost || Date.now() + pause - begun > REFRESH_REPEAT_MS) throw lost;
      } finally {
        clearTimeout(timer);
      }
      await sleep(pause);
    }
  }

  /** Renews the access token `stale` while no other tab does. */
  async function renewAlone(stale) {
    for (let tries = 0; ; tries += 1) {
      if (isUsable(now.access) && now.access.token !== stale) return now.access;
      const kept = await load();
      if (!kept) {
        forget("logged_out");
        return undefined;
      }
      // After that the program alone may ask, and it asks for anybody.
      if (!isReplaced && owner !== undefined && kept.user !== owner) {
        // Somebody else has logged in in another tab: nothing of this user may be done in their name.
        forget("replaced");
        return undefined;
      }
      const isNews = kept.session !== now.session || kept.number !== now.number;
      if (isNews) {
        const heard = await askTabs(kept, now.session === undefined ? TAB_LOOKUP_MS : TAB_ANSWER_MS);
        if (heard && isUsable(heard.access) && heard.access.token !== stale) {
          adopt(heard);
          return now.access;
        }
      }
      try {
        await exchange(kept);
        return now.access;
      } catch (error) {
        const reason = ENDS[error.code];
        if (!reason) throw error;
        // A tab without the lock may have been faster.
        const later = await load();
        if (tries === 0 && later && later.refresh !== kept.refresh) continue;
        adopt(kept);
        await end(reason);
        throw error;
      }
    }
  }

  /**
   * Returns an access token other than `stale`, or nothing if nobody is signed in. All that ask at once share one refresh, and
   * whoever asks for a token of before gets the one of now.
   */
  function renew(stale, isHeld) {
    if (isUsable(now.access) && now.access.token !== stale) return Promise.resolve(now.access);
    if (isHeld) return renewAlone(stale);
    renewal ??= alone(() => renewAlone(stale)).finally(() => {
      renewal = undefined;
    });
    return renewal;
  }

  // Cookie mode.

  /** Asks who is signed in, and for the CSRF token. All that ask at once share one request, unless it must be a new one. */
  function askSession(isNew) {
    if (lookup && !isNew) return lookup;
    const path = `${OPERATIONS.getSession.path}?optional`;
    const asked = send(OPERATIONS.getSession, path)
      .then(({ body }) => body)
      .finally(() => {
        if (lookup === asked) lookup = undefined;
      });
    lookup = asked;
    return asked;
  }

  /**
   * Finds out who is signed in. `isAsked` says that the program asks, and so gets to know whoever it is.
   *
   * An answer that does not fit what is known is no verdict yet: it may be one to the cookie of before, while that is replaced.
   */
  async function findSession(isAsked = false) {
    let body;
    for (const isLast of [false, true]) {
      const before = openings;
      body = await askSession(isLast);
      const user = body.user?.id;
      const isNews = now.user === undefined ? user === undefined && (await isReplacing(name)) : user !== now.user;
      if (before === openings && !isNews) break;
      if (!isLast && !(await untilReplaced(name)) && user === undefined) await sleep(LATE_MS);
    }
    learnSession(body, isAsked);
    return body.session ? body : null;
  }

  function learnSession(body, isAsked) {
    const user = body.user?.id;
    const isOther = user !== undefined && user !== owner;
    if (now.user !== undefined && user !== now.user) forget(user === undefined ? "expired" : "replaced");
    if (isAsked) {
      bind(user);
    } else if (owner !== undefined && isOther) {
      isReplaced = true;
      // A log-in needs the CSRF token of the cookie, whose ever that is.
      now = isToken ? {} : { csrf: body.csrf_token };
      return;
    }
    owner ??= user;
    if (user !== undefined && !isToken) now = { session: body.session?.id ?? body.session_id, user, csrf: body.csrf_token };
  }

  // Both.

  /** What the client adds to bodies. */
  const complete = {
    logIn: (body) => ({ ...body, mode }),
    signUp: (body) => ({ ...body, mode }),
    verifyEmail: withHalf,
    resendVerification: withHalf,
  };

  /** Adds the half of the sign-up that this client keeps. In cookie mode the browser keeps it. */
  async function withHalf(body, operation) {
    if (!isToken || body?.signup_token !== undefined) return body;
    const [half, until] = ((await store.get(keys.signUp)) ?? "").split("~");
    const left = Number(until) - Date.now();
    // One that has been used is for the same link alone.
    const isGood = until === undefined ? half !== "" : operation.id === "verifyEmail" && left > 0 && left <= HALF_MS;
    return isGood ? { ...body, signup_token: half } : body;
  }

  /** Marks the half of a sign-up as used. It is kept for a while: a page is loaded again, an app hears of its link twice. */
  async function spendHalf(half) {
    try {
      if ((await store.get(keys.signUp)) === half) await store.set(keys.signUp, `${half}~${Date.now() + HALF_MS}`);
    } catch {
      // The address is verified all the same.
    }
  }

  /** Learns from an answer what later requests need. */
  async function learn(operation, { status, headers, body }, { asked, args, sentBody, isHeld, takesSession }) {
    if (isToken) {
      const device = headers.get("x-device-token");
      if (device) await store.set(keys.device, device);
      if (body?.signup_token) await store.set(keys.signUp, body.signup_token);
      if (operation.id === "verifyEmail" && status === 204) await spendHalf(sentBody?.signup_token);
      if (body?.access_token && body.refresh_token) {
        await (isHeld ? keep(body, asked, 0) : alone(() => keep(body, asked, 0, true)));
        tell({ kind: "opened", user: now.user });
      } else if (body?.access_token) {
        now.access = accessOf(body, asked);
      }
    } else {
      const csrf = headers.get("x-csrf-token");
      if (csrf) now.csrf = csrf;
      if (body?.csrf_token && body.user && body.session_id) {
        // After a log-in the session of before was replaced on purpose.
        now = {};
        learnSession(body, true);
        tell({ kind: "opened", user: now.user });
      } else if (body?.csrf_token && !body.user) {
        now.csrf = body.csrf_token;
      }
    }
    if (!takesSession) return;
    if (operation.id === "getSession") {
      if (isToken) bind(body.user?.id);
      else learnSession(body, true);
    }
    if (operation.id === "getMe") {
      if (owner !== undefined && body.id !== owner) {
        forget("replaced");
        throw isSomebodyElse();
      }
      now.user ??= body.id;
      owner ??= body.id;
    }
    const scope = operation.id === "logOut" ? (args[0]?.scope ?? "local") : "others";
    if (scope !== "others") await end("logged_out", scope === "global");
    if (operation.id === "deleteMe" || operation.id === "deleteMeByPost") await end("deleted", true);
    if (operation.id === "endSession" && args[0] === now.session) await end("logged_out");
  }

  /** Calls an operation: its parameters of the path, its body, its query, and options, in this order. */
  async function call(operation, args, isHeld = false) {
    const rest = [...args];
    let path = operation.path.replace(/\{(\w+)\}/g, (_, part) => pathPart(operation, part, rest.shift()));
    let body = operation.body ? rest.shift() : undefined;
    const query = operation.query ? rest.shift() : undefined;
    const { signal, headers: own = {} } = rest.shift() ?? {};
    const pairs = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== false);
    if (pairs.length > 0) path += `?${pairs.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&")}`;
    const takesSession = operation.credential !== "none" && !Object.keys(own).some((key) => /^authorization$/i.test(key));
    const isAsking = operation.id === "getSession";
    const isUnsafe = operation.method !== "GET";

    /** Refuses to go on if somebody else is signed in than when the program has called. */
    let user = owner;
    const stayWithUser = () => {
      if (!takesSession || isAsking) return;
      if (isReplaced || (user !== undefined && owner !== undefined && user !== owner)) throw isSomebodyElse();
      user ??= owner;
    };
    stayWithUser();
    if (complete[operation.id]) body = await complete[operation.id](body, operation);

    const once = async () => {
      const headers = { ...own };
      const sent = { access: undefined, csrf: undefined };
      if (isToken && operation.device) {
        const device = await store.get(keys.device);
        if (device) headers["x-device-token"] = device;
      }
      if (isToken && takesSession) {
        sent.access = await unlessAborted(access(operation, isHeld, isAsking), signal);
        if (sent.access) headers.authorization = `Bearer ${sent.access.token}`;
      }
      if (!isToken && isUnsafe && takesSession && now.csrf === undefined) await unlessAborted(findSession(), signal);
      stayWithUser();
      if (!isToken && isUnsafe) {
        sent.csrf = now.csrf;
        if (sent.csrf) headers["x-csrf-token"] = sent.csrf;
      }
      const work = async () => {
        const asked = Date.now();
        const answer = await send(operation, path, { headers, body, signal });
        await learn(operation, answer, { asked, args, sentBody: body, isHeld, takesSession });
        return answer.body;
      };
      try {
        return { value: await (!isToken && REPLACING.has(operation.id) ? asReplacement(name, work) : work()) };
      } catch (problem) {
        return { problem, sent };
      }
    };

    for (let repeats = isToken ? 1 : COOKIE_REPEATS; ; repeats -= 1) {
      const done = await once();
      if (!done.problem) return done.value;
      if (repeats === 0 || !isOfCredential(done.problem)) throw done.problem;
      const isAgain = await unlessAborted(mayRepeat(done, { takesSession, isHeld }), signal);
      stayWithUser();
      if (!isAgain) throw done.problem;
    }
  }

  /** Returns the access token for a request, if anybody is signed in. */
  async function access(operation, isHeld, isAsking) {
    if (isUsable(now.access)) return now.access;
    if (now.session === undefined && !(await load())) return undefined;
    try {
      const found = await renew(now.access?.token, isHeld);
      // The program asks who it is.
      return found === undefined && isAsking && isReplaced ? await renew(undefined, isHeld) : found;
    } catch (error) {
      if (operation.credential === "optional" && ENDS[error.code]) return undefined;
      throw error;
    }
  }

  /** Says whether a refused request was refused for its credential. */
  const isOfCredential = ({ status, code }) =>
    (status === 401 && code === "unauthenticated") || code === "session_expired" || code === "csrf_rejected";

  /** Says whether a request with a refused credential may be sent once more: nothing was done, and there is a new credential. */
  async function mayRepeat({ problem, sent }, { takesSession, isHeld }) {
    const isOver = problem.code === "unauthenticated" && takesSession;
    if (isToken) return isOver && sent.access !== undefined && (await renew(sent.access.token, isHeld)) !== undefined;
    if (!isOver && problem.code === "unauthenticated") return false;
    // Of two tabs one may have replaced the cookie, or somebody else may have logged in.
    const isThere = (await findSession()) !== null;
    return isThere && (isOver || (problem.code === "csrf_rejected" && now.csrf !== sent.csrf));
  }

  const client = { mode };
  for (const operation of Object.values(OPERATIONS)) client[operation.id] = (...args) => call(operation, args);
  if (isToken) {
    // These give the next pair of tokens: until it is kept, no tab may renew the one of before.
    for (const id of ["changePassword", "confirmEmailChange"]) {
      client[id] = (...args) => alone(() => call(OPERATIONS[id], args, true));
    }
  } else {
    // Each of these needs the cookie that the one before it gets.
    for (const id of ["reauthenticate", "changePassword", "confirmEmailChange"]) {
      client[id] = (...args) => unlessAborted(inTurn(replacements, () => call(OPERATIONS[id], args)), args[1]?.signal);
    }
  }

  /** Renews the access token before its time, so that it says what has changed, such as a role. Token mode alone. */
  client.refresh = async (options = {}) => {
    if (!isToken) throw new TypeError("refresh: a client of cookie mode has no access token");
    await client.accessToken(now.access?.token, options);
  };

  /** Ends this session here, on the server and in every tab; with the scope `others` or `global` those elsewhere. */
  client.logOut = async (body = {}, options = {}) => {
    const scope = body.scope ?? "local";
    if (isToken && scope === "local" && body.refresh_token === undefined) return alone(endByToken(options));
    try {
      await call(OPERATIONS.logOut, [body, options]);
    } catch (problem) {
      // Nobody is signed in any more, which is what was asked for.
      if (problem.code !== "unauthenticated" || scope !== "local") throw problem;
      await end("logged_out");
    }
    return undefined;
  };

  /** Ends the session by its refresh token, which does it also after the access token has expired. */
  const endByToken = (options) => async () => {
    const kept = await load();
    if (kept && (isReplaced || (owner !== undefined && kept.user !== owner))) {
      forget("replaced");
      throw isSomebodyElse();
    }
    if (kept) adopt(kept);
    try {
      const body = { refresh_token: kept?.refresh };
      if (kept) await send(OPERATIONS.logOut, OPERATIONS.logOut.path, { body, signal: options.signal });
    } catch (problem) {
      if (problem.code !== "invalid_refresh_token") throw problem;
    } finally {
      // Without a network too: whoever gets this device next finds no token on it.
      await end("logged_out");
    }
  };

  /** Returns the session and its user, or null. */
  client.currentSession = async (options = {}) => {
    if (!isToken) return unlessAborted(findSession(true), options.signal);
    const before = now.access?.token;
    let found = await client.getSession({ optional: true }, options);
    if (found.session === null && now.access !== undefined && now.access.token === before) {
      // The access token is refused although it has not expired: the server has ended it.
      await unlessAborted(renew(before).catch(ended), options.signal);
      found = await client.getSession({ optional: true }, options);
    }
    return found.session === null ? null : found;
  };

  const ended = (error) => {
    if (!ENDS[error.code]) throw error;
  };

  /** Returns an access token for another program's interface, or one that is newer than `stale`. Token mode alone. */
  client.accessToken = async (stale, options = {}) => {
    if (!isToken) throw new TypeError("accessToken: a client of cookie mode has none");
    if (isReplaced) throw isSomebodyElse();
    if (isUsable(now.access) && now.access.token !== stale) return now.access.token;
    if (now.session === undefined && !(await load())) return undefined;
    const user = owner;
    const found = await unlessAborted(renew(stale ?? now.access?.token), options.signal);
    if (isReplaced || (user !== undefined && owner !== undefined && user !== owner)) throw isSomebodyElse();
    return found?.token;
  };

  /** Returns the CSRF token for a request of one's own, or nothing if nobody is signed in. Cookie mode alone. */
  client.csrfToken = async (options = {}) => {
    if (isToken) throw new TypeError("csrfToken: a client of token mode needs none");
    if (now.csrf === undefined && !isReplaced) await unlessAborted(findSession(), options.signal);
    if (isReplaced) throw isSomebodyElse();
    return now.csrf;
  };

  /** Calls `listener` when the session ends, here or in another tab. Returns a function that takes it away. */
  client.onSessionEnd = (listener) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };

  /** Calls `listener` when another tab has logged in while nobody was signed in here. Returns a function that takes it away. */
  client.onSessionStart = (listener) => {
    starts.add(listener);
    return () => void starts.delete(listener);
  };

  /** Stops to listen to the other tabs. */
  client.close = () => {
    isClosed = true;
    listeners.clear();
    starts.clear();
    channel?.close();
    channel = undefined;
  };

  // To hear the other tabs from the start.
  if (isToken) void identify();

  return client;
}
