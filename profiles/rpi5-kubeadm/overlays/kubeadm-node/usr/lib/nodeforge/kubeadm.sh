# Shared by the steps that call kubeadm. POSIX sh, sourced.
# shellcheck shell=sh

# shellcheck source=firstboot/lib.sh
. "${NODEFORGE_ROOT:-}/usr/lib/nodeforge/lib.sh"

# A copy of the cluster's certificate authorities in a folder that `kubeadm reset` does not empty.
pki_master=$root/etc/nodeforge/pki

# Whether kubeadm has run here before.
was_begun() {
	[ -n "$(find "$root/etc/kubernetes/manifests" -name '*.yaml' ! -name kube-vip.yaml 2>/dev/null)" ] ||
		[ -e "$root/etc/kubernetes/kubelet.conf" ] ||
		[ -e "$root/etc/kubernetes/bootstrap-kubelet.conf" ] ||
		[ -e "$root/etc/kubernetes/admin.conf" ] ||
		[ -e "$root/var/lib/etcd/member" ]
}

# Removes what an interrupted try left, /etc/kubernetes/pki included.
start_over() {
	log 'starting over: an earlier try was interrupted'
	kubeadm reset --force --cri-socket unix:///var/run/crio/crio.sock
}

# flushed COMMAND…: runs it, and meanwhile syncs what it writes for Kubernetes. kubeadm leaves that to
# the kernel, which takes half a minute. etcd records at once that this node has a vote; if a power cut
# takes its manifest or its keys, it never comes back to cast that vote.
flushed() {
	(while sleep 1; do
		find "$root/etc/kubernetes" "$root/var/lib/kubelet" -maxdepth 3 -type f -exec sync {} + || :
	done) >/dev/null 2>&1 &
	flusher=$!
	flushed_status=0
	"$@" || flushed_status=$?
	kill "$flusher" || :
	return "$flushed_status"
}

# Puts the authorities where kubeadm looks for them, with the modes that it gives them.
restore_pki() {
	[ -d "$pki_master" ] || return 0
	for name in ca.crt ca.key sa.pub sa.key front-proxy-ca.crt front-proxy-ca.key etcd/ca.crt etcd/ca.key; do
		case $name in
		*.key) mode=0600 ;;
		*) mode=0644 ;;
		esac
		write_file "$mode" "$root/etc/kubernetes/pki/$name" <"$pki_master/$name"
	done
}

# /etc/kubernetes/pki has them now.
spend_pki() {
	[ -d "$pki_master" ] || return 0
	find "$pki_master" -type f | while read -r file; do
		spent "$file"
	done
}

# kube_vip KUBECONFIG: has the kubelet run kube-vip, where the cluster has it, with a file of
# /etc/kubernetes. `kubeadm reset` removes it.
kube_vip() {
	[ -e "$root/etc/nodeforge/kube-vip.yaml" ] || return 0
	# shellcheck source=/dev/null
	. "$root/etc/nodeforge/kube-vip.env"
	# The digest of an image is the hash of its manifest. Offline there is none: images from an archive
	# have tags only.
	manifest=$root/usr/share/nodeforge/kube-vip.json
	image=$KUBE_VIP_IMAGE:$KUBE_VIP_TAG
	if [ -s "$manifest" ]; then
		image=$image@sha256:$(sha256sum "$manifest" | cut -d ' ' -f 1)
	fi
	sed -e "s|\( image:\) .*|\1 $image|" -e "s|KUBECONFIG|/etc/kubernetes/$1|" "$root/etc/nodeforge/kube-vip.yaml" |
		write_file 0600 "$root/etc/kubernetes/manifests/kube-vip.yaml"
}
