# shellcheck shell=sh
# Who has a kubeconfig of their own uses it; k3s's is for root's eyes only.
if [ -r "$HOME/.kube/config" ]; then
	export KUBECONFIG="$HOME/.kube/config"
fi
