#!/bin/sh
# Finds this machine's name and role, and runs the role's steps, each to its end exactly once.
#
# A step is a program in /usr/lib/nodeforge/firstboot.d. It must be idempotent: a power cut may
# end it anywhere, and the next boot runs it again from its start. Steps that ended well are
# marked in /var/lib/nodeforge/firstboot and not repeated.
set -eu

# shellcheck source=firstboot/lib.sh
. "${NODEFORGE_ROOT:-}/usr/lib/nodeforge/lib.sh"

attempts=${NODEFORGE_ATTEMPTS:-6}
first_delay=${NODEFORGE_DELAY:-2}

fail() {
	say "failed: $*"
	exit 1
}

# A name that came from outside is made the machine's own.
adopt_hostname() {
	printf '%s\n' "$1" >"$root/etc/hostname"
	grep -v '^127\.0\.1\.1[[:space:]]' "$root/etc/hosts" >"$root/etc/hosts.new" 2>/dev/null || :
	printf '127.0.1.1 %s\n' "$1" >>"$root/etc/hosts.new"
	mv "$root/etc/hosts.new" "$root/etc/hosts"
	hostname "$1"
}

# Up to a second of jitter keeps the nodes of a cluster from knocking in step.
pause() {
	jitter=$(od -An -N1 -tu1 /dev/urandom | tr -d ' ')
	sleep "$(awk "BEGIN { print $1 * (1 + $jitter / 1024) }")"
}

run_step() {
	step=$1
	delay=$first_delay
	attempt=1
	until "$steps_dir/$step"; do
		if [ "$attempt" -ge "$attempts" ]; then
			fail "step $step after $attempt attempts; the next boot tries again"
		fi
		say "step $step did not succeed, attempt $attempt of $attempts"
		pause "$delay"
		delay=$((delay * 2))
		attempt=$((attempt + 1))
	done
	mark_done "$step"
	say "step $step done"
}

shred_secrets() {
	[ -d "$root/etc/nodeforge/secrets" ] || return 0
	find "$root/etc/nodeforge/secrets" -type f -exec shred -u {} +
	rmdir "$root/etc/nodeforge/secrets"
}

mkdir -p "$state_dir"

found=$(find_hostname) || fail 'this machine has no name: neither /etc/hostname, guestinfo.hostname nor the credential nodeforge.hostname gives one'
name=${found% *}
[ "${found#* }" = file ] || adopt_hostname "$name"

found=$(find_role "$name") || fail "no pattern in /etc/nodeforge/roles matches the hostname $name"
# shellcheck disable=SC2086 # a role and its steps are words
set -- $found
NODEFORGE_HOSTNAME=$name
NODEFORGE_ROLE=$1
export NODEFORGE_HOSTNAME NODEFORGE_ROLE
shift
say "role=$NODEFORGE_ROLE hostname=$NODEFORGE_HOSTNAME machine-id=$(cat "$root/etc/machine-id")"

for step; do
	if is_done "$step"; then
		say "step $step was done before"
	else
		run_step "$step"
	fi
done

shred_secrets
: >"$done_file"
sync
systemctl --quiet disable k8s-firstboot.service
say 'done'
