//! Bytes pass unchanged, directions do not block each other, the end of one leg reaches the other.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::ReadBuf;

use super::*;

/// Writes `bytes` in random chunks, yielding between them.
async fn write_chunked(leg: &mut (impl AsyncWrite + Unpin), bytes: &[u8], mut random: StdRng) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let longest = [1, 4, 100, 20_000][random.random_range(0..4)];
        let (chunk, tail) = rest.split_at(rest.len().min(random.random_range(1..=longest)));
        leg.write_all(chunk).await.unwrap();
        if random.random() {
            tokio::task::yield_now().await;
        }
        rest = tail;
    }
    leg.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn any_chunking_passes_unchanged_both_ways_at_once() {
    for seed in 0..16 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let rig = Rig::new([1, 50, 1000, 65536][random.random_range(0..4)]);
        let to_upstream = encode_all(&random_frames(&mut random, 8), Some(MASK));
        let to_client = encode_all(&random_frames(&mut random, 8), None);
        let (mut client_read, mut client_write) = tokio::io::split(rig.client);
        let (mut upstream_read, mut upstream_write) = tokio::io::split(rig.upstream);
        let (client_seed, upstream_seed) = (random.fork(), random.fork());
        let (_, _, at_upstream, at_client) = tokio::join!(
            write_chunked(&mut client_write, &to_upstream, client_seed),
            write_chunked(&mut upstream_write, &to_client, upstream_seed),
            read_all(&mut upstream_read),
            read_all(&mut client_read),
        );
        assert!(at_upstream == to_upstream && at_client == to_client);
        assert!(matches!(rig.pump.await.unwrap(), Outcome::ClientClosed | Outcome::UpstreamClosed));
        let counted = (rig.counters.to_upstream.load(Relaxed), rig.counters.to_client.load(Relaxed));
        assert_eq!(counted, (to_upstream.len() as u64, to_client.len() as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_does_not_block_its_own_sending() {
    let rig = Rig::new(4096);
    let to_upstream = encode_all(&vec![Frame::new(2, vec![1; 5000]); 200], Some(MASK));
    let to_client = encode_all(&vec![Frame::new(2, vec![2; 5000]); 200], None);
    let (mut client_read, mut client_write) = tokio::io::split(rig.client);
    let (mut upstream_read, mut upstream_write) = tokio::io::split(rig.upstream);
    let sent = to_client.clone();
    let flood = tokio::spawn(async move { upstream_write.write_all(&sent).await.map(|()| upstream_write) });
    // The whole of this direction passes while the other is stuck.
    let (written, at_upstream) =
        tokio::join!(client_write.write_all(&to_upstream), read_some(&mut upstream_read, to_upstream.len()));
    written.unwrap();
    assert!(at_upstream == to_upstream);
    // Back-pressure: the two legs' capacity and one buffer are all that has left the upstream.
    assert!(!flood.is_finished());
    assert!(rig.counters.to_client.load(Relaxed) <= 4096);
    assert!(read_some(&mut client_read, to_client.len()).await == to_client);
    flood.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn counters_can_be_read_while_the_tunnel_lives() {
    let mut rig = Rig::new(4096);
    rig.client.write_all(&Frame::new(TEXT, "hello").encode(Some(MASK))).await.unwrap();
    read_some(&mut rig.upstream, 11).await;
    rig.upstream.write_all(&Frame::new(TEXT, "hi").encode(None)).await.unwrap();
    read_some(&mut rig.client, 4).await;
    assert_eq!(rig.counted(), (11, 4));
    assert!(!rig.pump.is_finished());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_leg_reaches_the_other_after_all_its_bytes() {
    for client_first in [true, false] {
        // Less than a frame fits, so that bytes are under way at the end of file.
        let rig = Rig::new(64);
        let bytes = Frame::new(2, vec![3; 3000]).encode(client_first.then_some(MASK));
        let reply = Frame::new(TEXT, "late").encode((!client_first).then_some(MASK));
        let (mut first, mut second, outcome) = if client_first {
            (rig.client, rig.upstream, Outcome::ClientClosed)
        } else {
            (rig.upstream, rig.client, Outcome::UpstreamClosed)
        };
        let (read, mut write) = tokio::io::split(&mut first);
        let mut read = read;
        let (_, got) = tokio::join!(
            async {
                write.write_all(&bytes).await.unwrap();
                write.shutdown().await.unwrap();
            },
            read_all(&mut second)
        );
        assert!(got == bytes);
        // The other direction still works, and ends with the other end's end.
        second.write_all(&reply).await.unwrap();
        drop(second);
        assert_eq!(read_all(&mut read).await, reply);
        assert_eq!(rig.pump.await.unwrap(), outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_tunnel_ends_by_itself() {
    for client_first in [true, false] {
        let start = Instant::now();
        let mut rig = Rig::new(1024);
        let leg = if client_first { &mut rig.client } else { &mut rig.upstream };
        leg.shutdown().await.unwrap();
        let outcome = rig.pump.await.unwrap();
        assert_eq!(outcome, if client_first { Outcome::ClientClosed } else { Outcome::UpstreamClosed });
        assert_eq!(start.elapsed().as_millis() / 10, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_of_file_behind_a_stuck_sink_is_bounded() {
    let start = Instant::now();
    let mut rig = Rig::new(16);
    rig.client.write_all(&Frame::new(TEXT, "x").encode(Some(MASK))).await.unwrap();
    rig.client.write_all(&Frame::new(2, vec![0; 60]).encode(Some(MASK))[..40]).await.unwrap();
    rig.client.shutdown().await.unwrap();
    // The end of file stands behind bytes that nobody takes, so it is the stall that ends the tunnel.
    assert_eq!(rig.pump.await.unwrap(), Outcome::UpstreamStalled);
    assert!(start.elapsed() <= Limits::default().write_stall + Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn after_a_close_frame_each_way_the_tunnel_does_not_linger() {
    let start = Instant::now();
    let mut rig = Rig::new(1024);
    rig.upstream.write_all(&Frame::close(1000, "").encode(None)).await.unwrap();
    assert_eq!(decode(&read_some(&mut rig.client, 4).await, false), [Frame::close(1000, "")]);
    rig.client.write_all(&Frame::close(1000, "").encode(Some(MASK))).await.unwrap();
    assert_eq!(rig.pump.await.unwrap(), Outcome::UpstreamClosed);
    assert!(start.elapsed() <= Limits::default().half_close + Duration::from_millis(2));
    assert_eq!(read_all(&mut rig.client).await, b"");
    assert_eq!(decode(&read_all(&mut rig.upstream).await, true), [Frame::close(1000, "")]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_closes_both_legs() {
    let mut rig = Rig::new(1024);
    rig.client.write_all(&Frame::new(TEXT, "x").encode(Some(MASK))).await.unwrap();
    read_some(&mut rig.upstream, 7).await;
    rig.pump.abort();
    assert_eq!(read_all(&mut rig.client).await, b"");
    assert_eq!(read_all(&mut rig.upstream).await, b"");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_websocket_passes_unchanged() {
    let mut rig = Rig::new(1024);
    let bytes = b"SSH-2.0-something else entirely\r\n";
    rig.upstream.write_all(bytes).await.unwrap();
    rig.client.write_all(bytes).await.unwrap();
    assert_eq!(read_some(&mut rig.client, bytes.len()).await, bytes);
    assert_eq!(read_some(&mut rig.upstream, bytes.len()).await, bytes);
    rig.client.shutdown().await.unwrap();
    rig.upstream.shutdown().await.unwrap();
    assert_eq!(rig.pump.await.unwrap(), Outcome::ClientClosed);
}

/// A leg that delivers nothing and fails: at reading or at writing.
struct Broken {
    fails_reading: bool,
}

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.fails_reading { Poll::Ready(Err(ErrorKind::ConnectionReset.into())) } else { Poll::Pending }
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Err(ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_leg_ends_the_tunnel_in_bounded_time() {
    for fails_reading in [true, false] {
        for broken_client in [true, false] {
            let start = Instant::now();
            let (mut far, near) = duplex(64);
            let broken = Broken { fails_reading };
            let (limits, counters) = (Limits::default(), Counters::default());
            let frame = Frame::new(TEXT, "for the broken leg").encode((!broken_client).then_some(MASK));
            far.write_all(&frame).await.unwrap();
            let never = std::future::pending();
            let outcome = if broken_client {
                pump(broken, near, &limits, &counters, never, || MASK).await
            } else {
                pump(near, broken, &limits, &counters, never, || MASK).await
            };
            let kind = if fails_reading { ErrorKind::ConnectionReset } else { ErrorKind::BrokenPipe };
            // The upstream's read failure may be preceded by the failed write of what the client sent.
            match outcome {
                Outcome::ClientError(found) => assert!(broken_client && found == kind),
                Outcome::UpstreamError(found) => {
                    assert!(!broken_client && (found == kind || found == ErrorKind::BrokenPipe));
                }
                other => panic!("{other:?}"),
            }
            assert!(start.elapsed() <= limits.half_close + Duration::from_millis(2));
            assert_eq!(read_all(&mut far).await, b"");
        }
    }
}
