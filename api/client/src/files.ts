// Files, as they come and go: bytes rather than JSON, so neither fits the generated client.
import { type CoditectClient, streaming } from "./client.js";
import { errorOf, UnexpectedAnswerError } from "./error.js";

/** A file of a workspace. */
export interface FilePlace {
  /** The workspace's id. */
  readonly session: string;
  /** With slashes between its segments, and none before them. */
  readonly path: string;
}

export interface UploadOptions {
  /** The file must have this `ETag`; `*`: it must exist. */
  readonly ifMatch?: string;
  /** `*`: there must be no such file. */
  readonly ifNoneMatch?: string;
  readonly signal?: AbortSignal;
}

export interface DownloadOptions {
  /** The first byte, and the last if not all that follow. */
  readonly range?: { readonly first: number; readonly last?: number };
  readonly signal?: AbortSignal;
}

/** What an upload has made. */
export interface Uploaded {
  /** Of the contents, for `ifMatch`. */
  readonly etag: string;
  /** Whether there was no such file before. */
  readonly created: boolean;
}

/** Creates a file, or replaces what it holds. A stream is sent as it comes, and cannot be sent twice. */
export async function upload(
  client: CoditectClient,
  place: FilePlace,
  body: Blob | Uint8Array<ArrayBuffer> | string | ReadableStream<Uint8Array>,
  options: UploadOptions = {},
): Promise<Uploaded> {
  const headers = new Headers({ "content-type": "application/octet-stream" });
  if (options.ifMatch !== undefined) headers.set("if-match", options.ifMatch);
  if (options.ifNoneMatch !== undefined) headers.set("if-none-match", options.ifNoneMatch);
  const init = { method: "PUT", headers, signal: options.signal ?? null };
  const target = address(client, place);
  const request =
    body instanceof ReadableStream ? streaming(target, { ...init, body }) : new Request(target, { ...init, body });
  const response = await client.fetch(request);
  if (!response.ok) throw await errorOf(response);
  // Read to its end, so that the connection can be used again.
  await response.arrayBuffer();
  const etag = response.headers.get("etag");
  if (etag === null) throw new UnexpectedAnswerError(response.status);
  return { etag, created: response.status === 201 };
}

/** A file's contents, to be read from the answer's `body` as they come, or at once with `text()` and the like. */
export async function download(
  client: CoditectClient,
  place: FilePlace,
  options: DownloadOptions = {},
): Promise<Response> {
  const headers = new Headers();
  const { range } = options;
  if (range !== undefined) headers.set("range", `bytes=${range.first}-${range.last ?? ""}`);
  const response = await client.fetch(new Request(address(client, place), { headers, signal: options.signal ?? null }));
  if (!response.ok) throw await errorOf(response);
  return response;
}

function address(client: CoditectClient, { session, path }: FilePlace): string {
  const segments = path.split("/").map(encodeURIComponent).join("/");
  return client.url(`/sessions/${encodeURIComponent(session)}/files/${segments}`);
}
