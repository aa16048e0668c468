//! A web server on loopback that can go wrong in every way a publisher's can.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{temporary_folder, tool};

/// What goes wrong with an answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A status with headers and a page that says so.
    Status(u16, &'static str),
    /// To an address.
    Redirect(String),
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
    /// The body is so many bytes shorter than the file, and so is its Content-Length.
    Shorter(usize),
    /// No Content-Length: the body ends with the connection.
    Unannounced,
    /// A range is not heeded.
    Whole,
    /// Neither `ETag` nor `Last-Modified`.
    Anonymous,
    /// One byte at a time, with a pause after each.
    Drip(Duration),
}

struct File {
    body: Arc<Vec<u8>>,
    version: u32,
    /// For the next requests, one each.
    once: VecDeque<Fault>,
    /// For all after these.
    always: Vec<Fault>,
    /// Pause after each of many small pieces.
    pause: Duration,
    /// Whether answers wait.
    is_held: bool,
}

/// One request that came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// Bytes of the body that were sent.
    pub(crate) sent: usize,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, File>,
    requests: Vec<Request>,
}

/// The server; gone when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
}

/// A certificate for 127.0.0.1, and the authority that signed it.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = temporary_folder();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let openssl = |line: &str| {
            tool(
                "openssl",
                line.split(' ').map(|it| {
                    if it.contains('.') && !it.contains(':') { path(it) } else { it.to_owned() }
                }),
            );
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 30 -subj /CN=Authority \
             -addext subjectAltName=IP:127.0.0.1"
        ));
        openssl(&format!(
            "req -new {key} -keyout leaf.key -out leaf.csr -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
        ));
        openssl(
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 30 -copy_extensions copy",
        );
        Self { folder }
    }

    /// For `SSL_CERT_FILE`.
    pub(crate) fn certificate(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// With a certificate and its key: `leaf`, or the authority's own, `ca`.
    fn config(&self, certificate: &str) -> Arc<rustls::ServerConfig> {
        let file = |ending: &str| self.folder.path().join(format!("{certificate}.{ending}"));
        let chain = CertificateDer::pem_file_iter(file("pem")).expect("a certificate");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(file("key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the versions of TLS")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("key and certificate fit");
        Arc::new(config)
    }
}

impl Server {
    /// Without encryption.
    pub(crate) fn http() -> Self {
        Self::start(None)
    }

    pub(crate) fn https(authority: &Authority) -> Self {
        Self::start(Some(authority.config("leaf")))
    }

    /// That shows the authority's certificate as its own.
    pub(crate) fn https_as_authority(authority: &Authority) -> Self {
        Self::start(Some(authority.config("ca")))
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (shared, ended) = (Arc::clone(&state), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                // What a client does to its connection is no news.
                std::thread::spawn(move || drop(serve(stream, tls, &state)));
            }
        });
        Self { address, scheme, state, stop }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Serves a file from now on, as a new version when there was one.
    pub(crate) fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        let mut state = self.state.lock().expect("no test panics here");
        let version = state.files.get(path).map_or(1, |file| file.version + 1);
        let file = File {
            body: Arc::new(body.into()),
            version,
            once: VecDeque::new(),
            always: Vec::new(),
            pause: Duration::ZERO,
            is_held: false,
        };
        state.files.insert(path.into(), file);
    }

    pub(crate) fn put_file(&self, path: &str, file: &Path) {
        self.put(path, std::fs::read(file).expect("readable"));
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().expect("no test panics here").files.remove(path);
    }

    /// The next requests for a file go wrong, one after the other.
    pub(crate) fn once(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.change(path, |file| file.once.extend(faults));
    }

    /// Every request for a file goes wrong so.
    pub(crate) fn always(&self, path: &str, fault: Fault) {
        self.change(path, |file| file.always.push(fault));
    }

    /// A file comes slowly: with a pause after every 64 KiB.
    pub(crate) fn slow(&self, path: &str, pause: Duration) {
        self.change(path, |file| file.pause = pause);
    }

    /// Requests for a file are not answered before it is released.
    pub(crate) fn hold(&self, path: &str) {
        self.change(path, |file| file.is_held = true);
    }

    pub(crate) fn release(&self, path: &str) {
        self.change(path, |file| file.is_held = false);
    }

    /// Nothing goes wrong any more.
    pub(crate) fn mend(&self, path: &str) {
        self.change(path, |file| {
            file.once.clear();
            file.always.clear();
        });
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut File)) {
        let mut state = self.state.lock().expect("no test panics here");
        change(state.files.get_mut(path).expect("the file is served"));
    }

    /// What is served.
    pub(crate) fn body(&self, path: &str) -> Vec<u8> {
        self.state.lock().expect("no test panics here").files[path].body.to_vec()
    }

    /// The requests for a file so far.
    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        let state = self.state.lock().expect("no test panics here");
        state.requests.iter().filter(|it| it.path == path).cloned().collect()
    }

    pub(crate) fn forget_requests(&self) {
        self.state.lock().expect("no test panics here").requests.clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes it up.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    state: &Mutex<State>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    match tls {
        None => {
            let mut writer = stream.try_clone()?;
            let mut reader = BufReader::new(stream);
            converse(&mut reader, &mut writer, state)
        }
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let request = read_request(&mut BufReader::with_capacity(1, &mut tls))?;
            let Some(request) = request else { return Ok(()) };
            answer(&request, &mut tls, state)?;
            tls.conn.send_close_notify();
            tls.flush()
        }
    }
}

