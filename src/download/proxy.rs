//! Proxies, as curl and apt are told of them: by `https_proxy`, `http_proxy`, `all_proxy` and
//! `no_proxy`, in small letters or capitals.

use std::env;

use ureq::Proxy;

use crate::util::error::{Error, Result};

/// The proxy for addresses of a scheme, `http` or `https`; `Input` when the variable does not name
/// one.
pub(crate) fn from_environment(scheme: &str) -> Result<Option<Proxy>> {
    let Some((name, value)) = variable(&[&format!("{scheme}_proxy"), "all_proxy"]) else {
        return Ok(None);
    };
    let direct = variable(&["no_proxy"]).map_or_else(String::new, |(_, hosts)| hosts);
    let build = || {
        let named = Proxy::new(&value)?;
        let mut proxy = Proxy::builder(named.protocol()).host(named.host()).port(named.port());
        if let (Some(user), Some(password)) = (named.username(), named.password()) {
            proxy = proxy.username(user).password(password);
        }
        for host in direct.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            // A name stands for all names below it, too, as curl has it.
            let name = host.trim_start_matches('.');
            proxy = proxy.no_proxy(name).no_proxy(&format!(".{name}"));
        }
        proxy.build()
    };
    build().map(Some).map_err(|_: ureq::Error| {
        // Not what it is instead: that may have a password in it.
        Error::input(format!("`{name}` in the environment does not name a proxy"))
            .hint("a proxy is written as http://HOST:PORT")
    })
}

/// The first of these variables that is set, and which it is.
fn variable(names: &[&str]) -> Option<(String, String)> {
    let names = names.iter().flat_map(|name| [(*name).to_owned(), name.to_uppercase()]);
    let set = names.filter_map(|name| Some((env::var(&name).ok()?, name)));
    set.map(|(value, name)| (name, value)).find(|(_, value)| !value.is_empty())
}
