//! The loopback interface of a new network namespace, which is down at first.
//!
//! Source: rtnetlink(7), netlink(7): one `RTM_NEWLINK` message that sets `IFF_UP`.

use std::io;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket};

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFF_UP: u32 = 1;
/// Bytes of `struct nlmsghdr` and `struct ifinfomsg` together.
const LENGTH: u32 = 32;
/// It is the first interface of every network namespace.
const INDEX: i32 = 1;

/// Brings it up.
pub(super) fn bring_up() -> io::Result<()> {
    let mut message = Vec::new();
    // nlmsghdr: length, type, flags, sequence number, port.
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    // ifinfomsg: family and padding, type, index, flags, and which of the flags count.
    message.extend([0; 4]);
    message.extend(INDEX.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());

    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 256];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    // nlmsgerr follows the header: zero, or an errno with its sign turned.
    match answer.get(16..20).filter(|_| length >= 20) {
        Some(code) => match i32::from_ne_bytes(code.try_into().expect("four bytes")) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        },
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
