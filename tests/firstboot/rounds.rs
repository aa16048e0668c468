//! What fails is tried again, in rounds without end, and told.

use super::super::support::Node;

#[test]
fn a_step_that_fails_is_tried_again_then_named() {
    let node = Node::new("server1");
    node.step("20-two", "echo; echo 'the disk is on fire\u{1b}[1m' >&2; echo; exit 1");
    let said = node.boot(false);
    let (said, since) = without_time(&said);
    assert!(
        said.ends_with(
            "the disk is on fire\u{1b}[1m\n\n\
             nodeforge-firstboot: failed: step 20-two: the disk is on fire[1m (round 1, since TIME)\n"
        ),
        "{said}"
    );
    assert!(said.contains("\nnodeforge-firstboot: step 20-two did not succeed, attempt 1 of 3\n"));
    assert!(said.contains("\nnodeforge-firstboot: step 20-two did not succeed, attempt 2 of 3\n"));
    assert!(!node.path("var/lib/k8s-firstboot-done").exists());
    let status = node.run("usr/bin/nodeforge-firstboot");
    assert_eq!(status.status.code(), Some(1));
    node.stand_in("systemctl", "echo activating");
    let wanted = format!(
        "hostname: server1\nrole: server\n10-one: done\n\
         20-two: failing since {since}, round 1: the disk is on fire[1m\nfirst boot: not done\n"
    );
    assert_eq!(String::from_utf8_lossy(&node.run("usr/bin/nodeforge-firstboot").stdout), wanted);
    node.stand_in("systemctl", "echo failed; exit 3");
    let stopped = ", and not going on; `nodeforge-firstboot retry` begins a round\n";
    assert_eq!(
        String::from_utf8_lossy(&node.run("usr/bin/nodeforge-firstboot").stdout),
        wanted.trim_end().to_owned() + stopped
    );

    // The next boot: what was done is not repeated.
    node.stand_in("systemctl", "exit 0");
    node.step("20-two", "exit 0");
    let said = node.boot(true);
    assert!(said.contains("step 10-one was done before\n"));
    assert_eq!(node.calls().matches("10-one").count(), 1);
    assert!(!node.path("var/lib/nodeforge/firstboot/failed").exists());
}

/// The status of the step before lies where its own would: it is not taken for it.
#[test]
fn a_step_whose_shell_is_killed_is_not_done() {
    let node = Node::new("server1");
    node.step("20-two", "echo working; kill -9 $PPID; sleep 1");
    let said = node.boot(false);
    let why =
        "failed: step 20-two: working; it left no exit status: it was killed, or /run is full";
    assert!(said.contains(why), "{said}");
    assert!(!node.path("var/lib/nodeforge/firstboot/20-two.done").exists());
    assert_eq!(node.calls().matches("20-two").count(), 3);
    // An empty one, as a full /run leaves it.
    node.step(
        "20-two",
        "rm -f $NODEFORGE_ROOT/run/nodeforge/firstboot/status
        ln -s /dev/null $NODEFORGE_ROOT/run/nodeforge/firstboot/status; exit 3",
    );
    assert!(node.boot(false).contains("it left no exit status"));
    node.step("20-two", "exit 0");
    node.boot(true);
}

/// What the runner said with `TIME` for the time since which something fails, and that time.
pub(super) fn without_time(said: &str) -> (String, String) {
    let (_, rest) = said.split_once(", since ").expect("it says since when");
    let since = rest.split([')', ';']).next().expect("one").to_owned();
    (said.replace(&since, "TIME"), since)
}

