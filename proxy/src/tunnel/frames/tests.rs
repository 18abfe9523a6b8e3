//! The tracker against frames made and cut by a seeded generator; the builders against tungstenite's decoder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{Role, WebSocket, WebSocketConfig, frame::coding::CloseCode},
};

use super::*;

/// One frame with a header in the shortest form, and a payload of zeros.
fn frame(first: u8, length: usize, masked: bool) -> Vec<u8> {
    let flag = if masked { MASKED } else { 0 };
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(flag | length as u8),
        126..65536 => {
            bytes.push(flag | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(flag | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend([1, 2, 3, 4]);
    }
    bytes.resize(bytes.len() + length, 0);
    bytes
}

#[test]
fn boundaries_are_found_whatever_the_chunks() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let masked = random.random();
        let mut stream = Vec::new();
        let mut boundaries = vec![0];
        for _ in 0..30 {
            let lengths = [0, 1, 125, 126, 127, 300, 65535, 65536, 70000];
            let (first, length) = match random.random_range(0..3) {
                0 => (FIN | [PING, 0xa][random.random_range(0..2)], random.random_range(0..=125)),
                1 => (random.random_range(0..3), lengths[random.random_range(0..lengths.len())]),
                _ => (FIN | random.random_range(0..3), lengths[random.random_range(0..lengths.len())]),
            };
            stream.extend(frame(first, length, masked));
            boundaries.push(stream.len());
        }
        let mut tracker = FrameTracker::new(if masked { Sender::Client } else { Sender::Server });
        let mut at = 0;
        while at < stream.len() {
            let longest = [1, 3, 20, 5000, 100_000][random.random_range(0..5)];
            let end = stream.len().min(at + random.random_range(1..=longest));
            let next = *boundaries.iter().find(|boundary| **boundary >= at).unwrap();
            assert_eq!(tracker.at_boundary(), next == at);
            assert_eq!(tracker.until_boundary(&stream[at..end]), next.min(end) - at);
            tracker.advance(&stream[at..end]);
            at = end;
        }
        assert!(tracker.may_inject());
    }
}

#[test]
fn nothing_may_follow_a_close_frame() {
    let mut tracker = FrameTracker::new(Sender::Server);
    tracker.advance(&frame(FIN | CLOSE, 2, false));
    assert!(tracker.close_seen() && tracker.at_boundary() && !tracker.may_inject());
}

#[test]
fn violations_make_the_stream_opaque_for_good() {
    let violations: [(&str, Sender, &[u8]); 8] = [
        ("reserved data opcode", Sender::Server, &[0x83]),
        ("reserved control opcode", Sender::Server, &[0x8b]),
        ("fragmented ping", Sender::Server, &[0x09]),
        ("ping of 126 bytes", Sender::Server, &[0x89, 126]),
        ("masked server", Sender::Server, &[0x82, 0x81]),
        ("unmasked client", Sender::Client, &[0x82, 0x01]),
        ("top bit of the length", Sender::Server, &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("not WebSocket at all", Sender::Server, b"GET / HTTP/1.1"),
    ];
    for (what, sender, bytes) in violations {
        let mut tracker = FrameTracker::new(sender);
        let valid = frame(0x82, 5, sender == Sender::Client);
        tracker.advance(&valid);
        assert!(tracker.may_inject());
        tracker.advance(bytes);
        tracker.advance(&valid);
        assert!(tracker.is_opaque() && !tracker.may_inject(), "{what}");
        assert_eq!(tracker.until_boundary(&valid), valid.len(), "{what}");
    }
}

#[test]
fn the_longest_allowed_length_is_followed() {
    let mut tracker = FrameTracker::new(Sender::Server);
    tracker.advance(&[0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255]);
    assert!(!tracker.is_opaque() && !tracker.at_boundary());
    assert_eq!(tracker.until_boundary(&[0; 1000]), 1000);
}

/// What tungstenite, in the receiving `role`, makes of `frame`.
fn decoded(frame: &ControlFrame, role: Role) -> Message {
    let stream = std::io::Cursor::new(frame.as_bytes().to_vec());
    WebSocket::from_raw_socket(stream, role, Some(WebSocketConfig::default())).read().unwrap()
}

#[test]
fn built_frames_are_understood() {
    for (role, mask) in [(Role::Client, None), (Role::Server, Some([9, 200, 3, 77]))] {
        assert_eq!(decoded(&ControlFrame::ping(mask), role), Message::Ping(Vec::new().into()));
        let Message::Close(Some(close)) = decoded(&ControlFrame::close(4001, "signed out", mask), role)
        else {
            panic!("not a Close frame");
        };
        assert_eq!((close.code, close.reason.as_str()), (CloseCode::Library(4001), "signed out"));
    }
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let reason = format!("{}é and more", "x".repeat(MAX_CLOSE_REASON - 1));
    let Message::Close(Some(close)) = decoded(&ControlFrame::close(1011, &reason, None), Role::Client) else {
        panic!("not a Close frame");
    };
    assert_eq!(close.reason.as_str(), "x".repeat(MAX_CLOSE_REASON - 1));
}
