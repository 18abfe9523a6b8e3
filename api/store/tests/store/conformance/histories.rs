//! What racing transactions leave behind, checked without any knowledge of how the store decides.

use super::case::Case;
use crate::model::{Races, check, race};

pub(super) async fn racing_transactions_leave_a_serializable_history(c: Case) {
    const RACES: Races = Races { tasks: 8, each: 40, keys: 8 };
    let history = race(&c.store, &c.span().begin, RACES, 1).await.unwrap();
    let refused = history.iter().filter(|record| record.committed.is_none()).count();
    assert!(refused > 0 && refused < history.len(), "{refused} of {} refused: no race", history.len());
    if let Err(violation) = check(&history) {
        panic!("{violation}\n{history:#?}");
    }
}
