//! Exports: what is in them, what is refused, and what an import leaves behind whatever happens to it.

mod format;
mod imports;
mod tenants;

use std::io::Cursor;

use bytes::Bytes;
use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::contract::Row;
use coditect_store::dump::{Decoder, Export, Exported, ImportError, Imported, import};
use coditect_store::{Keyspace, Store};
use foundationdb_tuple::pack;

/// Unix milliseconds at which every export here was made.
const MADE_AT: i64 = 1_800_000_000_000;

/// The key space that exports here are made of.
fn keys() -> Keyspace {
    Keyspace::new("test")
}

/// Commits rows, a few at a time.
async fn fill(store: &Store, rows: &[Row]) {
    for some in rows.chunks(20) {
        let transaction = store.begin();
        for row in some {
            transaction.set(row.key.clone(), row.value.clone()).unwrap();
        }
        transaction.commit().await.unwrap();
    }
}

/// `count` rows of a tenant with values up to 90 kB, most of them short.
fn rows(root: &str, entropy: &SeededEntropy, count: usize) -> Vec<Row> {
    let tenant = entropy.uuid();
    let mut rows: Vec<_> = (0..count)
        .map(|_| {
            let mut dice = [0; 4];
            entropy.fill(&mut dice);
            let length = if dice[0] < 40 { usize::from(dice[1]) * 350 } else { usize::from(dice[1]) };
            let key = pack(&(root, "tenant", tenant, "users", entropy.uuid()));
            Row { key, value: Bytes::from(vec![dice[2]; length]) }
        })
        .collect();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

/// Everything under a key space's root.
async fn all(store: &Store, keys: &Keyspace) -> Vec<Row> {
    store.scan(keys.span()).rows().await.unwrap()
}

async fn export(store: &Store) -> (Vec<u8>, Exported) {
    let mut export = Export::start(store, &keys(), MADE_AT).unwrap();
    let mut file = Vec::new();
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        file.extend_from_slice(&chunk);
    }
    (file, export.exported().unwrap())
}

async fn import_bytes(
    store: &Store,
    keys: &Keyspace,
    file: &[u8],
    replace: bool,
) -> Result<Imported, ImportError> {
    let entropy = SeededEntropy::new(99);
    import(store, keys, &mut Cursor::new(file), replace, &entropy, &mut |_| ()).await
}

/// All rows of a file, if it is sound.
fn decode(file: &[u8]) -> Result<Vec<Row>, coditect_store::dump::FormatError> {
    let mut decoder = Decoder::start(file)?;
    let mut rows = Vec::new();
    while let Some(block) = decoder.next_block()? {
        rows.extend(block);
    }
    assert_eq!(decoder.summary().unwrap().rows, rows.len() as u64);
    Ok(rows)
}
