//! What a running guest says of itself through VMware's guest variables.
//!
//! First boot sets `guestinfo.nodeforge.status` (`firstboot/lib.sh`, `report_status`), and
//! open-vm-tools sets `guestinfo.ip`. A guest may write there whatever it likes.

use std::net::IpAddr;

/// How far a machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestStatus {
    /// The role it found by its name.
    pub role: Option<String>,
    /// How far its first boot has come.
    pub first_boot: Option<String>,
}

impl GuestStatus {
    /// The variable's name, without `guestinfo.`.
    pub(super) const NAME: &'static str = "nodeforge.status";

    /// Reads `ROLE STATE`, where the state is `done`, `at STEP`, or `failing STEP ROUND`. What has
    /// another form is left out.
    pub(super) fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if words.len() > 4 || !words.iter().all(|word| is_word(word)) {
            return Self::default();
        }
        let Some((role, state)) = words.split_first() else { return Self::default() };
        let first_boot = match state {
            ["done"] => Some("done".to_owned()),
            ["at", step] => Some(format!("at {step}")),
            ["failing", step, round] => Some(format!("{step} fails, round {round}")),
            _ => None,
        };
        Self { role: (*role != "-").then(|| (*role).to_owned()), first_boot }
    }
}

/// The address that open-vm-tools found, if it is one.
pub(super) fn address(text: &str) -> Option<String> {
    text.trim().parse::<IpAddr>().ok().map(|address| address.to_string())
}

/// A word as roles and steps are.
pub(super) fn is_word(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_says_nothing_but_words() {
        let parse = |text: &str| {
            let GuestStatus { role, first_boot } = GuestStatus::parse(text);
            [role.unwrap_or_default(), first_boot.unwrap_or_default()].join("/")
        };
        for (said, wanted) in [
            ("agent done\n", "agent/done"),
            ("first-server at 50-k3s-server", "first-server/at 50-k3s-server"),
            ("- failing name 3", "/name fails, round 3"),
            ("agent", "agent/"),
            ("agent is rich", "agent/"),
            ("", "/"),
            ("agent \u{1b}[2J", "/"),
            ("agent failing 10-identity 1 more", "/"),
        ] {
            assert_eq!(parse(said), wanted, "{said:?}");
        }
        assert_eq!(address("192.168.1.9\n").as_deref(), Some("192.168.1.9"));
        assert_eq!(address("Error: none"), None);
    }
}
