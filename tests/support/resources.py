#!/usr/bin/python3
"""Checks custom resources: every key must be one that its definition has.

    resources.py FILE...

The trees below are the parts in use of the definitions of the Tigera operator and Calico 3.32,
MetalLB 0.16, cert-manager 1.21, Cilium 1.18, the Flux Operator, Flux 2.9 and k3s 1.36's Helm controller, and
of the values that charts take: Traefik 41.3 (values.schema.json), MetalLB 0.16 and cert-manager
1.21. A type stands for a value, a list for a list of its one element, a set for one of its words.
Built-in kinds are for kubernetes-validate: they are listed, a FILE a line.
"""

import ipaddress
import sys

import yaml


def network(value):
    return isinstance(value, str) and bool(ipaddress.ip_network(value))


def address(value):
    return isinstance(value, str) and bool(ipaddress.ip_address(value))


def pool(value):
    first, _, last = value.partition("-")
    return network(value) if not last else ipaddress.ip_address(first) <= ipaddress.ip_address(last)


SELECTOR = {
    "matchLabels": dict,
    "matchExpressions": [{"key": str, "operator": {"In", "NotIn", "Exists", "DoesNotExist"}}],
}
KINDS = {
    "operator.tigera.io/v1 Installation": {
        "flexVolumePath": {"None"},
        "calicoNetwork": {
            "bgp": {"Enabled", "Disabled"},
            "containerIPForwarding": {"Enabled", "Disabled"},
            "ipPools": [{
                "name": str, "cidr": network, "blockSize": int, "nodeSelector": str,
                "encapsulation": {"IPIPCrossSubnet", "IPIP", "VXLAN", "VXLANCrossSubnet", "None"},
                "natOutgoing": {"Enabled", "Disabled"},
            }],
            "nodeAddressAutodetectionV6": {"cidrs": [network]},
        },
    },
    "operator.tigera.io/v1 APIServer": {},
    "projectcalico.org/v3 BGPConfiguration": {
        "asNumber": int,
        "nodeToNodeMeshEnabled": bool,
        "serviceClusterIPs": [{"cidr": network}],
        "serviceLoadBalancerIPs": [{"cidr": network}],
    },
    "projectcalico.org/v3 BGPFilter": {
        "exportV6": [{
            "action": {"Accept", "Reject"}, "cidr": network,
            "matchOperator": {"Equal", "NotEqual", "In", "NotIn"},
        }],
    },
    "projectcalico.org/v3 BGPPeer": {
        "peerIP": address, "asNumber": int, "filters": [str], "maxRestartTime": str,
        "password": {"secretKeyRef": {"name": str, "key": str}},
    },
    "metallb.io/v1beta1 IPAddressPool": {"addresses": [pool]},
    "metallb.io/v1beta1 L2Advertisement": {"ipAddressPools": [str], "nodeSelectors": [SELECTOR]},
    "cert-manager.io/v1 ClusterIssuer": {
        "acme": {
            "server": str, "email": str, "privateKeySecretRef": {"name": str},
            "solvers": [{"http01": {"ingress": {"ingressClassName": str}}}],
        },
    },
    "cilium.io/v2 CiliumLoadBalancerIPPool": {
        "blocks": [{"start": address, "stop": address, "cidr": network}], "serviceSelector": SELECTOR,
    },
    "cilium.io/v2alpha1 CiliumL2AnnouncementPolicy": {
        "loadBalancerIPs": bool, "externalIPs": bool, "interfaces": [str],
        "serviceSelector": SELECTOR, "nodeSelector": SELECTOR,
    },
    "fluxcd.controlplane.io/v1 FluxInstance": {
        "distribution": {"version": str, "registry": str, "artifact": str},
        "cluster": {"type": str, "size": {"small", "medium", "large"}, "networkPolicy": bool},
        "sync": {
            "kind": {"GitRepository", "OCIRepository", "Bucket"},
            "url": str, "ref": str, "path": str, "pullSecret": str,
        },
        "kustomize": {"patches": [{"target": {"kind": str, "name": str}, "patch": str}]},
    },
    "kustomize.toolkit.fluxcd.io/v1 Kustomization": {
        "dependsOn": [{"name": str, "namespace": str}], "interval": str, "retryInterval": str, "timeout": str,
        "path": str, "prune": bool, "wait": bool,
        "sourceRef": {"kind": {"GitRepository", "OCIRepository", "Bucket"}, "name": str, "namespace": str},
        "decryption": {"provider": {"sops"}, "secretRef": {"name": str}},
        "postBuild": {"substituteFrom": [{"kind": {"ConfigMap", "Secret"}, "name": str, "optional": bool}]},
    },
    "source.toolkit.fluxcd.io/v1 HelmRepository": {"interval": str, "url": str, "type": {"default", "oci"}},
    "helm.toolkit.fluxcd.io/v2 HelmRelease": {
        "interval": str, "releaseName": str,
        "chart": {"spec": {
            "chart": str, "version": str,
            "sourceRef": {"kind": {"HelmRepository", "GitRepository", "Bucket"}, "name": str, "namespace": str},
        }},
        "valuesFrom": [{"kind": {"ConfigMap", "Secret"}, "name": str, "valuesKey": str}],
    },
    "helm.cattle.io/v1 HelmChartConfig": {"valuesContent": str},
    "helm.cattle.io/v1 HelmChart": {
        "repo": str, "chart": str, "version": str, "targetNamespace": str, "createNamespace": bool,
        "bootstrap": bool, "valuesContent": str,
    },
}

