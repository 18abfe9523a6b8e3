//! The cases of GoogleCloudPlatform/service-extensions: `tests.textpb`, so that its samples' own tests run as they are.
//!
//! Its harness calls a plugin phase by phase, and so does this: each test gets a plugin of its own and one stream, of
//! which only the phases that the test names run, always with `end_of_stream = false` at headers. A body given several
//! times ends each time; `num_chunks` and `chunk_size` cut one. The clock stands still, at 1970 unless told otherwise;
//! only the properties of the test are there, beside those that the host knows from the headers.
//!
//! Meant differences:
//!
//! - A plugin that holds a body back gets all of it at its end, as in a proxy, where that harness gives it each piece
//!   alone.
//! - Header names are in lower case, as in HTTP/2. `headers { … }` therefore matches a line in that spelling, in the
//!   test's own and as `Train-Case`.
//! - An `immediate` response in a body phase can be expected; that harness lets none such test pass.
//! - `proxy_on_log` runs at the stream's end.
//! - `log_path` and `benchmark` are read and have no effect: the report has the log, and `plugin bench` measures.

mod fields;
mod http1;
mod matcher;
mod phases;
mod schema;
mod text;

pub use self::phases::run;
pub use self::schema::{Test, TextSuite};
