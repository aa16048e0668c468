#!/usr/bin/python3
"""Judges custom resources: every key must be one that its definition has.

    resources.py FILE...

The trees below are the parts in use of the definitions of the Tigera operator and Calico 3.31,
MetalLB 0.15 and k3s 1.34's Helm controller. A type stands for a value, a list for a list of its one
element, a set for one of its words. Built-in kinds are for kubernetes-validate: they are listed, a
FILE a line.
"""

import ipaddress
import sys

import yaml


def network(value):
    return isinstance(value, str) and bool(ipaddress.ip_network(value))


def address(value):
    return isinstance(value, str) and bool(ipaddress.ip_address(value))


KINDS = {
    "operator.tigera.io/v1 Installation": {
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
        "peerIP": address, "asNumber": int, "filters": [str],
        "password": {"secretKeyRef": {"name": str, "key": str}},
    },
    "metallb.io/v1beta1 IPAddressPool": {"addresses": [network]},
    "helm.cattle.io/v1 HelmChart": {
        "repo": str, "chart": str, "version": str, "targetNamespace": str, "createNamespace": bool,
        "bootstrap": bool, "valuesContent": str,
    },
}


def judge(path, value, wanted):
    if isinstance(wanted, dict):
        assert isinstance(value, dict), f"{path}: not an object"
        for key in value:
            assert key in wanted, f"{path}: there is no `{key}`"
            judge(f"{path}.{key}", value[key], wanted[key])
    elif isinstance(wanted, list):
        assert isinstance(value, list), f"{path}: not a list"
        for element in value:
            judge(f"{path}[]", element, wanted[0])
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
            judge(f"{file}: {kind}", document["spec"], KINDS[kind])
            if "valuesContent" in document["spec"]:
                assert isinstance(yaml.safe_load(document["spec"]["valuesContent"]), dict)
        else:
            is_built_in = True
    if is_built_in:
        print(file)
