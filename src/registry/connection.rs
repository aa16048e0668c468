//! One repository of a registry, asked with whatever it wants to know of who asks.
//!
//! Source: the OCI distribution specification 1.1, and the token authentication of Docker's registry.

use std::sync::{Arc, Mutex};

use ureq::http::{HeaderName, StatusCode, header};

use super::credentials::{self, Login};
use super::manifest::short;
use crate::config::{RegistryReference, is_loopback};
use crate::download::{
    Challenge, Client, Fault, Method, Plain, Response, Retry, TokenSource, UploadMethod, host_of,
    token,
};
use crate::util::error::{Error, ErrorKind, Result};
use crate::util::progress::Progress;

/// As much of an answer about a token as is read, in bytes.
const TOKEN_LIMIT: u64 = 64 << 10;

/// What is done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RepositoryAccess {
    Pull,
    PushAndPull,
}

/// A repository.
pub(super) struct RegistryConnection<'a> {
    client: Client,
    /// `https://ghcr.io`
    root: String,
    pub(super) place: RegistryReference,
    access: RepositoryAccess,
    /// Who asks; `None` is anybody.
    login: Option<Login>,
    /// What the registry wanted to hear last: the value of `Authorization`.
    authorization: Mutex<Option<String>>,
    pub(super) progress: &'a dyn Progress,
}

