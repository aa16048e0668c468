//! `[images]`: container images that nodes bring along.

use super::fields::owned;
use crate::config::condition;
use crate::config::files::check_path;
use crate::config::profile_types::{ChartImagesSpec, ImageListSpec, ImageTagSpec, ImagesSpec};
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
    let names = table.plain_strings("names");
    let tags = table.tables("tag").into_iter().filter_map(read_tag).collect();
    let mirror = owned(table.string("mirror"));
    let charts = table.tables("chart").into_iter().filter_map(read_chart).collect();
    let lists = table.tables("list").into_iter().filter_map(read_list).collect();
    let when = condition::read(&table);
    table.finish();
    let manifests = manifests.into_iter().map(|folder| folder.value.to_owned()).collect();
    Some(ImagesSpec { path: path?, manifests, names, tags, mirror, charts, lists, when })
}

fn read_chart(table: Table<'_>) -> Option<ChartImagesSpec> {
    let example = "path = \"/var/lib/rancher/k3s/server/static/charts/metallb.tgz\"";
    let path = table.require("path", example).and_then(|value| value.string());
    let values = table.require("values", "values = [\"controller.image\"]");
    let values = values.map(|value| value.strings()).unwrap_or_default();
    for place in &values {
        require_place(table.reader, place);
    }
    let is_by_helm = table.get("by_helm").and_then(|value| value.boolean()).unwrap_or_default();
    let with = table.string("with");
    let with = with.and_then(|path| check_path(table.reader, &path));
    let when = condition::read(&table);
    table.finish();
    let values = values.into_iter().map(|place| place.value.to_owned()).collect();
    Some(ChartImagesSpec { path: owned(path)?, values, is_by_helm, with, when })
}

fn read_tag(table: Table<'_>) -> Option<ImageTagSpec> {
    let image = table.require("image", "image = \"registry.k8s.io/etcd\"");
    let image = image.and_then(|value| value.string());
    let url = table.require("url", "url = \"https://…\"").and_then(|value| value.string());
    let pattern = table.require("pattern", "pattern = 'EtcdVersion = \"([^\"]+)\"'");
    let pattern = pattern.and_then(|value| value.string());
    table.finish();
    Some(ImageTagSpec { image: owned(image)?, url: owned(url)?, pattern: owned(pattern)? })
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
