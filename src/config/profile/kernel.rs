//! `[kernel]`: modules, sysctls, command line, config.txt.

use super::fields::extend_checked;
use crate::config::profile_types::KernelSpec;
use crate::config::reader::Table;

pub(super) fn read(table: Table<'_>, kernel: &mut KernelSpec) {
    let hint = "for example `br_netfilter`";
    extend_checked(
        &table,
        "modules",
        &mut kernel.modules,
        is_module,
        "not a valid name of a kernel module",
        hint,
    );
    let hint = "for example `cgroup_enable=memory`, each word an element of its own";
    extend_checked(&table, "cmdline", &mut kernel.cmdline, is_word, "not one word", hint);
    let hint = "for example `dtparam=pciex1`, each line an element of its own";
    extend_checked(&table, "config_txt", &mut kernel.config_txt, is_line, "not one line", hint);
    if let Some(sysctl) = table.table("sysctl") {
        for (key, value) in sysctl.entries() {
            // Most are numbers, which need no quotes.
            let text = if value.is_table() {
                None
            } else if value.is_string() {
                value.string().map(|text| text.value.to_owned())
            } else {
                value.integer().map(|number| number.to_string())
            };
            if !is_sysctl(key.value) {
                let message = format!("`{}` is not a sysctl", key.value);
                let hint = "for example `\"net.ipv4.ip_forward\" = 1`, the name in quotes";
                table.reader.wrong_hint(&key.span, message, hint);
            }
            if let Some(text) = text {
                if !is_line(&text) {
                    table.reader.wrong(&value.span(), "a sysctl's value is one line");
                }
                kernel.sysctl.insert(key.value.to_owned(), text);
            }
        }
    }
    table.finish();
}

fn is_module(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

fn is_sysctl(key: &str) -> bool {
    key.contains(['.', '/'])
        && key.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'_' | b'-' | b'*')
        })
}
