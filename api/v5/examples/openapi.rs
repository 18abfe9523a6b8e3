//! Prints the OpenAPI document. `api/client/generate` keeps it as `api/v5/openapi.json` and renews the client from it; a
//! test compares the committed one with the program.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(&coditect_api::document())?;
    writeln!(std::io::stdout().lock(), "{text}")
}
