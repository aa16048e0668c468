//! Helm charts: which container images one deploys. A chart is not rendered, which only helm can do: where among
//! its values its images stand, the profile says, and what each place may look like stands here.
//!
//! * A text names the image as it is.
//! * Of a mapping, `repository` (or `image`) is the name, with `registry` before it when there is one. Where there is
//!   only a `name`, the chart's own `imageRegistry` and `imageNamespace` go before it.
//! * `tag` (or `version`) is the tag; without one, or when it is empty, the chart's `appVersion`. A `digest` is kept.
//!   With `useDigest: false` it is not.
//! * What lies in a mapping that says `enabled: false` is not deployed.
//! * What follows a `+` in a place is added to the name, as the chart's templates do: `operator.image+-generic`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Map, Value};

use crate::util::error::{Context as _, Error, Result};
use crate::util::yaml;

/// The most bytes of a file of a chart that is read.
const MOST: u64 = 2 << 20;
/// The most bytes of an unpacked chart that are looked through.
const MOST_UNPACKED: u64 = 256 << 20;

/// The images that the chart in the file `chart` deploys: those at `places` in its values, such as
/// `controller.image`, when it is installed with further values.
pub(super) fn images(chart: &Path, places: &[String], further: &str) -> Result<Vec<String>> {
    let [about, mut values] = read(chart)?;
    for more in yaml::documents(further).context(|| "reading the values of a HelmChart")? {
        merge(&mut values, more);
    }
    let app_version = about["appVersion"].as_str();
    let mut images = Vec::new();
    for place in places {
        let image = image_at(&values, place, app_version);
        images.extend(image.context(|| format!("`{place}` in the values of the chart"))?);
    }
    Ok(images)
}

/// Its `Chart.yaml` and `values.yaml`.
fn read(chart: &Path) -> Result<[Value; 2]> {
    let context = || format!("reading the chart `{}`", chart.display());
    let unpacked = GzDecoder::new(File::open(chart).context(context)?).take(MOST_UNPACKED);
    let mut found = [Value::Null, Value::Object(Map::new())];
    for entry in tar::Archive::new(unpacked).entries().context(context)? {
        let entry = entry.context(context)?;
        let path = entry.path().context(context)?.into_owned();
        // Charts within it have their own, deeper.
        let mut parts = path.components().skip(1);
        let place = match (parts.next().and_then(|it| it.as_os_str().to_str()), parts.next()) {
            (Some("Chart.yaml"), None) => 0,
            (Some("values.yaml"), None) => 1,
            _ => continue,
        };
        let mut text = String::new();
        entry.take(MOST).read_to_string(&mut text).context(context)?;
        found[place] = yaml::documents(&text).context(context)?.pop().unwrap_or_default();
    }
    if found[0].is_null() {
        return Err(Error::input("it has no Chart.yaml")).context(context);
    }
    Ok(found)
}

/// As helm lays values over each other: mappings are merged, `null` removes, all else is replaced.
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                if value.is_null() {
                    below.remove(&key);
                } else {
                    merge(below.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (below, above) => *below = above,
    }
}

/// The image at a place; `None` where that is switched off.
fn image_at(values: &Value, place: &str, app_version: Option<&str>) -> Result<Option<String>> {
    let (place, added) = place.split_once('+').unwrap_or((place, ""));
    let mut found = values;
    for key in place.split('.') {
        found = found.get(key).ok_or_else(|| {
            Error::input("there is nothing there")
                .hint("the chart has changed: look where its image stands now, in `values` of [[images.chart]]")
        })?;
        if found["enabled"] == false {
            return Ok(None);
        }
    }
    if let Some(whole) = found.as_str() {
        return Ok(Some(whole.to_owned()));
    }
    let text = |value: &Value| value.as_str().filter(|it| !it.is_empty()).map(str::to_owned);
    let either = |first: &str, second: &str| text(&found[first]).or_else(|| text(&found[second]));
    let mut image = match (either("repository", "image"), text(&found["name"])) {
        (Some(repository), _) => match text(&found["registry"]) {
            Some(registry) => format!("{registry}/{repository}"),
            None => repository,
        },
        (None, Some(name)) => {
            let registry = text(&found["registry"]).or_else(|| text(&values["imageRegistry"]));
            let parts = [registry, text(&values["imageNamespace"]), Some(name)];
            parts.into_iter().flatten().collect::<Vec<_>>().join("/")
        }
        (None, None) => return Err(Error::input("it does not name an image")),
    };
    image.push_str(added);
    let digest = text(&found["digest"]).filter(|_| found["useDigest"] != false);
    let tag = either("tag", "version").or_else(|| app_version.map(str::to_owned));
    match (tag, &digest) {
        (Some(tag), _) => image = format!("{image}:{tag}"),
        (None, Some(_)) => {}
        (None, None) => return Err(Error::input("neither it nor the chart has a version")),
    }
    Ok(Some(match digest {
        Some(digest) => format!("{image}@{digest}"),
        None => image,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &str, place: &str) -> String {
        let values = yaml::documents(values).unwrap().pop().unwrap();
        match image_at(&values, place, Some("v9")) {
            Ok(Some(image)) => image,
            Ok(None) => "off".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn images_are_found_in_the_forms_that_charts_have() {
        for (values, place, image) in [
            // MetalLB
            (
                "controller: {enabled: true, image: {repository: quay.io/m/c, tag: }}",
                "controller.image",
                "quay.io/m/c:v9",
            ),
            ("speaker: {enabled: false, image: {repository: a/b}}", "speaker.image", "off"),
            // Traefik
            (
                "image: {registry: docker.io, repository: traefik, tag: ''}",
                "image",
                "docker.io/traefik:v9",
            ),
            // the Tigera operator
            (
                "o: {image: tigera/operator, version: v1.40.0, registry: quay.io}",
                "o",
                "quay.io/tigera/operator:v1.40.0",
            ),
            // cert-manager since 1.20
            (
                "imageRegistry: quay.io\nimageNamespace: jetstack\nimage: {repository: '', name: cert-manager-controller}",
                "image",
                "quay.io/jetstack/cert-manager-controller:v9",
            ),
            ("image: quay.io/a/b:1.10", "image", "quay.io/a/b:1.10"),
            (
                "image: {repository: q.io/a, tag: 1.10, digest: 'sha256:00'}",
                "image",
                "q.io/a:1.10@sha256:00",
            ),
            // Cilium
            (
                "operator: {image: {repository: quay.io/c/operator, tag: v1.19.6, useDigest: false, digest: 'sha256:00'}}",
                "operator.image+-generic",
                "quay.io/c/operator-generic:v1.19.6",
            ),
            ("image: {repository: ''}", "image", "it does not name an image"),
            ("image: {}", "images", "there is nothing there"),
        ] {
            assert_eq!(found(values, place), image, "{values}");
        }
    }

    #[test]
    fn values_are_laid_over_each_other_as_helm_does() {
        let read = |text: &str| yaml::documents(text).unwrap().pop().unwrap();
        let mut values = read("a: {b: 1, c: {d: 2}, e: 3}\nl: [1, 2]");
        merge(&mut values, read("a: {c: {d: 4, f: 5}, e: null}\nl: [3]"));
        assert_eq!(values, read("a: {b: 1, c: {d: 4, f: 5}}\nl: [3]"));
    }
}
