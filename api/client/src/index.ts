// The client of Coditect Edge's API v5. See README.md.
export { dataOf, idempotencyKey, ifMatch, itemsOf, type Versioned, versionOf } from "./answers.js";
export { type ClientOptions, CoditectClient, createClient, streaming } from "./client.js";
export { ApiError, type ErrorCode, UnexpectedAnswerError } from "./error.js";
export {
  download,
  type DownloadOptions,
  type FilePlace,
  upload,
  type Uploaded,
  type UploadOptions,
} from "./files.js";
export type { components, operations, paths } from "./schema.js";
export type { Login, RefreshMode, Tokens } from "./tokens.js";
