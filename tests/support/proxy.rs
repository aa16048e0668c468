//! A forward proxy on loopback that counts who it was asked for.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The proxy. Its threads end with the test's process.
pub(crate) struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                // A client that goes away is no fault of the proxy.
                thread::spawn(move || drop(serve(client, &noted)));
            }
        });
        Self { address, asked }
    }

    /// As `https_proxy` wants it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first line of every request.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panicked").clone()
    }
}

/// One connection: a tunnel (RFC 9110, section 9.3.6), or one request by its whole address (RFC
/// 9112, section 3.2.2).
fn serve(client: TcpStream, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        head.push(line);
    }
    let first = head.first().map(|line| line.trim().to_owned()).unwrap_or_default();
    asked.lock().expect("no thread panicked").push(first.clone());
    let words: Vec<&str> = first.split(' ').collect();
    let [method, target, version] = words[..] else { return Ok(()) };
    let mut client = client;
    let server = if method == "CONNECT" {
        let server = TcpStream::connect(target)?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        server
    } else {
        let rest = target.strip_prefix("http://").unwrap_or(target);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut server = TcpStream::connect(host)?;
        write!(server, "{method} /{path} {version}\r\n")?;
        for line in &head[1..] {
            server.write_all(line.as_bytes())?;
        }
        server.write_all(b"\r\n")?;
        server
    };
    let (mut from, mut to) = (server.try_clone()?, client);
    let back = thread::spawn(move || io::copy(&mut from, &mut to));
    let mut server = server;
    let mut buffer = [0; 16_384];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            length => server.write_all(&buffer[..length])?,
        }
    }
    server.shutdown(std::net::Shutdown::Write)?;
    drop(back.join());
    Ok(())
}
