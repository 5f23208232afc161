//! Messages cut out of streams that are cut at every place themselves.

use fastrand::Rng;

use super::*;

const RULES: CutRules = CutRules {
    message_bytes_max: 1_000,
    parts_max: 3,
    skips: false,
};

#[derive(Default)]
struct Got {
    messages: Vec<Vec<u8>>,
    topics: Vec<Vec<u8>>,
    commands: Vec<Vec<u8>>,
    payload: usize,
    skipped: usize,
}

impl CutSink for Got {
    fn message(&mut self, bytes: &[u8], place: Place) {
        self.messages.push(bytes[place.start..place.end].to_vec());
        self.topics
            .push(bytes[place.topic.0..place.topic.1].to_vec());
        self.payload += place.payload;
    }

    fn assembled(&mut self, _before: &[u8], message: Bytes, place: Place) {
        self.message(&message, place);
    }

    fn command(&mut self, frame: &[u8]) {
        self.commands.push(frame.to_vec());
    }

    fn skipped(&mut self) {
        self.skipped += 1;
    }
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(len) => [&[flags, len][..], body].concat(),
        Err(_) => {
            let len = (body.len() as u64).to_be_bytes();
            [&[flags | LONG][..], &len, body].concat()
        }
    }
}

/// Feeds the bytes in pieces of a size.
fn cut(bytes: &[u8], piece: usize) -> (Got, Result<(), CutFault>, Cutter) {
    cut_by(RULES, bytes, piece)
}

fn cut_by(rules: CutRules, bytes: &[u8], piece: usize) -> (Got, Result<(), CutFault>, Cutter) {
    let (mut got, mut cutter) = (Got::default(), Cutter::new(rules));
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            match cutter.feed(piece, &mut got) {
                Ok(taken) => piece = &piece[taken..],
                Err(fault) => return (got, Err(fault), cutter),
            }
        }
    }
    (got, Ok(()), cutter)
}

#[test]
fn messages_are_found_wherever_reads_end_and_whatever_stands_between_their_frames() {
    let mut rng = Rng::with_seed(11);
    let ping = frame(COMMAND, b"\x04PING\0\0");
    for _ in 0..200 {
        let (mut bytes, mut expected, mut pings) = (Vec::new(), Got::default(), 0);
        for _ in 0..rng.usize(1..40) {
            let parts = rng.usize(1..=3);
            let mut whole = Vec::new();
            for part in 0..parts {
                let size = if rng.bool() {
                    rng.usize(..8)
                } else {
                    rng.usize(..333)
                };
                let body = vec![rng.u8(..); size];
                if part == 0 {
                    expected.topics.push(body.clone());
                }
                expected.payload += size;
                let frame = frame(u8::from(part + 1 < parts), &body);
                if rng.u8(..5) == 0 {
                    bytes.extend_from_slice(&ping);
                    pings += 1;
                }
                bytes.extend_from_slice(&frame);
                whole.extend(frame);
            }
            expected.messages.push(whole);
        }
        for piece in [1, 2, 3, 10, 100, bytes.len()] {
            let (got, result, cutter) = cut(&bytes, piece);
            assert_eq!(result, Ok(()));
            assert_eq!(got.messages, expected.messages, "pieces of {piece}");
            assert_eq!(got.topics, expected.topics);
            assert_eq!(got.payload, expected.payload);
            assert_eq!(got.commands, vec![ping.clone(); pings]);
            assert_eq!(cutter.unfinished(), (expected.messages.len() as u64, 0));
        }
    }
}

#[test]
fn each_limit_lets_its_measure_pass_and_one_more_not() {
    let parts = |n: usize| -> Vec<u8> {
        (0..n)
            .flat_map(|i| frame(u8::from(i + 1 < n), b"x"))
            .collect()
    };
    let rows = [
        (frame(0, &[0; 1_000]), frame(0, &[0; 1_001]), Limit::Message),
        (parts(3), parts(4), Limit::Parts),
        (
            [frame(MORE, &[0; 500]), frame(0, &[0; 500])].concat(),
            [frame(MORE, &[0; 500]), frame(0, &[0; 501])].concat(),
            Limit::Message,
        ),
        (
            frame(COMMAND, &[4; COMMAND_BYTES_MAX]),
            frame(COMMAND, &[4; COMMAND_BYTES_MAX + 1]),
            Limit::Topic,
        ),
    ];
    for (passes, fails, limit) in rows {
        for piece in [1, 7, 100_000] {
            assert_eq!(cut(&passes.repeat(5), piece).1, Ok(()), "{limit:?}");
            let after = [passes.clone(), fails.clone()].concat();
            let (got, result, _) = cut(&after, piece);
            assert_eq!(result, Err(CutFault::Limit(limit)));
            let before = got.messages.len() + got.commands.len();
            assert_eq!(before, 1, "what came whole before it is handed on");
        }
    }
}

