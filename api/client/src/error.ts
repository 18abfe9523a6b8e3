// What a call that failed throws: the API's refusal, with its code, or that there was no answer of the API's.
import type { components } from "./schema.js";

/** Why the API refused, for programs: the codes of the contract. */
export type ErrorCode = components["schemas"]["ErrorCode"];

/** The API refused. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    /** The HTTP status. */
    readonly status: number,
    readonly code: ErrorCode,
    /** For people. It may change. */
    message: string,
    /** Finds the request in the operators' log. */
    readonly requestId: string | undefined,
    /** Seconds after which to try again, where the API says so. */
    readonly retryAfter: number | undefined,
  ) {
    super(message);
  }
}

/** Something answered that is not the API: a proxy in between, a captive portal. */
export class UnexpectedAnswerError extends Error {
  override readonly name = "UnexpectedAnswerError";

  constructor(readonly status: number) {
    super(`the answer (${status}) is none of the API's`);
  }
}

/** The error an answer tells of. Reads the answer's body. */
export async function errorOf(response: Response): Promise<ApiError | UnexpectedAnswerError> {
  const body: unknown = await response.json().catch(() => undefined);
  const error = field(body, "error");
  const [code, message] = [field(error, "code"), field(error, "message")];
  if (typeof code !== "string" || typeof message !== "string") return new UnexpectedAnswerError(response.status);
  const retryAfter = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  return new ApiError(
    response.status,
    // A newer server may have codes this client does not know; they are for its callers' default case.
    code as ErrorCode,
    message,
    response.headers.get("x-request-id") ?? undefined,
    Number.isNaN(retryAfter) ? undefined : retryAfter,
  );
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
