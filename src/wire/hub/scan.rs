//! The frames in a connection's bytes, by their headers alone: limits are applied while a message
//! arrives, before anything is put together from it.
//!
//! It must never keep a byte, and never look into a body. What is no frame is left to the engine,
//! which says what is wrong with it.

use super::refusal::Limit;

/// The bytes of a greeting.
const GREETING_BYTES: usize = 64;
/// An incomplete frame of fewer bytes than this waits for more, so that a peer that sends bytes one
/// by one costs a byte each and not a piece of memory each.
const PIECE_BYTES_MIN: usize = 4 * 1024;
/// Frames handed on at a time, commands or others; what they become is looked at before the next.
const STEP_FRAMES_MAX: usize = 256;
/// What CURVE puts around a frame: the command's name, a nonce, an authenticator and the flags.
const BOX_BYTES: usize = 8 + 8 + 16 + 1;
/// What a handshake puts around metadata: under NULL a command's name, under CURVE the larger of its
/// commands without its metadata.
const READY_BYTES: usize = 6;
const INITIATE_BYTES: usize = 9 + 96 + 8 + 16 + 128;
/// Commands other than subscriptions fit into this many bytes.
const COMMAND_BYTES_MIN: usize = 64;
/// What a subscription puts around its topic, as a command and as a message.
const SUBSCRIBE_BYTES: usize = 10;

pub(super) const MORE: u8 = 1;
pub(super) const LONG: u8 = 2;
pub(super) const COMMAND: u8 = 4;

/// The limits of frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) message_bytes_max: usize,
    pub(super) parts_max: usize,
    pub(super) metadata_bytes_max: usize,
    pub(super) topic_bytes_max: usize,
    /// Whether frames are boxes of CURVE.
    pub(super) is_sealed: bool,
    /// Whether nothing but subscriptions is expected.
    pub(super) is_publishing: bool,
}

/// Where in its bytes a connection is.
#[derive(Debug)]
pub(super) struct Scan {
    rules: Rules,
    greeted: usize,
    is_open: bool,
    /// Bytes of a body that are still to come, of a frame whose beginning was handed on.
    left: usize,
    /// Whether the frame under way is a command.
    is_command: bool,
    has_more: bool,
    /// Messages that ended.
    messages: u64,
    /// Of the message under way.
    parts: usize,
    bytes: usize,
}

/// What may be handed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// How many bytes.
    pub(super) take: usize,
    /// The frames that end in them.
    pub(super) frames: u32,
    /// The commands among those.
    pub(super) commands: u32,
    /// What the frame after them breaks.
    pub(super) fault: Option<Limit>,
}

/// What a frame's header says.
pub(super) struct Header {
    pub(super) flags: u8,
    /// The bytes of the header itself.
    pub(super) header: usize,
    pub(super) body: usize,
}

