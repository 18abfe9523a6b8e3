//! The edge ends a tunnel: Close frames at boundaries, in bounded time, whatever the legs do.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{BufStream, ReadBuf};

use super::*;

/// More than the longest an end may take from the edge's side.
const BOUND: Duration = Duration::from_millis(1600);

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_gets_its_close_frames_at_once() {
    for (ending, close, outcome) in [
        (Ending::SignedOut, Frame::close(4001, "signed out"), Outcome::SignedOut),
        (Ending::WorkspaceEnded, Frame::close(4002, "workspace ended"), Outcome::WorkspaceEnded),
        (Ending::Drain, Frame::close(1012, "service restart"), Outcome::Drained),
    ] {
        let mut rig = Rig::new(1024);
        let start = Instant::now();
        rig.end.send(ending).unwrap();
        let at_client = read_some(&mut rig.client, close.payload.len() + 2).await;
        let at_upstream = read_some(&mut rig.upstream, 8).await;
        assert!(start.elapsed() < Duration::from_millis(50));
        assert_eq!(decode(&at_client, false), [close]);
        assert_eq!(decode(&at_upstream, true), [Frame::close(1001, "")]);
        // Neither end answers.
        assert_eq!(rig.pump.await.unwrap(), outcome);
        assert!(start.elapsed() < BOUND);
        assert_eq!(read_all(&mut rig.client).await, b"");
        assert_eq!(read_all(&mut rig.upstream).await, b"");
    }
}

#[tokio::test(start_paused = true)]
async fn two_ends_that_answer_are_not_waited_for() {
    let mut rig = Rig::new(1024);
    let start = Instant::now();
    rig.end.send(Ending::SignedOut).unwrap();
    read_some(&mut rig.client, 14).await;
    rig.client.write_all(&Frame::new(TEXT, "crossed").encode(Some(MASK))).await.unwrap();
    rig.client.write_all(&Frame::close(4001, "").encode(Some(MASK))).await.unwrap();
    // The client's leg is closed while the upstream is still waited for.
    assert_eq!(read_all(&mut rig.client).await, b"");
    assert!(!rig.pump.is_finished());
    read_some(&mut rig.upstream, 8).await;
    rig.upstream.shutdown().await.unwrap();
    assert_eq!(rig.pump.await.unwrap(), Outcome::SignedOut);
    assert!(start.elapsed() < Duration::from_millis(50));
    // What crossed the Close frame was dropped.
    assert_eq!(read_all(&mut rig.upstream).await, b"");
}

