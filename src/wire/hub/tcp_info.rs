//! What the kernel knows of a TCP connection: whether the other machine still acknowledges.
//!
//! Asked of the kernel's socket diagnosis, for one connection at a time, by its addresses: a stopped
//! process and a full queue are told apart from a machine that is gone. Asking costs three system
//! calls and never waits; where it is not possible there is no answer, and nobody is cut for it.

/// What the kernel knows of one connection; times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpInfo {
    /// Segments sent and not acknowledged.
    pub(super) unacked: u32,
    /// Probes of a closed window, or of silence, that were not answered.
    pub(super) probes: u8,
    /// Bytes that were not acknowledged or not sent yet.
    pub(super) queued: u32,
    /// The round trip.
    pub(super) round_ms: u32,
    /// Since anything was sent.
    pub(super) sent_ms: u32,
    /// Since anything was acknowledged.
    pub(super) acked_ms: u32,
}

impl TcpInfo {
    /// Whether all that was sent is acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        self.queued == 0
    }

    /// Whether the other machine has left unanswered what was sent for `wait_ms`. Between two
    /// attempts of a peer that does answer there may be any time, so the last one counts.
    pub(super) fn is_unanswered(&self, wait_ms: u32) -> bool {
        let rounds_ms = self.round_ms.saturating_mul(2);
        let is_ignored = self.unacked > 0
            && self.acked_ms >= wait_ms.saturating_add(rounds_ms)
            && self.acked_ms > self.sent_ms
            && self.sent_ms >= ANSWER_MS.saturating_add(rounds_ms);
        is_ignored || self.probes >= PROBES_MAX
    }
}

/// How long ago the last attempt must have been for its answer to be missed.
const ANSWER_MS: u32 = 100;
/// A peer that does not read answers every probe; one lost packet is not the end.
const PROBES_MAX: u8 = 2;

/// Asks for the connection between two addresses.
#[cfg(not(target_os = "linux"))]
pub(super) fn ask(_local: std::net::SocketAddr, _remote: std::net::SocketAddr) -> Option<TcpInfo> {
    None
}

#[cfg(target_os = "linux")]
pub(super) use netlink::ask;

#[cfg(target_os = "linux")]
mod netlink {
    use std::net::{IpAddr, SocketAddr};