impl Scan {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            greeted: 0,
            is_open: false,
            left: 0,
            is_command: false,
            has_more: false,
            messages: 0,
            parts: 0,
            bytes: 0,
        }
    }

    /// The bytes that one message may have.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.rules.message_bytes_max
    }

    /// Whether the peer's greeting is whole.
    pub(super) fn is_greeted(&self) -> bool {
        self.greeted == GREETING_BYTES
    }

    /// The handshake is done: from now on there are messages.
    pub(super) fn open(&mut self) {
        self.is_open = true;
    }

    /// Whether the beginning of a frame was handed on, and not all of it.
    pub(super) fn is_midway(&self) -> bool {
        self.left > 0
    }

    /// The message under way, by its number, and how many of its bytes were handed on.
    pub(super) fn unfinished(&self) -> (u64, usize) {
        let to_come = if self.is_command { 0 } else { self.left };
        (self.messages, self.bytes.saturating_sub(to_come))
    }

    /// How many of the bytes may be handed on now. None, without a fault, means that the frame they
    /// begin is not whole.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        let mut step = Step {
            take: 0,
            frames: 0,
            commands: 0,
            fault: None,
        };
        if self.greeted < GREETING_BYTES {
            step.take = bytes.len().min(GREETING_BYTES - self.greeted);
            self.greeted += step.take;
            return step;
        }
        let frames_max = if self.is_open && !self.rules.is_sealed {
            STEP_FRAMES_MAX
        } else {
            1
        };
        for _ in 0..frames_max {
            if !self.frame(bytes, &mut step) {
                break;
            }
        }
        step
    }

    /// One frame more; false where there is none that is whole.
    fn frame(&mut self, bytes: &[u8], step: &mut Step) -> bool {
        if self.left == 0 {
            let flags = bytes.get(step.take).copied().unwrap_or_default();
            if flags & !(MORE | LONG | COMMAND) != 0 {
                // The engine refuses it by its first byte.
                step.take += 1;
                return false;
            }
            let Some(header) = header(&bytes[step.take..]) else {
                return false;
            };
            let is_command = header.flags & COMMAND != 0;
            if step.frames > 0 && is_command != (step.commands > 0) {
                // The engine keeps messages and commands apart; their order is kept here.
                return false;
            }
            step.fault = self.fault(&header);
            if step.fault.is_some() {
                return false;
            }
            let here = bytes.len() - step.take;
            let whole = header.header + header.body;
            if here < whole && (here < PIECE_BYTES_MIN || !self.is_open) {
                return false;
            }
            self.begin(&header);
            step.take += header.header;
        }
        let here = bytes.len() - step.take;
        if here < self.left && here < PIECE_BYTES_MIN {
            return false;
        }
        let piece = here.min(self.left);
        step.take += piece;
        self.left -= piece;
        if self.left > 0 {
            return false;
        }
        self.end(step);
        true
    }

    fn begin(&mut self, header: &Header) {
        self.left = header.body;
        self.is_command = header.flags & COMMAND != 0;
        self.has_more = header.flags & MORE != 0;
        if !self.is_command {
            self.parts += 1;
            self.bytes += header.body;
        }
    }

    fn end(&mut self, step: &mut Step) {
        step.frames += 1;
        if self.is_command {
            step.commands += 1;
        } else if !self.has_more {
            (self.parts, self.bytes) = (0, 0);
            self.messages += 1;
        }
    }

    fn fault(&self, header: &Header) -> Option<Limit> {
        let rules = &self.rules;
        let is_command = header.flags & COMMAND != 0;
        if !self.is_open {
            let around = if rules.is_sealed {
                INITIATE_BYTES
            } else {
                READY_BYTES
            };
            return (header.body > rules.metadata_bytes_max + around).then_some(Limit::Metadata);
        }
        if rules.is_sealed {
            // How many parts there are is known when the box is open.
            let max = rules.message_bytes_max.saturating_add(BOX_BYTES);
            return (header.body > max).then_some(Limit::Message);
        }
        let topic_max = rules.topic_bytes_max + SUBSCRIBE_BYTES;
        if is_command {
            return (header.body > topic_max.max(COMMAND_BYTES_MIN)).then_some(Limit::Topic);
        }
        if rules.is_publishing && header.body > topic_max {
            return Some(Limit::Topic);
        }
        if self.parts >= rules.parts_max {
            return Some(Limit::Parts);
        }
        let bytes = self.bytes.saturating_add(header.body);
        (bytes > rules.message_bytes_max).then_some(Limit::Message)
    }
}

pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let flags = *bytes.first()?;
    if flags & LONG == 0 {
        let body = usize::from(*bytes.get(1)?);
        return Some(Header {
            flags,
            header: 2,
            body,
        });
    }
    let length = bytes.get(1..9)?;
    let length = u64::from_be_bytes(length.try_into().expect("eight bytes"));
    Some(Header {
        flags,
        header: 9,
        // More than memory can hold is more than any limit.
        body: usize::try_from(length).unwrap_or(usize::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            message_bytes_max: 1_000,
            parts_max: 3,
            metadata_bytes_max: 100,
            topic_bytes_max: 20,
            is_sealed: false,
            is_publishing: false,
        }
    }

    fn open(rules: Rules) -> Scan {
        let mut scan = Scan::new(rules);
        assert_eq!(scan.step(&[0; 200]).take, GREETING_BYTES);
        scan.open();
        scan
    }

    fn frame(flags: u8, body: usize) -> Vec<u8> {
        let mut bytes = match u8::try_from(body) {
            Ok(body) => vec![flags, body],
            Err(_) => {
                let mut bytes = vec![flags | LONG];
                bytes.extend((body as u64).to_be_bytes());
                bytes
            }
        };
        bytes.resize(bytes.len() + body, 0);
        bytes
    }

    /// What the frames break, by bytes given `piece` at a time.
    fn fault(mut scan: Scan, bytes: &[u8], piece: usize) -> Option<Limit> {
        let mut held = Vec::new();
        for piece in bytes.chunks(piece) {
            held.extend_from_slice(piece);
            loop {
                let step = scan.step(&held);
                held.drain(..step.take);
                if step.fault.is_some() {
                    return step.fault;
                }
                if step.take == 0 {
                    break;
                }
            }
        }
        None
    }

    #[test]
    fn each_limit_lets_its_measure_pass_and_one_more_not() {
        let parts =
            |n: usize| -> Vec<u8> { (0..n).flat_map(|i| frame(u8::from(i + 1 < n), 1)).collect() };
        let publishing = Rules {
            is_publishing: true,
            ..rules()
        };
        let rows: [(Rules, Vec<u8>, Vec<u8>, Limit); 5] = [
            (rules(), frame(0, 1_000), frame(0, 1_001), Limit::Message),
            (rules(), parts(3), parts(4), Limit::Parts),
            (
                rules(),
                frame(COMMAND, 64),
                frame(COMMAND, 65),
                Limit::Topic,
            ),
            (publishing, frame(0, 30), frame(0, 31), Limit::Topic),
            (
                rules(),
                [frame(MORE, 500), frame(0, 500)].concat(),
                [frame(MORE, 500), frame(0, 501)].concat(),
                Limit::Message,
            ),
        ];
        for (rules, passes, fails, limit) in rows {
            for piece in [1, 7, 100_000] {
                assert_eq!(
                    fault(open(rules), &passes.repeat(5), piece),
                    None,
                    "{limit:?}"
                );
                assert_eq!(fault(open(rules), &fails, piece), Some(limit));
            }
        }
    }

    #[test]
    fn a_handshake_has_its_own_limit_with_and_without_a_box() {
        for (is_sealed, max) in [(false, 106), (true, 100 + INITIATE_BYTES)] {
            let rules = Rules {
                is_sealed,
                ..rules()
            };
            let greeting = vec![0; GREETING_BYTES];
            let passes = [greeting.clone(), frame(COMMAND, max)].concat();
            let fails = [greeting, frame(COMMAND, max + 1)].concat();
            assert_eq!(fault(Scan::new(rules), &passes, 5), None);
            assert_eq!(fault(Scan::new(rules), &fails, 5), Some(Limit::Metadata));
        }
    }

    #[test]
    fn a_declared_length_is_refused_by_its_header_alone() {
        for exponent in [20, 40, 62, 63] {
            let mut header = vec![LONG];
            header.extend((1_u64 << exponent).to_be_bytes());
            assert_eq!(fault(open(rules()), &header, 9), Some(Limit::Message));
        }
        assert_eq!(
            fault(open(rules()), &[&[LONG][..], &[0xff; 8]].concat(), 9),
            Some(Limit::Message)
        );
    }

    #[test]
    fn large_bodies_pass_in_pieces_and_small_ones_whole() {
        let rules = Rules {
            message_bytes_max: 100_000,
            ..rules()
        };
        let mut scan = open(rules);
        let bytes = frame(0, 50_000);
        assert_eq!(scan.step(&bytes[..100]).take, 0, "too little to hand on");
        assert_eq!(scan.step(&bytes[..5_000]).take, 5_000);
        assert_eq!(scan.step(&bytes[5_000..6_000]).take, 0);
        assert_eq!(scan.step(&bytes[5_000..]).take, bytes.len() - 5_000);
        assert_eq!(scan.step(&[]).take, 0);
    }

    #[test]
    fn a_step_is_a_bounded_number_of_frames_and_counts_commands() {
        let mut scan = open(rules());
        let bytes = [frame(COMMAND, 7).repeat(1_000), frame(0, 0)].concat();
        let step = scan.step(&bytes);
        assert_eq!(step.commands as usize, STEP_FRAMES_MAX);
        assert_eq!(step.take, STEP_FRAMES_MAX * 9);
    }

    #[test]
    fn commands_and_messages_are_handed_on_apart_so_that_their_order_stays() {
        let mut scan = open(rules());
        let frames = [frame(0, 1), frame(0, 2), frame(COMMAND, 7), frame(0, 3)];
        let bytes = frames.concat();
        let mut at = 0;
        let takes: Vec<(usize, u32)> = (0..3)
            .map(|_| {
                let step = scan.step(&bytes[at..]);
                at += step.take;
                (step.take, step.commands)
            })
            .collect();
        assert_eq!(takes, [(7, 0), (9, 1), (5, 0)]);
    }

    #[test]
    fn what_is_no_frame_is_handed_on_by_its_first_byte() {
        let step = open(rules()).step(&[0xff, 0, 0]);
        assert_eq!((step.take, step.fault), (1, None));
    }
}
