//! What each module of a crate defines, imports and mentions, read from its tokens.
//!
//! proc-macro2 is the lexer: it knows strings, comments and lifetimes. A full parser (syn) would see
//! nothing of the paths in macros, and finding what a path means is work for us with either.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Segments of a path: of a module from the crate's root, or as it is written.
pub(super) type Path = Vec<String>;

/// One module: a file, or a `mod name { … }` in one.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The file that holds it, such as `src/disk/mod.rs`.
    pub(super) file: String,
    /// What a name means here; more than one thing when a module and a function share it.
    pub(super) names: BTreeMap<String, Vec<Binding>>,
    /// Modules whose names `use path::*` brings.
    pub(super) globs: Vec<Path>,
    pub(super) mentions: Vec<Mention>,
    /// Names of the types defined here, with their lines.
    pub(super) types: Vec<(String, usize)>,
}

#[derive(Debug)]
pub(super) enum Binding {
    Item,
    Module,
    Import(Path),
}

/// A path that occurs in a module.
#[derive(Debug)]
pub(super) struct Mention {
    pub(super) path: Path,
    pub(super) line: usize,
    pub(super) place: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Code,
    Import,
    /// `pub use`, of whatever visibility.
    Reexport,
}

/// All modules of a crate by their paths.
pub(super) type Modules = BTreeMap<Path, Module>;

/// Reads the modules from `root`, such as `src/lib.rs`, down. `sources` are texts by their paths.
/// What only tests compile is left out.
pub(super) fn read(sources: &BTreeMap<String, String>, root: &str, path: &Path) -> Modules {
    let mut reader = Reader { sources, modules: Modules::new() };
    reader.file(root, path);
    reader.modules
}

struct Reader<'a> {
    sources: &'a BTreeMap<String, String>,
    modules: Modules,
}

