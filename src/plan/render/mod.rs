//! Templates: minijinja, where whatever is undefined is an error.

mod values;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};

use crate::config::{Base, Cluster, Node, Secrets};
use crate::error::{Error, Problem, Result, Source};
use crate::plan::Content;
use values::Used;

/// What bounds a template's run time, in minijinja's instructions: about a second.
const FUEL: u64 = 20_000_000;
/// The most a template may render to, in bytes.
const MOST_OUTPUT: usize = 16 << 20;

/// For whom a template is rendered.
pub(super) enum Scope<'a> {
    /// For all nodes alike: the prepared base, or a template of machines.
    Shared,
    /// For one node.
    Node(&'a Node, &'a Secrets),
}

/// Renders templates of one cluster for one node, or for all alike.
pub(super) struct Renderer<'a> {
    environment: Environment<'static>,
    cluster: &'a Cluster,
    scope: Scope<'a>,
    used: Used,
    common: OnceCell<BTreeMap<&'static str, Value>>,
    nodes: OnceCell<Value>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(cluster: &'a Cluster, scope: Scope<'a>) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        let mut syntax = SyntaxConfig::builder();
        syntax.keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().expect("the default syntax, whitespace aside"));
        environment.set_fuel(Some(FUEL));
        // How a template refuses values that do not go together.
        environment.add_function("fail", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        // Only so do errors know their place.
        environment.set_debug(true);
        let (used, common, nodes) = (Used::default(), OnceCell::new(), OnceCell::new());
        Self { environment, cluster, scope, used, common, nodes }
    }

    /// The content a template renders to, marked with the secrets it asked for.
    pub(super) fn render(&self, name: &str, text: &str) -> Result<Content> {
        self.used.clear();
        let failed = |error: &minijinja::Error| self.explain(name, text, error);
        let template =
            self.environment.template_from_named_str(name, text).map_err(|error| failed(&error))?;
        let mut context = self.common.get_or_init(|| self.common_values()).clone();
        // Thousands of nodes are only listed for who asks.
        if template.undeclared_variables(false).contains("nodes") {
            let nodes = || self.cluster.nodes.iter().map(values::node).collect();
            context.insert("nodes", self.nodes.get_or_init(nodes).clone());
        }
        let mut output = Limited(Vec::new());
        template
            .render_captured_to(Value::from(context), &mut output)
            .map_err(|error| failed(&error))?;
        Ok(Content { bytes: output.0, secrets: self.used.names() })
    }

    /// A template that may stand anywhere in a profile's strings.
    pub(super) fn render_word(&self, name: &str, text: &str) -> Result<String> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let content = self.render(name, text)?;
        let word = String::from_utf8(content.bytes).unwrap_or_default();
        if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic()) {
            let word = word.escape_debug();
            return Err(Error::input(format!("{name} renders to `{word}`, which is not one word")));
        }
        Ok(word)
    }

    /// Whether a template is the same for all nodes.
    pub(super) fn is_shared(&self, name: &str, text: &str) -> bool {
        // One that cannot be parsed is found out when it is rendered.
        self.environment.template_from_named_str(name, text).is_ok_and(|template| {
            let asked = template.undeclared_variables(false);
            !["node", "nodes", "secrets"].iter().any(|name| asked.contains(*name))
        })
    }

    fn common_values(&self) -> BTreeMap<&'static str, Value> {
        let mut context = BTreeMap::from([
            ("cluster", values::cluster(self.cluster)),
            ("base", values::base(&self.cluster.base)),
            ("settings", values::settings(&self.cluster.settings, &self.used)),
        ]);
        if let Scope::Node(node, secrets) = self.scope {
            context.insert("node", values::node(node));
            let secrets = values::secrets(&self.cluster.profile, &node.role, secrets, &self.used);
            context.insert("secrets", secrets);
        }
        context
    }

    /// minijinja's error in our words, at its place.
    fn explain(&self, name: &str, text: &str, error: &minijinja::Error) -> Error {
        let range = error.range().filter(|range| text.get(range.clone()).is_some());
        let expression = range.clone().and_then(|range| text.get(range)).unwrap_or("something");
        let message = match error.kind() {
            ErrorKind::UndefinedError => {
                format!("`{expression}` is undefined in the template `{name}`")
            }
            ErrorKind::OutOfFuel => format!("the template `{name}` takes too long"),
            kind => {
                let detail = error.detail().map_or_else(|| kind.to_string(), str::to_owned);
                format!("the template `{name}` does not render: {detail}")
            }
        };
        let mut problem = Problem::new(message);
        let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
        if let Some(span) = range {
            problem = problem.at(&source, span);
        } else if let Some(line) = error.line() {
            let start = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
            let length = text[start..].lines().next().map_or(0, str::len);
            problem = problem.at(&source, start..start + length);
        }
        if error.kind() == ErrorKind::UndefinedError {
            problem = problem.hint(self.hint(expression));
        }
        Error::from_problems(vec![problem]).expect_err("there is one")
    }

    fn hint(&self, expression: &str) -> String {
        let root = expression.split(['.', '[']).next().unwrap_or_default();
        let shared = matches!(self.scope, Scope::Shared);
        if shared && matches!(root, "node" | "secrets") {
            return "all nodes share the prepared base; what differs belongs to a role's overlay"
                .into();
        }
        let names = match root {
            "node" => values::NODE_KEYS.join(", "),
            "cluster" => values::CLUSTER_KEYS.join(", "),
            "base" => values::BASE_KEYS.join(", "),
            "settings" => self.cluster.settings.keys().cloned().collect::<Vec<_>>().join(", "),
            "secrets" => {
                let names = self.cluster.profile.secrets.iter().map(|secret| secret.name.clone());
                names.collect::<Vec<_>>().join(", ")
            }
            _ => return "templates see cluster, node, nodes, settings, secrets and base".into(),
        };
        if names.is_empty() {
            return format!("`{root}` has nothing in it");
        }
        format!("`{root}` has {names}")
    }
}

/// Memory that refuses to grow without bound.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_OUTPUT {
            return Err(io::Error::other("it renders to more than 16 MiB"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What kind of base it is, in a word.
fn base_kind(base: &Base) -> &'static str {
    match base {
        Base::Catalogue(_) => "image",
        Base::Path(_) => "path",
        Base::Url { .. } => "url",
        Base::Bootstrap(_) => "bootstrap",
    }
}

#[cfg(test)]
mod tests;
