//! The way out of a machine: a proxy for HTTP (RFC 9110, 7.6 and 9.3.6) that connects to the mirrors of one
//! build and to nothing else.
//!
//! It listens nowhere: connections come through the machine's port. Each carries one request, after which it
//! is closed, so that every request is looked at.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream, ToSocketAddrs as _};
use std::thread;
use std::time::Duration;

use super::streams::{StreamReader, StreamWriter, pour};
use crate::util::error::Result;

/// The most bytes of a request without its body.
const LONGEST: usize = 64 << 10;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host and a port, the host in small letters.
type HostPort = (String, u16);

/// Another proxy, which this one has to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of `Proxy-Authorization`, when it asks for one.
    pub(crate) authorization: Option<String>,
}

/// Finds the proxy for a scheme and a host.
type FindProxy = Box<dyn Fn(&str, &str) -> Result<Option<Upstream>> + Send + Sync>;

/// What a machine may connect to.
pub(crate) struct Mirrors {
    /// What the user asked for, wherever it is.
    asked_for: BTreeSet<HostPort>,
    /// What the image asks for, which is not to be on this machine.
    of_image: BTreeSet<HostPort>,
    find_proxy: FindProxy,
}

impl Mirrors {
    /// The mirrors that these texts name, such as apt's sources.
    pub(crate) fn new(asked_for: &str, of_image: &str, find_proxy: FindProxy) -> Self {
        Self { asked_for: places(asked_for), of_image: places(of_image), find_proxy }
    }

    /// Answers what comes in a connection.
    pub(super) fn serve(&self, mut reader: StreamReader, mut writer: StreamWriter) {
        let refusal = match self.connect(&mut reader, &mut writer) {
            Ok((to, early)) => {
                drop(relay(reader, writer, to, &early));
                return;
            }
            Err(refusal) => refusal,
        };
        let Refusal { status, reason } = refusal;
        let body = format!("nodeforge: {reason}\n");
        drop(write!(
            writer,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ));
        // Whoever still sends is not to be cut off before it has read this.
        drop(reader);
    }

    /// Reads a request, and connects to what it asks for. Gives the connection and what is to be sent.
    fn connect(
        &self,
        reader: &mut StreamReader,
        writer: &mut StreamWriter,
    ) -> std::result::Result<(TcpStream, Vec<u8>), Refusal> {
        let (head, rest) = head(reader).ok_or(Refusal::bad("this is not a request"))?;
        let request =
            ProxyRequest::parse(&head).ok_or(Refusal::bad("this is not a proxy's request"))?;
        let scheme = if request.is_tunnel { "https" } else { "http" };
        let upstream = (self.find_proxy)(scheme, &request.place.0)
            .map_err(|error| Refusal::gateway(error.to_string()))?;
        let is_asked_for = self.asked_for.contains(&request.place);
        if !is_asked_for && !self.of_image.contains(&request.place) {
            let (host, port) = &request.place;
            return Err(Refusal {
                status: "403 Forbidden",
                reason: format!("{host}:{port} is not a mirror of this build"),
            });
        }
        let is_here = |host: &str| {
            host == "localhost"
                || host.ends_with(".localhost")
                || host.parse().is_ok_and(|it: IpAddr| it.is_loopback() || it.is_unspecified())
        };
        if !is_asked_for && is_here(&request.place.0) {
            return Err(Refusal::here(&request.place.0));
        }
        let mut to = match &upstream {
            Some(proxy) => dial(&(proxy.host.clone(), proxy.port), true),
            None => dial(&request.place, is_asked_for),
        }?;
        let early = if request.is_tunnel {
            if let Some(proxy) = &upstream {
                tunnel(&mut to, &request, proxy).map_err(|it| Refusal::gateway(it.to_string()))?;
            }
            let said = writer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
            said.map_err(|error| Refusal::gateway(error.to_string()))?;
            rest
        } else {
            request.forwarded(upstream.as_ref(), &rest)
        };
        Ok((to, early))
    }
}

/// Why a request is not passed on.
struct Refusal {
    status: &'static str,
    reason: String,
}

impl Refusal {
    fn bad(reason: &str) -> Self {
        Self { status: "400 Bad Request", reason: reason.to_owned() }
    }

    fn here(host: &str) -> Self {
        let reason =
            format!("{host} is the machine that builds, and the cluster file does not name it");
        Self { status: "403 Forbidden", reason }
    }

