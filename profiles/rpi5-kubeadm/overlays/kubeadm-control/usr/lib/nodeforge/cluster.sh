# Shared by the steps that add to a cluster, after lib.sh. POSIX sh, sourced.
# shellcheck shell=sh disable=SC2034,SC2154

# shellcheck source=/dev/null
. "$root/etc/nodeforge/cluster.env"

KUBECONFIG=$root/etc/kubernetes/admin.conf
export KUBECONFIG
# What came with the image for a first boot without the internet.
baked=$root/usr/share/nodeforge

# apply FILE: `-` is standard input.
apply() {
	kubectl apply --server-side --force-conflicts --field-manager nodeforge --filename "$1"
}

# helm_install NAMESPACE RELEASE CHART ARGUMENT…: installs it, or brings it to this state.
helm_install() {
	namespace=$1 release=$2
	shift 2
	# A release whose installation a power cut ended, or its removal here, blocks all others until it
	# is gone. One that failed does not.
	case $(helm status "$release" --namespace "$namespace" 2>/dev/null) in
	*'STATUS: pending-'* | *'STATUS: uninstalling'*)
		log "$release was not installed to its end; once more"
		helm uninstall "$release" --namespace "$namespace" --no-hooks
		;;
	esac
	helm upgrade --install "$release" --namespace "$namespace" --create-namespace "$@"
}
