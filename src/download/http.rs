//! HTTP requests: what is asked for, what may be tried again, and what went wrong in words.

use std::borrow::Cow;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, ResponseExt as _, SendBody};

use super::retry::{Fault, Retry};
use super::stream::{BodyStream, StreamTrouble};
use crate::download::proxy::{self, Route};
use crate::download::registry;
use crate::util::error::{Context, Error, Result};
use crate::util::interrupt;
use crate::util::progress::Progress;

/// As many redirects as any publisher needs; more are a loop.
const REDIRECTS: u32 = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// As much of a registry's token as is read, in bytes.
const TOKEN_LIMIT: u64 = 64 << 10;
/// How long a transfer may stand still.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether an address without encryption may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// What is read there is checked against something pinned.
    Allowed,
    /// It is trusted because of where it comes from.
    Refused,
}

/// What a server answered, its body not yet read.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Where redirects led.
    pub(crate) url: String,
    pub(crate) body: Body,
    /// Words for the proxy that it came through; empty without one.
    proxy: String,
}

impl Response {
    /// What its status means where that is no success.
    pub(crate) fn refusal(&self) -> Fault {
        refusal(self)
    }

    /// All of a body that may have so many bytes.
    pub(crate) fn small_body(self, limit: u64) -> std::result::Result<Vec<u8>, Fault> {
        let url = self.url.clone();
        small_body(&url, self, limit)
    }

    fn new(response: ureq::http::Response<Body>, proxy: impl FnOnce(&str) -> String) -> Self {
        let url = response.get_uri().to_string();
        let (parts, body) = response.into_parts();
        let proxy = proxy(&url);
        Self { status: parts.status, headers: parts.headers, url, body, proxy }
    }

    /// A header's text, when it is text.
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Connections to servers, as the user's environment says: proxies from `https_proxy` and its
/// kin, root certificates from the system or `SSL_CERT_FILE`.
#[derive(Clone)]
pub(crate) struct Client {
    /// Never leaves https.
    secure: Way,
    any: Way,
}

/// How addresses of one scheme are reached.
#[derive(Clone)]
struct Way {
    https_only: bool,
    route: Route,
    agent: Agent,
}

impl Client {
    /// `Input` when the environment names a proxy that is none.
    pub(crate) fn new() -> Result<Self> {
        Self::over(|route| route)
    }

    /// For a registry: without a proxy where that is on this machine; `Input` as [`Self::new`].
    pub(crate) fn for_registry() -> Result<Self> {
        Self::over(Route::direct_to_loopback)
    }

    fn over(change: fn(Route) -> Route) -> Result<Self> {
        let way =
            |https_only, scheme| Way::new(https_only, change(Route::from_environment(scheme)?));
        Ok(Self { secure: way(true, "https")?, any: way(false, "http")? })
    }

    /// Sends one request. Statuses that are no success are faults, except 416 on a range. A registry that
    /// gives tokens to anybody is asked for one.
    pub(crate) fn send(
        &self,
        method: Method,
        url: &str,
        plain: Plain,
        headers: &[(header::HeaderName, String)],
    ) -> std::result::Result<Response, Fault> {
        let mut headers = headers.to_vec();
        headers.extend(registry::accept(url));
        let mut response = self.ask(method, url, plain, &headers)?;
        let challenge = response.header(header::WWW_AUTHENTICATE);
        let address = challenge.and_then(registry::token_address);
        if let (StatusCode::UNAUTHORIZED, Some(address)) = (response.status, address) {
            let answer = self.ask(Method::Get, &address, Plain::Refused, &[])?;
            if !answer.status.is_success() {
                return Err(refusal(&answer));
            }
            let answer = small_body(&address, answer, TOKEN_LIMIT)?;
            let token = registry::token(&answer).map_err(Fault::Permanent)?;
            headers.push((header::AUTHORIZATION, format!("Bearer {token}")));
            response = self.ask(method, url, plain, &headers)?;
        }
        let asked_for_range = headers.iter().any(|(name, _)| name == header::RANGE);
        if response.status.is_success()
            || (asked_for_range && response.status == StatusCode::RANGE_NOT_SATISFIABLE)
        {
            return Ok(response);
        }
        Err(refusal(&response))
    }

    /// One request and its answer, of whatever status.
    pub(crate) fn ask(
        &self,
        method: Method,
        url: &str,
        plain: Plain,
        headers: &[(header::HeaderName, String)],
    ) -> std::result::Result<Response, Fault> {
        let is_plain = url.starts_with("http://");
        if is_plain && plain == Plain::Refused {
            return Err(Fault::Permanent(
                Error::input(format!(
                    "`{}` is not encrypted, and no hash or key is pinned for it",
                    shown(url)
                ))
                .hint("use https://, or pin a hash or a signing key"),
            ));
        }
        let way = if is_plain { &self.any } else { &self.secure };
        let agent = way.agent_for(url).map_err(Fault::Permanent)?;
        let proxy = |url: &str| way.route.words(&proxy::host_of(url));
        let mut request = match method {
            Method::Get => agent.get(url),
            Method::Head => agent.head(url),
        };
        for (name, value) in headers {
            request = request.header(name, value);
        }
        // A thread of its own, so that an interrupt is not kept waiting by a server.
        let answer = detached(move || request.call()).map_err(Fault::Permanent)?;
        let response = answer.map_err(|error| fault(("read", url), &proxy(url), error))?;
        Ok(Response::new(response, proxy))
    }

