# Shared by the first-boot runner, its steps and `nodeforge-firstboot`. POSIX sh, sourced.
# NODEFORGE_ROOT, empty on a node, is where tests keep a stand-in for the root.
# shellcheck shell=sh disable=SC2034

root=${NODEFORGE_ROOT:-}
roles_file=$root/etc/nodeforge/roles
steps_dir=$root/usr/lib/nodeforge/firstboot.d
state_dir=$root/var/lib/nodeforge/firstboot
done_file=$root/var/lib/k8s-firstboot-done

# One line on journal and console.
say() {
	printf 'nodeforge-firstboot: %s\n' "$*"
}

# The machine's name from the first source that knows it; fails when none does.
# A name that is no DNS label is not believed: it becomes file names and arguments.
find_hostname() {
	for source in file guestinfo credential; do
		name=$("hostname_from_$source" 2>/dev/null) || continue
		name=$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]')
		if printf '%s\n' "$name" | grep -Eqx '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?' &&
			[ "$name" != localhost ]; then
			printf '%s %s\n' "$name" "$source"
			return 0
		fi
	done
	return 1
}

hostname_from_file() {
	[ -s "$root/etc/hostname" ] && grep -v '^#' "$root/etc/hostname" | head -n 1
}

# VMware answers guest information through either of two programs of open-vm-tools.
hostname_from_guestinfo() {
	if command -v vmware-rpctool >/dev/null; then
		vmware-rpctool 'info-get guestinfo.hostname'
	else
		vmtoolsd --cmd 'info-get guestinfo.hostname'
	fi
}

hostname_from_credential() {
	if [ -n "${CREDENTIALS_DIRECTORY:-}" ] && [ -r "$CREDENTIALS_DIRECTORY/nodeforge.hostname" ]; then
		cat "$CREDENTIALS_DIRECTORY/nodeforge.hostname"
	else
		systemd-creds --system cat nodeforge.hostname
	fi
}

# Prints `ROLE STEP…` of the first pattern that matches the whole of $1; fails when none does.
# A line of the roles file is `PATTERN ROLE STEP…`.
find_role() {
	while read -r pattern rest; do
		case $pattern in '' | '#'*) continue ;; esac
		if printf '%s\n' "$1" | grep -Eqx -e "$pattern"; then
			printf '%s\n' "$rest"
			return 0
		fi
	done <"$roles_file"
	return 1
}

is_done() {
	[ -e "$state_dir/$1.done" ]
}

# The mark must not survive a power cut that the step's own work did not.
mark_done() {
	sync
	: >"$state_dir/$1.done"
	sync
}
