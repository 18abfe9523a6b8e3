//! Pings to quiet legs, and the cut of legs that are silent or stalled.

use super::*;

/// A limit and the two ticks by which it may be applied late.
fn about(limit: Duration) -> std::ops::RangeInclusive<Duration> {
    limit..=limit + Duration::from_millis(5100)
}

#[tokio::test(start_paused = true)]
async fn both_legs_are_pinged_when_idle_and_the_pong_is_forwarded() {
    let mut rig = Rig::new(1024);
    let start = Instant::now();
    assert_eq!(decode(&read_some(&mut rig.client, 2).await, false), [Frame::new(PING, [])]);
    assert!(about(Limits::default().idle_ping).contains(&start.elapsed()));
    assert_eq!(decode(&read_some(&mut rig.upstream, 6).await, true), [Frame::new(PING, [])]);
    assert_eq!(rig.counted(), (0, 0));
    let pong = Frame::new(PONG, []);
    rig.client.write_all(&pong.encode(Some(MASK))).await.unwrap();
    rig.upstream.write_all(&pong.encode(None)).await.unwrap();
    assert_eq!(decode(&read_some(&mut rig.upstream, 6).await, true), std::slice::from_ref(&pong));
    assert_eq!(decode(&read_some(&mut rig.client, 2).await, false), [pong]);
}

