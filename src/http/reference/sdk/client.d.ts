/** What a client is made with. */
export interface ClientOptions<M extends Mode> {
  /**
   * The public origin of the server, with its path if it has one, such as `https://login.example.org` or `/auth`. Without one
   * the client asks the origin of its page.
   */
  baseUrl?: string;
  /** `cookie` for pages of the same site as the server; `token` for apps, programs, and pages elsewhere. */
  mode: M;
  /**
   * Where token mode keeps the refresh token, the device token, and the half of a sign-up, and an id of the store. By default in
   * memory, for this client alone. Clients whose stores have the same id, such as tabs with one `localStorage`, share the
   * session; others are apart.
   */
  store?: Store;
  /** In place of the `fetch` of the platform. */
  fetch?: (url: string, init: any) => Promise<Response>;
}

/**
 * A place for a few texts, such as the secure store of a phone. Keys have letters, digits, `.`, `-` and `_`; values are shorter
 * than 2,048 bytes.
 */
export interface Store {
  get(key: string): Promise<string | null | undefined> | string | null | undefined;
  set(key: string, value: string): Promise<unknown> | unknown;
  remove(key: string): Promise<unknown> | unknown;
}

/** Options of one call. */
export interface CallOptions {
  /** Ends the call, and rejects it with the reason of the signal. */
  signal?: AbortSignal;
  /** Further headers. With an `authorization` of one's own, such as an API key, the client adds no credential. */
  headers?: Record<string, string>;
}

/** What a log-in gives in each mode. */
export type Opened<M extends Mode> = M extends "cookie" ? CookieSession : TokenPair;

/**
 * Why a session has ended: by a log-out; because its time is over or the server has ended it; because its refresh
 * token was used twice, by a copy or after a lost answer; because somebody else has logged in in another tab; with its account.
 */
export type SessionEndReason = "logged_out" | "expired" | "reused" | "replaced" | "deleted";

/** A session has ended. */
export interface SessionEnd {
  reason: SessionEndReason;
}

/** A body without its mode, which the client adds, and without what the other mode alone takes. */
export type BodyOf<B, M extends Mode> = Omit<B, M extends "cookie" ? "mode" | "audience" : "mode" | "remember">;

/** A client of a server. */
export type Client<M extends Mode> = CommonClient<M> & (M extends "cookie" ? CookieClient : TokenClient);

/** What a client has in both modes. */
export interface CommonClient<M extends Mode> extends Operations<M> {
  readonly mode: M;
  /**
   * The session and its user, or null if nobody is signed in. For the start of a page or an app, and after a session was
   * `replaced`: until then every call for the user of before rejects with `session_replaced`.
   */
  currentSession(options?: CallOptions): Promise<CurrentSession | null>;
  /**
   * Ends this session here, on the server, and in every tab; with the scope `others` or `global` those elsewhere. In token mode
   * the tokens are removed from the store even if the server cannot be reached, which the rejection says.
   */
  logOut(body?: LogOut, options?: CallOptions): Promise<void>;
  /** Calls `listener` when the session ends, here or in another tab. Returns a function that takes the listener away. */
  onSessionEnd(listener: (end: SessionEnd) => void): () => void;
  /** Calls `listener` when another tab has logged in while nobody was signed in here. Returns a function that takes it away. */
  onSessionStart(listener: () => void): () => void;
  /** Takes every listener away, and hears the other tabs no more. */
  close(): void;
}

/** What a client has in token mode alone. */
export interface TokenClient {
  /** Renews the access token before its time, so that it says what has changed, such as a role. */
  refresh(options?: CallOptions): Promise<void>;
  /**
   * An access token for requests to other programs, or nothing if nobody is signed in. With `stale`, which a program has refused,
   * it is a newer one.
   */
  accessToken(stale?: string, options?: CallOptions): Promise<string | undefined>;
}

/** What a client has in cookie mode alone. */
export interface CookieClient {
  /** The CSRF token, for requests of one's own with the cookie, or nothing if nobody is signed in. */
  csrfToken(options?: CallOptions): Promise<string | undefined>;
}

/**
 * Makes a client. All calls share one refresh, and so do all clients with the same store: by Web Locks, else by a lease in
 * `localStorage`, else within the process. No request is repeated but with a new credential after a refusal (once in token
 * mode, twice in cookie mode), and a refresh whose answer is lost.
 */
export function createClient<M extends Mode>(options: ClientOptions<M>): Client<M>;

/** A request that the server has refused. Decide by `code`. */
export class PortcullisProblem extends Error {
  /** The status of the answer. */
  readonly status: number;
  /** What has happened; never changed. */
  readonly code: ProblemCode;
  /** The page that explains the code. */
  readonly type?: string;
  /** The code in words. */
  readonly title: string;
  /** What to do next, for people. */
  readonly detail?: string;
  /** After how many seconds to try again. */
  readonly retryAfter?: number;
  /** The id of the request, as in the log of the server. */
  readonly requestId?: string;
  /** The faults of fields, with `unprocessable` and `weak_password`. */
  readonly fields?: FieldError[];
  /** Why a password is weak, with `weak_password`. */
  readonly reasons?: string[];
}

/** No answer came. Whether the server has acted is not known. */
export class PortcullisNetworkError extends Error {
  readonly cause: unknown;
}

/** The store of the client has failed. What the server had to do may be done: after a log-in the session is there. */
export class PortcullisStoreError extends Error {
  readonly cause: unknown;
}
