//! Offline: the images of all that first boot deploys, found out from what is rendered, from Cilium's chart and from
//! kubeadm's source, fetched from a stand-in for registries, and copied by the real skopeo.

use std::fs;
use std::path::PathBuf;

use super::super::support::{
    Arch, Authority, Gpg, Node, Run, Server, checksum, is_archive_of, temporary_folder, tiny_base,
};
use super::built::{IMAGES, cilium_chart, own_profile, publish_images};
use super::steps::{goes_well, goes_wrong, worker};

/// A cluster of three control planes and a worker that finds everything on `server`.
fn cluster(server: &Server) -> tempfile::TempDir {
    let folder = temporary_folder();
    let path = |name: &str| folder.path().join(name);
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    server.put("/Release.key", gpg.public(&key));
    server.put_file("/cilium.tgz", &cilium_chart(folder.path()));
    server.put("/gateway/v1.4.1/standard-install.yaml", "kind: CustomResourceDefinition\n");
    server.put("/helm/helm-v4.2.4-linux-arm64.tar.gz", "helm");
    fs::write(path("helm"), "helm").expect("written");
    let sum = checksum("sha256sum", &path("helm"));
    let sums = format!("{sum}  helm-v4.2.4-linux-arm64.tar.gz\n");
    server.put("/helm/helm-v4.2.4-linux-arm64.tar.gz.sha256sum", sums);
    publish_images(server);
    own_profile(&path("own"), |_| server.url(""), &key.fingerprint);
    tiny_base(folder.path(), Arch::Arm64);
    let mut text = format!(
        "[cluster]\nname = \"home\"\nprofile = \"./own\"\n[base]\npath = \"base.img\"\n\
         [access]\nuser = \"pi\"\nlogin = false\n[settings]\napi_address = \"192.168.1.9\"\noffline = true\n\
         flux_url = \"https://example.org/cluster\"\nsops = false\nhelm_mirror = \"{0}/helm\"\n\
         gateway_api_mirror = \"{0}/gateway\"\ncilium_chart = \"{0}/cilium.tgz\"\n\
         flux_operator_mirror = \"{0}/flux-operator\"\nimage_mirror = \"{0}\"\nkubernetes_source = \"{0}/kubernetes\"\n",
        server.url("")
    );
    for (number, name) in
        ["controlplane", "controlplane1", "controlplane2", "node0"].iter().enumerate()
    {
        text +=
            &format!("[[node]]\nhostname = \"{name}\"\naddresses = [\"192.168.1.1{number}/24\"]\n");
    }
    fs::write(path("cluster.toml"), text).expect("written");
    folder
}

/// The archive that a build would put into the image.
fn archive(folder: &std::path::Path) -> PathBuf {
    let lock = fs::read_to_string(folder.join("nodeforge.lock")).expect("there");
    let lock: toml::Table = lock.parse().expect("TOML");
    let archives = lock["image_archive"].as_array().expect("an array");
    assert_eq!(archives.len(), 1);
    assert_eq!(archives[0]["path"].as_str(), Some("/usr/share/nodeforge/images.oci.tar"));
    let sha256 = archives[0]["sha256"].as_str().expect("a hash");
    folder.join("cache/nodeforge/files").join(sha256)
}

#[test]
fn images_are_those_that_kubeadm_charts_and_manifests_name() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    let folder = cluster(&server);
    let fetch = |arguments: &[&str]| {
        Run::new(["fetch"])
            .args(arguments)
            .folder(folder.path())
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            .env("SSL_CERT_FILE", authority.certificate())
    };
    let said = fetch(&[]).succeeds().stderr_text();
    let much = "warning: 0.0 MiB of container images are not in the cache and are downloaded\n";
    assert!(said.contains(much), "{said}");
    is_archive_of(&archive(folder.path()), "arm64", &IMAGES);
    let lock = fs::read_to_string(folder.path().join("nodeforge.lock")).expect("there");
    for image in IMAGES {
        assert!(lock.contains(&format!("reference = \"{image}\"\ndigest = \"sha256:")), "{lock}");
    }
    // What says the tags is pinned, too, once each; and nothing is asked again.
    for text in
        ["cmd/kubeadm/app/constants/constants.go\"", "/flux-operator/v0.54.0/install.yaml\""]
    {
        assert_eq!(lock.matches(text).count(), 1, "{lock}");
    }
    server.forget_requests();
    let said = fetch(&["--locked", "--offline"]).succeeds().stderr_text();
    assert!(!said.contains("not in the cache"), "{said}");

    first_boot_copies_them(folder.path());

    // Where kubeadm's source says it in another way, nobody guesses.
    let constants = "/kubernetes/v1.36.4/cmd/kubeadm/app/constants/constants.go";
    let other = String::from_utf8_lossy(&server.body(constants)).replace("36: ", "V36: ");
    server.put(constants, other);
    fs::remove_file(folder.path().join("nodeforge.lock")).expect("there");
    let said = fetch(&[]).fails().stderr_text();
    let told = format!(
        "error: nothing in `{}` matches `(?m)^\\s*36:\\s*\"([^\"]+)\"`, which the tag of `registry.k8s.io/etcd` is taken from\n\
         hint: the text has changed: look how its version stands there now, in `pattern` of [[images.tag]]\n\
         hint: it is asked for by profile own\n",
        server.url(constants)
    );
    assert!(said.ends_with(&told), "{said}");
}

/// The real skopeo, with folders in place of CRI-O's store.
fn first_boot_copies_them(folder: &std::path::Path) {
    let node: Node = worker();
    fs::create_dir_all(node.path("usr/share/nodeforge")).expect("a folder");
    let packed = node.path("usr/share/nodeforge/images.oci.tar");
    fs::copy(archive(folder), &packed).expect("copied");
    let store = "name=$(echo \"${4#containers-storage:}\" | tr /: __); mkdir -p $NODEFORGE_ROOT/store
        PATH=/usr/bin exec skopeo --insecure-policy copy --quiet \"$3\" \"dir:$NODEFORGE_ROOT/store/$name\"";
    // It breaks off in the middle, and goes on where it was.
    node.stand_in("skopeo", &format!("case $4 in *scheduler*) exit 1 ;; esac; {store}"));
    goes_wrong(&node, "38-images");
    assert!(!packed.exists() && node.path("var/lib/nodeforge/images/index.json").exists());
    node.stand_in("skopeo", store);
    goes_well(&node, "38-images");
    let mut copied: Vec<_> = fs::read_dir(node.path("store"))
        .expect("a folder")
        .map(|it| it.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    copied.sort();
    let mut expected = IMAGES.map(|it| it.replace(['/', ':'], "_"));
    expected.sort();
    assert_eq!(copied, expected);
    assert!(!node.path("var/lib/nodeforge/images").exists());
    let pause = node.read("etc/crio/crio.conf.d/30-nodeforge-pause.conf");
    assert_eq!(pause, "[crio.image]\npause_image = \"registry.k8s.io/pause:3.10.2\"\n");
    assert_eq!(node.calls().matches("systemctl restart crio.service").count(), 1);
    // Nothing is left to do.
    goes_well(&node, "38-images");
    assert_eq!(node.calls().matches("systemctl restart crio.service").count(), 1);
}
