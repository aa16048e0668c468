//! `[[rule]]`: what makes no cluster of this profile.

use super::fields::owned;
use crate::config::condition;
use crate::config::profile_types::{Profile, Rule};
use crate::config::reader::Table;

/// All rules, in their order, after those of the profile that is extended.
pub(super) fn read_all(root: &Table<'_>, profile: &mut Profile) {
    for table in root.tables("rule") {
        let refuse = condition::read_key(&table, "refuse");
        let warn = condition::read_key(&table, "warn");
        let message = table.require("message", "message = \"…\"").and_then(|it| it.string());
        if let (Some(_), Some(warn)) = (&refuse, table.get("warn")) {
            let hint = "keep one of them: what is refused needs no warning";
            table.reader.wrong_hint(&warn.span(), "`refuse` and `warn` exclude each other", hint);
        }
        if refuse.is_none() && table.get("refuse").is_none() && table.get("warn").is_none() {
            let hint = "for example `refuse = \"settings.backup and settings.target == ''\"`";
            table.reader.wrong_hint(&table.span(), "a rule without `refuse` refuses nothing", hint);
        }
        let hint = owned(table.string("hint"));
        let setting = owned(table.string("setting"));
        table.finish();
        let only_warns = refuse.is_none();
        if let (Some(broken), Some(message)) = (refuse.or(warn), owned(message)) {
            profile.rules.push(Rule { broken, only_warns, message, hint, setting });
        }
    }
}
