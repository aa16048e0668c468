//! Which container images the first boot deploys: those that rendered manifests name, and where others are named.

use std::collections::BTreeSet;

use serde_json::Value;

use super::node::node;
use super::render::Renderer;
use crate::change::{Action, ChartValues, ImageArchive, NamedImage, PublishedTag, Requester};
use crate::config::{ChartImagesSpec, Cluster, ImagesSpec};
use crate::secrets::Secrets;
use crate::util::error::{Context as _, Error, Result};
use crate::util::yaml;

/// What is wanted of images; `None` when the profile's condition does not hold.
pub(super) fn archive(
    cluster: &Cluster,
    spec: &ImagesSpec,
    renderer: &Renderer<'_>,
) -> Result<Option<ImageArchive>> {
    if !renderer.holds(spec.when.as_ref())? {
        return Ok(None);
    }
    let mirror = match &spec.mirror {
        Some(mirror) => {
            let text = renderer.render("`mirror` of [images]", mirror)?;
            Some(String::from_utf8_lossy(&text.bytes).into_owned()).filter(|it| !it.is_empty())
        }
        None => None,
    };
    if let Some(mirror) = mirror.as_ref().filter(|it| !it.starts_with("https://")) {
        return Err(Error::input(format!(
            "`{mirror}`, a mirror of images, is no https:// address"
        )));
    }
    let mut charts = Vec::new();
    for chart in &spec.charts {
        if renderer.holds(chart.when.as_ref())? {
            let path = renderer.render_word("the `path` of a chart", &chart.path)?;
            charts.push(ChartImagesSpec { path, ..chart.clone() });
        }
    }
    let mut found = Deployed::default();
    let files = files(cluster, spec)?;
    for (path, text) in &files {
        if is_manifest(path, spec) {
            found.read(path, text, &charts).context(|| format!("reading the manifest `{path}`"))?;
        }
    }
    found.by_helm(&charts, &files);
    found.by_name(spec, renderer)?;
    let tags = spec.tags.iter().map(|tag| {
        let word = |what: &str, text: &str| {
            renderer.render_word(&format!("the `{what}` of an [[images.tag]]"), text)
        };
        let image = word("image", &tag.image)?;
        let (url, pattern) = (word("url", &tag.url)?, word("pattern", &tag.pattern)?);
        Ok(PublishedTag { image, url, pattern })
    });
    let tags = tags.collect::<Result<Vec<_>>>()?;
    let mut lists = Vec::new();
    for list in &spec.lists {
        if renderer.holds(list.when.as_ref())? {
            lists.push(renderer.render_word("the `url` of a list of images", &list.url)?);
        }
    }
    let path = renderer.render_word("the `path` of [images]", &spec.path)?;
    let images = found.images.into_iter().collect();
    Ok(Some(ImageArchive { path, mirror, images, charts: found.charts, lists, tags }))
}