    fn gateway(reason: String) -> Self {
        Self { status: "502 Bad Gateway", reason }
    }
}

/// Everything up to the empty line, and what came behind it.
fn head(reader: &mut impl Read) -> Option<(String, Vec<u8>)> {
    const END: &[u8] = b"\r\n\r\n";
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(at) = bytes.windows(END.len()).position(|it| it == END) {
            let rest = bytes.split_off(at + END.len());
            return Some((String::from_utf8(bytes).ok()?, rest));
        }
        let length = reader.read(&mut buffer).ok().filter(|it| *it > 0)?;
        bytes.extend(&buffer[..length]);
        if bytes.len() > LONGEST {
            return None;
        }
    }
}

/// What a proxy is asked for.
struct ProxyRequest {
    is_tunnel: bool,
    place: HostPort,
    method: String,
    /// As it was written: an address, or for a tunnel a host and a port.
    target: String,
    /// Without their ends of line, and without those that are for a proxy.
    headers: Vec<String>,
}

impl ProxyRequest {
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.trim_end().split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let is_tunnel = method == "CONNECT";
        let place = if is_tunnel { place(&target, 443)? } else { address(&target)?.0 };
        let is_for_proxy = |line: &str| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            matches!(
                &*name,
                "connection" | "proxy-connection" | "keep-alive" | "proxy-authorization"
            )
        };
        let headers = lines.filter(|it| !is_for_proxy(it)).map(str::to_owned).collect();
        Some(Self { is_tunnel, place, method, target, headers })
    }

    /// The bytes to be sent on, for one request alone.
    fn forwarded(&self, upstream: Option<&Upstream>, rest: &[u8]) -> Vec<u8> {
        let target = match upstream {
            Some(_) => self.target.as_str(),
            None => address(&self.target).map_or("/", |(_, path)| path),
        };
        let mut text = format!("{} {target} HTTP/1.1\r\n", self.method);
        for line in &self.headers {
            text += &format!("{line}\r\n");
        }
        if let Some(value) = upstream.and_then(|it| it.authorization.as_ref()) {
            text += &format!("Proxy-Authorization: {value}\r\n");
        }
        text += "Connection: close\r\n\r\n";
        // What follows a request without a body is another request, which is asked again.
        let has_body = self.headers.iter().any(|it| {
            let it = it.to_ascii_lowercase();
            it.starts_with("content-length:") || it.starts_with("transfer-encoding:")
        });
        let mut bytes = text.into_bytes();
        bytes.extend(if has_body { rest } else { &[] });
        bytes
    }
}

/// Host, port and path of `http://HOST[:PORT]/PATH`.
fn address(url: &str) -> Option<(HostPort, &str)> {
    let rest = url.strip_prefix("http://")?;
    let at = rest.find('/').unwrap_or(rest.len());
    let path = if at == rest.len() { "/" } else { &rest[at..] };
    Some((place(&rest[..at], 80)?, path))
}

