use super::*;
use crate::config::tests::quickstart_in;
use crate::config::{SecretText, Setting};
use crate::secrets::Secrets;

fn render(text: &str) -> Result<Content> {
    let folder = tempfile::tempdir()?;
    let mut cluster = quickstart_in(folder.path())?;
    let net = |text: &str| Setting::Cidr(text.parse().expect("a network"));
    cluster.settings.insert("pods".into(), net("10.244.64.0/18"));
    cluster.settings.insert("six".into(), net("fd00::/64"));
    cluster.settings.insert("pool".into(), net("2001:db8:0:1::/112"));
    cluster.settings.insert("lan".into(), net("192.168.77.0/24"));
    cluster.settings.insert("wide".into(), net("192.168.0.0/16"));
    let address = |text: &str| text.parse().expect("an address");
    let range = Setting::IpPool(address("192.168.77.240"), address("192.168.77.250"));
    cluster.settings.insert("range".into(), range);
    cluster.settings.insert(
        "tsig".into(),
        Setting::Secret(SecretText { text: String::from("hush").into(), file: None }),
    );
    let secrets = Secrets::load_or_pretend(&cluster)?;
    let renderer = Renderer::new(&cluster, Scope::Node(&cluster.nodes[1], &secrets));
    renderer.render("test.j2", text)
}

fn text(template: &str) -> String {
    match render(template) {
        Ok(content) => String::from_utf8_lossy(&content.bytes).into_owned(),
        Err(error) => error.problems()[0].message.clone(),
    }
}

#[test]
fn values_keep_their_types() {
    let cases = [
        ("{{ settings.pods }}", "10.244.64.0/18"),
        ("{{ settings.pods.network }}", "10.244.64.0"),
        ("{{ settings.pods.prefix + 6 }}", "24"),
        ("{{ settings.pods.host(10) }}", "10.244.64.10"),
        ("{{ settings.pods.host(-1) }}", "10.244.127.255"),
        ("{{ settings.six.host(16) }}", "fd00::10"),
        ("{{ cluster.first.addresses[0].suffix }}", "0.0.0.10"),
        ("{{ cluster.first.addresses[1].suffix }}", "::10"),
        ("{{ node.hostname }}/{{ node.role }}", "agent1/agent"),
        ("{{ cluster.first.addresses[0].ip }}", "192.168.77.10"),
        ("{{ nodes | length }}", "3"),
        ("{{ base.arch }}", "amd64"),
        ("{{ '10.244.64.9' is on(settings.pods) }}", "True"),
        ("{{ '10.243.64.9' is on(settings.pods) }}", "False"),
        ("{{ '172.31.0.1' is on('172.16.0.0/12') and '::1' is on('::/0') }}", "True"),
        ("{{ '172.32.0.1' is on('172.16.0.0/12') or '::1' is on('0.0.0.0/0') }}", "False"),
        ("{{ 'fd00::9' is on(settings.pods) or 'pods' is on(settings.pods) }}", "False"),
        ("{{ cluster.first.addresses is on(settings.lan) }}", "True"),
        ("{{ cluster.first.addresses is on(settings.pods) }}", "False"),
        // In a network, with the prefix of another.
        ("{{ cluster.first.addresses is on(settings.wide) }}", "False"),
        ("{{ [] is on(settings.lan) }}", "False"),
        ("{{ '192.168.77.240' is on(settings.range) }}", "True"),
        ("{{ '192.168.77.9' is on(settings.range) or '::1' is on(settings.range) }}", "False"),
        ("{{ cluster.first.addresses is at('192.168.77.10') }}", "True"),
        ("{{ cluster.first.addresses is at('192.168.77.1') or [] is at('::') }}", "False"),
        ("{{ ['fd00:0::1'] is at('fd00::1') and ['x'] is at('x') == false }}", "True"),
        // The second one's suffix is ::10.
        ("{{ cluster.first.addresses is suffix_on(settings.pool.low(64)) }}", "True"),
        ("{{ cluster.first.addresses is suffix_on(settings.pool) }}", "False"),
        ("{{ [] is suffix_on(settings.pool) }}", "False"),
        ("{{ settings.pool.low(32) }} {{ settings.lan.low(16) }}", "0:0:0:1::/112 0.0.77.0/24"),
        ("{{ settings.pool.low(0) }} {{ settings.pool.low(128) }}", "2001:db8:0:1::/112 ::/112"),
        ("{{ 'v1.34.1+k3s1' is before('v1.34.2') }}", "True"),
        ("{{ 'v1.9.9' is before('v1.34.2') }}", "True"),
        ("{{ 'v1.34.2+k3s1' is before('v1.34.2') or 'v1.34.10' is before('v1.34.2') }}", "False"),
        ("{{ 'stable' is before('v1.34.2') }}", "False"),
        ("{% if cluster.domain %}\nyes\n{% endif %}\n", "yes\n"),
        ("a\n", "a\n"),
    ];
    for (template, expected) in cases {
        assert_eq!(text(template), expected, "{template}");
    }
}

#[test]
fn whatever_is_undefined_is_an_error() {
    let cases = [
        ("x\n{{ node.hostnam }}", "`node.hostnam` is undefined in the template `test.j2`"),
        ("{{ nothing }}", "`nothing` is undefined in the template `test.j2`"),
        (
            "{% if settings.nope %}{% endif %}",
            "`settings.nope` is undefined in the template `test.j2`",
        ),
        (
            "{{ settings.six.host(-1) ~ settings.pods.host(99999) }}",
            "the template `test.j2` does not render: 10.244.64.0/18 has no address number 99999",
        ),
        (
            "{{ settings.pool.low(129) }}",
            "the template `test.j2` does not render: 2001:db8:0:1::/112 has no 129 bits",
        ),
        (
            "{{ settings.pool is suffix_on(settings.pool) }}",
            "the template `test.j2` does not render: suffix_on(…) is for addresses with a prefix, \
             like those of a node",
        ),
        (
            "{{ '10.244.64.9' is on('10.244.64.0') }}",
            "the template `test.j2` does not render: on(…) takes a network or a pool",
        ),
        ("{{ fail('no edge') }}", "the template `test.j2` does not render: no edge"),
        (
            "{{ fail('no pool without ' ~ node.role) }}",
            "the template `test.j2` does not render: no pool without agent",
        ),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}",
            "the template `test.j2` takes too long",
        ),
    ];
    for (template, expected) in cases {
        assert_eq!(text(template), expected, "{template}");
    }
    let error = render("x\n{{ node.hostnam }}").err();
    let place = error.as_ref().map(|error| &error.problems()[0].places[0]);
    assert_eq!(place.map(|place| place.span.clone()), Some(5..17));
}

#[test]
fn secrets_leave_their_name() -> Result<()> {
    assert_eq!(render("key={{ settings.tsig }}")?.secrets, ["tsig"]);
    assert!(render("{{ settings.pods }}")?.secrets.is_empty());
    Ok(())
}
