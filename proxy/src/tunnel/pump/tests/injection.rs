//! Whatever the chunks and the moment: frames of the edge's own stand between frames, and all others stay whole.

use super::*;

/// Pings become due every few milliseconds of paused time.
fn eager() -> Limits {
    Limits {
        idle_ping: Duration::from_millis(20),
        silence: Duration::from_secs(3600),
        write_stall: Duration::from_secs(3600),
        ..Limits::default()
    }
}

/// Sends `bytes` in random chunks with pauses; stops when the leg is closed.
async fn trickle(
    leg: &mut (impl AsyncWrite + Unpin),
    bytes: Vec<u8>,
    longest_pause: u64,
    mut random: StdRng,
) {
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let longest = [2, 50, 3000, 40_000][random.random_range(0..4)];
        let (chunk, tail) = rest.split_at(rest.len().min(random.random_range(1..=longest)));
        if leg.write_all(chunk).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..longest_pause))).await;
        rest = tail;
    }
}

/// What `got` holds besides the edge's empty Pings must be a prefix of `sent`, perhaps followed by a Close frame.
/// Returns how many Pings there were.
fn check(got: &[Frame], sent: &[Frame]) -> (usize, bool) {
    let ping = Frame::new(PING, []);
    let (pings, mut others): (Vec<_>, Vec<_>) = got.iter().partition(|frame| **frame == ping);
    let closed = others.pop_if(|last| last.opcode == CLOSE).is_some();
    let expected: Vec<_> = sent.iter().filter(|frame| **frame != ping).take(others.len()).collect();
    assert!(others == expected, "frames were changed");
    (pings.len(), closed)
}

#[tokio::test(start_paused = true)]
async fn pings_and_close_frames_never_land_inside_a_frame() {
    let mut all_pings = 0;
    for seed in 0..30 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let rig = Rig::with([64, 1000, 65536][random.random_range(0..3)], eager());
        let from_upstream = random_frames(&mut random, 60);
        // Small and rare, so that the client is quiet now and then, and pinged again and again.
        let from_client: Vec<_> = (0..100).map(|size| Frame::new(TEXT, vec![9; size])).collect();
        let (mut client_read, mut client_write) = tokio::io::split(rig.client);
        let (mut upstream_read, mut upstream_write) = tokio::io::split(rig.upstream);
        let bytes = encode_all(&from_upstream, None);
        let chunks = random.fork();
        let sender = tokio::spawn(async move { trickle(&mut upstream_write, bytes, 20, chunks).await });
        let each: Vec<_> = from_client.iter().map(|frame| frame.encode(Some(MASK))).collect();
        let mut chunks = random.fork();
        let client = tokio::spawn(async move {
            for bytes in each {
                trickle(&mut client_write, bytes, 60, chunks.fork()).await;
            }
            // Open, but quiet, until the end.
            client_write
        });
        let reader = tokio::spawn(async move { read_all(&mut client_read).await });
        let upstream = tokio::spawn(async move { read_all(&mut upstream_read).await });
        tokio::time::sleep(Duration::from_millis(random.random_range(0..800))).await;
        // Whatever is under way comes to its end within the grace: the senders never pause for long.
        rig.end.send(Ending::Drain).unwrap();
        let at_client = reader.await.unwrap();
        let at_upstream = upstream.await.unwrap();
        assert_eq!(rig.pump.await.unwrap(), Outcome::Drained);
        let (pings, closed) = check(&decode(&at_client, false), &from_upstream);
        assert!(closed);
        all_pings += pings;
        let (_, closed) = check(&decode(&at_upstream, true), &from_client);
        assert!(closed);
        sender.await.unwrap();
        client.await.unwrap();
    }
    assert!(all_pings > 60, "{all_pings}");
}