fn converse(
    reader: &mut BufReader<TcpStream>,
    writer: &mut TcpStream,
    state: &Mutex<State>,
) -> io::Result<()> {
    match read_request(reader)? {
        Some(request) => answer(&request, writer, state),
        None => Ok(()),
    }
}

fn read_request(reader: &mut BufReader<impl Read>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Ok(Some(Request { method, path, headers, sent: 0 }))
}

/// Everything an answer depends on.
struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Arc<Vec<u8>>,
    range: std::ops::Range<usize>,
    announced: Option<usize>,
    /// Bytes sent at once.
    piece: usize,
    pause: Duration,
}

/// Bytes sent at once where nothing goes wrong.
const PIECE: usize = 64 << 10;

fn answer(request: &Request, writer: &mut impl Write, state: &Mutex<State>) -> io::Result<()> {
    let index = {
        let mut state = state.lock().expect("no test panics here");
        state.requests.push(request.clone());
        state.requests.len() - 1
    };
    let lock = || state.lock().expect("no test panics here");
    while lock().files.get(&request.path).is_some_and(|it| it.is_held) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let answer = choose(request, &mut lock());
    let mut head = format!("HTTP/1.1 {} Whatever\r\nConnection: close\r\n", answer.status);
    if let Some(length) = answer.announced {
        write!(head, "Content-Length: {length}\r\n").expect("writing to a string");
    }
    for header in &answer.headers {
        write!(head, "{header}\r\n").expect("writing to a string");
    }
    writer.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method == "HEAD" {
        return writer.flush();
    }
    for piece in answer.body[answer.range].chunks(answer.piece) {
        writer.write_all(piece)?;
        writer.flush()?;
        if let Some(request) = state.lock().expect("no test panics here").requests.get_mut(index) {
            request.sent += piece.len();
        }
        std::thread::sleep(answer.pause);
    }
    Ok(())
}

fn choose(request: &Request, state: &mut State) -> Answer {
    let plain = |status, headers: Vec<String>, text: &str| {
        let body = Arc::new(text.as_bytes().to_vec());
        let length = body.len();
        let (range, announced) = (0..length, Some(length));
        Answer { status, headers, body, range, announced, piece: PIECE, pause: Duration::ZERO }
    };
    let Some(file) = state.files.get_mut(&request.path) else {
        return plain(404, Vec::new(), "<!DOCTYPE html><h1>Not found</h1>");
    };
    let mut faults = file.always.clone();
    faults.extend(file.once.pop_front());
    let has = |wanted: fn(&Fault) -> bool| faults.iter().any(wanted);
    for fault in &faults {
        match fault {
            Fault::Status(status, header) => {
                let headers = (!header.is_empty()).then(|| (*header).to_owned());
                return plain(*status, headers.into_iter().collect(), "<html>sorry</html>");
            }
            Fault::Redirect(to) => return plain(302, vec![format!("Location: {to}")], ""),
            Fault::CutAfter(_)
            | Fault::Shorter(_)
            | Fault::Unannounced
            | Fault::Whole
            | Fault::Anonymous
            | Fault::Drip(_) => {}
        }
    }
    let etag = format!("\"v{}\"", file.version);
    let mut headers = Vec::new();
    if !has(|it| matches!(it, Fault::Anonymous)) {
        headers.push(format!("ETag: {etag}"));
    }
    let length = file.body.len();
    let start = request
        .headers
        .get("range")
        .and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        .filter(|_| request.headers.get("if-range").is_none_or(|it| *it == etag))
        .filter(|_| !has(|it| matches!(it, Fault::Whole)));
    let (status, mut range) = match start {
        Some(start) if start >= length => {
            return plain(416, vec![format!("Content-Range: bytes */{length}")], "");
        }
        Some(start) => {
            headers.push(format!("Content-Range: bytes {start}-{}/{length}", length - 1));
            (206, start..length)
        }
        None => (200, 0..length),
    };
    let mut announced = Some(range.len());
    let (mut piece, mut pause) = (PIECE, file.pause);
    for fault in &faults {
        match fault {
            Fault::CutAfter(bytes) => range.end = range.end.min(range.start + bytes),
            Fault::Shorter(bytes) => {
                range.end = range.end.saturating_sub(*bytes).max(range.start);
                announced = Some(range.len());
            }
            Fault::Unannounced => announced = None,
            Fault::Drip(each) => (piece, pause) = (1, *each),
            Fault::Status(..) | Fault::Redirect(_) | Fault::Whole | Fault::Anonymous => {}
        }
    }
    Answer { status, headers, body: Arc::clone(&file.body), range, announced, piece, pause }
}
