//! Prints the OpenAPI document: `cargo run -p coditect-api --example openapi > api/v5/openapi.json` after a change of
//! the API; a test compares the two.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(&coditect_api::document())?;
    writeln!(std::io::stdout().lock(), "{text}")
}
