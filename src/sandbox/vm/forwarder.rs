//! The way out of a machine: a proxy for HTTP (RFC 9110, 7.6 and 9.3.6) that connects to the mirrors of one
//! build and to nothing else.
//!
//! It listens nowhere: connections come through the machine's port. Each carries one request, after which it
//! is closed, so that every request is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::reach::AddressReach;
use super::request::{HostPort, LONGEST, ProxyRequest, Upstream, head, places, written};
use super::streams::{StreamReader, StreamWriter, pour};
use crate::util::error::Result;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Finds the proxy for a scheme and a host.
type FindProxy = Box<dyn Fn(&str, &str) -> Result<Option<Upstream>> + Send + Sync>;

/// Who wants a connection, which decides where it may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// This machine's own settings name the proxy: wherever it is.
    Settings,
    /// The cluster file names the mirror: it may be this machine or a neighbour.
    Cluster,
    /// Only the image names it: it is somewhere in the internet.
    Image,
}

/// What a machine may connect to.
pub(crate) struct Mirrors {
    /// What the user asked for.
    asked_for: BTreeSet<HostPort>,
    /// What only the image asks for.
    of_image: BTreeSet<HostPort>,
    find_proxy: FindProxy,
    /// Addresses of hosts that another proxy connects to; none where they are not known here. Where names
    /// are resolved by that proxy alone, asking for them may take long, and is done once.
    addresses: Mutex<BTreeMap<String, Vec<IpAddr>>>,
}

impl Mirrors {
    /// The mirrors that these texts name, such as apt's sources.
    pub(crate) fn new(asked_for: &str, of_image: &str, find_proxy: FindProxy) -> Self {
        Self {
            asked_for: places(asked_for),
            of_image: places(of_image),
            find_proxy,
            addresses: Mutex::default(),
        }
    }