#[tokio::test(start_paused = true)]
async fn legs_that_answer_stay_for_ever() {
    let rig = Rig::new(1024);
    let answer = |mut leg: DuplexStream, length, mask| {
        tokio::spawn(async move {
            for _ in 0..100 {
                read_some(&mut leg, length).await;
                leg.write_all(&Frame::new(PONG, "pong").encode(mask)).await.unwrap();
                // The other leg's Pong.
                read_some(&mut leg, length + 4).await;
            }
            leg
        })
    };
    let start = Instant::now();
    let client = answer(rig.client, 2, Some(MASK));
    let upstream = answer(rig.upstream, 6, None);
    let _legs = (client.await.unwrap(), upstream.await.unwrap());
    assert!(start.elapsed() >= Limits::default().idle_ping * 100);
    assert!(!rig.pump.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_cut_and_the_upstream_told() {
    let rig = Rig::new(1024);
    let start = Instant::now();
    let (mut upstream_read, mut upstream_write) = tokio::io::split(rig.upstream);
    let busy = tokio::spawn(async move {
        while upstream_write.write_all(&Frame::new(TEXT, "x").encode(None)).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    // It reads, but sends nothing.
    let mut client = rig.client;
    let at_client = read_all(&mut client).await;
    assert!(about(Limits::default().silence).contains(&start.elapsed()));
    let frames = decode(&at_client, false);
    assert_eq!(frames.iter().filter(|frame| frame.opcode == PING).count(), 1);
    assert_eq!(decode(&read_all(&mut upstream_read).await, true), [Frame::close(1001, "")]);
    assert_eq!(rig.pump.await.unwrap(), Outcome::ClientSilent);
    drop(upstream_read);
    busy.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_is_cut_and_the_client_told() {
    let rig = Rig::new(1024);
    let start = Instant::now();
    let (mut client_read, mut client_write) = tokio::io::split(rig.client);
    let busy = tokio::spawn(async move {
        while client_write.write_all(&Frame::new(TEXT, "x").encode(Some(MASK))).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut upstream = rig.upstream;
    let frames = decode(&read_all(&mut upstream).await, true);
    assert!(about(Limits::default().silence).contains(&start.elapsed()));
    assert_eq!(frames.iter().filter(|frame| frame.opcode == PING).count(), 1);
    assert!(frames.iter().all(|frame| frame.opcode != CLOSE));
    let at_client = decode(&read_all(&mut client_read).await, false);
    assert_eq!(at_client, [Frame::close(1011, "upstream is silent")]);
    assert_eq!(rig.pump.await.unwrap(), Outcome::UpstreamSilent);
    drop(client_read);
    busy.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_busy_with_one_long_frame_is_not_silent() {
    let rig = Rig::new(1024);
    let frame = Frame::new(2, vec![1; 300]);
    let bytes = frame.encode(None);
    let (_upstream_read, mut upstream_write) = tokio::io::split(rig.upstream);
    let sender = tokio::spawn(async move {
        for byte in bytes {
            upstream_write.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        upstream_write
    });
    let mut client = rig.client;
    let at_client = read_some(&mut client, 304 + 2).await;
    // No Ping until the frame's end, five minutes in.
    assert_eq!(decode(&at_client, false), [frame, Frame::new(PING, [])]);
    assert!(!rig.pump.is_finished());
    sender.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stalled_client_is_cut_and_the_upstream_told() {
    let rig = Rig::new(256);
    let start = Instant::now();
    let (mut upstream_read, mut upstream_write) = tokio::io::split(rig.upstream);
    let flood = tokio::spawn(async move {
        let bytes = encode_all(&vec![Frame::new(2, vec![1; 100]); 5000], None);
        upstream_write.write_all(&bytes).await
    });
    // It sends, but reads nothing.
    let (client_read, mut client_write) = tokio::io::split(rig.client);
    let busy = tokio::spawn(async move {
        while client_write.write_all(&Frame::new(TEXT, "x").encode(Some(MASK))).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let frames = decode(&read_all(&mut upstream_read).await, true);
    assert!(about(Limits::default().write_stall).contains(&start.elapsed()));
    assert_eq!(frames.last(), Some(&Frame::close(1001, "")));
    assert_eq!(rig.pump.await.unwrap(), Outcome::ClientStalled);
    drop((client_read, upstream_read));
    busy.await.unwrap();
    flood.await.unwrap().ok();
}

#[tokio::test(start_paused = true)]
async fn a_stalled_upstream_is_cut_and_the_client_told() {
    let rig = Rig::new(256);
    let (mut client_read, mut client_write) = tokio::io::split(rig.client);
    let flood = tokio::spawn(async move {
        let bytes = encode_all(&vec![Frame::new(2, vec![1; 100]); 5000], Some(MASK));
        client_write.write_all(&bytes).await
    });
    let (upstream_read, mut upstream_write) = tokio::io::split(rig.upstream);
    let busy = tokio::spawn(async move {
        while upstream_write.write_all(&Frame::new(TEXT, "x").encode(None)).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let frames = decode(&read_all(&mut client_read).await, false);
    assert_eq!(frames.last(), Some(&Frame::close(1011, "upstream does not read")));
    assert_eq!(rig.pump.await.unwrap(), Outcome::UpstreamStalled);
    drop((upstream_read, client_read));
    busy.await.unwrap();
    flood.await.unwrap().ok();
}

#[tokio::test(start_paused = true)]
async fn an_opaque_tunnel_gets_no_pings_and_ends_when_nothing_moves() {
    let mut rig = Rig::new(1024);
    for _ in 0..200 {
        // One way only, and for longer than the limit of silence.
        rig.upstream.write_all(b"\x7fopaque").await.unwrap();
        rig.upstream.flush().await.unwrap();
        assert_eq!(read_some(&mut rig.client, 7).await, b"\x7fopaque");
        if rig.pump.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The upstream's own direction is valid and empty: it is pinged, and answers in its own way.
    }
    assert!(!rig.pump.is_finished());
    let start = Instant::now();
    assert_eq!(read_all(&mut rig.client).await, b"");
    assert!(about(Limits::default().silence).contains(&start.elapsed()));
    assert_eq!(rig.pump.await.unwrap(), Outcome::ClientSilent);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_in_which_nothing_moves_is_polled_on_its_ticks_only() {
    for blocked in [false, true] {
        let (_client, client_leg) = duplex(64);
        let (mut upstream, upstream_leg) = duplex(64);
        if blocked {
            upstream.write_all(&[0x82, 60]).await.unwrap();
        }
        let sender = tokio::spawn(async move {
            if blocked {
                upstream.write_all(&[0; 200]).await.unwrap();
            }
            upstream
        });
        let polls = std::cell::Cell::new(0);
        let ending = std::future::poll_fn(|_| {
            polls.set(polls.get() + 1);
            Poll::<Ending>::Pending
        });
        let (limits, counters) = (Limits::default(), Counters::default());
        let tunnel = pump(client_leg, upstream_leg, &limits, &counters, ending, || MASK);
        assert!(tokio::time::timeout(Duration::from_secs(55), tunnel).await.is_err());
        // A tick every 2.5 s.
        assert!((20..=30).contains(&polls.get()), "{}", polls.get());
        sender.abort();
    }
}