/// What is sent to a registry.
pub(super) enum Question<'a> {
    Get(&'a str),
    Head(&'a str),
    Post(&'a str),
    Put(&'a str, Arc<[u8]>),
}

type Headers = Vec<(HeaderName, String)>;

impl<'a> RegistryConnection<'a> {
    /// Finds out how its registry is spoken with.
    pub(super) fn open(
        place: &RegistryReference,
        access: RepositoryAccess,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let place = place.repository();
        let mut registry = Self {
            client: Client::for_registry()?,
            root: place.root(place.is_plain()),
            login: credentials::find(place.host())?,
            place,
            access,
            authorization: Mutex::default(),
            progress,
        };
        // A registry on this machine is seldom encrypted, and nobody is in between. One that is says 400 to whoever asks
        // in the clear, or nothing; the other way round it might wait for the end of a line.
        if registry.place.is_loopback() && !registry.place.is_plain() {
            let plain = registry.place.root(true);
            let address = format!("{plain}/v2/");
            let answer = registry.client.ask(Method::Get, &address, Plain::Allowed, &[]);
            // One that leads on to its encrypted side is spoken with there.
            if answer.is_ok_and(|it| it.status != StatusCode::BAD_REQUEST && it.url == address) {
                registry.root = plain;
            }
        }
        Ok(registry)
    }

    /// Whether an address may be asked in the clear. The registry's own may where that was asked for by name, and on
    /// this machine; so may another on this machine that such a registry names. A registry on a friendly network is no
    /// reason to talk to all the world in the clear.
    fn plain_for(&self, url: &str) -> Plain {
        let is_plain = self.place.is_plain() || self.place.is_loopback();
        if is_plain && (self.is_own(url) || is_loopback(&host_of(url))) {
            Plain::Allowed
        } else {
            Plain::Refused
        }
    }

    /// Whether something may be sent to an address that the registry gave.
    pub(super) fn may_send_to(&self, url: &str) -> bool {
        url.starts_with("https://") || self.plain_for(url) == Plain::Allowed
    }

    /// The address of something in the repository.
    pub(super) fn address(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.root, self.place.name())
    }

    /// An address that the registry gave, from its beginning; `None` for one of another scheme.
    pub(super) fn absolute(&self, location: &str) -> Option<String> {
        if location.starts_with('/') {
            return Some(format!("{}{location}", self.root));
        }
        let is_address = location.starts_with("https://") || location.starts_with("http://");
        is_address.then(|| location.to_owned())
    }

    /// Asks until there is an answer that a registry can mean, which may be that it has no such thing.
    pub(super) fn ask(&self, question: &Question<'_>, headers: &Headers) -> Result<Response> {
        let mut retry = Retry::new();
        loop {
            match self.once(question, headers) {
                Ok(response) => return Ok(response),
                Err(fault) => retry.wait(fault, self.progress)?,
            }
        }
    }

    /// One question, and its answer: a success, or that it has no such thing. All else is a fault.
    pub(super) fn once(
        &self,
        question: &Question<'_>,
        headers: &Headers,
    ) -> Result<Response, Fault> {
        // What the registry says; what somebody says to whom it sent us on is about them, and is no reason to tell them
        // who asks.
        let is_its = |it: &Response| self.is_own(question.address()) && self.is_own(&it.url);
        let mut response = self.send(question, headers)?;
        if response.status == StatusCode::UNAUTHORIZED && is_its(&response) {
            self.authorize(&response)?;
            response = self.send(question, headers)?;
        }
        match response.status {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            StatusCode::UNAUTHORIZED if is_its(&response) => {
                Err(Fault::Permanent(self.unauthorized()))
            }
            StatusCode::FORBIDDEN if is_its(&response) => Err(Fault::Permanent(self.forbidden())),
            StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PAYLOAD_TOO_LARGE
                if is_its(&response) =>
            {
                Err(Fault::Permanent(self.refused(response)))
            }
            _ => Err(refusal(&response)),
        }
    }

    fn send(&self, question: &Question<'_>, headers: &Headers) -> Result<Response, Fault> {
        let mut headers = headers.clone();
        let known = self.authorization.lock().expect("no thread panicked").clone();
        if let Some(known) = known.filter(|_| self.is_own(question.address())) {
            headers.push((header::AUTHORIZATION, known));
        }
        let plain = self.plain_for(question.address());
        match question {
            Question::Get(url) => self.client.ask(Method::Get, url, plain, &headers),
            Question::Head(url) => self.client.ask(Method::Head, url, plain, &headers),
            Question::Post(url) => {
                self.client.upload(UploadMethod::Post, url, plain, &headers, Arc::new([]))
            }
            Question::Put(url, body) => {
                self.client.upload(UploadMethod::Put, url, plain, &headers, Arc::clone(body))
            }
        }
    }

    /// Whether an address is the registry's own: a registry can have something sent elsewhere, and who asks is none of
    /// their business there.
    fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.root).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Does what a refusal asks for, so that the next question may be answered.
    fn authorize(&self, refusal: &Response) -> Result<(), Fault> {
        let challenge = refusal.header(header::WWW_AUTHENTICATE).and_then(Challenge::parse);
        let authorization = match challenge {
            Some(Challenge::Basic) => {
                let login =
                    self.login.as_ref().ok_or_else(|| Fault::Permanent(self.unauthorized()))?;
                login.basic().ok_or_else(|| Fault::Permanent(self.unauthorized()))?
            }
            Some(Challenge::Token(source)) => format!("Bearer {}", self.token(&source)?),
            None => return Err(Fault::Permanent(self.unauthorized())),
        };
        *self.authorization.lock().expect("no thread panicked") = Some(authorization);
        Ok(())
    }

    fn token(&self, source: &TokenSource) -> Result<String, Fault> {
        let wrong = |what: &str| {
            Fault::Permanent(Error::failure(format!("`{}` {what}", self.place.host())))
        };
        let actions = match self.access {
            RepositoryAccess::Pull => "pull",
            RepositoryAccess::PushAndPull => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", self.place.name());
        let address = source
            .address(Some(&scope), true)
            .filter(|it| self.may_send_to(it))
            .ok_or_else(|| wrong("has tokens at an address that cannot be used"))?;
        let headers: Headers = match self.login.as_ref().and_then(Login::basic) {
            Some(basic) => vec![(header::AUTHORIZATION, basic)],
            None => Vec::new(),
        };
        let answer = self.client.ask(Method::Get, &address, self.plain_for(&address), &headers)?;
        match answer.status {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Fault::Permanent(self.unauthorized()));
            }
            _ => return Err(refusal(&answer)),
        }
        token(&answer.small_body(TOKEN_LIMIT)?).map_err(Fault::Permanent)
    }

    /// The registry does not know who asks.
    fn unauthorized(&self) -> Error {
        let host = self.place.host();
        match &self.login {
            Some(login) => Error::failure(format!(
                "`{host}` refuses the login that {} has for it",
                login.origin()
            ))
            .hint(format!(
                "log in again: `podman login {host}`, `docker login {host}` or `oras login {host}`"
            )),
            None => Error::failure(format!("`{host}` wants a login for `{}`", self.place.name()))
                .hint(format!(
                    "log in: `podman login {host}`, `docker login {host}` or `oras login {host}`"
                )),
        }
    }

    /// The registry knows who asks, and says no.
    fn forbidden(&self) -> Error {
        let host = self.place.host();
        let verb = match self.access {
            RepositoryAccess::Pull => "read from",
            RepositoryAccess::PushAndPull => "write to",
        };
        let who = match &self.login {
            Some(_) => "this login may not",
            None => "nobody without a login may",
        };
        Error::failure(format!("`{host}`: {who} {verb} `{}`", self.place.name()))
            .hint("ask who runs the registry for the permission")
    }

    /// The registry does not like what was sent; it says why (distribution specification, "Error Codes").
    fn refused(&self, response: Response) -> Error {
        const LIMIT: u64 = 16 << 10;
        let status = response.status;
        let reason = response.small_body(LIMIT).ok().and_then(|body| {
            let value: serde_json::Value = serde_json::from_slice(&body).ok()?;
            let error = value["errors"].get(0)?;
            let text = error["message"].as_str().filter(|it| !it.is_empty());
            text.or(error["code"].as_str()).map(short)
        });
        let error = Error::failure(reason.unwrap_or_else(|| format!("HTTP {}", status.as_u16())));
        error.context(format!(
            "`{}` does not take what was sent to `{}`",
            self.place.host(),
            self.place.name()
        ))
    }
}

/// What a status other than success means; that something is not there is for good, and no release that a publisher
/// removed.
pub(super) fn refusal(response: &Response) -> Fault {
    match response.refusal() {
        Fault::Absent(error) => Fault::Permanent(error.without_hints()),
        fault @ (Fault::Permanent(_) | Fault::Passing(..)) => fault,
    }
}

/// Says what was being done with which repository, unless the error is the user's to mend.
pub(super) fn explain(error: Error, doing: &str) -> Error {
    match error.kind() {
        ErrorKind::Interrupted | ErrorKind::Input => error,
        ErrorKind::Failure | ErrorKind::TimedOut => error.context(doing.to_owned()),
    }
}

impl Question<'_> {
    fn address(&self) -> &str {
        match self {
            Self::Get(url) | Self::Head(url) | Self::Post(url) | Self::Put(url, _) => url,
        }
    }
}
