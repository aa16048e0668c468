# Shared by the steps that add to a cluster. POSIX sh, sourced.
# shellcheck shell=sh

# shellcheck source=firstboot/lib.sh
. "${NODEFORGE_ROOT:-}/usr/lib/nodeforge/lib.sh"
# shellcheck source=/dev/null
. "$root/etc/nodeforge/cluster.env"

KUBECONFIG=$root/etc/kubernetes/admin.conf
export KUBECONFIG
# What came with the image: nothing that the cluster is given is downloaded on first boot.
# shellcheck disable=SC2034 # for the steps
baked=$root/usr/share/nodeforge
# Where the cluster follows a repository.
# shellcheck disable=SC2034 # likewise
flux_instance=$root/etc/nodeforge/flux-instance.yaml

# apply FILE: `-` is standard input.
apply() {
	kubectl apply --server-side --force-conflicts --field-manager nodeforge --filename "$1"
}

# helm_status NAMESPACE RELEASE: prints its state; nothing when there is no such release.
helm_status() {
	helm_release=$(helm status "$2" --namespace "$1" --output json 2>/dev/null) || return 0
	printf '%s\n' "$helm_release" | jq --raw-output .info.status
}

# helm_install NAMESPACE RELEASE CHART ARGUMENT…: installs it, or upgrades it to this state.
helm_install() {
	namespace=$1 release=$2
	shift 2
	# A release whose installation, or whose removal here, a power cut interrupted blocks all other
	# operations until it is gone. A release that failed does not.
	status=$(helm_status "$namespace" "$release")
	case $status in
	pending-* | uninstalling)
		log "the installation of $release was interrupted: starting it over"
		helm uninstall "$release" --namespace "$namespace" --no-hooks
		;;
	esac
	helm upgrade --install "$release" --namespace "$namespace" --create-namespace "$@"
}
