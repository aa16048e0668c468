//! For Macs with Apple silicon, k3s in the images: the programs that its publisher would serve are
//! stand-ins, the list of their checksums has the publisher's form. And k3s downloaded by the node
//! itself. The base is made by hand, and no program of it runs.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::super::support::{
    Arch, Authority, FIRSTBOOT, Fault, K3S, Node, Run, Server, chart, checksum, is_archive_of,
    noise, partitions, resources_are_known, serve_images, temporary_folder, tiny_base, tool,
};
use super::{EXAMPLE, NODES, cluster, plan};

const RELEASE: &str = "/v1.36.2%2Bk3s1";

/// A chart that the API server hands out.
struct Chart {
    name: &'static str,
    /// In k3s' folder static/charts.
    file: &'static str,
}

const CHARTS: [Chart; 2] = [
    Chart { name: "calico", file: "tigera-operator-v3.32.1.tgz" },
    Chart { name: "metallb", file: "metallb-0.16.1.tgz" },
];

/// What Calico's operator deploys, by the manifests of its release, and what the charts and manifests name.
const CALICO: [(&str, &[&str]); 3] = [
    ("calico-typha", &["cni", "node", "kube-controllers", "typha"]),
    ("apiserver", &["apiserver"]),
    ("csi-driver", &["csi", "node-driver-registrar"]),
];
const OTHERS: [&str; 4] = [
    "docker.io/cloudflare/cloudflared:2026.8.2",
    "quay.io/metallb/controller:v0.16.1",
    "quay.io/tigera/operator:v1.42.0",
    "registry.k8s.io/external-dns/external-dns:v0.22.0",
];

/// Has a server stand in for all that have charts, manifests and images. Returns the images.
fn publish(server: &Server, folder: &Path) -> Vec<String> {
    let values = [
        "tigeraOperator: {image: tigera/operator, version: v1.42.0, registry: quay.io}\n",
        "controller: {image: {repository: quay.io/metallb/controller, tag: }}\n\
         speaker: {enabled: true, image: {repository: quay.io/metallb/speaker}, frr: {enabled: true}}\n",
    ];
    for (Chart { name, .. }, values) in CHARTS.iter().zip(values) {
        server.put_file(&format!("/{name}.tgz"), &chart(folder, name, "v0.16.1", values));
    }
    let calicoctl = folder.join("calicoctl");
    fs::write(&calicoctl, "calicoctl").expect("written");
    server.put_file("/v3.32.1/calicoctl-linux-arm64", &calicoctl);
    let sum = checksum("sha256sum", &calicoctl);
    server.put("/v3.32.1/SHA256SUMS", format!("{sum}  calicoctl-linux-arm64\n"));
    let mut images = OTHERS.map(str::to_owned).to_vec();
    for (file, names) in CALICO {
        let mut text =
            "kind: Namespace\nmetadata: {name: x}\n---\nspec:\n  containers:\n".to_owned();
        for name in names {
            let image = format!("quay.io/calico/{name}:v3.32.1");
            text.push_str(&format!("  - name: {name}\n    image: {image}\n"));
            images.push(image);
        }
        server.put(&format!("/v3.32.1/manifests/{file}.yaml"), text);
    }
    let all: Vec<&str> = images.iter().map(String::as_str).collect();
    serve_images(server, &all);
    images
}