/// `HOST[:PORT]`, also `[ADDRESS]:PORT`.
fn place(text: &str, port: u16) -> Option<HostPort> {
    let text = text.rsplit('@').next()?;
    let (host, port) = match text.rsplit_once(':') {
        Some((host, number)) if !number.contains(']') => (host, number.parse().ok()?),
        _ => (text, port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

/// The hosts of all addresses in a text.
fn places(text: &str) -> BTreeSet<HostPort> {
    let mut found = BTreeSet::new();
    for (scheme, port) in [("http://", 80), ("https://", 443)] {
        for (at, _) in text.match_indices(scheme) {
            let rest = &text[at + scheme.len()..];
            let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | ',' | ';');
            let host = rest.split(is_end).next().unwrap_or_default();
            found.extend(place(host, port));
        }
    }
    found
}

/// Connects. What only the image asks for is refused when it is this machine, by whatever address.
fn dial((host, port): &HostPort, is_asked_for: bool) -> std::result::Result<TcpStream, Refusal> {
    let addresses = (host.as_str(), *port)
        .to_socket_addrs()
        .map_err(|error| Refusal::gateway(format!("cannot resolve {host}: {error}")))?;
    let mut last = format!("{host} has no address");
    for address in addresses {
        let ip = address.ip();
        let is_here = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
        let connected = if is_here && !is_asked_for {
            Err(io::Error::from(io::ErrorKind::PermissionDenied))
        } else {
            TcpStream::connect_timeout(&address, PATIENCE)
        };
        match connected {
            Ok(stream) => {
                let ends = stream.peer_addr().ok().zip(stream.local_addr().ok());
                let is_here = ends.is_none_or(|(peer, local)| peer.ip() == local.ip());
                if is_asked_for || !is_here {
                    return Ok(stream);
                }
                last = Refusal::here(host).reason;
            }
            Err(error) => last = format!("cannot connect to {host}:{port}: {error}"),
        }
    }
    Err(Refusal::gateway(last))
}

/// Has another proxy connect to a host.
fn tunnel(to: &mut TcpStream, request: &ProxyRequest, proxy: &Upstream) -> io::Result<()> {
    let mut text = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n", request.target);
    if let Some(value) = &proxy.authorization {
        text += &format!("Proxy-Authorization: {value}\r\n");
    }
    to.write_all((text + "\r\n").as_bytes())?;
    // Byte by byte: what follows is not ours.
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") && said.len() < LONGEST {
        let mut byte = [0];
        to.read_exact(&mut byte)?;
        said.push(byte[0]);
    }
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(io::Error::other(format!("the proxy {}:{} says: {line}", proxy.host, proxy.port)))
}

/// Passes on both ways, until both have ended.
fn relay(
    mut reader: StreamReader,
    mut writer: StreamWriter,
    to: TcpStream,
    early: &[u8],
) -> io::Result<()> {
    let mut up = to.try_clone()?;
    up.write_all(early)?;
    thread::spawn(move || {
        let gone = pour(&mut reader, &mut up).is_err();
        drop(up.shutdown(if gone { Shutdown::Both } else { Shutdown::Write }));
    });
    let mut down = to;
    pour(&mut down, &mut writer)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_sources_of_apt() {
        let text = "deb [signed-by=/x] http://Deb.Debian.org/debian trixie main\n\
                    URIs: https://pkgs.k8s.io/core:/stable:/v1.33/deb/ http://10.0.0.1:3142/debian\n\
                    Acquire::http::Proxy \"http://[::1]:8080\";\nhttps://user:secret@mirror.example.org.\n";
        let found: Vec<_> = places(text).into_iter().map(|(h, p)| format!("{h} {p}")).collect();
        assert_eq!(
            found,
            [
                "10.0.0.1 3142",
                "::1 8080",
                "deb.debian.org 80",
                "mirror.example.org 443",
                "pkgs.k8s.io 443"
            ]
        );
    }

    #[test]
    fn a_request_is_made_one_for_a_server() {
        let head = "GET http://M.example:81/a?b HTTP/1.1\r\nHost: m.example:81\r\nProxy-Connection: x\r\n\
                    Connection: keep-alive\r\nRange: bytes=1-\r\n\r\n";
        let request = ProxyRequest::parse(head).unwrap();
        assert_eq!(request.place, ("m.example".to_owned(), 81));
        let sent = String::from_utf8(request.forwarded(None, b"GET next")).unwrap();
        assert_eq!(
            sent,
            "GET /a?b HTTP/1.1\r\nHost: m.example:81\r\nRange: bytes=1-\r\nConnection: close\r\n\r\n"
        );
        let proxy =
            Upstream { host: "p".into(), port: 1, authorization: Some("Basic eA==".into()) };
        let sent = String::from_utf8(request.forwarded(Some(&proxy), b"")).unwrap();
        assert!(sent.starts_with("GET http://M.example:81/a?b HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains("\r\nProxy-Authorization: Basic eA==\r\n"), "{sent}");
        let tunnel = ProxyRequest::parse("CONNECT [fd00::1]:443 HTTP/1.1\r\n\r\n").unwrap();
        assert!(tunnel.is_tunnel && tunnel.place == ("fd00::1".to_owned(), 443));
        for odd in
            ["GET / HTTP/1.1\r\n\r\n", "GET ftp://a/ HTTP/1.1\r\n\r\n", "\r\n", "CONNECT :1 x\r\n"]
        {
            assert!(ProxyRequest::parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn what_only_the_image_asks_for_is_never_this_machine() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
            assert!(dial(&(host.to_owned(), port), false).is_err(), "{host}");
        }
        assert!(dial(&("127.0.0.1".to_owned(), port), true).is_ok());
    }
}
