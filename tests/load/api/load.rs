//! Requests at a rate, and requests by clients that take turns with their answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::client::{Answer, Client};

/// How long each request took.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// The time within which this share of the requests was answered.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        assert!(!self.0.is_empty(), "no request was sent");
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = ((self.0.len() as f64 * share).ceil() as usize).clamp(1, self.0.len()) - 1;
        self.0[index]
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }
}

/// Sends `rate` requests a second for `seconds`, spread over `connections`; each counts from when it was due.
pub(crate) async fn at_rate(
    to: SocketAddr,
    request: &[u8],
    rate: u32,
    seconds: u32,
    connections: u32,
    expected: u16,
) -> Times {
    let request: Arc<[u8]> = request.into();
    let start = Instant::now() + Duration::from_millis(50);
    let total = rate * seconds;
    let lanes = (0..connections).map(|lane| {
        let request = Arc::clone(&request);
        async move {
            let mut client = Client::connect(to).await;
            let mut times = Vec::new();
            for number in (lane..total).step_by(connections as usize) {
                let due = start + Duration::from_secs(1) * number / rate;
                tokio::time::sleep_until(due.into()).await;
                // The timer wakes up to a millisecond late; that is this program's, not the edge's.
                let sent = Instant::now();
                let from =
                    if sent.saturating_duration_since(due) < Duration::from_millis(2) { sent } else { due };
                let answer = client.exchange(&request).await;
                assert_eq!(answer.status, expected, "{}", String::from_utf8_lossy(&answer.body));
                times.push(from.elapsed());
            }
            times
        }
    });
    Times::of(join_all(lanes).await.into_iter().flatten().collect())
}

/// `clients` clients at once, each of which sends `each` requests, one after another. `request` makes them from the
/// client's and the request's number.
pub(crate) async fn in_turns(
    to: SocketAddr,
    clients: usize,
    each: usize,
    request: impl Fn(usize, usize) -> Vec<u8>,
    check: impl Fn(&Answer),
) -> Times {
    let (request, check) = (&request, &check);
    let lanes = (0..clients).map(|lane| async move {
        let mut client = Client::connect(to).await;
        let mut times = Vec::new();
        for number in 0..each {
            let bytes = request(lane, number);
            let sent = Instant::now();
            let answer = client.exchange(&bytes).await;
            times.push(sent.elapsed());
            check(&answer);
        }
        times
    });
    Times::of(join_all(lanes).await.into_iter().flatten().collect())
}