/// The example as it stands, on a base that is at hand, with k3s from `server`.
fn example(server: &Server) -> tempfile::TempDir {
    let folder = temporary_folder();
    tiny_base(folder.path(), Arch::Arm64);
    let settings = format!(
        "[settings]\nk3s_mirror = \"{0}\"\ncalico_releases = \"{0}\"\n\
         calico_manifests = \"{0}\"\nimage_mirror = \"{0}\"\n\
         calico_chart = \"{0}/calico.tgz\"\n\
         metallb_chart = \"{0}/metallb.tgz\"\ncloudflared = true\ncloudflared_tunnel = \"6ff42ae2\"\n\
         cloudflared_hostnames = [\"www.example.net\"]\ncloudflared_services = [\"http://web.default\"]",
        server.url("")
    );
    let text = fs::read_to_string(EXAMPLE).expect("the example is there");
    let text = text
        .replace("image = \"debian-13-generic-arm64\"", "path = \"base.img\"")
        .replace("size = \"16G\"", "size = \"512M\"")
        .replace("[settings]", &settings);
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    let key = Path::new(EXAMPLE).with_file_name("demo.pub");
    fs::copy(key, folder.path().join("demo.pub")).expect("copied");
    fs::write(folder.path().join("cloudflared.json"), "{\n  \"TunnelSecret\": \"hush\"\n}\n")
        .expect("written");
    folder
}

/// Its credentials are in no other image.
fn the_tunnel_is_the_first_servers(folder: &Path) {
    let path = |name: &str| folder.join(name);
    let manifest = path("cloudflared.yaml");
    let inside = "/var/lib/rancher/k3s/server/manifests/cloudflared.yaml";
    let place = format!("{}:{inside}", path("out/server1.vmwarevm").display());
    fs::write(&manifest, Run::new(["cat", &place]).succeeds().stdout_text()).expect("written");
    resources_are_known(std::slice::from_ref(&manifest));
    let text = fs::read_to_string(&manifest).expect("there");
    assert!(text.contains("\"TunnelSecret\": \"hush\""), "{text}");
    Run::new(["cat", &place.replace("server1", "server2")]).fails();
}

/// And not from their repositories.
fn charts_come_from_the_image(folder: &Path) {
    let path = |name: &str| folder.join(name);
    for Chart { name, file } in CHARTS {
        let inside = format!("/var/lib/rancher/k3s/server/manifests/{name}.yaml");
        let place = format!("{}:{inside}", path("out/server1.vmwarevm").display());
        let text = Run::new(["cat", &place]).succeeds().stdout_text();
        let address = format!("  chart: https://%{{KUBERNETES_API}}%/static/charts/{file}\n");
        assert!(text.contains(&address) && !text.contains("\n  repo:"), "{text}");
    }
}