    /// Answers what comes in a connection.
    pub(super) fn serve(&self, mut reader: StreamReader, mut writer: StreamWriter) {
        let refusal = match self.connect(&mut reader, &mut writer) {
            Ok(Connection::Tunnel(to, early)) => {
                drop(relay(reader, writer, to, &early));
                return;
            }
            Ok(Connection::Request(mut to)) => {
                // What follows the one request is another, which nobody has looked at.
                drop(reader);
                drop(pour(&mut to, &mut writer));
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

    /// Reads a request, and connects to what it asks for.
    fn connect(
        &self,
        reader: &mut StreamReader,
        writer: &mut StreamWriter,
    ) -> std::result::Result<Connection, Refusal> {
        let (head, rest) = head(reader).ok_or(Refusal::bad("this is not a request"))?;
        let request =
            ProxyRequest::parse(&head).ok_or(Refusal::bad("this is not a proxy's request"))?;
        let asker = self.asker(&request.place)?;
        if !request.is_tunnel && !matches!(&*request.method, "GET" | "HEAD") {
            return Err(Refusal {
                status: "405 Method Not Allowed",
                reason: format!("mirrors are not asked to {}", request.method),
            });
        }
        let scheme = if request.is_tunnel { "https" } else { "http" };
        let upstream = (self.find_proxy)(scheme, &request.place.0)
            .map_err(|error| Refusal::gateway(error.to_string()))?;
        let mut to = match &upstream {
            Some(proxy) => {
                self.check_by_name(&request.place, asker)?;
                dial(&(proxy.host.clone(), proxy.port), Asker::Settings)
            }
            None => dial(&request.place, asker),
        }?;
        let gateway = |error: io::Error| Refusal::gateway(error.to_string());
        if request.is_tunnel {
            if let Some(proxy) = &upstream {
                tunnel(&mut to, &request.place, proxy).map_err(gateway)?;
            }
            let said = writer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
            said.map_err(gateway)?;
            return Ok(Connection::Tunnel(to, rest));
        }
        to.write_all(request.forwarded(upstream.as_ref()).as_bytes()).map_err(gateway)?;
        Ok(Connection::Request(to))
    }

    /// Who named that mirror.
    fn asker(&self, place: &HostPort) -> std::result::Result<Asker, Refusal> {
        if self.asked_for.contains(place) {
            Ok(Asker::Cluster)
        } else if self.of_image.contains(place) {
            Ok(Asker::Image)
        } else {
            let reason = format!("{}:{} is not a mirror of this build", place.0, place.1);
            Err(Refusal::forbidden(reason))
        }
    }

    /// Refuses a host that another proxy would connect to. That resolves the name itself; what is known of
    /// it here is looked at before.
    fn check_by_name(
        &self,
        (host, port): &HostPort,
        asker: Asker,
    ) -> std::result::Result<(), Refusal> {
        let mut known = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = known.entry(host.clone()).or_insert_with(|| {
            let found = (host.as_str(), *port).to_socket_addrs();
            found.into_iter().flatten().map(|it| it.ip()).collect()
        });
        if asker == Asker::Image && (host == "localhost" || host.ends_with(".localhost")) {
            return Err(Refusal::here(host));
        }
        addresses.iter().try_for_each(|ip| check(host, *ip, asker))
    }
}

/// What is left to be done for a request.
enum Connection {
    /// Both ways, after these bytes, which came early.
    Tunnel(TcpStream, Vec<u8>),
    /// The answer of a request that is sent.
    Request(TcpStream),
}

/// Why a request is not passed on.
#[derive(Debug)]
struct Refusal {
    status: &'static str,
    reason: String,
}

impl Refusal {
    fn bad(reason: &str) -> Self {
        Self { status: "400 Bad Request", reason: reason.to_owned() }
    }

    fn forbidden(reason: String) -> Self {
        Self { status: "403 Forbidden", reason }
    }

    fn here(host: &str) -> Self {
        Self::forbidden(format!(
            "{host} is the machine that builds, and the cluster file does not name it"
        ))
    }

    fn gateway(reason: String) -> Self {
        Self { status: "502 Bad Gateway", reason }
    }
}

/// Refuses an address that is not to be connected to for whoever asks.
fn check(host: &str, ip: IpAddr, asker: Asker) -> std::result::Result<(), Refusal> {
    let reach = AddressReach::of(ip);
    match (asker, reach) {
        (Asker::Settings, _) | (_, AddressReach::Internet) => Ok(()),
        // Clouds tell their machines secrets there, and no mirror is.
        (_, AddressReach::Link) => {
            Err(Refusal::forbidden(format!("{host} is a link-local address, which no mirror has")))
        }
        (Asker::Cluster, _) => Ok(()),
        (Asker::Image, AddressReach::Here) => Err(Refusal::here(host)),
        (Asker::Image, AddressReach::Private) => Err(Refusal::forbidden(format!(
            "{host} is in a private network, and the cluster file does not name it"
        ))),
    }
}

/// Connects to the first address that answers and may be asked.
fn dial((host, port): &HostPort, asker: Asker) -> std::result::Result<TcpStream, Refusal> {
    let addresses = (host.as_str(), *port)
        .to_socket_addrs()
        .map_err(|error| Refusal::gateway(format!("cannot resolve {host}: {error}")))?;
    let mut last = Refusal::gateway(format!("{host} has no address"));
    for address in addresses {
        if let Err(refusal) = check(host, address.ip(), asker) {
            last = refusal;
            continue;
        }
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                // This machine has other addresses than loopback's.
                let ends = stream.peer_addr().ok().zip(stream.local_addr().ok());
                if asker != Asker::Image || ends.is_some_and(|(peer, local)| !is_same(peer, local))
                {
                    return Ok(stream);
                }
                last = Refusal::here(host);
            }
            Err(error) => {
                last = Refusal::gateway(format!("cannot connect to {host}:{port}: {error}"));
            }
        }
    }
    Err(last)
}

fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip().to_canonical() == other.ip().to_canonical()
}