    use rustix::net::netlink::SOCK_DIAG;
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
    };

    use super::TcpInfo;

    /// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`, `IPPROTO_TCP`, `INET_DIAG_INFO`.
    const BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    const TCP: u8 = 6;
    const INFO: u16 = 2;
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    /// The bytes of a message's header, of the answer's fixed part, and of an attribute's header.
    const HEADER: usize = 16;
    const ANSWER: usize = 72;
    const ATTRIBUTE: usize = 4;

    /// Asks for the connection between two addresses.
    pub(in super::super) fn ask(local: SocketAddr, remote: SocketAddr) -> Option<TcpInfo> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = AddressFamily::NETLINK;
        let socket = socket_with(family, SocketType::RAW, flags, Some(SOCK_DIAG)).ok()?;
        send(&socket, &request(local, remote), SendFlags::empty()).ok()?;
        // The kernel has answered by the time that sending returns.
        let mut answer = [0_u8; 2_048];
        let (count, _) = recv(&socket, &mut answer[..], RecvFlags::empty()).ok()?;
        read(answer.get(..count)?)
    }

    /// A header, then `struct inet_diag_req_v2`.
    pub(super) fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
        let mut body = vec![
            if local.is_ipv4() { AF_INET } else { AF_INET6 },
            TCP,
            1 << (INFO - 1),
            0,
        ];
        body.extend(u32::MAX.to_ne_bytes());
        body.extend(local.port().to_be_bytes());
        body.extend(remote.port().to_be_bytes());
        for ip in [local.ip(), remote.ip()] {
            let mut field = [0; 16];
            match ip {
                IpAddr::V4(ip) => field[..4].copy_from_slice(&ip.octets()),
                IpAddr::V6(ip) => field.copy_from_slice(&ip.octets()),
            }
            body.extend(field);
        }
        // Any interface, any cookie.
        body.extend([0; 4]);
        body.extend([0xff; 8]);
        let mut message = Vec::with_capacity(HEADER + body.len());
        let length = u32::try_from(HEADER + body.len()).expect("some tens of bytes");
        message.extend(length.to_ne_bytes());
        message.extend(BY_FAMILY.to_ne_bytes());
        message.extend(REQUEST.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        message
    }

    /// A header, `struct inet_diag_msg`, then attributes; one of them is `struct tcp_info`.
    pub(super) fn read(message: &[u8]) -> Option<TcpInfo> {
        let short = |bytes: &[u8], at: usize| {
            let field = bytes.get(at..at + 2)?;
            Some(u16::from_ne_bytes(field.try_into().ok()?))
        };
        let long = |bytes: &[u8], at: usize| {
            let field = bytes.get(at..at + 4)?;
            Some(u32::from_ne_bytes(field.try_into().ok()?))
        };
        if short(message, 4)? != BY_FAMILY {
            return None;
        }
        let queued = long(message, HEADER + 60)?;
        let mut rest = message.get(HEADER + ANSWER..)?;
        loop {
            let (length, kind) = (usize::from(short(rest, 0)?), short(rest, 2)?);
            if kind == INFO {
                let info = rest.get(ATTRIBUTE..)?;
                return Some(TcpInfo {
                    unacked: long(info, 24)?,
                    probes: *info.get(3)?,
                    queued,
                    round_ms: long(info, 68)? / 1_000,
                    sent_ms: long(info, 44)?,
                    acked_ms: long(info, 56)?,
                });
            }
            rest = rest.get(length.max(ATTRIBUTE).next_multiple_of(4)..)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    fn pair(at: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((at, 0)).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    #[test]
    fn a_peer_that_does_not_read_answers_and_what_is_read_is_settled() {
        for at in ["127.0.0.1", "::1"] {
            let (mut ours, theirs) = pair(at);
            ours.write_all(b"hello").unwrap();
            let asked =
                |stream: &TcpStream| ask(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let info = asked(&ours).expect("the kernel answers");
            assert!(info.is_settled() && !info.is_unanswered(0), "{info:?}");
            ours.set_nonblocking(true).unwrap();
            while ours.write(&[0; 65_536]).is_ok() {}
            std::thread::sleep(std::time::Duration::from_millis(700));
            let info = asked(&ours).expect("the kernel answers");
            assert!(!info.is_settled() && !info.is_unanswered(500), "{info:?}");
            drop(theirs);
        }
    }

    #[test]
    fn who_is_not_there_has_no_answer() {
        let (ours, theirs) = pair("127.0.0.1");
        let (local, remote) = (ours.local_addr().unwrap(), theirs.local_addr().unwrap());
        let nobody = SocketAddr::new(remote.ip(), 1);
        assert_eq!(ask(local, nobody), None);
    }

    #[test]
    fn only_a_last_attempt_that_was_left_unanswered_counts() {
        let info = TcpInfo {
            unacked: 1,
            probes: 0,
            queued: 9,
            round_ms: 0,
            sent_ms: 400,
            acked_ms: 2_000,
        };
        assert!(info.is_unanswered(1_800));
        assert!(!info.is_unanswered(2_001));
        // The attempt was a moment ago, or was answered.
        assert!(
            !TcpInfo {
                sent_ms: 50,
                ..info
            }
            .is_unanswered(1_800)
        );
        assert!(
            !TcpInfo {
                sent_ms: 2_100,
                ..info
            }
            .is_unanswered(1_800)
        );
        assert!(!TcpInfo { unacked: 0, ..info }.is_unanswered(1_800));
        assert!(
            !TcpInfo {
                round_ms: 300,
                ..info
            }
            .is_unanswered(1_800)
        );
        // A closed window: its probes tell.
        let closed = TcpInfo {
            unacked: 0,
            probes: 1,
            ..info
        };
        assert!(!closed.is_unanswered(1_800));
        assert!(
            TcpInfo {
                probes: 2,
                ..closed
            }
            .is_unanswered(1_800)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_answer_that_is_cut_or_an_error_is_none() {
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(netlink::request(at, at).len(), 16 + 56);
        for count in [0, 3, 20, 90] {
            assert_eq!(netlink::read(&vec![0; count]), None);
        }
    }
}
