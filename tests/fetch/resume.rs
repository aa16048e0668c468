//! Downloads that are interrupted, and several at once.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::Stand;
use crate::support::{Fault, noise, wait_until};

/// Whether the cache has the beginning of a download.
fn has_part(stand: &Stand) -> bool {
    let kept = stand.kept();
    kept.iter().any(|it| {
        it.starts_with("downloads/")
            && fs::metadata(stand.cache().join(it)).is_ok_and(|file| file.len() > 0)
    })
}

fn spawn(stand: &Stand, arguments: &[&str]) -> Child {
    let mut run = stand.run(arguments);
    run.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nodeforge starts")
}

#[test]
fn a_connection_cut_anywhere_is_taken_up_where_it_broke() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    let length = stand.server.body("/image").len();
    let cuts = [1, 100_000, 0, 700_001, 65_536];
    stand.server.once("/image", cuts.map(Fault::CutAfter));
    stand.fetch_is("it", &raw);
    let requests = stand.server.requests("/image");
    assert_eq!(requests.len(), cuts.len() + 1);
    let mut at = 0;
    for (request, cut) in requests.iter().zip(cuts) {
        let range = request.headers.get("range").cloned();
        assert_eq!(range, (at > 0).then(|| format!("bytes={at}-")));
        assert_eq!(request.headers.contains_key("if-range"), at > 0);
        at += cut;
    }
    let sent: usize = requests.iter().map(|it| it.sent).sum();
    assert_eq!(sent, length, "nothing came twice");
}

#[test]
fn a_server_that_changes_or_knows_no_ranges_starts_afresh() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    for fault in [Fault::Whole, Fault::Anonymous, Fault::Unannounced] {
        drop(std::fs::remove_dir_all(stand.path("cache")));
        stand.server.mend("/image");
        stand.server.once("/image", [Fault::CutAfter(500_000)]);
        stand.server.always("/image", fault.clone());
        if matches!(fault, Fault::Unannounced) {
            // Then a cut looks like the end, and the hash says that it was none.
            let said = stand.fails("it");
            assert!(said.contains("is not what it should be"), "{said}");
            continue;
        }
        stand.fetch_is("it", &raw);
    }
    // What an earlier run left of another version does not get into this one.
    drop(std::fs::remove_dir_all(stand.path("cache")));
    let good = stand.server.body("/image");
    stand.server.forget_requests();
    stand.server.put("/image", noise(7, 1 << 20));
    stand.server.once("/image", [Fault::CutAfter(500_000)]);
    stand.server.slow("/image", Duration::from_secs(1));
    let mut child = spawn(&stand, &["fetch", "it"]);
    wait_until(|| has_part(&stand));
    child.kill().expect("killed");
    child.wait().expect("waited for");
    stand.server.put("/image", good);
    stand.fetch_is("it", &raw);
}

/// Kills as many downloads, each after another part of them was sent, and lets one end.
fn check_kills(kills: usize) {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    stand.server.slow("/image", Duration::from_millis(10));
    let length = stand.server.body("/image").len();
    let sent = || stand.server.requests("/image").iter().map(|it| it.sent).sum::<usize>();
    let (mut killed, mut begun) = (0, 1);
    for amount in noise(3, kills) {
        let enough = sent() + (usize::from(amount) << 12);
        let mut child = spawn(&stand, &["fetch", "it"]);
        wait_until(|| sent() >= enough || child.try_wait().expect("asked").is_some());
        child.kill().expect("killed");
        killed += usize::from(child.wait().expect("waited for").code().is_none());
        let kept = stand.kept();
        let whole = kept.iter().find(|it| it.ends_with("disk.img") && !it.contains("/."));
        if let Some(image) = whole {
            // What looks whole is whole. Then once more, from the beginning.
            let path = stand.cache().join(image);
            crate::support::tool("cmp", [path.as_os_str(), raw.as_os_str()]);
            std::fs::remove_dir_all(stand.path("cache")).expect("removed");
            begun += 1;
        }
    }
    assert!(killed > kills / 5, "{killed} of {kills} were killed in time");
    stand.fetch_is("it", &raw);
    assert_eq!(stand.kept().len(), 2, "{:?}", stand.kept());
    let requests = stand.server.requests("/image");
    assert!(requests.iter().any(|it| it.headers.contains_key("if-range")));
    // Every kill loses what was under way, but nothing starts afresh.
    let sent = sent();
    assert!(sent < begun * length + killed * (512 << 10), "{sent} bytes, {begun} times {length}");
}

#[test]
fn ten_kills_and_a_run_that_ends_right() {
    check_kills(10);
}

mod long {
    #[test]
    #[ignore = "long: fifty kills instead of ten"]
    fn fifty_kills_and_a_run_that_ends_right() {
        super::check_kills(50);
    }
}

#[test]
fn two_at_once_download_once() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    stand.server.slow("/image", Duration::from_millis(20));
    let children: Vec<_> = (0..3).map(|_| spawn(&stand, &["fetch", "it"])).collect();
    for mut child in children {
        assert!(child.wait().expect("waited for").success());
    }
    assert_eq!(stand.server.requests("/image").len(), 1);
    stand.fetch_is("it", &raw);
    assert_eq!(stand.server.requests("/image").len(), 1);
}

#[test]
fn an_interrupt_stops_a_download_and_the_next_run_goes_on() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    stand.server.slow("/image", Duration::from_millis(60));
    let mut run = stand.run(["fetch", "it"]);
    let child = run.command().stderr(Stdio::piped()).spawn().expect("nodeforge starts");
    wait_until(|| has_part(&stand));
    crate::support::tool("kill", ["-INT", &child.id().to_string()]);
    let output = child.wait_with_output().expect("waited for");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(stand.kept().iter().all(|it| it.starts_with("downloads/")), "{:?}", stand.kept());
    stand.fetch_is("it", &raw);
    assert!(stand.server.requests("/image")[1].headers.contains_key("range"));
}

#[test]
fn a_server_without_ranges_that_cuts_is_asked_again_from_the_beginning() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    stand.server.always("/image", Fault::Whole);
    // Every other request asks for the rest, and learns that it cannot be had.
    let cuts = [100_000, 0, 200_000, 0, 300_000, 0, 400_000, 0];
    stand.server.once("/image", cuts.map(Fault::CutAfter));
    let said = stand.run(["fetch", "it"]).succeeds().stderr_text();
    assert_eq!(said.matches("the server cannot resume: starting over").count(), 4, "{said}");
    assert!(!said.contains("another file"), "{said}");
    stand.fetch_is("it", &raw);

    drop(std::fs::remove_dir_all(stand.path("cache")));
    stand.server.forget_requests();
    stand.server.always("/image", Fault::CutAfter(100_000));
    let said = stand.fails("it");
    assert!(said.contains("` broke") && said.contains("tried 5 times"), "{said}");
    assert!(!said.contains("changes while") && !said.contains("goes on after"), "{said}");
    let whole = stand.server.requests("/image");
    assert_eq!(whole.iter().filter(|it| !it.headers.contains_key("range")).count(), 5);
}