#[test]
fn what_is_over_a_limit_is_passed_over_where_that_is_asked_for_and_all_else_comes() {
    let rules = CutRules {
        skips: true,
        ..RULES
    };
    let ping = frame(COMMAND, b"\x04PING\0\0");
    let good = [frame(MORE, b"topic"), frame(0, &[1; 300])].concat();
    let rows = [
        frame(0, &[0; 1_001]),
        [frame(MORE, b"t"), frame(0, &[0; 5_000])].concat(),
        [frame(MORE, b"t").repeat(40), frame(0, b"")].concat(),
        [frame(MORE, &[0; 900]), ping.clone(), frame(0, &[0; 101])].concat(),
    ];
    for over in rows {
        let bytes = [&good[..], &over, &good, &over, &over, &good].concat();
        for piece in [1, 7, 64, 100_000] {
            let (got, result, cutter) = cut_by(rules, &bytes, piece);
            assert_eq!(result, Ok(()));
            assert_eq!(got.messages, vec![good.clone(); 3], "pieces of {piece}");
            assert_eq!(got.skipped, 3);
            assert_eq!(cutter.unfinished(), (6, 0));
        }
        let most = RULES.message_bytes_max + 9 * RULES.parts_max;
        for end in 0..over.len() {
            let (.., cutter) = cut_by(rules, &over[..end], 64);
            assert!(cutter.partial.len() <= most, "nothing is held of it");
        }
        // Who is no bus of ours is not passed over.
        assert!(cut(&bytes, 64).1.is_err());
    }
    let no_frame = cut_by(rules, &[0xff, 1, 2, 3], 4).1;
    assert_eq!(no_frame, Err(CutFault::NoFrame), "only limits are");
}

#[test]
fn a_declared_length_takes_no_memory_and_what_is_no_frame_is_refused() {
    for exponent in [10, 40, 62, 63] {
        let mut bytes = vec![LONG];
        bytes.extend((1_u64 << exponent).to_be_bytes());
        for piece in [1, 9] {
            let (_, result, cutter) = cut(&bytes, piece);
            assert_eq!(result, Err(CutFault::Limit(Limit::Message)));
            assert_eq!(cutter.partial.capacity(), 0);
        }
    }
    for flags in [8, 0xff, 0x83] {
        for piece in [1, 100] {
            let (_, result, _) = cut(&[flags, 1, 2, 3, 4, 5, 6, 7, 8, 9], piece);
            assert_eq!(result, Err(CutFault::NoFrame), "{flags}");
        }
    }
}

#[test]
fn whole_messages_are_measured_and_taken_apart() {
    let bytes = [frame(MORE, b"a"), frame(0, &[7; 300]), frame(0, b"")].concat();
    assert_eq!(measure(&bytes, 0), (3 + 309, 301));
    assert_eq!(measure(&bytes, 312), (314, 0));
    let frames = frames(&Bytes::from(bytes));
    assert_eq!(frames[0], "a");
    assert_eq!((frames.len(), frames[1].len()), (2, 300));
}

#[test]
fn what_a_stranger_sends_means_the_same_however_it_is_cut() {
    for seed in 0..3_000 {
        let mut rng = Rng::with_seed(seed);
        let mut bytes = Vec::new();
        for _ in 0..rng.usize(1..12) {
            let flags = if rng.u8(..4) == 0 {
                COMMAND
            } else {
                rng.u8(..2)
            };
            let body = vec![rng.u8(..); rng.usize(..70)];
            bytes.extend(frame(flags, &body));
        }
        for _ in 0..rng.usize(..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        let (whole, result, _) = cut(&bytes, bytes.len());
        for piece in [1, 5, 64] {
            let (got, same, cutter) = cut(&bytes, piece);
            assert_eq!(same, result, "seed {seed}, pieces of {piece}");
            assert_eq!(got.messages, whole.messages);
            assert_eq!(got.commands, whole.commands);
            assert!(cutter.partial.len() <= RULES.message_bytes_max + 9 * RULES.parts_max);
        }
    }
}
