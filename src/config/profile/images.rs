//! `[images]`: container images that nodes bring along.

use super::fields::owned;
use crate::config::condition;
use crate::config::files::check_path;
use crate::config::profile_types::{ChartImagesSpec, ImageListSpec, ImagesSpec};
use crate::config::reader::{Reader, Spanned, Table};

/// The table, which is replaced as a whole by that of a profile that extends this one.
pub(super) fn read(root: &Table<'_>) -> Option<ImagesSpec> {
    let table = root.table("images")?;
    let reader = table.reader;
    let example = "path = \"/var/lib/rancher/k3s/agent/images/deployed.tar\"";
    let path = table.require("path", example).and_then(|value| value.string());
    let path = path.and_then(|path| check_path(reader, &path));
    let manifests = table.strings("manifests");
    for folder in &manifests {
        let _ = check_path(reader, folder);
    }
    let mirror = owned(table.string("mirror"));
    let charts = table.tables("chart").into_iter().filter_map(read_chart).collect();
    let lists = table.tables("list").into_iter().filter_map(read_list).collect();
    let when = condition::read(&table);
    table.finish();
    let manifests = manifests.into_iter().map(|folder| folder.value.to_owned()).collect();
    Some(ImagesSpec { path: path?, manifests, mirror, charts, lists, when })
}

fn read_chart(table: Table<'_>) -> Option<ChartImagesSpec> {
    let example = "path = \"/var/lib/rancher/k3s/server/static/charts/metallb.tgz\"";
    let path = table.require("path", example).and_then(|value| value.string());
    let values = table.require("values", "values = [\"controller.image\"]");
    let values = values.map(|value| value.strings()).unwrap_or_default();
    for place in &values {
        require_place(table.reader, place);
    }
    table.finish();
    let values = values.into_iter().map(|place| place.value.to_owned()).collect();
    Some(ChartImagesSpec { path: owned(path)?, values })
}

fn require_place(reader: &Reader, place: &Spanned<&str>) {
    if place.value.split('.').any(str::is_empty) {
        let message = format!("`{}` is no place in a chart's values", place.value);
        reader.wrong_hint(&place.span, message, "keys with dots between them: `controller.image`");
    }
}

fn read_list(table: Table<'_>) -> Option<ImageListSpec> {
    let url = table.require("url", "url = \"https://…\"").and_then(|value| value.string());
    let when = condition::read(&table);
    table.finish();
    Some(ImageListSpec { url: owned(url)?, when })
}