#[test]
fn k3s_is_in_the_images_of_macs() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    let folder = example(&server);
    let path = |name: &str| folder.path().join(name);
    let images = path("images");
    fs::write(&images, noise(3, 300_001)).expect("written");
    server.put_file(&format!("{RELEASE}/k3s-arm64"), Path::new(K3S));
    server.put_file(&format!("{RELEASE}/k3s-airgap-images-arm64.tar.zst"), &images);
    let sums = format!(
        "{}  k3s-airgap-images-arm64.tar.zst\n{}  k3s-arm64\n",
        checksum("sha256sum", &images),
        checksum("sha256sum", Path::new(K3S))
    );
    server.put(&format!("{RELEASE}/sha256sum-arm64.txt"), sums.clone());
    let deployed = publish(&server, &path("publish"));
    let deployed: Vec<&str> = deployed.iter().map(String::as_str).collect();
    let run = |arguments: &[&str]| {
        Run::new(["build", "--sandbox", "none"])
            .args(arguments)
            .folder(folder.path())
            .env("XDG_CACHE_HOME", path("cache"))
            .env("SSL_CERT_FILE", authority.certificate())
    };

    // Another program than the list says goes into no image.
    server.put(&format!("{RELEASE}/k3s-arm64"), "not k3s");
    let said = run(&[]).fails().stderr_text();
    assert!(said.contains("is not what it should be: its SHA-256 is"), "{said}");
    assert!(!path("out/server1.vmwarevm").exists());
    fs::remove_file(path("nodeforge.lock")).unwrap_or_default();
    server.put_file(&format!("{RELEASE}/k3s-arm64"), Path::new(K3S));
    let _ = run(&[]).succeeds();

    let disk = |node: &str| path(&format!("out/{node}.vmwarevm/disk.vmdk"));
    for node in NODES {
        let vmx = fs::read_to_string(path(&format!("out/{node}.vmwarevm/{node}.vmx")));
        let vmx = vmx.expect("there");
        assert!(vmx.contains("guestOS = \"arm-debian12-64\"\n"), "{vmx}");
        tool("qemu-img", ["check".as_ref(), disk(node).as_os_str()]);
        let chain = ["info", "--backing-chain", "--output=json"].map(OsStr::new);
        let said = tool("qemu-img", chain.into_iter().chain([disk(node).as_os_str()]));
        assert_eq!(said.matches("\"filename\": \"").count() % 2, 0, "{said}");
        assert!(said.contains("fusion-template.vmwarevm/base.vmdk"), "{said}");
    }

    // Read through the chain by programs of others.
    let raw = path("agent1.raw");
    let convert = ["convert", "-O", "raw"].map(OsStr::new);
    tool("qemu-img", convert.into_iter().chain([disk("agent1").as_os_str(), raw.as_os_str()]));
    let root = partitions(&raw).into_iter().map(|it| it.1).max_by_key(|it| it.end).expect("a root");
    let root = format!("{}?offset={}", raw.display(), root.start);
    let debugfs = |request: &str| tool("debugfs", ["-R", request, &root]);
    for (file, original, mode) in [
        ("/usr/local/bin/k3s", Path::new(K3S), "Mode:  0755"),
        (
            "/var/lib/rancher/k3s/agent/images/k3s-airgap-images-arm64.tar.zst",
            &images,
            "Mode:  0644",
        ),
    ] {
        let copy = path("copy");
        debugfs(&format!("dump {file} {}", copy.display()));
        assert_eq!(fs::read(&copy).expect("there"), fs::read(original).expect("there"), "{file}");
        let stat = debugfs(&format!("stat {file}"));
        assert!(stat.contains(mode), "{stat}");
    }
    for Chart { name, file } in CHARTS {
        let (inside, copy) =
            (format!("/var/lib/rancher/k3s/server/static/charts/{file}"), path("copy"));
        debugfs(&format!("dump {inside} {}", copy.display()));
        let chart = path(&format!("publish/{name}.tgz"));
        assert_eq!(fs::read(&copy).expect("there"), fs::read(chart).expect("there"), "{file}");
    }
    let archive = path("deployed.tar");
    let inside = "/var/lib/rancher/k3s/agent/images/deployed.tar";
    debugfs(&format!("dump {inside} {}", archive.display()));
    is_archive_of(&archive, "arm64", &deployed);
    assert_eq!(debugfs("cat /usr/local/bin/calicoctl"), "calicoctl");
    assert!(debugfs("cat /etc/calico/calicoctl.cfg").contains("/etc/rancher/k3s/k3s.yaml"));
    let env = debugfs("cat /etc/nodeforge/k3s.env");
    assert!(!env.contains("K3S_URL"), "nothing is downloaded by nodes: {env}");
    tool("e2fsck", ["-fn", &root]);

    the_tunnel_is_the_first_servers(folder.path());
    charts_come_from_the_image(folder.path());

    // What was listed is pinned, and so is what came first: no server is asked again.
    let lock = fs::read_to_string(path("nodeforge.lock")).expect("there");
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").expect("two words");
        assert!(lock.contains(sum) && lock.contains(&format!("/{name}\"")), "{lock}");
    }
    for Chart { name, .. } in CHARTS {
        assert!(lock.contains(&format!("/{name}.tgz\"")), "{lock}");
    }
    for image in &deployed {
        assert!(lock.contains(&format!("reference = \"{image}\"\ndigest = \"sha256:")), "{lock}");
    }
    // A tag that moved is not followed, and with another processor's the archive is made anew.
    let tag = "/v2/quay.io/metallb/controller/manifests/v0.16.1";
    server.put(tag, "{}");
    server.forget_requests();
    let _ = run(&["agent2", "--locked"]).succeeds();
    assert!(server.requests(tag).is_empty());
    drop(server);
    let _ = run(&["agent2", "--locked", "--offline"]).succeeds();
}

