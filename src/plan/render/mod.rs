//! Templates: minijinja, where whatever is undefined is an error.

mod bounded;
mod scope;
mod secret;
#[cfg(test)]
mod tests;
mod values;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};

use crate::change::Content;
use crate::config::{self, Cluster, Condition, SecretRecipe, SecretSpec, SecretText, Setting};
use crate::secrets::Secret;
use crate::util::error::{Error, Problem, Result, Source};
pub(super) use scope::Scope;
use values::Used;

/// What bounds a template's run time, in minijinja's instructions: about a second.
const FUEL: u64 = 20_000_000;
/// The most a template may render to, in bytes.
const MOST_OUTPUT: usize = 16 << 20;

/// Renders templates of one cluster for one node, or for all alike.
pub(super) struct Renderer<'a> {
    environment: Arc<Environment<'static>>,
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
        // For templates that know what a user must not forget.
        environment.add_function("fail", |why: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, why))
        });
        environment
            .add_test("on", |address: Value, network: Value| values::is_on(&address, &network));
        environment
            .add_test("at", |addresses: Value, address: &str| values::is_at(&addresses, address));
        environment.add_test("suffix_on", |addresses: Value, network: Value| {
            values::is_suffix_on(&addresses, &network)
        });
        environment.add_test("before", |version: String, other: String| {
            values::is_before(&version, &other)
        });
        let are_names = scope.secrets().is_some_and(|(secrets, _)| secrets.are_names());
        environment.add_filter("b64encode", move |text: String| {
            // A name in base64 is no name.
            let is_shown = are_names && text.contains("<secret ");
            if is_shown { format!("<base64 of {text}>") } else { STANDARD.encode(text) }
        });
        let secret = |(name, it): (&String, &Setting)| {
            if let Setting::Secret(text) = it { Some((name.clone(), text.clone())) } else { None }
        };
        let keys: BTreeMap<_, _> = cluster.settings.iter().filter_map(secret).collect();
        environment.add_function("age_recipients", move |name: String| {
            secret::age_recipients(&name, keys.get(&name))
        });
        environment
            .add_test("within", |address: Value, pool: Value| values::is_within(&address, &pool));
        environment.add_test("around", |network: Value, address: Value| {
            values::is_around(&network, &address)
        });
        if matches!(scope, Scope::People(_)) {
            for (name, text) in config::handout_pieces() {
                environment.add_template(name, text).expect("a shipped template can be read");
            }
        }
        // Only so do errors know their place.
        environment.set_debug(true);
        let (used, common, nodes) = (Used::new(are_names), OnceCell::new(), OnceCell::new());
        Self { environment: Arc::new(environment), cluster, scope, used, common, nodes }
    }

    /// The files of this machine that something was made from: its own, and those of its secrets.
    pub(super) fn sources(&self, own: Option<&Path>, content: &Content) -> Vec<String> {
        let mut sources: Vec<String> =
            own.map(|path| self.cluster.shown(path)).into_iter().collect();
        for name in &content.secrets {
            let spec = self.cluster.profile.secrets.iter().find(|spec| spec.name == *name);
            if let Some(SecretRecipe::File { path }) = spec.map(|spec| &spec.recipe) {
                sources.push(path.display().to_string());
            }
            if let Some(Setting::Secret(SecretText { file: Some(path), .. })) =
                self.cluster.settings.get(name)
            {
                sources.push(self.cluster.shown(path));
            }
        }
        sources
    }

    /// Lets templates know one more text.
    pub(super) fn with(mut self, name: &'static str, text: &str) -> Self {
        Arc::make_mut(&mut self.environment).add_global(name, text.to_owned());
        self
    }

    /// The content a template renders to, marked with the secrets it asked for.
    pub(super) fn render(&self, name: &str, text: &str) -> Result<Content> {
        self.used.clear();
        let failed = |error: &minijinja::Error| self.explain(name, text, error);
        let template =
            self.environment.template_from_named_str(name, text).map_err(|error| failed(&error))?;
        let context = self.context(template.undeclared_variables(false).contains("nodes"));
        let what = format!("the template `{name}`");
        let bytes = self.bounded(&what, name, text, move |environment, name, text| {
            let mut output = Limited(Vec::new());
            let template = environment.template_from_named_str(name, text)?;
            template.render_captured_to(context, &mut output)?;
            Ok(output.0)
        })?;
        let secrets = self.used.names();
        let bytes = match bytes {
            // What takes a value apart cannot do so with a name.
            Err(_) if self.used.are_names() && !secrets.is_empty() => {
                format!("<made from the secret {}>\n", secrets.join(" and the secret "))
                    .into_bytes()
            }
            bytes => bytes.map_err(|error| failed(&error))?,
        };
        if let (Scope::Shared, [secret, ..]) = (&self.scope, secrets.as_slice()) {
            let message =
                format!("the template `{name}` would put the secret `{secret}` on all nodes");
            return Err(Error::input(message)
                .hint("the prepared base holds no secret; this belongs to a role's `files`"));
        }
        let are_names = self.used.are_names();
        Ok(Content { bytes, secrets, are_names })
    }

    /// Whether something is wanted: always without a condition.
    pub(super) fn holds(&self, condition: Option<&Condition>) -> Result<bool> {
        let Some(condition) = condition else { return Ok(true) };
        let value = self.evaluate(condition)?;
        match self.used.names().first() {
            None => Ok(value),
            Some(secret) => {
                let message = format!("a condition cannot depend on the secret `{secret}`");
                Err(Error::input(Problem::new(message).at_places([condition.place.clone()])))
            }
        }
    }

    /// What a condition comes to, whatever it looks at.
    pub(super) fn evaluate(&self, Condition { text, place }: &Condition) -> Result<bool> {
        let wrong =
            |message: String| Error::input(Problem::new(message).at_places([place.clone()]));
        let undefined = || {
            let path = self.undefined_in(text);
            wrong(format!("`{path}` is undefined in a condition")).hint(self.hint(&path))
        };
        let failed = |error: &minijinja::Error| {
            if error.kind() == ErrorKind::UndefinedError {
                return undefined();
            }
            if self.lacks_arch(text) {
                let place = self.cluster.places.base.clone();
                let problem = Problem::new(values::UNKNOWN_ARCH).at_places([place]);
                return Error::input(problem.hint(values::arch_hint(&self.cluster.base)));
            }
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            wrong(format!("cannot read the condition `{text}`: {detail}"))
        };
        self.used.clear();
        let expression =
            self.environment.compile_expression(text).map_err(|error| failed(&error))?;
        let context = self.context(expression.undeclared_variables(false).contains("nodes"));
        let what = format!("the condition `{text}`");
        let value = self.bounded(&what, "", text, move |environment, _, text| {
            environment.compile_expression(text)?.eval(context)
        })?;
        let value = value.map_err(|error| failed(&error))?;
        if value.is_undefined() {
            return Err(undefined());
        }
        bool::try_from(value).map_err(|_| {
            wrong(format!("the condition `{text}` is neither true nor false"))
                .hint("compare it with something: `settings.mode == 'bgp'`")
        })
    }

    /// Whether an expression asks for an architecture that is not known.
    fn lacks_arch(&self, expression: &str) -> bool {
        self.cluster.base.arch().is_none()
            && self
                .environment
                .compile_expression(expression)
                .is_ok_and(|expression| expression.undeclared_variables(true).contains("base.arch"))
    }

    /// Whether a condition is the same for all nodes.
    pub(super) fn is_shared_condition(&self, condition: Option<&Condition>) -> bool {
        condition.is_none_or(|condition| {
            self.environment
                .compile_expression(&condition.text)
                .is_ok_and(|expression| is_shared(&expression.undeclared_variables(false)))
        })
    }

    /// What `work` comes to, which must neither take more memory than any template needs nor keep an interrupt
    /// waiting. Fuel does not bound memory: forty doublings of one letter are forty instructions.
    fn bounded<T: Send + 'static>(
        &self,
        what: &str,
        name: &str,
        text: &str,
        work: impl FnOnce(&Environment<'static>, &str, &str) -> T + Send + 'static,
    ) -> Result<T> {
        // Each value that such a text can make was there before.
        if !text.contains(['|', '%', '*', '~', '+']) {
            return Ok(work(&self.environment, name, text));
        }
        let environment = Arc::clone(&self.environment);
        let (name, text) = (name.to_owned(), text.to_owned());
        bounded::run(what, move || work(&environment, &name, &text))
    }

    fn context(&self, wants_nodes: bool) -> Value {
        let mut context = self.common.get_or_init(|| self.common_values()).clone();
        // Thousands of nodes are only listed for who asks.
        if wants_nodes {
            let nodes = || self.cluster.nodes.iter().map(values::node).collect();
            context.insert("nodes", self.nodes.get_or_init(nodes).clone());
        }
        Value::from(context)
    }

    /// A template that may stand anywhere in a profile's strings.
    pub(super) fn render_word(&self, name: &str, text: &str) -> Result<String> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let content = self.render(name, text)?;
        let word = String::from_utf8(content.bytes.clone()).unwrap_or_default();
        if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic()) {
            let word = word.escape_debug();
            return Err(Error::input(format!("{name} renders to `{word}`, which is not one word")));
        }
        Ok(word)
    }

    /// Whether a template is the same for all nodes.
    pub(super) fn is_shared(&self, name: &str, text: &str) -> bool {
        // One that cannot be parsed is found out when it is rendered.
        self.environment
            .template_from_named_str(name, text)
            .is_ok_and(|template| is_shared(&template.undeclared_variables(false)))
    }

    fn common_values(&self) -> BTreeMap<&'static str, Value> {
        let mut context = BTreeMap::from([
            ("cluster", values::cluster(self.cluster)),
            ("base", values::base(&self.cluster.base, &self.used)),
            ("settings", values::settings(&self.cluster.settings, &self.used)),
        ]);
        if let Scope::Node(node, _) = self.scope {
            context.insert("node", values::node(node));
        }
        if let Some((secrets, reach)) = self.scope.secrets() {
            let secrets = secret::all(&self.cluster.profile, secrets, &reach, &self.used);
            context.insert("secrets", secrets);
        }
        context
    }

    /// minijinja's error in our words, at its place.
    fn explain(&self, name: &str, text: &str, error: &minijinja::Error) -> Error {
        if let Some(missing) = self.missing_file(error) {
            return missing;
        }
        let range = error.range().filter(|range| text.get(range.clone()).is_some());
        let range = range.map(|range| whole_path(text, &range));
        let expression = range.clone().and_then(|range| text.get(range)).unwrap_or("something");
        let undefined;
        let expression = if error.kind() == ErrorKind::UndefinedError {
            undefined = self.undefined_in(expression);
            undefined.as_str()
        } else {
            expression
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the engine adds errors; its own words do for the others"
        )]
        let message = match error.kind() {
            ErrorKind::UndefinedError => {
                format!("`{expression}` is undefined in the template `{name}`")
            }
            // The only values that cannot be written.
            ErrorKind::WriteFailure if self.whole_secret(expression).is_some() => {
                let parts = self.whole_secret(expression).unwrap_or_default();
                format!(
                    "`{expression}` in the template `{name}` is not a single text: it has {parts}"
                )
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
        Error::input(problem)
    }

    /// A user's own file that is not there is not the template's fault.
    fn missing_file(&self, error: &minijinja::Error) -> Option<Error> {
        let why = error.detail()?;
        let (secrets, _) = self.scope.secrets()?;
        let is_it = |spec: &&SecretSpec| {
            let secret = secrets.get(&spec.name).map(AsRef::as_ref);
            matches!(secret, Some(Secret::Missing(text)) if text == why)
        };
        let spec = self.cluster.profile.secrets.iter().find(is_it)?;
        let mut problem = Problem::new(why);
        if let Some(text) = &spec.missing {
            let name = format!("the `missing` of the secret `{}`", spec.name);
            match Self::new(self.cluster, Scope::Shared).render(&name, text) {
                Ok(text) => {
                    problem = problem.hint(String::from_utf8_lossy(&text.bytes).trim_end());
                }
                Err(error) => return Some(error),
            }
        }
        Some(Error::input(problem))
    }

    /// The path in an expression that leads nowhere; the expression itself when none does.
    fn undefined_in(&self, expression: &str) -> String {
        let Ok(compiled) = self.environment.compile_expression(expression) else {
            return expression.to_owned();
        };
        let mut paths: Vec<String> = compiled.undeclared_variables(true).into_iter().collect();
        paths.sort();
        let leads_nowhere = |path: &String| {
            let compiled = self.environment.compile_expression(path).ok();
            let value = compiled.map(|compiled| compiled.eval(self.context(true)));
            value.is_some_and(|value| match value {
                Ok(value) => value.is_undefined(),
                Err(error) => error.kind() == ErrorKind::UndefinedError,
            })
        };
        paths.into_iter().find(leads_nowhere).unwrap_or_else(|| expression.to_owned())
    }

    /// The parts of the secret that an expression begins with, when it has any.
    fn whole_secret(&self, expression: &str) -> Option<&'static str> {
        let name = expression.strip_prefix("secrets.")?.split('.').next()?;
        let spec = self.cluster.profile.secrets.iter().find(|spec| spec.name == name)?;
        Some(secret::parts_of(spec.recipe.kind())).filter(|parts| !parts.is_empty())
    }

    fn hint(&self, expression: &str) -> String {
        let root = expression.split(['.', '[']).next().unwrap_or_default();
        let shared = matches!(self.scope, Scope::Shared);
        if shared && matches!(root, "node" | "secrets") {
            return "all nodes share the prepared base; what differs belongs to a role's overlay"
                .into();
        }
        if root == "node" && matches!(self.scope, Scope::People(_)) {
            return "a side file sees cluster, nodes, settings, secrets and base".into();
        }
        if let Some(parts) = self.whole_secret(expression) {
            let whole = expression.split('.').take(2).collect::<Vec<_>>().join(".");
            return format!("`{whole}` has {parts}");
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
            return format!("`{root}` is empty");
        }
        format!("`{root}` has {names}")
    }
}

/// The range with what stands before its first dot: minijinja's own begins at the last of several.
fn whole_path(text: &str, range: &Range<usize>) -> Range<usize> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let before = &text[..range.start];
    range.start - (before.len() - before.trim_end_matches(is_path).len())..range.end
}

/// Whether a template that asks for these is the same for all nodes.
fn is_shared(asked: &HashSet<String>) -> bool {
    !["node", "nodes", "secrets"].iter().any(|name| asked.contains(*name))
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
