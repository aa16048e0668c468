//! What a machine asks the [`forwarder`](super::forwarder) for: requests of HTTP as a proxy gets them.
//!
//! They are read in one strict way and written anew of what was understood: whoever gets them next cannot
//! read another host, or another request, out of them. Source: RFC 9110 and RFC 9112.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The most bytes of a request without its body.
pub(super) const LONGEST: usize = 64 << 10;

/// A host and a port, the host in small letters; an IPv6 address without brackets.
pub(super) type HostPort = (String, u16);

/// Another proxy, which this one has to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of `Proxy-Authorization`, when it asks for one.
    pub(crate) authorization: Option<String>,
}

/// Everything up to the empty line, and what came behind it.
pub(super) fn head(reader: &mut impl Read) -> Option<(String, Vec<u8>)> {
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
pub(super) struct ProxyRequest {
    pub(super) is_tunnel: bool,
    pub(super) place: HostPort,
    pub(super) method: String,
    /// With its query; of a tunnel, nothing.
    path: String,
    /// Without their ends of line, and without those that the next one gets from us.
    headers: Vec<String>,
}

/// Headers that are for a proxy, or about a body, which no request has; and the host's, which is in the
/// address already.
const NOT_PASSED_ON: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl ProxyRequest {
    pub(super) fn parse(head: &str) -> Option<Self> {
        let mut lines = head.strip_suffix("\r\n\r\n")?.split("\r\n");
        let words: Vec<&str> = lines.next()?.split(' ').collect();
        let [method, target, "HTTP/1.0" | "HTTP/1.1"] = words[..] else { return None };
        let is_odd = |c: char| !c.is_ascii_graphic() || matches!(c, '\\' | '#');
        if method.is_empty() || !method.chars().all(is_of_token) || target.contains(is_odd) {
            return None;
        }
        let is_tunnel = method == "CONNECT";
        let (place, path) = if is_tunnel { (place(target, None)?, "") } else { address(target)? };
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':')?;
            // A line end in here would begin a line of its own for whoever takes less for one.
            let is_control = |c: char| c.is_control() && c != '\t';
            if name.is_empty() || !name.chars().all(is_of_token) || value.contains(is_control) {
                return None;
            }
            if !NOT_PASSED_ON.contains(&&*name.to_ascii_lowercase()) {
                headers.push(line.to_owned());
            }
        }
        Some(Self { is_tunnel, place, method: method.to_owned(), path: path.to_owned(), headers })
    }

    /// The text to be sent on, for one request alone.
    pub(super) fn forwarded(&self, upstream: Option<&Upstream>) -> String {
        let host = written(&self.place, Some(80));
        let server = if upstream.is_some() { format!("http://{host}") } else { String::new() };
        let mut text =
            format!("{} {server}{} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        for line in &self.headers {
            text += &format!("{line}\r\n");
        }
        if let Some(value) = upstream.and_then(|it| it.authorization.as_ref()) {
            text += &format!("Proxy-Authorization: {value}\r\n");
        }
        text + "Connection: close\r\n\r\n"
    }
}

/// What names of methods and headers are made of (RFC 9110, 5.6.2).
fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// Host, port and path of `http://[USER[:PASSWORD]@]HOST[:PORT][/PATH]`. Who asks is in a header, too.
fn address(url: &str) -> Option<(HostPort, &str)> {
    let rest = url.strip_prefix("http://")?;
    let at = rest.find('/').unwrap_or(rest.len());
    let path = if at == rest.len() { "/" } else { &rest[at..] };
    let host = match rest[..at].split_once('@') {
        Some((user, host)) => {
            let is_plain = |c: char| is_of_token(c) || "():;=,".contains(c);
            user.chars().all(is_plain).then_some(host)?
        }
        None => &rest[..at],
    };
    Some((place(host, Some(80))?, path))
}

/// `HOST:PORT`, or without a port if there is one that it then is; also `[ADDRESS]:PORT`. Whatever else
/// might be read in two ways is no place.
fn place(text: &str, port: Option<u16>) -> Option<HostPort> {
    let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        (host.parse::<Ipv6Addr>().ok()?.to_string(), rest)
    } else {
        let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        (name(host)?, rest)
    };
    let port = match rest.strip_prefix(':') {
        Some(number) if number.bytes().all(|it| it.is_ascii_digit()) => number.parse().ok()?,
        Some(_) => return None,
        None => rest.is_empty().then_some(port?)?,
    };
    Some((host, port))
}