/// Has another proxy connect to a host.
fn tunnel(to: &mut TcpStream, place: &HostPort, proxy: &Upstream) -> io::Result<()> {
    let mut text = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n", written(place, None));
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
    use crate::sandbox::vm::streams::Streams;

    fn upstream(port: u16, authorization: Option<&str>) -> Upstream {
        Upstream { host: "127.0.0.1".into(), port, authorization: authorization.map(Into::into) }
    }

    #[test]
    fn what_only_the_image_asks_for_is_never_this_machine() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let hosts = [
            "127.0.0.1",
            "localhost",
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:127.0.0.2",
            "::ffff:127.0.0.53",
        ];
        let direct = Mirrors::new("", "", Box::new(|_, _| Ok(None)));
        for host in hosts {
            let place = (host.to_owned(), port);
            assert_eq!(dial(&place, Asker::Image).unwrap_err().status, "403 Forbidden", "{host}");
            // Nor does another proxy reach it for the image.
            let refusal = direct.check_by_name(&place, Asker::Image).unwrap_err();
            assert_eq!(refusal.status, "403 Forbidden", "{host}");
        }
        assert!(dial(&("127.0.0.1".to_owned(), port), Asker::Cluster).is_ok());
    }

    #[test]
    fn private_mirrors_are_for_the_cluster_file_and_link_local_ones_for_nobody() {
        let mirrors = Mirrors::new("", "", Box::new(|_, _| Ok(None)));
        let said = |host: &str, asker| {
            let place = (host.to_owned(), 80);
            mirrors.check_by_name(&place, asker).err().map(|it| it.reason)
        };
        assert_eq!(
            said("10.1.2.3", Asker::Image).unwrap(),
            "10.1.2.3 is in a private network, and the cluster file does not name it"
        );
        assert_eq!(said("10.1.2.3", Asker::Cluster), None);
        for asker in [Asker::Image, Asker::Cluster] {
            let told = "169.254.169.254 is a link-local address, which no mirror has";
            assert_eq!(said("169.254.169.254", asker).unwrap(), told);
            let place = ("169.254.169.254".to_owned(), 80);
            assert_eq!(dial(&place, asker).unwrap_err().reason, told);
        }
    }

    /// What a machine gets for what it sends in one connection.
    fn asks(mirrors: Mirrors, sent: &[u8]) -> String {
        let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        let outside = Streams::new(there.try_clone().unwrap());
        let serve = move |_, reader, writer| mirrors.serve(reader, writer);
        thread::spawn(move || outside.receive(there, serve_in_thread(serve), || ()));
        let inside = Streams::new(here.try_clone().unwrap());
        let (mut reader, mut writer) = inside.open(1, "proxy").unwrap();
        let receiving = std::sync::Arc::clone(&inside);
        let port = here.try_clone().unwrap();
        thread::spawn(move || receiving.receive(port, |_, _, _| unreachable!(), || ()));
        writer.write_all(sent).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        here.shutdown(Shutdown::Both).unwrap();
        text
    }

    /// One that is called once.
    fn serve_in_thread(
        serve: impl FnOnce(String, StreamReader, StreamWriter) + Send + 'static,
    ) -> impl FnMut(String, StreamReader, StreamWriter) {
        let mut serve = Some(serve);
        move |purpose, reader, writer| {
            let serve = serve.take().unwrap();
            thread::spawn(move || serve(purpose, reader, writer));
        }
    }

    #[test]
    fn one_request_and_nothing_behind_it_is_passed_on() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let got = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let (head, rest) = head(&mut stream).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let more = stream.read(&mut [0]).unwrap_or(0);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhere").unwrap();
            (head, rest, more)
        });
        // As another proxy it gets whole addresses.
        let find: FindProxy = Box::new(move |_, _| Ok(Some(upstream(port, None))));
        let sent = "GET http://203.0.113.7/a HTTP/1.1\r\nContent-Length: 9\r\n\r\n\
                    GET http://internal.corp/ HTTP/1.1\r\n\r\n";
        let mirrors = Mirrors::new("", "deb http://203.0.113.7 /", find);
        assert_eq!(asks(mirrors, sent.as_bytes()), "HTTP/1.1 200 OK\r\n\r\nhere");
        let (head, rest, more) = got.join().unwrap();
        assert_eq!(
            head,
            "GET http://203.0.113.7/a HTTP/1.1\r\nHost: 203.0.113.7\r\nConnection: close\r\n\r\n"
        );
        assert!(rest.is_empty() && more == 0);
    }

    #[test]
    fn mirrors_are_only_asked_for_files() {
        let mirrors = || Mirrors::new("http://m.example", "", Box::new(|_, _| Ok(None)));
        let said = asks(mirrors(), b"POST http://m.example/ HTTP/1.1\r\n\r\n");
        assert!(said.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{said}");
        let said = asks(mirrors(), b"GET http://m.example:81/ HTTP/1.1\r\n\r\n");
        assert!(said.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{said}");
        assert!(
            said.ends_with("nodeforge: m.example:81 is not a mirror of this build\n"),
            "{said}"
        );
    }
}
