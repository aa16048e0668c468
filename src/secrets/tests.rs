use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::Secrets;
use crate::config::tests::quickstart_in;
use crate::util::error::Result;

#[test]
fn what_is_made_once_stays() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = quickstart_in(folder.path())?;
    let pretended = Secrets::load_or_pretend(&cluster)?;
    assert!(!pretended.is_stored());
    assert!(!Secrets::path(&cluster).exists(), "a plan writes nothing");

    let first = Secrets::load_or_create(&cluster)?;
    let second = Secrets::load_or_create(&cluster)?;
    assert!(first.is_stored());
    assert_eq!(first.machine_id("server1"), second.machine_id("server1"));
    assert_ne!(first.machine_id("server1"), first.machine_id("agent1"));
    let (one, other) = (first.ssh_host_key("agent1")?, second.ssh_host_key("agent1")?);
    assert!(one == other);
    assert!(Secrets::load_or_pretend(&cluster)?.is_stored());

    let mode = fs::metadata(Secrets::path(&cluster))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(folder.path())?.filter_map(Result::ok_name).collect();
    assert_eq!(names.len(), 3, "nothing stays behind: {names:?}");
    Ok(())
}

trait OkName {
    fn ok_name(self) -> Option<String>;
}

impl OkName for std::io::Result<fs::DirEntry> {
    fn ok_name(self) -> Option<String> {
        self.ok()?.file_name().into_string().ok()
    }
}

#[test]
fn a_machine_id_is_a_version_4_uuid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secrets = Secrets::load_or_create(&quickstart_in(folder.path())?)?;
    let id = secrets.machine_id("server1");
    let form = regex::Regex::new("^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$").expect("a regex");
    assert!(form.is_match(&id), "{id}");
    Ok(())
}

#[test]
fn an_open_or_damaged_store_is_refused_and_left_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = quickstart_in(folder.path())?;
    Secrets::load_or_create(&cluster)?;
    let path = Secrets::path(&cluster);
    let good = fs::read_to_string(&path)?;

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
    let error = Secrets::load_or_create(&cluster).err().map(|error| error.to_string());
    assert!(error.is_some_and(|text| text.contains("(mode 0640)")));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;

    for bad in ["", "version = 1\n", &good.replace("version = 1", "version = 2"), "a\0b"] {
        fs::write(&path, bad)?;
        let error = Secrets::load_or_create(&cluster).err().expect("damaged");
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert_eq!(fs::read_to_string(&path)?, bad, "it is left alone");
    }
    Ok(())
}

#[test]
fn many_at_once_agree() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = quickstart_in(folder.path())?;
    let ids: Vec<String> = std::thread::scope(|scope| {
        let make = || Secrets::load_or_create(&cluster).map(|it| it.machine_id("server1"));
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|it| it.join().expect("no panic")).collect::<Result<_>>()
    })?;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    Ok(())
}

#[test]
fn ssh_keygen_reads_the_keys() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secrets = Secrets::load_or_create(&quickstart_in(folder.path())?)?;
    let key = secrets.ssh_host_key("server1")?;
    let path = folder.path().join("key");
    fs::write(&path, &key.private)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let output = std::process::Command::new("ssh-keygen").arg("-yf").arg(&path).output()?;
    assert!(output.status.success());
    let public = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(public.trim(), key.public);
    Ok(())
}