/// A host's name, or an IPv4 address as four numbers: `127.1`, `0x7f000001` and the like are addresses to
/// some programs and names to others.
fn name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut labels = name.split('.');
    let is_name = labels.all(|it| !it.is_empty() && it.chars().all(is_of_name));
    let is_numeric = |it: &str| it.starts_with("0x") || it.bytes().all(|it| it.is_ascii_digit());
    let is_number = name.rsplit('.').next().is_some_and(is_numeric);
    (is_name && (!is_number || name.parse::<Ipv4Addr>().is_ok())).then_some(name)
}

/// A place as it is written, without the port that goes without saying.
pub(super) fn written((host, port): &HostPort, usual: Option<u16>) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    if Some(*port) == usual { host } else { format!("{host}:{port}") }
}

/// The hosts of all addresses in a text.
pub(super) fn places(text: &str) -> BTreeSet<HostPort> {
    let mut found = BTreeSet::new();
    for (scheme, port) in [("http://", 80), ("https://", 443)] {
        for (at, _) in text.match_indices(scheme) {
            let rest = &text[at + scheme.len()..];
            let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | ',' | ';');
            let host = rest.split(is_end).next().unwrap_or_default();
            found.extend(place(host.rsplit('@').next().unwrap_or(host), Some(port)));
        }
    }
    found
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
        let head = "GET http://u:p%40@M.example:81/a?b@c HTTP/1.1\r\nHost: another.example\r\n\
                    Proxy-Connection: x\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\
                    Range: bytes=1-\r\n\r\n";
        let upstream =
            Upstream { host: "p".into(), port: 1, authorization: Some("Basic eA==".into()) };
        let request = ProxyRequest::parse(head).unwrap();
        assert_eq!(request.place, ("m.example".to_owned(), 81));
        assert_eq!(
            request.forwarded(None),
            "GET /a?b@c HTTP/1.1\r\nHost: m.example:81\r\nRange: bytes=1-\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            request.forwarded(Some(&upstream)),
            "GET http://m.example:81/a?b@c HTTP/1.1\r\nHost: m.example:81\r\nRange: bytes=1-\r\n\
             Proxy-Authorization: Basic eA==\r\nConnection: close\r\n\r\n"
        );
        let tunnel = ProxyRequest::parse("CONNECT [fd00::1]:443 HTTP/1.1\r\n\r\n").unwrap();
        assert!(tunnel.is_tunnel && tunnel.place == ("fd00::1".to_owned(), 443));
        assert_eq!(written(&tunnel.place, None), "[fd00::1]:443");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_request() {
        let targets = [
            "/",
            "ftp://a/",
            "http://",
            "http://internal.corp?@mirror/",
            "http://internal.corp#@mirror/",
            "http://internal.corp\\@mirror/",
            "http://a@b@mirror/",
            "http://mir\tror/",
            "http://mir%72or/",
            "http://[::1/",
            "http://[mirror]/",
            "http://[fe80::1%eth0]/",
            "http://mirror:/",
            "http://mirror:+80/",
            "http://mirror:80:81/",
            "http://mirror..example/",
            "http://127.1/",
            "http://0x7f.0x1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://mirror/a#b",
        ];
        for target in targets {
            let head = format!("GET {target} HTTP/1.1\r\n\r\n");
            assert!(ProxyRequest::parse(&head).is_none(), "{target}");
        }
        for target in ["a:443@mirror:443", "mirror", "mirror:443/", ":443", "mirror:443?"] {
            let head = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
            assert!(ProxyRequest::parse(&head).is_none(), "{target}");
        }
        let lines = [
            "A: b\nGET http://internal.corp/ HTTP/1.1",
            "A: b\rC: d",
            "A: b\0",
            "A : b",
            " A: b",
            "A",
            ": b",
        ];
        for line in lines {
            let head = format!("GET http://mirror/ HTTP/1.1\r\n{line}\r\n\r\n");
            assert!(ProxyRequest::parse(&head).is_none(), "{line:?}");
        }
        for first in ["GET http://mirror/", "GET  http://mirror/ HTTP/1.1", "GET http://mirror/ x"]
        {
            assert!(ProxyRequest::parse(&format!("{first}\r\n\r\n")).is_none(), "{first}");
        }
    }
}
