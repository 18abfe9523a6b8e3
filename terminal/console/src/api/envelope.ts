// The one shape every API answer has, and the errors that come out of reading it.

interface Success<T> {
  success: true;
  data: T;
}

interface Failure {
  success: false;
  data: null;
  error: { code: string; message: string };
}

/** The server answered, and the answer is no. `message` is fit to be shown to a person. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** No answer came: the network is down, the server is away, or the time limit passed. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";

  constructor(options?: ErrorOptions) {
    super("The server cannot be reached. Check the connection and try again.", options);
  }
}

/** The `data` of a successful answer; every other answer is thrown as an `ApiError`. */
export async function readEnvelope<T>(response: Response): Promise<T> {
  const body = await readJson(response);
  if (isEnvelope<T>(body)) {
    if (body.success) return body.data;
    throw new ApiError(response.status, body.error.code, body.error.message);
  }
  // No body at all is a complete answer where it is allowed to be (204).
  if (response.ok && body === undefined) return undefined as T;
  throw new ApiError(
    response.status,
    "UNREADABLE_ANSWER",
    `The server sent an answer the console cannot read (HTTP ${response.status}).`,
  );
}

async function readJson(response: Response): Promise<unknown> {
  let text: string;
  try {
    text = await response.text();
  } catch (cause) {
    throw new UnreachableError({ cause });
  }
  if (text === "") return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

function isEnvelope<T>(body: unknown): body is Success<T> | Failure {
  if (typeof body !== "object" || body === null || !("success" in body)) return false;
  if (body.success === true) return "data" in body;
  return (
    "error" in body &&
    typeof body.error === "object" &&
    body.error !== null &&
    "code" in body.error &&
    typeof body.error.code === "string" &&
    "message" in body.error &&
    typeof body.error.message === "string"
  );
}
