//! `[[rule]]`: what makes no cluster of this profile.

use super::fields::owned;
use crate::config::condition;
use crate::config::profile_types::{Profile, Rule};
use crate::config::reader::Table;

/// All rules, in their order, after those of the profile that is extended.
pub(super) fn read_all(root: &Table<'_>, profile: &mut Profile) {
    for table in root.tables("rule") {
        let refuse = condition::read_key(&table, "refuse");
        let message = table.require("message", "message = \"…\"").and_then(|it| it.string());
        if refuse.is_none() && table.get("refuse").is_none() {
            let hint = "for example `refuse = \"settings.backup and settings.target == ''\"`";
            table.reader.wrong_hint(&table.span(), "a rule without `refuse` refuses nothing", hint);
        }
        let hint = owned(table.string("hint"));
        let setting = owned(table.string("setting"));
        table.finish();
        if let (Some(refuse), Some(message)) = (refuse, owned(message)) {
            profile.rules.push(Rule { refuse, message, hint, setting });
        }
    }
}