impl Reader<'_> {
    fn file(&mut self, file: &str, path: &Path) {
        let text = &self.sources[file];
        let tokens: TokenStream =
            text.parse().unwrap_or_else(|error| panic!("{file} is not Rust: {error}"));
        self.modules.insert(path.clone(), Module { file: file.to_owned(), ..Module::default() });
        self.tokens(tokens, path, true);
    }

    /// `items`: whether these tokens stand in a module and not within one of its items.
    fn tokens(&mut self, tokens: TokenStream, path: &Path, items: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut public = false;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    at += 1 + usize::from(is_punct(tokens.get(at + 1), '!'));
                    let Some(TokenTree::Group(attribute)) = tokens.get(at) else { continue };
                    at += 1;
                    if is_for_tests(attribute) {
                        at = end_of_item(&tokens, at);
                    } else {
                        self.tokens(attribute.stream(), path, false);
                    }
                }
                // A lifetime.
                TokenTree::Punct(punct) if punct.as_char() == '\'' => at += 2,
                TokenTree::Ident(word) => match word.to_string().as_str() {
                    "pub" => {
                        public = true;
                        at += 1 + usize::from(is_group(tokens.get(at + 1), Delimiter::Parenthesis));
                        continue;
                    }
                    "use" => {
                        let end = position(&tokens, at, ';');
                        self.imports(&tokens[at + 1..end], path, &Path::new(), public);
                        at = end;
                    }
                    "mod" if items => at = self.child(&tokens, at, path),
                    word => at = self.word(word, &tokens, at, path, items),
                },
                TokenTree::Group(group) => {
                    // What a macro is given where items stand may be items: `words! { enum Kind { … } }`.
                    let is_macro = at > 0 && is_punct(tokens.get(at - 1), '!');
                    self.tokens(group.stream(), path, items && is_macro);
                    at += 1;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
            }
            public = false;
        }
    }

    /// A keyword that defines a name, or the first segment of a path.
    fn word(
        &mut self,
        word: &str,
        tokens: &[TokenTree],
        at: usize,
        path: &Path,
        items: bool,
    ) -> usize {
        let module = self.modules.get_mut(path).expect("read before its contents");
        let line = tokens[at].span().start().line;
        let is_type = matches!(word, "struct" | "enum" | "union" | "trait" | "type");
        if is_type || matches!(word, "fn" | "const" | "static") {
            let at = at + 1 + usize::from(is_word(tokens.get(at + 1), "mut"));
            if let Some(TokenTree::Ident(name)) = tokens.get(at)
                && items
                && !["fn", "unsafe", "async", "extern"].iter().any(|word| name == word)
            {
                module.names.entry(name.to_string()).or_default().push(Binding::Item);
                if is_type {
                    module.types.push((name.to_string(), line));
                }
                return at + 1;
            }
            return at;
        }
        if word == "macro_rules"
            && let Some(TokenTree::Ident(name)) = tokens.get(at + 2)
        {
            module.names.entry(name.to_string()).or_default().push(Binding::Item);
            return at + 3;
        }
        let (segments, end) = segments(tokens, at);
        let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
        let is_field = is_punct(before(1), '.') && !is_punct(before(2), '.');
        if !is_field {
            module.mentions.push(Mention { path: segments, line, place: Position::Code });
        }
        end
    }

    /// `mod name;` or `mod name { … }`: the position after it.
    fn child(&mut self, tokens: &[TokenTree], at: usize, path: &Path) -> usize {
        let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else { return at + 1 };
        let name = name.to_string();
        let module = self.modules.get_mut(path).expect("read before its contents");
        module.names.entry(name.clone()).or_default().push(Binding::Module);
        let file = module.file.clone();
        let mut child = path.clone();
        child.push(name.clone());
        if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
            self.modules.insert(child.clone(), Module { file, ..Module::default() });
            self.tokens(body.stream(), &child, true);
        } else {
            let (folder, own) = file.rsplit_once('/').unwrap_or(("", &file));
            let folder = match own {
                "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
                own => format!("{folder}/{}", own.trim_end_matches(".rs")),
            };
            let files = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
            let found = files.iter().find(|file| self.sources.contains_key(*file));
            let found = found.unwrap_or_else(|| panic!("{file}: no file for `mod {name}`"));
            self.file(found, &child);
        }
        at + 3
    }

    /// What stands between `use` and `;`, or between a comma and the next in braces.
    fn imports(&mut self, tokens: &[TokenTree], path: &Path, prefix: &Path, public: bool) {
        let mut full = prefix.clone();
        let mut alias = None;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for part in inner.split(|token| is_punct(Some(token), ',')) {
                        if !part.is_empty() {
                            self.imports(part, path, &full, public);
                        }
                    }
                    return;
                }
                TokenTree::Punct(punct) if punct.as_char() == '*' => {
                    let module = self.modules.get_mut(path).expect("read before its contents");
                    module.globs.push(full);
                    return;
                }
                TokenTree::Ident(word) if word == "as" => {
                    alias = tokens.get(at + 1).map(ToString::to_string);
                    break;
                }
                // `{self}` means the module itself.
                TokenTree::Ident(word) if word == "self" && !full.is_empty() => {}
                TokenTree::Ident(word) => full.push(word.to_string()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        let module = self.modules.get_mut(path).expect("read before its contents");
        let name = alias.or_else(|| full.last().cloned()).expect("an import has a name");
        module.names.entry(name).or_default().push(Binding::Import(full.clone()));
        let place = if public { Position::Reexport } else { Position::Import };
        let line = tokens.first().map_or(0, |token| token.span().start().line);
        module.mentions.push(Mention { path: full, line, place });
    }
}

/// `a::b::c` from `at`, and the position after it.
fn segments(tokens: &[TokenTree], mut at: usize) -> (Path, usize) {
    let mut path = vec![tokens[at].to_string()];
    at += 1;
    while is_punct(tokens.get(at), ':')
        && is_punct(tokens.get(at + 1), ':')
        && let Some(TokenTree::Ident(next)) = tokens.get(at + 2)
    {
        path.push(next.to_string());
        at += 3;
    }
    (path, at)
}

/// `[cfg(test)]` or `[cfg(all(test, …))]`.
fn is_for_tests(attribute: &Group) -> bool {
    let text = attribute.stream().to_string().replace(' ', "");
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// The position after the item (or statement, field, arm) that begins at `at`.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let mut is_definition = false;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token {
            TokenTree::Ident(word)
                if ["use", "const", "static", "let"].iter().any(|it| word == it) =>
            {
                is_definition = !is_word(tokens.get(index + 1), "fn");
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => return index + 1,
            TokenTree::Punct(punct) if punct.as_char() == ',' && !is_definition => {
                return index + 1;
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !is_definition => {
                return index + 1;
            }
            TokenTree::Punct(_)
            | TokenTree::Group(_)
            | TokenTree::Ident(_)
            | TokenTree::Literal(_) => {}
        }
    }
    tokens.len()
}

fn position(tokens: &[TokenTree], from: usize, wanted: char) -> usize {
    let found = tokens[from..].iter().position(|token| is_punct(Some(token), wanted));
    found.map_or(tokens.len(), |offset| from + offset)
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_word(token: Option<&TokenTree>, wanted: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(word)) if word == wanted)
}

fn is_group(token: Option<&TokenTree>, wanted: Delimiter) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == wanted)
}