/// What a registry may do wrong, and a profile.
#[test]
fn container_images_are_what_was_asked_for() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    let folder = example(&server);
    let path = |name: &str| folder.path().join(name);
    for (from, to) in
        [("cloudflared = true\n", ""), ("[settings]", "[settings]\ncalicoctl = false")]
    {
        let text = fs::read_to_string(path("cluster.toml")).expect("there").replacen(from, to, 1);
        fs::write(path("cluster.toml"), text).expect("written");
    }
    for name in ["k3s-arm64", "k3s-airgap-images-arm64.tar.zst"] {
        server.put_file(&format!("{RELEASE}/{name}"), Path::new(K3S));
    }
    let sum = checksum("sha256sum", Path::new(K3S));
    let sums = format!("{sum}  k3s-arm64\n{sum}  k3s-airgap-images-arm64.tar.zst\n");
    server.put(&format!("{RELEASE}/sha256sum-arm64.txt"), sums);
    let _ = publish(&server, &path("publish"));
    let fetch = |arguments: &[&str]| {
        Run::new(["fetch"])
            .args(arguments)
            .folder(folder.path())
            .env("XDG_CACHE_HOME", path("cache"))
            .env("SSL_CERT_FILE", authority.certificate())
    };
    let place = "/v2/quay.io/metallb/controller";
    let tag = format!("{place}/manifests/v0.16.1");
    let index = server.body(&tag);
    let read: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
    let arm = read["manifests"][2]["digest"].as_str().expect("a digest");
    let manifest = format!("{place}/manifests/{arm}");
    let image: serde_json::Value = serde_json::from_slice(&server.body(&manifest)).expect("JSON");
    let layer = format!("{place}/blobs/{}", image["layers"][1]["digest"].as_str().expect("one"));
    let hint = "hint: it is asked for by profile fusion-k3s";
    let wrong = |path: &str, body: &str, words: &str| {
        let good = server.body(path);
        server.put(path, body);
        let said = fetch(&[]).fails().stderr_text();
        assert!(said.contains(words) && said.contains(hint), "{words}\n{said}");
        server.put(path, good);
    };
    let of = |words: &str| format!("error: `quay.io/metallb/controller:v0.16.1`\n  cause: {words}");
    wrong(&tag, "<html>", &of("its manifest is not JSON"));
    let only_amd = String::from_utf8_lossy(&index).replace("arm64", "riscv64");
    wrong(&tag, &only_amd, &of("its manifest has no image for linux/arm64"));
    wrong(&manifest, "{}", "is not what its digest says");
    wrong(&layer, "other", "is not what it should be: its SHA-256 is");
    // A layer that broke off is gone on with.
    server.once(&layer, [Fault::CutAfter(10)]);
    let said = fetch(&[]).succeeds();
    let told =
        "warning: trusting 10 container images at first use: nodeforge.lock pins their digests";
    assert!(said.stderr_text().contains(told), "{}", said.stderr_text());
    let much = "warning: 0.0 MiB of container images are not in the cache and are downloaded";
    assert!(said.stderr_text().contains(much), "{}", said.stderr_text());
    let ranges =
        server.requests(&layer).into_iter().filter_map(|it| it.headers.get("range").cloned());
    assert!(ranges.into_iter().any(|it| it == "bytes=10-"));
    // The cache has them all.
    server.remove(&manifest);
    server.remove(&layer);
    let _ = fetch(&["--locked", "--offline"]).succeeds();
    // What moved is followed when asked.
    server.put(&tag, only_amd);
    let lock = Run::new(["lock", "--update"])
        .folder(folder.path())
        .env("XDG_CACHE_HOME", path("cache"))
        .env("SSL_CERT_FILE", authority.certificate());
    let said = lock.fails().stderr_text();
    assert!(said.contains(&of("its manifest has no image for linux/arm64\n")), "{said}");
}