SWITCH = {"enabled": bool}
CHARTS = {
    "traefik": {
        "deployment": {"kind": {"Deployment", "DaemonSet"}},
        "hostNetwork": bool,
        "nodeSelector": dict,
        "tolerations": [{"key": str, "operator": {"Exists", "Equal"}}],
        "ingressClass": {"enabled": bool, "isDefaultClass": bool, "name": str},
        "providers": {
            "kubernetesIngress": {"ingressClass": str, "publishedService": SWITCH},
            "kubernetesCRD": {"ingressClass": str},
        },
        "service": {
            "enabled": bool,
            "annotations": {"metallb.io/loadBalancerIPs": str},
            "spec": {
                "ipFamilyPolicy": {"SingleStack", "PreferDualStack", "RequireDualStack"},
                "externalTrafficPolicy": {"Local", "Cluster"},
            },
        },
        "ports": {"web": {"port": int}, "websecure": {"port": int}},
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": int, "maxSurge": int}},
    },
    "metallb": {"speaker": {"enabled": bool, "frr": SWITCH}, "frrk8s": SWITCH},
    "cert-manager": {"crds": SWITCH},
}


def check(path, value, wanted):
    if isinstance(wanted, dict):
        assert isinstance(value, dict), f"{path}: not an object"
        for key in value:
            assert key in wanted, f"{path}: there is no `{key}`"
            check(f"{path}.{key}", value[key], wanted[key])
    elif isinstance(wanted, list):
        assert isinstance(value, list), f"{path}: not a list"
        for element in value:
            check(f"{path}[]", element, wanted[0])
    elif isinstance(wanted, set):
        assert value in wanted, f"{path}: `{value}` is none of {wanted}"
    elif isinstance(wanted, type):
        assert type(value) is wanted, f"{path}: `{value}` is no {wanted.__name__}"
    else:
        assert wanted(value), f"{path}: `{value}`"


for file in sys.argv[1:]:
    with open(file, encoding="utf-8") as stream:
        documents = list(yaml.safe_load_all(stream))
    is_built_in = False
    for document in documents:
        kind = f"{document['apiVersion']} {document['kind']}"
        if kind in KINDS:
            assert set(document) <= {"apiVersion", "kind", "metadata", "spec"}, file
            check(f"{file}: {kind}", document["spec"], KINDS[kind])
            if "valuesContent" in document["spec"]:
                values = yaml.safe_load(document["spec"]["valuesContent"])
                assert isinstance(values, dict)
                # A configuration is for the chart of its name.
                chart = document["spec"].get("chart", document["metadata"]["name"])
                if chart in CHARTS:
                    check(f"{file}: values of {chart}", values, CHARTS[chart])
        else:
            is_built_in = True
    if is_built_in:
        print(file)