/// The profile's files of all roles that say what is deployed, rendered: of one node each, with the names of secrets.
/// No image depends on either. What the cluster file adds is its owner's: their registries may ask for a password.
fn files(cluster: &Cluster, spec: &ImagesSpec) -> Result<Vec<(String, String)>> {
    let secrets = Secrets::pretend(cluster)?.as_names();
    let mut roles = BTreeSet::new();
    let mut files = Vec::new();
    let is_values = |path: &str| spec.charts.iter().any(|it| it.with.as_deref() == Some(path));
    for one in cluster.nodes.iter().filter(|node| roles.insert((&node.role, node.is_first))) {
        for change in node(cluster, one, &secrets)? {
            if matches!(change.origin, Requester::ClusterFile | Requester::CommandLine) {
                continue;
            }
            let Action::File { path, content, .. } = change.action else { continue };
            if is_manifest(&path, spec) || is_values(&path) {
                let text = String::from_utf8_lossy(&content.bytes).into_owned();
                files.push((path, text));
            }
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// Whether a file is a manifest in one of the folders that are looked into.
fn is_manifest(path: &str, spec: &ImagesSpec) -> bool {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let is_yaml = [".yaml", ".yml"].iter().any(|ending| path.ends_with(ending));
    is_yaml && spec.manifests.iter().any(|wanted| wanted.trim_end_matches('/') == folder)
}

/// What manifests were found to deploy.
#[derive(Default)]
struct Deployed {
    images: BTreeSet<NamedImage>,
    charts: Vec<ChartValues>,
}

impl Deployed {
    fn read(&mut self, path: &str, text: &str, charts: &[ChartImagesSpec]) -> Result<()> {
        for object in yaml::documents(text)? {
            let mut images = Vec::new();
            collect(&object, &mut images);
            let named = |image| NamedImage { image, by: path.to_owned() };
            self.images.extend(images.into_iter().map(named));
            if object["kind"] == "HelmChart" {
                self.chart(&object["spec"], charts)?;
            }
        }
        Ok(())
    }

    /// k3s' `HelmChart`: which of the charts that the image brings it installs, with which values.
    fn chart(&mut self, spec: &Value, charts: &[ChartImagesSpec]) -> Result<()> {
        let file = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let chart = spec["chart"].as_str().unwrap_or_default();
        let known = charts.iter().find(|it| file(&it.path) == file(chart)).ok_or_else(|| {
            Error::input(format!("nothing says which images the chart `{chart}` deploys"))
                .hint("a chart in the image, and an `[[images.chart]]` of its path: with `offline`, `charts = \"baked\"`")
        })?;
        let further = spec["valuesContent"].as_str().unwrap_or_default().to_owned();
        let (path, values) = (known.path.clone(), known.values.clone());
        self.charts.push(ChartValues { path, values, further });
        Ok(())
    }

    /// Charts that first boot installs, with the values that it gives them.
    fn by_helm(&mut self, charts: &[ChartImagesSpec], files: &[(String, String)]) {
        for chart in charts.iter().filter(|it| it.is_by_helm) {
            let values = files.iter().find(|(path, _)| Some(path) == chart.with.as_ref());
            let further = values.map(|(_, text)| text.clone()).unwrap_or_default();
            let (path, values) = (chart.path.clone(), chart.values.clone());
            self.charts.push(ChartValues { path, values, further });
        }
    }

    fn by_name(&mut self, spec: &ImagesSpec, renderer: &Renderer<'_>) -> Result<()> {
        for name in &spec.names {
            let image = renderer.render_word("`names` of [images]", name)?;
            self.images.insert(NamedImage { image, by: "`names` of [images]".to_owned() });
        }
        Ok(())
    }
}

/// The container images that a text of manifests names: those of all containers of pods, whatever makes the pods.
pub(crate) fn container_images(text: &str) -> Result<Vec<String>> {
    let mut images = Vec::new();
    for object in yaml::documents(text)? {
        collect(&object, &mut images);
    }
    Ok(images)
}

fn collect(value: &Value, images: &mut Vec<String>) {
    const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
    match value {
        Value::Array(list) => list.iter().for_each(|it| collect(it, images)),
        Value::Object(table) => {
            for (key, value) in table {
                if let (true, Some(list)) = (LISTS.contains(&key.as_str()), value.as_array()) {
                    let named = list.iter().filter_map(|it| it["image"].as_str());
                    images.extend(named.map(str::to_owned));
                }
                collect(value, images);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_all_kinds_of_containers_are_found() {
        let text = "kind: Pod\nspec:\n  containers: [{name: a, image: q.io/a:1}]\n---\n\
                    kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {initContainers: [{image: b:2}], \
                    containers: [{image: c:3}, {name: none}]}}}}}\n---\n\
                    kind: ConfigMap\ndata: {image: not-one, 'a.yaml': 'containers: [{image: d:4}]'}\n";
        assert_eq!(container_images(text).unwrap(), ["q.io/a:1", "c:3", "b:2"]);
    }

    #[test]
    fn a_chart_that_nobody_knows_is_refused() {
        let chart = "kind: HelmChart\nspec:\n  chart: https://x/static/charts/b-1.tgz\n  valuesContent: 'a: b'\n";
        let known = |path: &str| ChartImagesSpec {
            path: path.into(),
            values: vec!["image".into()],
            is_by_helm: false,
            with: None,
            when: None,
        };
        let mut deployed = Deployed::default();
        let error = deployed.read("p", chart, &[known("/charts/a-1.tgz")]).unwrap_err().to_string();
        assert!(error.contains("the chart `https://x/static/charts/b-1.tgz`"), "{error}");
        deployed.read("p", chart, &[known("/charts/b-1.tgz")]).unwrap();
        assert_eq!(deployed.charts[0].further, "a: b");
    }
}
