//! Jobs: what a sandbox is asked to do. The sandbox knows them by name only; their table is the caller's.

//!
//! A job can be asked for on any host, of a machine of its own; it is done on Linux.

#[cfg(target_os = "linux")]
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
#[cfg(target_os = "linux")]
use serde_json::Value;

use crate::util::error::Error;
#[cfg(target_os = "linux")]
use crate::util::error::{Context as _, Result};
#[cfg(target_os = "linux")]
use crate::util::progress::Progress;

/// A kind of job as it is asked for. It travels into the sandbox as JSON, and so does its result out of it.
pub(crate) trait JobRequest: Serialize + DeserializeOwned {
    /// What the table of jobs knows it by.
    const NAME: &'static str;
    /// What it hands back.
    type Output: Serialize + DeserializeOwned;
}

/// A kind of job as it is done.
#[cfg(target_os = "linux")]
pub(crate) trait Job: JobRequest {
    /// Does it, inside the sandbox, in the folder `scratch`, which need not exist yet.
    fn run(&self, scratch: &Path, progress: &dyn Progress) -> Result<Self::Output>;
}

#[cfg(target_os = "linux")]
/// An entry of the table of jobs that a worker can do.
#[derive(Clone, Copy, Debug)]
pub struct JobEntry {
    name: &'static str,
    run: fn(Value, &Path, &dyn Progress) -> Result<Value>,
}

#[cfg(target_os = "linux")]
impl JobEntry {
    /// The entry of a kind of job.
    pub(crate) const fn of<J: Job>() -> Self {
        Self { name: J::NAME, run: run::<J> }
    }
}

#[cfg(target_os = "linux")]
/// Does the job called `name`, with what came in and what goes out as JSON.
pub(super) fn run_by_name(
    jobs: &[JobEntry],
    name: &str,
    payload: Value,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Value> {
    let nothing = JobEntry::of::<Nothing>();
    let entry = jobs.iter().chain([&nothing]).find(|entry| entry.name == name);
    let entry = entry
        .ok_or_else(|| Error::failure(format!("the sandbox does not know the job `{name}`")))?;
    (entry.run)(payload, scratch, progress)
}

#[cfg(target_os = "linux")]
fn run<J: Job>(payload: Value, scratch: &Path, progress: &dyn Progress) -> Result<Value> {
    let job: J = serde_json::from_value(payload)
        .map_err(|error| json_error(&error))
        .context(|| format!("cannot read the job `{}`", J::NAME))?;
    let output = job.run(scratch, progress)?;
    serde_json::to_value(output).map_err(|error| json_error(&error))
}

pub(super) fn json_error(error: &serde_json::Error) -> Error {
    Error::failure(error.to_string())
}

#[cfg(target_os = "linux")]
/// A job that does nothing: the sandbox removes its folders when it ends, which can be all that is wanted.
#[derive(Debug, Serialize, serde::Deserialize)]
pub(super) struct Nothing;

#[cfg(target_os = "linux")]
impl JobRequest for Nothing {
    const NAME: &'static str = "nothing";
    type Output = ();
}

#[cfg(target_os = "linux")]
impl Job for Nothing {
    fn run(&self, _scratch: &Path, _progress: &dyn Progress) -> Result<()> {
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::util::progress::Silent;

    #[derive(Debug, Serialize, serde::Deserialize)]
    struct Add(u32, u32);

    impl JobRequest for Add {
        const NAME: &'static str = "add";
        type Output = u32;
    }

    impl Job for Add {
        fn run(&self, _scratch: &Path, _progress: &dyn Progress) -> Result<u32> {
            Ok(self.0 + self.1)
        }
    }

    #[test]
    fn a_job_is_found_by_its_name() {
        let jobs = [JobEntry::of::<Add>()];
        let run =
            |name: &str, payload: Value| run_by_name(&jobs, name, payload, Path::new("/"), &Silent);
        assert_eq!(run("add", serde_json::json!([1, 2])).unwrap(), 3);
        assert_eq!(run("nothing", Value::Null).unwrap(), Value::Null);
        let error = run("sub", Value::Null).unwrap_err();
        assert_eq!(error.to_string(), "the sandbox does not know the job `sub`");
        let error = run("add", Value::Null).unwrap_err();
        assert!(error.to_string().starts_with("cannot read the job `add`: "), "{error}");
    }
}
