//! Nothing: this crate is its tests (`integration/main.rs`), which drive the real binary `coditect-edge` over real
//! sockets. `cargo build -p coditect-edge && cargo test -p coditect-tests` runs them.