    /// Sends bytes, and returns the answer, of whatever status. Redirects are not followed: a body is sent to whom
    /// it was meant for.
    pub(crate) fn upload(
        &self,
        method: UploadMethod,
        url: &str,
        plain: Plain,
        headers: &[(header::HeaderName, String)],
        body: Arc<[u8]>,
    ) -> std::result::Result<Response, Fault> {
        let is_plain = url.starts_with("http://");
        if is_plain && plain == Plain::Refused {
            let error = Error::failure(format!("`{}` is not encrypted", shown(url)));
            return Err(Fault::Permanent(error));
        }
        let way = if is_plain { &self.any } else { &self.secure };
        let agent = way.agent_for(url).map_err(Fault::Permanent)?;
        let proxy = |url: &str| way.route.words(&proxy::host_of(url));
        let mut request = match method {
            UploadMethod::Post => agent.post(url),
            UploadMethod::Put => agent.put(url),
        };
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.header(header::CONTENT_LENGTH, body.len().to_string());
        let request = request.config().max_redirects(0).timeout_per_write(Some(READ_TIMEOUT));
        let send = move || request.build().send(SendBody::from_owned_reader(Cursor::new(body)));
        let answer = detached(send).map_err(Fault::Permanent)?;
        let response = answer.map_err(|error| fault(("write", url), &proxy(url), error))?;
        Ok(Response::new(response, proxy))
    }

    /// A small file, tried again where that may help; `None` when the server has no such file.
    pub(crate) fn find(
        &self,
        url: &str,
        plain: Plain,
        limit: u64,
        progress: &dyn Progress,
    ) -> Result<Option<Vec<u8>>> {
        let mut retry = Retry::new();
        loop {
            match self.small(url, plain, limit) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(Fault::Absent(_)) => return Ok(None),
                Err(fault) => retry.wait(fault, progress)?,
            }
        }
    }

    /// A small file that must be there.
    pub(crate) fn get(
        &self,
        url: &str,
        plain: Plain,
        limit: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>> {
        let mut retry = Retry::new();
        loop {
            match self.small(url, plain, limit) {
                Ok(bytes) => return Ok(bytes),
                Err(fault) => retry.wait(fault, progress)?,
            }
        }
    }

    fn small(&self, url: &str, plain: Plain, limit: u64) -> std::result::Result<Vec<u8>, Fault> {
        small_body(url, self.send(Method::Get, url, plain, &[])?, limit)
    }

    /// Where an address leads after all redirects.
    pub(crate) fn resolve(
        &self,
        url: &str,
        plain: Plain,
        progress: &dyn Progress,
    ) -> Result<String> {
        let mut retry = Retry::new();
        loop {
            match self.send(Method::Head, url, plain, &[]) {
                Ok(response) => return Ok(response.url),
                Err(fault) => retry.wait(fault, progress)?,
            }
        }
    }
}

impl Way {
    fn new(https_only: bool, route: Route) -> Result<Self> {
        let agent = agent(https_only, route.proxy("")?);
        Ok(Self { https_only, route, agent })
    }

    fn agent_for(&self, url: &str) -> Result<Agent> {
        let host = proxy::host_of(url);
        if self.route.is_by_address(&host) {
            return Ok(agent(self.https_only, self.route.proxy(&host)?));
        }
        Ok(self.agent.clone())
    }
}

fn agent(https_only: bool, proxy: Option<ureq::Proxy>) -> Agent {
    Agent::config_builder()
        .proxy(proxy)
        .user_agent(concat!("nodeforge/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .https_only(https_only)
        .max_redirects(REDIRECTS)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(RESPONSE_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .build()
        .new_agent()
}

/// What is asked of a server.
#[derive(Clone, Copy)]
pub(crate) enum Method {
    Get,
    Head,
}

/// How something is sent to a server.
#[derive(Clone, Copy)]
pub(crate) enum UploadMethod {
    Post,
    Put,
}

/// Runs blocking work while looking at the interrupt flag. Interrupted work is left behind: it
/// ends with the process.
pub(crate) fn detached<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || drop(sender.send(work())));
    loop {
        match receiver.recv_timeout(interrupt::POLL) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) => interrupt::check()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::failure("a thread of nodeforge ended unexpectedly"));
            }
        }
    }
}

fn small_body(url: &str, response: Response, limit: u64) -> std::result::Result<Vec<u8>, Fault> {
    let url = &*shown(url);
    let announced = response.body.content_length();
    let mut stream = BodyStream::new(response.body.into_reader().take(limit + 1), url);
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().map_err(|trouble| match trouble {
        StreamTrouble::Stopped(error) => Fault::Permanent(error),
        StreamTrouble::Fault(fault) => fault,
        StreamTrouble::Slow(error) => Fault::passing(error),
    })? {
        bytes.extend(chunk);
    }
    if bytes.len() as u64 > limit {
        let error = Error::failure(format!("`{url}` is larger than {limit} bytes"));
        return Err(Fault::Permanent(error.hint("check the address: it may be another file's")));
    }
    if announced.is_some_and(|length| length != bytes.len() as u64) {
        return Err(Fault::passing(Error::failure(format!("`{url}` ended early"))));
    }
    Ok(bytes)
}

