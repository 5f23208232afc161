//! The socket of the systemd notification protocol, owned by the keeper so that what a program said
//! outlives the supervisor.
//!
//! The kernel says which process sent a message; what comes from a process that is not ours is
//! dropped, and so is what a sender says on behalf of another.

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg, sockopt,
};

use super::children::Children;
use super::protocol::{Event, Notice};
use crate::model::limits::runner::NOTICE_BYTES_MAX;
use crate::model::name::InstanceName;
use crate::run::procfs;
use crate::run::tag::NetworkId;

/// Messages taken before others get their turn.
const TURN_MESSAGES: usize = 256;

/// Binds the socket; whatever lies at its path is of a keeper that died.
pub(super) fn listen(path: &Path) -> io::Result<UnixDatagram> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = UnixDatagram::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    sockopt::set_socket_passcred(&socket, true)?;
    Ok(socket)
}

/// Reads what was sent, keeps the last state of each instance, and gives what happened.
pub(super) fn receive(
    socket: &UnixDatagram,
    network: &NetworkId,
    children: &mut Children,
) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..TURN_MESSAGES {
        let Some((sender, text)) = message(socket) else {
            break;
        };
        let Some((instance, generation)) = whose(sender, network, children) else {
            continue;
        };
        for notice in notices(&text) {
            if let Some(kid) = children.get_mut(instance.as_str())
                && matches!(notice, Notice::Ready | Notice::Reloading | Notice::Stopping)
            {
                kid.notice = Some(notice.clone());
            }
            events.push(Event::Notified {
                instance: instance.clone(),
                generation,
                notice,
            });
        }
    }
    events
}

/// One message and the process that sent it; nothing when none is left.
fn message(socket: &UnixDatagram) -> Option<(u32, String)> {
    let mut bytes = [0; NOTICE_BYTES_MAX];
    // Room for files too: a sender may pass some, and they are closed by being dropped.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(8))];
    loop {
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
        )
        .ok()?;
        let sender = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(who) => {
                u32::try_from(who.pid.as_raw_nonzero().get()).ok()
            }
            _ => None,
        });
        // One over the bound would be read without its end, so it is not read at all.
        if let (Some(sender), false) = (sender, received.flags.contains(ReturnFlags::TRUNC)) {
            let text = String::from_utf8_lossy(&bytes[..received.bytes]).into_owned();
            return Some((sender, text));
        }
    }
}

/// The life that a sender speaks for: the process we started, or one that carries its tag.
fn whose(sender: u32, network: &NetworkId, children: &Children) -> Option<(InstanceName, u64)> {
    if let Some((instance, kid)) = children.by_pid(sender) {
        return Some((instance.clone(), kid.generation));
    }
    let tag = procfs::tag(sender).filter(|tag| tag.network == *network)?;
    let kid = children.get(tag.instance.as_str())?;
    (kid.generation == tag.generation && kid.is_alive()).then_some((tag.instance, tag.generation))
}

fn notices(text: &str) -> impl Iterator<Item = Notice> {
    text.lines().filter_map(|line| match line {
        "READY=1" => Some(Notice::Ready),
        "RELOADING=1" => Some(Notice::Reloading),
        "STOPPING=1" => Some(Notice::Stopping),
        "WATCHDOG=1" => Some(Notice::Watchdog),
        line => line
            .strip_prefix("STATUS=")
            .map(|text| Notice::Status(text.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_lines_are_notices_and_others_are_passed_over() {
        let text = "READY=1\nSTATUS=all well\nMAINPID=3\nREADY=0\nSTOPPING=1";
        let all: Vec<_> = notices(text).collect();
        let status = Notice::Status("all well".into());
        assert_eq!(all, [Notice::Ready, status, Notice::Stopping]);
    }
}