#[tokio::test(start_paused = true)]
async fn a_frame_under_way_is_finished_first() {
    let mut rig = Rig::new(64 * 1024);
    let down = Frame::new(2, vec![1; 9000]);
    let up = Frame::new(2, vec![2; 9000]);
    let (down_bytes, up_bytes) = (down.encode(None), up.encode(Some(MASK)));
    rig.upstream.write_all(&down_bytes[..4000]).await.unwrap();
    rig.client.write_all(&up_bytes[..3]).await.unwrap();
    let mut at_client = read_some(&mut rig.client, 4000).await;
    let mut at_upstream = read_some(&mut rig.upstream, 3).await;
    rig.end.send(Ending::Drain).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The rest of the frame, and in the same write a frame that must not get through.
    let more = [&down_bytes[4000..], &Frame::new(TEXT, "too late").encode(None)].concat();
    rig.upstream.write_all(&more).await.unwrap();
    let more = [&up_bytes[3..], &Frame::new(TEXT, "too late").encode(Some(MASK))].concat();
    rig.client.write_all(&more).await.unwrap();
    at_client.extend(read_all(&mut rig.client).await);
    at_upstream.extend(read_all(&mut rig.upstream).await);
    assert!(decode(&at_client, false) == [down, Frame::close(1012, "service restart")]);
    assert!(decode(&at_upstream, true) == [up, Frame::close(1001, "")]);
    assert_eq!(rig.pump.await.unwrap(), Outcome::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_does_not_end_is_cut_without_a_close_frame() {
    let mut rig = Rig::new(1024);
    let bytes = Frame::new(2, vec![1; 900]).encode(None);
    rig.upstream.write_all(&bytes[..500]).await.unwrap();
    assert_eq!(read_some(&mut rig.client, 500).await, &bytes[..500]);
    let start = Instant::now();
    rig.end.send(Ending::SignedOut).unwrap();
    assert_eq!(read_all(&mut rig.client).await, b"");
    assert!(start.elapsed() >= Limits::default().close_grace);
    // The other direction stood at a boundary.
    assert_eq!(decode(&read_all(&mut rig.upstream).await, true), [Frame::close(1001, "")]);
    assert_eq!(rig.pump.await.unwrap(), Outcome::SignedOut);
    assert!(start.elapsed() < BOUND);
}

#[tokio::test(start_paused = true)]
async fn a_frame_whose_sender_is_gone_is_cut_at_once() {
    let mut rig = Rig::new(1024);
    rig.upstream.write_all(&Frame::new(2, vec![1; 900]).encode(None)[..500]).await.unwrap();
    rig.upstream.shutdown().await.unwrap();
    read_some(&mut rig.client, 500).await;
    rig.end.send(Ending::Drain).unwrap();
    assert_eq!(read_all(&mut rig.client).await, b"");
    assert_eq!(rig.pump.await.unwrap(), Outcome::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_cannot_delay_the_end() {
    let rig = Rig::new(512);
    let (mut upstream_read, mut upstream_write) = tokio::io::split(rig.upstream);
    let flood = tokio::spawn(async move {
        let bytes = encode_all(&vec![Frame::new(2, vec![1; 100]); 5000], None);
        upstream_write.write_all(&bytes).await
    });
    // Blocked: a second passes and the counter stands still.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.counters.to_client.load(Relaxed), 512);
    let start = Instant::now();
    rig.end.send(Ending::SignedOut).unwrap();
    assert_eq!(decode(&read_all(&mut upstream_read).await, true), [Frame::close(1001, "")]);
    assert_eq!(rig.pump.await.unwrap(), Outcome::SignedOut);
    assert!(start.elapsed() < BOUND);
    drop((rig.client, upstream_read));
    // The upstream's flood was read and dropped, or broken off.
    flood.await.unwrap().ok();
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_whole_frames_and_its_close_frame() {
    let mut rig = Rig::new(64);
    let frame = Frame::new(2, vec![1; 1000]);
    let bytes = encode_all(&vec![frame.clone(); 20], None);
    let (_upstream_read, mut upstream_write) = tokio::io::split(rig.upstream);
    let flood = tokio::spawn(async move { upstream_write.write_all(&bytes).await });
    let mut at_client = read_some(&mut rig.client, 1500).await;
    rig.end.send(Ending::Drain).unwrap();
    at_client.extend(read_all(&mut rig.client).await);
    assert!(decode(&at_client, false) == [frame.clone(), frame, Frame::close(1012, "service restart")]);
    flood.await.unwrap().ok();
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_a_close_frame_that_has_passed() {
    let mut rig = Rig::new(1024);
    let close = Frame::close(1000, "bye");
    rig.upstream.write_all(&close.encode(None)).await.unwrap();
    let mut at_client = read_some(&mut rig.client, 7).await;
    let start = Instant::now();
    rig.end.send(Ending::SignedOut).unwrap();
    at_client.extend(read_all(&mut rig.client).await);
    assert_eq!(decode(&at_client, false), [close]);
    assert_eq!(decode(&read_all(&mut rig.upstream).await, true), [Frame::close(1001, "")]);
    assert_eq!(rig.pump.await.unwrap(), Outcome::SignedOut);
    assert!(start.elapsed() < BOUND);
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_half_way_is_finished_and_is_the_last() {
    let mut rig = Rig::new(1024);
    let close = Frame::close(1000, "bye");
    let bytes = close.encode(None);
    rig.upstream.write_all(&bytes[..3]).await.unwrap();
    let mut at_client = read_some(&mut rig.client, 3).await;
    rig.end.send(Ending::SignedOut).unwrap();
    rig.upstream.write_all(&bytes[3..]).await.unwrap();
    at_client.extend(read_all(&mut rig.client).await);
    assert_eq!(decode(&at_client, false), [close]);
}

#[tokio::test(start_paused = true)]
async fn an_opaque_direction_is_cut_and_gets_nothing() {
    let mut rig = Rig::new(1024);
    let bytes = b"not WebSocket";
    rig.upstream.write_all(bytes).await.unwrap();
    read_some(&mut rig.client, bytes.len()).await;
    let start = Instant::now();
    rig.end.send(Ending::SignedOut).unwrap();
    assert_eq!(read_all(&mut rig.client).await, b"");
    assert!(start.elapsed() < Duration::from_millis(50));
    assert_eq!(rig.pump.await.unwrap(), Outcome::SignedOut);
    assert!(start.elapsed() < BOUND);
}

#[tokio::test(start_paused = true)]
async fn an_end_during_a_half_closed_tunnel_still_tells_the_client() {
    let mut rig = Rig::new(1024);
    rig.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut rig.upstream).await, b"");
    rig.end.send(Ending::SignedOut).unwrap();
    assert_eq!(decode(&read_all(&mut rig.client).await, false), [Frame::close(4001, "signed out")]);
    assert_eq!(rig.pump.await.unwrap(), Outcome::SignedOut);
}

#[tokio::test(start_paused = true)]
async fn legs_that_buffer_are_flushed_and_so_is_the_close_frame() {
    let (mut client, client_leg) = duplex(64 * 1024);
    let (upstream, upstream_leg) = duplex(64 * 1024);
    let (end, ended) = oneshot::channel();
    let pump = tokio::spawn(async move {
        let (limits, counters) = (Limits::default(), Counters::default());
        let (client_leg, upstream_leg) = (BufStream::new(client_leg), BufStream::new(upstream_leg));
        let ending = async { ended.await.unwrap() };
        pump(client_leg, upstream_leg, &limits, &counters, ending, || MASK).await
    });
    let (mut upstream_read, mut upstream_write) = tokio::io::split(upstream);
    upstream_write.write_all(&Frame::new(TEXT, "hello").encode(None)).await.unwrap();
    assert_eq!(read_some(&mut client, 7).await, Frame::new(TEXT, "hello").encode(None));
    let flood = tokio::spawn(async move {
        let bytes = encode_all(&vec![Frame::new(2, vec![1; 1000]); 100], None);
        while upstream_write.write_all(&bytes).await.is_ok() {}
    });
    end.send(Ending::SignedOut).unwrap();
    let start = Instant::now();
    let close = Frame::close(4001, "signed out");
    let mut at_client = Vec::new();
    while !at_client.ends_with(&close.encode(None)) {
        assert!(client.read_buf(&mut at_client).await.unwrap() > 0);
    }
    assert!(start.elapsed() < Duration::from_millis(50));
    assert_eq!(decode(&at_client, false).last(), Some(&close));
    assert_eq!(decode(&read_some(&mut upstream_read, 8).await, true), [Frame::close(1001, "")]);
    client.write_all(&close.encode(Some(MASK))).await.unwrap();
    assert_eq!(read_all(&mut client).await, b"");
    // Paused time stands still while bytes move, so the upstream has to close by itself.
    flood.abort();
    assert!(flood.await.unwrap_err().is_cancelled());
    drop(upstream_read);
    assert_eq!(pump.await.unwrap(), Outcome::SignedOut);
}

/// A leg whose reads are always ready; what is written to it is dropped.
struct Endless;

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while buf.remaining() >= 1004 {
            buf.put_slice(&[0x82, 126, 0x03, 0xe8]);
            buf.put_slice(&[0; 1000]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn an_upstream_that_never_pauses_cannot_delay_the_end() {
    let (mut client, client_leg) = duplex(64 * 1024);
    let (end, ended) = oneshot::channel();
    let pump = tokio::spawn(async move {
        let limits = Limits {
            close_grace: Duration::from_secs(10),
            peer_close: Duration::from_secs(20),
            ..Limits::default()
        };
        let counters = Counters::default();
        let ending = async { ended.await.unwrap() };
        pump(BufStream::new(client_leg), Endless, &limits, &counters, ending, || MASK).await
    });
    read_some(&mut client, 10_000).await;
    end.send(Ending::SignedOut).unwrap();
    let start = std::time::Instant::now();
    let close = Frame::close(4001, "signed out");
    let mut at_client = Vec::new();
    // The pump finds no quiet moment to flush in, and flushes all the same.
    while !at_client.ends_with(&close.encode(None)) {
        assert!(client.read_buf(&mut at_client).await.unwrap() > 0);
    }
    // Not only by the shutdown that ends the grace.
    assert!(start.elapsed() < Duration::from_secs(5));
    client.write_all(&close.encode(Some(MASK))).await.unwrap();
    assert_eq!(read_all(&mut client).await, b"");
    // The client's leg was shut down when it answered, long before the tunnel was over.
    assert!(start.elapsed() < Duration::from_secs(10));
    pump.abort();
}