/// An address as messages have it: without what comes after a `?`, which may be the right to read what is there, and
/// without a user's name and password.
pub(crate) fn shown(url: &str) -> Cow<'_, str> {
    let bare = match url.split_once('?') {
        Some((bare, _)) => Cow::Owned(format!("{bare}?…")),
        None => Cow::Borrowed(url),
    };
    let Some((scheme, rest)) = bare.split_once("://") else { return bare };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => Cow::Owned(format!("{scheme}://…@{host}{path}")),
        None => bare,
    }
}

/// What a status other than success means.
fn refusal(response: &Response) -> Fault {
    let (url, status, proxy) = (shown(&response.url), response.status, &response.proxy);
    let reason = status.canonical_reason().unwrap_or("no reason given");
    let error =
        Error::failure(format!("`{url}` was refused{proxy}: HTTP {} {reason}", status.as_u16()));
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Fault::Absent(
            Error::failure(format!("`{url}` is not there{proxy}: HTTP {}", status.as_u16())).hint(
                "publishers remove old releases: `nodeforge lock --update` moves on to the newest",
            ),
        ),
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Fault::Passing(error, retry_after(response)),
        _ => Fault::Permanent(error),
    }
}

/// How long a server wants to be left alone: a number of seconds, or a date by its own clock (RFC
/// 9110, 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.header(header::RETRY_AFTER)?;
    let date = |text| httpdate::parse_http_date(text).ok();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = response.header(header::DATE).and_then(date).unwrap_or_else(SystemTime::now);
    Some(date(text)?.duration_since(now).unwrap_or_default())
}

/// What went wrong before there was an answer.
fn fault((doing, url): (&str, &str), proxy: &str, error: ureq::Error) -> Fault {
    let url = shown(url);
    let what = format!("cannot {doing} `{url}`{proxy}");
    let failed = |reason: &str| Error::failure(reason).context(what.as_str());
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library adds errors; what is not known here is tried again"
    )]
    match error {
        ureq::Error::RequireHttpsOnly(target) => Fault::Permanent(Error::failure(format!(
            "`{url}` redirects to `{}`, which is not encrypted",
            shown(&target)
        ))),
        ureq::Error::TooManyRedirects => {
            Fault::Permanent(failed(&format!("it redirects more than {REDIRECTS} times")))
        }
        ureq::Error::BadUri(_) | ureq::Error::RedirectFailed | ureq::Error::Http(_) => {
            let reason = error.to_string();
            Fault::Permanent(Error::input(shown(&reason)).context(what.as_str()))
        }
        ureq::Error::Rustls(error) => Fault::Permanent(certificate(failed(&error.to_string()))),
        // rustls' refusal of a certificate arrives as the failure of a read or write.
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            Fault::Permanent(certificate(failed(&error.to_string())))
        }
        ureq::Error::HostNotFound => Fault::passing(
            failed("unknown host")
                .hint("is this machine online? `--offline` works with what is in the cache"),
        ),
        ureq::Error::ConnectionFailed => Fault::passing(failed("the connection was refused")),
        ureq::Error::Io(error) => Fault::passing(Error::from(error).context(what.as_str())),
        error => Fault::passing(failed(&error.to_string())),
    }
}

/// What helps against a certificate that was refused, by the words of the library that refused it.
fn certificate(error: Error) -> Error {
    let text = error.to_string();
    let hint = match () {
        () if text.contains("CaUsedAsEndEntity") => {
            "the server shows a certificate of an authority as its own: it needs one that the authority signed \
             for it"
        }
        () if text.contains("Expired") || text.contains("NotValidYet") => {
            "is the clock right? if it is, the server's certificate is out of date"
        }
        () if text.contains("NotValidForName") => {
            "is the address right? the server has another name in its certificate"
        }
        () if text.contains("UnknownIssuer") || text.contains("BadSignature") => {
            "an authority of your own, a proxy's for example, can be named in SSL_CERT_FILE"
        }
        () => "a proxy's own certificate can be named in SSL_CERT_FILE",
    };
    error.hint(hint)
}

/// The text of a small file that is meant to be text.
pub(crate) fn text(url: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| Error::failure("it is not UTF-8 text"))
        .context(|| format!("reading `{url}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_do_not_say_what_an_address_allows() {
        for (url, said) in [
            ("https://a.b/c", "https://a.b/c"),
            ("https://a.b/c?X-Sig=1&d=/", "https://a.b/c?…"),
            ("https://me:pw@a.b/c@d?e", "https://…@a.b/c@d?…"),
            ("http://me@a.b", "http://…@a.b"),
            ("no address", "no address"),
        ] {
            assert_eq!(shown(url), said);
        }
    }
}
