// The terminal's wire protocol, subprotocol `coditect.terminal.v1`: binary messages are the
// terminal's bytes, in both directions; text messages are the JSON objects below.
import { apiPath } from "../api/transport";

export const SUBPROTOCOL = "coditect.terminal.v1";

/** Close codes the server uses: the sign-in is over; the server restarts. */
export const CLOSE_SIGNED_OUT = 4001;
export const CLOSE_NORMAL = 1000;

/** The largest input message sent; a long paste goes as several. */
const INPUT_CHUNK_BYTES = 16 * 1024;

export type ServerMessage =
  /** The first message of every attachment; what was on the screen follows as output. */
  | { type: "hello" }
  /** The size changed, by whichever viewer. */
  | { type: "resized"; cols: number; rows: number }
  /** The program ended. `code` is absent where a signal ended it. */
  | { type: "exit"; code?: number; signal?: string }
  | { type: "error"; message: string }
  /** Output was left out because this viewer was too slow. */
  | { type: "lost" };

export type ClientMessage =
  | { type: "resize"; cols: number; rows: number }
  | { type: "ack"; bytes: number };

/** The server's text message; unknown types and malformed text are `undefined`. */
export function parseServerMessage(text: string): ServerMessage | undefined {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof message !== "object" || message === null || !("type" in message)) return undefined;
  const fields = message as Record<string, unknown>;
  switch (message.type) {
    case "hello":
    case "lost":
      return { type: message.type };
    case "resized":
      return { type: "resized", cols: Number(fields["cols"]), rows: Number(fields["rows"]) };
    case "exit":
      return {
        type: "exit",
        ...(typeof fields["code"] === "number" ? { code: fields["code"] } : {}),
        ...(typeof fields["signal"] === "string" ? { signal: fields["signal"] } : {}),
      };
    case "error":
      return { type: "error", message: String(fields["message"] ?? "") };
    default:
      return undefined;
  }
}

export function attachUrl(origin: URL, workspace: string, terminal: string, token: string): string {
  const url = new URL(`/api/v5${apiPath`/sessions/${workspace}/terminals/${terminal}/attach`}`, origin);
  url.protocol = origin.protocol === "https:" ? "wss:" : "ws:";
  url.searchParams.set("token", token);
  return url.href;
}

/** Input bytes in messages the server accepts. */
export function* inputChunks(bytes: Uint8Array<ArrayBuffer>): Generator<Uint8Array<ArrayBuffer>> {
  for (let start = 0; start < bytes.length; start += INPUT_CHUNK_BYTES) {
    yield bytes.subarray(start, start + INPUT_CHUNK_BYTES);
  }
}
