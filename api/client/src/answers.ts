// What calls resolve to, in the form programs want it: the data, its version, the items of all pages.
import { UnexpectedAnswerError } from "./error.js";

/** A call of `client.api`. */
type Call<A> = Promise<{ readonly data?: A | undefined; readonly response: Response }>;
/** The envelope of an answer. */
interface Envelope<D> {
  readonly data: D;
}
/** The envelope of a part of a list. */
interface ListEnvelope<T> {
  readonly data: readonly T[];
  readonly next_cursor: string | null;
}

/** An object, and the version of it that this is. */
export interface Versioned<D> {
  readonly data: D;
  /** For `ifMatch`. */
  readonly version: string;
}

/** The `data` of an answer: `const session = await dataOf(client.api.GET(…))`. */
export async function dataOf<D>(call: Call<Envelope<D>>): Promise<D> {
  const { data, response } = await call;
  if (data === undefined) throw new UnexpectedAnswerError(response.status);
  return data.data;
}

/** The `data` of an answer with its version, for objects that have one. */
export async function versionOf<D>(call: Call<Envelope<D>>): Promise<Versioned<D>> {
  const answer = await call;
  const version = answer.response.headers.get("etag");
  if (answer.data === undefined || version === null) throw new UnexpectedAnswerError(answer.response.status);
  return { data: answer.data.data, version };
}

/** A header parameter: the change is made only if the object still is this version; else it fails with 412. */
export function ifMatch(version: string): { "If-Match": string } {
  return { "If-Match": version };
}

/**
 * A header parameter for what creates something: sent again with the same key, the request creates nothing more and is
 * answered as the first time. Without an argument the key is new.
 */
export function idempotencyKey(key: string = crypto.randomUUID()): { "Idempotency-Key": string } {
  return { "Idempotency-Key": key };
}

/**
 * Every item of a list, part by part as they are asked for:
 * `for await (const session of itemsOf((page) => client.api.GET("/sessions", { params: { query: page } }))) …`
 */
export async function* itemsOf<T>(
  part: (page: { cursor?: string }) => Call<ListEnvelope<T>>,
): AsyncGenerator<T, void, undefined> {
  let page: { cursor?: string } = {};
  for (;;) {
    const { data, response } = await part(page);
    if (data === undefined) throw new UnexpectedAnswerError(response.status);
    yield* data.data;
    if (data.next_cursor === null) return;
    page = { cursor: data.next_cursor };
  }
}
