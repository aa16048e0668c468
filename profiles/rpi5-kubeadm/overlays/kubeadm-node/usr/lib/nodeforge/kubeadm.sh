# Shared by the steps that call kubeadm, after lib.sh. POSIX sh, sourced.
# shellcheck shell=sh disable=SC2154

# A copy of the cluster's certificate authorities that `kubeadm reset` does not know of.
pki_master=$root/etc/nodeforge/pki

# Whether kubeadm has been at work here.
was_begun() {
	[ -n "$(find "$root/etc/kubernetes/manifests" -name '*.yaml' 2>/dev/null)" ] ||
		[ -e "$root/etc/kubernetes/kubelet.conf" ] ||
		[ -e "$root/etc/kubernetes/bootstrap-kubelet.conf" ] ||
		[ -e "$root/etc/kubernetes/admin.conf" ] ||
		[ -e "$root/var/lib/etcd/member" ]
}

# Takes back what an unfinished try left, /etc/kubernetes/pki with it.
start_over() {
	log 'starting over: an earlier try was not finished'
	kubeadm reset --force --cri-socket unix:///var/run/crio/crio.sock
}

# flushed COMMAND…: runs it, and brings what it writes for Kubernetes to the disk as it goes. kubeadm
# leaves that to the kernel, which takes half a minute; etcd notes at once that it has a vote, and never
# comes back to cast it when a power cut took its manifest or its keys.
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

# The files under the names and modes that kubeadm looks for.
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
