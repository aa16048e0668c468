//! Parse, dispatch, exit code.

use std::process::ExitCode;

use nodeforge::prepare::sandbox;

fn main() -> ExitCode {
    if let Some(role) = sandbox::requested() {
        return sandbox::main(&role);
    }
    match trial() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for hint in &error.problems()[0].hints {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

struct Lines;

impl nodeforge::progress::Progress for Lines {
    fn stage(&self, name: &str) {
        eprintln!("== {name}");
    }
    fn message(&self, text: &str) {
        eprintln!("   {text}");
    }
    fn position(&self, done: u64, total: u64) {
        eprintln!("   {done}/{total}");
    }
    fn finish(&self) {}
}

fn trial() -> nodeforge::error::Result<()> {
    use nodeforge::config::{Arch, Bootstrap, Layout};
    nodeforge::interrupt::install()?;
    let arguments: Vec<String> = std::env::args().collect();
    let cache = nodeforge::source::Cache::open()?;
    let base = Bootstrap {
        suite: "trixie".into(),
        arch: Arch::Amd64,
        layout: Layout::Uefi,
        mirror: arguments.get(2).filter(|it| it.starts_with("http")).cloned(),
    };
    let image = nodeforge::source::bootstrap(&base, &cache, &Lines)?;
    println!("{} {} {}", image.path.display(), image.about.sha256, image.about.packages.len());
    Ok(())
}
