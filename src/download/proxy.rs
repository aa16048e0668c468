//! Proxies, as curl and apt are told of them: by `https_proxy`, `http_proxy`, `all_proxy` and
//! `no_proxy`, in small letters or capitals.

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use ureq::Proxy;

use crate::util::error::{Error, Result};

/// All of 127.0.0.0/8 is this machine (RFC 1122, 3.2.1.3).
const LOOPBACK_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// What the environment says of the way to addresses of one scheme.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    /// The proxy, and the variable that names it.
    proxy: Option<(String, String)>,
    direct: Direct,
}

/// Hosts that are reached without a proxy (curl(1), `NO_PROXY`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Direct {
    /// Whether all are.
    all: bool,
    /// In small letters, without dots around them; all names below them are meant, too.
    names: Vec<String>,
    networks: Vec<IpNet>,
}

impl Route {
    /// For addresses of a scheme, `http` or `https`; `Input` when the variable does not name a proxy.
    pub(crate) fn from_environment(scheme: &str) -> Result<Self> {
        let proxy = variable(&[&format!("{scheme}_proxy"), "all_proxy"]);
        let direct = variable(&["no_proxy"]).map_or_else(String::new, |(_, hosts)| hosts);
        let route = Self { proxy, direct: Direct::parse(&direct) };
        route.proxy("")?;
        Ok(route)
    }

    /// Reaches this machine's own servers directly, whatever the environment says, as other clients of registries
    /// do (`golang.org/x/net/http/httpproxy`): they are spoken with in the clear, logins included, which is nothing
    /// for a proxy to read.
    pub(crate) fn direct_to_loopback(mut self) -> Self {
        self.direct.names.push("localhost".to_owned());
        self.direct.networks.push(LOOPBACK_V4.into());
        self.direct.networks.push(IpAddr::from(Ipv6Addr::LOCALHOST).into());
        self
    }

    /// The proxy for a request that begins at `host`; `None` when none is set.
    pub(crate) fn proxy(&self, host: &str) -> Result<Option<Proxy>> {
        let Some((name, value)) = &self.proxy else { return Ok(None) };
        let build = || {
            let named = Proxy::new(value)?;
            let mut proxy = Proxy::builder(named.protocol()).host(named.host()).port(named.port());
            if let (Some(user), Some(password)) = (named.username(), named.password()) {
                proxy = proxy.username(user).password(password);
            }
            if self.direct.all {
                proxy = proxy.no_proxy("*");
            }
            for name in &self.direct.names {
                proxy = proxy.no_proxy(name).no_proxy(&format!(".{name}"));
            }
            // The library knows no networks, and asks for names as they are written.
            if self.direct.has_address(host) {
                proxy = proxy.no_proxy(host);
            }
            proxy.build()
        };
        build().map(Some).map_err(|_: ureq::Error| {
            // Not what it is instead: that may have a password in it.
            Error::input(format!("`{name}` in the environment does not name a proxy"))
                .hint("a proxy is written as http://HOST:PORT")
        })
    }

    /// Host and port of the proxy for requests to `host`, and the value of `Proxy-Authorization` when it asks
    /// for one; `Input` when it is not one of plain HTTP.
    pub(crate) fn plain_proxy(&self, host: &str) -> Result<Option<(String, u16, Option<String>)>> {
        use base64::Engine as _;
        use base64::prelude::BASE64_STANDARD;

        let Some(proxy) = self.proxy(host)?.filter(|_| !self.direct.is_direct(host)) else {
            return Ok(None);
        };
        if proxy.protocol() != ureq::ProxyProtocol::Http {
            return Err(Error::input("the sandbox `vm` can use proxies of plain HTTP only")
                .hint("a proxy is written as http://HOST:PORT"));
        }
        let user = proxy.username().zip(proxy.password());
        let authorization = user.map(|(user, password)| {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
        });
        Ok(Some((proxy.host().to_owned(), proxy.port(), authorization)))
    }

    /// Whether a request to `host` depends on more than its name.
    pub(crate) fn is_by_address(&self, host: &str) -> bool {
        self.proxy.is_some() && self.direct.has_address(host)
    }

    /// What is to be said of the proxy that a request to `host` goes through; empty when it goes through none.
    pub(crate) fn words(&self, host: &str) -> String {
        let Some((name, value)) = self.proxy.as_ref().filter(|_| !self.direct.is_direct(host))
        else {
            return String::new();
        };
        let Ok(proxy) = Proxy::new(value) else { return String::new() };
        format!(" through the proxy {}:{} of `{name}`", proxy.host(), proxy.port())
    }
}

impl Direct {
    /// Names, addresses and networks, with commas or spaces between them. A star alone stands for all.
    fn parse(text: &str) -> Self {
        let text = text.trim();
        if text == "*" {
            return Self { all: true, ..Self::default() };
        }
        let mut direct = Self::default();
        for word in text.split([',', ' ', '\t']).filter(|it| !it.is_empty()) {
            let bare = word.trim_start_matches('[').trim_end_matches(']');
            if let Ok(network) = bare.parse::<IpNet>() {
                direct.networks.push(network);
            } else if let Ok(address) = bare.parse::<IpAddr>() {
                direct.networks.push(address.into());
            } else {
                let name = word.trim_matches('.').to_ascii_lowercase();
                // A star in a name means nothing to curl.
                if !name.is_empty() && !name.contains('*') {
                    direct.names.push(name);
                }
            }
        }
        direct
    }

    fn has_address(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok_and(|it| self.networks.iter().any(|net| net.contains(&it)))
    }

    fn is_direct(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_below = |name: &String| {
            host.strip_suffix(name.as_str()).is_some_and(|it| it.is_empty() || it.ends_with('.'))
        };
        self.all || self.has_address(&host) || self.names.iter().any(is_below)
    }
}

/// The host of an address; empty when it has none.
pub(crate) fn host_of(url: &str) -> String {
    let uri = url.parse::<ureq::http::Uri>().ok();
    uri.and_then(|it| it.host().map(str::to_owned)).unwrap_or_default()
}

/// The first of these variables that is set, and which it is.
fn variable(names: &[&str]) -> Option<(String, String)> {
    let names = names.iter().flat_map(|name| [(*name).to_owned(), name.to_uppercase()]);
    let set = names.filter_map(|name| Some((env::var(&name).ok()?, name)));
    set.map(|(value, name)| (name, value)).find(|(_, value)| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_as_curl_does() {
        let cases = [
            ("example.org", "example.org", true),
            ("example.org", "www.Example.org", true),
            (".example.org", "example.org", true),
            ("example.org.", "www.example.org.", true),
            ("example.org", "otherexample.org", false),
            ("www.example.org", "example.org", false),
            ("*.example.org", "www.example.org", false),
            ("*", "example.org", true),
            ("a, *", "example.org", false),
            ("a b,\texample.org", "example.org", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.", "10.1.2.3", false),
            ("192.168.7.5/16", "192.168.1.1", true),
            ("fd00::/8", "[fd00::1]", true),
            ("[::1]", "[::1]", true),
            ("0:0::1", "[::1]", true),
            ("10.0.0.0/99", "10.1.2.3", false),
            ("", "example.org", false),
        ];
        for (list, host, expected) in cases {
            assert_eq!(Direct::parse(list).is_direct(host), expected, "{list} {host}");
        }
    }
}
