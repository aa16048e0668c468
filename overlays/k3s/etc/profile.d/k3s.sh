# Users with a kubeconfig of their own use it: only root can read k3s's.
# shellcheck shell=sh
if [ -r "$HOME/.kube/config" ]; then
	export KUBECONFIG="$HOME/.kube/config"
fi