#[test]
fn k3s_is_downloaded_by_the_node_and_checked() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    server.put_file(&format!("{RELEASE}/k3s"), Path::new(K3S));
    let folder = cluster(&[&format!("k3s_mirror = \"{}\"", server.url(""))]);
    let sum = checksum("sha256sum", Path::new(K3S));
    let file = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&file).expect("there").replace(&"0".repeat(64), &sum);
    fs::write(&file, text).expect("written");
    let plan = plan(folder.path());
    let env = plan.to_string();
    assert!(!env.contains("k3s-airgap-images"), "nothing is baked");
    let changes = plan["prepare"].as_array().expect("changes");
    let env = changes.iter().find(|it| it["path"] == "/etc/nodeforge/k3s.env").expect("planned");
    let env = env["content"].as_str().expect("text");

    let node = Node::new("server1");
    node.write("etc/nodeforge/k3s.env", env);
    node.stand_in("swapoff", "exit 0");
    let trust = format!("export CURL_CA_BUNDLE={}", authority.certificate().display());
    let step = || node.shell(&format!("{trust}; exec sh {FIRSTBOOT}/steps/40-k3s-install"));
    server.put(&format!("{RELEASE}/k3s"), "not k3s");
    let output = step();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("does not have the SHA-256 hash {sum}")), "{said}");
    assert!(!node.path("usr/local/bin/k3s").exists());

    server.put_file(&format!("{RELEASE}/k3s"), Path::new(K3S));
    let output = step();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(checksum("sha256sum", &node.path("usr/local/bin/k3s")), sum);
    let link = fs::read_link(node.path("usr/local/bin/kubectl")).expect("a link");
    assert_eq!(link, Path::new("k3s"));
    // The second time there is nothing to fetch.
    server.forget_requests();
    assert!(step().status.success());
    assert!(server.requests(&format!("{RELEASE}/k3s")).is_empty());
}

/// A user's own base needs its architecture stated where that decides what a node downloads.
#[test]
fn an_image_of_ones_own_is_not_taken_for_another_kind() {
    let server = Server::http();
    let folder = example(&server);
    let file = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&file).expect("there").replace("cloudflared = true\n", "");
    let sums = ["0", "1"].map(|digit| digit.repeat(64));
    let text = text.replace(
        "[settings]\n",
        &format!(
            "[settings]\noffline = false\ncharts = \"repository\"\ncalicoctl = false\nk3s_sha256_amd64 = \"{}\"\nk3s_sha256_arm64 = \"{}\"\n",
            sums[0], sums[1]
        ),
    );
    let run = |arch: &str, command: &str| {
        let arch = format!("path = \"base.img\"\n{arch}");
        fs::write(&file, text.replace("path = \"base.img\"\n", &arch)).expect("written");
        Run::new(command.split(' '))
            .folder(folder.path())
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
    };
    let said = run("", "check").exits(2).stderr_text();
    for wanted in [
        "error: `base.arch` is not known before the image was read\n",
        "--> cluster.toml:9:",
        "hint: add `arch = \"arm64\"` or `arch = \"amd64\"` under [base]",
    ] {
        assert!(said.contains(wanted), "{said}");
    }

    let said = run("arch = \"amd64\"\n", "build --sandbox none").exits(2).stderr_text();
    assert!(said.contains("the base is for arm64, and [base] says amd64"), "{said}");
    assert!(!folder.path().join("out/agent1.vmwarevm").exists());

    let _ = run("arch = \"arm64\"\n", "build --sandbox none").succeeds();
    let place = "out/agent1.vmwarevm:/etc/nodeforge/k3s.env";
    let env = Run::new(["cat", place]).folder(folder.path()).succeeds().stdout_text();
    for line in [
        format!("K3S_URL='{}'\n", server.url(&format!("{RELEASE}/k3s-arm64"))),
        format!("K3S_SHA256='{}'\n", sums[1]),
    ] {
        assert!(env.contains(&line), "{env}");
    }
}
