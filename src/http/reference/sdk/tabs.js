// What this process and the tabs of a browser need to do one thing at a time, and to tell each other.

/**
 * How long a tab that was killed keeps others from a refresh, where there are no Web Locks. Less than the time in which the
 * server repeats its answer to that refresh.
 */
const LEASE_MS = 3_000;

/** How long the end of a session is not believed while a call that replaces the cookie is on its way. */
const REPLACED_MS = 10_000;
/** How long the answer to one may be late of which this tab cannot know: of a program without this client. */
const LATE_MS = 250;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Returns `localStorage` where a page has it and may use it. */
function pageStorage() {
  try {
    return globalThis.localStorage?.setItem && typeof addEventListener === "function" ? globalThis.localStorage : undefined;
  } catch {
    return undefined; // Browsers throw where storage is switched off.
  }
}

/** A store for one client alone, which a reload empties. */
function memoryStore() {
  const kept = new Map();
  return {
    get: (key) => kept.get(key) ?? null,
    set: (key, value) => void kept.set(key, value),
    remove: (key) => void kept.delete(key),
  };
}

/** Returns a name that nobody guesses. */
function randomName() {
  const bytes = new Uint8Array(16);
  if (globalThis.crypto?.getRandomValues) globalThis.crypto.getRandomValues(bytes);
  else bytes.forEach((_, index) => (bytes[index] = Math.random() * 256));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The last work of each name in this process. */
const queues = new Map();

/** Runs `work` after everything before it of the same name. */
function inTurn(name, work) {
  const turn = (queues.get(name) ?? Promise.resolve()).then(work);
  const done = turn.then(
    () => {},
    () => {},
  );
  queues.set(name, done);
  done.then(() => queues.get(name) === done && queues.delete(name));
  return turn;
}

/** Runs `work` while no other tab does, by a lease in the storage that the tabs share. */
async function withLease(storage, name, work) {
  const id = `${Date.now()}.${Math.random()}`;
  const read = () => JSON.parse(storage.getItem(name) ?? "null");
  const write = () => storage.setItem(name, JSON.stringify({ id, until: Date.now() + LEASE_MS }));
  const isOurs = () => read()?.id === id;
  let renewal;
  try {
    for (;;) {
      const left = (read()?.until ?? 0) - Date.now();
      if (left <= 0 || left > 2 * LEASE_MS) {
        write();
        await sleep(25 + 25 * Math.random());
        // Of those who wrote at the same time the last one has it.
        if (isOurs()) break;
      } else {
        await sleep(Math.min(left, 25 + 25 * Math.random()));
      }
    }
    renewal = setInterval(() => isOurs() && write(), LEASE_MS / 3);
  } catch {
    // The storage is full, or somebody else writes there. The server bears two refreshes at once.
  }
  try {
    return await work();
  } finally {
    clearInterval(renewal);
    if (renewal !== undefined && isOurs()) storage.removeItem(name);
  }
}

/** Runs `work` while nothing else of the same name runs: in this process, and in other tabs as far as the platform can. */
function exclusively(name, isShared, work) {
  if (!isShared) return inTurn(name, work);
  const locks = globalThis.navigator?.locks;
  const storage = pageStorage();
  return inTurn(name, () => {
    if (locks?.request) return locks.request(name, work);
    return storage ? withLease(storage, `${name}.lease`, work) : work();
  });
}

/** How many calls of each name replace the cookie, in this process. */
const replacing = new Map();

/** Returns the lock that a call holds while it replaces the cookie, and where there are no locks the key of its mark. */
const markOf = (name) => `${name}.replacing`;

/** Returns the marks of such calls that are not too old, by their ids. */
function readMarks(storage, name) {
  try {
    const marks = Object.entries(JSON.parse(storage?.getItem(markOf(name)) ?? "{}"));
    return Object.fromEntries(marks.filter(([, until]) => until > Date.now() && until <= Date.now() + REPLACED_MS));
  } catch {
    return {};
  }
}

function writeMarks(storage, name, marks) {
  try {
    if (Object.keys(marks).length > 0) storage?.setItem(markOf(name), JSON.stringify(marks));
    else storage?.removeItem(markOf(name));
  } catch {
    // The storage is full: then the other tabs do not know of it.
  }
}

/** Runs `work`, which replaces the cookie, so that every tab can know. It waits for nobody. */
async function asReplacement(name, work) {
  const count = () => replacing.get(name) ?? 0;
  replacing.set(name, count() + 1);
  const locks = globalThis.navigator?.locks;
  const storage = locks?.request ? undefined : pageStorage();
  const id = randomName();
  let finish;
  const isOver = new Promise((resolve) => (finish = resolve));
  locks?.request(markOf(name), { mode: "shared" }, () => isOver).catch(() => {});
  if (storage) writeMarks(storage, name, { ...readMarks(storage, name), [id]: Date.now() + REPLACED_MS });
  try {
    return await work();
  } finally {
    finish();
    replacing.set(name, count() - 1);
    if (storage) {
      const { [id]: _, ...others } = readMarks(storage, name);
      writeMarks(storage, name, others);
    }
  }
}

/** Says whether a call of any tab replaces the cookie. */
async function isReplacing(name) {
  if ((replacing.get(name) ?? 0) > 0) return true;
  const locks = globalThis.navigator?.locks;
  if (!locks?.query) return Object.keys(readMarks(pageStorage(), name)).length > 0;
  try {
    const { held = [], pending = [] } = await locks.query();
    return [...held, ...pending].some((lock) => lock.name === markOf(name));
  } catch {
    return false; // A page that may use no locks.
  }
}

/** Waits until no call replaces the cookie any more, and says whether one did. */
async function untilReplaced(name) {
  for (let waited = 0; waited < REPLACED_MS; waited += 50) {
    if (!(await isReplacing(name))) return waited > 0;
    await sleep(50);
  }
  return true;
}

/** Opens a channel to the other tabs: a `BroadcastChannel`, else events of storage, else none. */
function openChannel(name, listener) {
  if (typeof BroadcastChannel === "function") {
    const channel = new BroadcastChannel(name);
    channel.onmessage = (event) => listener(event.data);
    channel.unref?.(); // Node would not end otherwise.
    return { post: (message) => channel.postMessage(message), close: () => channel.close() };
  }
  const storage = pageStorage();
  if (!storage) return undefined;
  const onStorage = (event) => event.key === name && event.newValue && listener(JSON.parse(event.newValue));
  addEventListener("storage", onStorage);
  const post = (message) => {
    storage.setItem(name, JSON.stringify(message));
    storage.removeItem(name);
  };
  return { post, close: () => removeEventListener("storage", onStorage) };
}