/// The network of this node comes after two rounds. Its steps before are not repeated.
#[test]
fn first_boot_goes_on_until_the_network_is_there() {
    let node = Node::new("server1");
    node.give_up_after(9);
    node.step(
        "20-two",
        "echo . >>\"$NODEFORGE_ROOT/tries\"
         [ $(wc -l <\"$NODEFORGE_ROOT/tries\") -gt 7 ] || { echo no route to host; exit 7; }",
    );
    let (said, _) = without_time(&node.boot(true));
    let own: Vec<_> =
        said.lines().filter_map(|line| line.strip_prefix("nodeforge-firstboot: ")).collect();
    let failed = "failed: step 20-two: no route to host";
    let next = "the next round begins in 0 s, or with `nodeforge-firstboot retry`";
    assert_eq!(
        own[1..],
        [
            "step 10-one done",
            "step 20-two did not succeed, attempt 1 of 3",
            "step 20-two did not succeed, attempt 2 of 3",
            &format!("{failed} (round 1, since TIME); {next}"),
            "step 20-two did not succeed, attempt 1 of 3",
            "step 20-two did not succeed, attempt 2 of 3",
            &format!("{failed} (round 2, since TIME); {next}"),
            "step 20-two did not succeed, attempt 1 of 3",
            "step 20-two done",
            "done",
        ]
    );
    assert_eq!(node.calls().matches("10-one").count(), 1);
    assert!(!node.path("var/lib/nodeforge/firstboot/failed").exists());
    assert!(!node.path("run/nodeforge/firstboot").exists());
}

#[test]
fn pauses_between_rounds_grow_to_five_minutes() {
    let node = Node::new("server1");
    node.stand_in("sleep", "exit 0");
    node.step("20-two", "exit 9");
    let script = "NODEFORGE_ROUNDS=6 NODEFORGE_ROUND_DELAY=60 NODEFORGE_ATTEMPTS=1 \
                  exec sh $NODEFORGE_ROOT/usr/bin/k8s-firstboot.sh";
    let output = node.shell(script);
    assert!(!output.status.success());
    let (said, _) = without_time(&String::from_utf8_lossy(&output.stdout));
    assert!(said.contains("step 20-two: it exited with 9 and said nothing (round 1, "), "{said}");
    let pauses: Vec<_> = said
        .lines()
        .filter_map(|line| line.split_once("begins in ")?.1.split_once(' '))
        .map(|(seconds, _)| seconds)
        .collect();
    assert_eq!(pauses, ["60", "120", "240", "300", "300"]);
    let slept: Vec<f64> = node
        .calls()
        .lines()
        .filter_map(|line| line.strip_prefix("sleep "))
        .map(|seconds| seconds.trim().parse().expect("a number"))
        .collect();
    for (slept, pause) in slept.iter().zip([60.0, 120.0, 240.0, 300.0, 300.0]) {
        assert!((pause..=pause * 1.25).contains(slept), "{slept} for {pause}");
    }
    assert_eq!(slept.len(), 5);
}

#[test]
fn a_name_may_come_late() {
    let node = Node::new("");
    node.give_up_after(9);
    node.stand_in(
        "vmware-rpctool",
        "[ -e \"$NODEFORGE_ROOT/asked\" ] || { : >\"$NODEFORGE_ROOT/asked\"; exit 1; }; echo agent3",
    );
    let said = node.boot(true);
    assert!(said.contains("failed: this machine has no name: none in "), "{said}");
    assert!(said.ends_with("step 10-one done\nnodeforge-firstboot: done\n"), "{said}");
}

/// A full disk must not end the runner.
#[test]
fn a_mark_that_cannot_be_written_is_a_failure_like_others() {
    let node = Node::new("agent1");
    node.give_up_after(2);
    node.stand_in(
        "sync",
        "[ -e \"$NODEFORGE_ROOT/full\" ] || { : >\"$NODEFORGE_ROOT/full\"; exit 1; }",
    );
    let said = node.boot(true);
    assert!(said.contains("failed: step 10-one: its mark cannot be written (round 1, "), "{said}");
}

#[test]
fn the_next_round_can_be_asked_for() {
    let node = Node::new("server1");
    let ask = |word: &str| {
        let output =
            node.shell(&format!("exec sh $NODEFORGE_ROOT/usr/bin/nodeforge-firstboot {word}"));
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = ask("retry");
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "first boot: a round begins; `journalctl -f -u k8s-firstboot` shows it\n")
    );
    let (code, said) = ask("stop");
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "first boot: stopped until the next boot, or `nodeforge-firstboot retry`\n")
    );
    assert_eq!(
        node.calls(),
        "systemctl --no-block restart k8s-firstboot.service\n\
         systemctl stop k8s-firstboot.service\n"
    );
    assert_eq!(ask("status status").0, Some(2));
    assert_eq!(ask("start").0, Some(2));
    node.boot(true);
    assert_eq!(ask("retry"), (Some(0), "first boot: done\n".to_owned()));
}
